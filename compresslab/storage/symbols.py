"""Check and count symbols before they are coded: how often each number occurs is what coders live on."""

import numpy as np
from jaxtyping import Int, UInt8

from compresslab.errors import CompressionError

# A chunk and its copy as indices (eight bytes each) stay in a core's cache.
_CHUNK = 1 << 16


def check_symbols(symbols: UInt8[np.ndarray, "..."], alphabet: int) -> None:
    """Hold symbols within their alphabet.

    Raises:
        CompressionError: ``alphabet`` is not an integer from 1 to 256, the symbols are no uint8 array, or one
            is too large.
    """
    check_alphabet(alphabet)
    if not isinstance(symbols, np.ndarray) or symbols.dtype != np.uint8:
        found = getattr(symbols, "dtype", type(symbols).__name__)
        raise CompressionError(f"symbols must be a uint8 array, found {found}; convert them first")
    if symbols.size and (largest := int(symbols.max())) >= alphabet:
        raise CompressionError(
            f"symbol {largest} is not in an alphabet of {alphabet} (0..{alphabet - 1}); name a larger one"
        )


def check_alphabet(alphabet: int) -> None:
    """Hold the size of an alphabet within what a byte can name.

    Raises:
        CompressionError: it is not an integer from 1 to 256.
    """
    if isinstance(alphabet, bool) or not isinstance(alphabet, int) or not 1 <= alphabet <= 256:
        raise CompressionError(f"an alphabet has 1 to 256 symbols, found {alphabet!r}")


def count_symbols(symbols: UInt8[np.ndarray, "..."], alphabet: int) -> Int[np.ndarray, " alphabet"]:
    """Count how often each symbol occurs.

    >>> count_symbols(np.array([2, 0, 2, 2], dtype=np.uint8), alphabet=4).tolist()
    [1, 0, 3, 0]
    """
    flat = np.ascontiguousarray(symbols).reshape(-1)
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(flat), _CHUNK):
        counts += np.bincount(flat[start : start + _CHUNK], minlength=256)
    return counts[:alphabet]
