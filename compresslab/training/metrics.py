"""What is a network judged by? Sums that add up over batches of any size, and the value they stand for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from compresslab.errors import CompressionError
from compresslab.models.inputs import answers_of, fitted, in_our_words, rows_of, shapes_in

Objective = Callable[[Any, Any, Any], Tensor]  # of a model, or a function in its place
Sums = Float[Tensor, " _"]  # in doubles


@dataclass(frozen=True)
class Metric(ABC):
    """A figure for a task, and whether more of it is better.

    Args:
        key: which part of an answer is judged, where the network answers with a mapping or a tuple.
    """

    name: ClassVar[str]
    higher: ClassVar[bool] = True
    key: str | int | None = None

    def ask(self, model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        """Return what of a network's answers is judged.

        Raises:
            CompressionError: the network fails, or answers without a tensor there, or with NaN.
        """
        answers = answers_of(model, inputs)
        part = answers
        if self.key is not None:
            parts: Mapping[Any, Any] = answers if isinstance(answers, Mapping) else dict(enumerate(answers))
            part = parts.get(self.key)
        if not isinstance(part, Tensor):
            raise CompressionError(
                f"The {self.name} judges a tensor, found an answer of {shapes_in(answers)}; say which part, "
                f"{type(self).__name__}(key=...)."
            )
        if spoilt := int(part.isnan().reshape(len(part), -1).any(1).sum()):
            raise CompressionError(
                f"{spoilt:,} of {len(part):,} answers hold NaN; look for weights and inputs that are not "
                "finite, or for numbers too large for half precision."
            )
        return part

    @abstractmethod
    def sums(self, answers: Tensor, targets: Any) -> Sums:
        """Return what adds up over batches."""

    @abstractmethod
    def value(self, sums: Sums) -> float:
        """Return the figure that sums over all batches stand for."""

    def cost(self, sums: Sums) -> float:
        """Return what tells epochs apart, lower is better: the value, unless something finer does."""
        return -self.value(sums) if self.higher else self.value(sums)

    def show(self, value: float) -> str:
        """Write the figure as tables do."""
        return f"{100 * value:.1f} %" if self.higher else f"{value:.4g}"


@dataclass(frozen=True)
class Classification(Metric):
    """The share of examples whose class is named rightly: the default.

    Some hundred images tell epochs apart only by the cross entropy, which is the cost here. An answer of one
    number for two classes is the logit of class 1.
    """

    name = "accuracy"

    def sums(self, answers: Tensor, targets: Any) -> Sums:
        hits = (classes_of(answers, targets) == targets).sum()
        loss = class_loss(answers, targets, reduction="sum")
        return torch.tensor([float(hits), loss.item(), len(targets)], dtype=torch.float64)

    def value(self, sums: Sums) -> float:
        return float(sums[0] / sums[2])

    def cost(self, sums: Sums) -> float:
        return float(sums[1] / sums[2])


@dataclass(frozen=True)
class MeanSquaredError(Metric):
    """The mean squared distance of numbers from what they should be.

    >>> error = MeanSquaredError()
    >>> error.value(error.sums(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]])))
    2.0
    """

    name, higher = "mean squared error", False

    def sums(self, answers: Tensor, targets: Any) -> Sums:
        _check_shapes(self, answers.shape, targets)
        squares = (answers.double() - targets.double()).square()
        return torch.tensor([float(squares.sum()), squares.numel()], dtype=torch.float64)

    def value(self, sums: Sums) -> float:
        return float(sums[0] / sums[1])


@dataclass(frozen=True)
class IntersectionOverUnion(Metric):
    """How well areas are covered: for each class, places named by both over places named by either; the mean.

    Answers hold a logit for every class on axis 1, or one for two classes. Classes that neither names are
    left out.

    Args:
        ignore: a label that is not judged.

    Source: Everingham et al., The Pascal Visual Object Classes Challenge, IJCV 111, 2015, section 4.2.

    >>> areas = IntersectionOverUnion()
    >>> logits = torch.tensor([[[4.0, 4.0, 4.0, -4.0]]])  # class 1, 1, 1 and 0
    >>> sums = areas.sums(logits, torch.tensor([[1, 1, 0, 0]]))
    >>> round(areas.value(sums), 4)  # (1 / 2 + 2 / 3) / 2
    0.5833
    """

    name = "intersection over union"
    ignore: int = -100

    def sums(self, answers: Tensor, targets: Any) -> Sums:
        _check_shapes(self, answers.shape[:1] + answers.shape[2:], targets)
        classes = max(2, answers.shape[1])
        found = (answers[:, 0] > 0).long() if answers.shape[1] == 1 else answers.argmax(1)
        found, wanted = found[targets != self.ignore], targets[targets != self.ignore]
        both, *either = (
            torch.bincount(these, minlength=classes) for these in (found[found == wanted], found, wanted)
        )
        return torch.stack([both, sum(either) - both]).double().flatten().cpu()

    def value(self, sums: Sums) -> float:
        both, either = sums.view(2, -1)
        return float((both / either)[either > 0].mean())


@dataclass(frozen=True)
class TokenAccuracy(Metric):
    """The share of places in a sequence whose token is named rightly; the logits are on the last axis.

    Args:
        ignore: a label that is not judged, such as that of padding.
    """

    name = "token accuracy"
    ignore: int = -100

    def sums(self, answers: Tensor, targets: Any) -> Sums:
        _check_shapes(self, answers.shape[:-1], targets)
        judged = targets != self.ignore
        hits = (answers.argmax(-1) == targets) & judged
        return torch.tensor([float(hits.sum()), float(judged.sum())], dtype=torch.float64)

    def value(self, sums: Sums) -> float:
        return float(sums[0] / sums[1])


@dataclass(frozen=True)
class Loss(Metric):
    """The mean of an objective over the examples: what ``train`` chooses by where no metric is given."""

    name, higher = "loss", False
    objective: Objective = field(kw_only=True)

    def ask(self, model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        inputs = fitted(inputs, model)
        with in_our_words(model, inputs):
            mean = self.objective(model, inputs, targets).double()
        count = mean.new_tensor(rows_of(inputs if targets is None else targets)[0])
        return torch.stack([mean * count, count])

    def sums(self, answers: Tensor, targets: Any) -> Sums:
        return answers.cpu()

    def value(self, sums: Sums) -> float:
        return float(sums[0] / sums[1])


def class_loss(answers: Tensor, targets: Tensor, reduction: str = "mean") -> Float[Tensor, ""]:
    """Return the cross entropy of logits, also where one logit stands for two classes."""
    if _one_logit(answers):
        return functional.binary_cross_entropy_with_logits(
            answers.flatten(), targets.to(answers.dtype), reduction=reduction
        )
    whole = isinstance(targets, Tensor) and not targets.is_floating_point()  # numbers of any width
    return functional.cross_entropy(answers, targets.long() if whole else targets, reduction=reduction)


def classes_of(answers: Tensor, targets: Any) -> Int[Tensor, " examples"]:
    """Return the class that each answer names.

    Raises:
        CompressionError: there is not one answer for each label, with a value for every class.
    """
    whole = isinstance(targets, Tensor) and targets.dim() == 1 and not targets.is_floating_point()
    low, high = (int(end) for end in targets.long().aminmax()) if whole and len(targets) else (0, 0)
    logits = 2 if _one_logit(answers) else answers.shape[1] if answers.dim() == 2 else 0
    if not whole or low < 0 or len(answers) != len(targets) or logits <= high:
        kind = f"{targets.dtype}, {low} to {high}" if whole else getattr(targets, "dtype", "no tensor")
        raise CompressionError(
            f"An answer with {high + 1} or more values was expected for each of {shapes_in(targets)} labels "
            f"({kind}), but the network gave {shapes_in(answers)}. Give pairs (inputs, labels), labels as "
            "whole numbers from 0; for another task give its metric, such as MeanSquaredError()."
        )
    return (answers.flatten() > 0).long() if _one_logit(answers) else answers.argmax(1)


def _one_logit(answers: Tensor) -> bool:
    return answers.dim() == 1 or answers.shape[1:] == (1,)


def _check_shapes(metric: Metric, judged: torch.Size, targets: Any) -> None:
    if not isinstance(targets, Tensor) or targets.shape != judged:
        raise CompressionError(
            f"The {metric.name} compares shape {tuple(judged)} with targets of the same shape, found "
            f"{shapes_in(targets)}; bring one to the shape of the other."
        )
