"""Which layers are compared with each other, and what share of them goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from compresslab.errors import CompressionError, one_of
from compresslab.pruning.criteria import Scores

Share = float | Mapping[str, float]


def scopes(layers: Sequence[Sequence[str]], share: Any, per_layer: bool) -> list[tuple[list[int], Any]]:
    """Say which places are compared with each other, and what share of them goes.

    Args:
        layers: the layers at each place, more than one where they have their neurons in common.
        share: one for all, or a mapping from layers to shares, ``"*"`` for all others (without it they stay).
        per_layer: whether one share is taken of every place by itself.

    Raises:
        CompressionError: a layer is unknown, or layers at one place were given different shares.

    >>> scopes([["conv1"], ["conv2", "shortcut"], ["fc1"]], {"shortcut": 0.5, "fc1": 0.9}, per_layer=False)
    [([1], 0.5), ([2], 0.9)]
    """
    places = list(range(len(layers)))
    if not isinstance(share, Mapping):
        return [([place], share) for place in places] if per_layer else [(places, share)]
    known = [name for names in layers for name in names]
    for name in share:
        one_of(name, [*known, "*"], "layer to prune")
    found = []
    for place, names in enumerate(layers):
        asked = [share[name] for name in names if name in share] or [share.get("*")]
        if any(other != asked[0] for other in asked[1:]):
            raise CompressionError(f"{' + '.join(names)} have their neurons in common; give them one share.")
        if asked[0] is not None:
            found.append(([place], asked[0]))
    return found


def checked(scores: object) -> Scores:
    """Take a mapping from layers to tensors, as every criterion of the package returns.

    Raises:
        CompressionError: the criterion returned something else.
    """
    if not isinstance(scores, Mapping):
        raise CompressionError(f"The criterion returned {scores!r}; return a mapping from layers to scores.")
    for name, score in scores.items():
        if not isinstance(score, Tensor):
            found = type(score).__name__
            raise CompressionError(f"The criterion gave a {found} for layer {name!r}; give a tensor.")
    return scores
