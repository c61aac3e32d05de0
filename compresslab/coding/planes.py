"""Write a tensor as planes: where its rarer values stand, and what they are.

A plane is a matrix of small numbers of one width in bits, written by the coder that needs the fewest bytes.
The most frequent value of a tensor, the background, is not stored: a pruned weight is a zero, and most
weights are pruned. The places of all others go into planes (``places``), their codes into one more. A tensor
without a background worth naming is written densely, as one plane of codes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from jaxtyping import Bool, Int, UInt8
from msgspec import Meta, Struct

from compresslab.coding import huffman, places, ranges
from compresslab.coding.bits import counted_from, pack, packed_size, unpack
from compresslab.coding.frequencies import size_bound
from compresslab.coding.lanes import deal
from compresslab.errors import FormatError, one_of

LARGEST_COUNT = 1 << 48
WAYS = ("dense", "bitmap", *(f"gaps{bits}" for bits in places.GAP_BITS), "rows")

Natural = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]
Mask = Bool[np.ndarray, "rows columns"]
Matrix = UInt8[np.ndarray, "rows columns"]
Shape = tuple[int, int]
Plan = list[tuple[Shape, int]]  # of each plane: its shape and its width in bits


@dataclass(frozen=True)
class Coder:
    """Name a way to write a plane, which has a shape and a width in bits.

    Args:
        write: from numbers as bytes, their width, and the lowest (modulo 256, else 0), which becomes 0.
        bound: of the bytes that it takes, from below, as each number's count alone tells it.
        work: of reading a plane of that shape, in microseconds of one core of 2020.
    """

    write: Callable[..., bytes]
    read: Callable[[bytes, Shape, int], Matrix]
    bound: Callable[[Int[np.ndarray, " alphabet"]], float]
    work: Callable[[Shape], float]


CODERS = {
    "packed": Coder(
        pack,
        lambda data, shape, bits: unpack(data, bits, math.prod(shape)).reshape(shape),
        lambda counts: packed_size(int(counts.sum()), (len(counts) - 1).bit_length()),
        lambda shape: 0.005 * math.prod(shape),
    ),
    "huffman": Coder(
        lambda plane, bits, low=0: huffman.encode(counted_from(low, plane), 1 << bits),
        lambda data, shape, bits: huffman.decode(data, math.prod(shape), 1 << bits).reshape(shape),
        huffman.size_bound,
        lambda shape: 15 * deal(math.prod(shape))[1] + 0.05 * math.prod(shape),
    ),
    "range": Coder(
        lambda plane, bits, low=0: ranges.encode(plane, 1 << bits, low=low),
        lambda data, shape, bits: ranges.decode(data, shape, 1 << bits),
        lambda counts: size_bound(counts[None]),
        lambda shape: 0.03 * math.prod(shape),
    ),
    "context": Coder(
        lambda plane, bits, low=0: ranges.encode(plane, 1 << bits, ranges.CONTEXTS, low),
        lambda data, shape, bits: ranges.decode(data, shape, 1 << bits, ranges.CONTEXTS),
        lambda counts: 2 + ranges.CONTEXTS * len(counts),  # its tables
        lambda shape: 60 * ranges.steps_of(shape) + 0.06 * math.prod(shape),
    ),
}


class Stream(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Say in a header how a plane is written.

    Args:
        coder: one of ``CODERS``.
        count: numbers in the plane.
        length: bytes in the file.
    """

    coder: str
    count: Natural
    length: Natural

    def read(self, data: bytes, shape: Shape, bits: int) -> Matrix:
        """Read the plane back.

        Raises:
            FormatError: the bytes are not what the coder would have written.
        """
        plane = CODERS[self.coder].read(data, shape, bits)
        if plane.size and plane.max() >> bits:
            raise FormatError(f"A plane of {bits} bits holds the number {plane.max()}.")
        return plane


class Coding(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Say in a header how a tensor's values are written.

    Args:
        way: one of ``WAYS``.
        background: the code that is not stored; 0 for numbers and for the dense way.
        kept: how many values are stored.
        planes: those that say where the values stand; then that of their codes, unless they are numbers.
    """

    way: str
    background: Annotated[int, Meta(ge=0, le=255)]
    kept: Natural
    planes: tuple[Stream, ...]

    @property
    def listed(self) -> int:
        """How many numbers stand in planes that are lists, not matrices."""
        return sum(plane.count for plane in self.planes[self.way in ("dense", "bitmap") :])

    def work(self, shape: Shape, bits: int | None) -> float:
        """Say how much work its planes are to read, in microseconds."""
        return sum(
            CODERS[plane.coder].work(numbers)
            for plane, (numbers, _) in zip(self.planes, self._whole_plan(shape, bits), strict=True)
        )

    @property
    def bytes_in_header(self) -> int:
        """What it costs to say so."""
        return len(msgspec.json.encode(self))

    def check(self, shape: Shape, bits: int | None) -> None:
        """Hold every number against the tensor's shape, before anything is allocated.

        Args:
            shape: of the tensor as a matrix.
            bits: width of a code; None for raw numbers.

        Raises:
            CompressionError: a word is unknown, a plane is missing or surplus, or a number is out of bounds.
        """
        one_of(self.way, WAYS if bits else WAYS[1:], "way to write such a tensor")
        size, dense = math.prod(shape), self.way == "dense"
        most = 1 << bits if bits and not dense else 1
        if self.background >= most or self.kept > size or (dense and self.kept != size):
            raise FormatError(f"{self.kept} values beside {self.background} cannot stand in {size} places.")
        plan = self._whole_plan(shape, bits)
        if len(plan) != len(self.planes):
            raise FormatError(f"The way {self.way} needs {len(plan)} planes, found {len(self.planes)}.")
        for plane, (numbers, width) in zip(self.planes, plan, strict=True):
            one_of(plane.coder, CODERS, "coder")
            if plane.count != math.prod(numbers) or plane.count > size:
                raise FormatError(f"A plane of {numbers} cannot hold {plane.count} numbers.")
            if plane.coder == "packed" and plane.length != packed_size(plane.count, width):
                raise FormatError(
                    f"{plane.count} packed numbers of {width} bits cannot fill {plane.length} bytes."
                )

    def _whole_plan(self, shape: Shape, bits: int | None) -> Plan:
        """Return shape and width of all planes; those of codes are listed, but for the dense way."""
        kept = shape if self.way == "dense" else (1, self.kept)
        return self._plan(shape) + ([(kept, bits)] if bits else [])

    def _plan(self, shape: Shape) -> Plan:
        """Return shape and width of the planes of places."""
        if self.way == "dense":
            return []
        if self.way == "bitmap":
            return [(shape, 1)]
        if self.way == "rows":
            counts = [((1, shape[0]), width) for width in places.widths(shape[1] + 1)]
            return [*counts, *(((1, self.kept), width) for width in places.widths(shape[1]))]
        return [((1, self.planes[0].count if self.planes else 0), int(self.way[-1]))]

    def mask(self, data: Sequence[bytes], shape: Shape) -> Mask:
        """Read where the values stand.

        Raises:
            FormatError: the planes are damaged, or name another number of places.
        """
        planes = [
            plane.read(piece, size, bits)
            for plane, piece, (size, bits) in zip(self.planes, data, self._plan(shape), strict=False)
        ]
        if self.way == "bitmap":
            mask = planes[0].astype(bool)
        elif self.way == "rows":
            mask = places.from_rows_and_columns([plane.reshape(-1) for plane in planes], shape)
        else:
            mask = places.from_gaps(planes[0].reshape(-1), int(self.way[-1]), shape)
        if np.count_nonzero(mask) != self.kept:
            raise FormatError(f"{np.count_nonzero(mask)} places are named for {self.kept} values.")
        return mask

    def matrix(self, data: Sequence[bytes], shape: Shape, bits: int) -> Matrix:
        """Read the codes of a whole weight, counted from the lowest.

        Raises:
            FormatError: the planes are damaged.
        """
        if self.way == "dense":
            return self.planes[-1].read(data[-1], shape, bits)
        kept = self.planes[-1].read(data[-1], (1, self.kept), bits)
        matrix = np.full(shape, self.background, dtype=np.uint8)
        matrix[self.mask(data, shape)] = kept.reshape(-1)
        return matrix
