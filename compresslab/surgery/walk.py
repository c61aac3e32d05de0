"""What the rules of the graph work on: a traced network, the units found so far, the tensors to cut."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from compresslab.errors import CompressionError
from compresslab.models.tracing import LayerTracer
from compresslab.surgery.units import Channels, Row, Units

INPUT = "they are the network's input"
OUTPUT = "they are the network's output"


class Depends:
    """Stands for a number in the code that is, or follows from, a number of channels."""


DEPENDS = Depends()


class Walk:
    """One pass through a traced network; ``states`` says of each value where its channels are.

    A state is ``Channels``, None where nothing can be cut, a tuple of states (a tuple of values, or the sizes
    of a tensor), or ``DEPENDS``.
    """

    def __init__(self, model: nn.Module, units: Units) -> None:
        self.model, self.units = model, units
        self.tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self.values: dict[fx.Node, Any] = {}
        self.states: dict[fx.Node, Any] = {}
        self.rules: dict[fx.Node, Rule | None] = {}
        self.slots: dict[tuple[str, int], Row] = {}
        self.readers: dict[str, Row] = {}
        self.opened: dict[str, fx.Node] = {}
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
        """Note that a tensor of the model is cut along ``dim`` with these units."""
        if name is None:
            return
        if self.tensors[name].shape[dim] != len(units):
            raise ValueError(f"{name} has {self.tensors[name].shape[dim]} entries for {len(units)} channels")
        known = self.slots.setdefault((name, dim), units)
        if known is not units and not (len(known) == len(units) and (known == units).all()):
            raise CompressionError(
                f"{name} is used in two places that would be cut differently; give each its own copy first."
            )

    def opens(self, node: fx.Node, layer: str, width: int) -> Row:
        """Return the units of a layer, and remember where it runs."""
        self.opened.setdefault(layer, node)
        return self.units.open(layer, width)

    def hold(self, *arguments: Any, why: str) -> None:
        """Hold the units of every argument that has channels, and of what stands inside tuples."""
        for argument in arguments:
            state = self.state(argument) if isinstance(argument, fx.Node) else argument
            if isinstance(state, Channels):
                self.units.hold(state.units, why)
            elif isinstance(state, tuple | list):
                self.hold(*state, why=why)

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
        raise refusal(node, f"its {name} is computed in the forward method", "make it a parameter")


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


def refusal(node: fx.Node, found: str, remedy: str) -> CompressionError:
    """Make the error for a node that cannot be cut through."""
    return CompressionError(f"Neurons cannot be followed through {title(node)!r}: {found}; {remedy}.")


def check_layers(model: nn.Module) -> None:
    """Refuse layers whose weights cannot be cut, and tensors that two layers share."""
    for name, layer in model.named_modules():
        if any(map(is_lazy, (*layer.parameters(False), *layer.buffers(False)))):
            raise CompressionError(
                f"Layer {name!r} has no weights yet: it is a lazy layer; run the network once before."
            )
        hooks = layer._forward_hooks or layer._forward_pre_hooks
        if hooks and (not name or LayerTracer().is_leaf_module(layer, name)):  # others are traced
            raise CompressionError(
                f"Layer {name!r} has hooks, and what they do to its values is not known; remove them first."
            )
        if hasattr(type(layer), "quantized"):
            raise CompressionError(f"Layer {name!r} is quantized; prune neurons before quantize.")
        if parametrize.is_parametrized(layer):
            raise CompressionError(
                f"A tensor of layer {name!r} is computed at every call, so a cut would be lost; "
                "make it permanent first (quantize, freeze_gates, remove_parametrizations)."
            )
    owners: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if (owner := owners.setdefault(id(parameter), name)) != name:
            raise CompressionError(
                f"{owner} and {name} are one tensor: a shared module or weight; give each its own copy first."
            )


def check_calls(model: nn.Module, graph: fx.Graph) -> None:
    """Refuse a layer with weights that runs more than once."""
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    for name, count in calls.items():
        if count > 1 and any(True for _ in model.get_submodule(name).parameters()):
            raise CompressionError(
                f"Layer {name!r} is a shared module: it runs {count} times in one pass, and its neurons "
                "mean something else each time; use a copy of its own for each."
            )
