"""Choose the smallest scores: an exact number of them, over one tensor or many, quickly; and say of which."""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Num
from numpy import ndarray
from torch import Tensor, nn

from compresslab.errors import CompressionError, whole
from compresslab.models.parameters import Weight, assigned

Scores = Mapping[str, Float[Tensor, "..."]]
Share = float | Mapping[Any, float]

_CHUNK = 1 << 17  # scores looked at in one go: 512 kB of float32, which stays in the cache
_SAMPLE = 1 << 16
_EXACT_IN_FLOAT32 = (torch.float16, torch.bfloat16, torch.float32, torch.bool, torch.uint8, torch.int8)


def count_of(share: float, total: int) -> int:
    """Return how many of ``total`` a share is, rounded to the nearest, halves to even.

    Args:
        share: what goes, from 0.0 to 1.0.
        total: of how many.

    Raises:
        CompressionError: the share is no float between 0 and 1. An int is refused: to torch's pruning
            1 means one weight and 1.0 means all of them, a difference too easily missed.

    >>> count_of(0.9, 105), count_of(0.5, 5)
    (94, 2)
    """
    if not isinstance(share, float) or not 0 <= share <= 1:
        raise CompressionError(
            f"A share of {share!r} was asked; it is a float from 0.0 to 1.0, the part that goes. "
            "Write 0.9 for nine of ten, and 1.0 for all."
        )
    return round(share * total)


def smallest(scores: Sequence[Num[Tensor, "..."]], count: int) -> list[Bool[Tensor, "..."]]:
    """Mark exactly ``count`` of the smallest scores over all tensors together.

    Where scores are equal, the earlier ones are marked: tensors in the order given, within a tensor
    row by row. The threshold is found without sorting: a sample brackets it, one pass counts what
    lies below the bracket and collects what lies inside, and a partition of these few settles it.

    Args:
        scores: any number of tensors, of any shapes; they are compared as they are, unrounded.
        count: how many to mark, 0 to the number of scores.

    Returns:
        A mask for each tensor, True where marked.

    Raises:
        CompressionError: a score is NaN, or there are fewer scores than ``count``.

    Source: Floyd and Rivest, Communications of the ACM 18, 1975, for selection by a sampled bracket.
    Chapter: 09.

    >>> smallest([torch.tensor([3.0, 1.0]), torch.tensor([1.0, 1.0])], 2)
    [tensor([False,  True]), tensor([ True, False])]
    """
    flat = _flat(scores)
    total = sum(map(len, flat))
    whole(count, f"the smallest of {total:,} scores", 0, total)
    threshold, ties = _threshold(flat, count)
    masks = []
    for score, values in zip(scores, flat, strict=True):
        mask, ties = _marked(values, threshold, ties)
        masks.append(torch.from_numpy(mask).reshape(score.shape).to(score.device))
    return masks


def refuse_nan(scores: Sequence[Num[Tensor, "..."]]) -> None:
    """Raise a CompressionError where a score is NaN."""
    _refuse_nan(_flat(scores))


def _flat(scores: Sequence[Tensor]) -> list[Float[ndarray, " _"]]:
    """Lay the scores out row by row, all in one type that holds each of them exactly."""
    exact = all(score.dtype in _EXACT_IN_FLOAT32 for score in scores)
    wide = torch.float32 if exact else torch.float64
    return [score.detach().cpu().to(wide).contiguous().view(-1).numpy() for score in scores]


def _threshold(flat: Sequence[Float[ndarray, " _"]], count: int) -> tuple[Any, int]:
    """Return the count-th smallest score, and how many scores equal to it are among the count smallest."""
    if count == 0:
        _refuse_nan(flat)
        return -math.inf, 0
    low, high = _bracket(flat, count)
    below, inside = _split(flat, low, high)
    if not below < count <= below + len(inside):
        for end in (low, high):  # an end of the bracket is the threshold where many scores equal it
            under, up_to = (sum(map(np.count_nonzero, part)) for part in _compared(flat, end))
            if under < count <= up_to:
                return end, int(count - under)
        below, inside = 0, np.concatenate(flat)  # the sample misled us: look at everything
    inside.partition(count - below - 1)
    threshold = inside[count - below - 1]
    return threshold, int(count - below - np.count_nonzero(inside < threshold))


def _bracket(flat: Sequence[Float[ndarray, " _"]], count: int) -> tuple[Any, Any]:
    """Bound the threshold by two scores of a sample, far enough apart to hold it almost surely."""
    total = sum(map(len, flat))
    step = max(1, total // _SAMPLE) | 1  # odd: a regular pattern in memory has an even period more often
    sample = np.sort(np.concatenate([values[::step] for values in flat]))
    rank = count / total * len(sample)
    spread = 4 * math.sqrt(len(sample) / 4) + 1  # four standard deviations of a rank at its widest
    low, high = math.floor(rank - spread), math.ceil(rank + spread)
    infinity = sample.dtype.type(np.inf)
    return sample[low] if low >= 0 else -infinity, sample[high] if high < len(sample) else infinity


def _split(flat: Sequence[Float[ndarray, " _"]], low: Any, high: Any) -> tuple[int, Float[ndarray, " m"]]:
    """Count the scores up to ``low``, and collect those above it and below ``high``."""
    below, inside = 0, []
    for chunk in _chunks(flat):
        under, reach = chunk <= low, chunk < high
        below += np.count_nonzero(under)
        if np.count_nonzero(reach) < len(chunk):  # NaN does not reach either
            _refuse_nan([chunk])
        inside.append(chunk[reach > under])  # of two truths, the first without the second
    return int(below), np.concatenate(inside)


def _compared(flat: Sequence[Float[ndarray, " _"]], end: Any) -> tuple[Iterator[ndarray], Iterator[ndarray]]:
    return (chunk < end for chunk in _chunks(flat)), (chunk <= end for chunk in _chunks(flat))


def _marked(values: Float[ndarray, " n"], threshold: Any, ties: int) -> tuple[Bool[ndarray, " n"], int]:
    """Mark what is below the threshold and the first ``ties`` equal to it; return the ties left over."""
    mask = np.empty(len(values), dtype=bool)
    for chunk, part in zip(_chunks([values]), _chunks([mask]), strict=True):
        np.less(chunk, threshold, out=part)
        if ties:
            equal = np.flatnonzero(chunk == threshold)[:ties]
            part[equal] = True
            ties -= len(equal)
    return mask, ties


def _chunks(flat: Sequence[ndarray]) -> Iterator[ndarray]:
    for values in flat:
        for start in range(0, len(values), _CHUNK):
            yield values[start : start + _CHUNK]


def _refuse_nan(flat: Sequence[Float[ndarray, " _"]]) -> None:
    if any(np.isnan(chunk.max()) for chunk in _chunks(flat)):
        raise CompressionError(
            "A score is NaN, so there is no smallest; look for weights, activations or gradients "
            "that are not finite."
        )


def scopes(layers: Sequence[Sequence[Weight]], share: Any, per_layer: bool) -> list[tuple[list[int], Any]]:
    """Say which places are compared with each other, and what share of them goes.

    Args:
        layers: the layers at each place, more than one where they have their neurons in common.
        share: one for all, or a mapping from layers to shares, ``"*"`` for all others (without it they stay).

    Raises:
        CompressionError: a layer is unknown, or layers at one place were given different shares.
    """
    places = list(range(len(layers)))
    if not isinstance(share, Mapping):
        return [([place], share) for place in places] if per_layer else [(places, share)]
    named = {key: part for key, part in share.items() if not (isinstance(key, str) and key == "*")}
    given = assigned([one for place in layers for one in place], named, "layer to prune")
    found = []
    for place, ones in enumerate(layers):
        asked = [given[one] for one in ones if one in given] or [share.get("*")]
        if any(other != asked[0] for other in asked[1:]):
            names = " + ".join(one.name for one in ones)
            raise CompressionError(f"{names} have their neurons in common; give them one share.")
        if asked[0] is not None:
            found.append(([place], asked[0]))
    return found


def scores_by(criterion: Any, model: nn.Module, batches: Any, objective: Any = None) -> Scores:
    """Ask a criterion: it must give a mapping from layers to tensors, as every one of the package does.

    Args:
        objective: handed on to a criterion that asks the loss, in place of the cross entropy.

    Raises:
        CompressionError: it is none, or returned something else.
    """
    if not callable(criterion):
        known = f"criteria.{criterion}" if isinstance(criterion, str) else "criteria.magnitude"
        raise CompressionError(
            f"{criterion!r:.80} was given for a criterion; give a function of a model and batches, such as "
            f"{known:.80}."
        )
    minds = objective is not None and "objective" in inspect.signature(criterion).parameters
    scores = criterion(model, batches, **({"objective": objective} if minds else {}))
    if not isinstance(scores, Mapping):
        raise CompressionError(
            f"The criterion returned {scores!r:.80}; return a mapping from layers to scores."
        )
    for name, score in scores.items():
        if not isinstance(score, Tensor):
            found = type(score).__name__
            raise CompressionError(f"The criterion gave a {found} for layer {name!r}; give a tensor.")
    return scores
