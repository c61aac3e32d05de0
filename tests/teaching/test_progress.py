"""The file of what was solved: only where the learner has one, never in the way of an answer."""

import json
import os
from contextlib import suppress

import pytest

from compresslab import __main__ as terminal
from compresslab.exercises.answers import AnswerError
from compresslab.exercises.checking import check
from compresslab.exercises.tasks import TASKS
from compresslab.teaching import progress


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Stand in an empty folder, as a notebook does."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_was_passed_is_kept_with_its_first_day(place):
    progress.start(place)
    check("02-1", 0.0025)
    check("03-3a", TASKS["03-3a"].right)
    found = json.loads((place / progress.FILE).read_text())
    assert list(found["solved"]) == ["02-1", "03-3a"]
    assert all(len(day) == len("2026-11-28") for day in found["solved"].values())
    (place / progress.FILE).write_text((place / progress.FILE).read_text().replace("20", "19"))
    before = (place / progress.FILE).read_text()
    check("02-1", 0.0025)
    assert (place / progress.FILE).read_text() == before
    assert [path.name for path in place.iterdir()] == [progress.FILE], "nothing else is left there"


@pytest.mark.parametrize(
    ("name", "answer"),
    [("02-1", None), ("02-1", 7), ("03-3a", None), ("03-3a", lambda *_: None), ("03-3a", lambda *_: 7)],
)
def test_what_was_not_passed_is_not_kept(place, name, answer):
    progress.start(place)
    with suppress(AnswerError):
        check(name, answer)
    assert progress.solved(place) == {}


def test_a_question_of_ones_own_is_not_kept(place):
    progress.start(place)
    check(392, 392)
    check("ternary", "ternary")
    assert progress.solved(place) == {}


def test_without_a_file_none_is_made(place):
    check("02-1", 0.0025)
    assert not list(place.iterdir())


@pytest.mark.parametrize("text", ["", "[]", "{", '{"solved": {}}', '{"book": "Other", "solved": {}}', "\xff"])
def test_a_file_that_is_not_ours_is_let_be(place, text):
    (place / progress.FILE).write_text(text, encoding="latin-1")
    check("02-1", 0.0025)
    assert (place / progress.FILE).read_text(encoding="latin-1") == text
    assert progress.solved(place) is None


def test_a_folder_that_cannot_be_written_costs_no_answer(place, monkeypatch, capsys):
    progress.start(place)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("pathlib.Path.write_text", refused)  # root may write everywhere
    check("02-1", 0.0025)
    assert capsys.readouterr().out == "Right: 0.0025.\n"
    assert progress.solved(place) == {}


def test_a_killed_kernel_leaves_the_old_file(place, monkeypatch):
    progress.start(place)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        check("02-1", 0.0025)
    assert progress.solved(place) == {}


def test_starting_again_loses_nothing(place):
    progress.start(place)
    check("02-1", 0.0025)
    progress.start(place)
    assert list(progress.solved(place) or {}) == ["02-1"]


def asked(monkeypatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["compresslab", "progress", *words])
    return terminal.main()


def test_the_terminal_says_what_is_solved_and_how_to_begin(place, monkeypatch, capsys):
    assert asked(monkeypatch) == 1
    assert "python -m compresslab progress . --start" in capsys.readouterr().out
    assert asked(monkeypatch, "--start") == 0
    check("02-1", 0.0025)
    check("03-3a", TASKS["03-3a"].right)
    assert asked(monkeypatch, os.fspath(place)) == 0
    said = capsys.readouterr().out
    assert "1 of " in said
    assert "\n02  solved 2.1, open 2.2 2.3\n" in said
    assert "\n03  open 3.1 3.2 3.3\n" in said
    assert asked(monkeypatch, "nowhere", "--start") == 1
    assert "No file could be begun in nowhere" in capsys.readouterr().out
