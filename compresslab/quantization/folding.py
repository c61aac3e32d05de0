"""Fold batch norms into the convolutions before them: fewer operations, the same function."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from compresslab.errors import CompressionError
from compresslab.models.checking import copy_of
from compresslab.models.tracing import has_hooks, trace
from compresslab.quantization.layers import replace

_FOLDING = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))


def fold_norms(model: nn.Module) -> nn.Module:
    """Return a copy in which batch norms have become part of the convolutions before them.

    In evaluation a norm is the affine map ``y = a * x + b`` of each channel, with
    ``a = gamma / sqrt(var + eps)`` and ``b = beta - a * mean``. A convolution followed by it is a
    convolution with weight ``a * w`` and bias ``a * c + b``. The outputs agree to float rounding.
    A convolution that others read too, that runs twice or has hooks keeps its norm.

    Args:
        model: a network in floats; its norms' running statistics are used.

    Returns:
        A new model with ``nn.Identity`` where the folded norms were, in evaluation mode.

    Raises:
        CompressionError: the network cannot be traced, or a norm has no running statistics.

    Source: Jacob et al., 2018, section 3.2, equation 14 (arXiv:1712.05877).
    Chapter: 08.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    >>> [type(layer).__name__ for layer in fold_norms(net)]
    ['Conv2d', 'Identity']
    """
    result = copy_of(model).eval()
    for conv_name, norm_name in list(_pairs(result)):
        conv, norm = result.get_submodule(conv_name), result.get_submodule(norm_name)
        mean, variance = norm.running_mean, norm.running_var
        if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):  # computed from each batch
            raise CompressionError(
                f"The norm {norm_name!r} keeps no running statistics, so it is no fixed map and cannot be "
                "folded; train it with track_running_stats=True."
            )
        _fold(conv, norm, mean, variance)
        replace(result, norm_name, nn.Identity())
    return result


def _pairs(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Find each convolution whose only reader is a batch norm; both run once, else folding changes more."""
    graph = trace(model)
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        conv, norm = (model.get_submodule(str(one.target)) for one in (before, node))
        once = len(before.users) == calls[before.target] == calls[node.target] == 1
        if once and (type(conv), type(norm)) in _FOLDING and not has_hooks(conv) and not has_hooks(norm):
            yield str(before.target), str(node.target)


@torch.no_grad()
def _fold(conv: Any, norm: Any, mean: Tensor, variance: Tensor) -> None:
    factor = (variance.double() + norm.eps).rsqrt()  # float64: one rounding instead of five
    shift = -mean * factor
    if norm.affine:
        factor, shift = factor * norm.weight, shift * norm.weight + norm.bias
    bias = shift if conv.bias is None else shift + factor * conv.bias
    learns = (conv.weight if conv.bias is None else conv.bias).requires_grad  # what was frozen stays so
    conv.weight.copy_(conv.weight * factor.reshape(-1, *[1] * (conv.weight.dim() - 1)))
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), learns)
