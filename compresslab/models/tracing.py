"""One way to look into a run: trace a network down to its layers, replay it, and watch its values."""

import inspect
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.backends import mha
from torch.nn import functional
from torch.nn.modules import transformer

from compresslab.errors import CompressionError

_OPENED = (  # layers of torch that are made of layers
    *(nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.TransformerDecoder, nn.TransformerDecoderLayer),
)
_QUESTIONS = (  # what these ask of their masks, and an answer that says nothing
    (transformer, "_get_seq_len", lambda *_: None),
    (transformer, "_detect_is_causal_mask", lambda *_: False),  # a hint for speed
    (functional, "_none_or_dtype", lambda _: None),
    (functional, "_canonical_mask", lambda mask, *_, **__: mask),
)
_OURS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))  # what no user has written


class LayerTracer(fx.Tracer):
    """Trace a network down to its layers, the quantized ones included.

    Args:
        inputs: what the network is given; the arguments that it is not given keep their defaults. Without
            any, each argument of the forward method counts as given.
        opened: layers of torch to look into.
    """

    def __init__(self, inputs: Any = None, opened: tuple[type[nn.Module], ...] = ()) -> None:
        super().__init__()
        self.inputs, self.opened = inputs, opened

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m) in self.opened:
            return False
        whole = hasattr(type(m), "quantized") or hasattr(type(m), "in_one_piece")
        return whole or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        if self.inputs is None:
            return super().create_args_for_root(root_fn, is_module, concrete_args)
        args, kwargs = arguments_of(self.inputs)
        names = [*inspect.signature(self.root.forward).parameters]
        args = [self._given(names[min(at, len(names) - 1)], value) for at, value in enumerate(args)]
        kwargs = {name: self._given(name, value) for name, value in kwargs.items()}

        def forward() -> Any:
            return root_fn(self.root, *args, **kwargs)

        return forward, []

    def _given(self, name: str, value: Any) -> Any:
        return self.create_proxy("placeholder", name, (), {}) if _of_tensors(value) else value


def has_hooks(layer: nn.Module) -> bool:
    """Tell whether code beside the layer's own sees or changes what enters or leaves it."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def trace(model: nn.Module, inputs: Any = None) -> fx.Graph:
    """Write down the operations of a network in the order in which they run.

    Tensors that the forward method makes by itself are kept with the graph; torch.fx would leave them on
    the network.

    Args:
        inputs: what it is given, of which only the form matters: a tensor, a tuple or a mapping by keyword.

    Raises:
        CompressionError: the network's forward method depends on the values of its input.
    """
    before = set(vars(model))
    try:
        try:
            with step_by_step(whole=True):
                graph = LayerTracer(inputs, _OPENED).trace(model)
        except Exception:  # torch's own layers are asked for what they look at values for
            graph = LayerTracer(inputs).trace(model)
        for node in graph.nodes:
            if node.op == "get_attr" and node.target in vars(model) and node.target not in before:
                node.meta["constant"] = getattr(model, node.target)
        return graph
    except Exception as error:  # torch.fx raises whatever the traced code raises when it meets a proxy
        theirs = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_OURS)]
        place = f" (line {theirs[-1].lineno}: {theirs[-1].line:.80})" if theirs else ""
        raise CompressionError(
            f"torch.fx cannot trace this {type(model).__name__:.80}{place}: {error!s:.200}. Give it inputs "
            "of its form, and write its forward method without branches on tensor values."
        ) from error
    finally:
        for name in set(vars(model)) - before:
            delattr(model, name)


class Replay(fx.Interpreter):
    """Run a graph that ``trace`` wrote down, on the network's own layers."""

    def __init__(self, model: nn.Module, graph: fx.Graph, keep: bool = False) -> None:
        super().__init__(model, garbage_collect_values=not keep, graph=graph)

    def run(self, *args: Any, initial_env: Any = None, enable_io_processing: bool = True) -> Any:
        """Run on inputs of any form: a tensor, a tuple of several, or a mapping by keyword."""
        (inputs,) = args
        args, named = arguments_of(inputs)
        given = filter(_of_tensors, (*args, *named.values()))
        return super().run(*given, initial_env=initial_env, enable_io_processing=enable_io_processing)

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


def arguments_of(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that inputs stand for, in order and by keyword."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), {}


def _of_tensors(value: Any) -> bool:
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return isinstance(value, Tensor) or any(map(_of_tensors, parts))


@contextmanager
def step_by_step(whole: bool = False) -> Iterator[None]:
    """Let torch's transformer layers run by their own code, and not by one fused operation.

    ``whole`` also leaves out what that code asks of masks: attention, which is not looked into, asks again.
    """
    fast, questions = mha.get_fastpath_enabled(), [getattr(place, name) for place, name, _ in _QUESTIONS]
    mha.set_fastpath_enabled(False)
    try:
        for place, name, answer in _QUESTIONS if whole else ():
            setattr(place, name, answer)
        yield
    finally:
        mha.set_fastpath_enabled(fast)
        for (place, name, _), question in zip(_QUESTIONS, questions, strict=True):
            setattr(place, name, question)
