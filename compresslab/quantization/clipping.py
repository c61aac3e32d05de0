"""Where a uniform grid ends: at the extremes, at a percentile, or where the squared error is least.

A wide grid has coarse steps, a narrow one cuts the largest weights: three answers to that trade-off.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from compresslab.errors import CompressionError, whole

Bounds = tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]
Reconstruct = Callable[[Tensor, Tensor], Float[Tensor, "rows columns"]]


@dataclass(frozen=True)
class MinMax:
    """End the grid at the smallest and the largest weight of the row; nothing is cut.

    Chapter: 02.

    >>> MinMax().bounds(torch.tensor([[-1.0, 0.5, 3.0]]))
    (tensor([-1.]), tensor([3.]))
    """

    def bounds(self, rows: Float[Tensor, "rows columns"], reconstruct: Reconstruct | None = None) -> Bounds:
        """Return the lower and the upper end of each row's grid."""
        if len(rows) == 1:  # one reduction over everything is faster than a reduction along an axis
            low, high = torch.aminmax(rows)
            return low[None], high[None]
        return rows.amin(dim=1), rows.amax(dim=1)  # two passes, and yet faster than aminmax(dim=1)


@dataclass(frozen=True)
class Percentile:
    """End the grid where ``100 - value`` percent of the row lie beyond it, on each side.

    Where both ends would be zero, as in a row that is mostly pruned, the row keeps its extremes.

    Args:
        value: percent, above 50 and at most 100 (which is MinMax).

    Chapter: 03.

    >>> Percentile(75.0).bounds(torch.tensor([[0.0, 1.0, 2.0, 3.0, 100.0]]))
    (tensor([1.]), tensor([3.]))
    """

    value: float = 99.9

    def __post_init__(self) -> None:
        if not isinstance(self.value, int | float) or not 50 < self.value <= 100:
            raise CompressionError(
                f"A percentile of {self.value!r:.80} was asked; it must lie above 50 and be at most 100."
            )

    def bounds(self, rows: Float[Tensor, "rows columns"], reconstruct: Reconstruct | None = None) -> Bounds:
        """Return the lower and the upper end of each row's grid, linearly interpolated."""
        values = rows.detach().cpu().numpy()  # numpy: torch.quantile refuses more than 16 million values
        ends = np.percentile(values, [100 - self.value, self.value], axis=1).astype(np.float32)
        low, high = torch.from_numpy(ends).to(rows.device)
        empty = (low == 0) & (high == 0)
        lowest, highest = MinMax().bounds(rows)
        return torch.where(empty, lowest, low), torch.where(empty, highest, high)


@dataclass(frozen=True)
class LeastSquares:
    """Shrink the extremes by the one factor, of ``steps`` tried, that leaves the least squared error.

    Args:
        steps: number of factors tried, evenly spaced from 1 down to ``1 / steps``; 1 to 10,000.

    Source: Nagel et al., white paper, 2021, section 3.1 (arXiv:2106.08295).
    Chapter: 03.
    """

    steps: int = 64

    def __post_init__(self) -> None:
        whole(self.steps, "the steps of a least-squares clip", 1, 10_000)

    def bounds(self, rows: Float[Tensor, "rows columns"], reconstruct: Reconstruct) -> Bounds:
        """Return both ends of each row's grid; ``reconstruct`` gives the decoded rows for two ends."""
        low, high = MinMax().bounds(rows)
        best, best_error = torch.ones_like(low), torch.full(low.shape, torch.inf, dtype=torch.float64)
        for factor in torch.arange(self.steps, 0, -1) / self.steps:
            difference = reconstruct(low * factor, high * factor).double().sub_(rows)
            error = difference.square_().sum(dim=1).cpu()  # float64: squares of 1e30 and 1e-30 must survive
            better = error < best_error
            best = torch.where(better.to(best.device), factor, best)
            best_error = torch.where(better, error, best_error)
        return low * best, high * best


Clip = MinMax | Percentile | LeastSquares
