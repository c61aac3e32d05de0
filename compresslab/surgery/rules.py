"""What layers and functions do that make, pass on or mix neurons: one rule for each kind of layer."""

from functools import partial
from typing import Any

import numpy as np
from torch import fx

from compresslab.surgery.units import Channels, Row
from compresslab.surgery.walk import INPUT, Rule, UnfollowedError, Walk, given, kind, setting, title


@Rule
def linear(walk: Walk, node: fx.Node) -> Channels:
    """Open a unit for every output; read the channels of the last axis."""
    x, last = walk.channels(node.args[0]), len(walk.shape(node)) - 1
    weight, units = _opened(walk, node)
    if x is not None and x.axis != last:
        walk.hold(x, why=f"{title(node)} works across another axis")
    elif x is not None:
        _reads(walk, weight, 1, x)
    return Channels(last, units)


@partial(Rule, shown=True)
def convolution(walk: Walk, node: fx.Node) -> Channels:
    """Open a unit for every output channel; read all input channels, or tie whole groups of both."""
    x = _across(walk, node)
    weight, units = _opened(walk, node)
    groups = setting(walk, node, "groups", 6, 1)
    if groups > 1:
        _tie_groups(walk, node, x, units, groups)
    elif x is not None:
        _reads(walk, weight, 1, x)
    return Channels(_axis(walk, node), units)


@Rule
def transposed_convolution(walk: Walk, node: fx.Node) -> Channels:
    """Do as a convolution does; its weight has inputs first."""
    if setting(walk, node, "groups", 6, 1) != 1:
        raise UnfollowedError(f"{title(node)} is a transposed convolution in groups")
    x = _across(walk, node)
    weight, units = _opened(walk, node, 1)
    if x is not None:
        _reads(walk, weight, 0, x)
    return Channels(_axis(walk, node), units)


def _opened(walk: Walk, node: fx.Node, dim: int = 0) -> tuple[str, Row]:
    """Open the units of a layer that has its outputs along one axis of its weight; return both."""
    weight = _required(walk, node, "weight", 1)
    units = walk.opens(node, _layer(weight), walk.tensors[weight].shape[dim])
    walk.slot(weight, dim, units)
    walk.slot(walk.parameter(node, "bias", 2), 0, units)
    return weight, units


def _reads(walk: Walk, weight: str, dim: int, x: Channels) -> None:
    walk.slot(weight, dim, x.units)
    walk.readers[_layer(weight)] = x.units


def _layer(weight: str) -> str:
    return weight.removesuffix("weight").rstrip(".")


def _required(walk: Walk, node: fx.Node, name: str, place: int) -> str:
    found = walk.parameter(node, name, place)
    if found is None or found not in walk.tensors:
        raise UnfollowedError(f"{title(node)} has no {name} that is a parameter")
    return found


def _axis(walk: Walk, node: fx.Node) -> int:
    """Return the axis that a convolution does not slide over."""
    return len(walk.shape(node)) + 1 - walk.tensors[_required(walk, node, "weight", 1)].dim()


def _across(walk: Walk, node: fx.Node) -> Channels | None:
    x = walk.channels(node.args[0])
    if x is not None and x.axis != _axis(walk, node):
        raise UnfollowedError(f"{title(node)} slides over the axis of channels; put channels second")
    return x


def _tie_groups(walk: Walk, node: fx.Node, x: Channels | None, units: Row, groups: int) -> None:
    """Let a group of a convolution go as a whole, its inputs with its outputs."""
    size = walk.shape(node.args[0])[_axis(walk, node)] // groups
    inputs = walk.units.fixed(groups * size, INPUT) if x is None else x.units
    rows, why = inputs.reshape(groups, -1), f"{title(node)} works in {groups} groups"
    if size > 1:
        _tie_rows(walk, rows, rows, why)
    _tie_rows(walk, rows, units.reshape(groups, -1), why)


def _tie_rows(walk: Walk, rows: Any, others: Any, why: str) -> None:
    """Tie every unit of each row to the first one of the other row."""
    walk.units.tie(np.broadcast_to(rows[:, :1], others.shape), others, why)


@partial(Rule, passes=True, norm=True)
def batch_norm(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on; scale, shift and statistics are cut with them."""
    x = _second(walk, node)
    return x and _normed(walk, node, x, weight=3, bias=4, running_mean=1, running_var=2)


@partial(Rule, passes=True, norm=True, across=True)
def group_norm(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on; the channels of a group go together, but where one group has all."""
    x, groups = _second(walk, node), setting(walk, node, "num_groups", 1, 1)
    if x is not None and groups > 1:
        rows = x.units.reshape(groups, -1)
        _tie_rows(walk, rows, rows, f"{title(node)} normalises in {groups} groups")
    return x and _normed(walk, node, x, weight=2, bias=3)


@partial(Rule, passes=True, norm=True, across=True, shown=True)
def layer_norm(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on; a norm over channels normalises those that are left."""
    x, sizes = walk.channels(node.args[0]), setting(walk, node, "normalized_shape", 1, ())
    first = len(walk.shape(node)) - len(sizes)
    return x if x is None or x.axis < first else _normed(walk, node, x, x.axis - first, weight=2, bias=3)


def _second(walk: Walk, node: fx.Node) -> Channels | None:
    x = walk.channels(node.args[0])
    if x is not None and x.axis != min(1, len(walk.shape(node)) - 1):
        raise UnfollowedError(f"{title(node)} normalises another axis; put channels second")
    return x


def _normed(walk: Walk, node: fx.Node, x: Channels, dim: int = 0, **places: int) -> Channels:
    """Cut the tensors of a norm; without any, hold what it reads: a loaded file could not tell the width."""
    names = [walk.parameter(node, name, place) for name, place in places.items()]
    for name in names:
        walk.slot(name, dim, x.units)
    if not any(names):
        walk.hold(x, why=f"{title(node)} has no tensor that would tell its width")
    return x


@Rule
def parametric_relu(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on; slopes for each channel are cut with them."""
    x, name = walk.channels(node.args[0]), _required(walk, node, "weight", 1)
    if x is not None and len(walk.tensors[name]) > 1:
        walk.slot(name, 0, x.units)
    return x


@Rule
def attention(walk: Walk, node: fx.Node) -> tuple[None, None]:
    """Hold what goes in; what comes out is held too, as heads share all channels."""
    walk.hold(*node.args, *node.kwargs.values(), why=f"{title(node)} is attention, whose heads are not cut")
    return None, None


@partial(Rule, passes=True)
def pointwise(walk: Walk, node: fx.Node) -> Channels | None:
    """Combine tensors place by place: channels that meet are tied."""
    operands = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, fx.Node)]
    dims, why = len(walk.shape(node)), f"{title(node)} joins them"
    met = [Channels(x.axis + dims - len(walk.shape(a)), x.units) for a in operands if (x := walk.channels(a))]
    if not met:
        return None
    axis = met[0].axis
    if any(x.axis != axis for x in met):
        raise UnfollowedError(f"{title(node)} joins channels along different axes")
    width = walk.shape(node)[axis]
    wide = [x for x in met if len(x.units) == width]
    if len(wide) < len(met):
        walk.hold(*met, why=f"{title(node)} spreads one over others")
    if not wide:
        return None
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


@Rule
def gating(walk: Walk, node: fx.Node) -> Channels | None:
    """Tie the channels of the first half to those of the second, which open and close them."""
    x, dim = walk.channels(node.args[0]), setting(walk, node, "dim", 1, -1)
    if x is None or dim % len(walk.shape(node)) != x.axis:
        return x
    left, right = x.units.reshape(2, -1)
    walk.units.tie(left, right, f"{title(node)} multiplies two halves")
    return Channels(x.axis, left)


def pooling(spatial: int) -> Rule:
    """Make the rule of a layer that works within each channel, over the last ``spatial`` axes."""

    @Rule
    def rule(walk: Walk, node: fx.Node) -> Channels | None:
        x = walk.channels(given(node, 0, "input"))
        if x is not None and x.axis >= len(walk.shape(given(node, 0, "input"))) - spatial:
            raise UnfollowedError(f"{title(node)} works across channels; put them before height and width")
        return x

    return rule


@Rule
def resizing(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on through a change of size: all axes but the first two."""
    x = walk.channels(node.args[0])
    return x if x is None else pooling(len(walk.shape(node.args[0])) - 2)(walk, node)


@Rule
def mixing(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on where another axis is mixed; hold them where they are, as by a softmax over them."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    dim = setting(walk, node, "dim", 1, None)
    if not isinstance(dim, int) or dim % len(walk.shape(node)) == x.axis:
        walk.hold(x, why=f"{kind(walk, node)} {title(node)!r} compares them with each other")
    return x
