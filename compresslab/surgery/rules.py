"""How layers make, read, pass on and mix neurons: one rule for each kind of layer."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F

from compresslab.surgery.norm_rules import (
    batch_norm,
    group_norm,
    layer_norm,
    parametric_relu,
    required,
    tie_rows,
)
from compresslab.surgery.units import Channels
from compresslab.surgery.walk import INPUT, Walk, given, kind, refusal, setting, title

Rule = Callable[[Walk, fx.Node], Any]


def linear(walk: Walk, node: fx.Node) -> Channels:
    """Open a unit for every output; read the channels of the last axis."""
    weight = required(walk, node, "weight", 1)
    x, last = walk.channels(node.args[0]), len(walk.shape(node)) - 1
    units = _opened(walk, node, weight)
    if x is not None and x.axis != last:
        walk.hold(x, Channels(last, units), why=f"{title(node)} works across another axis")
        return Channels(last, units)
    if x is not None:
        _reads(walk, node, weight, 1, x)
    walk.slot(walk.parameter(node, "bias", 2), 0, units)
    return Channels(last, units)


def convolution(walk: Walk, node: fx.Node) -> Channels:
    """Open a unit for every output channel; read all input channels, or tie whole groups of both."""
    weight = required(walk, node, "weight", 1)
    shape, groups = walk.tensors[weight].shape, setting(walk, node, "groups", 6, 1)
    x, axis = walk.channels(node.args[0]), len(walk.shape(node)) + 1 - len(shape)
    if x is not None and x.axis != axis:
        raise refusal(node, "it slides over the axis of channels", "put channels second")
    units = _opened(walk, node, weight)
    walk.slot(walk.parameter(node, "bias", 2), 0, units)
    if groups > 1:
        _tie_groups(walk, node, x, units, groups)
    elif x is not None:
        _reads(walk, node, weight, 1, x)
    return Channels(axis, units)


def transposed_convolution(walk: Walk, node: fx.Node) -> Channels:
    """Do as a convolution does; its weight has inputs first."""
    layer: Any = walk.model.get_submodule(str(node.target))
    if layer.groups != 1:
        raise refusal(node, "it is a transposed convolution in groups", "use one without")
    name, axis = str(node.target), len(walk.shape(node)) + 1 - layer.weight.dim()
    x, units = walk.channels(node.args[0]), walk.opens(node, name, layer.out_channels)
    if x is not None and x.axis != axis:
        raise refusal(node, "it slides over the axis of channels", "put channels second")
    walk.slot(f"{name}.weight", 1, units)
    walk.slot(walk.parameter(node, "bias", 2), 0, units)
    if x is not None:
        _reads(walk, node, f"{name}.weight", 0, x)
    return Channels(axis, units)


def _opened(walk: Walk, node: fx.Node, weight: str) -> Any:
    units = walk.opens(node, weight.removesuffix("weight").rstrip("."), len(walk.tensors[weight]))
    walk.slot(weight, 0, units)
    return units


def _reads(walk: Walk, node: fx.Node, weight: str, dim: int, x: Channels) -> None:
    walk.slot(weight, dim, x.units)
    walk.readers[weight.removesuffix("weight").rstrip(".")] = x.units


def _tie_groups(walk: Walk, node: fx.Node, x: Channels | None, units: Any, groups: int) -> None:
    """Let a group of a convolution go as a whole, its inputs with its outputs."""
    size = walk.shape(node.args[0])[-len(walk.shape(node)) + 1] // groups
    inputs = walk.units.fixed(groups * size, INPUT) if x is None else x.units
    rows, why = inputs.reshape(groups, -1), f"{title(node)} works in {groups} groups"
    if size > 1:
        tie_rows(walk, rows, why)
    first = rows[:, :1]
    outputs = units.reshape(groups, -1)
    walk.units.tie(np.broadcast_to(first, outputs.shape), outputs, why)


def attention(walk: Walk, node: fx.Node) -> tuple[None, None]:
    """Hold what goes in; what comes out is held too, as heads share all channels."""
    walk.hold(*node.args, *node.kwargs.values(), why=f"{title(node)} is attention, whose heads are not cut")
    return None, None


def pointwise(walk: Walk, node: fx.Node) -> Channels | None:
    """Combine tensors place by place: channels that meet are tied."""
    operands = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, fx.Node)]
    dims, why = len(walk.shape(node)), f"{title(node)} joins them"
    met = [Channels(x.axis + dims - len(walk.shape(a)), x.units) for a in operands if (x := walk.channels(a))]
    if not met:
        return None
    axis = max(met, key=lambda x: len(x.units)).axis
    width = walk.shape(node)[axis]
    wide = [x for x in met if x.axis == axis and len(x.units) == width]
    if len(wide) < len(met):  # one channel spread over many, or channels along different axes
        walk.hold(*met, why=f"{title(node)} spreads one over others")
    for x in wide[1:]:
        walk.units.tie(wide[0].units, x.units, why)
    for other in operands:
        if walk.channels(other) is None:
            _meets_fixed(walk, node, other, wide[0], axis - dims)
    return Channels(axis, wide[0].units)


def _meets_fixed(walk: Walk, node: fx.Node, other: fx.Node, x: Channels, axis: int) -> None:
    """Cut a parameter that meets channels; hold the channels that meet anything else of their width."""
    shape = walk.shape(other)
    if len(shape) < -axis or shape[axis] == 1:
        return
    if other.op == "get_attr" and str(other.target) in walk.tensors:
        walk.taken.add((other, node))
        walk.slot(str(other.target), axis + len(shape), x.units)
    else:
        walk.hold(x, why=f"{title(node)} joins them to what is not cut")


def pooling(spatial: int) -> Rule:
    """Make the rule of a layer that works within each channel, over the last ``spatial`` axes."""

    def rule(walk: Walk, node: fx.Node) -> Channels | None:
        x = walk.channels(given(node, 0, "input"))
        if x is not None and x.axis >= len(walk.shape(given(node, 0, "input"))) - spatial:
            raise refusal(node, "it works across channels", "put channels before height and width")
        return x

    return rule


def resizing(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on through a change of size: all axes but the first two."""
    x = walk.channels(node.args[0])
    return x if x is None else pooling(len(walk.shape(node.args[0])) - 2)(walk, node)


def mixing(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on where another axis is mixed; hold them where they are, as by a softmax over them."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    dim = setting(walk, node, "dim", 1, None)
    if not isinstance(dim, int) or dim % len(walk.shape(node)) == x.axis:
        walk.hold(x, why=f"{kind(walk, node)} {title(node)!r} compares them with each other")
    return x


def _words(text: str) -> list[str]:
    return text.split()


_ACTIVATIONS = _words(
    "relu relu_ relu6 elu elu_ selu celu gelu silu mish leaky_relu leaky_relu_ hardtanh hardswish "
    "hardsigmoid softplus softsign tanh sigmoid logsigmoid dropout dropout1d dropout2d dropout3d "
    "alpha_dropout tanhshrink hardshrink softshrink threshold rrelu"
)
_ARITHMETIC = _words(
    "add sub mul div true_divide maximum minimum pow abs exp log neg sqrt rsqrt square clamp clamp_min "
    "clamp_max where lerp addcmul positive"
)
_OPERATORS = _words("add sub mul truediv iadd isub imul itruediv pow neg abs pos")
_METHODS = _words(
    "contiguous clone float double half to type_as detach add_ sub_ mul_ div_ clamp_ exp_ neg_ abs_ "
    "tanh_ sigmoid_ requires_grad_ bfloat16 cpu"
)
_MODULES = _words(
    "ReLU ReLU6 ELU SELU CELU GELU SiLU Mish LeakyReLU Hardtanh Hardswish Hardsigmoid Softplus Softsign "
    "Tanh Sigmoid LogSigmoid Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout "
    "Identity Tanhshrink Hardshrink Softshrink Threshold RReLU"
)


def _table() -> dict[Any, Rule]:
    table: dict[Any, Rule] = {}
    for place in (torch, F):
        table |= {getattr(place, n): pointwise for n in (*_ACTIVATIONS, *_ARITHMETIC) if hasattr(place, n)}
    table |= {getattr(operator, name): pointwise for name in _OPERATORS}
    table |= dict.fromkeys((*_ACTIVATIONS, *_ARITHMETIC, *_METHODS), pointwise)
    table |= {getattr(nn, name): pointwise for name in _MODULES}
    for n in (1, 2, 3):
        table |= {getattr(nn, f"Conv{n}d"): convolution, getattr(F, f"conv{n}d"): convolution}
        table |= {getattr(nn, f"ConvTranspose{n}d"): transposed_convolution}
        table |= {getattr(nn, f"BatchNorm{n}d"): batch_norm, getattr(nn, f"InstanceNorm{n}d"): batch_norm}
        for name in ("MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "LPPool"):
            if hasattr(nn, f"{name}{n}d"):
                table[getattr(nn, f"{name}{n}d")] = pooling(n)
        for name in ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"):
            table[getattr(F, f"{name}{n}d")] = pooling(n)
    table |= {torch.adaptive_avg_pool1d: pooling(1), torch.avg_pool1d: pooling(1)}
    table |= {nn.Upsample: resizing, F.interpolate: resizing, F.upsample: resizing}
    table |= {nn.Linear: linear, F.linear: linear, F.batch_norm: batch_norm}
    table |= {nn.LayerNorm: layer_norm, F.layer_norm: layer_norm}
    table |= {nn.GroupNorm: group_norm, F.group_norm: group_norm, nn.PReLU: parametric_relu}
    table |= {nn.MultiheadAttention: attention}
    for name in ("softmax", "log_softmax"):
        table |= dict.fromkeys((name, getattr(torch, name), getattr(F, name)), mixing)
    return table | dict.fromkeys((nn.Softmax, nn.LogSoftmax, nn.Softmin), mixing)


LAYER_RULES = _table()
