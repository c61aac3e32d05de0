"""Turn a network into one that computes with integers alone."""

import copy
import operator
from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from compresslab.errors import CompressionError
from compresslab.models.builders import builder_of
from compresslab.models.tracing import Watching, trace
from compresslab.quantization.clipping import Clip, MinMax
from compresslab.quantization.fake import fake_quantizer
from compresslab.quantization.folding import fold_norms
from compresslab.quantization.granularity import PerChannel, PerGroup
from compresslab.quantization.integer import (
    Grid,
    IntegerAdd,
    IntegerConv2d,
    IntegerLinear,
    IntegerMean,
    IntegerReLU,
    QuantizeInput,
)
from compresslab.quantization.layers import QuantizedConv2d, QuantizedLayer, QuantizedLinear
from compresslab.quantization.scheme import QuantizedTensor
from compresslab.quantization.uniform import Symmetric

_WEIGHTED = (nn.Conv2d, nn.Linear, QuantizedLayer)
_SAME_GRID = (nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.AdaptiveAvgPool2d, nn.Identity, nn.Dropout)
_ADDITIONS = (torch.add, operator.add)


def quantize_activations(
    model: nn.Module, batches: Iterable[Float[Tensor, "batch ..."]], clip: Clip = MinMax()
) -> nn.Module:
    """Return a network that computes with int8 codes and int32 sums; floats only enter and leave.

    The batches run once through the network, norms folded, to learn the range of every activation.
    Float layers get ``Symmetric(8, PerChannel())`` weights; layers quantized already by ``Symmetric``
    keep their codes.

    Args:
        model: a network of convolutions, linear layers, norms, ReLU, max and global average pooling,
            flatten and additions. It is not changed.
        batches: images to calibrate on, from the training split; a few hundred are enough.
        clip: where the grid of an activation ends.

    Returns:
        A ``torch.fx.GraphModule`` in evaluation mode, from float images to float logits.

    Raises:
        CompressionError: no batches, non-finite activations, a layer that is still training through
            quantization, or an operation without an integer rule, by its name.

    Source: Jacob et al., 2018 (arXiv:1712.05877).
    Chapter: 08.
    """
    traced = _traced(model)
    seen = _observe(traced, batches)
    _convert(traced, {node: _grid(node, values, clip) for node, values in seen.items()})
    traced.meta["builder"] = builder_of(model)  # a file names it
    return traced.eval()


@torch.no_grad()
def integer_like(model: nn.Module) -> fx.GraphModule:
    """Convert a network's structure alone: weights of zero, grids of one; a file then brings the numbers.

    Raises:
        CompressionError: as ``quantize_activations`` does.
    """
    bare = copy.deepcopy(model).to_empty(device="cpu")
    for tensor in (*bare.parameters(), *bare.buffers()):
        tensor.zero_()
    traced = _traced(bare)
    held = [node for node in traced.graph.nodes if node.op != "output"]
    last = traced.graph.output_node().args[0]
    _convert(traced, {_grid_holder(traced, node): Grid(1.0, 0) for node in held if node != last})
    return traced.eval()


def _traced(model: nn.Module) -> fx.GraphModule:
    """Trace a network with its norms folded, and see that all of it can be converted."""
    folded = fold_norms(model)
    traced = fx.GraphModule(folded, trace(folded))
    traced.graph.eliminate_dead_code()
    for node in traced.graph.nodes:
        _check(traced, node)
    return traced


def _layer(traced: fx.GraphModule, node: object) -> nn.Module | None:
    """Return the layer that a node calls, or None."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        return traced.get_submodule(str(node.target))
    return None


def _check(traced: fx.GraphModule, node: fx.Node) -> None:
    """Refuse, by its name, what has no integer rule."""
    layer = _layer(traced, node)
    if node.op == "output":
        last = node.args[0]
        alone = isinstance(last, fx.Node) and len(last.users) == 1
        if not alone or not isinstance(_layer(traced, last), _WEIGHTED):
            raise CompressionError(
                f"The network ends with {last}; an integer network must end with one linear or "
                "convolution layer, whose sums become the logits."
            )
    elif not _has_rule(node, layer):
        what = type(layer).__name__ if layer is not None else getattr(node.target, "__name__", node.target)
        raise CompressionError(
            f"The operation {node.name!r} ({what}) has no integer rule; there are, as layers, convolution, "
            "linear, ReLU, max pooling, global average pooling and flatten, and the addition of two "
            "activations. Leave this network in floats."
        )
    if layer is not None and fake_quantizer(layer) is not None:
        raise CompressionError(
            f"The layer {node.target!r} still trains through quantization; freeze it first: quantize(model)."
        )


def _has_rule(node: fx.Node, layer: nn.Module | None) -> bool:
    if node.op == "placeholder":  # with a second input, another node comes before it
        return node is next(iter(node.graph.nodes))
    nodes_only = not node.kwargs and all(isinstance(arg, fx.Node) for arg in node.args)
    if node.op == "call_function":
        return node.target in _ADDITIONS and nodes_only and len(node.args) == 2
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size not in (1, (1, 1)):
        return False
    if isinstance(layer, nn.MaxPool2d) and layer.return_indices:
        return False
    return isinstance(layer, (*_WEIGHTED, *_SAME_GRID)) and nodes_only and len(node.args) == 1


def _grid_holder(traced: fx.GraphModule, node: fx.Node) -> fx.Node:
    """Return the node whose values fix the grid of this one.

    ReLU, pooling and flatten keep the grid they are given. A layer whose only reader is a ReLU takes
    the grid of the ReLU's output, or half its codes would stand for values that vanish at once.
    """
    while isinstance(_layer(traced, node), _SAME_GRID):
        node = node.all_input_nodes[0]
    readers = list(node.users)
    if len(readers) == 1 and isinstance(_layer(traced, readers[0]), nn.ReLU):
        return readers[0]
    return node


def _grid(node: fx.Node, seen: Float[Tensor, " values"], clip: Clip) -> Grid:
    try:
        return Grid.of(seen, clip)
    except CompressionError as error:
        raise CompressionError(f"The activations of {node.name!r}: {error}") from None


@torch.inference_mode()
def _observe(traced: fx.GraphModule, batches: Iterable[Tensor]) -> dict[fx.Node, Tensor]:
    """Run the batches and keep the values of every node that needs a grid."""
    last = traced.graph.output_node().args[0]
    held = [node for node in traced.graph.nodes if node.op != "output" and node != last]
    seen: dict[fx.Node, list[Tensor]] = {_grid_holder(traced, node): [] for node in held}

    def see(node: fx.Node, value: Tensor) -> Tensor:
        seen[node].append(value.flatten())
        return value

    watching = Watching(traced, seen, see)
    for images in [batches] if isinstance(batches, Tensor) else batches:
        watching.run(images)
    if not all(seen.values()):
        raise CompressionError(
            "No batches were given to calibrate on; pass some training images, for example "
            "quantize_activations(model, [digits.train.images[:256]])."
        )
    return {node: torch.cat(values) for node, values in seen.items()}


def _integer_layer(layer: nn.Module | None, sources: list[Grid], target: Grid | None) -> nn.Module:
    """Make the integer counterpart of a layer, or of an addition (None in its place)."""
    if isinstance(layer, nn.Linear | QuantizedLinear):
        return IntegerLinear(_codes(layer), layer.bias, sources[0], target)
    if isinstance(layer, nn.Conv2d | QuantizedConv2d):
        return IntegerConv2d(layer, _codes(layer), sources[0], target)
    if target is not None:  # only the last layer, which has weights, has none
        if layer is None:
            return IntegerAdd(sources[0], sources[1], target)
        if isinstance(layer, nn.ReLU):
            return IntegerReLU(target)
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            return IntegerMean(target)
    return cast(nn.Module, layer)  # max pooling, flatten and identity work on codes as they are


def _codes(layer: nn.Linear | nn.Conv2d | QuantizedLayer) -> QuantizedTensor:
    if not isinstance(layer, QuantizedLayer):
        return Symmetric(8, PerChannel()).quantize(layer.weight)
    if not isinstance(layer.scheme, Symmetric) or isinstance(layer.scheme.granularity, PerGroup):
        raise CompressionError(
            f"A layer quantized by {layer.scheme} was given; integer sums need Symmetric weights, "
            "per tensor or per channel."
        )
    return layer.quantized


def _convert(traced: fx.GraphModule, grids: dict[fx.Node, Grid]) -> None:
    """Put integer layers in the place of all others, and a conversion behind the input."""
    source = next(node for node in traced.graph.nodes if node.op == "placeholder")
    traced.add_submodule("quantize_input", QuantizeInput(grids[_grid_holder(traced, source)]))
    plan = []
    for node in traced.graph.nodes:  # planned as a whole first: converting changes what the nodes point to
        if node.op in ("call_module", "call_function"):
            sources = [grids[_grid_holder(traced, arg)] for arg in node.args]
            layer = _integer_layer(_layer(traced, node), sources, grids.get(_grid_holder(traced, node)))
            plan.append((node, layer))
    for node, layer in plan:
        traced.add_submodule(node.name, layer)
        node.op, node.target = "call_module", node.name
    with traced.graph.inserting_after(source):
        codes = traced.graph.call_module("quantize_input", (source,))
    source.replace_all_uses_with(codes, delete_user_cb=lambda user: user is not codes)
    traced.graph.lint()
    traced.recompile()
    traced.delete_all_unused_submodules()
