"""Follow neurons through a traced network, node by node, each by the rule for what it does."""

import dataclasses
import operator
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from compresslab.errors import CompressionError
from compresslab.models.shapes import shapes_of
from compresslab.models.tracing import trace
from compresslab.surgery import moves, rules
from compresslab.surgery.units import Channels, Units
from compresslab.surgery.walk import DEPENDS, OUTPUT, Rule, Walk, check_calls, kind, refusal, title

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
    moves.reshaping: "Flatten Unflatten",
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
    "float double half bfloat16 to type_as detach requires_grad_ cpu",
    rules.linear: "linear",
    rules.convolution: "conv1d conv2d conv3d",
    rules.layer_norm: "layer_norm",
    rules.group_norm: "group_norm",
    rules.resizing: "interpolate upsample",
    rules.mixing: "softmax log_softmax",
    moves.moving: "permute transpose swapaxes swapdims movedim moveaxis unsqueeze narrow select flip roll",
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
    rule = walk.rules[node] = _rule(walk, node)
    if rule is None or not (rule.answers or _has_tensor(walk.values[node])):
        return _without_rule(walk, node, states)
    if any(map(_depends, states)) and not (rule.answers or rule.shown):
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
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(map(_has_tensor, value)))


def _rule(walk: Walk, node: fx.Node) -> Rule | None:
    if node.op == "call_module":
        kinds = type(walk.model.get_submodule(str(node.target))).__mro__
        return next((RULES[kind] for kind in kinds if kind in RULES), None)
    vision = sys.modules.get("torchvision.ops")  # a network that uses it has imported it
    if vision is not None and node.target is vision.stochastic_depth:  # drops whole images or nothing
        return rules.pointwise
    return RULES.get(node.target)
