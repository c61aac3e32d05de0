"""Range coding: a symbol costs what its probability is worth, a fraction of a bit included.

A Huffman word has whole bits, so a weight that is zero nineteen times in twenty still costs one. A range
coder spends log2(1 / probability) by keeping all symbols in one long number; here it is the variant called
asymmetric numeral systems, from the library constriction. What it needs from us are the probabilities, as
integers stored in front, so that every machine computes the same ones: how often each symbol occurs, in all
or in each context (``contexts``), each in a byte (``frequencies``).
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import constriction
import numpy as np
from jaxtyping import Int, UInt8

from compresslab.coding.bits import check_symbols, count_symbols, counted_from, stream_for
from compresslab.coding.contexts import CONTEXTS, Neighbourhood, find_stride
from compresslab.coding.frequencies import Tables, models_of, size_bound, tables_of
from compresslab.errors import CompressionError, FormatError, whole

_CHUNK = 1 << 18  # symbols handed over in one go: a megabyte, as the library takes four bytes each
_NARROW, _WIDE = 32, 4096  # of a lane with contexts: neither many lanes nor many steps for few symbols
_HELD = 1 << 16  # words that the library may hold

Shape = tuple[int, int]
Symbols = UInt8[np.ndarray, "rows columns"]
Grid = UInt8[np.ndarray, "steps lanes"]

_LIBRARY: Any = constriction  # it has no type hints
AnsCoder = _LIBRARY.stream.stack.AnsCoder


def encode(symbols: Symbols, alphabet: int, contexts: int = 1, low: int = 0) -> bytes:
    """Write symbols by how often they occur, in all or in each context.

    Args:
        symbols: numbers below ``alphabet``, which is 1 to 256.
        contexts: 1, or ``CONTEXTS`` where rare symbols keep together, as in pruned matrices.
        low: the lowest symbol, modulo 256; they are counted from it, without contexts a piece at a time.

    Returns:
        With contexts, the most common symbol and the stride; one byte for each symbol (of each context); the
        number that holds all symbols. Nothing at all where nothing can differ.

    Raises:
        CompressionError: the symbols are not a matrix of uint8, one is not in the alphabet, or ``contexts``
            is neither.

    Source: Duda, 2013 (arXiv:1311.2540). Library: Bamler, 2022 (arXiv:2201.01741).
    Chapter: 18.

    >>> sparse = np.array([[0] * 19 + [1]] * 50, dtype=np.uint8)  # 1000 symbols of 0.286 bits: 36 bytes
    >>> len(encode(sparse, alphabet=2)), len(encode(sparse, alphabet=2, contexts=CONTEXTS))
    (41, 55)
    """
    check_symbols(symbols, alphabet, low)
    _check(symbols.shape, contexts)
    if not symbols.size or alphabet == 1:
        return b""
    if contexts == 1:
        return _encode_alike(symbols, alphabet, low)
    return _encode_apart(counted_from(low, symbols), alphabet)


def count_in_contexts(symbols: Symbols, alphabet: int) -> Int[np.ndarray, "contexts alphabet"]:
    """Count the symbols of each context, as ``encode`` would meet them."""
    common = int(count_symbols(symbols, alphabet).argmax())
    grid = _grid(symbols, common)
    return _count(grid, _follow(grid, common)[0], symbols.size, alphabet)


def decode(data: bytes, shape: Shape, alphabet: int, contexts: int = 1) -> Symbols:
    """Read symbols back.

    Raises:
        CompressionError: the shape, the alphabet or the contexts are impossible.
        FormatError: the data is not what ``encode`` would have written.
    """
    whole(alphabet, "the size of an alphabet", 1, 256)
    _check(shape, contexts)
    if 0 in shape or alphabet == 1:
        if len(data):
            raise FormatError(f"symbols that cannot differ take no bytes, found {len(data)}")
        return np.zeros(shape, dtype=np.uint8)
    return _decode_alike(data, shape, alphabet) if contexts == 1 else _decode_apart(data, shape, alphabet)


def _check(shape: tuple[int, ...], contexts: int) -> None:
    if len(shape) != 2 or min(shape) < 0:
        raise CompressionError(f"Symbols must be a matrix, found the shape {tuple(shape)}; reshape them.")
    if contexts not in (1, CONTEXTS):
        raise CompressionError(f"Symbols have 1 or {CONTEXTS} contexts, found {contexts!r}; name either.")


def _encode_alike(symbols: Symbols, alphabet: int, low: int) -> bytes:
    counts, flat = count_symbols(symbols, alphabet, low)[None], symbols.reshape(-1)
    starts = range(0, len(flat) if np.count_nonzero(counts) > 1 else 0, _CHUNK)
    pieces = ((0, counted_from(low, flat[start : start + _CHUNK])) for start in reversed(starts))
    return _coded(b"", counts, pieces)


def _decode_alike(data: bytes, shape: Shape, alphabet: int) -> Symbols:
    tables, coder = _open(data, 1, alphabet)
    symbols, (model,) = np.full(shape, tables.argmax(), dtype=np.uint8), models_of(tables)
    flat = symbols.reshape(-1)
    if np.count_nonzero(tables) > 1:
        for start in range(0, len(flat), _CHUNK):
            chunk = flat[start : start + _CHUNK]
            chunk[:] = coder.decode(model, len(chunk))
    _check_end(coder, tables, count_symbols(symbols, alphabet)[None])
    return symbols


def _encode_apart(symbols: Symbols, alphabet: int) -> bytes:
    common = int(count_symbols(symbols, alphabet).argmax())
    grid = _grid(symbols, common)
    contexts, stride = _follow(grid, common)
    parts = (
        (context, grid[step][places])
        for step in reversed(range(len(grid)))
        for context, places in reversed(_groups(contexts[step][: _lanes_at(step, grid.shape, symbols.size)]))
    )
    counts = _count(grid, contexts, symbols.size, alphabet)
    return _coded(bytes([common, stride]), counts, parts)


def _follow(grid: Grid, common: int) -> tuple[Grid, int]:
    """Return the contexts of all symbols, and the stride that they are found with."""
    contexts, stride = np.empty_like(grid), find_stride(grid != common)
    near = Neighbourhood(grid.shape[1], stride)
    for step, found in zip(grid, contexts, strict=True):
        found[:] = near.contexts()
        near.add(step != common)
    return contexts, stride


def _decode_apart(data: bytes, shape: Shape, alphabet: int) -> Symbols:
    if len(data) < 2 or data[0] >= alphabet or data[1] < 2:
        raise FormatError(f"a symbol below {alphabet} and a stride from 2 come first, found {data[:2].hex()}")
    common, stride, count = data[0], data[1], shape[0] * shape[1]
    tables, coder = _open(data[2:], CONTEXTS, alphabet)
    grid, models = _grid(np.full(shape, common, dtype=np.uint8), common), models_of(tables)
    contexts, near = np.empty_like(grid), Neighbourhood(grid.shape[1], stride)
    for number, (step, found) in enumerate(zip(grid, contexts, strict=True)):
        found[:] = near.contexts()
        for context, places in _groups(found[: _lanes_at(number, grid.shape, count)]):
            step[places] = coder.decode(models[context], len(places))
        near.add(step != common)
    counts = _count(grid, contexts, count, alphabet)
    _check_end(coder, tables, counts)
    if common != counts.sum(axis=0).argmax() or stride != find_stride(grid != common):
        raise FormatError(f"{common} is not the most common symbol, or {stride} not the best stride")
    return grid.T.reshape(-1)[:count].reshape(shape)


def _groups(contexts: UInt8[np.ndarray, " lanes"]) -> list[tuple[int, Int[np.ndarray, " places"]]]:
    """Return the places of each context that comes up; all of a group are coded under one model."""
    order, ends = np.argsort(contexts, kind="stable"), np.cumsum(np.bincount(contexts, minlength=CONTEXTS))
    bounds = pairwise([0, *ends.tolist()])
    return [(context, order[first:last]) for context, (first, last) in enumerate(bounds) if first < last]


def _count(grid: Grid, contexts: Grid, count: int, alphabet: int) -> Int[np.ndarray, "contexts alphabet"]:
    """Count the symbols of each context, without what fills the last lane."""
    steps, counts = len(grid), np.zeros(CONTEXTS * alphabet, np.int64)
    block = max(1, _CHUNK // grid.shape[1])
    for start in range(0, steps, block):
        step = slice(start, start + block)
        pairs = contexts[step] * np.uint16(alphabet) + grid[step]
        counts += np.bincount(pairs.reshape(-1), minlength=len(counts))
    filled = slice(steps - (grid.size - count), steps)
    pairs = contexts[filled, -1] * np.uint16(alphabet) + grid[filled, -1]
    return (counts - np.bincount(pairs, minlength=len(counts))).reshape(CONTEXTS, alphabet)


def _grid(symbols: Symbols, filler: int) -> Grid:
    """Deal rows to lanes, a column to a step; cut long rows, join short ones, and fill the last lane."""
    width = steps_of(symbols.shape)
    lanes = -(-symbols.size // width)
    flat = np.full(lanes * width, filler, dtype=np.uint8)
    flat[: symbols.size] = symbols.reshape(-1)
    return np.ascontiguousarray(flat.reshape(lanes, width).T)


def steps_of(shape: tuple[int, ...]) -> int:
    """Say how many steps a matrix with contexts takes: short rows are joined, long ones cut."""
    columns = shape[1]
    if columns < _NARROW:
        return columns * -(-_NARROW // max(1, columns))
    return -(-columns // -(-columns // _WIDE))


def _lanes_at(step: int, grid: Shape, count: int) -> int:
    """Say how many lanes take part in a step: the last may be shorter."""
    steps, lanes = grid
    return lanes - (step >= count - (lanes - 1) * steps)


def _coded(
    start: bytes,
    counts: Int[np.ndarray, "contexts alphabet"],
    parts: Iterable[tuple[int, UInt8[np.ndarray, " _"]]],
) -> bytes:
    """Write tables and the number that holds all symbols, from the last part on: last in, first out.

    The library keeps words of four bytes, of which only the last two still change: the others are let go.
    """
    tables = tables_of(counts)
    models, coder, written = models_of(tables), AnsCoder(), stream_for(int(size_bound(counts)))
    written.write(start + tables.tobytes())
    for context, symbols in parts:
        coder.encode_reverse(symbols.astype(np.int32), models[context])
        if coder.num_words() > _HELD:
            words = coder.get_compressed()
            written.write(words[:-2].astype("<u4").tobytes())
            coder = AnsCoder(words[-2:])
    written.write(coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0"))
    written.truncate()
    return written.getvalue()


def _open(data: bytes, contexts: int, alphabet: int) -> tuple[Tables, Any]:
    """Read tables, and give the rest of the data to a coder."""
    size = contexts * alphabet
    if len(data) < size:
        raise FormatError(f"{contexts} tables of {alphabet} bytes come first, found {len(data)} bytes")
    if len(data) > size and data[-1] == 0:
        raise FormatError("the coded number has a leading zero; the data is damaged or not ours")
    tables = np.frombuffer(data, np.uint8, size).reshape(contexts, alphabet)
    number = data[size:] + bytes(-(len(data) - size) % 4)
    return tables, AnsCoder(np.frombuffer(number, "<u4").astype(np.uint32))


def _check_end(coder: Any, tables: Tables, counts: Int[np.ndarray, "contexts alphabet"]) -> None:
    """See that nothing is left, and that another table would not have been written.

    Reading undoes writing step by step, so a number that all symbols use up is the one they were written as.
    """
    if not coder.is_empty():
        raise FormatError("something is left of the coded number; the data is damaged or not ours")
    if not np.array_equal(tables, tables_of(counts)):
        raise FormatError("the tables are not those of the symbols; the data is damaged or not ours")
