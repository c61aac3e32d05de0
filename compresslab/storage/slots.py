"""The places that a module has for a file's tensors, and how these get there.

A cut network may be loaded into one that is not cut: its layers then take the widths of the file. The file
may come from a stranger, so its shapes are tried first on a copy of the module without memory.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.inputs import call, each_tensor
from compresslab.models.parameters import channel_axis, layer_weights
from compresslab.quantization.layers import QuantizedLayer, hold_codes
from compresslab.quantization.scheme import QuantizedTensor, Scheme
from compresslab.storage.header import Entry
from compresslab.storage.tensors import Stored
from compresslab.surgery.cutting import refit

_SIDES = (28, 32, 64, 96, 128, 224, 299)  # of images that a network may read; only to try whether it runs
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_SIZES = (  # what says how long a layer's vectors are; layers of other kinds are not known here
    (nn.Linear, "out_features"),
    (_CONVS, "out_channels"),
    (nn.modules.batchnorm._NormBase, "num_features"),
    (nn.GroupNorm, "num_channels"),
    (nn.LayerNorm, "normalized_shape"),
)


def tensors_of(model: nn.Module) -> dict[str, Stored]:
    """List what a file holds of a model: its state dict, with a quantized weight's buffers as one.

    A tensor that stands in several places is listed in each of them, as the same object.
    """
    layers = {n: m for n, m in model.named_modules(remove_duplicate=False) if isinstance(m, QuantizedLayer)}
    if "" in layers:
        raise CompressionError("A single quantized layer cannot be saved; wrap it: nn.Sequential(layer).")
    found: dict[str, Stored] = {}
    weights: dict[int, QuantizedTensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise CompressionError(f"{name} is a {type(value).__name__}; only tensors can be saved.")
        layer, _, leaf = name.rpartition(".")
        held = layers[layer].quantized_weights if layer in layers else {}
        for key, codes in held.items():
            found.setdefault(f"{layer}.{key}", weights.setdefault(id(codes.codes), codes))
        if leaf not in {
            f"{key}_{part}" for key, codes in held.items() for part in ("codes", *codes.parameters)
        }:
            found[name] = value
    return found


def check_fit(entries: Sequence[Entry], model: nn.Module, resize: bool = False, example: Any = None) -> None:
    """Hold the file's tensors against the module's, without touching either.

    Args:
        entries: what the file holds.
        model: where it shall go.
        resize: let layers take other widths than they have, if they then run together.
        example: inputs of the module.
    """
    slots, names = tensors_of(model), {entry.name for entry in entries}
    for what, lost in (("has no", slots.keys() - names), ("has a surplus", names - slots.keys())):
        if lost:
            raise CompressionError(f"The file {what} tensor {min(lost)!r:.80}; it belongs to another module.")
    weights = {(id(weight.layer), weight.parameter) for weight in layer_weights(model)}
    shapes = {entry.name: _unturned(entry.shape, entry.scheme, entry.name, model) for entry in entries}
    homes: dict[int, tuple[str, int]] = {}
    for place, entry in enumerate(entries):
        slot, home = slots[entry.name], place if entry.same is None else entry.same
        _check_slot(entry, slot, model, weights, None if resize else shapes[entry.name])
        if isinstance(slot, nn.Parameter) != isinstance(slots[entries[home].name], nn.Parameter):
            raise CompressionError(f"{entry.name} is tied to a tensor of another kind; write each by itself.")
        name, other = homes.setdefault(id(slot), (entry.name, home))
        if other != home:
            raise CompressionError(
                f"{name} and {entry.name} are one tensor in the module, two in the file; give each its own."
            )
    _check_precision(entries, slots)
    if resize:
        _resized(model, shapes, example)


def _check_slot(
    entry: Entry, slot: Stored, model: nn.Module, weights: set[tuple[int, str]], shape: tuple[int, ...] | None
) -> None:
    """Refuse a tensor that cannot take its place; None for a shape that may change."""
    if isinstance(slot, QuantizedTensor):
        raise CompressionError(f"{entry.name} is quantized already; load into the float network.")
    if shape not in (None, tuple(slot.shape)):
        raise CompressionError(
            f"{entry.name} has shape {shape} in the file, {tuple(slot.shape)} in the module."
        )
    layer, _, leaf = entry.name.rpartition(".")
    module = model.get_submodule(layer)
    if leaf not in module._parameters and leaf not in module._buffers:
        raise CompressionError(f"{entry.name} is no parameter or buffer of {type(module).__name__}.")
    coded = (id(module), "weight" if leaf == "bias" else leaf)  # the bias of a layer with a weight
    if entry.scheme is not None and not (layer and coded in weights):
        raise CompressionError(f"{entry.name} is quantized in the file; only layers inside a module can be.")


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
    shapes takes those of the values; what stands in several places is one object in all of them.
    """
    moved: dict[int, Stored] = {}
    widths = {name: slot.shape for name, slot in model.state_dict().items()}
    for name, value in values.items():
        layer, _, leaf = name.rpartition(".")
        if id(value) not in moved:
            moved[id(value)] = _in_place_of(getattr(model.get_submodule(layer), leaf), value)
    for name, value in values.items():
        layer, _, leaf = name.rpartition(".")
        here, owner = moved[id(value)], model.get_submodule(layer)
        if isinstance(here, Tensor):
            setattr(owner, leaf, here)
        elif leaf in owner._parameters:  # a layer in two places may have them by now
            hold_codes(owner, leaf, here)
    if any(widths[name].numel() != math.prod(value.shape) for name, value in values.items()):
        refit(model)


def _unturned(shape: tuple[int, ...], scheme: Scheme | None, name: str, model: nn.Module) -> tuple[int, ...]:
    """Return a shape as the module has it: codes have their output channels on the first axis."""
    axis = 0 if scheme is None else channel_axis(model.get_submodule(name.rpartition(".")[0]))
    return (shape[axis], *shape[1:axis], shape[0], *shape[axis + 1 :]) if 0 < axis < len(shape) else shape


def _in_place_of(old: Tensor, value: Stored) -> Stored:
    """Bring a value to the device of the old one; what was frozen stays frozen."""
    device = torch.device("cpu") if old.is_meta else old.device
    if isinstance(value, QuantizedTensor):
        parameters = {key: parameter.to(device) for key, parameter in value.parameters.items()}
        return QuantizedTensor(value.scheme, value.codes.to(device), parameters)
    if not isinstance(old, nn.Parameter):
        return value.to(device)
    return nn.Parameter(value.to(device), requires_grad=old.requires_grad and value.is_floating_point())


def _resized(model: nn.Module, shapes: Mapping[str, tuple[int, ...]], example: Any) -> None:
    """See that layers of other shapes run together, on inputs that the module itself runs on.

    Raises:
        CompressionError: a layer cannot have such a shape, the layers do not fit each other, or what the
            module reads is not known.
    """
    if (twin := _shaped(model, shapes)) is model:
        return
    for inputs in _images(model) if example is None else [example]:
        inputs = each_tensor(inputs, lambda tensor: tensor.to("meta"))
        if _fault(_on_meta(model, {}), inputs) is None:
            if (fault := _fault(twin, inputs)) is not None:
                raise CompressionError(f"The file's layers do not fit each other in this module: {fault}.")
            return
    raise CompressionError(
        "The file's layers have other widths than the module's; to try whether they run together, give what "
        f"{type(model).__name__:.80} reads: load(path, into=module, example=inputs)."
    )


def _shaped(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """Return the module, or where shapes differ a copy on the meta device that has them."""
    slots = model.state_dict()
    if all(tuple(slots[name].shape) == shape for name, shape in shapes.items()):
        return model
    for name, shape in shapes.items():
        _check_layer(model, name, tuple(slots[name].shape), shape)
    twin = _on_meta(model, shapes)
    refit(twin)
    _check_vectors(twin)
    return twin


def _check_layer(model: nn.Module, name: str, old: tuple[int, ...], new: tuple[int, ...]) -> None:
    """Let only numbers of neurons change: not the rank, a kernel, or what a group of a convolution has."""
    layer = model.get_submodule(name.rpartition(".")[0])
    fixed = len(old) != len(new) or 0 in new
    if isinstance(layer, _CONVS) and name.endswith("weight") and not fixed:
        one = layer.out_channels // layer.groups
        fixed = old[2:] != new[2:] or (layer.groups > 1 and (old[1] != new[1] or new[0] % one != 0))
    if fixed and old != new:
        raise CompressionError(
            f"{name} has shape {new} in the file, {old} in the module, which cannot take it."
        )


def _check_vectors(model: nn.Module) -> None:
    """Hold a layer's bias and statistics against its weight: without memory torch does not."""
    for layer, part in model.named_modules():
        size = next((getattr(part, size) for kind, size in _SIZES if isinstance(part, kind)), None)
        shape = (size,) if isinstance(size, int) else size
        for name in ("bias", "running_mean", "running_var"):
            vector = getattr(part, name, None)
            if isinstance(vector, Tensor) and shape is not None and tuple(vector.shape) != shape:
                raise CompressionError(
                    f"{layer}.{name} has shape {tuple(vector.shape)} in the file, its layer needs {shape}."
                )


def _on_meta(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """Copy a module without its memory."""
    memo: dict[int, object] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        value = torch.empty(shapes.get(name, tuple(tensor.shape)), dtype=tensor.dtype, device="meta")
        parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(value, tensor.requires_grad) if parameter else value
    return copy.deepcopy(model, memo).eval()


def _images(model: nn.Module) -> Iterator[Tensor]:
    """Yield images that the module may be made for, by its first layer: none where that reads words."""
    first = next((m for m in model.modules() if isinstance(m, (nn.Embedding, nn.Linear, *_CONVS))), None)
    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if isinstance(first, nn.Linear):
        yield torch.empty((1, first.in_features), dtype=kind, device="meta")
    elif isinstance(first, _CONVS):
        for side in _SIDES:
            sides = (side,) * (first.weight.dim() - 2)
            yield torch.empty((1, first.in_channels, *sides), dtype=kind, device="meta")


def _fault(model: nn.Module, inputs: Any) -> str | None:
    """Run a module without numbers, and return what it complains of."""
    try:
        with torch.no_grad():
            call(model, inputs)
    except Exception as error:  # whatever the module's own code raises
        return (str(error) or type(error).__name__).splitlines()[0][:200]
    return None
