"""When a difference shows: two networks on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from compresslab.errors import CompressionError

LEVEL = 0.05  # the usual level of significance; the table of ``compare`` says so below itself


@dataclass(frozen=True, repr=False)
class McNemar:
    """Test whether two networks that answered the same images differ by more than chance.

    Images that both got right, or both wrong, say nothing about which is better. If neither is, each
    of the others falls to one side or the other like a fair coin.

    Args:
        only_first: number of images that only the first network got right.
        only_second: number of images that only the second got right.

    Source: McNemar, Psychometrika 12, 1947; the exact form is the binomial test.
    Chapter: 01.

    >>> McNemar(only_first=9, only_second=2)
    9 images right only in the first, 2 only in the second: p = 0.065, inside the noise
    >>> McNemar(only_first=15, only_second=2).p_value < 0.01
    True
    """

    only_first: int
    only_second: int

    def __post_init__(self) -> None:
        if min(self.only_first, self.only_second) < 0:
            raise CompressionError(
                f"Counts of images cannot be negative, found {self.only_first}, {self.only_second}."
            )

    @cached_property
    def p_value(self) -> float:
        """Return the exact two-sided p-value, from whole numbers up to the last division."""
        coins, fewer = self.only_first + self.only_second, min(self.only_first, self.only_second)
        ways, tail = 1, 0
        for heads in range(fewer + 1):
            tail += ways
            ways = ways * (coins - heads) // (heads + 1)
        return min(1.0, 2 * tail / 2**coins)

    @property
    def inside_the_noise(self) -> bool:
        """Say whether chance alone would show such a difference in more than one of twenty such pairs."""
        return self.p_value > LEVEL

    def __str__(self) -> str:
        p = f"p = {self.p_value:.3f}" if self.p_value >= 0.0005 else "p < 0.001"
        return f"{p}, inside the noise" if self.inside_the_noise else p

    def __repr__(self) -> str:
        return (
            f"{self.only_first} images right only in the first, {self.only_second} only in the second: {self}"
        )
