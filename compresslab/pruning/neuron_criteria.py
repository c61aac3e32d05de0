"""How much each neuron matters: callables from (model, batches) to a score for every neuron of a layer.

A low score says that the neuron can go. The value of a neuron is what others read: its layer's output
after the norm, activation function and addition that follow. It is watched in one pass, in evaluation mode,
by walking the traced network, so that the model carries no hooks. Every score is a mean over images; how
they are cut into batches does not matter. What watches needs images, what asks the loss needs labels too.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from compresslab.errors import CompressionError
from compresslab.models.tracing import trace
from compresslab.pruning.activity import AT_ONCE, mean_over, slopes_at, watched, weights_times_slopes
from compresslab.pruning.selection import Scores
from compresslab.quantization.layers import QuantizedLayer
from compresslab.training.batching import Batches, labelled, small
from compresslab.training.loop import cross_entropy
from compresslab.training.metrics import Objective

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def mean_activation(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a neuron by the mean of its absolute value, over images and places of the map.

    Why: what is near zero adds little to what the next layer sees. How much that layer makes of it, and
    whether it is the same for all images, is not looked at.

    Args:
        model: a network that can be traced.
        batches: one or several Splits or image tensors; labels are not needed.

    Raises:
        CompressionError: there are no images, or the network has no graph.

    Source: Polyak, Wolf, IEEE Access 3, 2015, compare means and variances of activations.
    Chapter: 12.
    """
    return _means(model, batches, "mean_activation", torch.abs)


def apoz(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a neuron by how often it is not zero: 1 - APoZ, the average percentage of zeros.

    Why: after a ReLU a neuron that is zero on nearly all images tells little. Without a ReLU nothing is
    exactly zero, and all scores are 1.

    Source: Hu, Peng, Tai, Tang, Network Trimming, 2016, equation 1 (arXiv:1607.03250).
    Chapter: 12.
    """
    return _means(model, batches, "apoz", lambda values: (values != 0).to(values.dtype))


def activation_variance(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a neuron by the variance of its value over images and places of the map.

    Why: a neuron with the same value everywhere could be a bias of the next layer.

    Source: Polyak, Wolf, IEEE Access 3, 2015.
    Chapter: 12.
    """
    shifts: dict[str, Tensor] = {}  # variances are small differences of large squares without one

    def look(name: str, values: Tensor, dims: tuple[int, ...]) -> Tensor:
        shift = shifts.setdefault(name, values.mean((0, *dims), keepdim=True))
        moved = values - shift
        return torch.stack([mean_over(moved, dims), mean_over(moved.square(), dims)], -1)

    sums = watched(model, batches, "activation_variance", look)
    return {name: value[:, 1] - value[:, 0].square() for name, value in sums.items()}


def mean_gradient(
    model: nn.Module, batches: Batches | None = None, objective: Objective = cross_entropy
) -> Scores:
    """Score a neuron by the mean size of the loss's slope in its value, over images and places.

    Why it misleads: a small slope says that the loss does not mind a small change, and where training has
    ended it minds none. It does not say that the loss would not mind the neuron's absence.

    Args:
        model: a network that can be traced.
        batches: examples with targets, one Split or several.
        objective: the loss, from (model, inputs, targets); of several examples it is the mean.

    Raises:
        CompressionError: there are no images, or some without labels.

    Chapter: 13.
    """

    def probe(values: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        shift = torch.zeros_like(values, requires_grad=True)
        return shift, values + shift

    return slopes_at(model, batches, "mean_gradient", probe, objective)


def taylor(model: nn.Module, batches: Batches | None = None, objective: Objective = cross_entropy) -> Scores:
    """Score a neuron by what the loss of an image changes by if it becomes zero, to first order.

    That is ``|sum a * dL/da|`` over the places of its map, for each image by itself, then the mean over
    images. Seen otherwise: the slope of the loss in a factor of 1 on the whole map, and so it is computed.
    The source divides by the number of places and by the layer's norm; ``prune_neurons`` does the latter
    where layers are compared.

    Source: Molchanov, Tyree, Karras, Aila, Kautz, ICLR 2017, equations 7 and 8 (arXiv:1611.06440).
    Chapter: 13.
    """

    def probe(values: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        shape = [1 if axis in dims else size for axis, size in enumerate(values.shape)]
        factor = values.new_ones(shape, requires_grad=True)
        return factor, values * factor

    return slopes_at(model, batches, "taylor", probe, objective)


def taylor_weights(
    model: nn.Module, batches: Batches | None = None, objective: Objective = cross_entropy
) -> Scores:
    """Score a neuron by what the mean loss changes by if its weights and bias become zero, to first order.

    That is ``|sum w * dL/dw|`` over its incoming weights and its bias. Where a ReLU follows the layer it
    equals ``|mean a * dL/da|``: other than in ``taylor``, images with opposite signs cancel.

    Source: after Molchanov, Mallya, Tyree, Frosio, Kautz, CVPR 2019 (arXiv:1906.10771), who square it.
    Chapter: 13.
    """
    layers = _weighted(model)
    owned = [(n, k) for n, layer in layers.items() for k, _ in layer.named_parameters(recurse=False)]
    names = {f"{name}.{kind}".lstrip("."): name for name, kind in owned}
    parts = small(labelled(batches, model, "taylor_weights"), AT_ONCE)
    scores: dict[str, Tensor] = {}
    for name, values in weights_times_slopes(model, names, parts, objective, torch.float64).items():
        layer = names[name]
        rows = _rows(layers[layer], values).sum(1)
        scores[layer] = scores[layer] + rows if layer in scores else rows
    return {name: score.abs() for name, score in scores.items()}


@torch.no_grad()
def l1_norm(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a neuron by the sum of the absolute values of its incoming weights; no images are needed.

    Source: Li, Kadav, Durdanovic, Samet, Graf, ICLR 2017, section 3.1 (arXiv:1608.08710).
    Chapter: 14.

    >>> layer = nn.Linear(2, 2)
    >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, -4.0], [0.0, 1.0]]))
    >>> l1_norm(layer)[""].tolist(), l2_norm(layer)[""].tolist(), live_inputs(layer)[""].tolist()
    ([7.0, 1.0], [5.0, 1.0], [1.0, 0.5])
    """
    return {name: _rows(layer, layer.weight).abs().sum(1) for name, layer in _weighted(model).items()}


@torch.no_grad()
def l2_norm(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a neuron by the L2 norm of its incoming weights: what group lasso drives to zero.

    Source: Wen et al., NIPS 2016, equation 3 (arXiv:1608.03665).
    Chapter: 14.
    """
    return {name: _rows(layer, layer.weight).norm(dim=1) for name, layer in _weighted(model).items()}


@torch.no_grad()
def live_inputs(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a neuron by the share of its incoming weights that are not zero, after weight pruning.

    Why: a neuron without a live input says the same of every image.

    Chapter: 14.
    """
    return {name: (_rows(m, m.weight) != 0).float().mean(1) for name, m in _weighted(model).items()}


def norm_scale(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a neuron by the absolute value of its scale in the batch norm after its layer.

    Why: the norm makes all neurons equally large and the scale makes them different, so it alone says how
    large a neuron is. Train with ``penalties.Slimming`` first, or it says little. Layers without a norm
    get no scores: protect them.

    Raises:
        CompressionError: no layer is followed by a batch norm with scales.

    Source: Liu et al., Network Slimming, ICCV 2017, section 3 (arXiv:1708.06519).
    Chapter: 14.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    >>> _ = net[1].weight.data.copy_(torch.tensor([0.5, -1.0, 0.0]))
    >>> norm_scale(net)
    {'0': tensor([0.5000, 1.0000, 0.0000])}
    """
    layers, found = _weighted(model), {}
    for node in trace(model).nodes:
        norm = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or not norm.affine:
            continue
        before = node.args[0]
        if isinstance(before, fx.Node) and str(before.target) in layers:
            found[str(before.target)] = norm.weight.detach().abs()
    if not found:
        raise CompressionError(
            f"No layer of {type(model).__name__} is followed by a batch norm with scales; choose another "
            "criterion, or a network with norms such as models.residual()."
        )
    return found


def _weighted(model: nn.Module) -> dict[str, Any]:
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, _WEIGHTED)}
    if not found or any(isinstance(layer, QuantizedLayer) for layer in model.modules()):
        raise CompressionError(
            f"{type(model).__name__} has no linear or convolution layers in floats; prune before quantize."
        )
    return found


def _rows(layer: nn.Module, tensor: Tensor) -> Float[Tensor, "neurons values"]:
    """Lay out what belongs to each neuron: its incoming weights, or its bias."""
    turned = tensor.transpose(0, 1) if isinstance(layer, _TRANSPOSED) and tensor.dim() > 1 else tensor
    return turned.reshape(len(turned), -1)


def _means(
    model: nn.Module, batches: Batches | None, criterion: str, of: Callable[[Tensor], Tensor]
) -> Scores:
    """Return each neuron's mean of a function of its values."""
    return watched(model, batches, criterion, lambda _, values, dims: mean_over(of(values), dims))
