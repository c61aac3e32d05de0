"""Say how much goes in each round, where pruning and training take turns."""

from __future__ import annotations

from collections.abc import Sequence

from compresslab.errors import CompressionError
from compresslab.selection import count_of


def cubic(share: float, rounds: int, start: float = 0.0) -> list[float]:
    """Return the share of each round of pruning: many weights early, few at the end.

    Why: early on most weights can go unnoticed, late each one counts, and the network has had time to
    recover in between.

    Args:
        share: where the last round ends.
        rounds: how many.
        start: the share that is gone before the first.

    Raises:
        CompressionError: no rounds, or shares that are no floats from 0.0 to 1.0 in rising order.

    Source: Zhu, Gupta, 2017, equation 1 (arXiv:1710.01878), read once a round.
    Chapter: 09.

    >>> [round(s, 3) for s in cubic(0.9, 4)]
    [0.52, 0.787, 0.886, 0.9]
    """
    count_of(share, 0)  # refuses what is no share
    count_of(start, 0)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1 or start > share:
        raise CompressionError(
            f"{rounds!r} rounds from {start} to {share} were asked; there must be one or more, "
            "and a start at or below the end."
        )
    return [share + (start - share) * (1 - done / rounds) ** 3 for done in range(1, rounds + 1)]


def of_the_rest(levels: Sequence[float]) -> list[float]:
    """Turn rising shares of the whole into shares of what each round still finds.

    Why: a pruned weight stays in place as a zero and is counted again, so ``prune_weights`` takes shares of
    the whole. A cut neuron is no longer there, so ``prune_neurons`` needs shares of the rest.

    Args:
        levels: the share of all neurons that is gone after each round.

    Raises:
        CompressionError: shares that are no floats from 0.0 to 1.0 in rising order, or one that follows 1.0.

    Chapter: 13.

    >>> of_the_rest([0.5, 0.75, 0.75])
    [0.5, 0.5, 0.0]
    """
    for level in levels:
        count_of(level, 0)  # refuses what is no share
    before = [0.0, *levels[:-1]]
    if any(level < gone or gone == 1.0 for gone, level in zip(before, levels, strict=True)):
        raise CompressionError(
            f"The levels {list(levels)} were given; each is at least the one before, and none follows 1.0."
        )
    return [1 - (1 - level) / (1 - gone) for gone, level in zip(before, levels, strict=True)]
