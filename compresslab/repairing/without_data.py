"""Quantize without a single image: ranges made equal, and biases corrected by what the norms remember."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.tracing import trace
from compresslab.quantization.folding import fold_norms
from compresslab.quantization.layers import QuantizedLayer
from compresslab.quantization.quantizing import Schemes, quantize
from compresslab.repairing.equalizing import equalized

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def quantize_without_data(model: nn.Module, schemes: Schemes) -> nn.Module:
    """Fold norms, equalize ranges, quantize, and correct the biases that norms say something of.

    A batch norm knows the mean and the spread of what it lets through: its shift and its scale. After a
    ReLU the mean of a normal distribution is known in closed form, so the mean error of the layer that
    reads it is known, and goes into its bias. Without norms, only the ranges are made equal.

    Args:
        model: a network in floats. It is not changed.
        schemes: as in ``quantize``, for the network with its norms folded.

    Returns:
        A new model that holds codes, in evaluation mode.

    Raises:
        CompressionError: as ``quantize``, ``fold_norms`` and ``equalize``.

    Source: Nagel et al., Data-Free Quantization, 2019, sections 4.1 and 4.2 (arXiv:1906.04721).
    Chapter: 19.
    """
    means = _means(model)
    folded = fold_norms(model)
    try:
        even, factors = equalized(folded)
    except CompressionError:
        even, factors = folded, {}
    result = quantize(even, schemes)
    for name, mean in means.items():
        layer: Any = result.get_submodule(name)
        if isinstance(layer, QuantizedLayer) and isinstance(layer.bias, Tensor):
            change = layer.weight - even.get_submodule(name).weight
            read = change.flatten(2).sum(2) if change.dim() > 2 else change
            mean = mean.to(read) * factors.get(name, torch.ones_like(mean)).to(read)
            layer.bias.sub_(read @ mean)
    return result


def mean_after_relu(
    mean: Float[Tensor, " channels"], spread: Float[Tensor, " channels"]
) -> Float[Tensor, " channels"]:
    """Return the mean of ``max(0, x)`` where x is normal.

    >>> mean_after_relu(torch.tensor([0.0]), torch.tensor([1.0]))
    tensor([0.3989])
    """
    at = mean / spread.clamp(min=1e-12)
    density = torch.exp(-at.square() / 2) / math.sqrt(2 * math.pi)
    return spread * density + mean * (1 + torch.erf(at / math.sqrt(2))) / 2


def _means(model: nn.Module) -> dict[str, Float[Tensor, " channels"]]:
    """Return the mean inputs of the layers that read a norm through a ReLU alone."""
    modules, found = dict(model.named_modules()), {}
    for node in trace(model).nodes:
        norm: Any = modules.get(str(node.target)) if node.op == "call_module" else None
        if type(norm) not in _NORMS or not norm.affine or len(node.users) != 1:
            continue
        relu = next(iter(node.users))
        is_relu = relu.op == "call_module" and type(modules[str(relu.target)]) is nn.ReLU
        if not is_relu and relu.target not in (torch.relu, nn.functional.relu, "relu"):
            continue
        for reader in relu.users:
            layer: Any = modules.get(str(reader.target)) if reader.op == "call_module" else None
            if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear) and getattr(layer, "groups", 1) == 1:
                found[str(reader.target)] = mean_after_relu(norm.bias.detach(), norm.weight.detach().abs())
    return found
