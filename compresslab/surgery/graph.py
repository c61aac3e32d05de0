"""The graph of a network's neurons: which layers must be cut together, and why.

A convolution or linear layer makes neurons; norms, activations and pooling pass them on, one by one; the
next layers read them. Where an addition joins two layers, the first neuron of the one goes with the first
of the other. Concatenation and flatten only change at which place a neuron is read. From these rules follows
what a cut has to touch, in any network that torch.fx can trace.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy import ndarray
from torch import fx, nn

from compresslab.errors import CompressionError
from compresslab.models.architectures import Network
from compresslab.models.inputs import Inputs, each_tensor
from compresslab.models.tracing import evaluating
from compresslab.surgery.following import follow, hold_read, unreached
from compresslab.surgery.units import Row, Segment, Units
from compresslab.surgery.walk import Walk, check_layers, title


@dataclass(frozen=True)
class Group:
    """Neurons that are chosen together: those of one layer, or of several that are tied.

    Args:
        neurons: how many there are; each is one output of every layer, or a set of outputs.
        held: why none of them can go; None where they can.
        ties: the operations that tie the layers.
    """

    layers: tuple[str, ...]
    neurons: int
    held: str | None
    ties: tuple[str, ...]
    readers: tuple[str, ...]
    roots: Int[ndarray, " neurons"] = field(repr=False, compare=False)

    def __str__(self) -> str:
        made = f"{' + '.join(map(_shown, self.layers))}: {self.neurons} neurons"
        why = "" if not self.ties else f"\n      together: {_few(self.ties)}"
        readers = f"\n      read by {_few(tuple(map(_shown, self.readers)))}" if self.readers else ""
        return made + why + (readers if self.held is None else f"\n      held: {self.held}")


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """The neurons of a network, whose class is its name; printing it shows the groups.

    Of the passes that ``graph_of`` followed the first is that of evaluation.
    """

    name: str
    walks: tuple[Walk, ...]
    units: Units

    @cached_property
    def roots(self) -> Int[ndarray, " units"]:
        """For each unit the first one that it goes with."""
        return self.units.roots()

    @cached_property
    def slots(self) -> dict[tuple[str, int], Row]:
        """For each tensor and axis that a cut touches, the units along it."""
        found: dict[tuple[str, int], Row] = {}
        for walk in self.walks:
            for key, units in walk.slots.items():
                if not np.array_equal(found.setdefault(key, units), units):
                    raise CompressionError(f"{key[0]} reads other neurons in training than in evaluation.")
        return found

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All groups in the order in which their first layers run, those that are held too."""
        names, held = list(self.units.layers), [row for row, _ in self.units.held]
        member = np.zeros((len(names) + 1, self.units.count), dtype=bool)
        for marks, row in zip(member, self.units.layers.values(), strict=False):
            marks[self.roots[row]] = True
        member[-1, self.roots[np.concatenate([np.zeros(0, int), *held])]] = True
        parts, of = _sorted(member)
        ties = _met(of, [(tie.why, self.roots[tie.left]) for tie in self.units.ties])
        readers = _met(of, [(n, self.roots[row]) for walk in self.walks for n, row in walk.readers.items()])
        whys = _met(of, [(why, self.roots[row]) for row, why in self.units.held])
        return tuple(
            Group(
                tuple(name for name, here in zip(names, member[:, roots[0]], strict=False) if here),
                len(roots),
                next(iter(whys[number])) if member[-1, roots[0]] else None,
                tuple(ties[number]),
                tuple(readers[number]),
                roots,
            )
            for number, roots in enumerate(parts)
        )

    @property
    def free(self) -> tuple[Group, ...]:
        """The groups that can be cut."""
        return tuple(group for group in self.groups if group.held is None)

    @property
    def nodes(self) -> tuple[fx.Node, ...]:
        """The operations of an evaluation pass, in order."""
        return tuple(self.walks[0].values)

    def segments(self, node: fx.Node | str) -> tuple[Segment, ...]:
        """Say whose neurons stand side by side in a value; () where it has none that can go.

        Args:
            node: an operation, or the name of a module.
        """
        found = next(n for n in self.nodes if node is n or node in (n.name, title(n)))
        channels = self.walks[0].channels(found)
        return () if channels is None else self.units.segments(channels.units)

    def end_of(self, layer: str) -> fx.Node:
        """Return the operation after which a layer's neurons have the value that others read.

        From the layer on, norms, activation functions and additions are passed as long as nothing else
        reads what stands before them.
        """
        walk = self.walks[0]
        node = walk.opened[layer]
        while len(node.users) == 1 and self._passes(walk, node, after := next(iter(node.users))):
            node = after
        return node

    def _passes(self, walk: Walk, node: fx.Node, after: fx.Node) -> bool:
        rule, here, there = walk.rules.get(after), walk.channels(node), walk.channels(after)
        if not rule or not rule.passes or not here or not there or walk.shape(node) != walk.shape(after):
            return False
        return np.array_equal(self.roots[here.units], self.roots[there.units])

    def norm_of(self, layer: str) -> str | None:
        """Return the name of the norm that alone reads a layer's output."""
        walk = self.walks[0]
        users = list(walk.opened[layer].users)
        rule = walk.rules.get(users[0]) if len(users) == 1 else None
        return str(users[0].target) if rule and rule.norm and users[0].op == "call_module" else None

    def __repr__(self) -> str:
        free, held = len(self.free), len(self.groups) - len(self.free)
        lines = [f"{self.name}: {free} groups of neurons can be cut, {held} held"]
        for number, group in enumerate(self.groups):
            lines.append(f"{number:>4}  {group}")
        return "\n".join(lines)


def _sorted(member: Bool[ndarray, "names units"]) -> tuple[list[Int[ndarray, " _"]], Row]:
    """Sort the roots by the names that have them; return the sorts, and for each root its sort."""
    roots = np.flatnonzero(member[:-1].any(0))
    keys = np.ascontiguousarray(np.packbits(member[:, roots], axis=0).T)
    _, first, kinds = np.unique(keys.view(f"V{keys.shape[1]}"), return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    of = np.full(member.shape[1], -1)
    of[roots] = rank[kinds.ravel()]
    return [np.flatnonzero(of == number) for number in range(len(first))], of


def _met(of: Row, rows: Iterable[tuple[str, Int[ndarray, " _"]]]) -> dict[int, dict[str, None]]:
    """Return for each group the names whose rows have some of it, in order."""
    found: dict[int, dict[str, None]] = defaultdict(dict)
    for name, row in rows:
        for number in np.unique(of[row]).tolist():
            found[number][name] = None
    return found


def graph_of(model: nn.Module, example: Inputs | None = None) -> Graph:
    """Find out which neurons of a network go together.

    The network is traced and run once without numbers. Layers that evaluation does not reach, such as
    the side outputs of GoogLeNet, are looked for in a second pass in training mode. What cannot be followed
    is held: the neurons that enter it stay, and the graph says why.

    Args:
        model: any network that torch.fx can trace.
        example: what it reads, of which only the shapes matter: a tensor, a tuple of its arguments, or a
            mapping by keyword. The book's networks need none.

    Returns:
        A Graph; it holds no copy of the network.

    Raises:
        CompressionError: the network cannot be traced; the message names the place.

    Source: after Fang et al., DepGraph, CVPR 2023 (arXiv:2301.12900), who group layers by the same reasons.
    Chapter: 15.

    >>> from compresslab import models
    >>> graph_of(models.article())
    Article: 3 groups of neurons can be cut, 1 held
       0  conv1: 32 neurons
          read by conv2
       1  conv2: 64 neurons
          read by fc1
       2  fc1: 100 neurons
          read by fc2
       3  fc2: 10 neurons
          held: they are the network's output
    """
    check_layers(model)
    inputs = example_of(model, example)
    units = Units()
    with evaluating(model):
        walks = [follow(model, inputs, units)]
        if unreached(model, walks):
            model.train()
            walks.append(follow(model, inputs, units))
    hold_read(walks, units)
    return Graph(type(model).__name__, tuple(walks), units)


def example_of(model: nn.Module, example: Inputs | None) -> Inputs:
    """Return the example, or an image that one of the book's networks reads."""
    dims: list[int] = []
    each_tensor(example, lambda tensor: dims.append(tensor.dim()))
    if example is not None and any(dim > 1 for dim in dims):
        return example
    if example is None and isinstance(model, Network):
        channels = getattr(model.config, "channels", 1)
        kind = next((p.dtype for p in model.parameters()), torch.float32)  # none where biases are codes too
        return torch.zeros((1, channels, 28, 28), dtype=kind)
    raise CompressionError(
        f"What {type(model).__name__:.80} reads is not known; give an example of the right shape: a tensor, "
        "say example=torch.zeros(1, 3, 224, 224), a tuple of arguments, or a mapping by keyword."
    )


def _shown(layer: str) -> str:
    return layer or "(the network itself)"


def _few(words: tuple[str, ...], most: int = 6) -> str:
    rest = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + rest
