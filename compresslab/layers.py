"""Layers whose weight is stored as codes, and layers that train through quantization."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from compresslab.errors import CompressionError
from compresslab.quantized import QuantizedTensor, Scheme
from compresslab.quantizers import Symmetric


class QuantizedLayer(nn.Module):
    """Hold a weight as codes; decode it at every call.

    Memory holds the codes, one byte each, and the parameters; the file packs them tighter. The
    arithmetic is that of floats, in the type of the input: this layer saves bytes, not time.

    Args:
        quantized: the weight.
        bias: left as it is, in floats.

    Chapter: 02.
    """

    codes: Tensor
    bias: nn.Parameter | None

    def __init__(self, quantized: QuantizedTensor, bias: Tensor | None) -> None:
        super().__init__()
        self.scheme = quantized.scheme
        self.register_buffer("codes", quantized.codes)
        for name, value in quantized.parameters.items():
            self.register_buffer(name, value)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    @property
    def quantized(self) -> QuantizedTensor:
        """The codes with their parameters."""
        names = self.scheme.row_layout()
        return QuantizedTensor(self.scheme, self.codes, {name: self.get_buffer(name) for name in names})

    @property
    def weight(self) -> Float[Tensor, "..."]:
        """The decoded weight, float32."""
        return self.quantized.dequantize()

    def extra_repr(self) -> str:
        return f"{' x '.join(map(str, self.codes.shape))}, {self.scheme}"


class QuantizedLinear(QuantizedLayer):
    """Multiply by a weight that is stored as codes; see ``QuantizedLayer``."""

    def __init__(self, quantized: QuantizedTensor, bias: Tensor | None = None) -> None:
        super().__init__(quantized, bias)
        self.out_features, self.in_features = quantized.shape

    def forward(self, x: Float[Tensor, "... in_features"]) -> Float[Tensor, "... out_features"]:
        return F.linear(x, self.weight.to(x.dtype), self.bias)


class QuantizedConv2d(QuantizedLayer):
    """Convolve with a weight that is stored as codes; see ``QuantizedLayer``.

    Args:
        quantized: the weight, out_channels x in_channels / groups x height x width.
        like: the layer whose stride, padding, dilation, groups and bias to keep.

    Raises:
        CompressionError: the padding of that layer is not with zeros.
    """

    def __init__(self, quantized: QuantizedTensor, like: nn.Conv2d) -> None:
        if like.padding_mode != "zeros":
            raise CompressionError(
                f"A convolution with padding_mode={like.padding_mode!r} was asked; only 'zeros' is "
                "supported. Leave that layer in floats: {'its name': None}."
            )
        super().__init__(quantized, like.bias)
        self.in_channels, self.out_channels, self.groups = like.in_channels, like.out_channels, like.groups
        self.kernel_size, self.stride = like.kernel_size, like.stride
        self.padding, self.dilation = like.padding, like.dilation

    def forward(self, x: Float[Tensor, "batch in h w"]) -> Float[Tensor, "batch out h2 w2"]:
        weight = self.weight.to(x.dtype)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def quantized_like(layer: nn.Module, quantized: QuantizedTensor) -> QuantizedLayer:
    """Make the quantized counterpart of a float layer.

    Raises:
        CompressionError: the layer is neither linear nor a two-dimensional convolution, or the
            shapes differ.
    """
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        raise CompressionError(f"{type(layer).__name__} cannot be quantized; nn.Linear and nn.Conv2d can.")
    shape = tuple(float_weight(layer).shape)
    if shape != quantized.shape:
        raise CompressionError(
            f"A weight of shape {quantized.shape} was given for a layer that has {shape}. "
            "Quantize the weight of this layer."
        )
    if isinstance(layer, nn.Linear):
        return QuantizedLinear(quantized, layer.bias)
    return QuantizedConv2d(quantized, layer)


def replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer at a dotted name of a model, in place; keep it in training or evaluation mode."""
    parent, _, child = name.rpartition(".")
    holder = model.get_submodule(parent)
    layer.train(getattr(holder, child).training)
    setattr(holder, child, layer)


class FakeQuantize(nn.Module):
    """Quantize and decode a weight at every step of training, and let the gradient pass straight through.

    Rounding has gradient zero almost everywhere; the straight-through estimator pretends that it is
    one, so the float weight behind the codes keeps learning.

    Args:
        scheme: any of the six.
        weight: where a learned step starts from.
        learned_step: learn the scale too (Symmetric only), with the gradient of its own rounding
            error, divided by ``sqrt(columns * q)``.

    Raises:
        CompressionError: a learned step was asked of a scheme that has none, or, at a later call, has
            been driven to zero or below.

    Source: Bengio, Leonard, Courville, 2013 (arXiv:1308.3432); the learned step: Esser et al., LSQ,
    2020, section 2 (arXiv:1902.08153).
    Chapter: 07.
    """

    def __init__(self, scheme: Scheme, weight: Tensor, learned_step: bool = False) -> None:
        super().__init__()
        self.scheme = scheme
        self.step = nn.Parameter(_first_step(scheme, weight)) if learned_step else None

    def forward(self, weight: Tensor) -> Tensor:
        if self.step is None:
            return _straight_through(self.scheme.quantize(weight).dequantize().to(weight.dtype), weight)
        return self._through_learned(self.step, weight)

    def _through_learned(self, steps: Tensor, weight: Tensor) -> Tensor:
        granularity, blocks, start = self.scheme.granularity, [], 0
        low, high = self.scheme.code_range
        _check_steps(steps, self.scheme)
        for rows in granularity.split(weight.float()):
            step = steps[start : (start := start + len(rows)), None]
            step = _straight_through(step, step * (rows.shape[1] * high) ** -0.5)
            code = (rows * (1 / step)).clamp(low, high)
            blocks.append(_straight_through(code.round(), code) * step)
        return granularity.join(blocks, tuple(weight.shape)).to(weight.dtype)

    def freeze(self, weight: Tensor) -> QuantizedTensor:
        """Give the codes that training has been using."""
        if self.step is None:
            return self.scheme.quantize(weight)
        return self.scheme.quantize(weight, {"scale": self.step.detach().clone()})

    def extra_repr(self) -> str:
        return str(self.scheme) + (", learned step" if self.step is not None else "")


def _straight_through(value: Tensor, source: Tensor) -> Tensor:
    """Give the value, and the gradient to its source.

    The difference is zero exactly, so that training sees the value to the last bit.

    >>> x = torch.tensor([0.3], requires_grad=True)
    >>> _straight_through(x.round(), 5 * x)
    tensor([0.], grad_fn=<AddBackward0>)
    >>> torch.autograd.grad(_, x)
    (tensor([5.]),)
    """
    return value.detach() + (source - source.detach())


def _first_step(scheme: Scheme, weight: Tensor) -> Float[Tensor, " rows"]:
    """Start each row's step at ``2 * mean |w| / sqrt(q)``; at 1 in a row of zeros."""
    if not isinstance(scheme, Symmetric):
        raise CompressionError(
            f"A learned step was asked for {scheme}; only Symmetric has one (and KMeans learns centroids). "
            "Use one of these, or learned_step=False."
        )
    blocks = scheme.granularity.split(weight.detach().float())
    means = torch.cat([block.abs().mean(dim=1) for block in blocks])
    steps = (2 * means / scheme.code_range[1] ** 0.5).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.where(means == 0, 1.0, steps)


def _check_steps(steps: Tensor, scheme: Scheme) -> None:
    """Refuse steps that an optimizer has driven out of their range."""
    if bad := int((~((steps > 0) & steps.isfinite())).sum()):
        raise CompressionError(
            f"{bad} of {len(steps)} learned steps of {scheme} are not positive and finite any more; "
            "train with a smaller learning rate."
        )


def fake_quantizer(layer: nn.Module) -> FakeQuantize | None:
    """Return the fake quantization of a layer's weight, or None."""
    found = _parametrizations(layer)
    first = found[0] if found is not None else None
    return first if isinstance(first, FakeQuantize) else None


def float_weight(layer: nn.Module) -> Tensor:
    """Return the float weight behind a layer, fake-quantized or not."""
    found = _parametrizations(layer)
    if found is not None and fake_quantizer(layer) is not None:
        return cast(Tensor, found.original)
    return cast(Tensor, layer.weight)


def _parametrizations(layer: nn.Module) -> parametrize.ParametrizationList | None:
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    return cast(parametrize.ParametrizationList, cast(nn.ModuleDict, layer.parametrizations)["weight"])
