"""Layers that hold codes in the place of weights: each stays what it was, and decodes when it computes."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.parameters import channel_axis
from compresslab.quantization.fake import float_weight
from compresslab.quantization.scheme import QuantizedTensor


class QuantizedLayer(nn.Module):
    """Hold weights of a layer as codes, and decode each whenever the layer asks for it.

    ``hold_codes`` turns any layer into one, of a class made of this one and the layer's own: its forward
    method, hooks, biases and attributes stay. Memory holds the codes, one byte each, and their parameters;
    the file packs them tighter. The arithmetic is that of floats: this saves bytes, not time.

    Chapter: 02.
    """

    float_class: type[nn.Module]  # what the layer was

    @property
    def quantized_weights(self) -> dict[str, QuantizedTensor]:
        """The codes of every weight that has some, by its name; output channels are their first axis."""
        return {name: self._codes(name) for name in self.__dict__["coded"]}

    @property
    def quantized(self) -> QuantizedTensor:
        """The codes of ``weight``, or of the first weight that has some."""
        held = self.__dict__["coded"]
        return self._codes("weight" if "weight" in held else next(iter(held)))

    def _codes(self, name: str) -> QuantizedTensor:
        scheme, _ = self.__dict__["coded"][name]
        parameters = {key: self.get_buffer(f"{name}_{key}") for key in scheme.row_layout()}
        return QuantizedTensor(scheme, self.get_buffer(f"{name}_codes"), parameters)

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__.get("coded", ()):
            return super().__getattr__(name)
        _, dtype = self.__dict__["coded"][name]
        values = self._codes(name).dequantize().to(dtype)
        return values.transpose(0, channel_axis(self)) if values.dim() > 1 else values

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move as any module does; a new precision is that of the decoded weights, not of their scales."""
        coded = self.__dict__["coded"]
        keys = (f"{name}_{key}" for name, (scheme, _) in coded.items() for key in scheme.row_layout())
        scales = {id(self.get_buffer(key)) for key in keys}
        for name, (scheme, dtype) in coded.items():
            coded[name] = scheme, fn(torch.empty(0, dtype=dtype)).dtype

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            same = moved.dtype == tensor.dtype or id(tensor) not in scales
            return moved if same else tensor.to(moved.device)

        return super()._apply(move, recurse)

    def extra_repr(self) -> str:
        held = ((name, scheme) for name, (scheme, _) in self.__dict__["coded"].items())
        schemes = (f"{scheme}" if name == "weight" else f"{name}: {scheme}" for name, scheme in held)
        return ", ".join(filter(None, (super().extra_repr(), *schemes)))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle by what the layer was: the class of its codes is made where it is needed."""
        return _blank, (self.float_class,), self.__getstate__()


class _Recurrent(QuantizedLayer):
    """Torch's recurrent layers keep a list of their weights, which here would hold the decoded ones."""

    @property
    def _flat_weights(self) -> list[Tensor | None]:
        return [getattr(self, name, None) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor | None]) -> None:
        """Do not keep them."""


@cache
def _class_with_codes(kind: type[nn.Module]) -> type[nn.Module]:
    base = _Recurrent if issubclass(kind, nn.RNNBase) else QuantizedLayer
    named: Any = type(f"Quantized{kind.__name__}", (base, kind), {"float_class": kind})
    return named


def _blank(kind: type[nn.Module]) -> nn.Module:
    made = _class_with_codes(kind)
    return made.__new__(made)


def hold_codes(layer: nn.Module, name: str, quantized: QuantizedTensor) -> None:
    """Let a layer hold codes in the place of one of its weights, in place.

    Why in place: whoever holds the layer, a plain list or a second module, goes on with the same one. The
    codes have the output channels first: those of a transposed convolution are of ``weight.transpose(0, 1)``.

    Raises:
        CompressionError: the layer has attributes of the names that the codes need.
    """
    dtype = float_weight(layer, name).dtype
    _drop_parametrizations(layer)
    taken = [f"{name}_{key}" for key in ("codes", *quantized.parameters) if hasattr(layer, f"{name}_{key}")]
    if taken or (hasattr(layer, "coded") and not isinstance(layer, QuantizedLayer)):
        raise CompressionError(
            f"{type(layer).__name__} has an attribute {(taken or ['coded'])[0]!r:.80}, which its codes need; "
            "rename it, or leave this layer in floats: {'its name': None}."
        )
    layer.__dict__.pop("_flat_weights", None)
    delattr(layer, name)
    if not isinstance(layer, QuantizedLayer):
        layer.__dict__["coded"] = {}
        layer.__class__ = _class_with_codes(type(layer))
    layer.__dict__["coded"][name] = quantized.scheme, dtype
    for key, tensor in {"codes": quantized.codes, **quantized.parameters}.items():
        layer.register_buffer(f"{name}_{key}", tensor)


def _drop_parametrizations(layer: nn.Module) -> None:
    """Put the floats that trained back; torch's own way would change the class, which copies share."""
    made: Any = layer._modules.pop("parametrizations", None)
    if made is not None:
        layer.__class__ = type(layer).__bases__[0]
        for name, held in made.items():
            layer.register_parameter(name, held.original)


def quantized_like(layer: nn.Module, quantized: QuantizedTensor, name: str = "weight") -> nn.Module:
    """Return a copy of a float layer that holds codes.

    Raises:
        CompressionError: it has no such weight, or one of another shape.
    """
    weight = getattr(layer, name, None)
    if not isinstance(weight, Tensor):
        raise CompressionError(f"{type(layer).__name__} cannot be quantized; it has no {name!r:.80}.")
    shape = tuple(weight.transpose(0, channel_axis(layer)).shape)
    if shape != quantized.shape:
        raise CompressionError(
            f"A weight of shape {quantized.shape} was given for a layer that has {shape}. "
            "Quantize the weight of this layer."
        )
    result = copy.deepcopy(layer)
    hold_codes(result, name, quantized)
    return result


def replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer at a dotted name of a model, in place; keep it in training or evaluation mode."""
    parent, _, child = name.rpartition(".")
    holder = model.get_submodule(parent)
    layer.train(getattr(holder, child).training)
    setattr(holder, child, layer)
