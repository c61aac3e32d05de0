"""The functions that chapter 23 asks for: bits of a code, the code that is cheapest, codes that settle."""

import math
from collections.abc import Callable, Sequence

from compresslab.exercises.task import EIGHT, Task, random

# 23-3a: what a code costs


def _bits(code: int, share: float, ratio: float) -> float:
    if code == 0:
        return -math.log2(1 - share)
    return -math.log2(share) + 1 - math.log2(1 - ratio) - (abs(code) - 1) * math.log2(ratio)


BITS = Task(
    _bits,
    lambda: [(0, 0.25, 0.5), (1, 0.25, 0.5), (-3, 0.25, 0.5), (2, 0.1, 0.2), (0, 0.1, 0.2), (-1, 0.6, 0.3)],
    "A nonzero code is a decision, a sign, and a magnitude.",
    [
        (lambda c, p, r: _bits(c, p, r) - (c != 0), "The sign takes one bit more."),
        (lambda c, p, r: _bits(c, p, r) * math.log(2), "Bits are logarithms to base 2."),
        (
            lambda c, p, r: _bits(c + (c > 0) - (c < 0), p, r),
            "A magnitude of 1 takes no further step: count from 1, not from 0.",
        ),
        (lambda c, p, r: _bits(c, p, r) if c else 0.0, "A zero is a decision, too, and not free."),
        (lambda c, p, r: _bits(c, 1 - p, r), "The share is that of the codes that are not zero."),
        (lambda c, p, r: -_bits(c, p, r), "A length is positive: minus the logarithm."),
        (
            lambda c, p, r: _bits(c, p, r) if c >= 0 else _bits(1, p, r),
            "A negative code has a magnitude as well: take abs.",
        ),
    ],
    within=1e-9,
)

# 23-3b: error and bits together


def _cheapest(weight: float, step: float, price: float, table: Sequence[float]) -> int:
    return _least(weight, table, lambda code: (weight - step * code) ** 2 + price * table[abs(code)])


def _least(weight: float, table: Sequence[float], cost: Callable[[int], float]) -> int:
    sign = -1 if weight < 0 else 1
    return sign * min(range(len(table)), key=lambda size: cost(sign * size))


def _table(share: float, ratio: float) -> list[float]:
    return [_bits(size, share, ratio) for size in range(6)]


CHEAPEST = Task(
    _cheapest,
    lambda: [
        (weight, step, price, _table(0.3, 0.4))
        for weight in (0.42, -0.90, 0.31, -0.52, 0.88, 2.2)
        for step, price in ((0.25, 0.0), (0.25, 0.01), (0.25, 0.03), (0.5, 0.05))
    ],
    "Try every magnitude of the table, with the sign of the weight, and take the least sum.",
    [
        (lambda w, s, p, t: _cheapest(w, s, 0.0, t), "That is the nearest code; its bits cost, too."),
        (
            lambda w, s, p, t: _least(w, t, lambda c: abs(w - s * c) + p * t[abs(c)]),
            "The error is squared.",
        ),
        (
            lambda w, s, p, t: _least(w, t, lambda c: (w - s * c) ** 2 + p * abs(c)),
            "The price is for bits, and the table says how many: a code is not its own length.",
        ),
        (
            lambda w, s, p, t: min(
                (0, _cheapest(w, s, 0.0, t)), key=lambda c: (w - s * c) ** 2 + p * t[abs(c)]
            ),
            "Not only zero and the nearest: what lies between them may be cheapest.",
        ),
        (lambda w, s, p, t: s * _cheapest(w, s, p, t), "Return the code, not its level."),
        (lambda w, s, p, t: abs(_cheapest(w, s, p, t)), "The sign of the weight is lost."),
        (
            lambda w, s, p, t: _least(w, t, lambda c: (w - c) ** 2 + p * t[abs(c)]),
            "A code stands for a multiple of the step: compare the weight with step * code.",
        ),
    ],
)

# 23-3: tables and codes in turn


def _counted(codes: Sequence[int]) -> list[float]:
    count, total = sum(code != 0 for code in codes), sum(map(abs, codes))
    ratio = min(0.95, max(0.05, 1 - (count + 1) / (total + 1)))
    return _table((count + 0.5) / (len(codes) + 1), ratio)


def _settled(
    weights: Sequence[float],
    step: float,
    price: float,
    rounds: int,
    counted: Callable[[Sequence[int]], list[float]] = _counted,
) -> list[int]:
    codes = [_cheapest(weight, step, 0.0, _table(0.5, 0.5)) for weight in weights]
    for _ in range(rounds):
        table = counted(codes)
        codes = [_cheapest(weight, step, price, table) for weight in weights]
    return codes


def _always_from_the_first(weights: Sequence[float], step: float, price: float, rounds: int) -> list[int]:
    first = _counted(_settled(weights, step, price, 0))
    return _settled(weights, step, price, rounds, lambda _: first)


def _one_by_one(weights: Sequence[float], step: float, price: float, rounds: int) -> list[int]:
    codes = _settled(weights, step, price, 0)
    for _ in range(rounds):
        for place, weight in enumerate(weights):
            codes[place] = _cheapest(weight, step, price, _counted(codes))
    return codes


_MANY = (0.5 * random(40, seed=3).double()).tolist()
SETTLED = Task(
    _settled,
    lambda: [
        (list(EIGHT), 0.25, 0.01, 1),
        (list(EIGHT), 0.25, 0.03, 4),
        (_MANY, 0.25, 0.02, 1),
        (_MANY, 0.25, 0.02, 2),
        (_MANY, 0.2, 0.03, 2),
    ],
    "Begin with the nearest codes; in every round first count, then choose all codes by one table.",
    [
        (lambda w, s, p, n: _settled(w, s, p, 0), "Those are the nearest codes; the rounds are missing."),
        (_always_from_the_first, "Count anew in every round: fewer codes are left, and they are dearer."),
        (lambda w, s, p, n: _settled(w, s, p, n + 1), "That is one round too many."),
        (_one_by_one, "In one round all codes are chosen by the same table."),
        (lambda w, s, p, n: [s * c for c in _settled(w, s, p, n)], "Return codes, not levels."),
        (
            lambda w, s, p, n: _settled(w, s, p, n, lambda c: _counted([int(not one) for one in c])),
            "The share is that of the codes that are not zero.",
        ),
    ],
)
