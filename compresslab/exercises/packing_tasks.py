"""The functions that chapters 04, 05 and 08 ask for: five codes in a byte, half steps, shifts."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from compresslab.exercises.task import EIGHT, Task, in_any_order, random

# 04-3: five codes in a byte


def _trits(codes: Sequence[int], powers: Sequence[int] = (1, 3, 9, 27, 81)) -> list[int]:
    fives = zip(*[iter(codes)] * 5, strict=True)
    return [sum(code * power for code, power in zip(five, powers, strict=True)) for five in fives]


BYTE = Task(
    lambda five: _trits(five)[0],
    lambda: [([0] * 5,), ([1, 0, 0, 0, 0],), ([0, 1, 0, 0, 0],), ([2] * 5,), ([2, 0, 1, 0, 1],)],
    "The places count 1, 3, 9, 27 and 81.",
    [
        (lambda c: _trits(c, (81, 27, 9, 3, 1))[0], "The first code counts ones, not 81s."),
        (lambda c: _trits(c, (1, 2, 4, 8, 16))[0], "A place counts three times the last, not twice."),
        (lambda c: _trits(c, (1, 4, 16, 64, 256))[0], "That is two bits a code: too much for a byte."),
        (lambda c: _trits(c, (3, 9, 27, 81, 243))[0], "The first code counts ones, not threes."),
        (lambda c: sum(c), "The places count differently."),
        (lambda c: int("".join(map(str, c))), "Those are digits of ten; a code has three values."),
    ],
)


def _fives(codes: Sequence[int]) -> list[Sequence[int]]:
    return [codes[start : start + 5] for start in range(0, len(codes), 5)]


FIVES = Task(
    _fives,
    lambda: [([0, 1, 2, 1, 0],), ([2, 0, 1, 0, 0, 0, 0, 0, 0, 1],), ([n % 3 for n in range(20)],)],
    "range(0, len(codes), 5) gives where each five begins.",
    [
        (lambda c: _fives(c)[:1], "Those are the first five alone."),
        (lambda c: [c[n :: len(c) // 5] for n in range(len(c) // 5)], "The codes of a five are neighbours."),
        (lambda c: [c[n : n + 5] for n in range(len(c) - 4)], "Each code belongs to one five only."),
        (lambda c: [c[n : n + 4] for n in range(0, len(c), 5)], "The fifth of each is missing."),
        (lambda c: c, "A list of lists is asked, one for each five."),
        (lambda c: _fives(c)[::-1], "The first five comes first."),
    ],
)


TRITS = Task(
    _trits,
    lambda: [
        ([0] * 5,),
        ([1, 0, 0, 0, 0],),
        ([0, 1, 0, 0, 0],),
        ([2] * 5,),
        ([2, 0, 1, 0, 0, 0, 0, 0, 0, 1],),
    ],
    "A byte is c0 + 3 c1 + 9 c2 + 27 c3 + 81 c4.",
    [
        (lambda c: _trits(c, (81, 27, 9, 3, 1)), "The first code counts ones, not 81s."),
        (
            lambda c: _trits(c, (1, 2, 4, 8, 16)),
            "There are three codes: a place counts three times the last.",
        ),
        (
            lambda c: _trits(c, (1, 4, 16, 64, 256)),
            "That is two bits a code: too much for a byte.",
        ),
        (
            lambda c: _trits(c, (3, 9, 27, 81, 243)),
            "The first code counts ones, not threes.",
        ),
        (lambda c: _trits(c)[:1], "Only the first five codes are packed."),
        (lambda c: sum(_trits(c)), "A list of bytes is asked, one for each five."),
    ],
)


# 05-3: levels half a power of two apart


def _half_steps(
    weights: Tensor, count: int, ratio: float = 2**-0.5, zero: bool = True, top: float | None = None
) -> Tensor:
    positive = (weights.abs().max() if top is None else top) * ratio ** torch.arange(count)
    levels = torch.cat([-positive, torch.zeros(int(zero)), positive]).sort().values
    return levels[(weights[:, None] - levels).abs().argmin(1)]


def _rounded_exponents(weights: Tensor, count: int) -> Tensor:
    top = weights.abs().max()
    steps = torch.round(-2 * torch.log2(weights.abs() / top)).clamp(0, count - 1)
    return weights.sign() * top * 2 ** (-steps / 2)


def _levels(top: float, count: int, ratio: float = 2**-0.5, first: int = 0) -> list[float]:
    positive = [top * ratio**k for k in range(first, count)]
    return sorted([0.0, *positive, *(-level for level in positive)])


LEVELS_OF = Task(
    _levels,
    lambda: [(0.9, 3), (1.0, 1), (2.5, 6)],
    "For 0.9 and 3, those above 0 are 0.9, 0.6364 and 0.45.",
    [
        (lambda t, n: _levels(t, n, 0.5), "Those are whole powers of two."),
        (lambda t, n: [one for one in _levels(t, n) if one], "0 is a level, too."),
        (lambda t, n: [one for one in _levels(t, n) if one >= 0], "The levels below 0 are missing."),
        (lambda t, n: _levels(t, n + 1), "k ends at count - 1."),
        (lambda t, n: _levels(t, n + 1, first=1), "k begins at 0: the largest level is the top itself."),
        (lambda t, n: _levels(1.0, n), "The largest level is the top that is given."),
        (lambda t, n: _levels(t, n, 2**0.5), "The levels get smaller as k grows."),
    ],
    within=1e-4,
    ask=in_any_order,
)


def _nearest(weights: Tensor, levels: Tensor) -> Tensor:
    return levels[(weights[:, None] - levels).abs().argmin(1)]


NEAREST = Task(
    _nearest,
    lambda: [(random(30), torch.tensor(_levels(top, count))) for top, count in ((2.0, 3), (0.9, 5))],
    "Take the difference to every level, and then its size.",
    [
        (
            lambda w, levels: (w[:, None] - levels).abs().argmin(1),
            "Those are places in the list; give the levels.",
        ),
        (
            lambda w, levels: levels[(levels <= w[:, None]).sum(1).sub(1).clamp(min=0)],
            "Those are the levels below; the one above may be nearer.",
        ),
        (
            lambda w, levels: levels[(levels < w[:, None]).sum(1).clamp(max=len(levels) - 1)],
            "Those are the levels above; the one below may be nearer.",
        ),
        (lambda w, levels: _nearest(w.abs(), levels), "The signs are lost."),
        (lambda w, levels: levels[(w[:, None] - levels).argmin(1)], "Take the size of the differences."),
        (lambda w, levels: w - _nearest(w, levels), "Those are the errors; give the levels."),
    ],
    within=1e-5,
)


HALF_STEPS = Task(
    _half_steps,
    lambda: [
        (torch.tensor(EIGHT), 3),
        (torch.tensor(EIGHT), 1),
        (random(200), 6),
        (3 * random(200, seed=1), 13),
    ],
    "The levels above 0 of the eight weights are 0.9, 0.6364 and 0.45.",
    [
        (lambda w, n: _half_steps(w, n, 0.5), "Those are whole powers of two."),
        (lambda w, n: _half_steps(w, n, zero=False), "0 is a level, too."),
        (lambda w, n: _half_steps(w.abs(), n), "The signs are lost."),
        (lambda w, n: _half_steps(w, n, top=1.0), "The largest level is the largest weight."),
        (lambda w, n: _half_steps(w, n + 1), "k ends at count - 1."),
        (_rounded_exponents, "The exponent was rounded; the nearest level was asked, and 0 is one of them."),
    ],
    within=1e-4,
)

# 08-3: multiply by a fixed-point number, halves away from zero


def _rescaled(total: int, numerator: int, shift: int) -> int:
    product = total * numerator
    rounded = (abs(product) + (1 << shift >> 1)) >> shift
    return rounded if product >= 0 else -rounded


def _by_floats(total: int, numerator: int, shift: int) -> int:
    return int(math.copysign(math.floor(abs(total * numerator) / 2**shift + 0.5), total * numerator))


_SHIFTED = ((14, 3), (21, 3), (20, 3), (1, 1), (3, 1), (5, 1), (1, 2), (0, 4), (7, 0), (3 * 2**60 + 3, 1))

HALVES_UP = Task(
    lambda total, shift: _rescaled(total, 1, shift),
    lambda: list(_SHIFTED),
    "Add half of 2 ** shift before you shift; where the shift is 0 there is no half.",
    [
        (lambda t, s: t >> s, "A shift alone rounds down."),
        (lambda t, s: round(t / 2**s), "round() takes halves to the even number, and a float loses digits."),
        (lambda t, s: -(-t >> s), "That rounds up; round to the nearest."),
        (lambda t, s: (t >> s) + (1 << s >> 1), "Add the half before you shift."),
        (lambda t, s: (t + (1 << s)) >> s, "That is a whole 2 ** shift; add half of it."),
        (lambda t, s: math.floor(t / 2**s + 0.5), "A float loses digits of large totals."),
    ],
)

HALVES_AWAY = Task(
    lambda total, shift: _rescaled(total, 1, shift),
    lambda: [*_SHIFTED, *((-total, shift) for total, shift in _SHIFTED)],
    "Round the magnitude, then give it its sign.",
    [
        (lambda t, s: (t + (1 << s >> 1)) >> s, "Negative halves go down, away from zero; these went up."),
        (lambda t, s: t >> s, "A shift alone rounds down."),
        (lambda t, s: abs(_rescaled(t, 1, s)), "The sign is lost."),
        (lambda t, s: int(t / 2**s), "int() cuts off; round to the nearest."),
        (lambda t, s: round(t / 2**s), "round() takes halves to the even number."),
        (lambda t, s: -((-t + (1 << s >> 1)) >> s), "Positive halves go up; these went down."),
    ],
)


RESCALED = Task(
    _rescaled,
    # halves of both signs, of even and odd numbers; a shift of 0; and products that no float holds
    lambda: [
        *((total, 3, 3) for total in (14, -14)),
        *((total, 1, 1) for total in (1, 3, 5, -1, -3, -5)),
        (-1, 1, 2),
        (0, 5, 4),
        (7, 3, 0),
        (2**60 + 1, 3, 1),
        (-(2**60) - 1, 3, 1),
    ],
    "Round the magnitude, then give it its sign.",
    [
        (lambda t, n, s: round(t * n / 2**s), "round() takes halves to the even number."),
        (lambda t, n, s: (t * n) >> s, "A shift alone rounds down; add half of 2 ** shift first."),
        (lambda t, n, s: (t * n + (1 << s >> 1)) >> s, "Negative halves go down, away from zero."),
        (lambda t, n, s: abs(_rescaled(t, n, s)), "The sign is lost."),
        (lambda t, n, s: int(t * n / 2**s), "int() cuts off; round to the nearest."),
        (
            lambda t, n, s: int(math.copysign(math.floor(abs(t * n) / 2**s + 0.5), t * n)),
            "A float loses digits of large products.",
        ),
    ],
)
