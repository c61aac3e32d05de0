"""Let a network learn from another one: what ``train`` minimises when there is a teacher."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.checking import check_model
from compresslab.models.inputs import answers_of, call, in_our_words
from compresslab.models.tracing import evaluating
from compresslab.training.batching import Batches, ImageData, held, on, parts_of, small
from compresslab.training.features import Features, heard
from compresslab.training.loop import History, cross_entropy, train, trainable, usual
from compresslab.training.metrics import Objective
from compresslab.training.targets import SoftTargets


def distill(
    student: nn.Module,
    teacher: nn.Module,
    data: ImageData | Batches,
    *,
    epochs: int = 10,
    temperature: float = 4.0,
    weight: float = 0.9,
    axis: int = 1,
    key: str | int | None = None,
    features: Features | None = None,
    objective: Objective = cross_entropy,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    after_step: Callable[[nn.Module, float], Any] | None = None,
    seed: int | torch.Generator = 0,
    **how: Any,
) -> History:
    """Train the student in place to answer as its teacher does, and leave it in evaluation mode.

    It is ``train`` with another loss: ``weight`` times that of the soft targets, and the rest times that of
    the labels. The teacher sees the same augmented images, in evaluation mode, and stays as it was.

    Args:
        student: any network that ``train`` takes: cut, fake-quantized, with zeros that a step holds.
        teacher: a trained network, any module that takes the same inputs and has the same classes.
        data: what ``train`` takes; with ``weight=1.0`` inputs alone will do.
        temperature: softens both answers; 1 leaves them as they are.
        weight: of the soft targets, from 0.0 (``train`` alone) to 1.0 (the teacher alone).
        axis: of the classes in an answer.
        key: which part of an answer holds the logits, where a network answers with several.
        features: hidden layers to match besides, at a strength of their own.
        objective: the loss of the labels; this and what follows as in ``train``.

    Raises:
        CompressionError: no teacher, or one that shares weights with the student or answers in another
            shape; a setting out of bounds, a layer that is not there, or what ``train`` refuses.

    Source: Hinton, Vinyals, Dean, 2015 (arXiv:1503.02531), after Bucila, Caruana, Niculescu-Mizil, KDD 2006.
    Chapter: 17.

    >>> from compresslab import models
    >>> teacher, student = models.lenet_300_100(seed=1), models.lenet_300_100(fc1=30, fc2=10)
    >>> distill(student, teacher, [torch.ones(8, 1, 28, 28)], epochs=2, weight=1.0, progress=False)
    History(2 epochs; loss 0.0217 -> 0.0088; weights of epoch 2)
    """
    check_model(student)
    trainable(student)
    _check_teacher(student, teacher)
    data = held(data) if isinstance(data, Iterator) else data
    learn = data.train if isinstance(data, ImageData) else data
    lesson = Lesson(student, teacher, SoftTargets(temperature, weight, axis), key, features, objective)
    with evaluating(teacher):
        lesson = lesson.tried(learn, seed if isinstance(seed, int) else seed.initial_seed())
        return train(
            student if lesson.maps is None else Pupil(student, lesson.maps),
            data,
            epochs=epochs,
            objective=lesson,
            penalty=None if penalty is None else lambda _: penalty(student),
            after_step=None if after_step is None else lambda _, lr: after_step(student, lr),
            seed=seed,
            **{"metric": usual(learn, objective), **how},
        )


class Pupil(nn.Module):
    """A student with the maps that learn beside it."""

    def __init__(self, student: nn.Module, maps: nn.ModuleList) -> None:
        super().__init__()
        self.student, self.maps = student, maps

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.student(*args, **named)


@dataclass(frozen=True, eq=False)
class Lesson:
    """The objective of a student: it hears what both networks say of a batch, and gives the loss."""

    student: nn.Module
    teacher: nn.Module
    soft: SoftTargets
    key: str | int | None
    features: Features | None
    objective: Objective
    maps: nn.ModuleList | None = None

    def __call__(self, model: Any, inputs: Any, targets: Any) -> Tensor:
        if targets is None and self.soft.weight < 1 and self.objective is cross_entropy:
            raise CompressionError(
                f"Soft targets of the weight {self.soft.weight} leave the rest to labels, but a batch has "
                "inputs alone; give weight=1.0 to learn from the teacher alone, or pairs (inputs, targets)."
            )
        with self._hear(0) as own, in_our_words(self.student, inputs):
            alone = self.soft.weight == 1
            hard = self.objective(self.student, inputs, targets) if not alone else call(self.student, inputs)
        return self.loss(own, self.taught(inputs), 0.0 if alone else hard)

    def tried(self, data: Any, seed: int) -> "Lesson":
        """Let both networks answer one example, so that what cannot be is said before the first step."""
        with torch.random.fork_rng(devices=()), evaluating(self.student), torch.no_grad():
            part = next(small(filter(len, parts_of(data)), 1), None)
            if part is None:
                return self  # train says so
            inputs = on(part, self.student).inputs
            with self._hear(0) as own:
                answers_of(self.student, inputs)
            theirs = self.taught(inputs)
            maps = nn.ModuleList() if self.features is None else self.features.maps(own, theirs, seed)
            lesson = replace(self, maps=maps) if list(maps.parameters()) else self
            lesson.loss(own, theirs, 0.0)
        return lesson

    def taught(self, inputs: Any) -> dict[str, Tensor]:
        """Return what the teacher and its layers say, if it is asked at all."""
        with torch.no_grad(), self._hear(1) as theirs:
            if self.soft.weight or self.features:
                answers_of(self.teacher, inputs)
        return theirs

    def loss(self, own: dict[str, Tensor], theirs: dict[str, Tensor], hard: Any) -> Any:
        if self.soft.weight:
            hard = self.soft.mixed(self.soft.of(own[""], theirs[""]), hard)
        return hard if self.features is None else hard + self.features.of(own, theirs, self.maps)

    def _hear(self, side: int) -> AbstractContextManager[dict[str, Tensor]]:
        network, whose = ((self.student, "student"), (self.teacher, "teacher"))[side]
        layers = self.features.layers.items() if self.features else ()
        names = [("", "")] * bool(self.soft.weight) + [*layers]
        return heard(network, [pair[side] for pair in names], whose, self.key)


def _check_teacher(student: nn.Module, teacher: Any) -> None:
    """Refuse what cannot teach, and what would change while the student learns."""
    if not isinstance(teacher, nn.Module):
        raise CompressionError(
            f"A student cannot learn from {teacher!r:.80}; give a trained torch.nn.Module for a teacher, or "
            "use train, which needs none."
        )
    if shared := len(_places(student) & _places(teacher)):
        raise CompressionError(
            f"Student and teacher share {shared} modules or tensors, so the teacher would change, too; give "
            "a copy of it, copy.deepcopy(teacher)."
        )


def _places(model: nn.Module) -> set[int]:
    """Return where a network's modules and numbers lie."""
    held = (one.untyped_storage() for one in (*model.parameters(), *model.buffers()))
    return {*map(id, model.modules()), *(one.data_ptr() for one in held if one.nbytes())}
