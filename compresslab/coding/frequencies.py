"""How often symbols occur, in a byte each, and what the symbols then cost.

A count is stored as one byte, a tiny float with four bits of exponent and four of mantissa. That is wrong by
one part in 32 at most, which costs less than a thousandth of the size, whatever the symbols; only those that
are rarer than one in 2**18 are stored as if they were not, at a few bytes each.
"""

from typing import Any

import constriction
import numpy as np
from jaxtyping import Float, Int, UInt8

# 0 to 15, then 16 numbers for each power of two: 16 to 31, 32 to 62, ... , 262,144 to 507,904.
_AMOUNTS = np.concatenate([np.arange(16), *(np.arange(16, 32) << power for power in range(15))])
_MIDDLES = (_AMOUNTS[1:] + _AMOUNTS[:-1] + 1) // 2
_WHOLE = 1 << 24  # steps of a share in the library
_BITS = 18  # of a count before it is rounded: the amounts reach that far

Tables = UInt8[np.ndarray, "contexts alphabet"]

_LIBRARY: Any = constriction  # it has no type hints


def tables_of(counts: Int[np.ndarray, "contexts alphabet"]) -> Tables:
    """Round counts to amounts that a byte can name; what occurs keeps one at least."""
    lengths = np.frexp(counts.max(axis=1, keepdims=True).astype(np.float64))[1]
    scaled = -(-counts >> np.maximum(lengths - _BITS, 0))
    return np.searchsorted(_MIDDLES, scaled, side="right").astype(np.uint8)


def models_of(tables: Tables) -> list[Any]:
    """Return a model for each table; one that never comes up, but in a damaged file may, treats all alike."""
    return [_LIBRARY.stream.model.Categorical(row, perfect=False) for row in _weights(tables)]


def _weights(tables: Tables) -> Float[np.ndarray, "contexts alphabet"]:
    weights = _AMOUNTS[tables].astype(np.float64)  # of integers, so that their sums are exact
    weights[~weights.any(axis=1)] = 1
    return weights


def size_bound(counts: Int[np.ndarray, "contexts alphabet"]) -> float:
    """Bound the bytes that ``encode`` takes for symbols of these counts, from below and to a few bytes.

    A symbol takes log2(1 / share) bits, and the number in which they end two to four bytes more.

    >>> size_bound(np.array([[950, 50]])) <= 41
    True
    """
    if not counts.any() or counts.shape[1] == 1:
        return 0
    tables, contexts = tables_of(counts), len(counts)
    if contexts == 1 and np.count_nonzero(tables) == 1:
        return tables.size
    weights = _weights(tables)
    starts = np.cumsum(weights, axis=1) - weights  # sums of integers, exact; as the library rounds them:
    starts = (starts * ((_WHOLE - tables.shape[1]) / weights.sum(axis=1, keepdims=True))).astype(np.int64)
    starts += np.arange(tables.shape[1])
    shares = np.diff(starts, append=_WHOLE) / _WHOLE
    bits = -float(np.sum(counts * np.log2(shares)))
    return tables.size + 2 * (contexts > 1) + int(bits / 8)  # a part of a byte need not be written
