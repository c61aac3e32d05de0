"""The places that a module has for a file's tensors, and how these get there."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.quantization.layers import QuantizedLayer, quantized_like, replace
from compresslab.quantization.scheme import QuantizedTensor
from compresslab.storage.header import Entry
from compresslab.storage.payload import Stored
from compresslab.storage.resizing import resized
from compresslab.surgery.cutting import refit


def tensors_of(model: nn.Module) -> dict[str, Stored]:
    """List what a file holds of a model: its state dict, with a quantized layer's buffers as one weight."""
    layers = {n: m for n, m in model.named_modules(remove_duplicate=False) if isinstance(m, QuantizedLayer)}
    if "" in layers:
        raise CompressionError("A single quantized layer cannot be saved; wrap it: nn.Sequential(layer).")
    found: dict[str, Stored] = {}
    owners: dict[int, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise CompressionError(f"{name} is a {type(value).__name__}; only tensors can be saved.")
        if (owner := owners.setdefault(id(value), name)) != name:
            raise CompressionError(f"{owner} and {name} are one tensor; give each its own copy first.")
        layer, _, leaf = name.rpartition(".")
        if layer in layers:
            found.setdefault(f"{layer}.weight", layers[layer].quantized)
        if layer not in layers or leaf == "bias":
            found[name] = value
    return found


def check_fit(entries: Sequence[Entry], model: nn.Module, resize: bool = False) -> None:
    """Hold the file's tensors against the module's, without touching either.

    Args:
        entries: what the file holds.
        model: where it shall go.
        resize: let layers take other widths than they have.
    """
    slots, names = tensors_of(model), {entry.name for entry in entries}
    for what, lost in (("has no", slots.keys() - names), ("has a surplus", names - slots.keys())):
        if lost:
            raise CompressionError(f"The file {what} tensor {min(lost)!r:.80}; it belongs to another module.")
    for entry in entries:
        _check_slot(entry, slots[entry.name], model, resize)
    _check_precision(entries, slots)
    if resize:
        _resized(model, {entry.name: entry.shape for entry in entries})


def _check_slot(entry: Entry, slot: Stored, model: nn.Module, resize: bool) -> None:
    """Refuse a tensor that cannot take its place."""
    if isinstance(slot, QuantizedTensor):
        raise CompressionError(f"{entry.name} is quantized already; load into the float network.")
    if entry.shape != tuple(slot.shape) and not resize:
        raise CompressionError(
            f"{entry.name} has shape {entry.shape} in the file, {tuple(slot.shape)} in the module."
        )
    layer, _, leaf = entry.name.rpartition(".")
    module = model.get_submodule(layer)
    if leaf not in module._parameters and leaf not in module._buffers:
        raise CompressionError(f"{entry.name} is no parameter or buffer of {type(module).__name__}.")
    quantizable = leaf == "weight" and layer and isinstance(module, nn.Linear | nn.Conv2d)
    if entry.scheme is not None and not quantizable:
        raise CompressionError(f"{entry.name} is quantized in the file; only layers inside a module can be.")


def _resized(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """Return the module, or a copy without memory that has the file's shapes where they differ."""
    slots = model.state_dict()
    if all(tuple(slots[name].shape) == shape for name, shape in shapes.items()):
        return model
    return resized(model, shapes)


def _check_precision(entries: Sequence[Entry], slots: Mapping[str, Stored]) -> None:
    """Let a module in floats change its precision as a whole; any other type must be the module's."""
    pairs = [(entry, slots[entry.name]) for entry in entries if entry.scheme is None]
    dense = [(entry, slot.dtype) for entry, slot in pairs if isinstance(slot, Tensor)]
    floating = {(entry.dtype, dtype) for entry, dtype in dense if entry.dtype.is_floating_point}
    whole = len(floating) == 1 and len(dense) == len(entries)
    for entry, dtype in dense:
        alike = entry.dtype.is_floating_point and dtype.is_floating_point
        if entry.dtype != dtype and not (whole and alike):
            raise CompressionError(f"{entry.name} is {entry.dtype} in the file, {dtype} in the module.")


def fill(model: nn.Module, values: Mapping[str, Stored]) -> None:
    """Put the values into the module: first all that can fail, then the assignments.

    Parameters are replaced, not written to: give them to an optimizer after loading. A module with other
    shapes takes those of the values.
    """
    alike = _resized(model, {name: tuple(value.shape) for name, value in values.items()})
    layers: dict[str, nn.Module] = {}
    tensors: dict[str, Tensor] = {}
    for name, value in values.items():
        layer, _, leaf = name.rpartition(".")
        module = model.get_submodule(layer)
        if isinstance(value, QuantizedTensor):
            place = _device(module.get_parameter("weight"))
            layers[layer] = quantized_like(alike.get_submodule(layer), _quantized_on(value, place))
        else:
            tensors[name] = _in_place_of(getattr(module, leaf), value)
    for name, layer in layers.items():
        replace(model, name, layer)
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(layer), leaf, tensor)
    if alike is not model:
        refit(model)


def _device(old: Tensor) -> torch.device:
    return torch.device("cpu") if old.is_meta else old.device


def _in_place_of(old: Tensor, value: Tensor) -> Tensor:
    value = value.to(_device(old))
    if not isinstance(old, nn.Parameter):
        return value
    return nn.Parameter(value, requires_grad=old.requires_grad and value.is_floating_point())


def _quantized_on(value: QuantizedTensor, device: torch.device) -> QuantizedTensor:
    parameters = {key: parameter.to(device) for key, parameter in value.parameters.items()}
    return QuantizedTensor(value.scheme, value.codes.to(device), parameters)
