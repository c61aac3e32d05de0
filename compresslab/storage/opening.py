"""Open a file: its first bytes and its header, held against its size and the limits before all else."""

import zlib
from collections.abc import Iterable
from io import BufferedIOBase

from compresslab.errors import FormatError
from compresslab.storage import integers
from compresslab.storage.header import HEADER_COST, LARGEST_HEADER, MAGIC, PRELUDE, VERSION, Header
from compresslab.storage.limits import check_limit, check_work


def read_header(stream: BufferedIOBase, size: int, max_bytes: int) -> Header:
    """Read up to the payload; after this the file's sizes are consistent and within the limit."""
    check_limit(size, max_bytes)
    start = stream.read(PRELUDE.size)
    if len(start) < PRELUDE.size or start[:4] != MAGIC:
        raise FormatError(f"This is not a compresslab file: it starts with {start[:4]!r}, not {MAGIC!r}.")
    _, version, length, expected = PRELUDE.unpack(start)
    if version != VERSION:
        raise FormatError(
            f"The file has version {version}, this package reads {VERSION}; update one of them."
        )
    if length > min(LARGEST_HEADER, size - PRELUDE.size):
        raise FormatError(
            f"The header should have {length} bytes; the file has {size}, the limit is {LARGEST_HEADER}."
        )
    check_limit(HEADER_COST * length, max_bytes)
    if checksum(start, iter(lambda: stream.read(1 << 16), b"")) != expected:
        raise FormatError("The checksum is wrong: the file was cut short or changed. Fetch or save it again.")
    stream.seek(PRELUDE.size)
    header = Header.from_bytes(stream.read(length))
    stored = sum(entry.bytes_in_file for entry in header.entries)
    if stored != size - PRELUDE.size - length:
        raise FormatError(
            f"The header announces {stored} bytes of tensors, the file holds {size - PRELUDE.size - length}."
        )
    needed = sum(entry.bytes_in_memory for entry in header.entries)
    if integers.is_of_integers(header.builder):  # floats and copies of them, before the codes are there
        needed += 20 * sum(entry.count for entry in header.entries)
    working = max((entry.bytes_to_read for entry in header.entries), default=0)
    check_limit(HEADER_COST * length + needed + working, max_bytes)
    check_work(sum(entry.work for entry in header.entries), size, max_bytes)
    return header


def checksum(start: bytes, rest: Iterable[bytes]) -> int:
    """Compute the CRC-32 of all but itself, the last four bytes of the prelude."""
    value = zlib.crc32(start[:-4])
    for piece in rest:
        value = zlib.crc32(piece, value)
    return value
