"""Run a traced network without numbers, to learn the shape of every value in it."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from compresslab.errors import CompressionError
from compresslab.models.inputs import each_tensor, rows_of, shapes_in
from compresslab.models.tracing import Replay, step_by_step

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def shapes_of(model: nn.Module, graph: fx.Graph, example: Any) -> dict[fx.Node, Any]:
    """Return the value of every node, tensors on torch's meta device: shapes without numbers.

    The model's tensors are swapped for their shapes while this runs, so that no statistic can change. A
    batch of two is used whatever the example has, since a norm in training mode refuses one: every tensor
    whose first axis is as long as that of the first counts as a batch, unless the network cannot read this.

    Raises:
        CompressionError: the network cannot read an example of this shape.
    """
    metas = {
        f"model.{path}.{name}".replace("..", "."): tensor.detach().to("meta")
        for path, module in model.named_modules()  # each module once, under its first name
        for name, tensor in chain(module._parameters.items(), module._buffers.items())
        if tensor is not None
    }
    lengths, failures = rows_of(example), []
    for batch in (2, *lengths[:1]):

        def small(tensor: Tensor, batch: int = batch) -> Tensor:
            shape = (batch, *tensor.shape[1:]) if tensor.shape[:1] == (lengths[0],) else tensor.shape
            return torch.empty(shape, dtype=tensor.dtype, device="meta")

        watcher = _Watcher(model, graph)
        try:
            with torch.no_grad(), step_by_step():
                inputs = (each_tensor(example, small),)
                functional_call(_Holder(model, watcher), metas, inputs, tie_weights=False)
            return watcher.seen
        except Exception as error:  # whatever the network's own code raises
            failures.append((watcher.at, error))
    (place, error), *_ = failures
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    raise CompressionError(
        f"{type(model).__name__:.80} fails at {place!r} on inputs of shape {shapes_in(example)}: "
        f"{reason:.200}. Give an example that it can read."
    ) from error


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

    def forward(self, inputs: Any) -> Any:
        return self.watcher.run(inputs)
