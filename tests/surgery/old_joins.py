"""How neurons stand after tensors were joined, or one was cut into pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from compresslab.surgery.units import Channels
from compresslab.surgery.walk import DEPENDS, Walk, given, refusal, title


def concatenation(walk: Walk, node: fx.Node) -> Channels | None:
    """Join the units of all parts; along another axis, tie what stands side by side."""
    states, shapes = _parts(walk, node)
    dim = given(node, 1, "dim", 0) % len(walk.shape(node))
    known = [x for x in states if x is not None]
    if not known:
        return None
    axis = known[0].axis
    if any(x.axis != axis for x in known):
        raise refusal(node, "its parts have their channels along different axes", "permute them first")
    why = f"{title(node)} joins them to what is not cut"
    rows = [
        walk.units.fixed(shape[axis], why) if x is None else x.units
        for shape, x in zip(shapes, states, strict=True)
    ]
    if axis == dim:
        return Channels(axis, np.concatenate(rows))
    for row in rows[1:]:
        walk.units.tie(rows[0], row, f"{title(node)} puts them side by side")
    return Channels(axis, rows[0])


def stacking(walk: Walk, node: fx.Node) -> Channels | None:
    """Tie what is put side by side along a new axis."""
    states, _ = _parts(walk, node)
    dim, known = given(node, 1, "dim", 0) % len(walk.shape(node)), [x for x in states if x is not None]
    if not known:
        return None
    if len(known) < len(states) or any(x.axis != known[0].axis for x in known):
        walk.hold(states, why=f"{title(node)} joins them to what is not cut")
    for x in known[1:]:
        walk.units.tie(known[0].units, x.units, f"{title(node)} puts them side by side")
    return Channels(known[0].axis + (dim <= known[0].axis), known[0].units)


def _parts(walk: Walk, node: fx.Node) -> tuple[list[Channels | None], list[tuple[int, ...]]]:
    """Return the states and the shapes of what is joined: tensors in a list, or in one value."""
    tensors = given(node, 0, "tensors")
    if not isinstance(tensors, fx.Node):
        return [walk.channels(part) for part in tensors], [walk.shape(part) for part in tensors]
    shapes = [tuple(part.shape) for part in walk.values[tensors]]
    return list(walk.state(tensors) or [None] * len(shapes)), shapes


def pieces(walk: Walk, node: fx.Node) -> Any:
    """Cut channels into equal pieces whose first, second, ... units are tied, so that they stay equal."""
    x = walk.channels(node.args[0])
    if x is None:
        return None
    parts = walk.values[node]
    dim = given(node, 2, "dim", 0) % len(walk.shape(node.args[0]))
    if dim != x.axis:
        return tuple(x for _ in parts)
    ends = np.cumsum([part.shape[dim] for part in parts])[:-1]
    rows = np.split(x.units, ends)
    by_number = node.target in (torch.chunk, "chunk") or walk.state(node.args[1]) is DEPENDS
    if by_number and len({len(row) for row in rows}) == 1:
        for row in rows[1:]:
            walk.units.tie(rows[0], row, f"{title(node)} cuts them into {len(rows)} equal parts")
    else:
        walk.hold(x, why=f"{title(node)} cuts them at places written in the code")
    return tuple(Channels(x.axis, row) for row in rows)
