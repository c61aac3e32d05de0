"""What counts as right, as a careful person would judge, and what a wrong answer gives away."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compresslab.errors import CompressionError

ROUNDED = 1e-3  # of a typical mistake: it is recognised in three digits
NOISE = 1e-12  # of a whole number: 100 times 0.75 may come out a little less than 75
SINGLE = 2e-6  # of the largest number: whoever computes in float32 is right

# What a wrong answer must be turned into to be right, and what to say then.
_HABITS: tuple[tuple[Callable[[np.ndarray], np.ndarray], str], ...] = (
    (lambda found: -found, "The sign is turned."),
    (lambda found: found / 100, "That is in percent; a fraction is asked."),
    (lambda found: found * 100, "That is a fraction; percent is asked."),
    (lambda found: found[::-1] if found.ndim else found, "The order is turned around."),
    (lambda found: found.T, "Rows and columns are exchanged."),
    (lambda found: found / 2, "All of it is twice what is right."),
    (lambda found: found * 2, "All of it is half of what is right."),
    (lambda found: found - 1, "All of it is one too much."),
    (lambda found: found + 1, "All of it is one too little."),
    (lambda found: found / 8, "All of it is eight times what is right: are those bits?"),
    (lambda found: found * 8, "All of it is an eighth of what is right: are those bytes?"),
)
_OF_ONE_NUMBER = 3  # so many are named for a single number: more would give it away


class AnswerError(CompressionError):
    """An answer to an exercise is not right yet; the message helps on."""

    def _render_traceback_(self) -> list[str]:
        """Show the message alone in a notebook: where the package raised it helps nobody."""
        return [str(self)]


@dataclass(frozen=True)
class Question:
    """What one question expects.

    Args:
        right: the answer.
        hint: one sentence that helps with any wrong answer.
        within: largest difference allowed, in the answer's own unit.
        mistakes: wrong answers, each with what it gives away.
        choices: the answers to choose from; none where any may be given.
    """

    right: Any
    hint: str = ""
    within: float = 0.0
    mistakes: Sequence[Sequence[Any]] = ()
    choices: Sequence[Any] = ()

    def trouble(self, answer: Any) -> str | None:
        """Say what is wrong with an answer without giving the right one away; None where nothing is."""
        trouble = difference(answer, self.right, self.within)
        if trouble is None:
            return None
        for wrong, sentence in self.mistakes:
            if difference(answer, wrong, self.within or _leeway(wrong)) is None:
                return sentence
        kind = type(self.right)
        if kind in (int, str) and isinstance(answer, kind) and self.choices and answer not in self.choices:
            return f"Choose one of {', '.join(map(repr, self.choices))}."
        named = not isinstance(self.right, str | bool) and habit([answer], [self.right], self.within)
        return named or trouble


@cache
def questions() -> dict[str, Question]:
    """Return what each exercise expects that asks for one answer, by its name such as "02-1".

    >>> questions()["02-1"].hint
    'The scale is the largest magnitude divided by the largest code.'
    """
    text = Path(__file__).with_name("answers.toml").read_text(encoding="utf-8")
    return {name: Question(**entry) for name, entry in tomllib.loads(text).items()}


def difference(answer: Any, expected: Any, within: float) -> str | None:
    """Say what is wrong without giving the solution away, or return None where nothing is.

    A list, an array and a tensor of the same numbers are alike, and so are numbers that differ by less than
    float32 can tell.
    """
    if _holds_text(expected):
        return _difference_of_texts(answer, expected)
    if isinstance(answer, str) and not isinstance(expected, str):
        return "That is text; give it without quotes."
    if _holds_text(answer) and not isinstance(expected, str | bool):
        return "It holds text; numbers are expected, without quotes."
    if isinstance(answer, list | tuple) and isinstance(expected, str | bool) and len(answer) != 1:
        return "One answer is expected, not several."
    if isinstance(expected, str):
        if not isinstance(answer, str):
            return "A word in quotes is expected."
        same = "".join(answer.split()).lower() == "".join(expected.split()).lower()
        return None if same else "It is another one."
    truth = isinstance(expected, bool), isinstance(answer, bool | np.bool_) or _is_truth(answer)
    if truth[0] != truth[1] and np.ndim(_plain(expected)) == 0:
        if truth[0] and isinstance(answer, float):
            return "That is a number; compare it, and answer True or False."
        return "Answer True or False." if truth[0] else "A number is expected, not True or False."
    if isinstance(answer, int) and isinstance(expected, int) and max(abs(answer), abs(expected)) > 2**53:
        return None if answer == expected else "The last digits differ."  # which float64 does not hold
    try:
        left, right = (np.asarray(_plain(value), dtype=np.float64) for value in (answer, expected))
    except (TypeError, ValueError, RuntimeError):
        return f"Numbers are expected; this {type(answer).__name__} holds other things, or uneven rows."
    if left.shape != right.shape:
        if left.squeeze().shape != right.squeeze().shape:
            return f"The shape is {left.shape}, expected is {right.shape}."
        left = left.reshape(right.shape)
    within = max(within, _leeway(right, SINGLE) if np.any(right % 1) else 0.0)
    with np.errstate(invalid="ignore"):  # infinity minus itself; the equality beside it decides
        noise = (left % 1 != 0) & (np.abs(left - right) <= NOISE * np.maximum(np.abs(right), 1))
        near = (np.abs(left - right) <= within) | noise
        wrong = ~(near | (left == right) | (np.isnan(left) & np.isnan(right)))
    if not wrong.any():
        return None
    if truth[0]:
        return "It is not so."
    if right.ndim == 0:
        return "That is too large." if left > right else "That is too small."
    place = tuple(int(axis) for axis in np.argwhere(wrong)[0])
    return f"{int(wrong.sum())} of {wrong.size} elements differ, the first at {place}."


def alike(answers: Sequence[Any], others: Sequence[Any], within: float) -> bool:
    """Say whether two rows of answers are the same from the first to the last."""
    return all(difference(*pair, within) is None for pair in zip(answers, others, strict=True))


def habit(answers: Sequence[Any], rights: Sequence[Any], within: float) -> str | None:
    """Name the habit behind wrong answers: a sign, a factor, an order, the same in all of them.

    >>> habit([25.0, 50.0], [0.25, 0.5], 0.0)
    'That is in percent; a fraction is asked.'
    """
    if any(_holds_text(one) for one in (*answers, *rights)):
        return None
    try:
        found = [np.asarray(_plain(answer), dtype=np.float64) for answer in answers]
        right = [np.asarray(_plain(one), dtype=np.float64) for one in rights]
    except (TypeError, ValueError, RuntimeError):
        return None
    within = max([within, *(1e-12 * np.abs(one).max(initial=0) for one in right)])  # turning rounds, too
    single = sum(one.size for one in right) == 1
    for turn, sentence in _HABITS[: _OF_ONE_NUMBER if single else None]:
        if alike([turn(one) for one in found], right, within):
            return sentence
    if single or [one.size for one in found] != [one.size for one in right]:
        return None
    if alike([np.abs(one) for one in found], [np.abs(one) for one in right], within):
        return "The magnitudes are right; look at the signs."
    if alike([np.sort(one, None) for one in found], [np.sort(one, None) for one in right], within):
        return "The numbers are right; their order is not."
    if alike([np.round(one) for one in found], right, within):
        return "Whole numbers are expected: round."
    return None


def _holds_text(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(one, str) for one in value)


def _difference_of_texts(answer: Any, expected: Sequence[Any]) -> str | None:
    given = answer.tolist() if isinstance(answer, np.ndarray) else answer
    if not isinstance(given, list | tuple):
        return "A list is expected, with texts in quotes."
    if len(given) != len(expected):
        return f"The list holds {len(given)}, expected are {len(expected)}."
    wrong = [place for place, pair in enumerate(zip(given, expected, strict=True)) if pair[0] != pair[1]]
    return f"{len(wrong)} of {len(given)} differ, the first at ({wrong[0]},)." if wrong else None


def _is_truth(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray) and value.ndim == 0 and str(value.dtype).endswith("bool")


def _leeway(value: Any, share: float = ROUNDED) -> float:
    """Return a share of the largest magnitude of a number or of several; 0 for what is no number."""
    if isinstance(value, str | bool):
        return 0.0
    return share * float(
        np.abs(np.asarray(value, dtype=np.float64)).max(initial=0.0, where=np.isfinite(value))
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().to(torch.float64).numpy()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
