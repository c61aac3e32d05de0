"""Set weights to zero: at once, in rounds, from an earlier start; and keep the zeros while training."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.checking import check_model, copy_of
from compresslab.models.parameters import Weight
from compresslab.pruning.criteria import Criterion
from compresslab.pruning.patterns import Blocks, NofM
from compresslab.pruning.selection import Scores, Share, count_of, scopes, scores_by, smallest
from compresslab.training.batching import Batches
from compresslab.training.metrics import Objective
from compresslab.training.weights import weights_in, weights_of

Pattern = NofM | Blocks


def prune_weights(
    model: nn.Module,
    criterion: Criterion,
    share: Share | None = None,
    *,
    batches: Batches | None = None,
    objective: Objective | None = None,
    per_layer: bool = False,
    protect: Collection[Any] = (),
    pattern: Pattern | None = None,
) -> nn.Module:
    """Set the least important weights of all layers to zero; biases, norms and bare parameters stay.

    A pruned weight is a zero and nothing else: no mask remains. A weight that is zero already counts as
    gone, whatever its score, so rising shares take ever more; a model with more zeros than asked for
    comes back as it is.

    Args:
        model: a network in floats. It is not changed.
        criterion: scores every weight, for example ``criteria.magnitude``.
        share: what goes, a float from 0.0 to 1.0 over all layers together; or a mapping from layers, by name,
            pattern (``"encoder.*"``) or type, to shares: ``"*"`` is every other (without it they stay whole).
        batches: what a criterion looks at, from the training split.
        objective: the loss for a criterion that asks it, ``objective(model, inputs, targets)``; the cross
            entropy without.
        per_layer: take the same share in every layer instead.
        protect: layers that stay whole, as in ``share``; their weights are not counted either.
        pattern: ``NofM(2, 4)`` prunes every group of a row, and takes no share; ``Blocks(4, 4)`` prunes
            whole rectangles, and the share is one of blocks.

    Returns:
        A new model with exactly ``round(share * n)`` zeros among its n weights, halves to even (each
        layer by itself where shares are per layer). Among equal scores the earlier weights go.

    Raises:
        CompressionError: the share is an int or out of range, given with NofM or missing without; a layer
            is unknown; a score is missing, NaN or minus infinity.

    Source: Han, Pool, Tran, Dally, NIPS 2015 (arXiv:1506.02626).
    Chapter: 09.

    >>> from compresslab import criteria
    >>> layer = nn.Linear(4, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.5, -0.125, 0.25, -0.75]]))
    >>> prune_weights(layer, criteria.magnitude, 0.5).weight.tolist()
    [[0.5, 0.0, 0.0, -0.75]]
    """
    check_model(model)
    weights_in(model, protect)  # refuse what cannot be pruned before it is copied
    result = copy_of(model)
    weights = weights_in(result, protect)
    asked = _asked(share, pattern)
    scores = _ordering(weights, scores_by(criterion, model, batches, objective))
    with torch.no_grad():  # rows are outputs, also where a layer has them second
        rows = [
            (s.transpose(0, w.axis), v.transpose(0, w.axis))
            for s, (w, v) in zip(scores, weights.items(), strict=True)
        ]
        for places, part in scopes([[weight] for weight in weights], asked, per_layer):
            chosen = [rows[place][1] for place in places]
            marks = _marks([rows[place][0] for place in places], chosen, part, pattern)
            for weight, mark in zip(chosen, marks, strict=True):
                weight.masked_fill_(mark, 0)
    return result


def _ordering(weights: Mapping[Weight, Tensor], scores: Scores) -> list[Float[Tensor, "..."]]:
    """Return the scores of each weight; refuse those that do not order all of it."""
    found = []
    for name, weight in ((place.name, value) for place, value in weights.items()):
        score = scores.get(name)
        if score is None or score.shape != weight.shape:
            given = "no scores" if score is None else f"scores of shape {tuple(score.shape)}"
            raise CompressionError(
                f"The criterion gave {given} for layer {name!r}, whose weight has shape "
                f"{tuple(weight.shape)}; it must return one score for every weight, or protect=({name!r},) "
                "leaves the layer whole."
            )
        if score.numel() and not score.min() > -math.inf:
            raise CompressionError(
                f"A score of layer {name!r} is NaN, or minus infinity, where the weights that are zero "
                "already stand; look for weights, activations or gradients that are not finite."
            )
        found.append(score)
    return found


def _asked(share: Any, pattern: Pattern | None) -> Any:
    """Return the share that was asked for; NofM fixes it by itself."""
    if isinstance(pattern, NofM):
        if share is not None:
            raise CompressionError(
                f"A share of {share!r} was asked with {pattern}, which fixes it; leave it out."
            )
        return 0.0
    if share is None:
        raise CompressionError("No share was given; write prune_weights(model, criterion, 0.9) for 90 %.")
    return share


def _marks(
    scores: Sequence[Tensor], weights: Sequence[Tensor], share: float, pattern: Pattern | None
) -> Sequence[Bool[Tensor, "..."]]:
    """Mark the weights that go; those that are gone already come first."""
    if isinstance(pattern, NofM):
        return [pattern.smallest(_zeros_first(*pair)) for pair in zip(scores, weights, strict=True)]
    pairs = list(zip(scores, weights, strict=True))
    if pattern is not None:
        pairs = [(pattern.pool(s.float()), pattern.pool((w != 0).float())) for s, w in pairs]
    units = [_zeros_first(*pair) for pair in pairs]
    marks = smallest(units, count_of(share, sum(unit.numel() for unit in units)))
    if pattern is None:
        return marks
    return [pattern.spread(mark, weight.shape) for mark, weight in zip(marks, weights, strict=True)]


def _zeros_first(scores: Float[Tensor, "..."], values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    return scores.masked_fill(values == 0, -math.inf)


@dataclass(frozen=True, repr=False)
class HeldZeros:
    """Set the weights that were zero back to zero; made by ``hold_zeros``."""

    zeros: Mapping[str, Bool[Tensor, "..."]]

    @torch.no_grad()
    def __call__(self, model: nn.Module, lr: float = 0.0) -> None:
        """Do so in place; the learning rate is what ``train`` hands over, and does not matter."""
        weights = weights_of(model)
        for name, zeros in self.zeros.items():
            weight = weights.get(name)
            if weight is None or weight.shape != zeros.shape:
                found = "no such layer" if weight is None else f"shape {tuple(weight.shape)}"
                raise CompressionError(
                    f"Zeros of layer {name!r} with shape {tuple(zeros.shape)} were to be set, but the model "
                    f"has {found}; both models must be the same network."
                )
            weight.masked_fill_(zeros, 0)

    def __repr__(self) -> str:
        gone = sum(int(zeros.sum()) for zeros in self.zeros.values())
        return f"HeldZeros({gone:,} of {sum(zeros.numel() for zeros in self.zeros.values()):,} weights)"


def hold_zeros(model: nn.Module) -> HeldZeros:
    """Return what keeps a pruned model's zeros zero: ``train(model, ..., after_step=hold_zeros(model))``.

    Every step moves the zeros too, and every step sets them back, so the others learn as if the zeros
    were not there. The positions live as long as the training; the model holds none of it.

    Chapter: 09.

    >>> layer = nn.Linear(3, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 2.0, 0.0]]))
    >>> hold_zeros(layer)
    HeldZeros(2 of 3 weights)
    """
    return HeldZeros({name: weight.detach() == 0 for name, weight in weights_of(model).items()})


def rewind(pruned: nn.Module, earlier: nn.Module) -> nn.Module:
    """Return the earlier model with the pruned one's zeros: its weights, biases and norms otherwise.

    Why: trained from there, it shows whether the zeros or the trained values make the pruned network.

    Args:
        pruned: a model with zeros.
        earlier: the same network at its start, or some steps later.

    Raises:
        CompressionError: the two differ in a layer or in its shape.

    Source: Frankle, Carbin, ICLR 2019 (arXiv:1803.03635).
    Chapter: 09.
    """
    result = copy_of(earlier)
    hold_zeros(pruned)(result)
    return result
