"""The functions that chapter 19 asks for: which weight can go best when the others take over."""

from collections.abc import Callable

import torch
from torch import Tensor

from compresslab.exercises.task import Task, random

Costs = Callable[[Tensor, Tensor], Tensor]


def _rows() -> list[tuple[Tensor, Tensor]]:
    """Return rows of weights, each with the mean products of inputs that often agree."""
    cases = []
    for columns, seed in ((2, 0), (4, 6), (6, 1)):  # in the second, three ways to choose differ
        weights, inputs = random(columns, seed=seed).double(), random(50, columns, seed=100 + seed).double()
        inputs = inputs * torch.linspace(0.5, 2, columns) + 1.5 * inputs[:, :1]
        cases.append((weights, inputs.T @ inputs / 50))
    return cases


# 19-3a: what a weight costs that goes alone


def _alone(weights: Tensor, metric: Tensor) -> Tensor:
    return weights**2 * metric.diagonal()


ALONE = Task(
    _alone,
    _rows,
    "With one weight gone, the output misses weight times input; square it, and take the mean.",
    [
        (lambda w, a: w**2, "How large the input is counts, too."),
        (lambda w, a: w.abs() * a.diagonal(), "The output is off by weight times input: square both."),
        (lambda w, a: w**2 * a.diagonal() / 2, "The mean square is asked, not half of it."),
        (lambda w, a: w**2 * a.sum(1), "Only one weight goes: the products with other inputs do not count."),
        (lambda w, a: w * (a @ w), "Only one weight goes: the others are not off."),
        (lambda w, a: _alone(w, a).sqrt(), "That is the root; the mean square is asked."),
        (lambda w, a: w**2 * a.diagonal().sqrt(), "The diagonal holds mean squares: it needs no root."),
    ],
    within=1e-6,
)

# 19-3b: what it costs when the others may move


def _helped(weights: Tensor, metric: Tensor) -> Tensor:
    return weights**2 / metric.inverse().diagonal()


HELPED = Task(
    _helped,
    _rows,
    "Invert the whole matrix first; then take its diagonal, and divide.",
    [
        (_alone, "That is what it costs alone; the others help now."),
        (lambda w, a: w**2 * a.inverse().diagonal(), "Divide by the diagonal of the inverse."),
        (lambda w, a: w**2 / a.diagonal(), "The matrix has to be inverted, as a whole."),
        (lambda w, a: _helped(w, a).sqrt(), "That is the root; the mean square is asked."),
        (lambda w, a: w.abs() / a.inverse().diagonal(), "The weight stands there squared."),
        (lambda w, a: _helped(w, a) / 2, "The mean square is asked, not half of it."),
    ],
    within=1e-6,
)

# 19-3: the row after the cheapest weight went


def _after(weights: Tensor, metric: Tensor, costs: Costs = _helped, sign: int = -1) -> Tensor:
    inverse, place = metric.inverse(), int(costs(weights, metric).argmin())
    return weights + sign * weights[place] / inverse[place, place] * inverse[:, place]


def _left_alone(weights: Tensor, metric: Tensor) -> Tensor:
    return torch.where(_helped(weights, metric) == _helped(weights, metric).min(), 0.0, weights)


def _undivided(weights: Tensor, metric: Tensor) -> Tensor:
    place = int(_helped(weights, metric).argmin())
    return weights - weights[place] * metric.inverse()[:, place]


def _by_the_matrix(weights: Tensor, metric: Tensor) -> Tensor:
    place = int(_helped(weights, metric).argmin())
    return weights - weights[place] / metric[place, place] * metric[:, place]


AFTER = Task(
    _after,
    _rows,
    "The weight that goes is exactly 0 afterwards: try that first.",
    [
        (_left_alone, "The others stay as they are; they have to take over."),
        (lambda w, a: _after(w, a, sign=1), "The sign: what goes must be 0 afterwards, not twice as large."),
        (lambda w, a: _after(w, a, lambda w, _: w.abs()), "The smallest weight need not be the cheapest."),
        (lambda w, a: _after(w, a, _alone), "Choose by what a weight costs when the others help."),
        (lambda w, a: _after(w, a, lambda w, a: -_helped(w, a)), "That is the dearest one."),
        (_undivided, "Divide by the inverse's entry on the diagonal, so that the weight becomes 0."),
        (_by_the_matrix, "The column of the inverse is wanted, not that of the matrix."),
    ],
    within=1e-6,
)
