"""Claims that raise, the package's own source on the page, and checks that help instead of only judging."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
from IPython.core.getipython import get_ipython
from IPython.display import display
from torch import Tensor

from compresslab.errors import CompressionError
from compresslab.teaching.answers import AnswerError, Question, alike, difference, habit, questions, shown
from compresslab.teaching.tasks import TASKS


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
            f"The claim {text!r} needs True or False, found {shown(condition)}; compare, or use .all()."
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

    A chapter writes ``check("02-1", answer)``: what 02-1 expects stands in the package, out of sight.
    For a question of your own, give the answer and what is right.

    Args:
        answer: the learner's; None stands for "no answer yet" and stops nothing. Or an exercise's name.
        expected: a number, a string, a bool, a sequence, a tensor or an array. Behind a name, the answer.
        hint: one sentence that helps with any wrong answer.
        within: largest difference allowed, in the answer's own unit.
        mistakes: what a certain wrong answer gives away, for example ``{8: "That counts bits, not bytes."}``.

    Raises:
        AnswerError: the answer is wrong; the message holds the hint, not the solution.

    >>> check(392, 3136 // 8, hint="Eight codes of one bit share a byte.")
    Right: 392.
    >>> check("02-1", None)
    No answer yet: put yours in the place of None and run the cell again.
    >>> check(3136, 392, mistakes={3136: "That counts bits, not bytes."})
    Traceback (most recent call last):
        ...
    compresslab.teaching.answers.AnswerError: Not yet: 3136. That counts bits, not bytes.
    """
    if isinstance(answer, str) and answer in TASKS:
        task = TASKS[answer]
        asked = None if expected is None or expected is ... else task.ask(expected)
        known = [(task.ask(wrong), sentence) for wrong, sentence in task.mistakes]
        right = task.ask(task.right)
        check_function(asked, right, task.cases(), task.hint, within=task.within, mistakes=known)
        return
    if isinstance(answer, str) and answer in questions():
        question, answer = questions()[answer], expected
    else:
        question = Question(expected, hint, within, tuple((mistakes or {}).items()))
    if answer is None or answer is ...:
        print("No answer yet: put yours in the place of None and run the cell again.")
    elif trouble := question.trouble(answer):
        raise AnswerError(f"Not yet: {shown(answer)}. {trouble} {question.hint}".rstrip())
    else:
        print(f"Right: {shown(answer)}.")


def check_function(
    function: Callable[..., Any] | None,
    reference: Callable[..., Any],
    cases: Iterable[Any],
    hint: str = "",
    *,
    within: float = 0.0,
    mistakes: Iterable[tuple[Callable[..., Any], str]] = (),
) -> None:
    """Try the learner's function on cases, and name the first on which it differs from the reference.

    Args:
        function: the learner's; None, or a body that gives back None or ``...``, stands for "no answer yet".
        reference: a function that is right.
        cases: arguments, a tuple for each call; anything but a tuple counts as the only argument.
        hint: one sentence that helps with any wrong answer.
        within: largest difference allowed, element by element.
        mistakes: wrong functions, each with a sentence for whoever's agrees with it on all cases.

    Raises:
        AnswerError: the function raises or differs; the message shows the case.

    >>> check_function(lambda bits: 1 << bits, lambda bits: 2**bits, [1, 2, 8])
    Right: 3 cases agree.
    """
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    answers = []
    for case in cases:
        try:
            answers.append(None if function is None else function(*deepcopy(case)))
        except AnswerError:
            raise
        except Exception as error:  # whatever a learner's code may raise becomes help
            trouble = f"it raised {type(error).__name__}: {error!s:.200}."
            raise AnswerError(_case_message(case, trouble, hint)) from error
        if answers[-1] is None or answers[-1] is ...:
            print("No answer yet: write the body of the function and run the cell again.")
            return
    rights = [reference(*case) for case in cases]
    troubles = [difference(*pair, within) for pair in zip(answers, rights, strict=True)]
    first = next((place for place, trouble in enumerate(troubles) if trouble), None)
    if first is None:
        print(f"Right: {len(cases)} case{'s agree' if len(cases) != 1 else ' agrees'}.")
        return
    known = (text for wrong, text in mistakes if alike(answers, [wrong(*case) for case in cases], within))
    sentence = next(known, None) or habit(answers, rights, within) or troubles[first]
    found = f"it gave {shown(answers[first])}. {sentence}"
    raise AnswerError(_case_message(cases[first], found, hint))


def _case_message(case: tuple[Any, ...], trouble: str, hint: str) -> str:
    return f"Not yet: for {', '.join(map(shown, case))} {trouble} {hint}".rstrip()


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
