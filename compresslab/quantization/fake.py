"""Weights that train through quantization: the forward pass sees codes, the gradient reaches the floats."""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compresslab.errors import CompressionError
from compresslab.quantization.scheme import QuantizedTensor, Scheme, with_parameters
from compresslab.quantization.schemes import KMeans
from compresslab.quantization.uniform import Symmetric


class FakeQuantize(nn.Module):
    """Quantize and decode a weight at every step of training, and let the gradient pass straight through.

    The estimator pretends that rounding has gradient one, so the weight behind the codes keeps learning.

    Args:
        scheme: any of the six.
        weight: where a learned step starts from.
        learned_step: learn the scale too (Symmetric only), with the gradient of its own rounding
            error, divided by ``sqrt(columns * q)``.
        axis: of the weight's output channels, 1 in a transposed convolution.

    Raises:
        CompressionError: a learned step was asked of a scheme that has none, or, at a later call, has
            been driven to zero or below.

    Source: Bengio, Leonard, Courville, 2013 (arXiv:1308.3432); the learned step: Esser et al., LSQ,
    2020, section 2 (arXiv:1902.08153).
    Chapter: 07.
    """

    def __init__(self, scheme: Scheme, weight: Tensor, learned_step: bool = False, axis: int = 0) -> None:
        super().__init__()
        self.scheme, self.axis = scheme, axis
        step = _first_step(scheme, weight.transpose(0, axis)) if learned_step else None
        self.step = None if step is None else nn.Parameter(step)

    def __call__(self, weight: Tensor) -> Tensor:
        """Let ``forward`` see the output channels first."""
        return super().__call__(weight.transpose(0, self.axis)).transpose(0, self.axis)

    def forward(self, weight: Tensor) -> Tensor:
        if self.step is None:
            return straight_through(self.scheme.quantize(weight).dequantize().to(weight.dtype), weight)
        return self._through_learned(self.step, weight)

    def _through_learned(self, steps: Tensor, weight: Tensor) -> Tensor:
        granularity, blocks = self.scheme.granularity, []
        low, high = self.scheme.code_range
        if bad := int((~((steps > 0) & steps.isfinite())).sum()):
            raise CompressionError(
                f"{bad} of {len(steps)} learned steps of {self.scheme} are not positive and finite any more; "
                "train with a smaller learning rate."
            )
        for rows, own in with_parameters(granularity.split(weight.float()), {"step": steps[:, None]}):
            step = straight_through(own["step"], own["step"] * (rows.shape[1] * high) ** -0.5)
            code = (rows * (1 / step)).clamp(low, high)
            blocks.append(straight_through(code.round(), code) * step)
        return granularity.join(blocks, tuple(weight.shape)).to(weight.dtype)

    def freeze(self, weight: Tensor) -> QuantizedTensor:
        """Give the codes that training has been using, the output channels first."""
        given = None if self.step is None else {"scale": self.step.detach().clone()}
        return self.scheme.quantize(weight.transpose(0, self.axis), given)

    def extra_repr(self) -> str:
        return str(self.scheme) + (", learned step" if self.step is not None else "")


def straight_through(value: Tensor, source: Tensor) -> Tensor:
    """Give the value, and the gradient to its source.

    The difference is zero exactly, so that training sees the value to the last bit.

    >>> x = torch.tensor([0.3], requires_grad=True)
    >>> straight_through(x.round(), 5 * x)
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


def fake_quantizer(layer: nn.Module, name: str = "weight") -> FakeQuantize | None:
    """Return the fake quantization of a layer's weight, or None."""
    if not parametrize.is_parametrized(layer, name):
        return None
    first = _parametrizations(layer, name)[0]
    return first if isinstance(first, FakeQuantize) else None


def float_weight(layer: nn.Module, name: str = "weight") -> Tensor:
    """Return the float weight behind a layer, fake-quantized or not."""
    trained = fake_quantizer(layer, name) is not None
    return cast(Tensor, _parametrizations(layer, name).original if trained else getattr(layer, name))


def _parametrizations(layer: Any, name: str) -> parametrize.ParametrizationList:
    return layer.parametrizations[name]


class LearnedCodebook(FakeQuantize):
    """Bind every weight to the centroid it starts at, and let the centroids learn.

    The gradient of a centroid is the sum of the gradients of its weights; autograd finds it by itself,
    since decoding is a look-up. The float weights behind stay as they were. With ``keep_zero`` the
    centroid 0 does not move, so a pruned weight stays pruned.

    Source: Han, Mao, Dally, Deep Compression, 2016, section 3.3, equation 3 (arXiv:1510.00149).
    Chapter: 18.
    """

    codes: Tensor
    moves: Tensor

    def __init__(self, scheme: KMeans, weight: Tensor, axis: int = 0) -> None:
        super().__init__(scheme, weight, axis=axis)
        first = scheme.quantize(weight.detach().transpose(0, axis))
        self.centroids = nn.Parameter(first.parameters["centroids"].clone())
        self.register_buffer("codes", first.codes)
        fixed = (self.centroids == 0) & scheme.keep_zero
        self.register_buffer("moves", ~fixed)

    def forward(self, weight: Tensor) -> Tensor:
        centroids = torch.where(self.moves, self.centroids, self.centroids.detach())
        shared = QuantizedTensor(self.scheme, self.codes, {"centroids": centroids})
        return shared.dequantize().to(weight.dtype)

    def freeze(self, weight: Tensor) -> QuantizedTensor:
        """Give the codes and centroids that training has been using, the centroids in order again."""
        ordered = self.centroids.detach().sort(dim=1).values
        return self.scheme.quantize(self(weight).transpose(0, self.axis), {"centroids": ordered})

    def extra_repr(self) -> str:
        return f"{self.scheme}, learned codebook"
