"""The function that chapter 17 asks for: which wrong classes a teacher finds near."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from compresslab.exercises.task import Task, random

# 17-3: what a teacher thinks of the wrong classes, by label


def _nearness(
    logits: Tensor,
    labels: Tensor,
    temperature: float,
    soften: Callable[[Tensor, float], Tensor] = lambda z, t: (z / t).softmax(1),
    shared: bool = True,
) -> Tensor:
    classes = logits.shape[1]
    right = functional.one_hot(labels, classes)
    wrong = soften(logits, temperature) * (1 - right)
    wrong = wrong / wrong.sum(1, keepdim=True) if shared else wrong
    return right.T.to(wrong.dtype) @ wrong / right.sum(0)[:, None]


def _shared_at_the_end(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    found = _nearness(logits, labels, temperature, shared=False)
    return found / found.sum(1, keepdim=True)


def _with_right(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    soft = (logits / temperature).softmax(1)
    return torch.stack([soft[labels == label].mean(0) for label in range(logits.shape[1])])


NEAR = Task(
    _nearness,
    lambda: [
        (4 * random(30, 3, seed=seed).double(), torch.arange(30) % 3, temperature)
        for seed, temperature in ((0, 1.0), (1, 4.0))
    ],
    "Follow the four steps for one image first: three classes, the first one right.",
    [
        (_with_right, "The right class is still there; put 0 in its place."),
        (
            lambda z, y, t: _nearness(z, y, t, shared=False),
            "The wrong classes of an image do not sum to 1 yet: divide by their sum.",
        ),
        (_shared_at_the_end, "Divide in every image, before the mean over images."),
        (lambda z, y, t: _nearness(z, y, 1 / t), "The temperature divides the logits."),
        (
            lambda z, y, t: _nearness(z, y, t, lambda z, t: z.softmax(1) / t),
            "The temperature belongs inside the exponential, as a divisor.",
        ),
        (lambda z, y, t: _nearness(z, y, t).T, "Rows are labels, columns are what is seen in them."),
        (
            lambda z, y, t: torch.eye(z.shape[1])[_nearness(z, y, t).argmax(1)],
            "Shares are asked, not only which class is nearest.",
        ),
    ],
    within=1e-5,
)
