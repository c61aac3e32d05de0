"""Assignments for nbgrader come from the same exercises: a solution gets every point, no answer none."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grading
import nbformat
import pytest
import routes
from plain import CHAPTERS

from compresslab.exercises.answers import AnswerError
from compresslab.exercises.checking import check

TEXTS = [text for text in sorted(CHAPTERS.glob("*.md")) if routes.exercises(text.stem[:2])]
each = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)


@each
def test_every_exercise_is_worth_its_points_and_its_solution_stands_between_marks(text):
    cells = [cell for cell in grading.assignment(text).cells if "nbgrader" in cell.metadata]
    marks = [cell.metadata.nbgrader for cell in cells]
    assert sum(mark.get("points", 0) for mark in marks) == pytest.approx(6)
    assert len({mark.grade_id for mark in marks}) == len(marks) >= 2 * 3
    for cell, mark in zip(cells, marks, strict=True):
        if mark.solution:
            assert re.fullmatch(
                r"(?s).*?^### BEGIN SOLUTION\n.+\n### END SOLUTION", cell.source, re.MULTILINE
            )
            assert "check(" not in cell.source
        else:
            name = mark.grade_id.removeprefix("check-")
            assert re.fullmatch(rf'check\("{name}", [\w.]+, required=True\)', cell.source)
    outside = "\n".join(re.sub(r"(?s)### BEGIN.*?### END SOLUTION", "", cell.source) for cell in cells)
    for code, _ in grading.solutions(text).values():
        assert not code or code not in outside


def test_without_an_answer_a_required_check_raises():
    for answer in (None, ...):
        with pytest.raises(AnswerError, match="No answer yet: put yours"):
            check("02-1", answer, required=True)
    with pytest.raises(AnswerError, match="No answer yet: write the body"):
        check("03-3a", lambda rows, ends, bits: None, required=True)
    check("02-1", 0.0025, required=True)


def test_a_check_that_the_solution_lacks_is_named(tmp_path):
    text = tmp_path / TEXTS[1].name
    text.write_text(TEXTS[1].read_text(encoding="utf-8").replace('check("02-1", 0.635', "print(0.635"))
    with pytest.raises(ValueError, match="exercise 02-1: its solution has no check of 02-1"):
        grading.assignment(text)


@pytest.mark.skipif(importlib.util.find_spec("nbgrader") is None, reason="pip install nbgrader")
@pytest.mark.timeout(1200)
def test_nbgrader_gives_the_solution_every_point_and_the_untouched_notebook_none(tmp_path):
    text = TEXTS[1]
    grading.write([text], tmp_path)
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # it calls alembic
    place = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path), "PATH": programs}

    def nbgrader(*asked: str) -> None:
        command = [sys.executable, "-m", "nbgrader", *asked]
        done = subprocess.run(command, cwd=tmp_path, env=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    nbgrader("generate_assignment", text.stem)
    name = f"{text.stem}.ipynb"
    for who, folder in (("solver", "source"), ("blank", "release")):
        (tmp_path / "submitted" / who / text.stem).mkdir(parents=True)
        shutil.copy(tmp_path / folder / text.stem / name, tmp_path / "submitted" / who / text.stem / name)
    given = nbformat.read(tmp_path / "release" / text.stem / name, as_version=4)
    assert "SOLUTION" not in "".join(cell.source for cell in given.cells)
    nbgrader("autograde", text.stem)
    nbgrader("export", "--to", "grades.csv")
    rows = [line.split(",") for line in (tmp_path / "grades.csv").read_text().splitlines()]
    score, top, who = (rows[0].index(one) for one in ("score", "max_score", "student_id"))
    found = {row[who]: (float(row[score]), float(row[top])) for row in rows[1:]}
    assert found == {"solver": (6.0, 6.0), "blank": (0.0, 6.0)}
