"""The contract that all schemes share: rows, levels, codes.

A scheme fits parameters to each row of a weight, and the parameters stand for a sorted table of levels.
Encoding takes the nearest level, decoding looks it up. Schemes override only what is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from compresslab.errors import CompressionError, whole
from compresslab.quantization.granularity import Granularity
from compresslab.quantization.values import check_choice, to_json

Parameters = Mapping[str, Shaped[Tensor, "rows ..."]]
Layout = dict[str, tuple[tuple[int, ...], torch.dtype]]


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedTensor:
    """Hold a weight as codes, one small integer each, and the few parameters of each row that decode them.

    Raises:
        CompressionError: codes or parameters do not have the types and shapes of the scheme.

    Chapter: 02.

    >>> from compresslab import Symmetric
    >>> Symmetric(bits=4).quantize(torch.tensor([[0.7, -0.32, 0.04]])).codes
    tensor([[ 7, -3,  0]], dtype=torch.int8)
    """

    scheme: Scheme
    codes: Shaped[Tensor, "..."]
    parameters: Parameters

    def __post_init__(self) -> None:
        check_shape(self.shape, self.scheme)
        codes: Layout = {"codes": (self.shape, self.scheme.code_dtype)}
        wanted = codes | self.scheme.parameter_layout(self.shape)
        check_layout({"codes": self.codes, **self.parameters}, wanted, self.scheme)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)

    @property
    def bits(self) -> int:
        return self.scheme.bits

    @property
    def levels(self) -> Float[Tensor, "rows levels"]:
        """The sorted values that each row can take."""
        return self.scheme.levels(self.parameters)

    def dequantize(self) -> Float[Tensor, "..."]:
        """Decode the codes to float32."""
        granularity = self.scheme.granularity
        pairs = with_parameters(granularity.split(self.codes), self.parameters)
        return granularity.join([self.scheme.decode(*pair) for pair in pairs], self.shape)

    def __repr__(self) -> str:
        stored = sum(tensor.numel() * tensor.element_size() for tensor in self.parameters.values())
        shared = 8 * stored / self.codes.numel()
        return (
            f"QuantizedTensor of shape {self.shape} by {self.scheme}: {self.bits} bits a weight "
            f"and {shared:.3g} for {', '.join(self.parameters)}"
        )


class Scheme:
    """Map weights to codes; the base of the six, each of which brings at least ``fit`` and ``levels``.

    Raises:
        CompressionError: impossible bits or granularity, or what a scheme has of its own.
    """

    granularity: Granularity
    bits: int
    lowest_bits: ClassVar[int] = 1
    code_dtype: ClassVar[torch.dtype] = torch.uint8

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_choice(self.granularity, Granularity, f"the granularity of {name}")
        whole(self.bits, f"the bits of {name}", self.lowest_bits, 8)

    @property
    def code_range(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        return 0, 2**self.bits - 1

    def fit(self, rows: Float[Tensor, "rows columns"]) -> dict[str, Tensor]:
        """Choose the parameters of each row."""
        raise NotImplementedError

    def levels(self, parameters: Parameters) -> Float[Tensor, "rows levels"]:
        """List the values that each row can take, in ascending order."""
        raise NotImplementedError

    def row_layout(self) -> Layout:
        """Describe what one row stores: name -> (shape of one row's entry, dtype); most store a scale."""
        return {"scale": ((), torch.float32)}

    def encode(self, rows: Float[Tensor, "rows columns"], parameters: Parameters) -> Tensor:
        """Give each weight the code of its nearest level; a tie goes to the lower level."""
        middles, rows = middles_of(self.levels(parameters)), rows.contiguous()
        if len(rows) == 1:
            return torch.bucketize(rows, middles[0], out_int32=True).to(self.code_dtype)
        return torch.searchsorted(middles, rows, out_int32=True).to(self.code_dtype)

    def decode(self, codes: Tensor, parameters: Parameters) -> Float[Tensor, "rows columns"]:
        """Look the codes up in the table of levels."""
        levels = self.levels(parameters)
        start = torch.arange(len(levels), device=codes.device, dtype=torch.int32)[:, None] * levels.shape[1]
        return levels.flatten().index_select(0, (codes + start).flatten()).reshape(codes.shape)

    def parameter_layout(self, shape: tuple[int, ...]) -> Layout:
        """Describe what is stored beside the codes: name -> (shape, dtype)."""
        rows = self.granularity.rows(shape)
        return {name: ((rows, *one), dtype) for name, (one, dtype) in self.row_layout().items()}

    def quantize(self, weight: Float[Tensor, "..."], parameters: Parameters | None = None) -> QuantizedTensor:
        """Fit the parameters to a weight, unless they are given, and encode it.

        Args:
            weight: any floating tensor with at least one axis, computed in float32; it is not changed.
            parameters: those of an earlier fit, to encode other values on the same levels.

        Raises:
            CompressionError: the weight is empty, not floating, holds NaN, infinity or magnitudes above
                2**126, or the parameters are not those of a weight of this shape.
        """
        blocks = self.granularity.split(checked_weight(weight, self, fit=parameters is None))
        if parameters is None:
            fitted = [self.fit(block) for block in blocks]
            parameters = {name: torch.cat([fit[name] for fit in fitted]) for name in fitted[0]}
        check_layout(parameters, self.parameter_layout(tuple(weight.shape)), self)
        codes = [self.encode(*pair) for pair in with_parameters(blocks, parameters)]
        return QuantizedTensor(self, self.granularity.join(codes, tuple(weight.shape)), dict(parameters))

    def to_dict(self) -> dict[str, Any]:
        """Write the scheme as JSON-able values; ``schemes.scheme_from_dict`` reads them back."""
        return {"name": "", "granularity": {}} | to_json(self)  # in the order of every file so far


def with_parameters(blocks: list[Tensor], parameters: Parameters) -> Iterator[tuple[Tensor, Parameters]]:
    """Give each block of a weight with the parameters of its own rows."""
    start = 0
    for block in blocks:
        rows = slice(start, start := start + len(block))
        yield block, {name: value[rows] for name, value in parameters.items()}


def middles_of(levels: Float[Tensor, "rows levels"]) -> Float[Tensor, "rows levels-1"]:
    """Find the largest float32 not above the middle of two levels: it decides a comparison as float64 would.

    >>> middles_of(torch.tensor([[-1.0, 0.0, 3.0]]))
    tensor([[-0.5000,  1.5000]])
    """
    exact = (levels[:, :-1].double() + levels[:, 1:].double()) / 2
    middles = exact.float()
    return torch.where(middles > exact, middles.nextafter(torch.full_like(middles, -torch.inf)), middles)


_LARGEST = 2.0**126  # the levels around larger weights could overflow float32


def checked_weight(weight: Float[Tensor, "..."], scheme: Scheme, fit: bool) -> Float[Tensor, "..."]:
    """Return the weight in float32; refuse what no scheme can encode."""
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        kind = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise CompressionError(f"{scheme} was asked to quantize {kind}; give it a floating-point tensor.")
    check_shape(tuple(weight.shape), scheme)
    values = weight.detach().float()
    low, high = torch.aminmax(values)  # NaN and infinity both reach the extremes: one fast pass
    largest = _LARGEST if fit else torch.finfo(torch.float32).max  # given levels are there already
    if low >= -largest and high <= largest:
        return values
    exact = weight.detach().double()
    if bad := int((~exact.isfinite()).sum()):
        raise CompressionError(
            f"{scheme} was asked to quantize a tensor with {bad} of {weight.numel()} values NaN or infinite; "
            "find out where they came from (often a learning rate too high) and repair them first."
        )
    raise CompressionError(
        f"{scheme} was asked to quantize a weight of magnitude {exact.abs().max():.3g}; "
        f"its float32 levels reach {largest:.3g}. Scale the weight down first."
    )


def check_shape(shape: tuple[int, ...], scheme: Scheme) -> None:
    """Refuse a shape without an axis or without an entry."""
    if not shape or 0 in shape:
        raise CompressionError(
            f"{scheme} was asked to quantize a tensor of shape {shape}; "
            "it needs at least one axis and one weight."
        )


def check_layout(found: Parameters, wanted: Layout, scheme: Scheme) -> None:
    """Refuse tensors of other names, shapes or types than the scheme stores."""
    described = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in found.items()}
    if described != wanted:
        raise CompressionError(
            f"{scheme} stores {wanted}; found {described}. "
            "Build quantized tensors with scheme.quantize(weight), of a weight of the same shape."
        )
