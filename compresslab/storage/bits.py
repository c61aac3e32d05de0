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
from jaxtyping import UInt8
from torch import Tensor

from compresslab.errors import CompressionError, FormatError

# Little-endian by name, not by machine: the low bytes of a lane come first in memory everywhere.
_LANES = (np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8"))
# 256 kB of words and twice as much scratch stay in a core's second-level cache through all three steps;
# much smaller chunks spend their time in calls.
_CHUNK = 32768


def pack(codes: UInt8[Tensor, "..."] | UInt8[np.ndarray, "..."], bits: int) -> bytes:
    """Store each code in ``bits`` bits, in C order.

    Args:
        codes: Integers in 0 .. 2**bits - 1, of any shape, as uint8.
        bits: Bits per code, 1 to 8.

    Returns:
        ``packed_size(count, bits)`` bytes; the unused high bits of the last byte are zero.

    Raises:
        CompressionError: ``bits`` is outside 1..8, codes are not uint8, or a code does not fit.

    >>> pack(np.array([1, 2, 3, 4], dtype=np.uint8), bits=3).hex()  # 100_011_010_001 read from the right
    'd108'
    """
    flat = _flat_uint8(codes)
    _check_bits(bits)
    if flat.size and (largest := int(flat.max())) >= 1 << bits:
        raise CompressionError(
            f"code {largest} does not fit in {bits} bits (0..{(1 << bits) - 1}); "
            "clamp the codes or use more bits"
        )
    if bits == 8:
        return flat.tobytes()
    size = packed_size(flat.size, bits)
    packed = io.BytesIO()
    for start in range(0, flat.size, 8 * _CHUNK):
        packed.write(_pack_chunk(_words(flat[start : start + 8 * _CHUNK]), bits).data)
    packed.truncate(size)  # the last word may hold codes that were never there, all of them zero
    return packed.getvalue()


def unpack(data: bytes | bytearray | memoryview, bits: int, count: int) -> UInt8[np.ndarray, " count"]:
    """Recover ``count`` codes of ``bits`` bits each.

    Only the bytes that ``pack`` would write are accepted, so that equal codes always mean equal files.

    Args:
        data: Exactly ``packed_size(count, bits)`` bytes.
        bits: Bits per code, 1 to 8.
        count: Number of codes.

    Returns:
        A fresh, writable uint8 array.

    Raises:
        CompressionError: ``bits`` is outside 1..8 or ``count`` is negative.
        FormatError: The length is wrong, or unused bits of the last byte are set.

    >>> unpack(bytes.fromhex("d108"), bits=3, count=4).tolist()
    [1, 2, 3, 4]
    """
    source = np.frombuffer(data, np.uint8)
    _check_data(source, bits, packed_size(count, bits), count)
    if bits == 8:
        return source.copy()
    whole = count // 8  # words that the data fills; the last codes may share a word with nothing
    codes = np.empty(8 * -(-count // 8), np.uint8)
    words = codes.view(_LANES[-1])
    for start in range(0, whole, _CHUNK):
        stop = min(start + _CHUNK, whole)
        _unpack_chunk(source[bits * start : bits * stop], words[start:stop], bits)
    if count % 8:
        rest = np.zeros(bits, np.uint8)
        rest[: len(source) - bits * whole] = source[bits * whole :]
        _unpack_chunk(rest, words[whole:], bits)
    return codes[:count]


def packed_size(count: int, bits: int) -> int:
    """Count the bytes that ``count`` codes of ``bits`` bits take.

    >>> packed_size(count=333_320, bits=1)  # every weight of the article's network
    41665
    """
    _check_bits(bits)
    if count < 0:
        raise CompressionError(f"asked for {count} codes; a count is zero or more")
    return -(-count * bits // 8)


def _words(codes: np.ndarray) -> np.ndarray:
    missing = -codes.size % 8
    return (np.pad(codes, (0, missing)) if missing else codes).view(_LANES[-1])


def _pack_chunk(codes: np.ndarray, bits: int) -> np.ndarray:
    words, merged, high = codes, np.empty_like(codes), np.empty_like(codes)
    for lane in _LANES:  # low + high * 2**lane  ->  low + high * 2**width
        pairs, upper = words.view(lane), high.view(lane)
        np.right_shift(pairs, 4 * lane.itemsize, out=upper)
        np.multiply(upper, _gap(lane, bits), out=upper)
        np.subtract(pairs, upper, out=merged.view(lane))
        words = merged
    packed = np.empty(bits * len(words), np.uint8)
    for to, origin in zip(_columns(packed, bits, bits), _columns(words, 8, bits), strict=True):
        to[:] = origin
    return packed


def _unpack_chunk(packed: np.ndarray, words: np.ndarray, bits: int) -> None:
    words[:] = 0
    for to, origin in zip(_columns(words, 8, bits), _columns(packed, bits, bits), strict=True):
        to[:] = origin
    high = np.empty_like(words)
    for lane in reversed(_LANES):  # low + high * 2**width  ->  low + high * 2**lane
        pairs, upper = words.view(lane), high.view(lane)
        np.right_shift(pairs, bits * lane.itemsize // 2, out=upper)
        np.multiply(upper, _gap(lane, bits), out=upper)
        np.add(pairs, upper, out=pairs)


def _gap(lane: np.dtype, bits: int) -> int:
    """Say how far apart the upper half's two places are: 2**h - 2**w."""
    return (1 << 4 * lane.itemsize) - (1 << bits * lane.itemsize // 2)


def _columns(buffer: np.ndarray, stride: int, bits: int) -> list[np.ndarray]:
    """Show the first ``bits`` of every ``stride`` bytes as columns, as wide as alignment allows.

    A few long strided copies are several times faster than one short copy per word.
    """
    width = bits & -bits
    return [
        np.ndarray(buffer.nbytes // stride, f"<u{width}", buffer, offset, strides=(stride,))
        for offset in range(0, bits, width)
    ]


def _flat_uint8(codes: Tensor | np.ndarray) -> np.ndarray:
    if not isinstance(codes, Tensor | np.ndarray) or codes.dtype not in (torch.uint8, np.dtype(np.uint8)):
        found = getattr(codes, "dtype", type(codes).__name__)
        raise CompressionError(f"codes must be a uint8 tensor or array, found {found}; convert them first")
    array = codes.detach().cpu().numpy() if isinstance(codes, Tensor) else codes
    return np.ascontiguousarray(array).reshape(-1)


def _check_bits(bits: int) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise CompressionError(f"bits must be an integer from 1 to 8, found {bits!r}")


def _check_data(source: np.ndarray, bits: int, size: int, count: int) -> None:
    if len(source) != size:
        raise FormatError(f"{count} codes of {bits} bits take {size} bytes, found {len(source)}")
    if (used := count * bits % 8) and int(source[-1]) >> used:
        raise FormatError("unused bits of the last packed byte are set; the data is damaged or not ours")
