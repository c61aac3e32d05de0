"""Claims that raise, the package's own source on the page, and values short enough for a message."""

import ast
import inspect
import textwrap
from collections.abc import Sized
from typing import Any

import numpy as np
from IPython.core.getipython import get_ipython
from IPython.display import display
from torch import Tensor, nn

from compresslab.errors import CompressionError


class ClaimError(CompressionError, AssertionError):
    """A sentence of the book does not hold here; the message says which."""


class _Source:
    """Source code that shows itself highlighted on the page and in JupyterLab, and plain in a terminal."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"~~~~~python\n{self.text}\n~~~~~"  # the page's own theme colours it, light or dark


def claim(text: str, condition: Any) -> None:
    """Print a sentence with a tick, or stop the notebook where it is false.

    A stored output that is compared to the letter may differ between machines only where it does not matter;
    a claim says what must hold everywhere. Keep measured digits out of the text.

    Args:
        text: a statement, without a full stop.
        condition: True or False, or one element of a tensor or array that is.

    Raises:
        ClaimError: the statement is false.
        CompressionError: the condition is neither True nor False.

    >>> claim("four bits need half the bytes of eight", 4 * 2 == 8)
    ✓ four bits need half the bytes of eight
    """
    single = isinstance(condition, Tensor | np.ndarray) and condition.ndim == 0
    value = condition.item() if single else condition
    if not isinstance(value, bool | np.bool_):
        raise CompressionError(
            f"The claim {text!r} needs True or False, found {shown(condition)}; compare, or use .all()."
        )
    if not value:
        raise ClaimError(
            f"✗ {text}: the book claims this, and it is false here. "
            "Something differs from where it was written; look at the values in the condition."
        )
    print(f"✓ {text}")


def show_source(*objects: Any, docstring: bool = False) -> None:
    """Show the package's own source, so that nothing has to be taken on trust.

    Args:
        objects: functions, methods or classes.
        docstring: whether to keep the docstrings; without them a listing stays short.

    Raises:
        CompressionError: an object has no Python source.

    >>> show_source(_Source.__repr__)
    def __repr__(self) -> str:
        return self.text
    """
    text = "\n\n\n".join(_source_of(thing, docstring) for thing in objects)
    if get_ipython() is None:
        print(text)
    else:
        display(_Source(text))


def shown(value: Any) -> str:
    """Write a value for a message, short whatever it holds.

    >>> shown(list(range(1000)))
    'a list of 1,000 elements'
    """
    if isinstance(value, Tensor | np.ndarray) and np.prod(value.shape) > 8:
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    text = str(value.tolist()) if isinstance(value, Tensor | np.ndarray | np.generic) else repr(value)
    if len(text) <= 80:
        return text
    return f"a {type(value).__name__}" + (f" of {len(value):,} elements" if isinstance(value, Sized) else "")


def _source_of(thing: Any, docstring: bool) -> str:
    try:
        text = textwrap.dedent(inspect.getsource(inspect.unwrap(getattr(thing, "fget", None) or thing)))
    except (TypeError, OSError) as error:
        raise CompressionError(
            f"The source of {shown(thing)} was asked, but it has none in Python; take a function or class."
        ) from error
    return (text if docstring else _without_docstrings(text)).rstrip()


def _without_docstrings(text: str) -> str:
    lines: list[str | None] = list(text.splitlines())
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node) is None or len(node.body) == 1:
            continue  # a docstring that is the whole body stays, or nothing would be left
        first, second = node.body[:2]
        start = min(one.lineno for one in (second, *getattr(second, "decorator_list", ())))
        last = first.end_lineno or first.lineno
        blank = [number for number in range(last, start - 1) if not (lines[number] or "").strip()]
        for number in (*range(first.lineno - 1, last), *blank):
            lines[number] = None
    return "\n".join(line for line in lines if line is not None)
