"""When a difference shows: on the same images, over seeds, and among many comparisons.

Two networks on the same images: ``McNemar``. A method against its control over seeds:
``PairedDifference``, never a vote of McNemar's tests. Many comparisons at once: ``Holm``. The interval of
a single accuracy is Wilson's and stands beside it, in ``training.accuracy``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from statistics import fmean, stdev

from compresslab.errors import CompressionError, fraction
from compresslab.measuring.t_distribution import t_quantile, t_share

LEVEL = 0.05  # the usual level of significance; the table of ``compare`` says so below itself
UNSEEN = "does not show with this much data"


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
    9 images right only in the first, 2 only in the second: does not show with this much data, p = 0.065
    >>> McNemar(only_first=15, only_second=2).shows
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
    def shows(self) -> bool:
        """Say whether chance alone would show such a difference in at most one of twenty such pairs."""
        return self.p_value <= LEVEL

    def __repr__(self) -> str:
        counts = f"{self.only_first} images right only in the first, {self.only_second} only in the second"
        return f"{counts}: {verdict(self.p_value)}"


def verdict(p_value: float) -> str:
    """Say in the book's words whether a difference shows.

    Why: a large p-value does not say that two things are equal. It says that these data cannot show it.

    >>> verdict(0.017)
    'shows, p = 0.017'
    >>> verdict(0.126)
    'does not show with this much data, p = 0.126'
    """
    words = "shows" if fraction(p_value, "a p-value") <= LEVEL else UNSEEN
    return f"{words}, p = {p_value:.3f}" if p_value >= 0.0005 else f"{words}, p < 0.001"


@dataclass(frozen=True, repr=False)
class PairedDifference:
    """Tell how far a method lies from its control over seeds, and whether that shows.

    A run of the method and one of its control from the same seed share their start, so the difference is
    taken seed by seed: what both share cancels. Equal differences have no spread to judge by, and count
    as showing nothing; a figure without chance, such as a number of bytes, needs no test.

    Args:
        method: what the method reached, one figure for each seed.
        control: what its control reached, in the same order of seeds.
        unit: what the figures count, for the words.

    Raises:
        CompressionError: fewer than two seeds, seeds without a partner, or a figure that is no number.

    Source: Student, The Probable Error of a Mean, Biometrika 6, 1908.
    Chapter: 16.

    >>> control = [969, 970, 969]
    >>> PairedDifference([962, 965, 961], control, unit="images")
    -6.7 images [-10.5, -2.9] over 3 seeds: shows, p = 0.017
    >>> PairedDifference([967, 960, 956], control, unit="images")
    -8.3 images [-22.5, 5.8] over 3 seeds: does not show with this much data, p = 0.126
    """

    method: Sequence[float]
    control: Sequence[float]
    unit: str = ""

    def __post_init__(self) -> None:
        for name in ("method", "control"):
            figures = tuple(getattr(self, name))
            for figure in figures:
                if isinstance(figure, bool) or not isinstance(figure, Real) or not math.isfinite(figure):
                    raise CompressionError(
                        f"{figure!r:.80} was given as a figure of the {name}; give one finite number a seed."
                    )
            object.__setattr__(self, name, figures)
        if len(self.method) != len(self.control):
            raise CompressionError(
                f"Pairs over seeds were asked, but the method has {len(self.method)} figures and the "
                f"control {len(self.control)}; give both for the same seeds, in the same order."
            )
        if self.n < 2:
            raise CompressionError(
                f"An interval over {self.n} seeds was asked; give two or more, a spread needs them."
            )

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.method)

    @cached_property
    def differences(self) -> tuple[float, ...]:
        """Return method minus control, seed by seed."""
        return tuple(float(a) - float(b) for a, b in zip(self.method, self.control, strict=True))

    @cached_property
    def mean(self) -> float:
        """Return the mean difference."""
        return fmean(self.differences)

    @cached_property
    def standard_error(self) -> float:
        """Return by how much the mean itself scatters; 0 if the differences are equal up to rounding."""
        spread = stdev(self.differences)
        largest = max(abs(float(figure)) for figure in (*self.method, *self.control))
        return spread / math.sqrt(self.n) if spread > 1e-12 * largest else 0.0

    def interval(self, confidence: float = 1 - LEVEL) -> tuple[float, float]:
        """Return the t interval of the mean difference; without a spread it has no ends."""
        half = t_quantile(confidence, self.n - 1) * (self.standard_error or math.inf)
        return self.mean - half, self.mean + half

    @property
    def p_value(self) -> float:
        """Return the two-sided p-value of the paired t-test; without a spread it is 1."""
        t = abs(self.mean) / (self.standard_error or math.inf)
        return 1 - t_share(t, self.n - 1)

    @property
    def shows(self) -> bool:
        """Say whether chance alone would show such a difference in at most one of twenty such trials."""
        return self.p_value <= LEVEL

    def __str__(self) -> str:
        """Return the difference with its interval, for a table whose verdicts are Holm's."""
        half = self.interval()[1] - self.mean
        places = 1 if math.isinf(half) else max(1, 1 - math.floor(math.log10(half)))  # two digits of half
        mean, low, high = (f"{round(x, places) + 0.0:.{places}f}" for x in (self.mean, *self.interval()))
        interval = "without a spread" if math.isinf(half) else f"[{low}, {high}]"
        return f"{' '.join(filter(None, (mean, self.unit, interval)))} over {self.n} seeds"

    def __repr__(self) -> str:
        return f"{self}: {verdict(self.p_value)}"


@dataclass(frozen=True, repr=False)
class Holm:
    """Correct the p-values of comparisons that are read together.

    Why: of twenty comparisons without any difference, one shows by chance. The smallest p-value of m
    is multiplied by m, the next by m - 1, and so on; none may be below the one before it. Then the
    chance of even one false "shows" among all of them is at most one in twenty.

    Args:
        p_values: of all comparisons that were made, not only of those that look good.

    Raises:
        CompressionError: there is none, or one is no float from 0.0 to 1.0.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of
    Statistics 6, 1979.

    >>> Holm([0.0171, 0.126, 0.0359, 0.0048])
    Holm, of 4: 1 shows, 3 do not show with this much data; p = 0.051, 0.126, 0.072, 0.019
    >>> sum(p <= 0.05 for p in [0.0171, 0.126, 0.0359, 0.0048])  # each by itself
    3
    """

    p_values: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "p_values", tuple(fraction(p, "a p-value") for p in self.p_values))
        if not self.p_values:
            raise CompressionError("Holm's correction of nothing was asked; give at least one p-value.")

    @cached_property
    def adjusted(self) -> tuple[float, ...]:
        """Return the corrected p-values, in the order in which they were given."""
        adjusted, largest, count = [0.0] * len(self.p_values), 0.0, len(self.p_values)
        for rank, place in enumerate(sorted(range(count), key=self.p_values.__getitem__)):
            largest = max(largest, min(1.0, (count - rank) * self.p_values[place]))
            adjusted[place] = largest
        return tuple(adjusted)

    @property
    def shows(self) -> tuple[bool, ...]:
        """Say of each comparison whether it still shows."""
        return tuple(p <= LEVEL for p in self.adjusted)

    def __repr__(self) -> str:
        count, shown = len(self.shows), sum(self.shows)
        yes, no = "shows" if shown == 1 else "show", "does" if count - shown == 1 else "do"
        found = f"{shown} {yes}, {count - shown} {no} not show with this much data"
        return f"Holm, of {count}: {found}; p = {', '.join(f'{p:.3f}' for p in self.adjusted)}"
