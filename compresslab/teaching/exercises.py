"""Claims that raise, the package's own source on the page, and checks that help instead of only judging."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from IPython.core.getipython import get_ipython
from IPython.display import display
from torch import Tensor

from compresslab.errors import CompressionError


class ClaimError(CompressionError, AssertionError):
    """A sentence of the book does not hold here; the message says which."""


class AnswerError(CompressionError):
    """An answer to an exercise is not right yet; the message helps on."""


class _Source:
    """Source code that shows itself highlighted on the page and in JupyterLab, and plain in a terminal."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"~~~~~python\n{self.text}\n~~~~~"  # the page's own theme colours it, light or dark


def claim(text: str, condition: Any) -> None:
    """Print a sentence with its truth, or stop the notebook where it is false.

    A stored output that is compared to the letter may differ between machines only where it does not matter;
    a claim says what must hold everywhere. Keep measured digits out of the text.

    Args:
        text: a statement, without a full stop.
        condition: True or False, or one element of a tensor or array that is.

    Raises:
        ClaimError: the statement is false.
        CompressionError: the condition is neither True nor False.

    >>> claim("four bits need half the bytes of eight", 4 * 2 == 8)
    four bits need half the bytes of eight: True
    """
    single = isinstance(condition, Tensor | np.ndarray) and condition.ndim == 0
    value = condition.item() if single else condition
    if not isinstance(value, bool | np.bool_):
        raise CompressionError(
            f"The claim {text!r} needs True or False, found {_shown(condition)}; compare, or use .all()."
        )
    if not value:
        raise ClaimError(
            f"{text}: False. The book claims this; something differs here from where it was written."
        )
    print(f"{text}: True")


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


def check(
    answer: Any,
    expected: Any,
    hint: str = "",
    *,
    within: float = 0.0,
    mistakes: Mapping[Any, str] | None = None,
) -> None:
    """Tell whether an answer is right, and where it is not, help on.

    Args:
        answer: the learner's; None stands for "no answer yet" and stops nothing.
        expected: a number, a string, a bool, a sequence, a tensor or an array.
        hint: one sentence that helps with any wrong answer.
        within: largest difference allowed, in the answer's own unit.
        mistakes: what a certain wrong answer gives away, for example ``{8: "That counts bits, not bytes."}``.

    Raises:
        AnswerError: the answer is wrong; the message holds the hint, not the solution.

    >>> check(392, 3136 // 8, hint="Eight codes of one bit share a byte.")
    Right: 392.
    >>> check(None, 392)
    No answer yet: put yours in the place of None and run the cell again.
    >>> check(3136, 392, mistakes={3136: "That counts bits, not bytes."})
    Traceback (most recent call last):
        ...
    compresslab.teaching.exercises.AnswerError: Not yet: 3136. That counts bits, not bytes.
    """
    if answer is None or answer is ...:
        print("No answer yet: put yours in the place of None and run the cell again.")
        return
    trouble = _difference(answer, expected, within)
    if trouble is None:
        print(f"Right: {_shown(answer)}.")
        return
    known = _known_mistake(answer, mistakes or {}, within)
    raise AnswerError(" ".join(filter(None, (f"Not yet: {_shown(answer)}.", known or trouble, hint))))


def check_function(
    function: Callable[..., Any] | None,
    reference: Callable[..., Any],
    cases: Iterable[Any],
    hint: str = "",
    *,
    within: float = 0.0,
) -> None:
    """Try the learner's function on cases, and name the first on which it differs from the reference.

    Args:
        function: the learner's; None, or a body that gives back None or ``...``, stands for "no answer yet".
        reference: a function that is right.
        cases: arguments, a tuple for each call; anything but a tuple counts as the only argument.
        hint: one sentence that helps with any wrong answer.
        within: largest difference allowed, element by element.

    Raises:
        AnswerError: the function raises or differs; the message shows the case.

    >>> check_function(lambda bits: 1 << bits, lambda bits: 2**bits, [1, 2, 8])
    Right: 3 cases agree.
    """
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    for case in cases:
        try:
            answer = None if function is None else function(*case)
        except Exception as error:  # whatever a learner's code may raise becomes help
            trouble = f"it raised {type(error).__name__}: {error}"
            raise AnswerError(_case_message(case, trouble, hint)) from error
        if answer is None or answer is ...:
            print("No answer yet: write the body of the function and run the cell again.")
            return
        trouble = _difference(answer, reference(*case), within)
        if trouble:
            raise AnswerError(_case_message(case, f"it gave {_shown(answer)}. {trouble}", hint))
    print(f"Right: {len(cases)} case{'s agree' if len(cases) != 1 else ' agrees'}.")


def _case_message(case: tuple[Any, ...], trouble: str, hint: str) -> str:
    return f"Not yet: for {', '.join(map(_shown, case))} {trouble} {hint}".rstrip()


def _difference(answer: Any, expected: Any, within: float) -> str | None:
    """Say what is wrong without giving the solution away, or return None where nothing is."""
    if isinstance(expected, str) or isinstance(answer, str):
        texts = isinstance(expected, str) and isinstance(answer, str)
        same = texts and answer.strip().lower() == expected.lower()
        return None if same else f"A {type(expected).__name__} of another value is expected."
    other = f"A {type(expected).__name__} is expected, not a {type(answer).__name__}."
    if isinstance(expected, bool) != isinstance(answer, bool | np.bool_) and not isinstance(expected, Tensor):
        return other
    try:
        left, right = (np.asarray(_plain(value), dtype=np.float64) for value in (answer, expected))
    except (TypeError, ValueError):
        return other
    if left.shape != right.shape:
        return f"The shape is {left.shape}, expected is {right.shape}."
    with np.errstate(invalid="ignore"):  # infinity minus itself; the equality beside it decides
        wrong = ~((np.abs(left - right) <= within) | (left == right))
    if not wrong.any():
        return None
    if right.ndim == 0:
        return "That is too large." if left > right else "That is too small."
    place = tuple(int(axis) for axis in np.argwhere(wrong)[0])
    return f"{int(wrong.sum())} of {wrong.size} elements differ, the first at {place}."


def _known_mistake(answer: Any, mistakes: Mapping[Any, str], within: float) -> str | None:
    matches = (text for wrong, text in mistakes.items() if _difference(answer, wrong, within) is None)
    return next(matches, None)


def _plain(value: Any) -> Any:
    return value.detach().cpu().to(torch.float64).numpy() if isinstance(value, Tensor) else value


def _shown(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray) and np.prod(value.shape) > 8:
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    if isinstance(value, Tensor):
        return str(value.tolist())
    return str(value.tolist()) if isinstance(value, np.ndarray | np.generic) else repr(value)


def _source_of(thing: Any, docstring: bool) -> str:
    try:
        text = textwrap.dedent(inspect.getsource(inspect.unwrap(getattr(thing, "fget", None) or thing)))
    except (TypeError, OSError) as error:
        raise CompressionError(
            f"The source of {_shown(thing)} was asked, but it has none in Python; take a function or class."
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
