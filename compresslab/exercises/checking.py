"""Checks that help instead of only judging: of one answer, and of a function tried on cases."""

import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
from torch import Tensor

from compresslab.exercises.answers import AnswerError, Question, alike, difference, habit, questions
from compresslab.exercises.tasks import TASKS
from compresslab.teaching.progress import remember
from compresslab.teaching.showing import shown


def check(
    answer: Any,
    expected: Any,
    hint: str = "",
    *,
    within: float = 0.0,
    mistakes: Mapping[Any, str] | None = None,
    required: bool = False,
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
        required: whether no answer counts as a wrong one, as where points are given.

    Raises:
        AnswerError: the answer is wrong; the message holds the hint, not the solution.

    >>> check(392, 3136 // 8, hint="Eight codes of one bit share a byte.")
    Right: 392.
    >>> check("02-1", None)
    No answer yet: put yours in the place of None and run the cell again.
    >>> check(3136, 392, mistakes={3136: "That counts bits, not bytes."})
    Traceback (most recent call last):
        ...
    compresslab.exercises.answers.AnswerError: Not yet: 3136. That counts bits, not bytes.
    """
    if isinstance(answer, str) and answer in TASKS:
        task = TASKS[answer]
        asked = None if expected is None or expected is ... else task.ask(expected)
        known = [(task.ask(wrong), sentence) for wrong, sentence in task.mistakes]
        right = task.ask(task.right)
        more = {"within": task.within, "mistakes": known, "required": required}
        if _agrees(asked, right, task.cases(), task.hint, **more):
            remember(answer)
        return
    name = answer if isinstance(answer, str) and answer in questions() else None
    if name:
        question, answer = questions()[name], expected
    else:
        question = Question(expected, hint, within, tuple((mistakes or {}).items()))
    if answer is None or answer is ...:
        _say_that_none_is_there("put yours in the place of None and run the cell again.", required)
    elif trouble := question.trouble(answer):
        raise AnswerError(f"Not yet: {shown(answer)}. {trouble} {question.hint}".rstrip())
    else:
        print(f"Right: {shown(answer)}.")
        if name:
            remember(name)


def check_function(
    function: Callable[..., Any] | None,
    reference: Callable[..., Any],
    cases: Iterable[Any],
    hint: str = "",
    *,
    within: float = 0.0,
    mistakes: Iterable[tuple[Callable[..., Any], str]] = (),
    required: bool = False,
) -> None:
    """Try the learner's function on cases, and name the first on which it differs from the reference.

    Args:
        function: the learner's; None, or a body that gives back None or ``...``, stands for "no answer yet".
        reference: a function that is right.
        cases: arguments, a tuple for each call; anything but a tuple counts as the only argument.
        hint: one sentence that helps with any wrong answer.
        within: largest difference allowed, element by element.
        mistakes: wrong functions, each with a sentence for whoever's agrees with it on all cases.
        required: whether no answer counts as a wrong one.

    Raises:
        AnswerError: the function raises or differs; the message shows the case.

    >>> check_function(lambda bits: 1 << bits, lambda bits: 2**bits, [1, 2, 8])
    Right: 3 cases agree.
    """
    _agrees(function, reference, cases, hint, within=within, mistakes=mistakes, required=required)


def _agrees(
    function: Callable[..., Any] | None,
    reference: Callable[..., Any],
    cases: Iterable[Any],
    hint: str,
    *,
    within: float,
    mistakes: Iterable[tuple[Callable[..., Any], str]],
    required: bool,
) -> bool:
    """Say whether it agrees on all cases; False stands for "no answer yet"."""
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
            _say_that_none_is_there("write the body of the function and run the cell again.", required)
            return False
    rights = [reference(*case) for case in cases]
    troubles = [difference(*pair, within) for pair in zip(answers, rights, strict=True)]
    first = next((place for place, trouble in enumerate(troubles) if trouble), None)
    if first is None:
        print(f"Right: {len(cases)} case{'s agree' if len(cases) != 1 else ' agrees'}.")
        return True
    known = (text for wrong, text in mistakes if alike(answers, [wrong(*case) for case in cases], within))
    sentence = next(known, None) or habit(answers, rights, within) or troubles[first]
    found = f"it gave {_seen(answers[first])}. {sentence}"
    raise AnswerError(_case_message(cases[first], found, hint))


def _say_that_none_is_there(what_to_do: str, required: bool) -> None:
    if required:
        raise AnswerError(f"No answer yet: {what_to_do}")
    print(f"No answer yet: {what_to_do}")


def _case_message(case: tuple[Any, ...], trouble: str, hint: str) -> str:
    return f"Not yet: for {', '.join(map(_seen, case))} {trouble} {hint}".rstrip()


def _seen(value: Any) -> str:
    """Write a value of a case: of a small tensor its numbers, with four digits, so that one can follow.

    >>> _seen(np.array([[1, 2], [3, 1 / 3]]))
    '[[1.0, 2.0], [3.0, 0.3333]]'
    """
    if isinstance(value, Tensor | np.ndarray) and np.prod(value.shape) <= 12:
        text = re.sub(
            r"\d+\.\d{5,}(?:e[-+]\d+)?", lambda found: f"{float(found[0]):.4g}", str(value.tolist())
        )
        if len(text) <= 100:
            return text
    return shown(value)
