"""What the rules of the graph work on: a traced network, the units found so far, the tensors to cut."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from compresslab.errors import CompressionError
from compresslab.models.checking import check_model
from compresslab.models.parameters import layer_weights
from compresslab.surgery.units import Channels, Row, Units

INPUT = "they are the network's input"
OUTPUT = "they are the network's output"


class UnfollowedError(Exception):
    """A rule's word for what it cannot follow; what enters the operation is held for this reason."""


@dataclass(frozen=True, eq=False)
class Count:
    """Stands for a number in the code that is, or follows from, the number of these channels."""

    units: Row


class Walk:
    """One pass through a traced network; ``states`` says of each value where its channels are.

    A state is ``Channels``, None where nothing can be cut, a tuple of states (a tuple of values, or the sizes
    of a tensor), or a ``Count``.
    """

    def __init__(self, model: nn.Module, units: Units) -> None:
        self.model, self.units = model, units
        tensors = [
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        ]
        self.tensors, owners = dict(tensors), Counter(id(tensor) for _, tensor in tensors)
        self.shared = {name for name, tensor in tensors if owners[id(tensor)] > 1}
        self.values: dict[fx.Node, Any] = {}
        self.states: dict[fx.Node, Any] = {}
        self.rules: dict[fx.Node, Rule | None] = {}
        self.slots: dict[tuple[str, int], Row] = {}
        self.readers: dict[str, Row] = {}
        self.opened: dict[str, fx.Node] = {}
        self.opaque: dict[str, str] = {}  # layers that nothing is followed through, and why
        self.taken: set[tuple[fx.Node, fx.Node]] = set()  # a tensor, and a rule that cuts what it takes of it

    def state(self, argument: Any) -> Any:
        """Return the state of an argument; what is no node has none."""
        return self.states[argument] if isinstance(argument, fx.Node) else None

    def channels(self, argument: Any) -> Channels | None:
        """Return where the channels of an argument are."""
        return state if isinstance(state := self.state(argument), Channels) else None

    def shape(self, argument: Any) -> tuple[int, ...]:
        """Return the shape of a tensor argument; () for a number."""
        value = self.values[argument] if isinstance(argument, fx.Node) else argument
        return tuple(value.shape) if isinstance(value, Tensor) else ()

    def slot(self, name: str | None, dim: int, units: Row) -> None:
        """Note that a tensor is cut along ``dim`` with these units; hold them where it cannot be."""
        if name is None:
            return
        if self.tensors[name].shape[dim] != len(units):
            raise UnfollowedError(
                f"{name} has {self.tensors[name].shape[dim]} entries for {len(units)} channels"
            )
        known = self.slots.setdefault((name, dim), units)
        if name in self.shared or not np.array_equal(known, units):
            used = "shared by two layers" if name in self.shared else "used in two places"
            for row in (known, units):
                self.units.hold(row, f"{name} is {used}")

    def opens(self, node: fx.Node, layer: str, width: int) -> Row:
        """Return the units of a layer, and remember where it runs."""
        self.opened.setdefault(layer, node)
        return self.units.open(layer, width)

    def hold(self, *arguments: Any, why: str) -> None:
        """Hold the units of every argument: of its channels, of numbers of channels, of what tuples hold."""
        for argument in arguments:
            state = self.state(argument) if isinstance(argument, fx.Node) else argument
            if isinstance(state, Channels | Count):
                self.units.hold(state.units, why)
            elif isinstance(state, tuple | list):
                self.hold(*state, why=why)

    def same(self, left: Int[ndarray, " _"], right: Int[ndarray, " _"]) -> bool:
        """Say whether two rows are made of the same neurons, in whatever order, as far as ties are known."""
        if left is right:
            return True
        roots = self.units.roots()
        return np.array_equal(np.unique(roots[left]), np.unique(roots[right]))

    def parameter(self, node: fx.Node, name: str, place: int) -> str | None:
        """Return the full name of a layer's tensor: a module's own, or a function's argument."""
        if node.op == "call_module":
            found = getattr(self.model.get_submodule(str(node.target)), name)
            return None if found is None else f"{node.target}.{name}"
        argument = given(node, place, name)
        if argument is None:
            return None
        if isinstance(argument, fx.Node) and argument.op == "get_attr":
            self.taken.add((argument, node))
            return str(argument.target)
        raise UnfollowedError(f"the {name} of {title(node)} is computed in the forward method")


@dataclass(frozen=True)
class Rule:
    """What becomes of neurons in an operation: called with a walk and a node, it gives the result's state.

    Args:
        passes: every value follows from what stands at its place, as in activation functions and norms.
        norm: it has scales and shifts, which are cut with the channels.
        across: it takes channels together, so that no result follows from one of them alone.
        shown: the numbers that it is given show in the shapes, and may follow from the sizes of tensors.
        answers: it is asked for numbers too, not only for tensors.
    """

    follow: Callable[[Walk, fx.Node], Any]
    passes: bool = False
    norm: bool = False
    across: bool = False
    shown: bool = False
    answers: bool = False

    def __call__(self, walk: Walk, node: fx.Node) -> Any:
        return self.follow(walk, node)


def given(node: fx.Node, place: int, name: str, default: Any = None) -> Any:
    """Return an argument of a call, by place or by name; torch takes those of numpy too."""
    alias = {"dim": "axis", "keepdim": "keepdims"}.get(name, name)
    found = node.kwargs.get(name, node.kwargs.get(alias, default))
    return node.args[place] if len(node.args) > place else found


def setting(walk: Walk, node: fx.Node, name: str, place: int, default: Any) -> Any:
    """Return a setting: of a module its attribute, of a function its argument."""
    if node.op == "call_module":
        return getattr(walk.model.get_submodule(str(node.target)), name)
    return given(node, place, name, default)


def title(node: fx.Node) -> str:
    """Return what a reader calls this node: a module's path, or the node's name and where it stands."""
    if node.op == "call_module":
        return str(node.target)
    inside = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]
    return f"{node.name} in {inside[-1]}" if inside else node.name


def kind(walk: Walk, node: fx.Node) -> str:
    """Return what a node does in one word: the module's class, or the function's name."""
    if node.op == "call_module":
        return type(walk.model.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))


def check_layers(model: nn.Module) -> None:
    """Refuse a network whose weights cannot be cut: they are codes, or computed anew at every call."""
    check_model(model)
    if model._forward_hooks or model._forward_pre_hooks:
        raise CompressionError(
            "The network has hooks, and what they do to its values is not known; remove them first."
        )
    for name, layer in model.named_modules():
        if hasattr(type(layer), "quantized"):
            raise CompressionError(f"Layer {name!r} is quantized; prune neurons before quantize.")
        if parametrize.is_parametrized(layer):
            raise CompressionError(
                f"A tensor of layer {name!r} is computed at every call, so a cut would be lost; "
                "make it permanent first (quantize, freeze_gates, remove_parametrizations)."
            )
    for weight in layer_weights(model):
        weight.refuse_computed()


def opaque_layers(model: nn.Module, graph: fx.Graph) -> dict[str, str]:
    """Say of layers why nothing can be followed through them: they run more than once, or have hooks."""
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    found = {}
    for name, count in calls.items():
        layer = model.get_submodule(name)
        if count > 1 and any(True for _ in layer.parameters()):
            found[name] = f"{name} is a shared module: it runs {count} times in one pass"
        elif layer._forward_hooks or layer._forward_pre_hooks:
            found[name] = f"{name} has hooks, and what they do to its values is not known"
    return found
