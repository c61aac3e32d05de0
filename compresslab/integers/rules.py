"""What an operation means to an integer network: which rule it has, and which grid its codes lie on."""

import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from compresslab.errors import CompressionError
from compresslab.integers.layers import Grid, IntegerConvolution, IntegerLinear
from compresslab.integers.steps import IntegerAdd, IntegerAverage, IntegerMean, IntegerReLU
from compresslab.models.tracing import has_hooks, trace
from compresslab.quantization.fake import fake_quantizer
from compresslab.quantization.granularity import PerChannel, PerGroup
from compresslab.quantization.layers import QuantizedLayer
from compresslab.quantization.scheme import QuantizedTensor
from compresslab.quantization.uniform import Symmetric

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_WEIGHTED = (*_CONVOLUTIONS, nn.Linear)
_RELU = (nn.ReLU, nn.ReLU6)
_MEANS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d)
_MOVING_LAYERS = (nn.MaxPool1d, nn.MaxPool2d, nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_AS_LAYERS: dict[Any, Any] = {  # what a forward method may write in the place of a layer
    **dict.fromkeys((torch.relu, torch.relu_, F.relu, "relu", "relu_"), nn.ReLU),
    F.relu6: nn.ReLU6,
    F.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.avg_pool1d: nn.AvgPool1d,
    F.avg_pool2d: nn.AvgPool2d,
}
_ADDITIONS = (torch.add, operator.add, operator.iadd, "add", "add_")
_MEAN_CALLS = (torch.mean, "mean")
_MOVES = (  # they work on codes as they are
    *(torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze, torch.permute, torch.transpose),
    *("flatten", "view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "contiguous"),
    *(F.dropout, F.max_pool1d, F.max_pool2d),
)


def traced_by_rules(folded: nn.Module) -> fx.GraphModule:
    """Write the operations of a network down, and refuse, by its name, what has no integer rule."""
    for name, module in folded.named_modules():
        if has_hooks(module):
            raise CompressionError(
                f"Module {name!r:.80} has hooks, which an integer network cannot keep; remove them first."
            )
    traced = fx.GraphModule(folded, trace(folded))
    traced.graph.eliminate_dead_code()
    for node in traced.graph.nodes:
        layer = node.meta["layer"] = _layer_of(traced, node)
        if layer is not None and fake_quantizer(layer) is not None:
            raise CompressionError(
                f"The layer {node.target!r:.80} still trains through quantization; freeze it first: "
                "quantize(model)."
            )
    for node in traced.graph.nodes:
        _check(node)
    return traced


def _layer_of(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """Return the layer that a node calls, or the one that its function stands for."""
    if node.op == "call_module":
        return traced.get_submodule(str(node.target))
    kind = _AS_LAYERS.get(node.target) if node.op in ("call_function", "call_method") else None
    if kind is None or not node.args or len(node.all_input_nodes) != 1:
        return None
    return kind() if kind in _RELU else kind(*node.args[1:], **node.kwargs)


def _is_layer(node: object, *kinds: type[nn.Module]) -> bool:
    """Ask for the very class of a node's layer; a subclass may compute something else."""
    layer = node.meta.get("layer") if isinstance(node, fx.Node) else None
    return getattr(layer, "float_class", type(layer)) in kinds


def _is_number(node: fx.Node) -> bool:
    """Tell sizes, and what is computed from them, from activations."""
    if node.target in ("size", "dim", getattr):
        return True
    inputs = node.all_input_nodes
    return node.op == "call_function" and bool(inputs) and all(map(_is_number, inputs))


def activations(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    return [node for node in nodes if node.op != "output" and not _is_number(node)]


def _check(node: fx.Node) -> None:
    layer = node.meta["layer"]
    if node.op == "output":
        last = node.args[0]
        alone = isinstance(last, fx.Node) and len(last.users) == 1
        if not alone or not _is_layer(last, *_WEIGHTED):
            raise CompressionError(
                f"The network ends with {last!s:.80}; an integer network must end with one linear or "
                "convolution layer, whose sums become the logits."
            )
    elif not _is_number(node) and not _has_rule(node, layer):
        what = type(layer).__name__ if layer is not None else getattr(node.target, "__name__", node.target)
        raise CompressionError(
            f"The operation {node.name!r:.80} ({what!s:.80}) has no integer rule; there are convolution of "
            "one and two axes, linear, ReLU, ReLU6, max and average pooling, flatten and other moves, and "
            "the addition of two activations. Leave this network in floats."
        )


def _has_rule(node: fx.Node, layer: nn.Module | None) -> bool:
    if node.op == "placeholder":  # with a second input, another node comes before it
        return node is next(iter(node.graph.nodes))
    inputs = activations(node.all_input_nodes)
    if node.target in _ADDITIONS:
        return [*node.args] == inputs and len(inputs) == 2 and not node.kwargs
    if len(inputs) != 1:
        return False
    if _is_layer(node, *_MEANS):
        return getattr(layer, "output_size", None) in (1, (1,), (1, 1))
    if _is_layer(node, nn.MaxPool1d, nn.MaxPool2d):
        return not getattr(layer, "return_indices", False)
    if node.target in _MEAN_CALLS:
        return 0 not in _mean_axes(node) and bool(_mean_axes(node))
    return node.target in _MOVES or _is_layer(node, *_WEIGHTED, *_RELU, *_AVERAGES, *_MOVING_LAYERS)


def _mean_axes(node: fx.Node) -> tuple[int, ...]:
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", ())
    return tuple(axes) if isinstance(axes, tuple | list) else (axes,)  # type: ignore[return-value]


def _source(node: fx.Node) -> fx.Node:
    return activations(node.all_input_nodes)[0]


def grid_holder(node: fx.Node) -> fx.Node:
    """Return the node whose values fix the grid of this one.

    ReLU, pooling and moves keep the grid they are given. A layer whose only reader is a ReLU takes the grid
    of the ReLU's output, or half its codes would stand for values that vanish at once.
    """
    while not (node.op == "placeholder" or _is_layer(node, *_WEIGHTED) or node.target in _ADDITIONS):
        node = _source(node)
    readers = activations(node.users)
    return readers[0] if len(readers) == 1 and _is_layer(readers[0], *_RELU) else node


def held_nodes(traced: fx.GraphModule) -> list[fx.Node]:
    """List the nodes whose values fix a grid; the last layer's sums leave as floats."""
    last = traced.graph.output_node().args[0]
    nodes = [node for node in activations(traced.graph.nodes) if node is not last]
    return [*dict.fromkeys(map(grid_holder, nodes))]


def step_for(node: fx.Node, inputs: list[Grid], target: Grid | None) -> nn.Module | None:
    """Make the integer counterpart of an operation; None for a function that works on codes as they are."""
    layer: Any = node.meta["layer"]
    if _is_layer(node, nn.Linear):
        return IntegerLinear(_codes(layer), layer.bias, inputs[0], target)
    if _is_layer(node, *_CONVOLUTIONS):
        return IntegerConvolution(layer, _codes(layer), inputs[0], target)
    if target is None:  # only the last layer has no grid, and it has weights
        raise CompressionError(f"The operation {node.name!r:.80} ends the network; end it with a layer.")
    if node.target in _ADDITIONS:
        return IntegerAdd(inputs[0], inputs[1], target)
    if _is_layer(node, *_RELU):
        return IntegerReLU(target, 6.0 if _is_layer(node, nn.ReLU6) else None)
    if _is_layer(node, *_MEANS):
        return IntegerMean(target, (2,) if _is_layer(node, nn.AdaptiveAvgPool1d) else (2, 3))
    if node.target in _MEAN_CALLS:
        return IntegerMean(target, _mean_axes(node), bool(node.kwargs.get("keepdim", False)))
    return IntegerAverage(target, layer) if _is_layer(node, *_AVERAGES) else layer


def _codes(layer: Any) -> QuantizedTensor:
    if not isinstance(layer, QuantizedLayer):
        return Symmetric(8, PerChannel()).quantize(layer.weight)
    code = layer.quantized
    if not isinstance(code.scheme, Symmetric) or isinstance(code.scheme.granularity, PerGroup):
        raise CompressionError(
            f"A layer quantized by {code.scheme} was given; integer sums need Symmetric weights, "
            "per tensor or per channel."
        )
    return code
