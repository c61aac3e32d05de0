"""Which neuron stands where: the channels of an activation, and the ties between neurons.

Every output of a layer is a unit. The channel axis of an activation is a row of units, and whatever only
moves channels moves units: flatten repeats them, cat joins them. Units that one operation forces to go
together are tied; a set of tied units is a neuron, in the sense of what can be cut.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

Row = Int[ndarray, " channels"]


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of an activation: along which axis they lie, and the unit at each place."""

    axis: int
    units: Row


@dataclass(frozen=True)
class Segment:
    """Neighbouring channels that come from one layer: its units from ``start`` up to ``stop``.

    Args:
        layer: who made them.
        repeat: how many channels each unit fills in turn; flatten makes height x width of one.
    """

    layer: str
    start: int
    stop: int
    repeat: int = 1

    def __repr__(self) -> str:
        times = f" x {self.repeat}" if self.repeat > 1 else ""
        return f"{self.layer}[{self.start}:{self.stop}]{times}"


@dataclass(frozen=True, eq=False)
class Tie:
    """Two rows of units that go or stay in pairs, and the operation that makes them."""

    left: Row
    right: Row
    why: str


class Units:
    """All units of a network, numbered in the order in which their layers run."""

    def __init__(self) -> None:
        self.layers: dict[str, Row] = {}
        self.ties: list[Tie] = []
        self.held: list[tuple[Row, str]] = []
        self.count = 0

    def open(self, layer: str, width: int) -> Row:
        """Return the units of a layer, the same ones each time."""
        if layer not in self.layers:
            self.layers[layer] = self._new(width)
        return self.layers[layer]

    def fixed(self, width: int, why: str) -> Row:
        """Return units of no layer, which never go: an image's channels, for example."""
        units = self._new(width)
        self.hold(units, why)
        return units

    def tie(self, left: Int[ndarray, "..."], right: Int[ndarray, "..."], why: str) -> None:
        """Let ``left[i]`` and ``right[i]`` go or stay together."""
        if left.size != right.size:
            raise ValueError(f"{left.size} channels cannot go in pairs with {right.size}")
        if left is not right:
            self.ties.append(Tie(left.ravel(), right.ravel(), why))

    def hold(self, units: Row, why: str) -> None:
        """Let these units stay whatever is asked, and all that is tied to them."""
        self.held.append((units, why))

    def _new(self, width: int) -> Row:
        self.count += width
        return np.arange(self.count - width, self.count)

    def roots(self) -> Int[ndarray, " units"]:
        """Return for each unit the first unit that it is tied to, by however many steps."""
        pairs = [(tie.left, tie.right) for tie in self.ties]
        left, right = np.concatenate([np.zeros((2, 0), int), *pairs], 1)
        return components(self.count, left, right)

    def segments(self, units: Row) -> tuple[Segment, ...]:
        """Say in few words which units a row holds."""
        known = {unit: (name, at) for name, row in self.layers.items() for at, unit in enumerate(row)}
        found: list[Segment] = []
        for unit, run in groupby(units.tolist()):
            (name, at), repeat = known.get(unit, ("fixed", 0)), len(list(run))
            last = found[-1] if found else None
            if last and (last.layer, last.repeat) == (name, repeat) and (last.stop == at or name == "fixed"):
                found[-1] = replace(last, stop=last.stop + 1)
            else:
                found.append(Segment(name, at, at + 1, repeat))
        return tuple(found)


def components(count: int, left: Row, right: Row) -> Int[ndarray, " count"]:
    """Return for each of ``count`` points the smallest that it is joined to by pairs of left and right.

    Both ends of a pair take the smaller root until nothing moves, and each root its own root's root in
    between, so that a long chain takes few rounds.

    >>> components(5, np.array([0, 3]), np.array([3, 4])).tolist()
    [0, 1, 2, 0, 0]
    """
    root = np.arange(count)
    while True:
        least = np.minimum(root[left], root[right])
        before = root.copy()
        for ends in (root[left], root[right], left, right):
            np.minimum.at(root, ends, least)
        root = root[root]
        if np.array_equal(root, before):
            return root


def marked(roots: Int[ndarray, " units"], gone: Iterable[int]) -> Bool[ndarray, " units"]:
    """Mark the units whose root is among those that go."""
    flags = np.zeros(len(roots), dtype=bool)
    flags[np.fromiter(gone, dtype=int)] = True
    return flags[roots]
