"""The functions that chapter 22 asks for: files ranked, files that none beats, and a price for a limit."""

import math
from collections.abc import Callable, Sequence

from compresslab.exercises.task import Task

Files = Sequence[tuple[int, int]]  # the bytes of each, and how many of 1,000 digits it reads

_FILES: list[tuple[int, int]] = [
    (950, 975), (626, 976), (8170, 970), (634, 969), (885, 977), (1351, 983), (1500, 980), (700, 975)
]  # fmt: skip
_EQUALS: list[tuple[int, int]] = [(900, 980), (900, 975), (1200, 980), (800, 960), (1300, 990)]

# 22-3a: the rules' order


def _ranked(files: Files) -> list[int]:
    good = [number for number, (_, right) in enumerate(files) if right >= 970]
    return sorted(good, key=lambda number: files[number][0])


RANKED = Task(
    _ranked,
    lambda: [(_FILES,), (_FILES[::-1],), (_FILES[2:6],), ([(100, 100), (200, 969)],), ([(5, 970)],)],
    "Leave out what reads less than 97 % of 1,000, then sort the numbers of the others by their bytes.",
    [
        (lambda f: sorted(range(len(f)), key=lambda n: f[n][0]), "Not all may be ranked: 97 % is the bar."),
        (
            lambda f: [n for n in _ranked(f) if f[n][1] > 970],
            "A file that reads 97 % is good enough; it need not read more.",
        ),
        (lambda f: sorted(_ranked(f)), "The numbers stand in the order of the list, not of the bytes."),
        (
            lambda f: sorted(_ranked(f), key=lambda n: -f[n][1]),
            "Of files above the bar the bytes count, not the right answers.",
        ),
        (lambda f: _ranked(f)[::-1], "Fewest bytes come first."),
        (lambda f: [f[n] for n in _ranked(f)], "Return the numbers of the files, counted from 0."),
        (lambda f: [n + 1 for n in _ranked(f)], "Count from 0, as Python does."),
    ],
)

# 22-3b: a file that is smaller and better leaves no reason for another


def _beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]


def _front(files: Files) -> list[tuple[int, int]]:
    return sorted(one for one in files if not any(_beats(other, one) for other in files))


UNBEATEN = Task(
    _front,
    lambda: [(_FILES,), (_FILES[::-1],), (_EQUALS,), (_EQUALS[1:],), ([(5, 970)],)],
    "A file stays unless another has no more bytes and no fewer right answers, and is not the same.",
    [
        (
            lambda f: sorted(a for a in f if not any(b[0] < a[0] and b[1] > a[1] for b in f)),
            "Of two with as many bytes the better one stays, of two as good the smaller one.",
        ),
        (lambda f: _front(f)[:1], "The smallest is not alone: a larger one that reads more stays, too."),
        (
            lambda f: sorted(a for a in f if not any(b[0] < a[0] for b in f) or a[1] == max(b[1] for b in f)),
            "Between the smallest and the best there may be others that none beats.",
        ),
        (lambda f: sorted(f), "A file that is larger and reads less has no place there."),
        (lambda f: _front(f)[::-1], "Fewest bytes come first."),
        (
            lambda f: sorted(a for a in f if not any(b[0] >= a[0] and b[1] >= a[1] and a != b for b in f)),
            "Fewer bytes are better, not more.",
        ),
        (
            lambda f: sorted(a for a in f if any(_beats(b, a) for b in f)),
            "Those are the ones that are beaten.",
        ),
    ],
)

# 22-3: the price for a limit, found by halving


def _price_for(
    size_of: Callable[[float], float], limit: float, low: float, high: float, rounds: int
) -> float:
    for _ in range(rounds):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if size_of(middle) <= limit else (middle, high)
    return high


def _by_mean(size_of: Callable[[float], float], limit: float, low: float, high: float, rounds: int) -> float:
    for _ in range(rounds):
        middle = (low + high) / 2
        low, high = (low, middle) if size_of(middle) <= limit else (middle, high)
    return high


def _turned(size_of: Callable[[float], float], limit: float, low: float, high: float, rounds: int) -> float:
    for _ in range(rounds):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if size_of(middle) <= limit else (low, middle)
    return high


def _below(size_of: Callable[[float], float], limit: float, low: float, high: float, rounds: int) -> float:
    for _ in range(rounds):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if size_of(middle) < limit else (middle, high)
    return high


def _falling(at_one: float, slope: float) -> Callable[[float], float]:
    """Return the bytes of a file as a function of the price: a straight line over its logarithm."""
    return lambda price: round(at_one - slope * math.log10(price))


PRICE_FOR = Task(
    _price_for,
    lambda: [
        (_falling(100, 200), 900, 1e-6, 1e-2, 1),
        (_falling(100, 200), 900, 1e-6, 1e-2, 2),
        (_falling(100, 200), 970, 1e-6, 1e-2, 5),
        (_falling(0, 150), 600, 1e-6, 1e-3, 6),
        (_falling(0, 150), 600, 1e-5, 1e-3, 1),
    ],
    "Try the geometric middle; where the file keeps to the limit it is the new high, else the new low.",
    [
        (
            _by_mean,
            "Prices differ by factors: the middle of 1e-6 and 1e-2 is their geometric mean, 1e-4.",
        ),
        (_turned, "Where the file is small enough already, a lower price is looked for, not a higher one."),
        (_below, "A file with just as many bytes as the limit keeps to it."),
        (
            lambda s, t, a, b, n: _price_for(s, t, a, b, n - 1),
            "That is one round too few.",
        ),
        (
            lambda s, t, a, b, n: _price_for(s, t, a, b, n + 1),
            "That is one round too many.",
        ),
        (
            lambda s, t, a, b, n: s(_price_for(s, t, a, b, n)),
            "Return the price, not the bytes at it.",
        ),
        (lambda s, t, a, b, n: b, "At the end, return what high has become; it was not moved."),
    ],
    within=1e-12,
)
