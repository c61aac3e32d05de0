"""Huffman codes: frequent symbols in few bits, rare ones in many, and no word the beginning of another.

A code is known by the lengths of its words alone: ``canonical_codes`` numbers words of one length in the
order of their symbols. A file therefore holds the lengths, four bits each, and then the words themselves,
which ``lanes`` writes.
"""

import heapq
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Integer, UInt8

from compresslab.coding.bits import check_symbols, count_symbols, pack, packed_size, unpack
from compresslab.coding.lanes import LONGEST, read_words, write_words
from compresslab.errors import CompressionError, FormatError, whole


def code_lengths(
    counts: Integer[np.ndarray, " n"] | Sequence[int], limit: int | None = None
) -> Integer[np.ndarray, " n"]:
    """Give each symbol the length of its word, so that the whole text is as short as words can make it.

    Args:
        counts: how often each symbol occurs.
        limit: the longest word allowed, in bits; None for any length.

    Returns:
        Lengths in bits; 0 for a symbol that never occurs, and for one that is alone.

    Raises:
        CompressionError: a count is negative, or so many symbols cannot have words that short.

    Source: Huffman, 1952. With a limit: Larmore, Hirschberg, 1990, package-merge.
    Chapter: 18.

    >>> code_lengths([45, 13, 12, 16, 9, 5]).tolist()
    [1, 3, 3, 3, 4, 4]
    >>> code_lengths([45, 13, 12, 16, 9, 5], limit=3).tolist()
    [2, 3, 3, 2, 3, 3]
    """
    counts = np.asarray(counts, dtype=np.int64)
    if (counts < 0).any():
        raise CompressionError(f"a symbol occurs {counts.min()} times; counts are zero or more")
    used = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), dtype=np.int64)
    lengths[used] = _by_merging(counts[used].tolist())
    if limit is not None and lengths.max(initial=0) > limit:
        if len(used) > 1 << max(0, limit):
            raise CompressionError(f"{len(used)} symbols cannot all have words of at most {limit} bits")
        lengths[used] = _by_packages(counts[used], limit)
    return lengths


def _by_merging(counts: list[int]) -> list[int]:
    """Merge the two rarest groups until one is left; each merge adds a bit to the words of its members."""
    lengths = [0] * len(counts)
    groups = [(count, symbol, [symbol]) for symbol, count in enumerate(counts)]
    heapq.heapify(groups)
    while len(groups) > 1:
        count, _, members = heapq.heappop(groups)
        other, order, others = heapq.heappop(groups)
        for symbol in (members := members + others):
            lengths[symbol] += 1
        heapq.heappush(groups, (count + other, order, members))
    return lengths


def _by_packages(counts: Integer[np.ndarray, " n"], limit: int) -> Int[np.ndarray, " n"]:
    """Pair the cheapest offers, round after round; count the coins of each symbol in what is left.

    Each round offers one coin for each symbol, and the packages of the round before. A coin of the last round
    pays for a word's first bit, one that was packed earlier for a deeper bit. Once there have been enough
    rounds for a word each, n - 1 packages are left.
    """
    coins = np.eye(len(counts), dtype=np.int64)
    packages, prices = coins[:0], counts[:0]
    for _ in range(limit):
        offers, asked = np.concatenate([coins, packages]), np.concatenate([counts, prices])
        cheapest = np.argsort(asked, kind="stable")[: len(asked) // 2 * 2]
        packages = offers[cheapest].reshape(-1, 2, len(counts)).sum(axis=1)
        prices = asked[cheapest].reshape(-1, 2).sum(axis=1)
    return packages.sum(axis=0)


def canonical_codes(lengths: Int[np.ndarray, " n"] | Sequence[int]) -> Int[np.ndarray, " n"]:
    """Number the words: shorter before longer, among equals in the order of the symbols.

    Args:
        lengths: of words, in bits; 0 for symbols without a word.

    Returns:
        Words as numbers, to be written from their highest bit on.

    Raises:
        CompressionError: no code has words of these lengths, or one is too long for an integer.

    >>> lengths = code_lengths([45, 13, 12, 16, 9, 5])
    >>> [f"{code:0{length}b}" for code, length in zip(canonical_codes(lengths), lengths)]
    ['0', '100', '101', '110', '1110', '1111']
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    longest = int(lengths.max(initial=0))
    if longest > 48 or (lengths < 0).any():
        raise CompressionError(f"words have 0 to 48 bits, found {lengths.min()} to {longest}")
    order = np.argsort(lengths, kind="stable")[np.count_nonzero(lengths == 0) :]
    places = 1 << longest - lengths[order]  # how many endings a word has
    ends = np.cumsum(places)
    if len(ends) and not 0 < ends[-1] <= 1 << longest:
        raise CompressionError(f"no code has words of the lengths {lengths[order].tolist()}")
    codes = np.zeros(len(lengths), dtype=np.int64)
    codes[order] = (ends - places) >> longest - lengths[order]
    return codes


def encode(symbols: UInt8[np.ndarray, "..."], alphabet: int) -> bytes:
    """Write symbols by the best code for their counts: its lengths, then their words.

    Returns:
        Half a byte for each symbol of the alphabet, then pieces of two bytes; nothing at all where nothing
        can differ.

    Raises:
        CompressionError: the symbols are not a uint8 array, or one is not in the alphabet.

    Chapter: 18.

    >>> encode(np.array([0, 2, 0, 1, 0, 3, 0, 0], dtype=np.uint8), alphabet=4).hex()  # 0 10 0 ...
    '31234076'
    """
    symbols = check_symbols(symbols, alphabet)
    if not symbols.size or alphabet == 1:
        return b""
    lengths = _table(count_symbols(symbols, alphabet))
    table = pack(lengths, bits=4)
    return table if lengths.sum() == 1 else table + write_words(symbols, canonical_codes(lengths), lengths)


def size_bound(counts: Int[np.ndarray, " alphabet"]) -> float:
    """Bound the bytes that ``encode`` takes for symbols with these counts: what lanes lose is not known.

    >>> size_bound(np.array([5, 1, 1, 1]))
    4
    """
    if not counts.any() or len(counts) == 1:
        return 0
    lengths = _table(counts).astype(np.int64)
    table = packed_size(len(counts), bits=4)
    return table if lengths.sum() == 1 else table + math.ceil(counts @ lengths / 8)


def decode(data: bytes, count: int, alphabet: int) -> UInt8[np.ndarray, " count"]:
    """Read symbols back.

    Raises:
        CompressionError: ``count`` or ``alphabet`` is impossible.
        FormatError: the data is not what ``encode`` would have written.
    """
    size = packed_size(whole(alphabet, "the size of an alphabet", 1, 256), bits=4)
    if not whole(count, "a count of symbols", 0) or alphabet == 1:
        return _alike(data, count, 0)
    if len(data) < size:
        raise FormatError(f"a table of {alphabet} lengths takes {size} bytes, found {len(data)}")
    lengths = unpack(data[:size], 4, alphabet)
    if lengths.sum() == 1:
        return _alike(data[size:], count, int(lengths.argmax()))
    symbols = read_words(data[size:], count, lengths)
    if not np.array_equal(lengths, _table(count_symbols(symbols, alphabet))):
        raise FormatError(f"the lengths {lengths.tolist()} are not those of the best code for the symbols")
    return symbols


def _table(counts: Int[np.ndarray, " alphabet"]) -> UInt8[np.ndarray, " alphabet"]:
    """Return the lengths as a file holds them: a symbol that is alone has 1, so that it can be told."""
    lengths = code_lengths(counts, LONGEST)
    return (lengths if lengths.any() else counts > 0).astype(np.uint8)


def _alike(data: bytes, count: int, symbol: int) -> UInt8[np.ndarray, " count"]:
    """Return the only symbol there can be, after checking that no words follow."""
    if len(data):
        raise FormatError(f"{count} symbols that cannot differ take no words, found {len(data)} bytes")
    return np.full(count, symbol, dtype=np.uint8)
