"""Layers whose weight is stored as codes, and layers that train through quantization."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from compresslab.errors import CompressionError
from compresslab.quantization.fake import float_weight
from compresslab.quantization.scheme import QuantizedTensor


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
