"""Follow neurons through a traced network, node by node, each by the rule for what it does."""

import dataclasses
import operator
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from compresslab.models.shapes import shapes_of
from compresslab.models.tracing import trace
from compresslab.surgery import moves, rules
from compresslab.surgery.units import Channels, Row, Units
from compresslab.surgery.walk import OUTPUT, Count, Rule, UnfollowedError, Walk, kind, opaque_layers, title

_LAYERS = {
    rules.pointwise: "ReLU ReLU6 ELU SELU CELU GELU SiLU Mish LeakyReLU Hardtanh Hardswish Hardsigmoid "
    "Softplus Softsign Tanh Sigmoid LogSigmoid Dropout Dropout1d Dropout2d Dropout3d AlphaDropout "
    "FeatureAlphaDropout Identity Tanhshrink Hardshrink Softshrink Threshold RReLU",
    rules.linear: "Linear",
    rules.convolution: "Conv1d Conv2d Conv3d",
    rules.transposed_convolution: "ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    rules.batch_norm: "BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    rules.layer_norm: "LayerNorm",
    rules.group_norm: "GroupNorm",
    rules.parametric_relu: "PReLU",
    rules.attention: "MultiheadAttention",
    rules.resizing: "Upsample",
    rules.mixing: "Softmax LogSoftmax Softmin",
    rules.gating: "GLU",
    moves.reshaping: "Flatten Unflatten",
    moves.moving: "PixelShuffle PixelUnshuffle",
    moves.padding: "ZeroPad2d ReflectionPad2d ReplicationPad2d ConstantPad2d",
    **{
        rules.pooling(n): f"MaxPool{n}d AvgPool{n}d AdaptiveAvgPool{n}d AdaptiveMaxPool{n}d LPPool{n}d"
        for n in (1, 2, 3)
    },
}
_FUNCTIONS = {  # of torch, of its functional layers, of a tensor
    rules.pointwise: "relu relu_ relu6 elu elu_ selu celu gelu silu mish leaky_relu leaky_relu_ "
    "hardtanh hardswish hardsigmoid softplus softsign tanh tanh_ sigmoid sigmoid_ logsigmoid dropout "
    "dropout1d dropout2d dropout3d alpha_dropout tanhshrink hardshrink softshrink threshold rrelu add "
    "add_ sub sub_ mul mul_ div div_ true_divide maximum minimum pow abs abs_ exp exp_ log neg neg_ "
    "sqrt rsqrt square clamp clamp_ clamp_min clamp_max where lerp addcmul positive contiguous clone "
    "expand_as float double half bfloat16 to type_as detach requires_grad_ cpu",
    rules.linear: "linear",
    rules.convolution: "conv1d conv2d conv3d",
    rules.layer_norm: "layer_norm",
    rules.group_norm: "group_norm",
    rules.resizing: "interpolate upsample",
    rules.mixing: "softmax log_softmax",
    rules.gating: "glu",
    moves.moving: "permute transpose swapaxes swapdims movedim moveaxis unsqueeze narrow select flip roll "
    "pixel_shuffle pixel_unshuffle",
    moves.sizing: "chunk split tensor_split unbind expand",
    moves.reshaping: "view flatten unflatten reshape",
    moves.squeezing: "squeeze",
    moves.reduction: "mean sum amax amin",
    moves.joining: "cat concat concatenate stack",
    moves.padding: "pad",
    moves.size: "size",
    **{
        rules.pooling(n): f"max_pool{n}d avg_pool{n}d adaptive_avg_pool{n}d adaptive_max_pool{n}d"
        for n in (1, 2, 3)
    },
}
_OPERATORS = {
    rules.pointwise: "add sub mul truediv iadd isub imul itruediv pow neg abs pos",
    moves.item: "getitem",
}


def _rules() -> dict[Any, Rule]:
    """Return the rule of every class of layers and every function; a tensor's methods stand by name."""
    found: dict[Any, Rule] = {F.batch_norm: rules.batch_norm, getattr: moves.attribute}
    for table, places in ((_LAYERS, [nn]), (_FUNCTIONS, [torch, F]), (_OPERATORS, [operator])):
        for rule, names in table.items():
            for name in names.split():
                found |= {getattr(place, name): rule for place in places if hasattr(place, name)}
                found |= {name: rule} if table is _FUNCTIONS else {}
    return found


RULES = _rules()
_KINDS = tuple(key for key in RULES if isinstance(key, type) and issubclass(key, nn.Module))
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
        elif name not in read and isinstance(layer, _KINDS) and any(True for _ in layer.parameters(False)):
            found.append(name)
    return found


def follow(model: nn.Module, example: Any, units: Units) -> Walk:
    """Follow the neurons through one pass, node by node."""
    graph, walk = trace(model, example), Walk(model, units)
    walk.values = shapes_of(model, graph, example)
    walk.opaque = opaque_layers(model, graph)
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
    """Find where the channels of a value are; hold what enters an operation that cannot be followed."""
    if node.op in ("placeholder", "get_attr"):
        return None
    states, first = [walk.state(source) for source in node.all_input_nodes], walk.units.count
    if node.op == "output":
        return walk.hold(*states, why=OUTPUT)
    if isinstance(node.target, type):  # answers under names: a named tuple, a dataclass
        return tuple(states)
    rule, tensors = _rule(walk, node), _has_tensor(walk.values[node])
    walk.rules[node] = rule
    if not (tensors or (rule and rule.answers)):
        counted = [*_units(states)]
        return Count(np.concatenate(counted)) if counted and kind(walk, node) not in _NO_COUNTS else None
    try:
        if node.op == "call_module" and node.target in walk.opaque:
            raise UnfollowedError(walk.opaque[str(node.target)])
        if rule is None:
            raise UnfollowedError(f"{title(node)} ({kind(walk, node)}) has no rule")
        if not rule.answers:
            _check_counts(walk, node, rule)
        state = rule(walk, node)
        if state is None and tensors:
            walk.hold(*states, why=f"{title(node)} does not pass them on")
        return state
    except UnfollowedError as error:
        why = str(error)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:  # a computed axis, say
        why = f"the arguments of {title(node)} are not understood ({error!s:.80})"
    walk.taken -= {pair for pair in walk.taken if pair[1] is node}
    walk.hold(*states, Channels(0, np.arange(first, walk.units.count)), why=why)  # and what the rule opened
    return None


def _check_counts(walk: Walk, node: fx.Node, rule: Rule) -> None:
    """Tie numbers of channels that an operation is given to the channels it works on; hold all others."""
    counts = [count for source in node.all_input_nodes for count in _counts(walk.state(source))]
    x = next((x for source in node.all_input_nodes if (x := walk.channels(source))), None)
    for count in counts:
        if not rule.shown:
            walk.hold(count, why=f"{title(node)} computes with their number")
        elif x is None or (len(x.units) != len(count.units) and not walk.same(x.units, count.units)):
            walk.hold(count, why=f"{title(node)} gives their number to other values")
        elif not walk.same(x.units, count.units):
            walk.units.tie(x.units, count.units, f"{title(node)} takes its size from them")


def _counts(state: Any) -> Iterator[Count]:
    if isinstance(state, Count):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from _counts(part)


def _units(states: Iterable[Any]) -> Iterator[Row]:
    """Go through the units of channels, and of numbers of channels."""
    for state in states:
        if isinstance(state, Channels | Count):
            yield state.units
        elif isinstance(state, tuple):
            yield from _units(state)


def _has_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_tensor, value.values()))
    if dataclasses.is_dataclass(value):
        return any(map(_has_tensor, vars(value).values()))
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(map(_has_tensor, value)))


def _rule(walk: Walk, node: fx.Node) -> Rule | None:
    if node.op == "call_module":
        kinds = type(walk.model.get_submodule(str(node.target))).__mro__
        return next((RULES[kind] for kind in kinds if kind in RULES), None)
    vision = sys.modules.get("torchvision.ops")  # a network that uses it has imported it
    if vision is not None and node.target is vision.stochastic_depth:  # drops whole images or nothing
        return rules.pointwise
    return RULES.get(node.target)
