"""Quantize a network so that its layers answer as before: few images choose the codes, nothing trains."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from compresslab.errors import CompressionError, whole
from compresslab.models.checking import copy_of
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.layers import QuantizedLayer
from compresslab.quantization.quantizing import Schemes, quantize
from compresslab.repairing.moments import Moments, can_be_seen, moments_of, order_of
from compresslab.repairing.rounding import ColumnByColumn, Rounding
from compresslab.training.augmenting import random_affine
from compresslab.training.batching import Batches, Split, each, small

_AT_ONCE = 64  # images in one pass
_BY_COLUMN = ColumnByColumn()

Images = Float[Tensor, "images channels height width"]


@torch.no_grad()
def reconstruct(
    model: nn.Module,
    schemes: Schemes,
    batches: Batches,
    *,
    rounding: Rounding = _BY_COLUMN,
    plain: bool = False,
) -> nn.Module:
    """Quantize as ``quantize`` does, but choose the codes by what the layers read and should answer.

    Layer after layer, in the order in which they run: each reads what the quantized layers before it give,
    and should answer what it answers in the float network. Codes, scales and biases follow by least squares.

    Args:
        model: a network in floats. It is not changed.
        schemes: as in ``quantize``; a scheme that stores a scale has it fitted to the outputs too.
        batches: some images of the training split; labels are not needed. ``more_of`` makes more of few.
        rounding: how the codes are chosen.
        plain: let weights that cannot be reconstructed (of other layers than linear ones and convolutions
            over one or two axes, tied, or in groups without PerChannel) be rounded to nearest.

    Returns:
        A new model that holds codes, as ``quantize`` makes it, in the argument's mode.

    Raises:
        CompressionError: as in ``quantize``; there are no images; a layer cannot be reconstructed.

    Chapter: 19.

    >>> from compresslab import Symmetric
    >>> seen = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    >>> net = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, 0.4]]))
    >>> for network in (net, quantize(net, Symmetric(2)), reconstruct(net, Symmetric(2), seen)):
    ...     print([round(answer, 2) for answer in network(seen).flatten().tolist()])
    [1.4, 2.8]
    [1.0, 2.0]
    [1.31, 2.62]
    """
    result, reference = quantize(model, schemes), copy_of(model)
    inputs = inputs_of(batches, "reconstruct")
    names, others = _seen(result, reference)
    order = order_of(result, names, inputs[0])
    others += [f"{name} (never run)" for name in names if name not in order]
    if others and not plain:
        raise CompressionError(
            f"These weights cannot be reconstructed: {', '.join(others):.200}. plain=True rounds them to "
            "nearest; {'the name': None} among the schemes leaves one in floats."
        )
    for name in order:
        seen = moments_of(result, reference, name, inputs)
        _choose(result.get_submodule(name), reference.get_submodule(name), seen, rounding)
    return result


def inputs_of(batches: Batches, verb: str) -> list[Any]:
    """Return the inputs of all batches, cut into small ones."""
    return [part.inputs for part in small(each(batches, verb), _AT_ONCE)]


def more_of(
    images: Images | Split, times: int, generator: torch.Generator
) -> Float[Tensor, "more channels height width"]:
    """Return few images with many more that are made of them: turned any way, resized, slanted, moved.

    Why: what a layer reads has many directions, and a few images show few of them. The label of a 6 that
    stands on its head is gone, but no label is asked: the float network says what the layers should answer.

    Args:
        times: how many images are made of each, besides itself.

    Chapter: 19.

    >>> more_of(torch.zeros(2, 1, 28, 28), 3, torch.Generator()).shape
    torch.Size([8, 1, 28, 28])
    """
    whole(times, "how many images to make of each", 0)
    given = images.images if isinstance(images, Split) else images
    made = (random_affine(given, generator, 180.0, 0.15, 0.4, 45.0) for _ in range(times))
    return torch.cat([given, *made])


def damped(metric: Float[Tensor, "columns columns"], damping: float) -> Float[Tensor, "columns columns"]:
    """Add to the diagonal a part of its mean: what few images do not show counts a little, all alike."""
    return damped_in_place(metric.clone(), damping)


def damped_in_place(metric: Float[Tensor, "n n"], damping: float) -> Float[Tensor, "n n"]:
    """Do the same to a metric that nothing else needs: one of 4,608 columns takes 170 MB."""
    mean = float(metric.diagonal().mean())
    metric.diagonal().add_(damping * (mean if mean > 0 else 1.0))
    return metric


def _seen(result: nn.Module, reference: nn.Module) -> tuple[list[str], list[str]]:
    """Return the layers whose weights can be reconstructed, and the names of the other quantized weights."""
    layers = {name: layer for name, layer in result.named_modules() if isinstance(layer, QuantizedLayer)}
    codes = [id(layer.quantized.codes) for layer in layers.values()]
    names, others = [], []
    for name, layer in layers.items():
        twin = reference.get_submodule(name)
        if isinstance(twin, QuantizedLayer):
            continue  # it came as codes
        alone = codes.count(id(layer.quantized.codes)) == 1
        fits = getattr(twin, "groups", 1) == 1 or isinstance(layer.quantized.scheme.granularity, PerChannel)
        (names if alone and fits and can_be_seen(twin) else others).append(name)
    return names, others


def _choose(layer: Any, twin: Any, seen: Moments, rounding: Rounding) -> None:
    """Put better codes, parameters and biases into a quantized layer, in place."""
    scheme, has_bias = layer.quantized.scheme, getattr(layer, "bias", None) is not None
    weight = twin.weight.detach()
    metrics, products = seen.normal(rounding.damping, has_bias)
    parts = weight.flatten(1).unflatten(0, (len(metrics), -1))
    chosen = []
    for rows, metric, product in zip(parts, metrics, products, strict=True):
        best, damp = _best(rows.double(), metric, product, rounding.damping)
        code = scheme.quantize(best.float().reshape(-1, *weight.shape[1:]))
        chosen.append(rounding.round(best.float(), damp.float(), code))
    for key in ("codes", *chosen[0].parameters):
        pieces = [code.codes if key == "codes" else code.parameters[key] for code in chosen]
        layer.get_buffer(f"weight_{key}").copy_(torch.cat(pieces))
    if has_bias:
        now = layer.weight.double().flatten(1).unflatten(0, (len(metrics), -1))
        layer.bias.add_(seen.shift(now, rounding.damping).flatten().to(layer.bias))


def _best(
    rows: Float[Tensor, "outputs columns"], metric: Tensor, product: Tensor, damping: float
) -> tuple[Float[Tensor, "outputs columns"], Tensor]:
    """Return the weights with the least damped error of the outputs, were they free, and the metric, damped.

    The layers before may have changed, so these are not the float network's weights any more.
    """
    left = product - rows @ metric
    damp = damped_in_place(metric, damping)
    return rows + torch.cholesky_solve(left.T, torch.linalg.cholesky(damp)).T, damp
