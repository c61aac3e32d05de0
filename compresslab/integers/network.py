"""Turn a network into one that computes with integers alone."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from compresslab.errors import CompressionError, whole
from compresslab.integers.layers import Grid
from compresslab.integers.rules import (
    activations,
    grid_holder,
    held_nodes,
    step_for,
    traced_by_rules,
)
from compresslab.integers.steps import QuantizeInput
from compresslab.models.builders import builder_of
from compresslab.models.checking import copy_of
from compresslab.models.inputs import fitted, in_our_words
from compresslab.models.tracing import Watching
from compresslab.quantization.clipping import Clip, MinMax
from compresslab.quantization.folding import fold_norms

_MOST_VALUES = 2**20  # of inputs that run at once while activations are observed: 4 MB


def quantize_activations(model: nn.Module, batches: Any, clip: Clip = MinMax(), bits: int = 8) -> nn.Module:
    """Return a network that computes with int8 codes and int32 sums; floats only enter and leave.

    The batches run once through the network, norms folded, to learn the range of every activation.
    Float layers get ``Symmetric(8, PerChannel())`` weights; layers quantized already by ``Symmetric``
    keep their codes. A clip other than MinMax keeps every value that it has seen until the end.

    Args:
        model: a network of convolutions of one or two axes, linear layers, norms behind convolutions, ReLU,
            ReLU6, max and average pooling, additions, and whatever only moves values. It is not changed.
        batches: images to calibrate on, from the training split; a few hundred are enough. A tensor, a
            split, or an iterable of tensors or of (inputs, targets), a DataLoader for example.
        clip: where the grid of an activation ends.
        bits: width of an activation's code between the layers, 2 to 8. The inputs keep 8.

    Returns:
        A ``torch.fx.GraphModule`` in evaluation mode, from float images to float logits.

    Raises:
        CompressionError: no such width, no batches, non-finite activations, a layer that is still training
            through quantization, hooks, or an operation without an integer rule, by its name.

    Source: Jacob et al., 2018 (arXiv:1712.05877).
    Chapter: 08.
    """
    whole(bits, "the bits of an activation", 2, 8)
    traced = traced_by_rules(fold_norms(model))
    seen = _observe(traced, _images(batches, model), keep=not isinstance(clip, MinMax))
    grids = {node: _grid(node, values, clip, bits) for node, values in seen.items()}
    return _converted(traced, grids, builder_of(model))


def integer_like(model: nn.Module) -> nn.Module:
    """Return the integer network of a model with grids and numbers still to be filled in, from a file."""
    empty = copy_of(model)
    for parameter in empty.parameters():
        nn.init.zeros_(parameter)
    traced = traced_by_rules(fold_norms(empty))
    return _converted(traced, dict.fromkeys(held_nodes(traced), Grid(1.0, 0)), builder_of(model))


def _grid(node: fx.Node, seen: Float[Tensor, " values"], clip: Clip, bits: int) -> Grid:
    try:
        return Grid.of(seen, clip, 8 if node.op == "placeholder" else bits)
    except CompressionError as error:
        raise CompressionError(f"The activations of {node.name!r:.80}: {error}") from None


def _images(batches: Any, model: nn.Module) -> Iterator[Tensor]:
    """Yield inputs, a few at a time, where the model is and in its precision."""
    batches = getattr(batches, "images", batches)  # of a split
    if not isinstance(batches, Iterable) or isinstance(batches, Mapping):
        raise CompressionError(
            f"A {type(batches).__name__:.80} was given to calibrate on; give a tensor of images, a split, or "
            "an iterable of batches."
        )
    for batch in [batches] if isinstance(batches, Tensor) else batches:
        images = batch[0] if isinstance(batch, tuple | list) else batch  # of (inputs, targets)
        if not isinstance(images, Tensor):
            raise CompressionError(
                f"A batch to calibrate on holds a {type(images).__name__:.80}; an integer network reads one "
                "tensor, alone or first in (inputs, targets)."
            )
        at_once = max(1, _MOST_VALUES * len(images) // max(1, images.numel()))
        for few in images.split(at_once):
            yield fitted(few, model)


@torch.inference_mode()
def _observe(traced: fx.GraphModule, images: Iterable[Tensor], keep: bool) -> dict[fx.Node, Tensor]:
    """Run the batches, and keep of every node that fixes a grid its extremes, or all its values."""
    seen: dict[fx.Node, list[Tensor]] = {node: [] for node in held_nodes(traced)}

    def see(node: fx.Node, value: Tensor) -> Tensor:
        flat = value.float().flatten()
        if keep or not len(flat):
            seen[node].append(flat.clone())  # the network may change it in place
        else:
            ends = torch.cat([*seen[node], *map(torch.atleast_1d, torch.aminmax(flat))])
            seen[node] = [torch.stack(torch.aminmax(ends))]
        return value

    watching = Watching(traced, seen, see)
    for few in images:
        with in_our_words(traced, few):
            watching.run(few)
    if not all(seen.values()):
        raise CompressionError(
            "No batches were given to calibrate on; pass some training images, for example "
            "quantize_activations(model, [digits.train.images[:256]])."
        )
    return {node: torch.cat(values) for node, values in seen.items()}


def _converted(traced: fx.GraphModule, grids: Mapping[fx.Node, Grid], builder: Any) -> nn.Module:
    """Put integer layers in the place of all others, and a conversion behind the input."""
    source = next(iter(traced.graph.nodes))
    plan = []
    for node in activations(traced.graph.nodes):  # planned as a whole first: converting changes the nodes
        if node is not source:
            inputs = [grids[grid_holder(one)] for one in activations(node.all_input_nodes)]
            plan.append((node, step_for(node, inputs, grids.get(grid_holder(node)))))
    traced.add_submodule("quantize_input", QuantizeInput(grids[grid_holder(source)]))
    for node, step in plan:
        if step is not None:
            traced.add_submodule(node.name, step)
            node.op, node.target = "call_module", node.name
            node.args, node.kwargs = tuple(activations(node.all_input_nodes)), {}
    with traced.graph.inserting_after(source):
        codes = traced.graph.call_module("quantize_input", (source,))
    source.replace_all_uses_with(codes, delete_user_cb=lambda user: user is not codes)
    for node in traced.graph.nodes:
        node.meta.pop("layer", None)
    traced.graph.lint()
    traced.recompile()
    traced.delete_all_unused_submodules()
    traced.meta["builder"] = builder
    return traced.eval()
