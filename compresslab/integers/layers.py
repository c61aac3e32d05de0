"""Layers that compute with integers alone: int8 in, int32 sums, int8 out.

An activation ``x`` travels as a code: ``x ~ scale * (code - zero_point)``, code in -128 .. 127, or in fewer
where an activation has fewer bits. A layer multiplies codes, sums them in int32, and brings the sum to the
next grid by a fixed-point factor.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int8, Int32, Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from compresslab.errors import CompressionError
from compresslab.quantization.clipping import Clip, MinMax
from compresslab.quantization.scheme import QuantizedTensor
from compresslab.quantization.uniform import Asymmetric

_FRACTION = 30  # bits of the fixed-point multiplier


@dataclass(frozen=True)
class Grid:
    """Where the codes of one activation lie: ``x ~ scale * (code - zero_point)``.

    Args:
        scale: the width of a step.
        zero_point: the code of zero.
        bits: width of a code, 2 to 8. With fewer than 8 it travels in an int8 all the same.

    Chapter: 08.
    """

    scale: float
    zero_point: int
    bits: int = 8

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1

    @classmethod
    def of(cls, values: Float[Tensor, "..."], clip: Clip = MinMax(), bits: int = 8) -> "Grid":
        """Fit a grid to observed activations, by the same rule as ``Asymmetric(bits)`` for weights.

        >>> Grid.of(torch.tensor([0.0, 1.0, 255.0]))
        Grid(scale=1.0, zero_point=-128, bits=8)
        """
        parameters = Asymmetric(bits, clip=clip).quantize(values.flatten()).parameters
        zero = int(parameters["zero_point"]) - 2 ** (bits - 1)
        return cls(float(parameters["scale"]), zero, bits)


def fixed_point(factor: Float[Tensor, " n"]) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"]]:
    """Write positive factors as ``multiplier / 2**shift`` with a multiplier of 31 bits.

    Returns:
        The multipliers, from 2**30 up to 2**31, and the shifts, 1 to 62 (smaller factors lose bits).

    Raises:
        CompressionError: a factor is 2**30 or more, so that an int64 could overflow.

    Source: Jacob et al., 2018, section 2.2, equations 5 and 6 (arXiv:1712.05877).

    >>> fixed_point(torch.tensor([0.375]))
    (tensor([1610612736]), tensor([32]))
    """
    if not (factor < 2**_FRACTION).all():
        raise CompressionError(
            f"The grid of an activation is {factor.max():.3g} times finer than the sums that it holds; "
            "calibrate on other images, or leave this network in floats."
        )
    exponent = torch.frexp(factor.double()).exponent  # factor = fraction * 2**exponent, fraction in [0.5, 1)
    shift = (_FRACTION + 1 - exponent.long()).clamp(max=62)
    return torch.round(torch.ldexp(factor.double(), shift)).long(), shift


def requantize(
    total: Int32[Tensor, "n channels"],
    multiplier: Int64[Tensor, " channels"],
    shift: Int64[Tensor, " channels"],
) -> Int64[Tensor, "n channels"]:
    """Multiply by ``multiplier / 2**shift`` in int64 and round to the nearest integer, halves upward."""
    return (total.long() * multiplier + (1 << (shift - 1))) >> shift


def _clamped(total: Shaped[Tensor, "..."], grid: Grid) -> Int8[Tensor, "..."]:
    return total.clamp_(*grid.ends).to(torch.int8)


class Gridded(nn.Module):
    """A step of an integer network: it knows the grids of what enters and leaves it."""

    def take(self, **grids: Grid) -> None:
        """Work on other grids from now on, those of a file for example."""
        for name, grid in grids.items():
            setattr(self, name, grid)


class IntegerLayer(Gridded):
    """Multiply codes by codes, sum in int32, bring the sum to the output grid.

    ``sum (x - zero) * w = sum x * w - zero * sum w``: the second term does not depend on the input and
    joins the bias, which is stored as int32 in steps of ``input scale * weight scale``.

    Args:
        weight: by ``Symmetric``, per tensor or per channel.
        bias: in floats, or None.
        source: the grid of the input.
        target: the grid of the output; None for the last layer, whose sums leave as floats.

    Raises:
        CompressionError: the sums could overflow int32 for some input, or a bias is not finite.

    Source: Jacob et al., 2018, section 2.2 to 2.4 (arXiv:1712.05877).
    Chapter: 08.
    """

    codes: Tensor
    bias: Tensor
    steps: Tensor
    multiplier: Tensor
    shift: Tensor

    def __init__(
        self, weight: QuantizedTensor, bias: Tensor | None, source: Grid, target: Grid | None
    ) -> None:
        super().__init__()
        codes = weight.codes.flatten(1)
        steps = source.scale * weight.parameters["scale"].double().expand(len(codes))
        offset = torch.zeros_like(steps) if bias is None else torch.round(bias.detach().double() / steps)
        offset = offset - source.zero_point * codes.sum(dim=1, dtype=torch.int64)
        largest = offset.abs() + codes.short().abs().sum(dim=1, dtype=torch.int64) * 128
        if not (largest < 2**31).all():  # not: NaN must not pass
            raise CompressionError(
                f"The int32 sums of a layer with {codes.shape[1]} inputs could overflow: they may reach "
                f"{largest.max():.3g}, bias included. Leave this network in floats."
            )
        self.source, self.target = source, target
        self.register_buffer("codes", codes.contiguous())
        self.register_buffer("bias", offset.to(torch.int32))
        if target is None:
            self.register_buffer("steps", steps.float())
        else:
            multiplier, shift = fixed_point(steps / target.scale)
            self.register_buffer("multiplier", multiplier)
            self.register_buffer("shift", shift)

    def accumulate(self, x: Int8[Tensor, "n columns"]) -> Int32[Tensor, "n channels"]:
        """Sum the products of codes in int32, bias included."""
        return torch.ops.aten._int_mm(x.contiguous(), self.codes.t()) + self.bias

    def finish(self, total: Int32[Tensor, "n channels"]) -> Tensor:
        """Bring the sums to the output grid, or to floats at the end of the network."""
        if self.target is None:
            return total * self.steps
        return _clamped(requantize(total, self.multiplier, self.shift) + self.target.zero_point, self.target)

    def extra_repr(self) -> str:
        return f"{' x '.join(map(str, self.codes.shape))}, {self.source} -> {self.target or 'floats'}"


class IntegerLinear(IntegerLayer):
    """A linear layer in integers; see ``IntegerLayer``."""

    def forward(self, x: Int8[Tensor, "... columns"]) -> Tensor:
        rows = self.finish(self.accumulate(x.reshape(-1, x.shape[-1])))
        return rows.reshape(*x.shape[:-1], -1)


class IntegerConvolution(IntegerLayer):
    """A convolution in integers: every window a row, then one matrix product; see ``IntegerLayer``.

    Padding holds the code of zero, not the code 0. The settings and the bias are those of ``like``.

    Raises:
        CompressionError: its padding is not with zeros.
    """

    def __init__(self, like: Any, weight: QuantizedTensor, source: Grid, target: Grid | None) -> None:
        if like.padding_mode != "zeros":
            raise CompressionError(
                f"An integer convolution was asked with padding of {like.padding_mode}; only zeros are "
                "supported. Leave this network in floats."
            )
        super().__init__(weight, like.bias, source, target)
        self.kernel_size, self.stride, self.dilation = like.kernel_size, like.stride, like.dilation
        self.groups, self.pads = like.groups, tuple(like._reversed_padding_repeated_twice)

    def accumulate(self, x: Int8[Tensor, "n columns"]) -> Int32[Tensor, "n channels"]:
        """Sum the products of codes in int32, bias included; in each group by itself."""
        if self.groups == 1:
            return super().accumulate(x)
        rows = x.reshape(len(x), self.groups, -1).int()
        codes = self.codes.reshape(self.groups, -1, rows.shape[2]).int()
        sums = [(rows * codes[:, i]).sum(dim=2, dtype=torch.int32) for i in range(codes.shape[1])]
        return torch.stack(sums, dim=2).flatten(1) + self.bias

    def forward(self, x: Int8[Tensor, "batch in *space"]) -> Tensor:
        x = F.pad(x, self.pads, value=self.source.zero_point)
        found, axes = windows(x, self.kernel_size, self.stride, self.dilation), len(self.kernel_size)
        rows = found.movedim(1, axes + 1).flatten(axes + 1)  # in the order of the weight's columns
        maps = self.finish(self.accumulate(rows.flatten(0, axes)))
        return maps.reshape(*rows.shape[:-1], -1).movedim(-1, 1).contiguous()


def windows(
    x: Shaped[Tensor, "batch channels *space"],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Shaped[Tensor, "batch channels *axes"]:
    """View every window of a kernel, for one axis of places each one inside the window, behind all places."""
    for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True), start=2):
        x = x.unfold(axis, (size - 1) * gap + 1, step)[..., ::gap]
    return x
