"""Cut neurons out of a network: tensors get shorter, layers learn their new sizes, no mask remains."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.inputs import Inputs
from compresslab.surgery.graph import Graph, graph_of
from compresslab.surgery.rules import group_norm
from compresslab.surgery.units import marked
from compresslab.surgery.walk import Walk, setting, title


@torch.no_grad()
def cut(
    model: nn.Module, graph: Graph, gone: Sequence[Bool[Tensor, " _"]], example: Inputs | None = None
) -> nn.Module:
    """Return a network without the neurons that are marked.

    Every tensor that has something of a neuron is cut along the axis of that neuron: in the layers that
    make it the rows, in those that read it the columns, in norms the entries between. What is left is the
    network in which every reader ignores the neuron. A norm over channels is a reader too: it normalises
    what is left.

    The graph of the result is then found anew and held against the old one, place by place; where the
    forward method turns out to count channels by itself, the cut is refused.

    Args:
        model: the network that the graph is of. It is not changed.
        graph: from ``graph_of(model)``.
        gone: for each of ``graph.groups`` a mask over its neurons, True where one goes.
        example: as for ``graph_of``.

    Returns:
        A new model that shares nothing with the old one.

    Raises:
        CompressionError: a mask has the wrong length, marks what is held or marks all of a group; or the
            network's own code does not follow the cut.

    Chapter: 15.

    >>> from compresslab import models
    >>> net = models.article(conv1=2, conv2=3, fc1=4)
    >>> masks = [[True, False], [False, True, True], [False] * 4, [False] * 10]
    >>> small = cut(net, graph_of(net), [torch.tensor(mask) for mask in masks])
    >>> [tuple(layer.weight.shape) for layer in (small.conv1, small.conv2, small.fc1, small.fc2)]
    [(1, 1, 3, 3), (1, 1, 3, 3), (4, 49), (10, 4)]
    """
    stays = ~marked(graph.roots, going(graph, gone))
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    shorter = {name: shortened(tensor, name, graph, stays) for name, tensor in tensors.items()}
    memo: dict[int, Any] = {id(tensors[name]): part for name, part in shorter.items() if part is not None}
    result = copy.deepcopy(model, memo)  # takes what is in the memo instead of a copy
    refit(result)
    _check(graph, graph_of(result, example), stays)
    return result


def going(graph: Graph, gone: Sequence[Tensor]) -> Iterable[int]:
    """Return the roots of all neurons that go."""
    if len(gone) != len(graph.groups):
        raise CompressionError(
            f"{len(gone)} masks were given, one for each of {len(graph.groups)} is needed."
        )
    for group, mask in zip(graph.groups, gone, strict=True):
        names, flags = " + ".join(group.layers), mask.cpu().numpy()
        if flags.shape != group.roots.shape or flags.dtype != bool:
            raise CompressionError(f"{names} needs {group.neurons} truth values, found shape {flags.shape}.")
        if flags.any() and group.held is not None:
            raise CompressionError(f"Neurons of {names} were to go, but they are held: {group.held}.")
        if flags.all():
            raise CompressionError(f"All {group.neurons} neurons of {names} were to go; leave at least one.")
        yield from group.roots[flags].tolist()


def shortened(tensor: Tensor, name: str, graph: Graph, stays: Bool[ndarray, " units"]) -> Tensor | None:
    """Return what is left of a tensor, or None if all of it is."""
    value = tensor.detach()
    for dim in range(tensor.dim()):
        units = graph.slots.get((name, dim))
        if units is not None and not stays[units].all():
            places = torch.from_numpy(np.flatnonzero(stays[units])).to(tensor.device)
            value = value.index_select(dim, places)
    if value.shape == tensor.shape:
        return None
    return nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value


def refit(model: nn.Module) -> None:
    """Let every layer read its sizes off its tensors, in place.

    A convolution in groups keeps what a group has, and loses groups; so does a group norm.
    """
    for layer in model.modules():
        for names, sizes in _sizes(layer).items():
            setattr(layer, names, sizes)


def _sizes(layer: Any) -> Mapping[str, Any]:
    """Return the attributes of a layer that repeat the shapes of its tensors."""
    if isinstance(layer, nn.Linear):
        return {"out_features": layer.weight.shape[0], "in_features": layer.weight.shape[1]}
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return {"in_channels": layer.weight.shape[0], "out_channels": layer.weight.shape[1] * layer.groups}
    if isinstance(layer, nn.modules.conv._ConvNd):
        outputs, inputs = layer.weight.shape[:2]
        groups = 1 if layer.groups == 1 else outputs * layer.groups // layer.out_channels
        return {"out_channels": outputs, "in_channels": inputs * groups, "groups": groups}
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        tensor = layer.weight if layer.weight is not None else layer.running_mean
        return {} if tensor is None else {"num_features": len(tensor)}
    if isinstance(layer, nn.LayerNorm) and layer.weight is not None:
        return {"normalized_shape": tuple(layer.weight.shape)}
    if isinstance(layer, nn.GroupNorm) and layer.weight is not None:
        width = len(layer.weight)
        groups = 1 if layer.num_groups == 1 else width * layer.num_groups // layer.num_channels
        return {"num_channels": width, "num_groups": groups}
    return {"num_parameters": len(layer.weight)} if isinstance(layer, nn.PReLU) else {}


def _check(old: Graph, new: Graph, stays: Bool[ndarray, " units"]) -> None:
    """Refuse a cut after which some neuron would stand where another one did."""
    names = np.flatnonzero(stays)  # a unit of the new graph by its number in the old one
    if new.units.count != len(names) or len(new.walks) != len(old.walks):
        raise CompressionError("The network's code takes another way after the cut, so it cannot be cut.")
    for before, after in zip(old.walks, new.walks, strict=True):
        for left, right in zip(before.states, after.states, strict=True):
            if left.op == "get_attr" and "constant" not in left.meta:
                continue
            x, y = before.channels(left), after.channels(right)
            sizes, others = list(before.shape(left)), list(after.shape(right))
            stand = (left.name, x and x.axis) == (right.name, y and y.axis)
            if stand and x and y:
                sizes[x.axis] = others[x.axis]
                stand = np.array_equal(old.roots[x.units[stays[x.units]]], old.roots[names[y.units]])
            if not stand or sizes != others or not _same_numbers(before, left, after, right):
                raise CompressionError(
                    f"After the cut {title(right)!r} gives {after.shape(right)} where neurons do not stand "
                    "as they did: it counts channels by a number in the code. Write it without."
                )


def _same_numbers(before: Walk, left: Any, after: Walk, right: Any) -> bool:
    """Compare the numbers that the code gives to two operations; some follow a layer's new sizes."""
    if "constant" in left.meta:  # a tensor that the code makes, of the numbers in a buffer for example
        return torch.equal(left.meta["constant"], right.meta["constant"])
    rule = before.rules.get(left)
    if rule is group_norm:
        groups, others = (setting(w, n, "num_groups", 1, 1) for w, n in ((before, left), (after, right)))
        width, left_over = before.shape(left)[1], after.shape(right)[1]
        return groups == others == 1 or (groups > 1 and width * others == left_over * groups)
    shown = rule is not None and rule.shown
    return shown or repr((left.args, left.kwargs)) == repr((right.args, right.kwargs))  # nodes show as names
