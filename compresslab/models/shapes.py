"""Run a traced network without numbers, to learn the shape of every value in it."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from compresslab.errors import CompressionError
from compresslab.models.tracing import Replay

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def shapes_of(model: nn.Module, graph: fx.Graph, example: Tensor) -> dict[fx.Node, Any]:
    """Return the value of every node, tensors on torch's meta device: shapes without numbers.

    The model's tensors are swapped for their shapes while this runs, so that no statistic can change. A
    batch of two is used whatever the example has, since a norm in training mode refuses one.

    Raises:
        CompressionError: the network cannot read an example of this shape.
    """
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    metas = {f"model.{name}": tensor.detach().to("meta") for name, tensor in tensors.items()}
    images = torch.empty((2, *example.shape[1:]), dtype=example.dtype, device="meta")
    watcher = _Watcher(model, graph)
    try:
        with torch.no_grad():
            functional_call(_Holder(model, watcher), metas, (images,))
    except Exception as error:  # whatever the network's own code raises
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CompressionError(
            f"{type(model).__name__} fails at {watcher.at!r} on images of shape {tuple(example.shape[1:])}: "
            f"{reason}. Give an example that it can read."
        ) from error
    return watcher.seen


class _Watcher(Replay):
    """Keep every value, and the name of the node that is running."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(model, graph, keep=True)
        self.seen: dict[fx.Node, Any] = {}
        self.at = ""

    def run_node(self, n: fx.Node) -> Any:
        self.at = n.name
        value = super().run_node(n)
        constant = n.op == "get_attr" and isinstance(value, Tensor)  # a tensor that is no parameter or buffer
        self.seen[n] = value.to("meta") if constant else value
        return self.seen[n]

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if type(self.fetch_attr(target)) in _BATCH_NORMS and args:
            return args[0]  # the shape stays, and torch takes a millisecond to find that out
        return super().call_module(target, args, kwargs)


class _Holder(nn.Module):
    """Let ``functional_call`` see the model's tensors while the interpreter runs it."""

    def __init__(self, model: nn.Module, watcher: _Watcher) -> None:
        super().__init__()
        self.model, self.watcher = model, watcher

    def forward(self, images: Tensor) -> Any:
        return self.watcher.run(images)
