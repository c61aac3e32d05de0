"""The head of a ``.clab`` file: what is stored, in which order, in how many bytes.

A file is, without gaps:

    4 bytes    CLAB
    2 bytes    version, little-endian like every number here
    4 bytes    length of the header
    4 bytes    CRC-32 of everything else: the 10 bytes above, the header, the payload
    header     JSON: {"builder": [name, arguments] or null, "schemes": [scheme, ...], "tensors": [...]}
    payload    the tensors' bytes in the order of the header

A tensor is ``[name, shape, layout, ...]``. The layout is a number type (``"f32"``: raw little-endian
values) or ``"packed"``, followed by the index of its scheme: codes side by side in ``scheme.bits`` bits
each, counted from the lowest code, then the scheme's parameters as raw values. Or it is ``"coded"``,
followed by the number type or the index of the scheme, and by how the values are written (``codings``): the
planes in their order, then raw values or the scheme's parameters. Further layouts are
further words in that place; a reader that does not know one says so. A header is checked down to the
last number before anything else of a file is looked at.
"""

import json
import math
import struct
from dataclasses import dataclass, replace
from typing import Any

import torch

from compresslab.errors import CompressionError, FormatError
from compresslab.quantization.scheme import Scheme
from compresslab.quantization.schemes import scheme_from_dict
from compresslab.storage.bits import packed_size
from compresslab.storage.codings import Coding
from compresslab.storage.strict import parse_json, refuse_repeated, refusing

MAGIC, VERSION = b"CLAB", 1
PRELUDE = struct.Struct("<4sHII")  # magic, version, header length, checksum
LARGEST_HEADER = 1_000_000
# Python objects take more memory than the JSON they came from: up to 30 bytes for one, as measured.
HEADER_COST = 32
# Working space per value of a matrix and per number of a list while planes are read: a decoder's symbols
# as 32-bit numbers and the mask; places and the steps between them as 64-bit numbers. Measured, with room.
_PER_VALUE, _PER_LISTED = 8, 32
_LONGEST_NAME, _LARGEST_RANK, _LARGEST_COUNT = 500, 16, 1 << 48

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

Builder = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """Describe one tensor of a file: raw values, or the codes of a weight with a scheme.

    Args:
        name: in the state dict.
        shape: of the tensor.
        layout: a number type, or ``"packed"`` for codes.
        scheme: of a quantized weight.
        coding: how the values are written where that is not plain.

    >>> Entry("fc1.bias", (100,), "f32").bytes_by_part
    {'biases': 400}
    """

    name: str
    shape: tuple[int, ...]
    layout: str
    scheme: Scheme | None = None
    coding: Coding | None = None

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of a dense tensor, or of the codes."""
        return DTYPES[self.layout] if self.scheme is None else self.scheme.code_dtype

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns for the places of values: the first axis, and all others."""
        return matrix_shape(self.shape)

    @property
    def parameters(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """What stands beside the codes: name -> (shape, dtype)."""
        return {} if self.scheme is None else self.scheme.parameter_layout(self.shape)

    @property
    def bytes_by_part(self) -> dict[str, int]:
        """Bytes in the file."""
        if self.scheme is None:
            part = "biases" if self.name.rpartition(".")[2] == "bias" else "weights"
            kept = self.coding.kept if self.coding else self.count
            parts = {part: kept * self.dtype.itemsize}
        else:
            scales = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self.parameters.values())
            codes = self.coding.codes if self.coding else None
            packed = packed_size(self.count, self.scheme.bits)
            parts = {"codes": codes.length if codes else packed, "scales": scales}
        if self.coding is not None:
            parts["indices"] = sum(plane.length for plane in self.coding.places)
        return parts

    @property
    def bytes_in_file(self) -> int:
        """Bytes in the file, of all parts."""
        return sum(self.bytes_by_part.values())

    @property
    def bytes_in_memory(self) -> int:
        """Bytes once decoded: a code takes a whole byte."""
        return self.bytes_by_part.get("scales", 0) + self.count * self.dtype.itemsize

    @property
    def bytes_to_read(self) -> int:
        """Working space while the values are read, of which one tensor needs it at a time."""
        if self.coding is None:
            return self.bytes_by_part.get("codes", 0)
        return _PER_VALUE * self.count + _PER_LISTED * self.coding.listed + self.bytes_in_file


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
        tensors = [_to_list(entry, schemes) for entry in self.entries]
        content = {
            "builder": self.builder,
            "schemes": [scheme.to_dict() for scheme in schemes],
            "tensors": tensors,
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
        content = parse_json(data)
        if not isinstance(content, dict) or content.keys() != {"builder", "schemes", "tensors"}:
            raise FormatError("The header must be an object with builder, schemes and tensors.")
        schemes = [_scheme(values) for values in _list(content["schemes"], "schemes")]
        entries = tuple(_entry(item, schemes) for item in _list(content["tensors"], "tensors"))
        refuse_repeated((entry.name for entry in entries), "tensor")
        return cls(_builder(content["builder"]), entries)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """See a tensor as rows along its first axis.

    >>> matrix_shape((50, 20, 5, 5))
    (50, 500)
    """
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def _to_list(entry: Entry, schemes: list[Scheme]) -> list[Any]:
    scheme = [schemes.index(entry.scheme)] if entry.scheme else []
    if entry.coding is None:
        return [entry.name, entry.shape, entry.layout, *scheme]
    return [entry.name, entry.shape, "coded", *(scheme or [entry.layout]), *entry.coding.to_list()]


def _list(value: Any, kind: str) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError(f"The header's {kind} must be a list, found {type(value).__name__}.")
    return value


def _builder(value: Any) -> Builder | None:
    if value is None:
        return None
    if not (isinstance(value, list) and [type(part) for part in value] == [str, dict]):
        raise FormatError("The header's builder must be null or a name with arguments.")
    return value[0], value[1]


def _scheme(values: Any) -> Scheme:
    return refusing(lambda: scheme_from_dict(values), "The header holds a scheme that cannot be read")


def _entry(item: Any, schemes: list[Scheme]) -> Entry:
    if not (isinstance(item, list) and len(item) in (3, 4, 8) and isinstance(item[0], str)):
        raise FormatError(f"A tensor in the header must be [name, shape, layout, ...], found {item!r:.80}.")
    name, shape, layout, *rest = item
    if not 0 < len(name) <= _LONGEST_NAME:
        raise FormatError(f"A tensor's name has {len(name)} characters; 1 to {_LONGEST_NAME} are allowed.")
    _check_shape(name, shape)
    if layout == "packed" and len(rest) == 1:
        return _packed(name, tuple(shape), rest[0], schemes)
    if layout == "coded" and len(rest) == 5:
        return _coded(name, tuple(shape), rest, schemes)
    if rest or not isinstance(layout, str) or layout not in DTYPES:
        known = ", ".join([*DTYPES, "packed with a scheme", "coded"])
        raise FormatError(f"{name!r:.80} has the layout {[layout, *rest]!r:.80}; known are {known}.")
    return Entry(name, tuple(shape), layout)


def _coded(name: str, shape: tuple[int, ...], rest: list[Any], schemes: list[Scheme]) -> Entry:
    kind, *coding = rest
    plain = _entry([name, list(shape), *([kind] if isinstance(kind, str) else ["packed", kind])], schemes)
    bits = plain.scheme.bits if plain.scheme else None
    try:
        return replace(plain, coding=Coding.from_list(coding, plain.matrix_shape, bits))
    except FormatError as error:
        raise FormatError(f"{name!r:.80}: {error}") from None


def _check_shape(name: str, shape: Any) -> None:
    sizes = _list(shape, f"shape of {name!r:.80}")
    bounded = all(type(size) is int and 0 <= size <= _LARGEST_COUNT for size in sizes)
    if len(sizes) > _LARGEST_RANK or not bounded:
        raise FormatError(f"{name!r:.80} has the impossible shape {shape!r:.80}.")
    if math.prod(sizes) > _LARGEST_COUNT:
        raise FormatError(f"{name!r:.80} of shape {shape!r:.80} is larger than any machine.")


def _packed(name: str, shape: tuple[int, ...], index: Any, schemes: list[Scheme]) -> Entry:
    if type(index) is not int or not 0 <= index < len(schemes):
        raise FormatError(f"{name!r:.80} names scheme {index!r:.40}; the header holds {len(schemes)}.")
    if not shape or not math.prod(shape):
        raise FormatError(f"{name!r:.80} of shape {shape} is packed; it needs an axis and a weight.")
    entry = Entry(name, shape, "packed", schemes[index])
    refusing(lambda: entry.bytes_in_memory, f"{name!r:.80} cannot be stored by {schemes[index]!r:.200}")
    return entry
