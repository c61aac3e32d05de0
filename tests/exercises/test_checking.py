"""Laws of a check: what is right is said the same way every time, what is wrong says in what way."""

import numpy as np
import pytest
import torch

import compresslab
from compresslab import exercises, teaching
from compresslab.exercises.answers import AnswerError
from compresslab.exercises.checking import check, check_function

RIGHT = [
    (392, 392, 0),
    (np.int64(392), 392, 0),
    (torch.tensor(392), 392, 0),
    (0.31, 0.3, 0.02),
    (100 * (1 - 0.05 / 0.2), 75, 0),
    (74.99999999999997, 75, 0),
    ([0.1 + 0.2 - 0.3, 2], [0, 2], 0),
    (float("inf"), float("inf"), 0),
    ("Ternary ", "ternary", 0),
    (True, True, 0),
    (np.True_, True, 0),
    ([1, 2], (1, 2), 0),
    (torch.tensor([1.0, 2.0]), np.array([1.0, 2.0]), 0),
    (torch.tensor([1, 2], dtype=torch.int8), [1, 2], 0),
]
WRONG = [
    (391, 392, 0, "too small"),
    (393, 392, 0, "too large"),
    (0.4, 0.3, 0.02, "too large"),
    (75.000001, 75, 0, "too large"),
    (10**13 + 1, 10**13, 0, "too large"),
    (float("nan"), 0.3, 1.0, "Not yet"),
    ("binary", "ternary", 0, "another one"),
    ("392", 392, 0, "text; give it without quotes"),
    (3, "ternary", 0, "A word in quotes"),
    (1, True, 0, "True or False"),
    (True, 1, 0, "A number is expected"),
    ([1, 2, 3], [1, 2], 0, r"shape is \(3,\), expected is \(2,\)"),
    ([1, 5, 3], [1, 2, 3], 0, r"1 of 3 elements differ, the first at \(1,\)"),
    (torch.eye(2), torch.ones(2, 2), 0, r"2 of 4 elements differ, the first at \(0, 1\)"),
    (object(), 392, 0, "Numbers are expected"),
]


@pytest.mark.parametrize(("answer", "expected", "within"), RIGHT)
def test_right_answers_are_confirmed(answer, expected, within, capsys):
    check(answer, expected, within=within)
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize(("answer", "expected", "within", "message"), WRONG)
def test_wrong_answers_raise_and_say_in_what_way(answer, expected, within, message):
    with pytest.raises(AnswerError, match=message):
        check(answer, expected, within=within)


def test_a_wrong_answer_gets_the_hint_but_not_the_solution():
    with pytest.raises(AnswerError, match="Eight codes share a byte") as caught:
        check(3136, 392, hint="Eight codes share a byte.")
    assert "392" not in str(caught.value)


def test_a_known_mistake_is_named_in_place_of_the_general_message():
    with pytest.raises(AnswerError, match=r"Not yet: 3136. That counts bits.$"):
        check(3136, 392, mistakes={3136: "That counts bits.", 0: "Other."})


@pytest.mark.parametrize("nothing", [None, ...])
def test_no_answer_yet_is_neither_right_nor_an_error(nothing, capsys):
    check(nothing, 392)
    check_function(lambda bits: nothing, lambda bits: bits, [1])
    out = capsys.readouterr().out
    assert out.count("No answer yet") == 2
    assert "Right" not in out


def test_a_function_is_tried_on_every_case(capsys):
    seen = []
    check_function(lambda a, b: seen.append((a, b)) or a + b, lambda a, b: b + a, [(1, 2), (3, 4)])
    assert seen == [(1, 2), (3, 4)]
    assert capsys.readouterr().out == "Right: 2 cases agree.\n"


def test_the_first_case_on_which_a_function_differs_is_shown():
    with pytest.raises(AnswerError, match=r"for 3 it gave 9. That is too large. Think of doubling."):
        check_function(lambda n: n * n, lambda n: 2 * n, [2, 3, 4], hint="Think of doubling.")


def test_a_small_case_is_shown_with_its_numbers_and_a_large_one_by_its_shape():
    """Who sees what went in and what came out can follow it by hand."""
    rows = torch.tensor([[0.6, -0.3, 1 / 3], [0.0, 2.0, 1e-6], [5.0, 4.0, 100.0]])
    with pytest.raises(AnswerError) as raised:
        check_function(lambda rows: rows / 3, lambda rows: rows, [rows])
    assert "for [[0.6, -0.3, 0.3333], [0.0, 2.0, 1e-06], [5.0, 4.0, 100.0]] it gave [[0.2, " in str(
        raised.value
    )
    with pytest.raises(
        AnswerError, match=r"for a Tensor of shape \(5, 3\) it gave a Tensor of shape \(5, 3\)\."
    ):
        check_function(lambda rows: rows / 3, lambda rows: rows, [torch.ones(5, 3)])


def test_an_error_inside_the_learners_function_becomes_a_message():
    with pytest.raises(AnswerError, match="for 0 it raised ZeroDivisionError"):
        check_function(lambda n: 1 / n, lambda n: n, [0])


def test_every_door_gives_the_same_check():
    assert exercises is compresslab.exercises
    for name in ("check", "check_function", "claim", "show_source"):
        assert getattr(exercises, name) is getattr(teaching, name)
