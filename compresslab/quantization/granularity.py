"""Which weights share one set of parameters: the whole tensor, a channel, or a group.

A granularity turns any weight into two-dimensional blocks whose rows each share one scale
(or codebook, or exponent). No scheme needs to know what a convolution is.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from compresslab.errors import whole


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
