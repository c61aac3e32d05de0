"""How norms pass neurons on, with scales, shifts and statistics that are cut with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx

from compresslab.surgery.units import Channels
from compresslab.surgery.walk import Walk, refusal, setting, title


def batch_norm(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on; scale, shift and statistics are cut with them."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    if x.axis != min(1, len(walk.shape(node)) - 1):
        raise refusal(node, "it normalises another axis than that of channels", "put channels second")
    places = {"weight": 3, "bias": 4, "running_mean": 1, "running_var": 2}
    names = [walk.parameter(node, name, place) for name, place in places.items()]
    _cut_norm(walk, node, x, names)
    return x


def layer_norm(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on; a norm over channels normalises those that are left."""
    x = walk.channels(node.args[0])
    sizes = setting(walk, node, "normalized_shape", 1, ())
    dims = len(walk.shape(node))
    if x is None or x.axis < dims - len(sizes):
        return x
    names = [walk.parameter(node, "weight", 2), walk.parameter(node, "bias", 3)]
    for name in names:
        walk.slot(name, x.axis - dims + len(sizes), x.units)
    _hold_bare(walk, node, x, names)
    return x


def group_norm(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on; the channels of a group go together, but where one group has all."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    if x.axis != 1:
        raise refusal(node, "it normalises another axis than that of channels", "put channels second")
    groups = setting(walk, node, "num_groups", 1, 1)
    if groups > 1:
        tie_rows(walk, x.units.reshape(groups, -1), f"{title(node)} normalises in {groups} groups")
    _cut_norm(walk, node, x, [walk.parameter(node, "weight", 2), walk.parameter(node, "bias", 3)])
    return x


def _cut_norm(walk: Walk, node: fx.Node, x: Channels, names: list[str | None]) -> None:
    for name in names:
        walk.slot(name, 0, x.units)
    _hold_bare(walk, node, x, names)


def _hold_bare(walk: Walk, node: fx.Node, x: Channels, names: list[str | None]) -> None:
    """Hold what a norm without tensors reads: a loaded file could not tell its new width."""
    if not any(names):
        walk.hold(x, why=f"{title(node)} has no tensor that would tell its width")


def parametric_relu(walk: Walk, node: fx.Node) -> Channels | None:
    """Pass channels on; slopes for each channel are cut with them."""
    x = walk.channels(node.args[0])
    name = required(walk, node, "weight", 1)
    if x is not None and len(walk.tensors[name]) > 1:
        walk.slot(name, 0, x.units)
    return x


def tie_rows(walk: Walk, rows: Any, why: str) -> None:
    """Tie every unit of a row to the first one."""
    walk.units.tie(np.broadcast_to(rows[:, :1], rows.shape), rows, why)


def required(walk: Walk, node: fx.Node, name: str, place: int) -> str:
    found = walk.parameter(node, name, place)
    if found is None or found not in walk.tensors:
        raise refusal(node, f"it has no {name} that is a parameter", "use a layer that has one")
    return found
