"""How weights become levels when their outputs count: column by column, or each up or down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from compresslab.errors import CompressionError, whole
from compresslab.quantization.scheme import Parameters, QuantizedTensor, Scheme, middles_of
from compresslab.repairing.columns import Metric, Nearest, Weights, column_by_column, descend, output_error

_SANE = 5.0  # a scale that would change by more than this factor has too little to go by


@dataclass(frozen=True)
class ColumnByColumn:
    """Round a column, let the next ones make good what it did, refit the scales, and go through again.

    Args:
        damping: how far the images are believed: this times the mean square of a layer's inputs stands for
            what they do not show; 0.01 or more, larger for fewer images.
        passes: how often scales are refitted and columns gone through again.

    Source: Frantar et al., GPTQ, 2022 (arXiv:2210.17323), for the first pass.
    Chapter: 19.
    """

    damping: float = 0.3
    passes: int = 2

    def __post_init__(self) -> None:
        check_damping(self.damping)
        whole(self.passes, "the passes of a rounding", 0)

    def round(self, weights: Weights, metric: Metric, plain: QuantizedTensor) -> QuantizedTensor:
        """Choose codes and scales whose outputs are near; where that fails, the plain ones are kept.

        Args:
            weights: the values that would be best, with one row for each output.
            metric: positive definite; how the layer's inputs go together.
            plain: the same weights rounded to nearest.
        """
        parameters, rows = dict(plain.parameters), rows_of_parameters(plain)
        chosen = column_by_column(weights, metric, levels_in(plain, parameters, rows, weights))
        found = codes_of(chosen, plain, parameters, rows)
        for _ in range(self.passes):
            start = _flat(found, weights)
            if "scale" in parameters and bool((rows == rows[:, :1]).all()):
                parameters["scale"] = _refitted(start, weights, metric, parameters["scale"], rows[:, 0])
                start = _flat(QuantizedTensor(plain.scheme, found.codes, dict(parameters)), weights)
            nearest = levels_in(plain, parameters, rows, weights)
            found = codes_of(descend(weights, start, metric, nearest, 1), plain, parameters, rows)
        return _better(found, descended(weights, metric, plain, best_of_all=True), weights, metric)


@dataclass(frozen=True)
class AdaptiveRounding:
    """Let each weight go to the level below or above it, whichever leaves the outputs nearer.

    It starts at the nearest levels and changes one weight at a time, so the outputs of a layer are never
    further off than by rounding to nearest. The scales stay.

    Args:
        damping: as in ``ColumnByColumn``.
        passes: at most so often it goes through all columns.

    Source: after Nagel et al., AdaRound, 2020 (arXiv:2004.10568), who learn the same choice by gradients.
    Chapter: 19.
    """

    damping: float = 0.3
    passes: int = 10

    def __post_init__(self) -> None:
        check_damping(self.damping)
        whole(self.passes, "the passes of a rounding", 0)

    def round(self, weights: Weights, metric: Metric, plain: QuantizedTensor) -> QuantizedTensor:
        """Choose codes next to the weights; the arguments are as in ``ColumnByColumn``."""
        return descended(weights, metric, plain, self.passes, best_of_all=False)


Rounding = ColumnByColumn | AdaptiveRounding


def check_damping(damping: float) -> None:
    """Refuse what is no positive number."""
    if not isinstance(damping, float | int) or isinstance(damping, bool) or not 0 < damping < 1e9:
        raise CompressionError(
            f"A damping of {damping!r:.80} was asked; give a number above 0, for example 0.3."
        )


def rows_of_parameters(plain: QuantizedTensor) -> Int[Tensor, "outputs columns"]:
    """Say for each weight which row of the parameters it shares."""
    shape, granularity, start, blocks = plain.shape, plain.scheme.granularity, 0, []
    for block in granularity.split(torch.zeros(shape)):
        blocks.append(torch.arange(start, start + len(block))[:, None].expand(block.shape))
        start += len(block)
    return granularity.join(blocks, shape).reshape(shape[0], -1).to(plain.codes.device)


def levels_in(
    plain: QuantizedTensor,
    parameters: Parameters,
    rows: Int[Tensor, "outputs columns"],
    weights: Weights,
    beside: Weights | None = None,
) -> Callable[[Float[Tensor, " outputs"], int], Float[Tensor, " outputs"]]:
    """Return what finds the nearest levels of a column; of all, or of the two beside some values."""
    levels = plain.scheme.levels(parameters)
    middles, levels = middles_of(levels).to(weights), levels.to(weights)

    def nearest(values: Float[Tensor, " outputs"], column: int) -> Float[Tensor, " outputs"]:
        here = rows[:, column]
        table = levels[here]
        place = (values[:, None] > middles[here]).sum(1)
        if beside is not None:
            above = (beside[:, column, None] > table).sum(1)
            place = place.clamp((above - 1).clamp(min=0), above.clamp(max=table.shape[1] - 1))
        return table.gather(1, place[:, None])[:, 0]

    return nearest


def codes_of(
    chosen: Weights, plain: QuantizedTensor, parameters: Parameters, rows: Int[Tensor, "outputs columns"]
) -> QuantizedTensor:
    """Return the codes of values that are levels."""
    scheme: Scheme = plain.scheme
    middles = middles_of(scheme.levels(parameters)).to(chosen)
    codes = torch.empty(chosen.shape, dtype=scheme.code_dtype, device=chosen.device)
    for column, values in enumerate(chosen.unbind(1)):
        place = (values[:, None] > middles[rows[:, column]]).sum(1)
        codes[:, column] = (place + scheme.code_range[0]).to(scheme.code_dtype)
    return QuantizedTensor(scheme, codes.reshape(plain.shape), dict(parameters))


def descended(
    weights: Weights, metric: Metric, plain: QuantizedTensor, passes: int = 1, *, best_of_all: bool
) -> QuantizedTensor:
    """Start at the nearest levels and change one weight at a time, never for the worse."""
    rows, start = rows_of_parameters(plain), _flat(plain, weights)
    nearest: Nearest = levels_in(plain, plain.parameters, rows, weights, None if best_of_all else weights)
    return codes_of(descend(weights, start, metric, nearest, passes), plain, plain.parameters, rows)


def _refitted(
    chosen: Weights, weights: Weights, metric: Metric, scale: Tensor, rows: Int[Tensor, " outputs"]
) -> Float[Tensor, " scales"]:
    """Return the scales with which the codes, as they are, answer best: a least-squares fit of one number."""
    read = chosen @ metric
    above, below = (
        torch.zeros(len(scale), dtype=weights.dtype, device=weights.device).index_add(0, rows, part.sum(1))
        for part in (read * weights, read * chosen)
    )
    factor = above / below
    sane = (factor > 1 / _SANE) & (factor < _SANE)  # NaN, of a row of zeros, is not
    return torch.where(sane, scale * factor, scale.to(factor)).float()


def _flat(code: QuantizedTensor, like: Weights) -> Weights:
    return code.dequantize().reshape(like.shape).to(like)


def _better(
    one: QuantizedTensor, other: QuantizedTensor, weights: Weights, metric: Metric
) -> QuantizedTensor:
    """Return whichever answers better, over all outputs."""
    errors = [float(output_error(weights - _flat(code, weights), metric).sum()) for code in (one, other)]
    return one if errors[0] <= errors[1] else other
