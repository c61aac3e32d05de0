"""Watch what neurons say, and how the loss minds it, in one pass over images; no hooks on the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from compresslab.models.tracing import Watching, device_of, evaluating
from compresslab.pruning.slopes import slopes
from compresslab.surgery.graph import Graph, graph_of
from compresslab.training.batching import Batches, each, first_images, held, images_of, labelled, small

AT_ONCE = 64  # images in one pass: what they say stays in the cache; scores do not depend on it

Look = Callable[[str, Tensor, tuple[int, ...]], Tensor]
Probe = Callable[[Tensor, tuple[int, ...]], tuple[Tensor, Tensor]]
Ends = Mapping[fx.Node, tuple[list[str], int]]


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
            Watching(model, ends, see).run(images_of(batch).to(device_of(model)))
            images += len(batch)
    return _by_layer(ends, sums, images)


def slopes_at(model: nn.Module, batches: Batches | None, criterion: str, probe: Probe) -> dict[str, Tensor]:
    """Average the size of the loss's slope in a probe that is put where each neuron has its value."""
    parts = held(batches)
    ends = ends_of(model, parts, criterion)

    def run(images: Tensor) -> tuple[Tensor, dict[fx.Node, Tensor]]:
        probes: dict[fx.Node, Tensor] = {}

        def see(node: fx.Node, values: Tensor) -> Tensor:
            probes[node], values = probe(values, _places(values, ends[node][1]))
            return values

        return Watching(model, ends, see).run(images), probes

    def read(node: fx.Node, slope: Tensor) -> Tensor:
        return mean_over(slope.abs(), _places(slope, ends[node][1])).double().sum(0)

    sums, images = slopes(model, small(labelled(parts, model, criterion), AT_ONCE), run, read)
    return _by_layer(ends, sums, images)


def ends_of(model: nn.Module, parts: Any, criterion: str) -> Ends:
    """Return where neurons that can go have the value that others read, with the layers and the axis."""
    first = first_images(parts)
    if first is None:
        next(each(parts, criterion))  # says that there are no images
    graph: Graph = graph_of(model, first)
    found: dict[fx.Node, tuple[list[str], int]] = {}
    for layer in dict.fromkeys(layer for group in graph.free for layer in group.layers):
        if layer in graph.walks[0].opened:
            node = graph.end_of(layer)
            channels = graph.walks[0].channels(node)
            if channels is not None:
                found.setdefault(node, ([], channels.axis))[0].append(layer)
    return found


def _by_layer(ends: Ends, sums: Mapping[fx.Node, Tensor], images: int) -> dict[str, Tensor]:
    return {layer: sums[node] / images for node, (layers, _) in ends.items() for layer in layers}


def _places(values: Tensor, axis: int) -> tuple[int, ...]:
    """Return the axes of a value that are neither images nor neurons."""
    return tuple(dim for dim in range(1, values.dim()) if dim != axis)


def mean_over(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    return values.mean(dims) if dims else values
