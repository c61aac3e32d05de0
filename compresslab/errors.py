"""How do we say no? One base, few children, and the checks that every room makes of its arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class CompressionError(ValueError):
    """Say what was asked, what was found and what to do.

    Every refusal of the package is one of these, so that one ``except`` catches them all.

    >>> issubclass(CompressionError, ValueError)
    True
    """

    def __init__(self, message: str) -> None:
        super().__init__(message if len(message) <= 500 else f"{message[:496]} ...")


class FormatError(CompressionError):
    """A file is damaged, hostile, or not one of ours; nothing of it was used."""


class DataError(CompressionError):
    """A data set is not where it was looked for, or is not what it should be."""


def whole(value: Any, what: str, low: int = 1, high: int | None = None) -> int:
    """Return a whole number that lies within its bounds; True is no number.

    Args:
        value: what a caller gave.
        what: how the message calls it, for example ``"the width of a code"``.
        low: the smallest that is allowed.
        high: the largest; None for no end.

    Raises:
        CompressionError: it is something else.

    >>> whole(0, "a group's size")
    Traceback (most recent call last):
    compresslab.errors.CompressionError: 0 was asked for a group's size; give a whole number of at least 1.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < low
        or (high is not None and value > high)
    ):
        bounds = f"of at least {low:,}" if high is None else f"from {low:,} to {high:,}"
        raise CompressionError(f"{value!r:.80} was asked for {what}; give a whole number {bounds}.")
    return value


def fraction(value: Any, what: str) -> float:
    """Return a share of a whole: a float from 0.0 to 1.0, since 1 could mean one thing or all of them.

    Raises:
        CompressionError: it is something else.

    >>> fraction(90, "a share")
    Traceback (most recent call last):
    compresslab.errors.CompressionError: 90 was asked for a share; give a float from 0.0 to 1.0.
    """
    if not isinstance(value, float) or not 0 <= value <= 1:
        raise CompressionError(f"{value!r:.80} was asked for {what}; give a float from 0.0 to 1.0.")
    return value


def one_of(value: Any, known: Iterable[str], what: str) -> str:
    """Return a name that is known.

    Raises:
        CompressionError: it is not.

    >>> one_of("conv9", ["conv1", "conv2"], "layer")
    Traceback (most recent call last):
    compresslab.errors.CompressionError: There is no layer 'conv9'; there are conv1, conv2.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:  # an array has no answer to ``in``
        listed = ", ".join(names) or "none"
        listed = listed if len(listed) <= 300 else f"{listed[:300]} ..."
        raise CompressionError(f"There is no {what} {value!r:.80}; there are {listed}.")
    return value
