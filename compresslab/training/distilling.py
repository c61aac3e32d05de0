"""Let a network learn from another one: what ``train`` minimises when there is a teacher."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.checking import check_model
from compresslab.models.inputs import answers_of, call, in_our_words, shapes_in
from compresslab.models.tracing import arguments_of, evaluating
from compresslab.training.batching import Batches, ImageData, held, on, parts_of, small
from compresslab.training.features import Features, heard
from compresslab.training.loop import History, cross_entropy, train, trainable, usual
from compresslab.training.metrics import Metric, Objective
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
    metric: Metric | None = None,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    after_step: Callable[[nn.Module, float], Any] | None = None,
    seed: int | torch.Generator = 0,
    **how: Any,
) -> History:
    """Train the student in place to answer as its teacher does, and leave it in evaluation mode.

    It is ``train`` with another loss: ``weight`` times that of the soft targets, the rest times that of the
    labels. Both networks see the same augmented batch. The teacher answers in evaluation mode, without
    gradients, and is as it was.

    Args:
        student: any network that ``train`` takes: cut, fake-quantized, with zeros that a step holds.
        teacher: a trained network with the same classes; any module that takes the same inputs.
        data: what ``train`` takes; with ``weight=1.0`` labels are not asked, so inputs alone will do.
        temperature: softens both answers; 1 leaves them as they are.
        weight: of the soft targets, from 0.0 (``train`` alone) to 1.0 (the teacher alone).
        axis: of the classes in an answer.
        key: which part of an answer holds the logits, where a network answers with several.
        features: hidden layers to match besides, at a strength of their own.
        objective: the loss of the labels.
        seed: as in ``train``; first weights of maps between features come from it, too.
        how: all else that ``train`` takes, such as ``epochs``, ``lr``, ``validation``, ``augment``.

    Raises:
        CompressionError: no teacher, one that shares weights with the student or answers in another shape, a
            temperature that is not above zero, a weight outside 0.0 to 1.0, a layer that is not there, or
            what ``train`` refuses.

    Source: Hinton, Vinyals, Dean, 2015 (arXiv:1503.02531), after Bucila, Caruana, Niculescu-Mizil, KDD 2006.
    Chapter: 17.

    >>> from compresslab import models
    >>> teacher, student = models.lenet_300_100(seed=1), models.lenet_300_100(fc1=30, fc2=10)
    >>> distill(student, teacher, [torch.rand(8, 1, 28, 28)], epochs=2, weight=1.0, progress=False)
    History(2 epochs; loss 0.0172 -> 0.0161; weights of epoch 2)
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
            metric=metric or usual(learn, objective),
            penalty=None if penalty is None else lambda _: penalty(student),
            after_step=None if after_step is None else lambda _, lr: after_step(student, lr),
            seed=seed,
            **how,
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
    """The objective of a student: called with a batch, it gives the loss."""

    student: nn.Module
    teacher: nn.Module
    soft: SoftTargets
    key: str | int | None
    features: Features | None
    objective: Objective
    maps: nn.ModuleList | None = None

    def __call__(self, model: Any, inputs: Any, targets: Any) -> Tensor:
        answers, own, said, theirs = self.both(inputs)
        loss: Any = 0.0 if self.soft.weight == 1 else self.hard(answers, inputs, targets)
        if self.soft.weight:
            loss = self.soft.mixed(self._apart(answers, said), loss)
        return loss if self.features is None else loss + self.features.of(own, theirs, self.maps)

    def tried(self, data: Any, seed: int) -> "Lesson":
        """Let both networks answer one example, so that what cannot be is said before the first step."""
        with torch.random.fork_rng(devices=()), evaluating(self.student), torch.no_grad():
            part = next(small(filter(len, parts_of(data)), 1), None)
            if part is None or not self.asks:
                return self
            answers, own, said, theirs = self.both(on(part, self.student).inputs)
            if self.soft.weight:
                self._apart(answers, said)
            if self.features is None:
                return self
            maps = self.features.maps(own, theirs, seed)
            self.features.of(own, theirs, maps)
        return replace(self, maps=maps) if list(maps.parameters()) else self

    @property
    def asks(self) -> bool:
        """Whether the teacher is asked at all."""
        return self.soft.weight > 0 or self.features is not None

    def both(self, inputs: Any) -> tuple[Any, dict[str, Any], Any, dict[str, Any]]:
        """Return the answers of both networks, each with those of its layers to match."""
        layers = {} if self.features is None else self.features.layers
        with in_our_words(self.student, inputs), heard(self.student, layers, "student") as own:
            answers = call(self.student, inputs)
        if not self.asks:
            return answers, own, None, {}
        with torch.no_grad(), heard(self.teacher, layers.values(), "teacher") as theirs:
            said = answers_of(self.teacher, inputs)
        return answers, own, said, theirs

    def hard(self, answers: Any, inputs: Any, targets: Any) -> Tensor:
        """Return the loss of the labels, from the answers that are there."""
        if targets is None and self.objective is cross_entropy:
            raise CompressionError(
                f"Soft targets of the weight {self.soft.weight} leave the rest to labels, but a batch has "
                "inputs alone; give weight=1.0 to learn from the teacher alone, or pairs (inputs, targets)."
            )
        asked = _parts(inputs)

        def answered(*args: Any, **named: Any) -> Any:
            again = [id(one) for one in (*args, *named.values())] == [id(one) for one in asked]
            return answers if again else self.student(*args, **named)

        return self.objective(answered, inputs, targets)

    def _apart(self, answers: Any, said: Any) -> Tensor:
        return self.soft.of(self._logits(answers, "student"), self._logits(said, "teacher"))

    def _logits(self, answers: Any, whose: str) -> Tensor:
        parts = answers if isinstance(answers, Mapping) else {}
        parts = dict(enumerate(answers)) if isinstance(answers, tuple | list) else parts
        found = answers if isinstance(answers, Tensor) else parts.get(self.key)
        if not isinstance(found, Tensor):
            raise CompressionError(
                f"Soft targets compare one tensor of logits, but the {whose} answers with "
                f"{shapes_in(answers)}; say which part they are, key=..."
            )
        return found


def _parts(inputs: Any) -> list[Any]:
    args, named = arguments_of(inputs)
    return [*args, *named.values()]


def _check_teacher(student: nn.Module, teacher: Any) -> None:
    """Refuse what cannot teach, and what would change while the student learns."""
    if not isinstance(teacher, nn.Module):
        kind = "None" if teacher is None else f"a {type(teacher).__name__:.80}"
        raise CompressionError(
            f"A student cannot learn from {kind}; give a trained torch.nn.Module for a teacher, or use train, "
            "which needs none."
        )
    theirs = {id(module) for module in teacher.modules()} | set(_held(teacher))
    if shared := [one for one in (*map(id, student.modules()), *_held(student)) if one in theirs]:
        raise CompressionError(
            f"Student and teacher share {len(shared)} modules and tensors, so the teacher would learn, too; "
            "give a copy of it, copy.deepcopy(teacher)."
        )


def _held(model: nn.Module) -> list[int]:
    """Return where the numbers of a network lie."""
    storages = (one.untyped_storage() for one in (*model.parameters(), *model.buffers()))
    return [storage.data_ptr() for storage in storages if storage.nbytes()]
