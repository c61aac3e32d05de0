"""Regular patterns of zeros: a fixed number in every group of a row, or whole rectangles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from compresslab.errors import CompressionError, fraction, whole
from compresslab.pruning.selection import refuse_nan


@dataclass(frozen=True)
class NofM:
    """Keep ``keep`` weights of every ``of`` that follow each other in a row.

    Why: a fixed number in every group is a regularity that hardware can use; tensor cores read 2 of 4.
    A row is all the weights of one output, in memory order: input channels x height x width for a
    convolution, which is how torch's ``unfold`` lays out its matrix. (NVIDIA's own tool groups the input
    channels at each place of the kernel instead, and leaves out layers whose first axis is no multiple of 8
    or whose second is none of 16.) Where ``of`` does not divide the row, the short last group counts as
    filled up with zeros: of ``length`` weights min(keep, length) stay.

    Args:
        keep: weights that stay in each group.
        of: weights in a group.

    Raises:
        CompressionError: not 1 <= keep <= of, in whole numbers.

    Source: Mishra et al., 2021 (arXiv:2104.08378).
    Chapter: 11.

    >>> NofM(2, 4).smallest(torch.tensor([[0.5, 0.1, 0.9, 0.2, 0.3, 0.7]]))  # 0.3 and 0.7: a short group
    tensor([[False,  True, False,  True, False, False]])
    """

    keep: int
    of: int

    def __post_init__(self) -> None:
        whole(self.of, f"of in {self}")
        whole(self.keep, f"keep in {self}", high=self.of)

    def smallest(self, scores: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """Mark the smallest ``of - keep`` scores of every group, the earlier ones among equals.

        Raises:
            CompressionError: a score is NaN.
        """
        refuse_nan([scores])
        rows = scores.detach().reshape(len(scores), -1)
        length = rows.shape[1]
        padded = functional.pad(rows, (0, -length % self.of), value=-math.inf)  # zeros go first
        groups = padded.view(-1, self.of)
        goes = groups.argsort(dim=1, stable=True)[:, : self.of - self.keep]
        mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, goes, True)
        return mask.view(padded.shape)[:, :length].reshape(scores.shape)


@dataclass(frozen=True)
class Blocks:
    """Let rectangles of weights go or stay as one.

    The weight is read as a matrix, a row for each output. At the right and lower edge blocks may be
    smaller; a block's score is the mean of its scores, so that a small one is not cheaper.

    Args:
        rows: outputs in a block.
        columns: weights of each of these outputs in a block.

    Raises:
        CompressionError: a size is no integer of at least 1.

    Chapter: 11.

    >>> Blocks(1, 2).pool(torch.tensor([[1.0, 3.0, 0.0, 1.0, 7.0]]))
    tensor([[2.0000, 0.5000, 7.0000]])
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        whole(self.rows, f"rows in {self}")
        whole(self.columns, f"columns in {self}")

    def pool(self, scores: Float[Tensor, "..."]) -> Float[Tensor, "block_rows block_columns"]:
        """Return the mean score of every block."""
        matrix = scores.reshape(1, len(scores), -1)
        return functional.avg_pool2d(matrix, (self.rows, self.columns), ceil_mode=True)[0]

    def spread(self, marks: Bool[Tensor, "block_rows block_columns"], shape: torch.Size) -> Tensor:
        """Give every weight of a tensor of this shape the mark of its block."""
        wide = marks.repeat_interleave(self.rows, 0).repeat_interleave(self.columns, 1)
        return wide[: shape[0], : math.prod(shape[1:])].reshape(shape)


def cubic(share: float, rounds: int, start: float = 0.0) -> list[float]:
    """Return the share of each round of pruning: many weights early, few at the end.

    Why: early on most weights can go unnoticed, late each one counts, and the network has had time to
    recover in between.

    Args:
        share: where the last round ends.
        rounds: how many.
        start: the share that is gone before the first.

    Raises:
        CompressionError: no rounds, or shares that are no floats from 0.0 to 1.0 in rising order.

    Source: Zhu, Gupta, 2017, equation 1 (arXiv:1710.01878), read once a round.
    Chapter: 09.

    >>> [round(s, 3) for s in cubic(0.9, 4)]
    [0.52, 0.787, 0.886, 0.9]
    """
    whole(rounds, "the rounds of a schedule")
    if fraction(start, "the share at the start") > fraction(share, "the share at the end"):
        raise CompressionError(f"Rounds from {start} to {share} were asked; start at or below the end.")
    return [share + (start - share) * (1 - done / rounds) ** 3 for done in range(1, rounds + 1)]


def of_the_rest(levels: Sequence[float]) -> list[float]:
    """Turn rising shares of the whole into shares of what each round still finds.

    Why: a pruned weight stays in place as a zero and is counted again, so ``prune_weights`` takes shares of
    the whole. A cut neuron is no longer there, so ``prune_neurons`` needs shares of the rest.

    Args:
        levels: the share of all neurons that is gone after each round.

    Raises:
        CompressionError: shares that are no floats from 0.0 to 1.0 in rising order, or one that follows 1.0.

    Chapter: 13.

    >>> of_the_rest([0.5, 0.75, 0.75])
    [0.5, 0.5, 0.0]
    """
    for level in levels:
        fraction(level, "a level")
    before = [0.0, *levels[:-1]]
    if any(level < gone or gone == 1.0 for gone, level in zip(before, levels, strict=True)):
        raise CompressionError(
            f"The levels {list(levels)} were given; each is at least the one before, and none follows 1.0."
        )
    return [1 - (1 - level) / (1 - gone) for gone, level in zip(before, levels, strict=True)]
