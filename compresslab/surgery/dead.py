"""Drop neurons that say the same of every image: fewer weights, the same answers."""

import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor, fx, nn

from compresslab.models.inputs import Inputs, fitted
from compresslab.models.tracing import Watching, evaluating
from compresslab.surgery.cutting import cut
from compresslab.surgery.graph import Graph, example_of, graph_of
from compresslab.surgery.walk import Walk

_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()
def drop_dead(model: nn.Module, example: Inputs | None = None) -> nn.Module:
    """Cut the neurons whose value does not depend on the image; the answers stay the same.

    A neuron is dead where all its incoming weights are zero, or the scale of the batch norm after them is.
    Then it says one number. A zero can go at once; any other number goes into the biases of the layers
    that read it. Where it cannot, since a layer has no bias, or pads what it reads with zeros so that
    borders differ, the neuron stays. So does one neuron of a group in which all are dead.

    Args:
        model: a network that has been made sparse, by a penalty or by pruning weights. It is not changed.
        example: as for ``graph_of``.

    Returns:
        A new model whose answers in evaluation mode are the same to the last few bits.

    Raises:
        CompressionError: the network cannot be followed.

    Chapter: 14.

    >>> from compresslab import models
    >>> net = models.lenet_300_100(fc1=4, fc2=3)
    >>> _ = net.fc1.weight.data[1:3].zero_()
    >>> drop_dead(net).config
    LeNet300Config(fc1=2, fc2=3, classes=10, cosines=None)
    """
    image = example_of(model, example)
    graph = graph_of(model, image)
    dead = _constant(model, graph)
    result = copy.deepcopy(model)
    said = _said(result, graph, image)
    for layer, units in ((name, row) for walk in graph.walks for name, row in walk.readers.items()):
        numbers = said.get(layer)
        stay = units >= 0 if numbers is None else _unwelcome(result.get_submodule(layer), numbers)
        dead[graph.roots[units[stay]]] = False
    for group in graph.free:
        dead[group.roots[0]] &= not dead[group.roots].all()
    for layer, numbers in said.items():
        _absorb(result.get_submodule(layer), numbers, dead[graph.roots[graph.walks[0].readers[layer]]])
    return cut(result, graph, [torch.from_numpy(dead[group.roots]) for group in graph.groups], image)


def _constant(model: nn.Module, graph: Graph) -> Bool[ndarray, " units"]:
    """Mark the roots of the neurons that can go and say the same of every image."""
    dead = np.zeros(graph.units.count, dtype=bool)
    for group in graph.free:
        dead[group.roots] = True
    for layer, units in graph.units.layers.items():
        dead[graph.roots[units[~_same_rows(model, graph, layer)]]] = False
    for walk in graph.walks:
        moved = _of_the_image(walk)
        for node in walk.values:
            channels, rule = walk.channels(node), walk.rules.get(node)
            if channels is None or rule is None:
                continue
            others = [n for n in node.all_input_nodes if walk.channels(n) is None]
            # a norm has the others in it; an addition, say, what the image gives to all channels alike
            if rule.across or (rule.passes and not moved.isdisjoint(others)):
                dead[graph.roots[channels.units]] = False
    return dead


def _of_the_image(walk: Walk) -> set[fx.Node]:
    """Return the operations whose value depends on the network's input."""
    found: set[fx.Node] = set()
    for node in walk.values:
        if node.op == "placeholder" or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def _same_rows(model: nn.Module, graph: Graph, layer: str) -> Bool[ndarray, " outputs"]:
    """Mark the outputs of a layer, and of the norm after it, that do not depend on what it reads."""
    module: Any = dict(model.named_modules()).get(layer)  # a function's weight has no module
    width = len(graph.units.layers[layer])
    if not isinstance(module, _PLAIN):
        return np.zeros(width, dtype=bool)
    same = (module.weight == 0).reshape(width, -1).all(1)
    norm = model.get_submodule(name) if (name := graph.norm_of(layer)) else None
    if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.affine:
        same = same | (norm.weight == 0)
    return same.cpu().numpy()


def _said(model: nn.Module, graph: Graph, inputs: Inputs) -> dict[str, Float[Tensor, "channels places"]]:
    """Return what each layer reads of the example, by channel."""
    walk, found = graph.walks[0], {}
    readers: dict[fx.Node, list[str]] = {}
    for node in walk.values:
        if node.op == "call_module" and node.target in walk.readers and isinstance(node.args[0], fx.Node):
            readers.setdefault(node.args[0], []).append(str(node.target))
    ends = {node: (names, x.axis) for node, names in readers.items() if (x := walk.channels(node))}

    def see(node: fx.Node, values: Tensor) -> Tensor:
        names, axis = ends[node]
        found.update(dict.fromkeys(names, values.movedim(axis, 0).flatten(1).clone()))
        return values

    if not ends:
        return {}
    with evaluating(model):
        Watching(model, ends, see).run(fitted(inputs, model))
    return found


def _unwelcome(layer: nn.Module, numbers: Float[Tensor, "channels places"]) -> Bool[ndarray, " channels"]:
    """Mark what a layer reads that is not zero and cannot go into its bias."""
    takes = isinstance(layer, _PLAIN) and layer.bias is not None and not _pads_zeros(layer)
    welcome = numbers[:, :1] if takes else 0
    return (numbers != welcome).any(1).cpu().numpy()


def _pads_zeros(layer: Any) -> bool:
    padding = getattr(layer, "padding", "valid")  # a linear layer has none
    pads = padding != "valid" if isinstance(padding, str) else any(padding)
    return pads and layer.padding_mode == "zeros"


def _absorb(layer: Any, numbers: Float[Tensor, "channels places"], dead: Bool[ndarray, " channels"]) -> None:
    """Add to the biases of a layer, in place, what dead neurons would give it."""
    marks = torch.from_numpy(dead).to(numbers.device)
    if layer.bias is None or not (numbers[marks] != 0).any():
        return
    columns = layer.weight.double().flatten(2).sum(2) if layer.weight.dim() > 2 else layer.weight.double()
    layer.bias += columns[:, marks] @ numbers[marks, 0].double()
