"""What an integer network does between its layers: enter, rectify, add, average."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int8, Int32
from torch import Tensor
from torch.nn import functional as F

from compresslab.errors import CompressionError
from compresslab.integers.layers import Grid, Gridded, _clamped, windows


class _OnGrid(Gridded):
    """Give codes of one grid."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid


class QuantizeInput(_OnGrid):
    """Bring float inputs to codes: the one place where floats enter."""

    def forward(self, x: Float[Tensor, "..."]) -> Int8[Tensor, "..."]:
        return _clamped(torch.round(x * (1 / self.grid.scale)) + self.grid.zero_point, self.grid)


class IntegerReLU(_OnGrid):
    """Lift codes below the code of zero to it; lower those above the code of a ceiling, such as 6."""

    def __init__(self, grid: Grid, ceiling: float | None = None) -> None:
        super().__init__(grid)
        self.ceiling = ceiling

    def forward(self, x: Int8[Tensor, "..."]) -> Int8[Tensor, "..."]:
        zero, ceiling = self.grid.zero_point, self.ceiling
        top = None if ceiling is None else min(round(ceiling / self.grid.scale) + zero, self.grid.ends[1])
        return x.clamp(zero, top)


class IntegerAdd(Gridded):
    """Add activations of two grids on a third; both factors share one shift, so the sum is rounded once.

    The factors have 31 bits after the point, as those of layers have, and the sum has 64.

    Raises:
        CompressionError: the target's steps are so fine that an int64 could overflow.
    """

    SHIFT = 31

    left: Grid
    right: Grid
    target: Grid

    def __init__(self, left: Grid, right: Grid, target: Grid) -> None:
        super().__init__()
        self.take(left=left, right=right, target=target)

    def take(self, **grids: Grid) -> None:
        super().take(**grids)
        ratio = max(self.left.scale, self.right.scale) / self.target.scale
        if ratio > 2**19:
            raise CompressionError(
                f"The grid of a sum is {ratio:.3g} times finer than those of its terms, which cancel; "
                "calibrate on other images, or leave this network in floats."
            )
        terms = (self.left, self.right)  # codes of 9 bits, a ratio of 19, 31 behind the point: 2**60 for both
        self.factors = [round(grid.scale / self.target.scale * 2**self.SHIFT) for grid in terms]

    def forward(self, x: Int8[Tensor, "..."], y: Int8[Tensor, "..."]) -> Int8[Tensor, "..."]:
        total = (x.long() - self.left.zero_point) * self.factors[0]
        total = total + (y.long() - self.right.zero_point) * self.factors[1]
        total = (total + (1 << (self.SHIFT - 1))) >> self.SHIFT
        return _clamped(total + self.target.zero_point, self.target)


class IntegerMean(_OnGrid):
    """Average over whole axes to one code of the same grid, halves upward."""

    def __init__(self, grid: Grid, axes: tuple[int, ...] = (2, 3), keep: bool = True) -> None:
        super().__init__(grid)
        self.axes, self.keep = axes, keep

    def forward(self, x: Int8[Tensor, "..."]) -> Int8[Tensor, "..."]:
        count = math.prod(x.shape[axis] for axis in self.axes)
        return _clamped(
            _divided(x.int().sum(dim=self.axes, keepdim=self.keep, dtype=torch.int32), count), self.grid
        )


class IntegerAverage(_OnGrid):
    """Average every window as a pooling layer does, halves upward; padding holds the code of zero.

    Raises:
        CompressionError: the layer rounds its size up, or divides by a number of its own.
    """

    def __init__(self, grid: Grid, like: Any) -> None:
        super().__init__(grid)
        if like.ceil_mode or getattr(like, "divisor_override", None) is not None:
            raise CompressionError(
                "Average pooling in integers was asked with ceil_mode or divisor_override; only plain "
                "pooling is supported. Leave this network in floats."
            )
        pairs = hasattr(like, "divisor_override")  # torch's pooling of one axis has none, and holds tuples
        settings = (like.kernel_size, like.stride, like.padding)
        self.kernel, self.stride, self.padding = (
            (one, one) if pairs and isinstance(one, int) else tuple(one) for one in settings
        )
        self.counts_padding = like.count_include_pad

    def forward(self, x: Int8[Tensor, "batch channels *space"]) -> Int8[Tensor, "batch channels *places"]:
        centred = x.int() - self.grid.zero_point
        total = self._sums(centred)
        if self.counts_padding:
            mean = _divided(total, math.prod(self.kernel))
        else:
            mean = _divided(total, self._sums(torch.ones_like(centred)))
        return _clamped(mean + self.grid.zero_point, self.grid)

    def _sums(self, x: Int32[Tensor, "batch channels *space"]) -> Int32[Tensor, "batch channels *places"]:
        x = F.pad(x, [side for one in reversed(self.padding) for side in (one, one)])
        found, axes = windows(x, self.kernel, self.stride, (1,) * len(self.kernel)), len(self.kernel)
        return found.flatten(axes + 2).sum(dim=-1, dtype=torch.int32)


def _divided(total: Int32[Tensor, "..."], count: int | Tensor) -> Tensor:
    """Divide and round to the nearest integer, halves upward."""
    return torch.div(2 * total + count, 2 * count, rounding_mode="floor")
