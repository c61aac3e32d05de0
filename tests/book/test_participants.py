"""What participants get runs before anything is filled in, holds no answer, and takes the solutions."""

import inspect
import math
import re
import tempfile

import forms
import grading
import nbformat
import pytest
from built import run_each
from nbclient import NotebookClient
from plain import CHAPTERS

import notebooks
from compresslab.exercises.answers import questions
from compresslab.exercises.tasks import TASKS

TEXTS = sorted(CHAPTERS.glob("*.md"))
each = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
LONG = 3  # significant digits from which a number in a notebook is no accident
TAUGHT = {"21-3a"}  # the step asks for a line of the section "By hand" as a function of its own


def given(text) -> nbformat.NotebookNode:
    return notebooks.generate(text, forms.Participant)


def numbers(source: str) -> set[float]:
    """Return the numbers that a text writes."""
    return {float(one.replace(",", "")) for one in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?!\w)", source)}


def telling(right) -> set[float]:
    """Return the numbers of an answer that nobody writes by accident, as one writes a power of two."""
    many = right if isinstance(right, list) else [right]
    plain = [abs(one) for one in many if isinstance(one, int | float) and not isinstance(one, bool)]
    long = {one for one in plain if len(f"{one:g}".replace(".", "").strip("0")) >= LONG}
    return {one for one in long if math.frexp(one)[0] != 0.5}


@each
def test_no_expected_value_stands_in_what_participants_get(text):
    found = numbers("\n".join(cell.source for cell in given(text).cells))
    expected = {name: telling(one.right) for name, one in questions().items() if name[:2] == text.stem[:2]}
    assert not {name: values & found for name, values in expected.items() if values & found}


def decides(right) -> str:
    """Return what a function gives back in its last line, without spaces."""
    line = inspect.getsource(right).strip().splitlines()[-1].strip().rstrip(",")
    return "".join(re.sub(r"^(return |(right=)?lambda[^:]*:)", "", line).split())


@each
def test_no_line_that_decides_an_exercise_stands_in_what_participants_get(text):
    """The reference's last line is what its answer comes down to."""
    code = "".join("".join(cell.source.split()) for cell in given(text).cells if cell.cell_type == "code")
    asked = {name for name in TASKS if name[:2] == text.stem[:2]} - TAUGHT
    last = {name: decides(TASKS[name].right) for name in asked}
    assert not {name: line for name, line in last.items() if len(line) > 20 and line in code}


class Kernel:
    """A kernel in an empty folder, in which cells run one after the other."""

    def __init__(self, notebook: nbformat.NotebookNode) -> None:
        self.place = tempfile.TemporaryDirectory()
        there = {"metadata": {"path": self.place.name}}
        self.client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources=there)

    def run(self, cells: list) -> str:
        """Run cells of code and return what they print.

        Raises:
            CellExecutionError: a cell fails.
        """
        self.client.nb.cells = cells
        for place, cell in enumerate(cells):
            if cell.cell_type == "code":
                self.client.execute_cell(cell, place)
        printed = [one for cell in cells for one in cell.get("outputs", [])]
        return "".join(one.text for one in printed if one.output_type == "stream")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("text", run_each(TEXTS))
def test_a_learner_runs_the_notebook_then_puts_the_solutions_in_and_every_check_passes(text):
    blank = given(text)
    asked = [name for cell in blank.cells if cell.cell_type == "code" for name in grading.checks(cell.source)]
    kernel = Kernel(blank)
    with kernel.place, kernel.client.setup_kernel():
        assert kernel.run(blank.cells).count("No answer yet") == len(asked)
        if not asked:
            return
        solved = grading.assignment(text).cells
        first = next(place for place, cell in enumerate(solved) if "nbgrader" in cell.metadata)
        assert kernel.run(solved[first:]).count("Right: ") == len(asked)
