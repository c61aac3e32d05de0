"""Laws of the notebook helpers: what is false stops, what is right is said the same way every time."""

import ast

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from compresslab.errors import CompressionError
from compresslab.teaching.exercises import (
    AnswerError,
    ClaimError,
    _without_docstrings,
    check,
    check_function,
    claim,
    show_source,
)


@pytest.mark.parametrize("truth", [True, np.True_, torch.tensor(True), np.array(True), np.float64(2) > 1])
def test_a_true_claim_prints_its_sentence(truth, capsys):
    claim("the file is smaller", truth)
    assert capsys.readouterr().out == "the file is smaller: True\n"


@pytest.mark.parametrize("falsehood", [False, np.False_, torch.tensor(False)])
def test_a_false_claim_raises_as_assertion_and_as_compression_error(falsehood, capsys):
    with pytest.raises(ClaimError, match="the file is smaller: False"):
        claim("the file is smaller", falsehood)
    assert issubclass(ClaimError, AssertionError)
    assert issubclass(ClaimError, CompressionError)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("neither", [1, 0, None, "yes", torch.tensor([True, False]), torch.tensor(1), 0.0])
def test_a_claim_of_something_neither_true_nor_false_is_refused(neither):
    with pytest.raises(CompressionError, match="needs True or False") as caught:
        claim("all is well", neither)
    assert not isinstance(caught.value, ClaimError)


RIGHT = [
    (392, 392, 0),
    (np.int64(392), 392, 0),
    (torch.tensor(392), 392, 0),
    (0.31, 0.3, 0.02),
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


def test_an_error_inside_the_learners_function_becomes_a_message():
    with pytest.raises(AnswerError, match="for 0 it raised ZeroDivisionError"):
        check_function(lambda n: 1 / n, lambda n: n, [0])


SAMPLE = '''
class Grid:
    """Space levels.

    >>> 1
    """

    steps: int = 3

    def levels(self):
        """List them."""

        # why: a comment stays
        return [self.steps]

    def only_words(self):
        """Nothing but this."""

    @property
    def decorated(self):
        """Gone."""

        @staticmethod
        def inner():
            return """a string is no docstring"""

        return inner
'''


def test_stripping_docstrings_leaves_the_same_program():
    def bare(text):
        tree = ast.parse(text)
        for node in ast.walk(tree):
            documented = isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node)
            if documented and len(node.body) > 1:
                del node.body[0]
        return ast.dump(tree)

    stripped = _without_docstrings(SAMPLE)
    assert ast.dump(ast.parse(stripped)) == bare(SAMPLE) != ast.dump(ast.parse(SAMPLE))
    assert "# why: a comment stays" in stripped
    assert "Space levels" not in stripped
    assert "Nothing but this" in stripped
    assert "a string is no docstring" in stripped


def test_source_is_shown_with_or_without_its_docstring(capsys):
    show_source(claim)
    assert "Print a sentence" not in capsys.readouterr().out
    show_source(claim, docstring=True)
    assert "Print a sentence" in capsys.readouterr().out


@pytest.mark.parametrize("thing", [len, 3, torch.ops.aten.add])
def test_what_has_no_python_source_is_refused(thing):
    with pytest.raises(CompressionError, match="has none in Python"):
        show_source(thing)


def test_in_a_notebook_source_is_markdown_that_the_page_colours_and_holds_no_path():
    cell = nbformat.v4.new_code_cell("from compresslab.teaching.exercises import *\nshow_source(claim)")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.data["text/markdown"].startswith("~~~~~python\ndef claim(")
    assert output.data["text/plain"].startswith("def claim(")
    assert "/" not in output.data["text/plain"].replace("text/", "")
