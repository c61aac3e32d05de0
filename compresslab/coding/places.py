"""Say where the few values of a matrix stand: one bit each, the gaps between them, or row by row.

Each layout turns a mask into planes, arrays of small numbers with a fixed width in bits, which any coder of
``streams`` can write. A layout is chosen by what its planes cost once they are written.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int, Integer, Shaped, UInt8

from compresslab.errors import FormatError

GAP_BITS = range(2, 9)
_BLOCK = 1 << 17  # places looked at in one go: a megabyte of their numbers
_SHORT = 1 << 12  # gaps below are counted in a table

Planes = list[UInt8[np.ndarray, "..."]]
Shape = tuple[int, int]


def widths(limit: int) -> list[int]:
    """Split the bits of a number below ``limit`` into planes of at most 8, the low ones first.

    >>> widths(784), widths(2)
    ([8, 2], [1])
    """
    bits = max(1, (limit - 1).bit_length())
    return [min(8, bits - low) for low in range(0, bits, 8)]


def gaps(mask: Bool[np.ndarray, "rows columns"], bits: int) -> UInt8[np.ndarray, " symbols"]:
    """Write each distance from one value to the next in ``bits`` bits.

    The symbol ``g`` says: skip g places, a value stands at the next. The largest symbol says: skip that many
    places, nothing stands there. Deep Compression stores a zero there instead, which costs a code too.

    Source: after Han, Mao, Dally, Deep Compression, 2016, figure 2 (arXiv:1510.00149).
    Chapter: 18.

    >>> gaps(np.array([[True, False, False, False, True, True]]), bits=2).tolist()
    [0, 3, 0, 0]
    """
    places = np.flatnonzero(mask)
    between = np.diff(places, prepend=-1) - 1
    reach = 2**bits - 1
    ends = np.cumsum(between // reach + 1) - 1
    symbols = np.full(int(ends[-1]) + 1 if len(ends) else 0, reach, dtype=np.uint8)
    symbols[ends] = between % reach
    return symbols


def from_gaps(symbols: UInt8[np.ndarray, " symbols"], bits: int, shape: Shape) -> Bool[np.ndarray, "..."]:
    """Read the mask back; refuse gaps that lead out of the matrix, or end on a skip."""
    reach = 2**bits - 1
    skips = symbols == reach
    if len(symbols) and skips[-1]:
        raise FormatError("The gaps end on a skip; a value must follow.")
    places = np.cumsum(symbols.astype(np.int64) + ~skips) - 1
    if len(places) and places[-1] >= shape[0] * shape[1]:
        raise FormatError(f"The gaps lead to place {places[-1]} of a matrix with {shape[0] * shape[1]}.")
    mask = np.zeros(shape[0] * shape[1], dtype=bool)
    mask[places[~skips]] = True
    return mask.reshape(shape)


@dataclass(frozen=True)
class Survey:
    """Count what the planes of a mask would hold, without making them.

    Args:
        rows: how many values each row has.
        columns: how many each column has.
        gaps: how long the gaps before the values are.
        times: how often each of these lengths comes up.
    """

    rows: Int[np.ndarray, " rows"]
    columns: Int[np.ndarray, " columns"]
    gaps: Int[np.ndarray, " lengths"]
    times: Int[np.ndarray, " lengths"]

    def count_gaps(self, bits: int) -> Int[np.ndarray, " symbols"]:
        """Count the symbols that ``gaps`` would write."""
        reach = 2**bits - 1
        skips, last = np.divmod(self.gaps, reach)
        counts = _weighted(last, self.times, reach + 1)
        counts[reach] = skips @ self.times
        return counts


def survey(matrix: Shaped[np.ndarray, "rows columns"], background: int) -> Survey:
    """Count where a matrix differs from its background, a block of rows after the other.

    >>> survey(np.array([[1, 0, 0], [0, 1, 1]], dtype=np.uint8), background=0).gaps.tolist()
    [0, 3]
    """
    rows, columns = matrix.shape
    in_rows, in_columns, short = (np.zeros(n, np.int64) for n in (rows, columns, _SHORT))
    long, before, step = [np.zeros(0, np.int64)], -1, max(1, _BLOCK // max(1, columns))
    for start in range(0, rows, step):
        mask = matrix[start : start + step] != background
        in_rows[start : start + step] = np.count_nonzero(mask, axis=1)
        in_columns += np.count_nonzero(mask, axis=0)
        stands = np.flatnonzero(mask) + start * columns
        between = np.diff(stands, prepend=before) - 1
        before = int(stands[-1]) if len(stands) else before
        short += np.bincount(between[between < _SHORT], minlength=_SHORT)
        if (far := between[between >= _SHORT]).size:  # an empty one would pin memory that is let go
            long.append(far)
    lengths, times = np.unique(np.concatenate(long), return_counts=True)
    seen = np.flatnonzero(short)
    return Survey(in_rows, in_columns, np.append(seen, lengths), np.append(short[seen], times))


def rows_and_columns(mask: Bool[np.ndarray, "rows columns"]) -> Planes:
    """Count the values of each row, then name each one's column: compressed sparse rows (CSR).

    Chapter: 18.

    >>> [plane.tolist() for plane in rows_and_columns(np.array([[True, False, True], [False, True, False]]))]
    [[2, 1], [0, 2, 1]]
    """
    return [
        *_split(np.count_nonzero(mask, axis=1), mask.shape[1] + 1),
        *_split(np.nonzero(mask)[1], mask.shape[1]),
    ]


def from_rows_and_columns(planes: Planes, shape: Shape) -> Bool[np.ndarray, "rows columns"]:
    """Read the mask back; refuse counts and columns that do not fit, or a row out of order."""
    first = len(widths(shape[1] + 1))
    counts, columns = _join(planes[:first]), _join(planes[first:])
    if counts.sum() != len(columns) or (len(columns) and columns.max() >= shape[1]):
        raise FormatError(f"The rows count {counts.sum()} values and name {len(columns)} columns.")
    places = np.repeat(np.arange(shape[0]), counts) * shape[1] + columns
    if len(places) > 1 and np.diff(places).min() <= 0:
        raise FormatError("The columns of a row are not in rising order.")
    mask = np.zeros(shape[0] * shape[1], dtype=bool)
    mask[places] = True
    return mask.reshape(shape)


def count_split(
    numbers: Int[np.ndarray, " n"], limit: int, times: Int[np.ndarray, " n"] | None = None
) -> list[Int[np.ndarray, " _"]]:
    """Count the symbols of the planes that numbers below a limit make, if each comes so many times."""
    return [
        _weighted(plane, times, 1 << bits)
        for plane, bits in zip(_split(numbers, limit), widths(limit), strict=True)
    ]


def _weighted(
    symbols: Integer[np.ndarray, " n"], times: Int[np.ndarray, " n"] | None, alphabet: int
) -> Int[np.ndarray, " alphabet"]:
    return np.bincount(symbols, weights=times, minlength=alphabet).astype(np.int64)  # exact below 2**53


def _split(numbers: Int[np.ndarray, " count"], limit: int) -> Planes:
    starts = np.cumsum([0, *widths(limit)])
    return [(numbers >> low & (1 << high - low) - 1).astype(np.uint8) for low, high in pairwise(starts)]


def _join(planes: Planes) -> Int[np.ndarray, " count"]:
    shifted = [plane.astype(np.int64) << 8 * place for place, plane in enumerate(planes)]
    return np.sum(shifted, axis=0)
