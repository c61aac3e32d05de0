"""Watch what neurons say, and how the loss minds it or a weight, in one pass over images, without hooks."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from compresslab.models.inputs import fitted, in_our_words
from compresslab.models.tracing import Watching, evaluating
from compresslab.surgery.graph import Graph, graph_of
from compresslab.training.batching import Batches, Part, each, first_images, held, labelled, small
from compresslab.training.metrics import Objective

AT_ONCE = 64  # images in one pass: what they say stays in the cache; scores do not depend on it

Look = Callable[[str, Tensor, tuple[int, ...]], Tensor]
Probe = Callable[[Tensor, tuple[int, ...]], tuple[Tensor, Tensor]]
Ends = Mapping[fx.Node, tuple[list[str], int]]
Name = TypeVar("Name", bound=Hashable)


def watched(model: nn.Module, batches: Batches | None, criterion: str, look: Look) -> dict[str, Tensor]:
    """Average over all images what ``look`` returns for each image and neuron of every layer."""
    parts = held(batches)
    ends, sums, images = ends_of(model, parts, criterion), {}, 0

    def see(node: fx.Node, values: Tensor) -> Tensor:
        seen = look(node.name, values, _places(values, ends[node][1])).double().sum(0)
        sums[node] = sums[node] + seen if node in sums else seen
        return values

    with evaluating(model), torch.no_grad():
        for batch in small(each(parts, criterion), AT_ONCE):
            inputs = fitted(batch.inputs, model)
            with in_our_words(model, inputs):
                Watching(model, ends, see).run(inputs)
            images += len(batch)
    return _by_layer(ends, sums, images)


def slopes_at(
    model: nn.Module, batches: Batches | None, criterion: str, probe: Probe, objective: Objective
) -> dict[str, Tensor]:
    """Average the size of the loss's slope in a probe that is put where each neuron has its value."""
    parts = held(batches)
    ends = ends_of(model, parts, criterion)

    def probed() -> tuple[Any, dict[fx.Node, Tensor]]:
        probes: dict[fx.Node, Tensor] = {}

        def see(node: fx.Node, values: Tensor) -> Tensor:
            probes[node], values = probe(values, _places(values, ends[node][1]))
            return values

        return lambda *args, **kwargs: Watching(model, ends, see).run(kwargs or args), probes

    def read(node: fx.Node, slope: Tensor) -> Tensor:
        return mean_over(slope.abs(), _places(slope, ends[node][1])).double().sum(0)

    sums, images = slopes(model, small(labelled(parts, model, criterion), AT_ONCE), objective, probed, read)
    return _by_layer(ends, sums, images)


def ends_of(model: nn.Module, parts: Any, criterion: str) -> Ends:
    """Return where neurons that can go have the value that others read, with the layers and the axis."""
    next(each(parts, criterion))  # says so if there are no images
    graph: Graph = graph_of(model, first_images(parts))
    found: dict[fx.Node, tuple[list[str], int]] = {}
    for layer in dict.fromkeys(layer for group in graph.free for layer in group.layers):
        if layer in graph.walks[0].opened:
            node = graph.end_of(layer)
            if channels := graph.walks[0].channels(node):
                found.setdefault(node, ([], channels.axis))[0].append(layer)
    return found


def _by_layer(ends: Ends, sums: Mapping[fx.Node, Tensor], images: int) -> dict[str, Tensor]:
    return {layer: sums[node] / images for node, (layers, _) in ends.items() for layer in layers}


def _places(values: Tensor, axis: int) -> tuple[int, ...]:
    """Return the axes of a value that are neither images nor neurons."""
    return tuple(dim for dim in range(1, values.dim()) if dim != axis)


def mean_over(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    return values.mean(dims) if dims else values


def slopes(
    model: nn.Module,
    parts: Iterable[Part],
    objective: Objective,
    probed: Callable[[], tuple[Any, Mapping[Name, Tensor]]],
    read: Callable[[Name, Tensor], Tensor],
) -> tuple[dict[Name, Tensor], int]:
    """Sum what is read of the slopes of the objective, the loss of each example, in evaluation mode.

    Args:
        parts: examples with targets, on the model's device.
        probed: returns the network as a function, and the probes that its answers depend on, by name; the
            latter may be filled as it runs.
        read: what is summed of a probe's slope; a slope is summed over the examples of its part already.

    Returns:
        The sums by name, and the number of examples.
    """
    sums: dict[Name, Tensor] = {}
    images = 0
    with evaluating(model), torch.enable_grad():
        for part in parts:
            run, probes = probed()
            with in_our_words(model, part.inputs):
                loss = objective(run, part.inputs, part.targets) * len(part)
            found = torch.autograd.grad(loss, list(probes.values()), materialize_grads=True)
            for name, slope in zip(probes, found, strict=True):
                seen = read(name, slope)
                sums[name] = sums[name] + seen if name in sums else seen
            images += len(part)
    return sums, images


def weights_times_slopes(
    model: nn.Module,
    names: Iterable[str],
    parts: Iterable[Part],
    objective: Objective,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Return ``w * dL/dw`` for all weights of the named parameters; L is the mean loss over all examples.

    Args:
        dtype: of the sums; None for that of each parameter.
    """
    probes = {name: model.get_parameter(name).detach().requires_grad_() for name in names}
    sums, images = slopes(
        model,
        parts,
        objective,
        probed=lambda: (lambda *args, **kwargs: functional_call(model, probes, args, kwargs), probes),
        read=lambda _, slope: slope.to(dtype or slope.dtype),
    )
    return {name: probe.detach() * sums[name] / images for name, probe in probes.items()}
