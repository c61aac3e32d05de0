"""Write and read words of different lengths many at a time.

Word after word, bit after bit is slow in Python. So symbols are dealt out like cards: symbol i goes to lane
``i % lanes``, and one step of numpy reads the next symbol of every lane. The lanes share one stream of pieces
of 16 bits. At each step every lane that may be short of bits fetches the next piece, lane by lane; the writer
knows when that will be and puts each piece where it will be looked for, so nothing about lanes is stored.

Source: the idea of one stream for many coders is Giesen's, 2014 (arXiv:1402.3392).
"""

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt16, UInt32

from compresslab.errors import FormatError

LONGEST = 15  # bits of a word: the length fits four bits, and the table of all endings a core's cache
_PIECE = 16  # bits; more than a word has, so that no lane needs two pieces for one symbol
_EACH = 1024  # symbols at least in each of several lanes: half a piece lost at the end of a lane is about 1 %
_MOST = 4000  # lanes at most: their state fits a core's first cache; a power of two would fill it unevenly
_BLOCK = 1 << 17  # symbols turned into bits in one go

Lengths = UInt8[np.ndarray, " alphabet"]


def write_words(
    symbols: UInt8[np.ndarray, " count"], codes: Int[np.ndarray, " alphabet"], lengths: Lengths
) -> bytes:
    """Write the words of every lane, then put the pieces in the order in which a reader fetches them.

    There must be a symbol at least; a word has its first bit on top.
    """
    lanes, steps = deal(len(symbols))
    dealt = np.full(steps * lanes, _filler(lengths), dtype=np.uint8)
    dealt[: len(symbols)] = symbols
    by_lane = dealt.reshape(steps, lanes).T
    pieces, fetched = np.empty((lanes, steps), dtype=np.uint16), np.empty((lanes, steps), dtype=bool)
    words = codes.astype(np.uint32), lengths.astype(np.uint32)
    width = max(1, _BLOCK // steps)
    for first in range(0, lanes, width):
        block = slice(first, first + width)
        found, fetched[block] = _write_lanes(np.ascontiguousarray(by_lane[block]), *words)
        pieces[block][fetched[block]] = found
    return pieces.T[fetched.T].astype("<u2").tobytes()


def _write_lanes(
    symbols: UInt8[np.ndarray, "lanes steps"],
    codes: UInt32[np.ndarray, " n"],
    lengths: UInt32[np.ndarray, " n"],
) -> tuple[UInt16[np.ndarray, " pieces"], Bool[np.ndarray, "lanes steps"]]:
    """Write some lanes, one after the other, and mark the steps at which a reader fetches a piece."""
    bits = lengths[symbols]
    starts = np.cumsum(bits, axis=1, dtype=np.uint32) - bits
    margin = lengths.max() + np.uint32(_PIECE - 1)  # fetched are all pieces that the longest word would touch
    pieces = (starts[:, -1] + margin) // _PIECE
    starts += ((np.cumsum(pieces) - pieces) * _PIECE).astype(np.uint32)[:, None]
    fetched = _changes((starts + margin).reshape(-1) // _PIECE)
    # A word may reach into the next piece, so two pieces are looked at together: 32 bits.
    words = codes[symbols] << (32 - bits - starts % _PIECE)
    places = starts.reshape(-1) // _PIECE
    firsts = np.flatnonzero(_changes(places))
    joined = np.bitwise_or.reduceat(words.reshape(-1), firsts)
    written = np.zeros(pieces.sum() + 1, dtype=np.uint16)
    written[places[firsts]] = joined >> _PIECE
    written[places[firsts] + 1] |= joined.astype(np.uint16)
    return written[:-1], fetched.reshape(symbols.shape)


def _changes(values: UInt32[np.ndarray, " count"]) -> Bool[np.ndarray, " count"]:
    changes = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes


def read_words(data: bytes, count: int, lengths: Lengths) -> UInt8[np.ndarray, " count"]:
    """Read a symbol of every lane at a time: look the next bits up, drop those that were its word.

    Raises:
        FormatError: the lengths are not those of a code, or the data ends early, late or on other bits.
    """
    lanes, steps = deal(count)
    longest, (symbols, used) = int(lengths.max()), _endings(lengths)
    if len(data) % 2 or len(data) // 2 > steps * lanes:
        raise FormatError(f"at most {steps * lanes} pieces of two bytes can follow, found {len(data)} bytes")
    pieces = np.frombuffer(data, "<u2").astype(np.uint32)
    read = np.empty((steps, lanes), dtype=np.uint8)
    bits = np.zeros(lanes, dtype=np.uint32)  # of each lane: fetched and not yet read, the next one on top
    room = np.full(lanes, 32, dtype=np.uint32)  # below them
    start = 0
    for step in read:
        hungry = np.flatnonzero(room > 32 - longest)
        food = pieces[start : start + len(hungry)]
        if len(food) < len(hungry):
            raise FormatError(f"{len(pieces)} pieces end within the {count} symbols; the data is damaged")
        start += len(hungry)
        room[hungry] -= _PIECE
        bits[hungry] |= food << room[hungry]
        following = bits >> np.uint32(32 - longest)
        np.take(symbols, following, out=step, mode="clip")  # nothing is out of range; "clip" spares a copy
        taken = used[following]
        bits <<= taken
        room += taken
    flat = read.reshape(-1)
    if start < len(pieces) or bits.any() or (flat[count:] != _filler(lengths)).any():
        raise FormatError(f"something follows the {count} symbols; the data is damaged or not ours")
    return flat[:count]


def deal(count: int) -> tuple[int, int]:
    """Return how many lanes the symbols are dealt to, and in how many steps."""
    lanes = min(max(1, count // _EACH), _MOST)
    return lanes, -(-count // lanes)


def _filler(lengths: Lengths) -> int:
    """Return the symbol whose word is all zeros: it fills the last step."""
    return int(np.flatnonzero(lengths == lengths[lengths > 0].min())[0])


def _endings(lengths: Lengths) -> tuple[UInt8[np.ndarray, " endings"], UInt32[np.ndarray, " endings"]]:
    """Return, for all bits that may follow, whose word they begin with and how long that is.

    Raises:
        FormatError: some bits would begin with no word, or with two.
    """
    order = np.argsort(lengths, kind="stable")[np.count_nonzero(lengths == 0) :]
    longest = int(lengths.max())
    times = 1 << longest - lengths[order].astype(np.int64)
    if longest == 0 or times.sum() != 1 << longest:
        raise FormatError(f"words of the lengths {lengths.tolist()} do not make a code")
    return np.repeat(order.astype(np.uint8), times), np.repeat(lengths[order].astype(np.uint32), times)
