"""The functions that chapters 06 to 08 ask for: centroids, a gradient, and a product of integers."""

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


# 08-3: multiply by a fixed-point number, halves away from zero


def _rescaled(total: int, numerator: int, shift: int) -> int:
    product = total * numerator
    rounded = (abs(product) + (1 << shift >> 1)) >> shift
    return rounded if product >= 0 else -rounded


def _by_floats(total: int, numerator: int, shift: int) -> int:
    return int(math.copysign(math.floor(abs(total * numerator) / 2**shift + 0.5), total * numerator))


RESCALED = Task(
    _rescaled,
    # halves of both signs, of even and odd numbers; a shift of 0; and products that no float holds
    lambda: [
        *((total, 3, 3) for total in (14, -14)),
        *((total, 1, 1) for total in (1, 3, 5, -1, -3, -5)),
        (-1, 1, 2),
        (0, 5, 4),
        (7, 3, 0),
        (2**60 + 1, 3, 1),
        (-(2**60) - 1, 3, 1),
    ],
    "Round the magnitude, then give it its sign.",
    [
        (lambda t, n, s: round(t * n / 2**s), "round() takes halves to the even number."),
        (lambda t, n, s: (t * n) >> s, "A shift alone rounds down; add half of 2 ** shift first."),
        (lambda t, n, s: (t * n + (1 << s >> 1)) >> s, "Negative halves go down, away from zero."),
        (lambda t, n, s: abs(_rescaled(t, n, s)), "The sign is lost."),
        (lambda t, n, s: int(t * n / 2**s), "int() cuts off; round to the nearest."),
        (
            lambda t, n, s: int(math.copysign(math.floor(abs(t * n) / 2**s + 0.5), t * n)),
            "A float loses digits of large products.",
        ),
    ],
)
