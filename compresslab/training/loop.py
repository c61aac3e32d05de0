"""Train a network on data of any kind."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import length_hint
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from compresslab.errors import CompressionError
from compresslab.models.checking import check_model
from compresslab.models.inputs import call, in_our_words
from compresslab.models.tracing import device_of
from compresslab.training.accuracy import read_out
from compresslab.training.augmenting import random_affine
from compresslab.training.batching import (
    Augmentation,
    Batches,
    ImageData,
    Part,
    Split,
    batches,
    held,
    on,
    parts_of,
)
from compresslab.training.metrics import Classification, Loss, Metric, Objective, class_loss
from compresslab.training.resuming import Run

WARM_UP = 0.05  # share of all steps


@dataclass(frozen=True)
class History:
    """Hold what training saw, one entry per epoch, and the epoch whose weights the model has now.

    Args:
        loss: mean objective (and penalty) over the training examples, augmented, while they were learned.
        validation: the metric on validation, the accuracy unless another was given; empty without validation.
        validation_loss: what chooses: the cross entropy beside the accuracy, else the metric.
        kept: the epoch, counted from 1, whose weights the model has.
        metric: what validation was judged by.

    >>> History((0.5, 0.1), (0.90, 0.96), (0.4, 0.2), kept=2)
    History(2 epochs; loss 0.5000 -> 0.1000; validation 90.0 % -> 96.0 %; weights of epoch 2)
    """

    loss: tuple[float, ...]
    validation: tuple[float, ...]
    validation_loss: tuple[float, ...]
    kept: int
    metric: Metric = field(default=Classification(), compare=False)

    def __repr__(self) -> str:
        judged = " -> ".join(self.metric.show(self.validation[end]) for end in (0, -1) if self.validation)
        name = "" if isinstance(self.metric, Classification) else f" {self.metric.name}"
        return (
            f"History({len(self.loss)} epochs; loss {self.loss[0]:.4f} -> {self.loss[-1]:.4f}; "
            + (f"validation{name} {judged}; " if judged else "")
            + f"weights of epoch {self.kept})"
        )


def cross_entropy(model: Callable[..., Any], inputs: Any, targets: Tensor) -> Tensor:
    """Return the mean cross entropy of the model's answers: the objective unless another is given."""
    return class_loss(call(model, inputs), targets)


def train(
    model: nn.Module,
    data: ImageData | Batches,
    *,
    epochs: int,
    validation: Batches | None = None,
    batch_size: int = 64,
    lr: float = 2e-3,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    augment: bool | Augmentation | None = None,
    objective: Objective = cross_entropy,
    metric: Metric | None = None,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    after_step: Callable[[nn.Module, float], Any] | None = None,
    after_epoch: Callable[[History], Any] | None = None,
    clip: float | None = None,
    keep_best: bool = True,
    patience: int | None = None,
    resume: str | Path | None = None,
    seed: int | torch.Generator = 0,
    progress: bool = True,
) -> History:
    """Train the model in place, on the device where it is, and leave it in evaluation mode.

    Why in place: training continues what is there, and so it is one of two verbs that change their
    argument. The same seed at the same thread count gives the same weights to the bit.

    Args:
        data: a data set, of which ``train`` is learned; or a split, a DataLoader or any iterable of pairs
            (inputs, targets), learned as it comes.
        epochs: passes over the training examples.
        validation: data to choose by; unless given, a data set's ``validation``.
        batch_size: images per step, of a split.
        lr: the highest learning rate; it rises linearly over the first 5 % of the steps, then falls
            along a cosine to zero.
        optimizer: makes an optimizer from parameters and ``lr=``; functools.partial adds settings.
        augment: True for ``random_affine``, False for none, or a function of (inputs, generator); None for
            what a data set says itself, which the book's do.
        objective: the loss of one batch, from (model, inputs, targets).
        metric: what validation is judged by. None for the accuracy where there are classes to tell (splits
            of images, or the default objective), else for the objective itself.
        penalty: a further term from the model alone, such as a norm of its weights.
        after_step: called with (model, current lr) after every step, without gradients: projections,
            proximal steps, zeros that shall stay zeros.
        after_epoch: called with the History so far; training ends where it returns True.
        clip: the largest norm of all gradients together; longer ones are shortened to it.
        keep_best: restore the weights of the epoch that validation likes best.
        patience: end after so many epochs without a better one.
        resume: a file that holds the state after every epoch; where it is there, training goes on from it, to
            the same bits (but for what layers draw themselves, such as dropout).
        seed: of the shuffling and the augmentation, or a generator that continues.
        progress: show a bar, on a terminal only.

    Raises:
        CompressionError: nothing to learn from, or a loss that is not finite (the step that would have
            followed is not taken).

    Source: Loshchilov, Hutter, ICLR 2017, arXiv:1608.03983, equation 5 with one period (the cosine).
    """
    check_model(model)
    learn, choose, own = _parts(data, validation)
    steps = _steps(learn, choose, epochs, batch_size, lr)
    change = {None: own, True: random_affine, False: None}.get(augment, augment)  # type: ignore[call-overload]
    metric = metric or usual(learn, objective)
    generator = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    learn, choose = (d.to(device_of(model)) if isinstance(d, Split) else d for d in (learn, choose))
    engine = optimizer(trainable(model), lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(engine, lambda step: rate(step, steps))
    run = Run(model, engine, schedule, generator, (epochs, batch_size, lr, steps))

    def step(part: Part) -> tuple[float, int]:
        batch = on(part, model)
        inputs = batch.inputs if change is None else change(batch.inputs, generator)
        with in_our_words(model, inputs):
            loss = objective(model, inputs, batch.targets)
        if penalty is not None:
            loss = loss + penalty(model)
        _check_loss(loss.item(), lr, len(run.record) + 1)
        engine.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(trainable(model), clip)
        engine.step()
        if after_step is not None:
            with torch.no_grad():
                after_step(model, engine.param_groups[0]["lr"])
        schedule.step()
        return loss.item() * len(part), len(part)

    def history(kept: int) -> History:
        loss, value, cost, *_ = (*zip(*run.record, strict=True), (), ())
        return History(loss, value, cost, kept, metric)

    if resume is not None:
        run.read(resume)
    bar = tqdm(range(len(run.record), epochs), unit="epoch", disable=None if progress else True)
    for _ in bar:
        model.train()
        losses, counts = zip(*map(step, _passing(learn, batch_size, generator)), strict=True)
        judged = () if choose is None else read_out(model, choose, batch_size, metric)
        run.note(sum(losses) / sum(counts), *judged, keep=keep_best)
        bar.set_postfix(loss=f"{run.record[-1][0]:.4f}", validation="-" if not judged else f"{judged[0]:.3f}")
        if resume is not None:
            run.write(resume)
        enough = patience is not None and len(run.record) - run.best >= patience
        if (after_epoch is not None and after_epoch(history(run.best)) is True) or enough:
            break
    kept = run.restore()
    model.eval()
    return history(kept)


def rate(step: int, steps: int) -> float:
    """Return the share of the highest learning rate at a step: a short rise, then a cosine to zero.

    >>> [round(rate(step, 101), 3) for step in (0, 2, 5, 53, 100)]
    [0.167, 0.5, 1.0, 0.5, 0.0]
    """
    rise = int(WARM_UP * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


def _parts(data: Any, validation: Any) -> tuple[Any, Any, Augmentation | None]:
    """Return what to learn, what to choose by, and what the data says of augmentation."""
    own = None
    if isinstance(data, ImageData):
        validation = data.validation if validation is None else validation
        data, own = data.train, data.augmentation
    # what can be gone through once only is kept
    data, validation = (held(one) if isinstance(one, Iterator) else one for one in (data, validation))
    return data, validation, own


def usual(data: Any, objective: Objective) -> Metric:
    classes = isinstance(data, Split) or objective is cross_entropy
    return Classification() if classes else Loss(objective=objective)


def _passing(data: Any, size: int, generator: torch.Generator) -> Iterator[Part]:
    """Go through the data once: a split shuffled in batches, all else as it comes."""
    return batches(data, size, generator) if isinstance(data, Split) else filter(len, parts_of(data))


def _steps(learn: Any, choose: Any, epochs: int, batch_size: int, lr: float) -> int:
    """Return how many steps there will be."""
    if epochs < 1 or batch_size < 1 or not 0 < lr < math.inf:
        raise CompressionError(
            f"asked for {epochs} epochs in batches of {batch_size} at lr={lr}; all must be above zero"
        )
    if isinstance(learn, Split):
        count = math.ceil(len(learn) / batch_size)
    else:
        loader = learn if isinstance(learn, DataLoader) else ()
        count = length_hint(loader) or sum(1 for _ in parts_of(learn))  # a stream has no length
    if not count or (choose is not None and not any(len(part) for part in parts_of(choose))):
        raise CompressionError("asked to train on data without examples; training and validation need some")
    return epochs * count


def _check_loss(loss: float, lr: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise CompressionError(
            f"asked to train at lr={lr:g}, the loss became {loss} in epoch {epoch}; "
            "use a lower lr, or look for weights and images that are not finite"
        )


def trainable(model: nn.Module) -> list[nn.Parameter]:
    found = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not found:
        raise CompressionError(
            "asked to train a model without a trainable weight; quantized weights are fixed, "
            "so train through fake_quantize before quantize"
        )
    return found
