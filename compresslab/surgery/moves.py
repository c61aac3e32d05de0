"""How neurons move with operations that only move values: they are run on place numbers and watched."""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, fx

from compresslab.surgery.units import Channels, Row
from compresslab.surgery.walk import Count, Rule, UnfollowedError, Walk, given, setting, title

_FAILURES = (RuntimeError, TypeError, ValueError, IndexError)  # torch's, where sizes do not fit


def observed(walk: Walk, node: fx.Node) -> tuple[Any, list[Tensor]]:
    """Run an operation on place numbers, and read off where each place went.

    It runs on the channels as they are, and on three times as many, of which two thirds are copies. An
    operation that counts no channels gives the same in both, but for the copies. Where this is true of
    copies that stand before or behind all places, each channel goes its own way. If it is only true of
    copies of each, the channels are laid out in equal rows or parts: what stands at one place of each is
    tied, so that they stay equal.

    Returns:
        The state of the result, None where it cannot be followed; and the place numbers in it.
    """
    sources = [source for source in node.all_input_nodes if walk.channels(source)]
    if not sources:
        return None, []
    units, several = walk.states[sources[0]].units, isinstance(walk.values[node], tuple | list)
    count, places = len(units), np.arange(1, len(units) + 1)
    parts = _ran(walk, node, sources[0], places)

    def without_copies(wide: Row) -> list[tuple[int, list[ndarray]]]:
        return _compared(parts, _ran(walk, node, sources[0], wide))

    uneven = [np.pad(places, ends) for ends in ((1, 2 * count - 1), (2 * count - 1, 1))]
    even = [np.kron(places, [0, 1, 0]), np.kron([0, 1, 0], places)]  # of each place, of all
    found = without_copies(uneven[0]) and without_copies(uneven[1])
    if found and all(len(lines) == 1 for _, lines in found):
        states = tuple(Channels(axis, units[lines[0] - 1]) for axis, lines in found)
        return states if several else states[0], parts
    for wide in even:
        found = without_copies(wide)
        rows = [units[line - 1] for _, lines in found for line in lines]
        if len(rows) > 1 and {len(row) * len(rows) for row in rows} == {count}:  # each place once
            how = "cuts them into {} equal parts" if several else "orders them as {} equal rows"
            for row in rows[1:]:
                walk.units.tie(rows[0], row, f"{title(node)} {how.format(len(rows))}")
            states = tuple(Channels(axis, row) for (axis, _), row in zip(found, rows, strict=several))
            return states if several else states[0], parts
    return None, parts


def _ran(walk: Walk, node: fx.Node, source: fx.Node, places: Row) -> list[Tensor]:
    """Return what an operation makes of numbered channels, in a list; nothing where it fails."""
    x = walk.states[source]
    sizes, times = list(walk.shape(source)), len(places) // len(x.units)
    sizes[x.axis] = len(places)
    marks = torch.from_numpy(places.astype(np.int32)).view(-1, *[1] * (len(sizes) - x.axis - 1)).expand(sizes)

    def grown(value: Any, state: Any) -> Any:  # a number of these channels, and sizes with it among them
        if isinstance(value, tuple) and isinstance(state, tuple):
            return tuple(map(grown, value, state))
        counts = isinstance(state, Count) and walk.same(state.units, x.units)
        return value * times if counts else value

    def argument(other: fx.Node) -> Any:
        return marks if other is source else grown(walk.values[other], walk.state(other))

    args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), argument)
    function: Any = node.target
    if node.op == "call_module":
        function = walk.model.get_submodule(function)
    elif node.op == "call_method":  # marks are spread without being copied, which a view cannot read
        function = getattr(Tensor, "reshape" if function == "view" else function)
    try:
        made = function(*args, **kwargs)
    except _FAILURES:
        return []
    return list(made) if isinstance(made, tuple | list) else [made]


def _compared(parts: list[Tensor], wide: list[Tensor]) -> list[tuple[int, list[ndarray]]]:
    """Return for each part the axis along which copies stand, and all lines of places along it.

    Nothing, if the parts are not the same without copies.
    """
    found: list[tuple[int, list[ndarray]]] = []
    for part, more in zip(parts, wide, strict=True) if len(parts) == len(wide) else ():
        core = _core(more)
        marks = _core(core > 0)
        axes = [axis for axis, size in enumerate(marks.shape) if size > 1]
        if len(axes) != 1:
            return []
        axis, kept = axes[0], marks.flatten().nonzero()[:, 0]
        sizes = [len(kept) if i == axis else size for i, size in enumerate(more.shape)]
        if sizes != list(part.shape) or not torch.equal(_core(core.index_select(axis, kept)), _core(part)):
            return []
        lines = _core(part, axis).movedim(axis, -1).reshape(-1, len(kept)).numpy()
        found.append((axis, list({line.tobytes(): line for line in lines}.values())))  # each line once
    return found


def _core(marks: Tensor, whole: int = -1) -> Tensor:
    """Keep one place along every axis on which nothing changes, but for one that shall stay whole."""
    strides = marks.stride()
    for axis in sorted(range(len(strides)), key=strides.__getitem__):  # those of one number (0) come first
        first = marks.narrow(axis, 0, min(1, marks.shape[axis]))
        if axis != whole and (strides[axis] == 0 or bool((marks == first).all())):
            marks = first
    return marks


def _moved(walk: Walk, node: fx.Node) -> Any:
    """Follow channels to their new places; hold them where the code names some by place."""
    state, parts = observed(walk, node)
    if state is None:
        how = "cuts them at places written in the code" if len(parts) > 1 else "takes some of them by place"
        walk.hold(*node.all_input_nodes, why=f"{title(node)} {how}")
    return state


moving, sizing = Rule(_moved), Rule(_moved, shown=True)


@partial(Rule, shown=True)
def reshaping(walk: Walk, node: fx.Node) -> Channels | None:
    """Follow channels into another shape; the axis that has them must not be a number in the code."""
    state, parts = observed(walk, node)
    if state is None and parts:
        before, after = walk.shape(node.args[0]), walk.shape(node)
        axes = [axis for axis, size in enumerate(_core(parts[0]).shape) if size > 1]
        found = f"they do not stay together from {before} to {after}"
        if len(axes) == 1:
            found = f"their number, {after[axes[0]]}, is written in the code; use flatten(1), or -1"
        raise UnfollowedError(f"{title(node)}: {found}")
    return state


@Rule
def squeezing(walk: Walk, node: fx.Node) -> Channels | None:
    """Drop axes of size 1; a single channel that would be dropped is held."""
    x, count = walk.channels(node.args[0]), len(walk.shape(node.args[0]))
    if x is not None and x.axis in _dims(node, count):
        walk.hold(x, why=f"{title(node)} would drop the axis of a single channel")
    return moving(walk, node)


@Rule
def reduction(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on where other axes are reduced; hold them where they are averaged themselves."""
    x, count = walk.channels(node.args[0]), len(walk.shape(node.args[0]))
    if x is None:
        return None
    dims = _dims(node, count)
    if x.axis in dims:
        walk.hold(x, why=f"{title(node)} takes them all together")
        return None
    gone = 0 if given(node, 2, "keepdim", False) else sum(dim < x.axis for dim in dims)
    return Channels(x.axis - gone, x.units)


def _dims(node: fx.Node, count: int) -> set[int]:
    """Return the axes that an operation is asked for; all, if it is not told."""
    asked = given(node, 1, "dim", tuple(range(count)))
    return {dim % count for dim in (asked if isinstance(asked, tuple | list) else (asked,))}


@partial(Rule, answers=True)
def item(walk: Walk, node: fx.Node) -> Any:
    """Take one of several values, or a part of a tensor."""
    source, index = node.args
    state = walk.state(source)
    if isinstance(state, Channels):
        return moving(walk, node)
    if isinstance(state, tuple) and isinstance(index, int | slice):
        return state[index]
    return state if isinstance(state, Count) else None


@Rule
def joining(walk: Walk, node: fx.Node) -> Channels | None:
    """Join the units of all parts; along another axis, tie what is put side by side."""
    tensors, dims = given(node, 0, "tensors"), len(walk.shape(node))
    one = isinstance(tensors, fx.Node)  # a value that is several tensors
    parts = walk.values[tensors] if one else [walk.values[part] for part in tensors]
    states = (
        (walk.state(tensors) or [None] * len(parts)) if one else [walk.channels(part) for part in tensors]
    )
    dim, axes = given(node, 1, "dim", 0) % dims, {x.axis for x in states if x}
    if len(axes) != 1:
        if axes:
            raise UnfollowedError(f"{title(node)} joins channels along different axes; permute them first")
        return None
    (axis,) = axes
    why = f"{title(node)} joins them to what is not cut"
    rows = [
        walk.units.fixed(part.shape[axis], why) if x is None else x.units
        for part, x in zip(parts, states, strict=True)
    ]
    stacked = parts[0].dim() < dims  # along an axis of its own
    if axis == dim and not stacked:
        return Channels(axis, np.concatenate(rows))
    for row in rows[1:]:
        walk.units.tie(rows[0], row, f"{title(node)} puts them side by side")
    return Channels(axis + (stacked and dim <= axis), rows[0])


@Rule
def padding(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on where other axes are padded."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    pads = setting(walk, node, "padding" if node.op == "call_module" else "pad", 1, ())
    if x.axis >= len(walk.shape(node)) - len(pads) // 2:
        walk.hold(x, why=f"{title(node)} pads them")
        return None
    return x


@partial(Rule, answers=True)
def size(walk: Walk, node: fx.Node) -> Any:
    """Say which sizes of a tensor would change with its channels."""
    sizes, which = _sizes(walk, node.args[0]), given(node, 1, "dim")
    return sizes[which] if sizes and which is not None else sizes


@partial(Rule, answers=True)
def attribute(walk: Walk, node: fx.Node) -> Any:
    """Follow ``x.shape``; most other attributes of a tensor do not depend on how many channels it has."""
    sizes, name, state = _sizes(walk, node.args[0]), node.args[1], walk.state(node.args[0])
    if isinstance(walk.values[node], Tensor) or (state and not sizes):
        raise UnfollowedError(f".{name} has no rule; of a tensor, use permute or transpose")
    return sizes if name == "shape" else Count(state.units) if sizes and name == "nbytes" else None


def _sizes(walk: Walk, source: Any) -> Any:
    x = walk.channels(source)
    return x and tuple(Count(x.units) if axis == x.axis else None for axis in range(len(walk.shape(source))))
