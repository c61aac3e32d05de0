"""What can a network learn besides one right class? A teacher's softened answer, and smoothed labels."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from compresslab.errors import CompressionError, fraction
from compresslab.models.inputs import call, shapes_in
from compresslab.training.metrics import class_loss

Logits = Float[Tensor, "..."]


@dataclass(frozen=True)
class SoftTargets:
    """Compare two answers as distributions over the classes, both softened by a temperature.

    A high temperature shows what a teacher thinks of the wrong classes. It also divides the gradient by about
    ``T ** 2``; multiplying the loss by ``T ** 2`` takes that back, so that one weight fits all temperatures.

    Args:
        temperature: what divides the logits: 1 leaves an answer as it is, more flattens it.
        weight: of this loss beside that of the labels, which gets the rest; a float from 0.0 to 1.0.
        axis: where the classes lie; a length of 1 there is the logit of class 1 of two.

    Source: Hinton, Vinyals, Dean, 2015, section 2 (arXiv:1503.02531).
    Chapter: 17.

    >>> logits = torch.tensor([[6.0, 3.0, 0.0]])
    >>> SoftTargets(1.0).soften(logits)
    tensor([[0.9503, 0.0473, 0.0024]])
    >>> SoftTargets(3.0).soften(logits)
    tensor([[0.6652, 0.2447, 0.0900]])
    """

    temperature: float = 4.0
    weight: float = 0.9
    axis: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.temperature, int | float) or not 0 < self.temperature < math.inf:
            raise CompressionError(
                f"Soft targets were asked at the temperature {self.temperature!r:.80}; give a number above "
                "zero: 1 leaves an answer as it is, 2 to 8 are usual."
            )
        fraction(self.weight, "the weight of soft targets")

    def soften(self, logits: Logits) -> Logits:
        """Return the probabilities of the classes at this temperature."""
        return self._logs(logits).exp()

    def of(self, student: Logits, teacher: Logits) -> Float[Tensor, ""]:
        """Return ``T ** 2 * KL(teacher || student)``, the mean over all distributions."""
        if student.shape != teacher.shape or not -student.dim() <= self.axis < max(2, student.dim()):
            raise CompressionError(
                f"The student answers in shape {shapes_in(student)}, its teacher in {shapes_in(teacher)}, "
                f"classes were asked on axis {self.axis}; give both the same classes, on an axis they have."
            )
        learned, taught = self._logs(student), self._logs(teacher.detach().to(student))
        return self.temperature**2 * (taught.exp() * (taught - learned)).sum(self.axis).mean()

    def mixed(self, soft: Tensor, hard: Tensor | float) -> Tensor:
        """Return the weighted mean of this loss and that of the labels."""
        return self.weight * soft + (1 - self.weight) * hard

    def _logs(self, logits: Tensor) -> Tensor:
        return functional.log_softmax(each_class(logits, self.axis) / self.temperature, self.axis)


@dataclass(frozen=True)
class LabelSmoothing:
    """Give a share of every label to all classes alike: soft targets without a teacher.

    An objective, ``train(..., objective=LabelSmoothing(0.1))``. As a teacher does, it no longer demands to be
    certain; but it knows nothing of the image.

    Args:
        share: what is spread over all classes, the right one among them; a float from 0.0 to 1.0.

    Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, CVPR 2016, section 7 (arXiv:1512.00567).
    Chapter: 17.

    >>> sure = torch.tensor([[5.0, 0.0]])
    >>> LabelSmoothing(0.1)(torch.nn.Identity(), sure, torch.tensor([0]))
    tensor(0.2567)
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        fraction(self.share, "the share of label smoothing")

    def __call__(self, model: Any, inputs: Any, targets: Tensor) -> Float[Tensor, ""]:
        answers = call(model, inputs)
        spread = -functional.log_softmax(each_class(answers), 1).mean()
        return (1 - self.share) * class_loss(answers, targets) + self.share * spread


def each_class(logits: Tensor, axis: int = 1) -> Tensor:
    """Return a logit for each class: where there is one for two classes, that of class 0 is 0."""
    logits = logits[:, None] if logits.dim() == 1 else logits
    return torch.cat([torch.zeros_like(logits), logits], axis) if logits.shape[axis] == 1 else logits
