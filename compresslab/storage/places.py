"""Say where the few values of a matrix stand: one bit each, the gaps between them, or row by row.

Each layout turns a mask into planes, arrays of small numbers with a fixed width in bits, which any coder of
``streams`` can write. A layout is chosen by what its planes cost once they are written.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int, UInt8

from compresslab.errors import FormatError

GAP_BITS = range(2, 9)

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

    Args:
        mask: where a value stands, read row after row.
        bits: width of a symbol, 2 to 8.

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
    """Read the mask back.

    Raises:
        FormatError: the gaps lead out of the matrix, or end on a skip.
    """
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
    """Read the mask back.

    Raises:
        FormatError: counts and columns do not fit each other, or a row is out of order.
    """
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


def _split(numbers: Int[np.ndarray, " count"], limit: int) -> Planes:
    starts = np.cumsum([0, *widths(limit)])
    return [(numbers >> low & (1 << high - low) - 1).astype(np.uint8) for low, high in pairwise(starts)]


def _join(planes: Planes) -> Int[np.ndarray, " count"]:
    shifted = [plane.astype(np.int64) << 8 * place for place, plane in enumerate(planes)]
    return np.sum(shifted, axis=0)
