"""Find out which layers bear pruning: one layer at a time, several shares, accuracy on validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from compresslab.errors import CompressionError
from compresslab.measuring.tables import html_table, percent, text_table
from compresslab.pruning.criteria import Criterion, magnitude
from compresslab.pruning.weights import prune_weights
from compresslab.training.accuracy import Accuracy, evaluate
from compresslab.training.batching import Batches, ImageData

SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True, repr=False)
class Sensitivity:
    """What ``sensitivity`` found; ``plots.heat_map(found.shares, found.accuracies, alt=...)`` draws it.

    Args:
        data: the data set whose validation split was used.
        shares: what was pruned, in order.
        accuracies: for each layer one accuracy for each share, that layer alone pruned.
        reference: the accuracy with nothing pruned.
    """

    data: str
    shares: tuple[float, ...]
    accuracies: Mapping[str, tuple[Accuracy, ...]] = field(hash=False)
    reference: Accuracy

    @property
    def _caption(self) -> str:
        return (
            f"accuracy on {self.reference.total:,} validation images of {self.data}, one layer pruned alone; "
            f"nothing pruned: {percent(self.reference.value).strip()}"
        )

    @property
    def _header(self) -> list[str]:
        return ["layer", *(f"{100 * share:.3g} % gone" for share in self.shares)]

    @property
    def _rows(self) -> list[list[str]]:
        return [[name, *(percent(one.value) for one in row)] for name, row in self.accuracies.items()]

    def __repr__(self) -> str:
        right = range(1, len(self.shares) + 1)
        return f"{self._caption}\n{text_table(self._header, self._rows, right=right)}"

    def _repr_html_(self) -> str:
        return html_table(self._caption, self._header, self._rows, right=range(1, len(self.shares) + 1))


def sensitivity(
    model: nn.Module,
    data: ImageData,
    criterion: Criterion = magnitude,
    shares: Sequence[float] = SHARES,
    *,
    batches: Batches | None = None,
) -> Sensitivity:
    """Prune one layer at a time and see what each share costs, on the validation split.

    Why: the same share can be nothing to one layer and ruin another; what this shows is the reason to
    protect the first or the last. It looks at one layer at a time and without retraining, so it warns
    rather than predicts.

    Args:
        model: a trained network. It is not changed.
        data: a data set; its test split is not looked at.
        criterion: scores every weight, once.
        shares: what goes, each a float from 0.0 to 1.0.
        batches: images for a criterion that needs some, from the training split.

    Returns:
        A Sensitivity.

    Raises:
        CompressionError: as in ``prune_weights``, or there are no shares or no validation images.

    Source: Han, Pool, Tran, Dally, NIPS 2015 (arXiv:1506.02626), where the scan sets each layer's threshold.
    Chapter: 09.
    """
    if not shares:
        raise CompressionError("A scan over no share was asked; give some, for example (0.5, 0.9).")
    scores = criterion(model, batches)

    def accuracy(name: str, share: float) -> Accuracy:
        pruned = prune_weights(model, lambda model, batches: scores, {name: share})
        return evaluate(pruned, data.validation)

    return Sensitivity(
        data=data.name,
        shares=tuple(shares),
        accuracies={name: tuple(accuracy(name, share) for share in shares) for name in scores},
        reference=evaluate(model, data.validation),
    )
