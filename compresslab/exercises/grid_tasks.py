"""The functions that chapters 02 to 05 ask for: decoding on grids, and packing codes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from compresslab.exercises.task import EIGHT, Task, random
from compresslab.quantization.clipping import LeastSquares
from compresslab.quantization.granularity import PerChannel, PerTensor
from compresslab.quantization.uniform import Symmetric
from compresslab.teaching.checkpoints import load

# 02-3: each row on a symmetric grid of its own


def _symmetric(rows: Tensor, bits: int, per_row: bool = True, more: int = 0) -> Tensor:
    top = 2 ** (bits - 1) - 1 + more
    ends = rows.abs().amax(1, keepdim=True) if per_row else rows.abs().max()
    scale = torch.where(ends == 0, 1.0, ends / top)
    return scale * torch.round(rows / scale).clamp(-top, top)


def _zeros_lost(rows: Tensor, bits: int) -> Tensor:
    return torch.where(rows == 0, torch.nan, _symmetric(rows, bits))


ROWS = Task(
    lambda w, b: Symmetric(b, PerChannel()).quantize(w).dequantize(),
    # no quotient lies near the middle of two codes, so that any way to round is right
    lambda: [(torch.tensor([[0.31, -0.6, 0.11], [0, 0, 0], [31.0, -60, 11]]), bits) for bits in (8, 4, 2)],
    "One scale for each row, and 1 where it is 0.",
    [
        (
            lambda w, b: _symmetric(w, b, per_row=False),
            "Each row has a scale of its own.",
        ),
        (
            lambda w, b: Symmetric(b, PerChannel()).quantize(w).codes,
            "Those are codes; decode them.",
        ),
        (lambda w, b: w, "Nothing was rounded."),
        (
            lambda w, b: _symmetric(w, b, more=1),
            "The largest code is one less.",
        ),
        (lambda w, b: _symmetric(w, b).abs(), "The signs are lost."),
        (
            lambda w, b: w / w.abs().amax(1, keepdim=True) * (2 ** (b - 1) - 1),
            "A row of zeros is divided by zero; and what is divided must be rounded and multiplied again.",
        ),
        (_zeros_lost, "A row of zeros became 0 / 0; give it the scale 1."),
    ],
    within=1e-6,
)


# 03-3: the end of least squared error


def _best_end(
    rows: Tensor, bits: int, error: Callable = torch.square, per_row: bool = True, clamped: bool = True
) -> Tensor:
    top = 2 ** (bits - 1) - 1
    steps = torch.arange(64, 0, -1).reshape(-1, 1, 1) / 64
    scale = steps * rows.abs().amax(1, keepdim=True) / top
    decoded = scale * (torch.round(rows / scale).clamp(-top, top) if clamped else torch.round(rows / scale))
    errors = error(decoded - rows).sum(2)
    best = errors.argmin(0) if per_row else errors.sum(1).argmin().expand(len(rows))
    return decoded[best, torch.arange(len(rows))]


def _one_grid(rows: Tensor, bits: int) -> Tensor:
    return Symmetric(bits, PerTensor(), LeastSquares(steps=64)).quantize(rows).dequantize()


END = Task(
    lambda w, b: Symmetric(b, PerChannel(), LeastSquares(steps=64)).quantize(w).dequantize(),
    lambda: [(load("article").get_parameter("fc2.weight").detach(), bits) for bits in (4, 3, 2)],
    "Clamp to the largest code after rounding; each row chooses its own end.",
    [
        (lambda w, b: _best_end(w, b, per_row=False), "Each row chooses an end of its own."),
        (lambda w, b: _best_end(w, b, torch.abs), "The error is squared, not only made positive."),
        (lambda w, b: _best_end(w, b, clamped=False), "The codes are not clamped."),
        (lambda w, b: _symmetric(w, b), "No end was tried but the largest magnitude."),
        (lambda w, b: _best_end(w, b, lambda e: -e.square()), "That is the worst end."),
        (
            lambda w, b: Symmetric(b, PerTensor(), LeastSquares(64)).quantize(w).dequantize(),
            "The rows share one grid.",
        ),
    ],
    within=1e-6,
)


# 04-3: five codes in a byte


def _trits(codes: Sequence[int], powers: Sequence[int] = (1, 3, 9, 27, 81)) -> list[int]:
    fives = zip(*[iter(codes)] * 5, strict=True)
    return [sum(code * power for code, power in zip(five, powers, strict=True)) for five in fives]


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
