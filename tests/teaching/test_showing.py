"""Laws of the notebook helpers: what is false stops, and source is shown as it stands."""

import ast

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from compresslab.errors import CompressionError
from compresslab.teaching.showing import ClaimError, _without_docstrings, claim, show_source


@pytest.mark.parametrize("truth", [True, np.True_, torch.tensor(True), np.array(True), np.float64(2) > 1])
def test_a_true_claim_prints_its_sentence(truth, capsys):
    claim("the file is smaller", truth)
    assert capsys.readouterr().out == "✓ the file is smaller\n"


@pytest.mark.parametrize("falsehood", [False, np.False_, torch.tensor(False)])
def test_a_false_claim_raises_as_assertion_and_as_compression_error(falsehood, capsys):
    with pytest.raises(ClaimError, match=r"^✗ the file is smaller: .* false here"):
        claim("the file is smaller", falsehood)
    assert issubclass(ClaimError, AssertionError)
    assert issubclass(ClaimError, CompressionError)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("neither", [1, 0, None, "yes", torch.tensor([True, False]), torch.tensor(1), 0.0])
def test_a_claim_of_something_neither_true_nor_false_is_refused(neither):
    with pytest.raises(CompressionError, match="needs True or False") as caught:
        claim("all is well", neither)
    assert not isinstance(caught.value, ClaimError)


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
    cell = nbformat.v4.new_code_cell(
        "from compresslab.teaching import claim, show_source\nshow_source(claim)"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.data["text/markdown"].startswith("~~~~~python\ndef claim(")
    assert output.data["text/plain"].startswith("def claim(")
    assert "/" not in output.data["text/plain"].replace("text/", "")
