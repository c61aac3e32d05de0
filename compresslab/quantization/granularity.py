"""Which weights share one set of parameters: the whole tensor, a channel, or a group.

A granularity turns any weight into two-dimensional blocks whose rows each share one scale
(or codebook, or exponent). No scheme needs to know what a convolution is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from compresslab.errors import CompressionError


@dataclass(frozen=True)
class PerTensor:
    """Let the whole weight share one row of parameters.

    Chapter: 02.

    >>> PerTensor().rows((64, 32, 3, 3))
    1
    """

    def rows(self, shape: tuple[int, ...]) -> int:
        """Count the rows that a weight of this shape has."""
        return 1

    def split(self, weight: Float[Tensor, "..."]) -> list[Float[Tensor, "rows columns"]]:
        """Arrange the weight as blocks of rows; a view where memory allows."""
        return [weight.reshape(1, -1)]

    def join(self, blocks: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Undo ``split``."""
        return blocks[0].reshape(shape)


@dataclass(frozen=True)
class PerChannel:
    """Give each output channel (the first axis of a weight) a row of its own.

    Chapter: 03.

    >>> PerChannel().rows((64, 32, 3, 3))
    64
    """

    def rows(self, shape: tuple[int, ...]) -> int:
        """Count the rows that a weight of this shape has."""
        return shape[0]

    def split(self, weight: Float[Tensor, "..."]) -> list[Float[Tensor, "rows columns"]]:
        """Arrange the weight as blocks of rows; a view where memory allows."""
        return [weight.reshape(len(weight), -1)]

    def join(self, blocks: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Undo ``split``."""
        return blocks[0].reshape(shape)


@dataclass(frozen=True)
class PerGroup:
    """Cut each output channel into groups of ``size`` weights, a row each.

    Where ``size`` does not divide the channel, its last group is shorter. All full groups
    come first, in order, then the short ones: two rectangular blocks.

    Args:
        size: weights in a group, at least 1.

    Raises:
        CompressionError: ``size`` is not an integer of at least 1.

    Chapter: 03.

    >>> PerGroup(128).rows((2, 300))  # 128 + 128 + 44 weights in each of the 2 channels
    6
    """

    size: int

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise CompressionError(
                f"A group size of {self.size!r} was asked; it must be an integer of at least 1, "
                "for example PerGroup(64)."
            )

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

_NAMES: dict[str, type] = {cls.__name__: cls for cls in (PerTensor, PerChannel, PerGroup)}


def granularity_to_dict(granularity: Granularity) -> dict[str, Any]:
    """Write a granularity as JSON-able values.

    >>> granularity_to_dict(PerGroup(64))
    {'name': 'PerGroup', 'size': 64}
    """
    return {"name": type(granularity).__name__, **asdict(granularity)}


def granularity_from_dict(values: Mapping[str, Any]) -> Granularity:
    """Read back what ``granularity_to_dict`` wrote.

    Raises:
        CompressionError: the values name no granularity or carry odd arguments.
    """
    return build_value(_NAMES, values, "granularity")


def build_value(classes: Mapping[str, type], values: Mapping[str, Any], kind: str) -> Any:
    """Build the frozen value whose class ``values["name"]`` names, from its other entries."""
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise CompressionError(f"A {kind} was expected as a mapping with a name; found {values!r:.80}.")
    arguments = dict(values)
    cls = classes.get(arguments.pop("name"))
    if cls is None:
        raise CompressionError(
            f"The {kind} {values['name']!r:.80} is unknown; there are {', '.join(sorted(classes))}."
        )
    try:
        return cls(**arguments)
    except TypeError as error:
        raise CompressionError(
            f"The {kind} {values['name']} cannot take {arguments!r:.80}: {error}."
        ) from None
