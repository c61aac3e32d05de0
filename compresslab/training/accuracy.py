"""Ask a network about data, and say how sure the answer makes us."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import overload

import torch
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.checking import check_model
from compresslab.models.inputs import fitted
from compresslab.models.tracing import evaluating
from compresslab.training.batching import Batches, ImageData, parts_of, small
from compresslab.training.metrics import Classification, Metric, classes_of


@dataclass(frozen=True)
class Accuracy:
    """Hold how many images of a split were answered rightly, and how sure that makes us.

    Args:
        correct: images answered rightly.
        total: images asked.
        predictions: the class given to every image, in the split's order.
        hits: whether that was right, image by image: what McNemar's test needs.

    >>> Accuracy(979, 1000)
    Accuracy(97.9 %: 979 of 1,000; 95 % interval 96.8 to 98.6 %)
    """

    correct: int
    total: int
    predictions: Tensor | None = field(default=None, compare=False)
    hits: Tensor | None = field(default=None, compare=False)

    @property
    def value(self) -> float:
        """The share of right answers."""
        return self.correct / self.total

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.interval()[0]

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.interval()[1]

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return Wilson's interval: all true rates that the found rate does not contradict.

        Why: unlike value +/- z * standard error it stays within 0 and 1, also at 1,000 of 1,000.

        Source: Wilson, Journal of the American Statistical Association 22, 1927.
        """
        z, n = NormalDist().inv_cdf((1 + confidence) / 2), self.total
        centre = self.value + z * z / (2 * n)
        half = z * math.sqrt(self.value * (1 - self.value) / n + (z / (2 * n)) ** 2)
        shrink = 1 + z * z / n
        low, high = (centre - half) / shrink, (centre + half) / shrink
        return min(self.value, max(0.0, low)), max(self.value, min(1.0, high))  # 0 and 1 despite rounding

    def __repr__(self) -> str:
        return (
            f"Accuracy({self.value:.1%}: {self.correct:,} of {self.total:,}; "
            f"95 % interval {100 * self.low:.1f} to {100 * self.high:.1f} %)"
        ).replace("%:", " %:", 1)


@dataclass(frozen=True)
class Score:
    """Hold what a metric other than the accuracy found.

    Args:
        metric: which; it says whether more is better.
        value: the figure, over all examples.
        total: examples asked.
    """

    metric: Metric
    value: float
    total: int

    def __repr__(self) -> str:
        better = "higher" if self.metric.higher else "lower"
        shown = self.metric.show(self.value)
        return f"Score({self.metric.name} {shown} on {self.total:,} examples; {better} is better)"


@overload
def evaluate(model: nn.Module, data: ImageData | Batches, batch_size: int = 500) -> Accuracy: ...
@overload
def evaluate(
    model: nn.Module, data: ImageData | Batches, batch_size: int = 500, *, metric: Metric
) -> Accuracy | Score: ...
def evaluate(
    model: nn.Module, data: ImageData | Batches, batch_size: int = 500, *, metric: Metric = Classification()
) -> Accuracy | Score:
    """Return how many examples the model answers rightly, with Wilson's interval, or what a metric says.

    Args:
        model: a network on any device; it comes back in the mode it had.
        data: a data set, of which the test split is used; or a split, a DataLoader or any iterable of pairs
            (inputs, targets).
        batch_size: examples per pass; memory, not the result, depends on it.
        metric: of a task that is no classification.

    Raises:
        CompressionError: there is nothing to evaluate on, or the network cannot read it or answer each.

    >>> evaluate(nn.Linear(1, 1).half(), [(torch.ones(4, 1), torch.ones(4, dtype=torch.int64))]).total
    4
    """
    check_model(model)
    seen: list[Tensor] = []

    def see(answers: Tensor, targets: Tensor) -> None:
        seen.append(torch.stack([classes_of(answers, targets), targets]).cpu())

    sums, total = _judged(model, data, batch_size, metric, see if type(metric) is Classification else None)
    if not total:
        raise CompressionError("asked to evaluate on a split without images; choose one that has some")
    if not seen:
        return Score(metric, metric.value(sums), total)
    predictions, labels = torch.cat(seen, 1)
    hits = predictions == labels
    return Accuracy(int(hits.sum()), total, predictions, hits)


def read_out(
    model: nn.Module, data: Batches, batch_size: int, metric: Metric = Classification()
) -> tuple[float, float]:
    """Return a metric's value and its cost: the cross entropy beside the accuracy."""
    sums, _ = _judged(model, data, batch_size, metric)
    return metric.value(sums), metric.cost(sums)


def _judged(
    model: nn.Module,
    data: ImageData | Batches,
    batch_size: int,
    metric: Metric,
    see: Callable[[Tensor, Tensor], None] | None = None,
) -> tuple[Tensor, int]:
    """Return the sums of a metric over all examples, and their number; show the answers to ``see``."""
    sums, total = torch.zeros(1, dtype=torch.float64), 0
    with evaluating(model), torch.no_grad():
        for part in small(parts_of(data.test if isinstance(data, ImageData) else data), batch_size):
            targets = fitted(part.targets, model)
            answers = metric.ask(model, part.inputs, targets)
            sums, total = sums + metric.sums(answers, targets), total + len(part)
            if see is not None:
                see(answers, targets)
    return sums, total
