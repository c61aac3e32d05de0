"""The head of a ``.clab`` file: what is stored, in which order, in how many bytes.

A file is, without gaps:

    4 bytes    CLAB
    2 bytes    version, little-endian like every number here
    4 bytes    length of the header
    4 bytes    CRC-32 of everything else: the 10 bytes above, the header, the payload
    header     JSON: {"builder": [name, arguments] or null, "schemes": [scheme, ...], "tensors": [...]}
    payload    the tensors' bytes in the order of the header

The book's page on the format says what a tensor's row holds, and explains two files byte by byte. Types and
bounds are declared here; what they cannot say is checked by hand, down to the last number, before anything
else of a file is looked at.
"""

import json
import math
import struct
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from msgspec import Meta, Struct, to_builtins

from compresslab.coding.bits import packed_size
from compresslab.coding.planes import LARGEST_COUNT, Coding, Natural
from compresslab.errors import CompressionError, FormatError, one_of
from compresslab.quantization.scheme import Scheme
from compresslab.quantization.schemes import scheme_from_dict
from compresslab.storage.strict import declared, parse_json, refuse_repeated, refusing

MAGIC, VERSION = b"CLAB", 1
PRELUDE = struct.Struct("<4sHII")  # magic, version, header length, checksum
LARGEST_HEADER, LONGEST_NAME, LARGEST_RANK = 1_000_000, 500, 16
# Python objects take more memory than the JSON they came from: a list of a list up to 52 bytes for one.
HEADER_COST = 64
# Working space per value of a matrix and per number of a list while planes are read: a decoder's symbols
# as 32-bit numbers and the mask; places and the steps between them as 64-bit numbers. Measured, with room.
_PER_VALUE, _PER_LISTED = 8, 32

DTYPES = {
    "f64": torch.float64,
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "i32": torch.int32,
    "i16": torch.int16,
    "i8": torch.int8,
    "u8": torch.uint8,
    "bool": torch.bool,
}
LAYOUTS = {dtype: layout for layout, dtype in DTYPES.items()}

WORDS = ("packed", "coded", "same")  # layouts that are no number types

Builder = tuple[str, dict[str, Any]]


class Content(Struct, frozen=True, forbid_unknown_fields=True):
    """Declare the JSON object: how to build the network, the schemes, the tensors."""

    builder: Builder | None
    schemes: list[dict[str, Any]]
    tensors: list[list[Any]]


class Raw(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Declare a tensor of plain values: a list in this order, its layout a number type."""

    name: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
    shape: Annotated[tuple[Natural, ...], Meta(max_length=LARGEST_RANK)]
    layout: str


class Packed(Raw, frozen=True):
    """Declare codes side by side, or a tensor that came before: the place of the scheme, or of the tensor."""

    values: Natural


class Coded(Raw, frozen=True):
    """Declare a tensor in planes: a number type or the index of a scheme, then what ``Coding`` declares."""

    values: Natural | str


@dataclass(frozen=True)
class Entry:
    """Describe one tensor of a file: raw values, or the codes of a weight with a scheme.

    Args:
        layout: a number type, or ``"packed"`` for codes.
        coding: how the values are written where that is not plain.
        same: the place in the file of the entry whose tensor it is; None for its own.

    >>> Entry("fc1.bias", (100,), "f32").bytes_by_part
    {'biases': 400}
    """

    name: str
    shape: tuple[int, ...]
    layout: str
    scheme: Scheme | None = None
    coding: Coding | None = None
    same: int | None = None

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of a dense tensor, or of the codes."""
        return DTYPES[self.layout] if self.scheme is None else self.scheme.code_dtype

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns for the places of values: the first axis, and all others."""
        return (self.shape[0], math.prod(self.shape[1:])) if self.shape else (1, 1)

    @property
    def parameters(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """What stands beside the codes: name -> (shape, dtype)."""
        return {} if self.scheme is None else self.scheme.parameter_layout(self.shape)

    @property
    def bytes_by_part(self) -> dict[str, int]:
        """Bytes in the file."""
        if self.same is not None:
            return {}
        planes = [plane.length for plane in self.coding.planes] if self.coding else []
        if self.scheme is None:
            part = "biases" if self.name.rpartition(".")[2] == "bias" else "weights"
            parts = {part: (self.coding.kept if self.coding else self.count) * self.dtype.itemsize}
        else:
            codes = planes.pop() if planes else packed_size(self.count, self.scheme.bits)
            scales = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self.parameters.values())
            parts = {"codes": codes, "scales": scales}
        return parts | ({"indices": sum(planes)} if self.coding else {})

    @property
    def bytes_in_file(self) -> int:
        return sum(self.bytes_by_part.values())

    @property
    def bytes_in_memory(self) -> int:
        """Bytes once decoded: a code takes a whole byte."""
        if self.same is not None:
            return 0
        return self.bytes_by_part.get("scales", 0) + self.count * self.dtype.itemsize

    @property
    def bytes_to_read(self) -> int:
        """Working space while the values are read, of which one tensor needs it at a time."""
        if self.coding is None or self.same is not None:
            return self.bytes_by_part.get("codes", 0)
        return _PER_VALUE * self.count + _PER_LISTED * self.coding.listed + self.bytes_in_file

    @property
    def work(self) -> float:
        """Microseconds that the values take to be read, beside what every file of that size takes."""
        if self.coding is None or self.same is not None:
            return 0
        return self.coding.work(self.matrix_shape, self.scheme.bits if self.scheme else None)


@dataclass(frozen=True)
class Header:
    """Hold all that a file says about its payload."""

    builder: Builder | None
    entries: tuple[Entry, ...]

    def to_bytes(self) -> bytes:
        """Write the header as compact JSON; a scheme that several layers share is written once.

        Raises:
            CompressionError: an argument of the builder is not JSON-able.
        """
        schemes = list(dict.fromkeys(entry.scheme for entry in self.entries if entry.scheme is not None))
        content = {
            "builder": self.builder,
            "schemes": [scheme.to_dict() for scheme in schemes],
            "tensors": [_to_list(entry, schemes) for entry in self.entries],
        }
        try:
            return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise CompressionError(f"The header cannot be written as JSON: {error}.") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> "Header":
        """Read a header and check all of it.

        Raises:
            FormatError: anything is missing, surplus, of the wrong kind or out of bounds.
        """
        content = declared(parse_json(data), Content, "The header")
        with refusing("The header holds a scheme that cannot be read"):
            schemes = [scheme_from_dict(values) for values in content.schemes]
        entries = []
        for item in content.tensors:
            with refusing(f"The tensor {str(item[:1])[1:-1]:.80}"):
                entries.append(_entry(item, schemes, entries))
        refuse_repeated((entry.name for entry in entries), "tensor")
        return cls(content.builder, tuple(entries))


def _to_list(entry: Entry, schemes: list[Scheme]) -> list[Any]:
    scheme = [schemes.index(entry.scheme)] if entry.scheme else []
    if entry.same is not None:
        return [entry.name, entry.shape, "same", entry.same]
    if entry.coding is None:
        return [entry.name, entry.shape, entry.layout, *scheme]
    return [entry.name, entry.shape, "coded", *(scheme or [entry.layout]), *to_builtins(entry.coding)]


def _entry(item: list[Any], schemes: list[Scheme], before: list[Entry]) -> Entry:
    layout = one_of(item[2] if len(item) > 2 else None, (*DTYPES, *WORDS), "layout")
    if layout == "same":
        row = declared(item, Packed, "It")
        if row.values >= len(before) or before[row.values].same is not None:
            raise FormatError(f"It should be the tensor {row.values} before it, which is none of its own.")
        if row.shape != before[row.values].shape:
            raise FormatError(f"It has shape {row.shape!r:.80}, the tensor that it is has another.")
        return replace(before[row.values], name=row.name, same=row.values)
    if layout != "coded":
        return _plain(declared(item, Packed if layout == "packed" else Raw, "It"), schemes)
    entry, coding = _plain(declared(item[:4], Coded, "It"), schemes), declared(item[4:], Coding, "Its coding")
    coding.check(entry.matrix_shape, entry.scheme.bits if entry.scheme else None)
    return replace(entry, coding=coding)


def _plain(row: Raw, schemes: list[Scheme]) -> Entry:
    """Describe a tensor but for its planes."""
    if math.prod(row.shape) > LARGEST_COUNT:
        raise FormatError(f"The shape {row.shape!r:.80} is larger than any machine.")
    values = row.values if isinstance(row, Packed | Coded) else row.layout
    if isinstance(values, str):
        return Entry(row.name, row.shape, one_of(values, DTYPES, "number type"))
    if values >= len(schemes):
        raise FormatError(f"It names scheme {values}; the header holds {len(schemes)}.")
    if not row.shape or not math.prod(row.shape):
        raise FormatError(f"A weight of shape {row.shape} cannot have codes; it needs an axis and a value.")
    with refusing(f"{schemes[values]!r:.200} cannot store it"):
        schemes[values].parameter_layout(row.shape)
    return Entry(row.name, row.shape, "packed", schemes[values])
