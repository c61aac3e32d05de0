"""The functions that chapters 02 and 03 ask for: decoding on grids of rows."""

from collections.abc import Callable

import torch
from torch import Tensor

from compresslab.exercises.task import Task, random
from compresslab.quantization.clipping import LeastSquares
from compresslab.quantization.granularity import PerChannel, PerTensor
from compresslab.quantization.uniform import Symmetric
from compresslab.teaching.checkpoints import load

# 02-3: each row on a symmetric grid of its own


_GIVEN = torch.tensor([[0.31, -0.6, 0.11], [0, 0, 0], [31.0, -60, 11]])  # no quotient near two codes' middle


def _top(bits: int) -> int:
    return 2 ** (bits - 1) - 1


def _scale(rows: Tensor, bits: int, more: int = 0) -> Tensor:
    ends = rows.abs().amax(1, keepdim=True)
    return torch.where(ends == 0, 1.0, ends / (_top(bits) + more))


def _symmetric(rows: Tensor, bits: int, per_row: bool = True, more: int = 0) -> Tensor:
    top = _top(bits) + more
    scale = _scale(rows if per_row else rows.reshape(1, -1), bits, more)
    return scale * torch.round(rows / scale).clamp(-top, top)


def _zeros_lost(rows: Tensor, bits: int) -> Tensor:
    return torch.where(rows == 0, torch.nan, _symmetric(rows, bits))


SCALES = Task(
    lambda rows, bits: _scale(rows, bits),
    lambda: [(_GIVEN, bits) for bits in (8, 4, 2)],
    "The largest magnitude of a row, divided by the largest code.",
    [
        (lambda r, b: r.abs().amax(1, keepdim=True) / _top(b), "A row of zeros has the scale 1, not 0."),
        (lambda r, b: _scale(r, b, more=1), "The largest code is one less than a power of two."),
        (lambda r, b: _scale(r.reshape(1, -1), b).expand(len(r), 1), "Each row has a scale of its own."),
        (lambda r, b: _scale(r.clamp(min=0), b), "The largest magnitude counts, also below zero."),
        (lambda r, b: _scale(r.T, b), "A scale for each row was asked, not for each column."),
        (lambda r, b: _scale(r, b + 1), "Codes have a sign, too: it takes one of the bits."),
        (lambda r, b: 1 / _scale(r, b), "That is one divided by the scale."),
    ],
    within=1e-6,
)


def _codes(rows: Tensor, scales: Tensor, bits: int) -> Tensor:
    return torch.round(rows / scales).clamp(-_top(bits), _top(bits))


CODES = Task(
    _codes,
    lambda: [
        *((-_GIVEN, _scale(_GIVEN, bits), bits) for bits in (8, 4, 2)),
        (_GIVEN, 0.6 * _scale(_GIVEN, 4), 4),
    ],
    "Divide, round, and let no code be larger than the largest.",
    [
        (lambda r, s, b: torch.round(r / s), "With a small scale a code is too large; clamp it."),
        (lambda r, s, b: torch.floor(r / s).clamp(-_top(b), _top(b)), "Those are rounded down."),
        (lambda r, s, b: torch.trunc(r / s).clamp(-_top(b), _top(b)), "Those are cut off towards zero."),
        (lambda r, s, b: _codes(r, s, b) * s, "Those are decoded; codes are whole numbers."),
        (lambda r, s, b: torch.round(r / s).clamp(-_top(b) - 1, _top(b)), "The grid is symmetric."),
        (lambda r, s, b: torch.round(r / s).clamp(0, _top(b)), "Codes below zero are lost."),
        (lambda r, s, b: (r / s).clamp(-_top(b), _top(b)), "Codes are whole numbers: round."),
    ],
)


ROWS = Task(
    lambda w, b: Symmetric(b, PerChannel()).quantize(w).dequantize(),
    lambda: [(_GIVEN, bits) for bits in (8, 4, 2)],
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


def _with_ends(rows: Tensor, ends: Tensor, bits: int, clamped: bool = True) -> Tensor:
    scale = ends / _top(bits)
    codes = torch.round(rows / scale)
    return scale * (codes.clamp(-_top(bits), _top(bits)) if clamped else codes)


WITH_ENDS = Task(
    _with_ends,
    lambda: [(random(3, 7), torch.tensor([[0.5], [1.0], [3.0]]), bits) for bits in (4, 3, 2)],
    "The scale is the end divided by the largest code.",
    [
        (lambda r, e, b: _with_ends(r, e, b, clamped=False), "No weight goes beyond the end: clamp."),
        (lambda r, e, b: torch.minimum(torch.maximum(r, -e), e), "Clamped, but not rounded to levels."),
        (lambda r, e, b: _codes(r, e / _top(b), b), "Those are codes; multiply them by the scale."),
        (lambda r, e, b: e * torch.round(r / e).clamp(-_top(b), _top(b)), "The end is not the scale."),
        (lambda r, e, b: _with_ends(r, e, b).abs(), "The signs are lost."),
        (lambda r, e, b: _with_ends(r, e[:1], b), "Each row has an end of its own."),
        (lambda r, e, b: _symmetric(r, b), "The ends are given; they are not the largest magnitudes."),
    ],
    within=1e-6,
)

ERRORS = Task(
    lambda rows, decoded: (decoded - rows).square().sum(1),
    lambda: [(random(3, 7), random(3, 7, seed=1)), (random(2, 2), random(2, 2, seed=1))],
    "One number for each row.",
    [
        (lambda r, d: (d - r).square().mean(1), "Those are means; sum over the row."),
        (lambda r, d: (d - r).abs().sum(1), "The differences are squared, not only made positive."),
        (lambda r, d: (d - r).square().sum(), "Each row has an error of its own."),
        (lambda r, d: (d - r).square().sum(0), "Those are sums over columns."),
        (lambda r, d: (d - r).norm(dim=1), "The root is not needed; leave the squares."),
        (lambda r, d: (d - r).sum(1).square(), "Square each difference, then sum."),
        (lambda r, d: d.square().sum(1) - r.square().sum(1), "Take the difference first, then square."),
    ],
    within=1e-5,
)


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
