"""Mend a network after its weights were changed: what stays takes over what went, by least squares."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.checking import copy_of
from compresslab.repairing.moments import Moments, can_be_seen, moments_of, order_of
from compresslab.repairing.reconstructing import damped, inputs_of
from compresslab.repairing.rounding import check_damping
from compresslab.training.batching import Batches


@torch.no_grad()
def mend(model: nn.Module, reference: nn.Module, batches: Batches, damping: float = 0.1) -> nn.Module:
    """Give the weights that pruning left the values with which each layer answers as before; zeros stay zero.

    Layer after layer: what a layer reads in the pruned network and what it should answer, as in the
    reference, make a least-squares problem for the weights that are not zero, and for the bias. A neuron
    whose row is zero stays as it is, so that ``drop_dead`` can cut it: zero the rows of the neurons
    that go, mend, drop.

    Args:
        model: a network in floats with zeros. It is not changed.
        reference: the network before pruning, of the same layers.
        batches: some images of the training split; labels are not needed.
        damping: this times the mean square of a layer's inputs pulls the weights to the values they have;
            above 0, larger for fewer images.

    Returns:
        A new model; layers that are no linear ones and no convolutions over one or two axes are as they were.

    Raises:
        CompressionError: the two do not have the same layers, or there are no images.

    Source: Hassibi, Stork, Optimal Brain Surgeon, 1992, for all weights of a row at once; SparseGPT,
    Frantar, Alistarh, 2023 (arXiv:2301.00774), does it column by column.
    Chapter: 19.

    >>> seen = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    >>> before, after = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    >>> _ = before.weight.data.copy_(torch.tensor([[1.0, 0.5]]))
    >>> _ = after.weight.data.copy_(torch.tensor([[1.0, 0.0]]))
    >>> [round(weight, 3) for weight in mend(after, before, seen, damping=1e-6).weight[0].tolist()]
    [1.5, 0.0]
    """
    check_damping(damping)
    result, twin = copy_of(model), copy_of(reference)
    inputs = inputs_of(batches, "mend")
    for name in order_of(result, _common(result, twin), inputs[0]):
        layer: Any = result.get_submodule(name)
        seen = moments_of(result, twin, name, inputs)
        _refit(layer, twin.get_submodule(name), seen, damping)
    return result


@torch.no_grad()
def correct_biases(model: nn.Module, reference: nn.Module, batches: Batches) -> nn.Module:
    """Move each bias so that the layer's outputs have the mean that they have in the reference.

    Why: a changed weight shifts what a neuron says by a number that is nearly the same for every image, and a
    bias can take that back, for nothing.

    Args:
        model: a changed network: quantized, pruned. It is not changed.
        reference: the network before, of the same layers.
        batches: some images; labels are not needed.

    Returns:
        A new model. Layers without a bias, or of kinds that ``mend`` does not know, are as they were.

    Raises:
        CompressionError: as for ``mend``.

    Source: Nagel et al., Data-Free Quantization, 2019, section 4.2 (arXiv:1906.04721).
    Chapter: 19.
    """
    result, twin = copy_of(model), copy_of(reference)
    inputs = inputs_of(batches, "correct_biases")
    for name in order_of(result, _common(result, twin), inputs[0]):
        layer: Any = result.get_submodule(name)
        if layer.bias is not None:
            seen = moments_of(result, twin, name, inputs)
            now = layer.weight.double().flatten(1).unflatten(0, (len(seen.inputs), -1))
            other: Any = twin.get_submodule(name)
            there = other.bias
            layer.bias.copy_((0 if there is None else there) + seen.shift(now, 0.0).flatten().to(layer.bias))
    return result


def _common(model: nn.Module, reference: nn.Module) -> list[str]:
    """Return the layers that can be mended; both networks must have them, in the same shapes."""
    names = []
    twins = dict(reference.named_modules())
    for name, layer in model.named_modules():
        if not can_be_seen(layer):
            continue
        twin = twins.get(name)
        shape, other = (tuple(getattr(one, "weight", torch.zeros(0)).shape) for one in (layer, twin))
        if shape != other:
            raise CompressionError(
                f"Layer {name!r:.80} has a weight of shape {shape}, and the reference one of {other}; "
                "give the network from which this one was made, and mend before neurons are cut out."
            )
        names.append(name)
    return names


def _refit(layer: Any, twin: Any, seen: Moments, damping: float) -> None:
    """Solve for the weights of one layer that are not zero, and for its bias, in place."""
    if layer.weight.requires_grad is None or "weight" not in layer._parameters:
        raise CompressionError(f"{type(layer).__name__} holds codes; mend before quantize.")
    metrics, products = seen.normal(damping, layer.bias is not None)
    old = layer.weight.double().flatten(1).unflatten(0, (len(metrics), -1))
    new = torch.stack([
        kept_weights(rows, damped(metric, damping), product + rows @ (damped(metric, damping) - metric))
        for rows, metric, product in zip(old, metrics, products, strict=True)
    ])  # fmt: skip
    layer.weight.copy_(new.flatten(0, 1).reshape(layer.weight.shape))
    if layer.bias is not None:
        alive = (old != 0).any(-1).flatten()
        there = 0 if twin.bias is None else twin.bias
        moved = there + seen.shift(new, damping).flatten().to(layer.bias)
        layer.bias.copy_(torch.where(alive, moved, layer.bias))


def kept_weights(
    rows: Float[Tensor, "outputs columns"],
    metric: Float[Tensor, "columns columns"],
    product: Float[Tensor, "outputs columns"],
) -> Float[Tensor, "outputs columns"]:
    """Solve ``w A = b`` for the entries of each row that are not zero; the others stay zero.

    >>> metric = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> kept_weights(torch.tensor([[1.0, 0.0]]), metric, torch.tensor([[3.0, 9.0]]))
    tensor([[1.5000, 0.0000]])
    """
    kept: Bool[Tensor, "outputs columns"] = rows != 0
    result = torch.zeros_like(rows)
    patterns, of = torch.unique(kept, dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):  # rows with the same zeros are one problem
        places, here = pattern.nonzero()[:, 0], (of == number).nonzero()[:, 0]
        if len(places):
            root = torch.linalg.cholesky(metric[places[:, None], places])
            solved = torch.cholesky_solve(product[here[:, None], places].T, root).T
            result[here[:, None], places] = solved
    return result
