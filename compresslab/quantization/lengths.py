"""How many bits will a coder need for rounded weights? A formula with a gradient, and a penalty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compresslab.errors import CompressionError
from compresslab.quantization.eighths import EighthSteps
from compresslab.quantization.fake import straight_through

LEAST_PULL = 0.3  # bits: even where zeros are rare, a weight that is not zero costs more
RAREST, COMMONEST = 0.003, 0.95  # shares of nonzero weights that are told apart


@dataclass(frozen=True, eq=False)
class Lengths:
    """Hold what the codes of one tensor cost in bits, each by its place.

    The model behind it: a code is nonzero with a probability whose logit is a sum of one number for its row
    and one for its column; a sign is 1 bit; magnitudes fall geometrically. A coder that adapts finds out as
    much while it writes. A code m costs ``nonzero + (|m| - 1) * further``, and 0 costs ``pull`` less than 1
    does.

    Args:
        nonzero: bits of a code 1 or -1.
        pull: bits that zero costs less than that, at least ``LEAST_PULL``.
        further: bits of each further step of magnitude.

    Chapter: 23.

    >>> even = Lengths.of(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))  # 4 decisions and 2 signs
    >>> round(float(even.bits(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))), 2)
    6.15
    """

    nonzero: Float[Tensor, "rows columns"]
    pull: Float[Tensor, "rows columns"]
    further: Float[Tensor, ""]

    @classmethod
    @torch.no_grad()
    def of(cls, codes: Shaped[Tensor, "..."]) -> Lengths:
        """Count the codes of a tensor, its first axis being the rows; a vector is one row of one kind."""
        size = codes.detach().abs().float()
        rows = size.flatten(1) if size.dim() > 1 else size[:, None]
        here = (rows > 0).float()
        count = here.sum()
        share = (count + 0.5) / (here.numel() + 1)
        if size.dim() > 1:
            across = (here.sum(1, keepdim=True) + 2 * share) / (here.shape[1] + 2)
            down = (here.sum(0, keepdim=True) + 2 * share) / (here.shape[0] + 2)
            share = torch.sigmoid(across.logit(1e-4) + down.logit(1e-4) - share.logit(1e-4))
        share = share.clamp(RAREST, COMMONEST).expand_as(here)
        ratio = (1 - (count + 1) / (rows.sum() + 1)).clamp(0.05, 0.95)
        nonzero = 1 - share.log2() - (1 - ratio).log2()
        zero = -(1 - share).log2()
        return cls(nonzero, (nonzero - zero).clamp(min=LEAST_PULL), -ratio.log2())

    def bits(self, steps: Float[Tensor, "..."]) -> Float[Tensor, ""]:
        """Return the length of codes in bits, between whole codes a straight line.

        Args:
            steps: the tensor in units of its step. Its gradient points to zero everywhere.
        """
        size = steps.detach().abs().view(self.nonzero.shape)
        low = size < 1
        slope = torch.where(low, self.pull, self.further)
        offset = self.nonzero.sum() - slope.sum()
        return offset + ((slope * steps.detach().sign().view(slope.shape)).view(steps.shape) * steps).sum()


@dataclass(frozen=True)
class CodeLength:
    """Estimate the bits that a network's codes will fill, times a strength: rate beside distortion.

    Called with a model it is a term of the loss, ``train(..., penalty=CodeLength(1e-6))``, for a model that
    trains through ``train_codes``. The value is that of the rounded codes; the gradient passes straight
    through, to the weights and to the steps: zeros, coarser steps and empty rows all make a file shorter, and
    what is cheapest wins.

    Args:
        strength: what one bit costs, in units of the loss; 0 or above.

    Raises:
        CompressionError: the strength is negative or not finite, or nothing in the network trains as codes.

    Source: an entropy as a term of the loss: Oktay, Balle, Singh, Shrivastava, ICLR 2020 (arXiv:1906.06624).
    Chapter: 23.

    >>> from compresslab.quantization import train_codes
    >>> net = train_codes(nn.Sequential(nn.Linear(4, 2)))
    >>> CodeLength(1.0)(net) / CodeLength(0.5)(net)
    tensor(2., grad_fn=<DivBackward0>)
    """

    strength: float

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise CompressionError(f"A bit was given the price {self.strength}; give 0 or more.")

    def __call__(self, model: nn.Module) -> Float[Tensor, ""]:
        return self.strength * self.bits(model)

    def bits(self, model: nn.Module, lengths: Sequence[Lengths] | None = None) -> Float[Tensor, ""]:
        """Return the estimated bits of all codes, without headers.

        Args:
            lengths: what ``lengths_of`` said some steps ago; counting anew in every step takes longer than
                small networks do.
        """
        lengths = self.lengths_of(model) if lengths is None else lengths
        floats = [grid.in_steps(tensor) for grid, tensor in grids_of(model)]
        pairs = list(zip(lengths, floats, strict=True))
        whole = torch.stack([one.bits(steps.detach().round()) for one, steps in pairs]).sum()
        return straight_through(whole, torch.stack([one.bits(steps) for one, steps in pairs]).sum())

    def lengths_of(self, model: nn.Module) -> list[Lengths]:
        """Count the codes of every tensor."""
        found = [Lengths.of(grid.in_steps(floats).round()) for grid, floats in grids_of(model)]
        if not found:
            raise CompressionError(
                "The length of codes was asked of a network without any; train what train_codes(model) gives."
            )
        return found


def grids_of(model: nn.Module) -> Iterator[tuple[EighthSteps, Tensor]]:
    """Go through what trains as codes: the grid, and the floats behind it."""
    for layer in model.modules():
        held: Any = getattr(layer, "parametrizations", {})
        for name in held:
            if isinstance(held[name], parametrize.ParametrizationList):
                first = held[name][0]
                if isinstance(first, EighthSteps):
                    yield first, held[name].original
