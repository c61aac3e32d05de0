"""Write a tensor as where its rarer values stand and what they are: the ways, and their cost.

The most frequent value, the background, is not stored: a pruned weight is a zero, and most weights are
pruned. The places of all others go into planes (``sparse``), their values into one more. A tensor without
a background worth naming is written densely, as one plane of codes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from compresslab.errors import FormatError
from compresslab.storage import sparse, streams
from compresslab.storage.streams import Stream

WAYS = ("dense", "bitmap", *(f"gaps{bits}" for bits in sparse.GAP_BITS), "rows")

Mask = Bool[np.ndarray, "rows columns"]
Matrix = UInt8[np.ndarray, "rows columns"]
Shape = tuple[int, int]
Plan = list[tuple[Shape, int]]  # of each plane: its shape and its width in bits


@dataclass(frozen=True)
class Coding:
    """Say in a header how a tensor's values were written.

    Args:
        way: one of ``WAYS``.
        background: the code that is not stored; 0 for numbers and for the dense way.
        kept: how many values are stored.
        places: the planes that say where they stand.
        codes: the plane of their codes; None where they are raw numbers.
    """

    way: str
    background: int
    kept: int
    places: tuple[Stream, ...]
    codes: Stream | None

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All planes in the order of the file."""
        return (*self.places, *([self.codes] if self.codes else []))

    @property
    def listed(self) -> int:
        """How many numbers stand in planes that are lists, not matrices."""
        return sum(stream.count for stream in self.streams[self.way in ("dense", "bitmap") :])

    def to_list(self) -> list[Any]:
        """Write it for a header."""
        planes = [[stream.coder, stream.count, stream.length] for stream in self.streams]
        return [self.way, self.background, self.kept, planes]

    @property
    def bytes_in_header(self) -> int:
        """What it costs to say so."""
        return len(json.dumps(self.to_list(), separators=(",", ":")))

    @classmethod
    def from_list(cls, values: list[Any], shape: Shape, bits: int | None) -> Coding:
        """Read it from a header, and hold every number against the tensor's shape.

        Args:
            values: what ``to_list`` gave.
            shape: of the tensor as a matrix.
            bits: width of a code; None for raw numbers.

        Raises:
            FormatError: anything is missing, surplus, of the wrong kind or out of bounds.
        """
        if len(values) != 4 or [type(value) for value in values] != [str, int, int, list]:
            raise FormatError(f"A coding must be [way, background, kept, planes], found {values!r:.80}.")
        way, background, kept, planes = values
        found = [_stream(plane) for plane in planes]
        if way not in WAYS or (way == "dense" and bits is None):
            raise FormatError(f"A tensor is written by the way {way!r:.40}; known are {', '.join(WAYS)}.")
        size = math.prod(shape)
        most = 1 << bits if bits and way != "dense" else 1
        if not (0 <= background < most and 0 <= kept <= size) or (way == "dense" and kept != size):
            raise FormatError(f"{kept} values beside {background} cannot stand in {size} places.")
        codes = found.pop() if bits is not None and found else None
        coding = cls(way, background, kept, tuple(found), codes)
        coding._check_planes(shape, bits)
        return coding

    def _check_planes(self, shape: Shape, bits: int | None) -> None:
        plan = self._plan(shape)
        if bits is not None:
            plan = [*plan, ((1, self.kept), bits)]
        if len(plan) != len(self.streams):
            raise FormatError(f"The way {self.way} needs {len(plan)} planes, found {len(self.streams)}.")
        for stream, (size, width) in zip(self.streams, plan, strict=True):
            if stream.count != math.prod(size) or stream.count > math.prod(shape):
                raise FormatError(f"A plane of {size} cannot hold {stream.count} numbers.")
            streams.check_stream(stream, width)

    def _plan(self, shape: Shape) -> Plan:
        """Return shape and width of the planes of places."""
        if self.way == "dense":
            return []
        if self.way == "bitmap":
            return [(shape, 1)]
        if self.way == "rows":
            counts = [((1, shape[0]), width) for width in sparse.widths(shape[1] + 1)]
            return [*counts, *(((1, self.kept), width) for width in sparse.widths(shape[1]))]
        count = self.places[0].count if self.places else 0
        return [((1, count), int(self.way[-1]))]

    def mask(self, data: Sequence[bytes], shape: Shape) -> Mask:
        """Read where the values stand.

        Raises:
            FormatError: the planes are damaged, or name another number of places.
        """
        planes = [
            streams.read(stream, piece, size, bits)
            for stream, piece, (size, bits) in zip(self.places, data, self._plan(shape), strict=True)
        ]
        if self.way == "bitmap":
            mask = planes[0].astype(bool)
        elif self.way == "rows":
            mask = sparse.from_rows_and_columns([plane.reshape(-1) for plane in planes], shape)
        else:
            mask = sparse.from_gaps(planes[0].reshape(-1), int(self.way[-1]), shape)
        if np.count_nonzero(mask) != self.kept:
            raise FormatError(f"{np.count_nonzero(mask)} places are named for {self.kept} values.")
        return mask

    def matrix(self, data: Sequence[bytes], shape: Shape, bits: int) -> Matrix:
        """Read the codes of a whole weight, counted from the lowest.

        Raises:
            FormatError: the planes are damaged.
        """
        *places, codes = data
        if self.codes is None:
            raise FormatError("The codes of a weight are missing.")
        if self.way == "dense":
            return streams.read(self.codes, codes, shape, bits)
        kept = streams.read(self.codes, codes, (1, self.kept), bits)
        matrix = np.full(shape, self.background, dtype=np.uint8)
        matrix[self.mask(places, shape)] = kept.reshape(-1)
        return matrix


def write_codes(matrix: Matrix, bits: int, coders: Collection[str]) -> tuple[Coding, list[bytes]]:
    """Write the codes of a weight in the cheapest way.

    Args:
        matrix: codes counted from the lowest.
        bits: width of a code.
        coders: those to choose from.

    Returns:
        How they were written, and the bytes of each plane.
    """
    background = int(np.bincount(matrix.reshape(-1)).argmax())
    mask = matrix != background
    dense, whole = streams.write(matrix, bits, coders)
    kept, codes = streams.write(matrix[mask].reshape(1, -1), bits, coders)
    coding, places = write_mask(mask, coders)
    beside = replace(coding, background=background, codes=kept), [*places, codes]
    return min((Coding("dense", 0, matrix.size, (), dense), [whole]), beside, key=_cost)


def write_mask(mask: Mask, coders: Collection[str]) -> tuple[Coding, list[bytes]]:
    """Write where values stand in the cheapest way; of the widths of a gap, the best packed one and 8 bits.

    Returns:
        How it was written, and the bytes of each plane.
    """
    by_width = {bits: sparse.gaps(mask, bits) for bits in sparse.GAP_BITS}
    narrow = min(by_width, key=lambda bits: bits * len(by_width[bits]))
    planes = {
        "bitmap": [mask.astype(np.uint8)],
        "rows": sparse.rows_and_columns(mask),
        **{f"gaps{bits}": [by_width[bits]] for bits in (narrow, 8)},
    }
    return min((_written(way, mask, found, coders) for way, found in planes.items()), key=_cost)


def _written(
    way: str, mask: Mask, planes: sparse.Planes, coders: Collection[str]
) -> tuple[Coding, list[bytes]]:
    coding = Coding(way, 0, int(np.count_nonzero(mask)), (Stream("packed", planes[0].size, 0),), None)
    plan = coding._plan((len(mask), mask.shape[1]))
    pairs = [
        streams.write(plane.reshape(size), bits, coders)
        for plane, (size, bits) in zip(planes, plan, strict=True)
    ]
    return replace(coding, places=tuple(stream for stream, _ in pairs)), [data for _, data in pairs]


def _cost(written: tuple[Coding, list[bytes]]) -> int:
    """Count the bytes of the planes and of what the header says about them."""
    coding, data = written
    return sum(map(len, data)) + coding.bytes_in_header


def _stream(plane: Any) -> Stream:
    if not (isinstance(plane, list) and [type(value) for value in plane] == [str, int, int]):
        raise FormatError(f"A plane must be [coder, count, length], found {plane!r:.80}.")
    if plane[1] < 0 or plane[2] < 0:
        raise FormatError(f"A plane of {plane[1]} numbers in {plane[2]} bytes is impossible.")
    return Stream(*plane)
