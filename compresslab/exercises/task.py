"""A function that an exercise asks for: one that is right, the cases it is tried on, and wrong ones."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compresslab.exercises.answers import AnswerError

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


def _hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def without_hooks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a function of a model, a place and images that leaves a hook behind, also on an error."""

    def watched(model: nn.Module, place: str, images: Tensor, *more: Any) -> Any:
        answer = function(model, place, images, *more)
        if answer is not None and _hooks_of(model):
            raise AnswerError("Not yet: a hook is left on the network; remove its handle.")
        if answer is not None:
            with suppress(Exception):  # images of another size make the network raise
                function(model, place, torch.zeros(2, 1, 5, 5), *more)
            if _hooks_of(model):
                raise AnswerError("Not yet: a hook is left when the network raises; use finally.")
        return answer

    return watched


def in_any_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compare what a function lists whatever its order is."""

    def ordered(*given: Any) -> Any:
        answer = function(*given)
        try:
            rows = answer.tolist() if isinstance(answer, Tensor | np.ndarray) else answer
            return sorted(row if np.ndim(row) == 0 else tuple(row) for row in rows)
        except (TypeError, ValueError):  # not a list, or of uneven things: compared as it is
            return answer

    return ordered
