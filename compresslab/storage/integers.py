"""Networks that compute with integers alone: a file has their numbers, the float network their structure.

What is stored of a layer are its buffers, its codes in as few bits as they need, and each grid as a scale, a
zero point and, where they are fewer than 8, the bits of its codes. To load them, the network (one of the
book's, or one that is given) is converted anew, with zeros for weights and grids of one, and takes the
numbers.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn

from compresslab.errors import CompressionError, FormatError
from compresslab.integers.layers import Grid, IntegerLayer
from compresslab.integers.network import integer_like
from compresslab.models.builders import build
from compresslab.quantization.scheme import QuantizedTensor
from compresslab.quantization.uniform import Symmetric
from compresslab.storage.header import Builder, Entry
from compresslab.storage.tensors import Stored

WORD = "integers"  # in the place of a builder's name
_SHIFTS = range(1, 63)  # of 64-bit sums


def is_integer(model: nn.Module) -> bool:
    """Say whether a network was made by ``quantize_activations``."""
    return isinstance(model, fx.GraphModule) and any(isinstance(m, IntegerLayer) for m in model.modules())


def builder_of_integers(model: Any) -> Builder:
    """Say how to build the network that was converted; None for its name if it must be given."""
    name, arguments = model.meta.get("builder") or (None, {})
    return WORD, {"network": name, **arguments}


def integer_tensors(model: nn.Module) -> dict[str, Stored]:
    """List what a file holds of an integer network."""
    found: dict[str, Stored] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        found[name] = _as_codes(value) if name.endswith(".codes") else value
    for name, grid in _grids(model):
        bits = [] if grid.bits == 8 else [grid.bits]
        found[name] = torch.tensor([grid.scale, grid.zero_point, *bits], dtype=torch.float64)
    return found


def is_of_integers(builder: Builder | None) -> TypeGuard[Builder]:
    """Say whether a file holds an integer network."""
    return builder is not None and builder[0] == WORD


def blank(builder: Builder, into: nn.Module | None) -> nn.Module:
    """Convert the network that a file names, or the one that is given, without any of its numbers.

    Raises:
        CompressionError: the file names none and none is given, or it cannot be converted.
    """
    arguments = dict(builder[1])
    name = arguments.pop("network", None)
    if into is None and name is None:
        raise CompressionError(
            "The file holds an integer network that was made of a module which is not one of the book's; "
            "build that module, in floats, and give it: load(path, into=module)."
        )
    return integer_like(into if into is not None else build(str(name), arguments))


def check_integers(entries: Sequence[Entry], model: nn.Module) -> None:
    """Hold a file's tensors against those of a converted network."""
    slots, found = integer_tensors(model), {entry.name: entry for entry in entries}
    for what, lost in (("has no", slots.keys() - found), ("has a surplus", found.keys() - slots)):
        if lost:
            raise CompressionError(
                f"The file {what} tensor {min(lost)!r:.80}; it belongs to another network."
            )
    grids = {name for name, _ in _grids(model)}
    for name, slot in slots.items():
        entry, shape = found[name], tuple(slot.shape)
        if name in grids and entry.shape == (3,):  # with the bits
            shape = (3,)
        if isinstance(slot, Tensor):
            alike = entry.scheme is None and entry.dtype == slot.dtype
        else:
            alike = isinstance(entry.scheme, Symmetric)
        if entry.shape != shape or not alike:
            raise CompressionError(
                f"{name:.80} is {entry.shape!r:.80} of {entry.scheme or entry.dtype!s:.80} in the file, "
                f"{shape!r:.80} in the network."
            )


def fill_integers(model: nn.Module, values: Mapping[str, Stored]) -> None:
    """Put the numbers into a converted network."""
    grids: dict[str, dict[str, Grid]] = defaultdict(dict)
    for name, _ in _grids(model):
        scale, zero, bits = [*_numbers(values[name]).tolist(), 8][:3]
        half = 2 ** (bits - 1) if bits in range(2, 9) else 0
        if not (0 < scale < math.inf and -half <= zero < half and zero.is_integer()):
            raise FormatError(
                f"{name:.80} is no grid: a scale of {scale:g}, a zero point of {zero:g}, {bits:g} bits."
            )
        owner, _, key = name.rpartition(".")
        grids[owner][key] = Grid(scale, int(zero), int(bits))
    for owner, found in grids.items():
        layer: Any = model.get_submodule(owner)
        layer.take(**found)
    for name in model.state_dict():
        value = _numbers(values[name])
        if name.endswith(".shift") and not all(shift in _SHIFTS for shift in value.unique().tolist()):
            raise FormatError(f"{name:.80} shifts by {value.min()} to {value.max()} bits; 1 to 62 can be.")
        owner, _, key = name.rpartition(".")
        setattr(model.get_submodule(owner), key, value)


def _numbers(value: Stored) -> Tensor:
    return value.codes if isinstance(value, QuantizedTensor) else value


def _as_codes(codes: Tensor) -> QuantizedTensor:
    bits = max(2, int(codes.short().abs().max()).bit_length() + 1)
    return QuantizedTensor(Symmetric(bits), codes, {"scale": torch.ones(1)})


def _grids(model: nn.Module) -> Iterator[tuple[str, Grid]]:
    for owner, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Grid):
                yield f"{owner}.{key}", value
