"""The functions that chapters 06 and 07 ask for: centroids, and a sign with a gradient."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from compresslab.exercises.answers import AnswerError
from compresslab.exercises.task import EIGHT, Task
from compresslab.quantization.kmeans import kmeans_centroids

# 06-3: the best centroids


def _levels(values: Tensor, k: int) -> Tensor:
    return torch.from_numpy(kmeans_centroids(values.double().numpy(), k))


def _even_levels(values: Tensor, k: int) -> Tensor:
    return torch.linspace(values.min(), values.max(), k, dtype=values.dtype)


def _medians(values: Tensor, k: int) -> Tensor:
    ordered, centroids = values.sort().values, _levels(values, k)
    ends = [
        0,
        *((ordered[:, None] - centroids).abs().argmin(1).diff().nonzero().flatten() + 1).tolist(),
        len(values),
    ]
    return torch.stack([ordered[begin:end].quantile(0.5) for begin, end in pairwise(ends)])


GROUP_ERROR = Task(
    lambda values: (values - values.mean()).square().sum(),
    lambda: [(torch.tensor(EIGHT[:count], dtype=torch.float64),) for count in (8, 3, 1)],
    "How far is each value from the mean of all?",
    [
        (lambda v: (v - v.mean()).square().mean(), "That is a mean; sum the squares."),
        (
            lambda v: (v - v.mean()).square().sum() / max(1, len(v) - 1),
            "Nothing is divided: sum the squares.",
        ),
        (lambda v: (v - v.mean()).abs().sum(), "The distances are squared."),
        (lambda v: (v - v.quantile(0.5)).square().sum(), "A group is best served by its mean."),
        (lambda v: v.square().sum(), "The mean is taken away first."),
        (lambda v: (v - v.mean()).norm(), "The root is not needed."),
        (lambda v: (v.max() - v.min()) ** 2, "Every value counts, not only the ends."),
    ],
    within=1e-9,
)


def _error(values: Tensor) -> float:
    return float((values - values.mean()).square().sum())


def _begins(ordered: Tensor, errors: list[float], last: bool = True) -> list[float]:
    return [error + last * _error(ordered[i:]) for i, error in enumerate(errors)]


def _before(ordered: Tensor) -> list[float]:
    return [math.inf, *(_error(ordered[:i]) for i in range(1, len(ordered)))]


def _place(totals: list[float]) -> int:
    return totals.index(min(totals))


BEGIN = Task(
    lambda ordered, errors: _place(_begins(ordered, errors)),
    lambda: [
        (ordered, _before(ordered))
        for ordered in (
            torch.tensor(EIGHT, dtype=torch.float64).sort().values,
            torch.tensor([-3.0, -1, 0, 0.5, 1, 1.5]),
            torch.tensor([0.0, 1, 2, 9]),
        )
    ],
    "Add the errors of both parts for each place, and take the place of the least sum.",
    [
        (lambda v, e: min(_begins(v, e)), "That is the least error; at which place does it stand?"),
        (lambda v, e: _place(_begins(v, e)) - 1, "That is the end of the part in front, not the begin."),
        (lambda v, e: _place(e), "The error of the last group is missing."),
        (lambda v, e: _place([math.inf, *_begins(v, [0] * len(e))[1:]]), "The errors in front are missing."),
        (lambda v, e: len(v) // 2, "The middle is seldom the best place; try them all."),
        (lambda v, e: len(v) - _place(_begins(v, e)), "That is how many values the last group has."),
        (lambda v, e: v[_place(_begins(v, e))], "That is the value there; give its place."),
    ],
)


LEVELS = Task(
    _levels,
    lambda: [
        (torch.tensor(EIGHT, dtype=torch.float64), 2),
        (torch.tensor(EIGHT, dtype=torch.float64), 4),
        *(
            (torch.rand(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64), k)
            for k in (3, 7)
        ),
    ],
    "Sort the values first.",
    [
        (_even_levels, "Those levels are evenly spaced; the best ones are not."),
        (_medians, "A group is best served by its mean; that is its median."),
        (lambda v, k: _levels(v, k + 1), "That is one level too many."),
        (
            lambda v, k: torch.stack([part.mean() for part in v.tensor_split(k)]),
            "Sort the values.",
        ),
        (
            lambda v, k: torch.stack([part.mean() for part in v.sort().values.tensor_split(k)]),
            "Those groups have equally many values; try where a group best begins.",
        ),
    ],
    within=1e-5,
)


# 07-3: the sign, with a gradient near zero only


def _sign(weights: Tensor) -> Tensor:
    return torch.where(weights >= 0, 1.0, -1.0)


def _through(inside: Callable[[Tensor], Tensor], sign: Callable[[Tensor], Tensor] = _sign) -> Callable:
    def decode(weights: Tensor) -> Tensor:
        return sign(weights).detach() + inside(weights) - inside(weights).detach()

    return decode


def _signs_and_slopes(decode: Callable[[Tensor], Tensor]) -> Callable:
    """Give, for a function that decodes, one of its signs and of the slopes that come back below them."""

    def both(values: Tensor) -> Any:
        values = values.clone().requires_grad_()
        decoded = decode(values)
        if decoded is None:
            return None
        if not decoded.requires_grad:
            raise AnswerError("Not yet: no gradient comes through to the weights.")
        upstream = torch.arange(1.0, 1 + len(values))
        return torch.stack([decoded.detach(), torch.autograd.grad(decoded, values, upstream)[0]])

    return both


_WEIGHTS = (0.3, -0.2, 0.0, 1.5, -1.5, 0.9, -0.9)  # not 1 itself, where clamp hands nothing on

SIGN = Task(
    _sign,
    lambda: [(torch.tensor(_WEIGHTS),)],
    "torch.where chooses.",
    [
        (torch.sign, "0 counts as +1; torch.sign makes it 0."),
        (lambda w: torch.where(w > 0, 1.0, -1.0), "0 counts as +1."),
        (lambda w: -_sign(w), "The signs are turned."),
        (lambda w: (w >= 0).float(), "Those are marks; a weight below zero becomes -1."),
        (lambda w: w.clamp(-1, 1), "Clipped, but not decoded: two values are left, no more."),
        (lambda w: _sign(w) * w.abs().mean(), "No scale is asked."),
    ],
)


def _inside(weights: Tensor) -> Tensor:
    return (weights.abs() <= 1).float()


INSIDE = Task(
    _inside,
    lambda: [(torch.tensor(_WEIGHTS),)],
    "1 where the gradient is handed on, 0 where it is not.",
    [
        (lambda w: torch.ones_like(w), "It is not handed on everywhere."),
        (lambda w: 1 - _inside(w), "That is where it is stopped."),
        (lambda w: ((w >= 0) & (w <= 1)).float(), "Below zero it is handed on, too."),
        (lambda w: (w <= 1).float(), "Below -1 it is stopped, too."),
        (lambda w: w.clamp(-1, 1), "That is the clipped weight; its slope is asked."),
        (lambda w: torch.zeros_like(w), "That is the slope of the staircase itself."),
    ],
)


SIGNS = Task(
    _through(lambda weights: weights.clamp(-1, 1)),
    lambda: [(torch.tensor([0.3, -0.2, 0.0, 1.5, -1.5, 0.9, -0.9]),)],
    "Two rows are compared: the signs, and the gradients where 1, 2, 3 ... come from above.",
    [
        (_through(lambda weights: weights), "The gradient passes everywhere; it must stop beyond 1 and -1."),
        (
            _through(lambda weights: weights.clamp(-1, 1), torch.sign),
            "0 counts as +1; torch.sign makes it 0.",
        ),
        (lambda w: w.clamp(-1, 1), "The gradient is right, but the weights are not decoded."),
        (
            lambda w: _sign(w) + 0 * w,
            "The gradient is 0, as that of the staircase itself.",
        ),
        (
            _through(lambda weights: weights.abs().clamp(max=1)),
            "The gradient of negative weights is turned.",
        ),
        (_through(lambda weights: weights.clamp(0, 1)), "Negative weights get no gradient at all."),
    ],
    within=1e-6,
    ask=_signs_and_slopes,
)
