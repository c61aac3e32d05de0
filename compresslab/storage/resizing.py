"""Give a module the shapes of a file: what a cut network needs to be loaded into an uncut one.

The file may come from a stranger, so its shapes are tried first on a copy of the module without memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.surgery.cutting import refit

_SIDES = (28, 32, 64, 96, 128, 224, 299)  # of images that a network may read; only to try whether it runs
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def resized(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """Return a copy of a module with tensors of these shapes, on the meta device; the module stays as it is.

    Raises:
        CompressionError: a layer cannot have such a shape, or the layers no longer fit each other.
    """
    slots = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, shape in shapes.items():
        _check_layer(model, name, tuple(slots[name].shape), shape)
    twin = _on_meta(model, shapes)
    refit(twin)
    _check_vectors(twin)
    for image in _images(model):
        if _fault(_on_meta(model, {}), image) is None:
            if (fault := _fault(twin, image)) is not None:
                raise CompressionError(f"The file's layers do not fit each other in this module: {fault}.")
            break
    return twin


def _check_layer(model: nn.Module, name: str, old: tuple[int, ...], new: tuple[int, ...]) -> None:
    """Let only numbers of neurons change: not the rank, a kernel, or what a group of a convolution has."""
    layer = model.get_submodule(name.rpartition(".")[0])
    fixed = len(old) != len(new) or 0 in new
    if isinstance(layer, _CONVOLUTIONS) and name.endswith("weight") and not fixed:
        one = layer.out_channels // layer.groups
        fixed = old[2:] != new[2:] or (layer.groups > 1 and (old[1] != new[1] or new[0] % one != 0))
    if fixed and old != new:
        raise CompressionError(
            f"{name} has shape {new} in the file, {old} in the module, which cannot take it."
        )


def _check_vectors(model: nn.Module) -> None:
    """Hold a layer's bias and statistics against its weight: without memory torch does not."""
    for layer, part in model.named_modules():
        for name in ("bias", "running_mean", "running_var"):
            vector, shape = getattr(part, name, None), _outputs(part)
            if isinstance(vector, Tensor) and shape is not None and tuple(vector.shape) != shape:
                raise CompressionError(
                    f"{layer}.{name} has shape {tuple(vector.shape)} in the file, its layer needs {shape}."
                )


def _outputs(layer: Any) -> tuple[int, ...] | None:
    """Return the shape that a layer's vectors have; None for a layer of a kind not known here."""
    if isinstance(layer, nn.Linear):
        return (layer.out_features,)
    if isinstance(layer, _CONVOLUTIONS):
        return (layer.out_channels,)
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        return (layer.num_features,)
    if isinstance(layer, nn.GroupNorm):
        return (layer.num_channels,)
    return tuple(layer.normalized_shape) if isinstance(layer, nn.LayerNorm) else None


def _on_meta(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """Copy a module without its memory."""
    memo: dict[int, object] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        value = torch.empty(shapes.get(name, tuple(tensor.shape)), dtype=tensor.dtype, device="meta")
        parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(value, tensor.requires_grad) if parameter else value
    return copy.deepcopy(model, memo).eval()


def _images(model: nn.Module) -> Iterator[Tensor]:
    """Yield inputs that the module may be made for, by its first layer."""
    first = next((m for m in model.modules() if isinstance(m, (nn.Linear, *_CONVOLUTIONS))), None)
    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if isinstance(first, nn.Linear):
        yield torch.empty((1, first.in_features), dtype=kind, device="meta")
    elif first is not None:
        for side in _SIDES:
            sides = (side,) * (first.weight.dim() - 2)
            yield torch.empty((1, first.in_channels, *sides), dtype=kind, device="meta")


def _fault(model: nn.Module, image: Tensor) -> str | None:
    """Run a module without numbers, and return what it complains of."""
    try:
        with torch.no_grad():
            model(image)
    except Exception as error:  # whatever the module's own code raises
        return (str(error) or type(error).__name__).splitlines()[0]
    return None
