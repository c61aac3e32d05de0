"""Follow neurons through a traced network, node by node, each by the rule for what it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, fx, nn

from compresslab.errors import CompressionError
from compresslab.models.shapes import shapes_of
from compresslab.models.tracing import trace
from compresslab.surgery.moves import MOVE_RULES
from compresslab.surgery.rules import LAYER_RULES, Rule, pointwise
from compresslab.surgery.units import Channels, Units
from compresslab.surgery.walk import DEPENDS, OUTPUT, Walk, check_calls, is_tensor, kind, refusal, title

RULES: Mapping[Any, Rule] = {**LAYER_RULES, **MOVE_RULES}
_KINDS = tuple(key for key in RULES if isinstance(key, type) and issubclass(key, nn.Module))
_SIZES_WELCOME = ("view", "reshape", "flatten", "unflatten", "split", "expand", "getitem")
_NO_COUNTS = ("dim", "ndimension", "is_floating_point", "is_complex", "get_device")  # the same after any cut


def unreached(model: nn.Module, walks: list[Walk]) -> list[str]:
    """Name the layers with weights that no pass has called."""
    nodes = [node for walk in walks for node in walk.values]
    run = {str(node.target) for node in nodes if node.op == "call_module"}
    read = {str(node.target).rpartition(".")[0] for node in nodes if node.op == "get_attr"}
    found: list[str] = []
    for name, layer in model.named_modules():
        if name in run or name.rpartition(".")[0] in run:
            run.add(name)  # what a layer has inside runs with it
        elif (
            name not in read and isinstance(layer, _KINDS) and next(layer.parameters(False), None) is not None
        ):
            found.append(name)
    return found


def follow(model: nn.Module, image: Tensor, units: Units) -> Walk:
    """Follow the neurons through one pass, node by node."""
    graph, walk = trace(model), Walk(model, units)
    check_calls(model, graph)
    walk.values = shapes_of(model, graph, image)
    for node in graph.nodes:
        walk.states[node] = _state(walk, node)
    return walk


def hold_read(walks: Iterable[Walk], units: Units) -> None:
    """Hold the units of a tensor that is cut, where the code reads its values in another way as well."""
    slots = [(name, row) for walk in walks for (name, _), row in walk.slots.items()]
    for walk in walks:
        for node in walk.values:
            names = [user for user in node.users if (node, user) not in walk.taken and not _harmless(user)]
            if node.op == "get_attr" and names:
                for name, row in slots:
                    if name == node.target:
                        units.hold(row, f"the values of {name} are read by {title(names[0])}")


def _harmless(user: fx.Node) -> bool:
    return user.target is getattr and user.args[1] in ("dtype", "device", "ndim", "requires_grad")


def _state(walk: Walk, node: fx.Node) -> Any:
    if node.op in ("placeholder", "get_attr"):
        return None
    states = [walk.state(source) for source in node.all_input_nodes]
    if node.op == "output":
        if any(map(_depends, states)):
            raise refusal(node, "the number of channels is an answer", "return tensors alone")
        return walk.hold(*states, why=OUTPUT)
    if isinstance(node.target, type):  # answers under names: a named tuple, a dataclass
        return tuple(states)
    rule = rule_of(walk, node)
    if rule is None or not _has_tensor(walk.values[node]):
        if rule is not None and rule.__name__ in ("size", "attribute", "item"):
            return rule(walk, node)
        return _without_rule(walk, node, states)
    if any(map(_depends, states)) and kind(walk, node) not in _SIZES_WELCOME:
        raise refusal(node, "it computes with the number of channels", "write it without")
    try:
        return rule(walk, node)
    except CompressionError:
        raise
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:  # a computed axis, say
        raise refusal(node, f"its arguments are not understood ({error})", "write plain numbers") from error


def _without_rule(walk: Walk, node: fx.Node, states: list[Any]) -> Any:
    """Let pass what no neuron goes into, and sizes; refuse the rest."""
    if not _has_tensor(walk.values[node]):
        counted = any(_depends(state) or isinstance(state, Channels) for state in states)
        return DEPENDS if counted and kind(walk, node) not in _NO_COUNTS else None
    if any(state is not None and not _sizes(state) for state in states):
        raise refusal(
            node,
            f"there is no rule for {kind(walk, node)}",
            "compute it by layers and functions that have one, or cut the network before it",
        )
    return None


def _depends(state: Any) -> bool:
    """Say whether a state is a number of channels, or sizes with one among them."""
    return state is DEPENDS or (isinstance(state, tuple) and any(map(_depends, state)))


def _sizes(state: Any) -> bool:
    return isinstance(state, tuple) and all(part is None for part in state)


def _has_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_tensor, value.values()))
    if dataclasses.is_dataclass(value):
        return any(map(_has_tensor, vars(value).values()))
    return is_tensor(value) or (isinstance(value, tuple | list) and any(map(_has_tensor, value)))


def rule_of(walk: Walk, node: fx.Node) -> Rule | None:
    """Return the rule of a node, or None."""
    if node.op == "call_module":
        kinds = type(walk.model.get_submodule(str(node.target))).__mro__
        return next((RULES[kind] for kind in kinds if kind in RULES), None)
    if getattr(node.target, "__name__", "") == "stochastic_depth":  # torchvision's: whole images or nothing
        return pointwise
    return RULES.get(node.target)
