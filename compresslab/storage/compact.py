"""A file of a few hundred bytes: one of the book's networks, its integers mixed, and hardly anything beside.

The head of the usual file has hundreds of bytes: names, shapes and schemes as text. Here all of these follow
from the builder and its arguments, and a tensor brings one byte, its step. The book's page on the format says
what each byte means.
"""

import io
import math
import struct
from binascii import crc_hqx
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from compresslab.coding import mixing
from compresslab.coding.steps import LOWEST, steps
from compresslab.errors import CompressionError, FormatError
from compresslab.models.builders import build, builder_of
from compresslab.quantization.granularity import PerTensor
from compresslab.quantization.scheme import QuantizedTensor
from compresslab.quantization.uniform import Symmetric
from compresslab.storage.arguments import one_byte, read_builder, write_builder
from compresslab.storage.header import Builder, Entry
from compresslab.storage.limits import MAX_BYTES, check_limit, check_work, most_work
from compresslab.storage.slots import tensors_of
from compresslab.storage.strict import refusing
from compresslab.storage.tensors import Stored, check_values

FORM, VERSION = 0xC0, 1  # the first byte is their sum
SCALE, FLOATS = 254, 255  # instead of a step: a scale of four bytes, or numbers of four bytes each


@dataclass(frozen=True)
class Mixed(Entry):
    """Describe a tensor of such a file.

    Args:
        codes: bytes that its codes take in the common number, as far as they can be told apart.
        beside: bytes of its step, or of its scale.
    """

    codes: int = 0
    beside: int = 1

    @property
    def bytes_by_part(self) -> dict[str, int]:
        if self.scheme is None:
            part = "biases" if self.name.endswith(".bias") else "weights"
            return {part: 4 * self.count, "header": 1}
        return {"codes": self.codes, "scales": self.beside}


@dataclass(frozen=True)
class Compact:
    """Hold what such a file says: the builder, its tensors by name, and what each takes."""

    builder: Builder
    values: Mapping[str, Stored]
    entries: tuple[Mixed, ...]


def is_compact(start: bytes) -> bool:
    """Say whether a file that starts so has this form, in whatever version."""
    return bool(start) and start[0] & 0xF0 == FORM


def write(model: nn.Module) -> tuple[bytes, tuple[Mixed, ...]]:
    """Write a network of the book whose layers hold codes.

    Raises:
        CompressionError: it is another network, has tensors that are neither codes of ``Symmetric`` with one
            scale, decoded to float32, nor float32 themselves, or would take too long to be read.
    """
    builder, slots = builder_of(model), tensors_of(model)
    if builder is None:
        raise CompressionError(
            f"coding='mixing' is for the book's own networks; {type(model).__name__:.80} is none of them, or "
            "its modules are no longer those of its builder. Save it without."
        )
    values = {name: _checked(name, slots[name], model) for name in _slots(builder)}
    if len({id(value) for value in slots.values()}) < len(slots):
        raise CompressionError(
            "coding='mixing' does not know tensors that are one; save the network without."
        )
    coded = [value.codes.numpy() for value in values.values() if isinstance(value, QuantizedTensor)]
    if not coded:
        raise CompressionError("coding='mixing' is for codes, and this network has none: quantize it first.")
    most = most_work(0, MAX_BYTES) / mixing.BIT
    if sum(code.size for code in coded) > most or (number := mixing.encode(coded)).bits > most:
        raise CompressionError(
            f"coding='mixing' is slow: it writes at most {most:,.0f} bits, one for a zero, else more. "
            f"This network has {sum(code.size for code in coded):,} codes; cut neurons, or save it without."
        )
    head = write_builder(builder) + b"".join(_beside(value) for value in values.values())
    data = bytes([FORM + VERSION]) + _checksum(head + number.data) + head + number.data
    return data, _entries(values, number.lengths)


def read(data: bytes, max_bytes: int) -> Compact:
    """Read a file of this form.

    Raises:
        FormatError: it is damaged, of another version, or needs more than ``max_bytes``.
    """
    if data[0] != FORM + VERSION:
        raise FormatError(
            f"The file has version {data[0] - FORM} of the compact form, this package reads {VERSION}; "
            "update one of them."
        )
    if data[1:3] != _checksum(data[3:]):
        raise FormatError("The checksum is wrong: the file was cut short or changed. Fetch or save it again.")
    rest = io.BytesIO(data[3:])
    with refusing("The file does not hold a network that can be built"):
        builder = read_builder(rest)
        slots = _slots(builder)
    beside = {name: _read_beside(rest, name, shape) for name, shape in slots.items()}
    coded = {name: scale for name, scale in beside.items() if isinstance(scale, float)}
    if not coded:
        raise FormatError("The file holds no codes; it would have been written in the usual form.")
    count = sum(math.prod(slots[name]) for name in coded)
    check_limit(2 * len(data) + mixing.BYTES * count, max_bytes)
    check_work(mixing.BIT * count, len(data), max_bytes)
    most = most_work(len(data), max_bytes) / mixing.BIT
    codes, lengths = mixing.decode(rest.read(), [slots[name] for name in coded], most)
    values: dict[str, Stored] = {name: value for name, value in beside.items() if isinstance(value, Tensor)}
    for (name, scale), found in zip(coded.items(), codes, strict=True):
        values[name] = _quantized(torch.from_numpy(found), scale)
        with refusing(f"{name!r:.80}"):
            check_values(values[name])
    return Compact(builder, values, _entries({name: values[name] for name in slots}, lengths))


def _slots(builder: Builder) -> dict[str, tuple[int, ...]]:
    """List the names and shapes of a network's tensors, in their order."""
    state = build(*builder, device="meta").state_dict()
    for name, tensor in state.items():
        if tensor.dtype != torch.float32 or name.rpartition(".")[2] not in ("weight", "bias"):
            raise CompressionError(
                f"{builder[0]} has the tensor {name}, which coding='mixing' does not know; fold the norms "
                "first, or save it without."
            )
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _checked(name: str, value: Stored, model: nn.Module) -> Stored:
    """Return a tensor that this form can hold, codes with the fewest bits.

    Raises:
        CompressionError: it cannot hold it.
    """
    if isinstance(value, QuantizedTensor):
        layer, _, leaf = name.rpartition(".")
        floats = getattr(model.get_submodule(layer), leaf).dtype == torch.float32
        if floats and isinstance(value.scheme, Symmetric) and value.scheme.granularity == PerTensor():
            check_values(value)
            return _quantized(value.codes.cpu(), float(value.parameters["scale"]))
    elif value.dtype == torch.float32 and value.layout == torch.strided:
        return value.detach().cpu().contiguous()
    found = value.scheme if isinstance(value, QuantizedTensor) else value.dtype
    raise CompressionError(
        f"{name} is {found!s:.120}; coding='mixing' holds codes of Symmetric(bits, PerTensor()) and float32."
    )


def _quantized(codes: Tensor, scale: float) -> QuantizedTensor:
    """Give codes the scheme of the fewest bits that holds them."""
    bits = max(2, int(codes.short().abs().max()).bit_length() + 1)
    return QuantizedTensor(Symmetric(bits), codes, {"scale": torch.tensor([scale])})


def _beside(value: Stored) -> bytes:
    """Write what stands beside the common number: a step or a scale, or all numbers of a tensor of floats."""
    if isinstance(value, Tensor):
        return bytes([FLOATS]) + value.numpy().astype("<f4").tobytes()
    scale = float(value.parameters["scale"])
    return (
        bytes([step - LOWEST])
        if (step := steps().get(scale)) is not None
        else struct.pack("<Bf", SCALE, scale)
    )


def _read_beside(rest: io.BytesIO, name: str, shape: tuple[int, ...]) -> Tensor | float:
    if (kind := one_byte(rest)) < SCALE:
        return list(steps())[kind]
    count = 1 if kind == SCALE else math.prod(shape)
    if len(raw := rest.read(4 * count)) < 4 * count:
        raise FormatError(f"The file ends within {name!r:.80}.")
    numbers = np.frombuffer(raw, "<f4").astype(np.float32)
    if kind == FLOATS:
        return torch.from_numpy(numbers).reshape(shape)
    if not math.isfinite(scale := float(numbers[0])):
        raise FormatError(f"The scale of {name!r:.80} is {scale}; it must be finite.")
    if scale in steps():
        raise FormatError(f"The scale {scale} of {name!r:.80} is a step; it would have been written as one.")
    return scale


def _entries(values: Mapping[str, Stored], lengths: Sequence[int]) -> tuple[Mixed, ...]:
    """Describe tensors as ``contents`` lists them."""
    left, entries = iter(lengths), []
    for name, value in values.items():
        if isinstance(value, Tensor):
            entries.append(Mixed(name, tuple(value.shape), "f32"))
        else:
            beside = len(_beside(value))
            entries.append(Mixed(name, value.shape, "packed", value.scheme, codes=next(left), beside=beside))
    return tuple(entries)


def _checksum(rest: bytes) -> bytes:
    return crc_hqx(rest, 0xFFFF).to_bytes(2, "little")
