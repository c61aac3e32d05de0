"""One way to look into a run: trace a network down to its layers, replay it, and watch its values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from compresslab.errors import CompressionError


class LayerTracer(fx.Tracer):
    """Trace a network down to its layers, the quantized ones included."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return hasattr(type(m), "quantized") or super().is_leaf_module(m, module_qualified_name)


def has_hooks(layer: nn.Module) -> bool:
    """Tell whether code beside the layer's own sees or changes what enters or leaves it."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def trace(model: nn.Module) -> fx.Graph:
    """Write down the operations of a network in the order in which they run.

    Tensors that the forward method makes by itself are kept with the graph; torch.fx would leave them on
    the network.

    Raises:
        CompressionError: the network's forward method depends on the values of its input.
    """
    before = set(vars(model))
    try:
        graph = LayerTracer().trace(model)
        for node in graph.nodes:
            if node.op == "get_attr" and node.target in vars(model) and node.target not in before:
                node.meta["constant"] = getattr(model, node.target)
        return graph
    except Exception as error:  # torch.fx raises whatever the traced code raises when it meets a proxy
        raise CompressionError(
            f"torch.fx cannot trace this {type(model).__name__}: {error}. Write its forward method "
            "without branches on tensor values."
        ) from error
    finally:
        for name in set(vars(model)) - before:
            delattr(model, name)


class Replay(fx.Interpreter):
    """Run a graph that ``trace`` wrote down, on the network's own layers."""

    def __init__(self, model: nn.Module, graph: fx.Graph, keep: bool = False) -> None:
        super().__init__(model, garbage_collect_values=not keep, graph=graph)

    def run_node(self, n: fx.Node) -> Any:
        return n.meta["constant"] if "constant" in n.meta else super().run_node(n)


class Watching(Replay):
    """Run a traced network and show some of its values; what is returned goes on in their place."""

    def __init__(
        self, model: nn.Module, ends: Collection[fx.Node], see: Callable[[fx.Node, Tensor], Tensor]
    ) -> None:
        super().__init__(model, next(iter(ends)).graph)
        self.ends, self.see = ends, see

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        return self.see(n, value) if n in self.ends else value


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put every module into evaluation mode for a while, and back into the mode it was found in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes:
            module.training = mode


def device_of(model: nn.Module) -> torch.device:
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
