"""Write a plane of small numbers by the coder that needs the fewest bytes, and read it back."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from compresslab.errors import FormatError
from compresslab.storage import huffman, ranges
from compresslab.storage.bits import pack, packed_size, unpack

Plane = UInt8[np.ndarray, "rows columns"]
Shape = tuple[int, int]


@dataclass(frozen=True)
class Coder:
    """Name a way to write a plane; both functions take it in its shape and its width in bits."""

    write: Callable[[Plane, int], bytes]
    read: Callable[[bytes, Shape, int], Plane]


def _coder_of_ranges(contexts: int) -> Coder:
    return Coder(
        lambda plane, bits: ranges.encode(plane, 1 << bits, contexts),
        lambda data, shape, bits: ranges.decode(data, shape, 1 << bits, contexts),
    )


CODERS = {
    "packed": Coder(pack, lambda data, shape, bits: unpack(data, bits, shape[0] * shape[1]).reshape(shape)),
    "huffman": Coder(
        lambda plane, bits: huffman.encode(plane.reshape(-1), 1 << bits),
        lambda data, shape, bits: huffman.decode(data, shape[0] * shape[1], 1 << bits).reshape(shape),
    ),
    "range": _coder_of_ranges(1),
    "context": _coder_of_ranges(ranges.CONTEXTS),
}


@dataclass(frozen=True)
class Stream:
    """Say in a header how a plane is written.

    Args:
        coder: one of ``CODERS``.
        count: numbers in the plane.
        length: bytes in the file.
    """

    coder: str
    count: int
    length: int


def write(plane: Plane, bits: int, coders: Collection[str]) -> tuple[Stream, bytes]:
    """Write a plane with each coder and keep the shortest result; among equals the first in ``CODERS``.

    Args:
        plane: numbers below ``2**bits``.
        bits: 1 to 8.
        coders: those to try; packing is always tried.
    """
    allowed = {"packed", *coders}
    tried = [name for name in CODERS if name in allowed and (name != "context" or len(plane) > 1)]
    written = {name: CODERS[name].write(plane, bits) for name in tried}
    best = min(written, key=lambda name: len(written[name]) + len(name))  # the header holds the name
    return Stream(best, plane.size, len(written[best])), written[best]


def read(stream: Stream, data: bytes, shape: Shape, bits: int) -> Plane:
    """Read a plane back.

    Raises:
        FormatError: the bytes are not what the coder would have written.
    """
    plane = CODERS[stream.coder].read(data, shape, bits)
    if plane.size and plane.max() >> bits:
        raise FormatError(f"A plane of {bits} bits holds the number {plane.max()}.")
    return plane


def check_stream(stream: Stream, bits: int) -> None:
    """Refuse, before anything is allocated, a stream whose numbers cannot be right.

    Raises:
        FormatError: an unknown coder, or packed codes of another length.
    """
    if stream.coder not in CODERS:
        raise FormatError(f"A plane is written by {stream.coder!r:.40}; known are {', '.join(CODERS)}.")
    if stream.coder == "packed" and stream.length != packed_size(stream.count, bits):
        raise FormatError(f"{stream.count} packed numbers of {bits} bits cannot fill {stream.length} bytes.")
