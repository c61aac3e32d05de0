"""How neurons move with operations that only move values: reshaped, reordered, taken in part."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from compresslab.surgery.rules import Rule
from compresslab.surgery.units import Channels
from compresslab.surgery.walk import DEPENDS, Walk, given, product, refusal, title
from tests.surgery.old_joins import concatenation, pieces, stacking


def reshape(walk: Walk, node: fx.Node) -> Channels | None:
    """Follow channels into another shape; the axis that has them must not be a number in the code."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    before, after = walk.shape(node.args[0]), walk.shape(node)
    outer, inner = product(before[: x.axis]), product(before[x.axis + 1 :])
    sizes = _written(node)
    starts, written = [product(after[:axis]) for axis in range(len(after))], None
    order = sorted(range(len(after)), key=lambda axis: starts[axis] != outer)  # a single channel fits often
    for axis in order:
        times, repeat = outer // starts[axis], inner // product(after[axis + 1 :])
        if times and repeat and after[axis] == times * len(x.units) * repeat:
            if not sizes or not _constant(sizes[axis]):
                return Channels(axis, np.tile(np.repeat(x.units, repeat), times))
            written = after[axis]
    for axis in range(len(after) - 1):
        whole = starts[axis] == outer and after[axis] * after[axis + 1] == len(x.units)
        if whole and sizes and _constant(sizes[axis]) != _constant(sizes[axis + 1]):
            second = _constant(sizes[axis])  # then the other one follows the number of channels
            rows = x.units.reshape(after[axis], -1)
            return _parted(walk, node, rows if second else rows.T, axis + second)
    found = f"the channels do not stay together from {before} to {after}"
    if written is not None:
        found = f"their number, {written}, is written in the code"
    raise refusal(node, found, "use flatten(1), or -1 for the size that follows from the others")


def _written(node: fx.Node) -> tuple[Any, ...]:
    """Return the sizes that a reshape asks for; none of flatten, which writes no numbers."""
    if node.op == "call_module" or getattr(node.target, "__name__", node.target) in ("flatten", "unflatten"):
        return ()
    sizes = node.args[1:] or (node.kwargs.get("shape", node.kwargs.get("size", ())),)
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else tuple(sizes)


def _constant(size: Any) -> bool:
    return isinstance(size, int) and size >= 0


def _parted(walk: Walk, node: fx.Node, rows: Any, axis: int) -> Channels:
    """Follow channels that become two axes, one of a written size: its places are tied to each other."""
    for row in rows[1:]:
        walk.units.tie(rows[0], row, f"{title(node)} orders them as {len(rows)} equal rows")
    return Channels(axis, rows[0])


def permutation(walk: Walk, node: fx.Node) -> Channels | None:
    """Follow the axis of channels to its new place."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    asked = given(node, 1, "dims")
    order: list[Any] = list(asked if isinstance(asked, tuple | list) else node.args[1:])
    return Channels([dim % len(order) for dim in order].index(x.axis), x.units)


def transposition(walk: Walk, node: fx.Node) -> Channels | None:
    """Follow the axis of channels when two axes change places."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    dims = len(walk.shape(node))
    left, right = given(node, 1, "dim0") % dims, given(node, 2, "dim1") % dims
    return Channels({left: right, right: left}.get(x.axis, x.axis), x.units)


def unsqueezing(walk: Walk, node: fx.Node) -> Channels | None:
    """Make room for a new axis."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    dim = given(node, 1, "dim") % len(walk.shape(node))
    return Channels(x.axis + (dim <= x.axis), x.units)


def squeezing(walk: Walk, node: fx.Node) -> Channels | None:
    """Drop axes of size 1; a single channel that would be dropped is held."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    before = walk.shape(node.args[0])
    asked = given(node, 1, "dim", tuple(range(len(before))))
    dims = {dim % len(before) for dim in (asked if isinstance(asked, tuple | list) else (asked,))}
    dropped = {dim for dim in dims if before[dim] == 1}
    if x.axis in dims:
        walk.hold(x, why=f"{title(node)} would drop the axis of a single channel")
    return None if x.axis in dropped else Channels(x.axis - sum(dim < x.axis for dim in dropped), x.units)


def reduction(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on where other axes are reduced; hold them where they are averaged themselves."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    count = len(walk.shape(node.args[0]))
    asked = given(node, 1, "dim", tuple(range(count)))
    dims = {dim % count for dim in (asked if isinstance(asked, tuple | list) else (asked,))}
    if x.axis in dims:
        walk.hold(x, why=f"{title(node)} takes them all together")
        return None
    gone = 0 if given(node, 2, "keepdim", False) else sum(dim < x.axis for dim in dims)
    return Channels(x.axis - gone, x.units)


def item(walk: Walk, node: fx.Node) -> Any:
    """Take one of several values, or a part of a tensor."""
    source, index = node.args
    state = walk.state(source)
    if isinstance(state, Channels):
        return _part(walk, node, state, index if isinstance(index, tuple) else (index,))
    if isinstance(state, tuple) and isinstance(index, int | slice):
        return state[index]
    return DEPENDS if state is DEPENDS else None


def _part(walk: Walk, node: fx.Node, x: Channels, index: tuple[Any, ...]) -> Channels | None:
    """Follow channels through an index that leaves them whole; hold them if it does not."""
    count = len(walk.shape(node.args[0]))
    taken = sum(entry is not None and entry is not Ellipsis for entry in index)
    wide = [slice(None)] * (count - taken)
    place = next((i for i, entry in enumerate(index) if entry is Ellipsis), len(index))
    full = [*index[:place], *wide, *index[place + 1 :]]
    simple = all(entry is None or isinstance(entry, int | slice) for entry in full)
    dims = [entry for entry in full if entry is not None]
    if not simple or dims[x.axis] != slice(None):
        walk.hold(x, why=f"{title(node)} takes some of them by place")
        return None
    axis = at = 0
    for entry in full:
        if entry is not None and at == x.axis:
            return Channels(axis, x.units)
        axis += not isinstance(entry, int)
        at += entry is not None
    return None


def padding(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on where other axes are padded."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    pads = given(node, 1, "pad") if node.op == "call_function" else _module(walk, node).padding
    if x.axis >= len(walk.shape(node)) - len(pads) // 2:
        walk.hold(x, why=f"{title(node)} pads them")
        return None
    return x


def _module(walk: Walk, node: fx.Node) -> Any:
    return walk.model.get_submodule(str(node.target))


def size(walk: Walk, node: fx.Node) -> Any:
    """Say which sizes of a tensor would change with its channels."""
    x, which = walk.channels(node.args[0]), given(node, 1, "dim")
    if x is None:
        return None
    sizes = tuple(DEPENDS if axis == x.axis else None for axis in range(len(walk.shape(node.args[0]))))
    return sizes if which is None else sizes[which]


def attribute(walk: Walk, node: fx.Node) -> Any:
    """Follow ``x.shape``; other attributes of a tensor do not depend on how many channels it has."""
    if node.args[1] == "shape":
        sizes = walk.channels(node.args[0])
        count = len(walk.shape(node.args[0]))
        return sizes and tuple(DEPENDS if axis == sizes.axis else None for axis in range(count))
    if node.args[1] == "nbytes" and walk.channels(node.args[0]):
        return DEPENDS
    if isinstance(walk.values[node], Tensor) and walk.channels(node.args[0]):
        raise refusal(node, f".{node.args[1]} of a tensor has no rule", "use permute or transpose")
    return None


def _pair(name: str, rule: Rule) -> dict[Any, Rule]:
    return {name: rule} | ({getattr(torch, name): rule} if hasattr(torch, name) else {})


MOVE_RULES: dict[Any, Rule] = {
    torch.cat: concatenation,
    torch.concat: concatenation,
    torch.concatenate: concatenation,
    torch.stack: stacking,
    operator.getitem: item,
    getattr: attribute,
    "size": size,
    nn.Flatten: reshape,
    nn.functional.pad: padding,
    nn.ZeroPad2d: padding,
    nn.ReflectionPad2d: padding,
    nn.ReplicationPad2d: padding,
    nn.ConstantPad2d: padding,
    "view": reshape,
    **_pair("flatten", reshape),
    **_pair("reshape", reshape),
    **_pair("chunk", pieces),
    **_pair("split", pieces),
    **_pair("permute", permutation),
    **_pair("transpose", transposition),
    **_pair("swapaxes", transposition),
    **_pair("unsqueeze", unsqueezing),
    **_pair("squeeze", squeezing),
    **_pair("mean", reduction),
    **_pair("sum", reduction),
    **_pair("amax", reduction),
    **_pair("amin", reduction),
}
