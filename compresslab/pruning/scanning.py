"""Find out which layers bear pruning: one layer at a time, several shares, accuracy on validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from compresslab.errors import CompressionError
from compresslab.measuring.tables import html_table, percent, text_table
from compresslab.pruning.criteria import Criterion, magnitude
from compresslab.pruning.weights import prune_weights
from compresslab.training.accuracy import Accuracy, Score, evaluate
from compresslab.training.batching import Batches, ImageData
from compresslab.training.metrics import Classification, Metric

SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True, repr=False)
class Sensitivity:
    """What ``sensitivity`` found; ``plots.heat_map(found.shares, found.accuracies, alt=...)`` draws it.

    Args:
        data: the data set whose validation split was used, or what else was.
        shares: what was pruned, in order.
        accuracies: for each layer one accuracy (or score of another metric) for each share, that layer alone
            pruned.
        reference: the same with nothing pruned.
    """

    data: str
    shares: tuple[float, ...]
    accuracies: Mapping[str, tuple[Accuracy | Score, ...]] = field(hash=False)
    reference: Accuracy | Score

    @property
    def _caption(self) -> str:
        name, what = "accuracy", "images"
        if isinstance(self.reference, Score):
            name, what = self.reference.metric.name, "examples"
        return (
            f"{name} on {self.reference.total:,} validation {what} of {self.data}, one layer pruned alone; "
            f"nothing pruned: {_shown(self.reference).strip()}"
        )

    @property
    def _header(self) -> list[str]:
        return ["layer", *(f"{100 * share:.3g} % gone" for share in self.shares)]

    @property
    def _rows(self) -> list[list[str]]:
        return [[name, *map(_shown, row)] for name, row in self.accuracies.items()]

    def __repr__(self) -> str:
        right = range(1, len(self.shares) + 1)
        return f"{self._caption}\n{text_table(self._header, self._rows, right=right)}"

    def _repr_html_(self) -> str:
        return html_table(self._caption, self._header, self._rows, right=range(1, len(self.shares) + 1))


def sensitivity(
    model: nn.Module,
    data: ImageData | Batches,
    criterion: Criterion = magnitude,
    shares: Sequence[float] = SHARES,
    *,
    batches: Batches | None = None,
    metric: Metric = Classification(),
) -> Sensitivity:
    """Prune one layer at a time and see what each share costs, on the validation split.

    Why: the same share can be nothing to one layer and ruin another; what this shows is the reason to
    protect the first or the last. It looks at one layer at a time and without retraining, so it warns
    rather than predicts.

    Args:
        model: a trained network. It is not changed.
        data: a data set, of which the validation split is looked at; or a split, or any iterable of (inputs,
            targets) that can be gone through again.
        criterion: scores every weight, once.
        shares: what goes, each a float from 0.0 to 1.0.
        batches: images for a criterion that needs some, from the training split.
        metric: of a task that is no classification.

    Returns:
        A Sensitivity.

    Raises:
        CompressionError: as in ``prune_weights``, or there are no shares or no validation images.

    Source: Han, Pool, Tran, Dally, NIPS 2015 (arXiv:1506.02626), where the scan sets each layer's threshold.
    Chapter: 09.
    """
    if not shares:
        raise CompressionError("A scan over no share was asked; give some, for example (0.5, 0.9).")
    judged, called = (
        (data.validation, data.name) if isinstance(data, ImageData) else (data, type(data).__name__)
    )
    scores = criterion(model, batches)

    def accuracy(name: str, share: float) -> Accuracy | Score:
        pruned = prune_weights(model, lambda model, batches: scores, {name: share})
        return evaluate(pruned, judged, metric=metric)

    return Sensitivity(
        data=called,
        shares=tuple(shares),
        accuracies={name: tuple(accuracy(name, share) for share in shares) for name in scores},
        reference=evaluate(model, judged, metric=metric),
    )


def _shown(found: Accuracy | Score) -> str:
    return percent(found.value) if isinstance(found, Accuracy) else found.metric.show(found.value)
