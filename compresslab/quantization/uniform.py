"""The two uniform grids: evenly spaced levels, encoded in closed form, tile by tile.

Convention: ``weight ~ scale * (code - zero_point)``. A code is torch's own arithmetic,
``zero_point + round_half_even(weight * (1 / scale))``, clamped to the code range. Working in place on tiles
that fit the cache is several times faster than whole-tensor expressions: memory costs, not arithmetic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from compresslab.errors import CompressionError
from compresslab.quantization.clipping import Clip, MinMax
from compresslab.quantization.granularity import Granularity, PerTensor
from compresslab.quantization.scheme import Layout, Parameters, Scheme
from compresslab.quantization.values import check_choice

_TILE = 2**17  # weights: 512 kB of float32, a share of a common second-level cache

_NUMPY = {torch.int8: np.int8, torch.uint8: np.uint8, torch.float32: np.float32}


def _empty(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Allocate without filling; on the CPU by numpy, whose huge pages make the first touch much faster."""
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, _NUMPY[dtype]))
    return torch.empty(shape, dtype=dtype, device=device)


def _tiles(shape: torch.Size) -> Iterator[tuple[slice, slice]]:
    """Cut rows x columns into tiles of about ``_TILE`` entries, whole rows where they are short."""
    rows, columns = shape
    height, width = max(1, _TILE // columns), min(columns, _TILE)
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield slice(top, top + height), slice(left, left + width)


def encode_uniform(
    rows: Float[Tensor, "rows columns"],
    inverse: Float[Tensor, " rows"],
    zero: Float[Tensor, " rows"] | None,
    code_range: tuple[int, int],
    dtype: torch.dtype,
) -> Integer[Tensor, "rows columns"]:
    """Compute ``clamp(zero + round_half_even(weight * inverse))``; zero is None where 0.0 has code 0."""
    codes = _empty(rows.shape, dtype, rows.device)
    for tile in _tiles(rows.shape):
        value = rows[tile] * inverse[tile[0], None]
        value.round_()
        if zero is not None:
            value.add_(zero[tile[0], None])
        codes[tile].copy_(value.clamp_(*code_range))
    return codes


def decode_uniform(
    codes: Integer[Tensor, "rows columns"],
    scale: Float[Tensor, " rows"],
    zero: Float[Tensor, " rows"] | None,
) -> Float[Tensor, "rows columns"]:
    """Compute ``scale * (code - zero)`` for every code."""
    rows = _empty(codes.shape, torch.float32, codes.device)
    for tile in _tiles(codes.shape):
        value = rows[tile].copy_(codes[tile])
        if zero is not None:
            value.sub_(zero[tile[0], None])
        value.mul_(scale[tile[0], None])
    return rows


_TINY = torch.finfo(torch.float32).tiny  # a smaller scale would have an infinite inverse


@dataclass(frozen=True)
class _Uniform(Scheme):
    """Evenly spaced levels, encoded in closed form instead of by search."""

    bits: int = 8
    granularity: Granularity = PerTensor()
    clip: Clip = MinMax()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.clip, Clip, f"the clip of {type(self).__name__}")

    def grid(self, low: Float[Tensor, " rows"], high: Float[Tensor, " rows"]) -> dict[str, Tensor]:
        """Give the parameters whose grid runs from ``low`` to ``high``."""
        raise NotImplementedError

    def zero(self, parameters: Parameters) -> Float[Tensor, " rows"] | None:
        """The code that stands for 0.0 in each row, or None where it is code 0."""
        return None

    def fit(self, rows: Float[Tensor, "rows columns"]) -> dict[str, Tensor]:
        def reconstruct(low: Tensor, high: Tensor) -> Tensor:
            parameters = self.grid(low, high)
            return self.decode(self.encode(rows, parameters), parameters)

        return self.grid(*self.clip.bounds(rows, reconstruct))

    def levels(self, parameters: Parameters) -> Float[Tensor, "rows levels"]:
        low, high = self.code_range
        steps = torch.arange(low, high + 1, device=parameters["scale"].device, dtype=torch.float32)
        zero = self.zero(parameters)
        return (steps if zero is None else steps - zero[:, None]) * parameters["scale"][:, None]

    def encode(self, rows: Float[Tensor, "rows columns"], parameters: Parameters) -> Tensor:
        inverse = 1 / parameters["scale"]
        if not (inverse.isfinite() & (inverse > 0)).all():
            raise CompressionError(
                f"{self} was given scales from {parameters['scale'].min():.3g} to "
                f"{parameters['scale'].max():.3g}; a scale is positive and finite. If it was learned, "
                "the learning rate was too high."
            )
        return encode_uniform(rows, inverse, self.zero(parameters), self.code_range, self.code_dtype)

    def decode(self, codes: Tensor, parameters: Parameters) -> Float[Tensor, "rows columns"]:
        return decode_uniform(codes, parameters["scale"], self.zero(parameters))


@dataclass(frozen=True)
class Symmetric(_Uniform):
    """Space the levels evenly around zero: ``scale * (-q .. q)`` with ``q = 2**(bits - 1) - 1``.

    Args:
        bits: width of a code, 2 to 8.
        granularity: which weights share a scale.
        clip: where the grid ends; the scale is that end divided by ``q``, and 1 for a row of zeros.

    Source: Jacob et al., 2018, section 2.1 (arXiv:1712.05877), with the zero point at 0.
    Chapter: 02.

    >>> code = Symmetric(bits=3).quantize(torch.tensor([-0.9, 0.4, 0.1]))
    >>> code.codes, code.parameters["scale"]
    (tensor([-3,  1,  0], dtype=torch.int8), tensor([0.3000]))
    """

    code_dtype: ClassVar[torch.dtype] = torch.int8
    lowest_bits: ClassVar[int] = 2

    @property
    def code_range(self) -> tuple[int, int]:
        return 1 - 2 ** (self.bits - 1), 2 ** (self.bits - 1) - 1

    def grid(self, low: Float[Tensor, " rows"], high: Float[Tensor, " rows"]) -> dict[str, Tensor]:
        return {"scale": _scale(torch.maximum(-low, high), self.code_range[1])}


@dataclass(frozen=True)
class Asymmetric(_Uniform):
    """Space the levels evenly over the row's own range, stretched so that zero is a level exactly.

    The levels are ``scale * ((0 .. 2**bits - 1) - zero_point)``.

    Args:
        bits: width of a code, 1 to 8.
        granularity: which weights share a scale and a zero point.
        clip: where the grid ends.

    Source: Jacob et al., 2018, section 2.1 (arXiv:1712.05877).
    Chapter: 03.

    >>> code = Asymmetric(bits=2).quantize(torch.tensor([0.0, 0.2, 0.6]))
    >>> code.codes, code.parameters["zero_point"]
    (tensor([0, 1, 3], dtype=torch.uint8), tensor([0], dtype=torch.uint8))
    """

    def row_layout(self) -> Layout:
        return {"scale": ((), torch.float32), "zero_point": ((), torch.uint8)}

    def grid(self, low: Float[Tensor, " rows"], high: Float[Tensor, " rows"]) -> dict[str, Tensor]:
        top = self.code_range[1]
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = _scale(high / top - low / top, 1)  # divided first: the width of a huge range overflows
        return {"scale": scale, "zero_point": (-low * (1 / scale)).round().clamp(0, top).to(torch.uint8)}

    def zero(self, parameters: Parameters) -> Float[Tensor, " rows"]:
        return parameters["zero_point"].float()


def _scale(end: Float[Tensor, " rows"], steps: int) -> Float[Tensor, " rows"]:
    """Divide the end of a grid into steps; a row of zeros has scale 1."""
    return torch.where(end == 0, 1.0, (end / steps).clamp(min=_TINY))
