"""Choose how to write a tensor: bound what each way would take, then write the one that takes least.

What a coder needs follows, to a few bytes, from how often each number occurs, so nothing is written only to
be thrown away: candidates are written from the lowest bound on, until no other can be shorter. The choice is
that of writing them all. In a large matrix contexts are followed through a block only, and what takes more
memory than the plain way, contexts or lists of places, must promise a hundredth less.
"""

import math
from collections.abc import Callable, Collection, Iterable
from functools import cache, cached_property
from typing import TypeVar

import numpy as np
from jaxtyping import Int
from msgspec.structs import replace

from compresslab.coding import places, ranges
from compresslab.coding.bits import count_symbols, counted_from, pack, packed_size
from compresslab.coding.frequencies import size_bound
from compresslab.coding.planes import CODERS, Coding, Mask, Matrix, Shape, Stream

Written = tuple[Coding | None, list[bytes]]  # None: values as they are, codes side by side
T = TypeVar("T")
Candidate = tuple[float, Callable[[], T]]  # what it takes at least, and how to write it

_FOLLOWED = 1 << 19  # numbers of a matrix that is not large
_BLOCK = 256, 1024  # rows and columns of a block: several times an image's width
_DOUBT = 1.01  # a hundredth


class Plane:
    """Stand for a plane that may be written: its numbers are counted, and made only when they are wanted.

    Args:
        counts: how often each number occurs; one for each that the width allows.
        part: makes the first rows and columns.
        coders: those that may write it; packing always may.
        low: the number, modulo 256, that ``part`` has in the place of 0; it is counted from while writing.
    """

    def __init__(
        self,
        shape: Shape,
        counts: Int[np.ndarray, " alphabet"],
        part: Callable[[int, int], Matrix],
        coders: Collection[str],
        low: int = 0,
    ) -> None:
        self.shape, self.part, self.bits, self.low = shape, part, (len(counts) - 1).bit_length(), low
        self.bounds = {name: CODERS[name].bound(counts) for name in CODERS if name in {"packed", *coders}}
        tables = self.bounds.pop("context", math.inf)
        if shape[0] > 1 and tables <= min(self.bounds.values()) + len("context"):
            self.bounds["context"] = self._in_contexts()

    def _in_contexts(self) -> float:
        size = math.prod(self.shape)
        if size <= _FOLLOWED:
            return size_bound(ranges.count_in_contexts(self._counted(*self.shape), 1 << self.bits))
        block = self._counted(*_BLOCK)
        counts = ranges.count_in_contexts(block, 1 << self.bits)
        return _DOUBT * size_bound(counts * size // block.size)

    def _counted(self, rows: int, columns: int) -> Matrix:
        return counted_from(self.low, self.part(rows, columns))

    @property
    def bound(self) -> float:
        """Bytes that it takes at least, whatever the coder."""
        return min(self.bounds.values())

    @cached_property
    def written(self) -> tuple[Stream, bytes]:
        """The shortest way to write it; among equals the first in ``CODERS``."""
        plane = cache(lambda: self.part(*self.shape))

        def write(name: str) -> tuple[Stream, bytes]:
            data = CODERS[name].write(plane(), self.bits, self.low)
            return Stream(name, math.prod(self.shape), len(data)), data

        ways = [
            (bound + len(name), lambda name=name: write(name))
            for name, bound in sorted(self.bounds.items(), key=lambda item: list(CODERS).index(item[0]))
        ]
        return shortest(ways, lambda way: len(way[1]) + len(way[0].coder))  # the header holds the name


def shortest(candidates: Iterable[Candidate[T]], cost: Callable[[T], int]) -> T:
    """Write what may be shortest, from the lowest bound on, until no other can be; among equals the first."""
    found: list[tuple[int, int, T]] = []
    for order, (bound, write) in sorted(enumerate(candidates), key=lambda item: item[1][0]):
        if not found or bound <= min(found)[0]:
            written = write()
            found.append((cost(written), order, written))
    return min(found)[2]


def write_codes(matrix: Matrix, bits: int, coders: Collection[str], low: int = 0) -> Written:
    """Write the codes of a weight in the cheapest way.

    Args:
        matrix: codes, a byte each.
        bits: of a code.
        coders: those that may write a plane; packing always may.
        low: the lowest code, modulo 256, from which all are counted.

    Returns:
        How they were written, and the bytes of each plane.
    """
    counts = count_symbols(matrix, 1 << bits, low)
    background = int(counts.argmax())
    rest, common = np.where(np.arange(len(counts)) == background, 0, counts), (background + low) % 256
    kept = Plane((1, int(rest.sum())), rest, lambda *_: matrix[matrix != common].reshape(1, -1), coders, low)
    dense = Plane(matrix.shape, counts, lambda rows, columns: matrix[:rows, :columns], coders, low)
    ways: list[Candidate[Written]] = [
        (packed_size(matrix.size, bits), lambda: (None, [pack(matrix, bits, low)])),
        _way(Coding("dense", 0, matrix.size, ()), [dense]),
    ]
    for way, planes in _ways_to_place(matrix, common, coders).items():
        bound, write = _way(Coding(way, background, kept.shape[1], ()), [*planes, kept])
        ways.append((bound if matrix.size <= _FOLLOWED else _DOUBT * bound, write))
    return shortest(ways, cost)


def write_places(mask: Mask, itemsize: int, coders: Collection[str]) -> Written:
    """Write where numbers of so many bytes stand; without planes where all of them are better written."""
    kept = int(np.count_nonzero(mask))
    ways: list[Candidate[Written]] = [((mask.size - kept) * itemsize, lambda: (None, []))]
    for way, planes in _ways_to_place(mask, False, coders).items():
        ways.append(_way(Coding(way, 0, kept, ()), planes))
    return shortest(ways, lambda way: cost(way) if way[0] else (mask.size - kept) * itemsize)


def cost(written: Written) -> int:
    """Count the bytes of the planes and of what the header says about them."""
    coding, data = written
    return sum(map(len, data)) + (coding.bytes_in_header if coding else 0)


def _way(coding: Coding, planes: list[Plane]) -> Candidate[Written]:
    """Bound what planes take with their words in the header, and say how to write them."""
    numbers = [(math.prod(plane.shape), plane) for plane in planes]
    words = tuple(Stream("", count, max(0, int(plane.bound) - 8)) for count, plane in numbers)
    named = sum(min(bound + len(name) for name, bound in plane.bounds.items()) for plane in planes)

    def write() -> Written:
        written = [plane.written for plane in planes]
        return replace(coding, planes=tuple(stream for stream, _ in written)), [data for _, data in written]

    return named + replace(coding, planes=words).bytes_in_header, write


def _ways_to_place(matrix: Matrix | Mask, background: int, coders: Collection[str]) -> dict[str, list[Plane]]:
    """List the ways to place values that are no background; of gaps those of 8 bits and the best packed."""
    survey, columns = places.survey(matrix, background), matrix.shape[1]
    kept = int(survey.rows.sum())
    mask = cache(lambda: matrix != background)

    def listed(counts: list[Int[np.ndarray, " _"]], make: Callable[[], places.Planes]) -> list[Plane]:
        made = cache(make)
        return [
            Plane((1, int(each.sum())), each, lambda *_, at=at: made()[at].reshape(1, -1), coders)
            for at, each in enumerate(counts)
        ]

    bitmap = Plane(
        matrix.shape,
        np.array([matrix.size - kept, kept]),
        lambda rows, columns: (matrix[:rows, :columns] != background).view(np.uint8),
        coders,
    )
    by_width = {bits: survey.count_gaps(bits) for bits in places.GAP_BITS}
    narrow = min(by_width, key=lambda bits: bits * int(by_width[bits].sum()))
    numbers = [
        *places.count_split(survey.rows, columns + 1),
        *places.count_split(np.arange(columns), columns, survey.columns),
    ]
    return {
        "bitmap": [bitmap],
        "rows": listed(numbers, lambda: places.rows_and_columns(mask())),
        **{
            f"gaps{bits}": listed([by_width[bits]], lambda bits=bits: [places.gaps(mask(), bits)])
            for bits in (narrow, 8)
        },
    }
