"""Which weights share one set of parameters: the whole tensor, a channel, or a group.

A granularity turns any weight into two-dimensional blocks whose rows each share one scale
(or codebook, or exponent). No scheme needs to know what a convolution is. Such values are written as JSON:
the name of the class, then its fields; a field may hold such a value itself.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor

from compresslab.errors import CompressionError, one_of, whole


class _OneBlock:
    """What the granularities have in common whose rows are all equally long."""

    def join(self, blocks: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Undo ``split``."""
        return blocks[0].reshape(shape)


@dataclass(frozen=True)
class PerTensor(_OneBlock):
    """Let the whole weight share one row of parameters.

    Chapter: 02.

    >>> PerTensor().rows((64, 32, 3, 3))
    1
    """

    def rows(self, shape: tuple[int, ...]) -> int:
        return 1

    def split(self, weight: Float[Tensor, "..."]) -> list[Float[Tensor, "rows columns"]]:
        """Arrange the weight as blocks of rows; a view where memory allows."""
        return [weight.reshape(1, -1)]


@dataclass(frozen=True)
class PerChannel(_OneBlock):
    """Give each output channel (the first axis of a weight) a row of its own.

    Chapter: 03.

    >>> PerChannel().rows((64, 32, 3, 3))
    64
    """

    def rows(self, shape: tuple[int, ...]) -> int:
        return shape[0]

    def split(self, weight: Float[Tensor, "..."]) -> list[Float[Tensor, "rows columns"]]:
        """Arrange the weight as blocks of rows; a view where memory allows."""
        return [weight.reshape(len(weight), -1)]


@dataclass(frozen=True)
class PerGroup:
    """Cut each output channel into groups of ``size`` weights, a row each.

    Where ``size`` does not divide the channel, its last group is shorter. All full groups
    come first, in order, then the short ones: two rectangular blocks.

    Args:
        size: weights in a group, at least 1.

    Chapter: 03.

    >>> PerGroup(128).rows((2, 300))  # 128 + 128 + 44 weights in each of the 2 channels
    6
    """

    size: int

    def __post_init__(self) -> None:
        whole(self.size, "the size of a group")

    def rows(self, shape: tuple[int, ...]) -> int:
        """Count the rows that a weight of this shape has."""
        return shape[0] * -(-math.prod(shape[1:]) // self.size)

    def split(self, weight: Float[Tensor, "..."]) -> list[Float[Tensor, "rows columns"]]:
        """Arrange the weight as blocks of rows: the full groups, then the short last ones."""
        channels = weight.reshape(len(weight), -1)
        full, rest = divmod(channels.shape[1], self.size)
        blocks = [channels[:, : full * self.size].reshape(-1, self.size)] if full else []
        return blocks + ([channels[:, -rest:]] if rest else [])

    def join(self, blocks: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Undo ``split``."""
        return torch.cat([block.reshape(shape[0], -1) for block in blocks], dim=1).reshape(shape)


Granularity = PerTensor | PerChannel | PerGroup


def to_json(value: Any) -> dict[str, Any]:
    """Write a frozen dataclass as JSON; a flag that is not set is left out, as in every older file."""
    found = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    written = {name: to_json(one) if is_dataclass(one) else one for name, one in found.items()}
    return {"name": type(value).__name__} | {k: v for k, v in written.items() if v is not False}


def from_json(classes: Iterable[type], values: Any, what: str) -> Any:
    """Read back what ``to_json`` wrote, from anywhere; the class itself checks its arguments."""
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise CompressionError(f"A {what} was expected as a mapping with a name; found {values!r:.80}.")
    kinds = {kind.__name__: kind for kind in classes}
    kind = kinds[one_of(values["name"], sorted(kinds), what)]
    choices, given = _choices(kind), {name: value for name, value in values.items() if name != "name"}
    arguments = {k: from_json(choices[k], v, k) if k in choices else v for k, v in given.items()}
    try:
        return kind(**arguments)
    except TypeError as error:
        raise CompressionError(
            f"The {what} {kind.__name__} cannot take {arguments!r:.80}: {error!s:.80}."
        ) from None


@cache
def _choices(kind: type) -> dict[str, tuple[type, ...]]:
    """Return the fields that hold a value, each with the classes it may be of."""
    hints = get_type_hints(kind)
    return {name: get_args(hint) for name, hint in hints.items() if isinstance(hint, UnionType)}


def check_choice(value: Any, choice: Any, what: str) -> None:
    """Refuse what is no value of the classes of ``choice``, a class without its parentheses above all."""
    if not isinstance(value, choice):
        names = ", ".join(f"{kind.__name__}(...)" for kind in get_args(choice))
        raise CompressionError(f"{value!r:.80} was given as {what}; take {names}, with the parentheses.")
