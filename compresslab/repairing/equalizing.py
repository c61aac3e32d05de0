"""Give the channels between two layers like ranges: the function stays, and one grid fits each better."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn import functional

from compresslab.errors import CompressionError
from compresslab.models.checking import copy_of
from compresslab.models.tracing import has_hooks, trace
from compresslab.repairing.moments import can_be_seen

_ROUNDS = 20  # a pair changes its neighbours; after some rounds all are at rest

_PASSES = (  # f(s x) = s f(x) for a positive s, channel by channel
    *(nn.ReLU, nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
_FUNCTIONS = (torch.relu, functional.relu, torch.flatten, functional.max_pool2d, functional.avg_pool2d)


def equalize(model: nn.Module) -> nn.Module:
    """Move a factor for each channel from one layer to the next, so that both have its weights in one range.

    Between two layers with a ReLU, what makes a channel s times smaller and reads it s times larger changes
    nothing, for any s above 0. With ``s = sqrt(range of its readers / range of its makers)`` both ranges are
    equal. One grid for the whole tensor then fits every channel.

    Args:
        model: a network in floats; fold its norms first (``fold_norms``).

    Returns:
        A new model that answers the same to float rounding. Pairs with anything else between them, or
        whose channels others read too, stay.

    Raises:
        CompressionError: the network cannot be traced, or has no such pair.

    Source: Nagel et al., Data-Free Quantization, 2019, section 4.1 (arXiv:1906.04721).
    Chapter: 19.

    >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[8.0], [1.0]]))
    >>> _ = net[2].weight.data.copy_(torch.tensor([[2.0, 1.0]]))
    >>> equalize(net)[0].weight.flatten().tolist(), equalize(net)[2].weight.flatten().tolist()
    ([4.0, 1.0], [4.0, 1.0])
    """
    return equalized(model)[0]


@torch.no_grad()
def equalized(model: nn.Module) -> tuple[nn.Module, dict[str, Float[Tensor, " channels"]]]:
    """Return the network, and for each reader by what each of its inputs was multiplied."""
    result = copy_of(model)
    pairs = list(pairs_in(result))
    if not pairs:
        raise CompressionError(
            f"{type(model).__name__:.80} has no two layers with only ReLU, pooling or flatten between "
            "them; fold norms first (fold_norms), or leave it as it is."
        )
    factors: dict[str, Tensor] = {}
    for _ in range(_ROUNDS):
        for before, after in pairs:
            factor = _balance(result.get_submodule(before), result.get_submodule(after))
            factors[after] = factors.get(after, torch.ones_like(factor)) * factor
    return result, factors


def pairs_in(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the layers of which one alone reads the other, through what keeps a positive factor."""
    modules = dict(model.named_modules())
    graph = trace(model)
    targets = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        if node.op != "call_module" or not _free(modules[str(node.target)]):
            continue
        end = node
        while len(end.users) == 1 and _passes(after := next(iter(end.users)), modules):
            end = after
        reader = next(iter(end.users)) if len(end.users) == 1 else end
        if end is node or reader.op != "call_module" or not _free(modules[str(reader.target)]):
            continue
        pair = str(node.target), str(reader.target)
        if pair[0] != pair[1] and targets.count(pair[0]) == targets.count(pair[1]) == 1:
            yield pair


def _free(layer: nn.Module) -> bool:
    """Tell whether a layer's weights are its own parameters, and nobody looks at what it reads or says."""
    return can_be_seen(layer) and "weight" in layer._parameters and not has_hooks(layer)


def _passes(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        layer = modules[str(node.target)]
        return type(layer) in _PASSES and not has_hooks(layer)
    return (node.op == "call_function" and node.target in _FUNCTIONS) or (
        node.op == "call_method" and node.target in ("relu", "flatten")
    )


def _balance(before: Any, after: Any) -> Float[Tensor, " channels"]:
    """Make the ranges of every channel equal on both sides, in place; return what it is multiplied by."""
    width, groups = len(before.weight), getattr(after, "groups", 1)
    read = after.weight.flatten(1).unflatten(0, (groups, -1)).unflatten(-1, (width // groups, -1))
    made, wanted = before.weight.flatten(1).abs().amax(1), read.abs().amax((1, 3)).flatten()
    usable = (made > 0) & (wanted > 0)
    factor = torch.where(usable, (wanted / made).sqrt(), 1.0).to(before.weight.dtype)
    before.weight.mul_(factor.reshape(-1, *[1] * (before.weight.dim() - 1)))
    if before.bias is not None:
        before.bias.mul_(factor)
    after.weight.copy_((read / factor.reshape(groups, 1, -1, 1)).reshape(after.weight.shape))
    return factor
