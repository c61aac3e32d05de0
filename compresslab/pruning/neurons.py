"""Make a network smaller by whole neurons: those that a criterion scores least are cut out."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from compresslab.errors import CompressionError, whole
from compresslab.measuring.costs import count_macs
from compresslab.models.checking import check_model
from compresslab.models.inputs import Inputs, fitted
from compresslab.models.parameters import Weight, assigned, layer_weights
from compresslab.models.tracing import evaluating
from compresslab.pruning.criteria import Criterion
from compresslab.pruning.selection import Scores, Share, count_of, refuse_nan, scopes, scores_by, smallest
from compresslab.storage.container import encode
from compresslab.surgery.cutting import cut
from compresslab.surgery.graph import Graph, Group, example_of, graph_of
from compresslab.surgery.readers import ignoring
from compresslab.training.batching import Batch, Batches, first_images, held
from compresslab.training.metrics import Objective
from compresslab.training.weights import check_collection

_STEPS = 10  # halvings of the share in the search for a budget: to a thousandth


def prune_neurons(
    model: nn.Module,
    criterion: Criterion,
    share: Share | None = None,
    *,
    batches: Batches | None = None,
    objective: Objective | None = None,
    per_layer: bool = True,
    normalise: bool = True,
    minimum: int | None = None,
    multiple: int | None = None,
    protect: Collection[Any] = (),
    max_macs: int | None = None,
    max_bytes: int | None = None,
    example: Inputs | None = None,
    before_cut: Callable[[nn.Module], nn.Module] | None = None,
) -> nn.Module:
    """Cut the least important neurons out: the tensors get shorter, and no mask remains.

    A neuron is an output of a linear layer or a channel of a convolution. Layers whose outputs are added
    share their neurons, which go from all of them at once; print ``graph.graph_of(model)`` to see which.
    The network's inputs and outputs stay as they are. Removing a share p of all channels leaves about
    (1 - p)^2 of a convolution's weights and work. Scores are divided by the root of each layer's mean square;
    neurons of several layers get the mean of theirs, and scores of single weights are averaged over a neuron.

    Args:
        model: any network in floats that torch.fx can trace. It is not changed.
        criterion: scores every neuron, for example ``criteria.taylor``.
        share: what goes, a float from 0.0 to 1.0 of every group of tied layers; or a mapping from layers, by
            name, pattern (``"encoder.*"``) or type, to shares: ``"*"`` is every other (without it they stay).
        batches: what a criterion looks at, from the training split.
        objective: the loss for a criterion that asks it, from (model, inputs, targets).
        per_layer: False compares the neurons of all layers, and takes the share of all together.
        normalise: False takes the scores as they are, in one unit for all layers; network slimming compares
            the scales of all norms like this.
        minimum: how many neurons every layer keeps. Without it a share that would empty one is refused.
        multiple: let every group keep a multiple of this many, rounded up, or all; 8 suits many kernels.
        protect: layers that keep all neurons, as in ``share``.
        max_macs: instead of a share, the multiplications with addition that one image may take; the
            smallest share that fits is found, to a thousandth.
        max_bytes: the same for the bytes of the saved file.
        example: what the network reads, if no batches show it; the book's networks need none.
        before_cut: makes the network that is cut, of a copy that ignores what goes; ``repairing.mend`` can.

    Returns:
        A new, smaller model in the same mode, with exactly ``round(share * n)`` of the n neurons of every
        group gone, halves to even. Among equal scores the earlier neurons go.

    Raises:
        CompressionError: the network cannot be traced; the share is an int, out of range or would empty a
            layer; a layer is unknown; a criterion lacks its batches; a budget cannot be met.

    Source: Molchanov, Tyree, Karras, Aila, Kautz, ICLR 2017 (arXiv:1611.06440): score and remove.
    Chapter: 12.

    >>> from compresslab import criteria, models
    >>> small = prune_neurons(models.lenet_300_100(), criteria.l2_norm, 0.5)
    >>> small.config
    LeNet300Config(fc1=150, fc2=50, classes=10, cosines=None)
    """
    check_model(model)
    seen = held(batches)
    inputs = example_of(model, first_images(seen) if example is None else example)
    graph = graph_of(model, inputs)
    free = _unprotected(graph, protect)
    _check_asked(share, {"max_macs": max_macs, "max_bytes": max_bytes}, minimum=minimum, multiple=multiple)
    scores = _scored(graph, free, scores_by(criterion, model, seen or None, objective), normalise)

    def smaller(part: Any) -> nn.Module:
        keep = 1 if share is None and minimum is None else minimum
        marks = _marks(graph, free, scores, part, per_layer, keep)
        if multiple is not None:
            pairs = zip(free, scores, strict=True)
            marks |= {g: _fewer(score, marks[g], multiple) for g, score in pairs if g in marks}
        masks = [marks.get(g, torch.zeros(g.neurons, dtype=torch.bool)) for g in graph.groups]
        source = model if before_cut is None else before_cut(ignoring(model, graph, masks))
        return cut(source, graph, masks, inputs)

    if share is not None:
        return smaller(share)
    return _fitting(smaller, lambda found: _excess(found, inputs, max_macs, max_bytes))


def _check_asked(share: Any, budgets: Mapping[str, Any], **counts: Any) -> None:
    """Take either a share or budgets, in whole numbers."""
    asked = {name: value for name, value in budgets.items() if value is not None}
    if (share is None) == (not asked):
        found = "neither was given" if share is None else f"a share of {share!r} was given with {asked}"
        raise CompressionError(f"Give a share, or a budget as max_macs or max_bytes; {found}.")
    for name, value in {**asked, **counts}.items():
        if value is not None:
            whole(value, name)


def _unprotected(graph: Graph, protect: Collection[Any]) -> list[Group]:
    """Return the groups that can be cut and have no protected layer."""
    check_collection(protect)
    layers = _weights(graph, graph.units.layers)
    kept = {one.name for one in assigned(layers, dict.fromkeys(protect), "layer to protect")}
    free = [group for group in graph.free if not set(group.layers) & kept]
    if not free:
        raise CompressionError(f"{graph.name} has no neurons that could go:\n{graph!r:.400}")
    return free


def _weights(graph: Graph, layers: Iterable[str]) -> list[Weight]:
    """Return the weights of layers, which mappings of shares name; a function's weight has no module."""
    modules = dict(graph.walks[0].model.named_modules())
    return [Weight((name,), modules.get(name, nn.Module()), "weight") for name in layers]


def _scored(
    graph: Graph, free: list[Group], scores: Scores, normalise: bool
) -> list[Float[Tensor, " neurons"]]:
    """Return a score for each neuron of each group, comparable between groups."""
    layers = dict.fromkeys(layer for group in free for layer in group.layers)
    weights = {weight.name: weight for weight in layer_weights(graph.walks[0].model)}
    values = {}
    for name in (name for name in layers if name in scores):
        score, weight = scores[name], weights.get(name)
        if weight is not None and score.shape == weight.value.shape:  # transposed: with inputs first
            score = score.transpose(0, weight.axis)
        values[name] = comparable(graph, name, score, normalise)
    found = []
    for group in free:
        known = [layer for layer in group.layers if layer in values]
        if not known:
            raise CompressionError(
                f"The criterion gave no scores for {' + '.join(group.layers)}; protect={group.layers!r} "
                "keeps these whole, or choose a criterion that scores them."
            )
        parts = [_gathered(graph, group, layer, values[layer]) for layer in known]
        found.append(torch.from_numpy(np.mean(parts, axis=0)))
    return found


def comparable(graph: Graph, layer: str, score: Tensor, normalise: bool) -> Float[np.ndarray, " outputs"]:
    """Return one number for each output of a layer; normalised, with a mean square of 1 unless all are 0."""
    width = len(graph.units.layers[layer])
    if not score.dim() or len(score) != width:
        raise CompressionError(
            f"The criterion gave scores of shape {tuple(score.shape)} for layer {layer!r}, which has {width} "
            "neurons; it must return one score for each, or for each of their weights."
        )
    try:
        refuse_nan([score])
    except CompressionError as error:
        raise CompressionError(f"Layer {layer!r}: {error}") from None
    if score.isinf().any():
        raise CompressionError(f"A score of layer {layer!r} is infinite; give finite ones.")
    values = score.detach().double().cpu().reshape(width, -1).mean(1).numpy()
    size = math.sqrt(np.mean(np.square(values))) if normalise else 1.0
    return values / size if size > 0 else values


def _gathered(graph: Graph, group: Group, layer: str, values: np.ndarray) -> Float[np.ndarray, " neurons"]:
    """Return the mean score of what each neuron of a group has in one layer."""
    roots = graph.roots[graph.units.layers[layer]]
    inside = np.isin(roots, group.roots)
    places = np.searchsorted(group.roots, roots[inside])
    counts = np.bincount(places, minlength=group.neurons)
    return np.bincount(places, values[inside], group.neurons) / counts


def _marks(
    graph: Graph, free: list[Group], scores: list[Tensor], share: Any, per_layer: bool, minimum: int | None
) -> dict[Group, Bool[Tensor, " neurons"]]:
    """Mark the neurons that go in every group of which some were asked."""
    marks = {}
    for places, part in scopes([_weights(graph, group.layers) for group in free], share, per_layer):
        chosen = _least([scores[place] for place in places], part, minimum)
        for place, mark in zip(places, chosen, strict=True):
            if mark.all():
                raise CompressionError(
                    f"A share of {part} would leave none of the {len(mark)} neurons of "
                    f"{' + '.join(free[place].layers):.200}; ask for a smaller share, or for minimum=1."
                )
            marks[free[place]] = mark
    return marks


def _fewer(score: Tensor, mark: Bool[Tensor, " neurons"], multiple: int) -> Bool[Tensor, " neurons"]:
    """Take the highest scores of those that go back until a multiple stays, or all."""
    stay = len(mark) - int(mark.sum())
    return smallest([score], max(0, len(mark) - multiple * math.ceil(stay / multiple)))[0]


def _least(scores: list[Tensor], share: Any, minimum: int | None) -> list[Bool[Tensor, " _"]]:
    """Mark the smallest scores over some groups, but leave each at least the minimum."""
    count = count_of(share, sum(map(len, scores)))
    if minimum is not None:
        spare = [smallest([score], max(0, len(score) - minimum))[0] for score in scores]
        scores = [score.masked_fill(~may_go, math.inf) for score, may_go in zip(scores, spare, strict=True)]
        count = min(count, sum(int(may_go.sum()) for may_go in spare))
    return smallest(scores, count)


def _fitting(smaller: Callable[[float], nn.Module], excess: Callable[[nn.Module], str | None]) -> nn.Module:
    """Return the largest of the networks that fit, by halving the share that goes."""
    found = smaller(1.0)
    if (over := excess(found)) is not None:
        raise CompressionError(f"Even with the fewest neurons the network has {over}; raise the budget.")
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        candidate = smaller(middle := (low + high) / 2)
        fits = excess(candidate) is None
        low, high, found = (low, middle, candidate) if fits else (middle, high, found)
    return found


def _excess(model: nn.Module, inputs: Inputs, max_macs: int | None, max_bytes: int | None) -> str | None:
    """Say by what a network exceeds a budget, or None."""
    if max_macs is not None:
        with evaluating(model):
            macs = count_macs(model, fitted(first_images([Batch(inputs)]), model))
        if macs > max_macs:
            return f"{macs:,} MACs, more than {max_macs:,}"
    if max_bytes is not None and (size := len(encode(model)[0])) > max_bytes:
        return f"{size:,} bytes, more than {max_bytes:,}"
    return None
