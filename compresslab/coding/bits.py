"""Pack small codes side by side, so that a 3-bit code really costs 3 bits of a file.

Code ``i`` occupies the bits ``[i * b, i * b + b)`` of the stream, counted from the lowest bit of the first
byte. Eight codes of ``b`` bits fill exactly ``b`` bytes, so eight codes are handled as one 64-bit word:
three steps push the two halves of every lane together (lanes of 16, 32 and 64 bits), then the word's low
``b`` bytes are kept. Unpacking runs the same steps backwards. A lane is read as one number: with its upper
half at bit ``h``, it is ``low + high * 2**h`` and should become ``low + high * 2**w``; the difference is a
multiple of ``high``, so a shift, a product and a subtraction do it, without a mask.
"""

import io

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from compresslab.errors import CompressionError, FormatError, whole

# Little-endian by name, not by machine: the low bytes of a lane come first in memory everywhere.
_LANES = (np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8"))
# 256 kB of words and twice as much scratch stay in a core's second-level cache through all three steps;
# much smaller chunks spend their time in calls.
_CHUNK = 32768
_WIDTH = "the width of a code in bits"
_COUNTED = 1 << 16  # symbols counted in one go: they and their copy as indices (eight bytes each) stay there


def pack(codes: UInt8[Tensor, "..."] | UInt8[np.ndarray, "..."], bits: int, low: int = 0) -> bytes:
    """Store each code in ``bits`` bits, in C order.

    Args:
        codes: numbers of a byte each.
        bits: of each in the stream.
        low: the lowest code, modulo 256. Codes are counted from it a piece at a time, so that a large
            matrix has no second copy.

    Returns:
        ``packed_size(count, bits)`` bytes; the unused high bits of the last byte are zero.

    Raises:
        CompressionError: ``bits`` is outside 1..8, codes are not uint8, or a code does not fit.

    >>> pack(np.array([1, 2, 3, 4], dtype=np.uint8), bits=3).hex()  # 100_011_010_001 read from the right
    'd108'
    """
    flat = check_symbols(codes, 1 << whole(bits, _WIDTH, 1, 8), low)
    if bits == 8 and not low:
        return flat.tobytes()
    size = packed_size(flat.size, bits)
    packed = stream_for(bits * -(-flat.size // 8))
    for start in range(0, flat.size, 8 * _CHUNK):
        chunk = counted_from(low, flat[start : start + 8 * _CHUNK])
        if bits == 8:
            packed.write(chunk.data)
            continue
        whole_words = np.pad(chunk, (0, -chunk.size % 8)) if chunk.size % 8 else chunk
        packed.write(_pack_chunk(whole_words.view(_LANES[-1]), bits).data)
    packed.truncate(size)  # the last word may hold codes that were never there, all of them zero
    return packed.getvalue()


def unpack(data: bytes | bytearray | memoryview, bits: int, count: int) -> UInt8[np.ndarray, " count"]:
    """Recover ``count`` codes of ``bits`` bits each.

    Only the bytes that ``pack`` would write are accepted, so that equal codes always mean equal files.

    Raises:
        CompressionError: ``bits`` is outside 1..8 or ``count`` is negative.
        FormatError: The length is wrong, or unused bits of the last byte are set.

    >>> unpack(bytes.fromhex("d108"), bits=3, count=4).tolist()
    [1, 2, 3, 4]
    """
    source, size = np.frombuffer(data, np.uint8), packed_size(count, bits)
    if len(source) != size:
        raise FormatError(f"{count} codes of {bits} bits take {size} bytes, found {len(source)}.")
    if (used := count * bits % 8) and int(source[-1]) >> used:
        raise FormatError("Unused bits of the last packed byte are set; the data is damaged or not ours.")
    if bits == 8:
        return source.copy()
    codes = np.empty(8 * -(-count // 8), np.uint8)
    words = codes.view(_LANES[-1])
    for start in range(0, len(words), _CHUNK):
        _unpack_chunk(source[bits * start :], words[start : start + _CHUNK], bits)
    return codes[:count]


def packed_size(count: int, bits: int) -> int:
    """Count the bytes that ``count`` codes of ``bits`` bits take.

    >>> packed_size(count=333_320, bits=1)  # every weight of the article's network
    41665
    """
    return -(-whole(count, "a count of codes", 0) * whole(bits, _WIDTH, 1, 8) // 8)


def check_symbols(
    symbols: UInt8[Tensor, "..."] | UInt8[np.ndarray, "..."], alphabet: int, low: int = 0
) -> UInt8[np.ndarray, " count"]:
    """Hold symbols, counted from the lowest, within their alphabet, and return them in a row as they are.

    Raises:
        CompressionError: ``alphabet`` is not from 1 to 256, the symbols are not uint8, or one is too large.
    """
    whole(alphabet, "the size of an alphabet", 1, 256)
    if isinstance(symbols, Tensor) and symbols.dtype == torch.uint8:
        symbols = symbols.detach().cpu().numpy()
    if not isinstance(symbols, np.ndarray) or symbols.dtype != np.uint8:
        found = getattr(symbols, "dtype", type(symbols).__name__)
        raise CompressionError(f"Codes and symbols must be uint8, found {found}; convert them first.")
    flat = np.ascontiguousarray(symbols).reshape(-1)
    if symbols.size and (largest := _largest(flat, low)) >= alphabet:
        raise CompressionError(
            f"The number {largest} does not fit among {alphabet} (0..{alphabet - 1}); "
            "clamp the codes, or give more bits or a larger alphabet."
        )
    return flat


def counted_from(low: int, symbols: UInt8[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Count symbols from the lowest, modulo 256: a byte less a byte is how far above the lowest it is.

    >>> counted_from(253, np.array([253, 255, 0, 3], dtype=np.uint8)).tolist()  # -3, -1, 0 and 3 as bytes
    [0, 2, 3, 6]
    """
    return symbols - np.uint8(low) if low else symbols


def stream_for(size: int) -> io.BytesIO:
    """Return a stream with room for so many bytes: one that grows moves, and leaves holes in memory.

    Cut it where its bytes end, as the room is filled with zeros.
    """
    stream = io.BytesIO()
    stream.seek(size)
    stream.write(b"\0")
    stream.seek(0)
    return stream


def _largest(flat: UInt8[np.ndarray, " count"], low: int) -> int:
    if not low:
        return int(flat.max())
    starts = range(0, len(flat), _COUNTED)
    return max(int(counted_from(low, flat[start : start + _COUNTED]).max()) for start in starts)


def count_symbols(
    symbols: UInt8[np.ndarray, "..."], alphabet: int, low: int = 0
) -> Int[np.ndarray, " alphabet"]:
    """Count how often each symbol occurs: what coders live on.

    >>> count_symbols(np.array([2, 0, 2, 2], dtype=np.uint8), alphabet=4).tolist()
    [1, 0, 3, 0]
    """
    flat = np.ascontiguousarray(symbols).reshape(-1)
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(flat), _COUNTED):
        counts += np.bincount(flat[start : start + _COUNTED], minlength=256)
    return np.roll(counts, -low)[:alphabet]


def _pack_chunk(codes: np.ndarray, bits: int) -> np.ndarray:
    words, merged, high = codes, np.empty_like(codes), np.empty_like(codes)
    for lane in _LANES:  # low + high * 2**lane  ->  low + high * 2**width
        pairs, upper = words.view(lane), high.view(lane)
        np.right_shift(pairs, 4 * lane.itemsize, out=upper)
        np.multiply(upper, _gap(lane, bits), out=upper)
        np.subtract(pairs, upper, out=merged.view(lane))
        words = merged
    if 8 % bits == 0:
        return np.ndarray(len(words), f"<u{bits}", words, strides=(8,)).copy().view(np.uint8)
    for step in range(1, -(-8 // bits)):  # overlapping words agree: unused bytes hold those of the next
        words[:-step] |= np.left_shift(words[step:], 8 * bits * step, out=high[step:])
    packed = np.empty(bits * len(words) + 8 - bits, np.uint8)
    np.ndarray(len(words), _LANES[-1], packed, strides=(bits,))[:] = words
    return packed[: bits * len(words)]


def _unpack_chunk(packed: np.ndarray, words: np.ndarray, bits: int) -> None:
    missing = max(0, bits * len(words) + 8 - bits - len(packed))  # the last word may end past the data
    source = np.pad(packed, (0, missing)) if missing else packed
    words[:] = np.ndarray(len(words), _LANES[-1], source, strides=(bits,))
    words &= (1 << 8 * bits) - 1
    high = np.empty_like(words)
    for lane in reversed(_LANES):  # low + high * 2**width  ->  low + high * 2**lane
        pairs, upper = words.view(lane), high.view(lane)
        np.right_shift(pairs, bits * lane.itemsize // 2, out=upper)
        np.multiply(upper, _gap(lane, bits), out=upper)
        np.add(pairs, upper, out=pairs)


def _gap(lane: np.dtype, bits: int) -> int:
    """Say how far apart the upper half's two places are: 2**h - 2**w."""
    return (1 << 4 * lane.itemsize) - (1 << bits * lane.itemsize // 2)
