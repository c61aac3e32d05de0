"""Ask a network about a split, and say how sure the answer makes us."""

import math
from dataclasses import dataclass, field
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional

from compresslab.errors import CompressionError
from compresslab.models.tracing import device_of, evaluating
from compresslab.training.batching import ImageData, Split, batches


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


def evaluate(model: nn.Module, data: ImageData | Split, batch_size: int = 500) -> Accuracy:
    """Return how many images the model answers rightly, with Wilson's interval.

    Args:
        data: a data set, of which the test split is used, or a split.
        batch_size: images per pass; memory, not the result, depends on it.

    Raises:
        CompressionError: the split is empty.
    """
    split = data.test if isinstance(data, ImageData) else data
    if not len(split):
        raise CompressionError("asked to evaluate on a split without images; choose one that has some")
    device = device_of(model)
    with evaluating(model), torch.no_grad():
        answers = [model(part.images.to(device)).argmax(1).cpu() for part in batches(split, batch_size)]
    predictions = torch.cat(answers)
    hits = predictions == split.labels.cpu()
    return Accuracy(int(hits.sum()), len(split), predictions, hits)


def read_out(model: nn.Module, split: Split, batch_size: int) -> tuple[float, float]:
    """Return accuracy and cross entropy; a few hundred images tell epochs apart by the latter only."""
    correct, loss = 0, 0.0
    with evaluating(model), torch.no_grad():
        for part in batches(split, batch_size):
            answers = model(part.images)
            correct += int((answers.argmax(1) == part.labels).sum())
            loss += functional.cross_entropy(answers, part.labels, reduction="sum").item()
    return correct / len(split), loss / len(split)
