"""A function that an exercise asks for: one that is right, the cases it is tried on, and wrong ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

EIGHT = (0.42, -0.90, 0.06, 0.31, -0.52, 0.88, -0.14, 0.65)  # the weights on paper, in every chapter


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


@dataclass(frozen=True)
class Task:
    """What an exercise expects that asks for a function.

    Args:
        right: a function that is right.
        cases: returns the arguments of each call.
        hint: one sentence that helps with any wrong function.
        mistakes: wrong functions, each with the sentence for whoever wrote one like it.
        within: largest difference allowed, element by element.
        ask: turns a function into the one that is compared, where its bare answer does not say enough.
    """

    right: Callable[..., Any]
    cases: Callable[[], list[tuple]]
    hint: str
    mistakes: Sequence[tuple[Callable[..., Any], str]] = ()
    within: float = 0.0
    ask: Callable[[Callable[..., Any]], Callable[..., Any]] = _as_it_is


def random(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
