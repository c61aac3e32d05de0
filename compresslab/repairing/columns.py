"""Choose codes so that a layer's outputs stay: least squares, one column at a time.

The error of the outputs is ``tr(E A E')``: E is what the weights are off, A how the layer's inputs go
together. Rounding to nearest looks at E alone. With ``A = R R'``, R upper triangular, the error is the sum of
the squares of ``E R``, and its column j holds nothing of the columns after j: so each column can make good
what those before it have done.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Weights = Float[Tensor, "outputs columns"]
Metric = Float[Tensor, "columns columns"]
Nearest = Callable[[Float[Tensor, " outputs"], int], Float[Tensor, " outputs"]]

_BLOCK = 64  # columns that are treated one by one before the others hear of it


def output_error(error: Weights, metric: Metric) -> Float[Tensor, " outputs"]:
    """Return the mean squared error of each output that an error of the weights makes.

    >>> output_error(torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
    tensor([2.])
    """
    return ((error @ metric) * error).sum(1)


def upper_root(metric: Metric) -> Metric:
    """Return the upper triangular R with ``R R' = metric``, from the Cholesky factor of the turned matrix."""
    return torch.linalg.cholesky(metric.flip(0, 1)).flip(0, 1)


def column_by_column(weights: Weights, metric: Metric, nearest: Nearest) -> Weights:
    """Round column after column; each first takes over what the rounded ones have done to the outputs.

    The values that a column asks for are those at which the outputs' error would be least if the columns
    after it could still take any value.

    Args:
        metric: positive definite.
        nearest: returns for the values of a column, by its number, the levels next to them.

    Source: Frantar et al., GPTQ, 2022 (arXiv:2210.17323), after Hassibi, Stork, Optimal Brain Surgeon, 1992;
    here with one triangular root in the place of an inverse.
    """
    order = metric.diagonal().argsort(descending=True, stable=True)
    weights, root = weights[:, order], upper_root(metric[order][:, order])
    error = torch.zeros_like(weights)
    for start in range(0, len(order), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(order)))
        before = error[:, :start] @ root[:start, block]
        for j in range(start, block.stop):
            carried = before[:, j - start] + error[:, start:j] @ root[start:j, j]
            error[:, j] = weights[:, j] - nearest(weights[:, j] + carried / root[j, j], int(order[j]))
    result = torch.empty_like(weights)
    result[:, order] = weights - error
    return result


def descend(weights: Weights, start: Weights, metric: Metric, nearest: Nearest, passes: int) -> Weights:
    """Go through the columns again: each takes its best level, the others held. The error never grows.

    Args:
        weights: what is wanted.
        start: what has been chosen, levels all.
        passes: at most so many; a pass that changes nothing is the last.
    """
    result = start.clone()
    for _ in range(passes):
        slope, moved = (weights - result) @ metric, False
        for left in range(0, metric.shape[0], _BLOCK):
            block = slice(left, min(left + _BLOCK, metric.shape[0]))
            near, inner, before = slope[:, block].clone(), metric[block, block], result[:, block].clone()
            for j in range(left, block.stop):
                step = near[:, j - left] / inner[j - left, j - left]
                chosen = nearest(result[:, j] + step, j)
                change = chosen - result[:, j]
                near -= change[:, None] * inner[j - left]
                result[:, j] = chosen
            change = result[:, block] - before
            if change.any():
                slope -= change @ metric[block]
                moved = True
        if not moved:
            break
    return result
