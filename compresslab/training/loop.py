"""Train a network on images in memory; evaluating stands in a module of its own."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from compresslab.errors import CompressionError
from compresslab.models.tracing import device_of
from compresslab.training.accuracy import read_out
from compresslab.training.batching import ImageData, Split, batches, random_affine

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]
Augmentation = Callable[[Tensor, torch.Generator], Tensor]

WARM_UP = 0.05  # share of all steps


@dataclass(frozen=True)
class History:
    """Hold what training saw, one entry per epoch, and the epoch whose weights the model has now.

    Args:
        loss: mean objective (and penalty) over the training images, augmented, while they were learned.
        validation: accuracy on validation.
        validation_loss: cross entropy on validation.
        kept: the epoch, counted from 1, whose weights the model has.

    >>> History((0.5, 0.1), (0.90, 0.96), (0.4, 0.2), kept=2)
    History(2 epochs; loss 0.5000 -> 0.1000; validation 90.0 % -> 96.0 %; weights of epoch 2)
    """

    loss: tuple[float, ...]
    validation: tuple[float, ...]
    validation_loss: tuple[float, ...]
    kept: int

    def __repr__(self) -> str:
        first, last = (f"{100 * self.validation[epoch]:.1f} %" for epoch in (0, -1))
        return (
            f"History({len(self.loss)} epochs; loss {self.loss[0]:.4f} -> {self.loss[-1]:.4f}; "
            f"validation {first} -> {last}; weights of epoch {self.kept})"
        )


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of the model's answers: the objective unless another is given."""
    return functional.cross_entropy(model(images), labels)


def train(
    model: nn.Module,
    data: ImageData,
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float = 2e-3,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    augment: bool | Augmentation = True,
    objective: Objective = cross_entropy,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    after_step: Callable[[nn.Module, float], Any] | None = None,
    keep_best: bool = True,
    seed: int | torch.Generator = 0,
    progress: bool = True,
) -> History:
    """Train the model in place on ``data.train`` and leave it in evaluation mode.

    Why in place: training continues what is there, and so it is one of two verbs that change their
    argument. The same seed at the same thread count gives the same weights to the bit.

    Args:
        epochs: passes over the training images.
        batch_size: images per step.
        lr: the highest learning rate; it rises linearly over the first 5 % of the steps, then falls
            along a cosine to zero.
        optimizer: makes an optimizer from parameters and ``lr=``; functools.partial adds settings.
        augment: True for ``random_affine``, False for none, or a function of (images, generator).
        objective: the loss of one batch, from (model, images, labels).
        penalty: a further term from the model alone, such as a norm of its weights.
        after_step: called with (model, current lr) after every step, without gradients: projections,
            proximal steps, zeros that shall stay zeros.
        keep_best: restore the weights of the epoch with the lowest cross entropy on validation.
        seed: of the shuffling and the augmentation, or a generator that continues.
        progress: show a bar, on a terminal only.

    Returns:
        The loss and the validation accuracy of every epoch.

    Raises:
        CompressionError: nothing to learn from, or a loss that is not finite (the step that would have
            followed is not taken).

    Source: Loshchilov, Hutter, ICLR 2017, arXiv:1608.03983, equation 5 with one period (the cosine).
    """
    _check_training(data, epochs, batch_size, lr)
    generator = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    learn, choose = data.train.to(device_of(model)), data.validation.to(device_of(model))
    engine = optimizer(_trainable(model), lr=lr)
    steps = epochs * math.ceil(len(learn) / batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(engine, lambda step: rate(step, steps))
    record, best = [], {}

    def step(batch: Split) -> float:
        images = _augmented(batch.images, augment, generator)
        loss = objective(model, images, batch.labels)
        if penalty is not None:
            loss = loss + penalty(model)
        _check_loss(loss.item(), lr, len(record) + 1)
        engine.zero_grad()
        loss.backward()
        engine.step()
        if after_step is not None:
            with torch.no_grad():
                after_step(model, engine.param_groups[0]["lr"])
        schedule.step()
        return loss.item() * len(batch)

    bar = tqdm(range(epochs), unit="epoch", disable=None if progress else True)
    for _ in bar:
        model.train()
        loss = sum(map(step, batches(learn, batch_size, generator))) / len(learn)
        record.append((loss, *read_out(model, choose, batch_size)))
        bar.set_postfix(loss=f"{loss:.4f}", validation=f"{record[-1][1]:.3f}")
        if keep_best and record[-1][2] <= min(lowest for *_, lowest in record):
            best = {"epoch": len(record), "weights": deepcopy(model.state_dict())}
    if best:
        model.load_state_dict(best["weights"])
    model.eval()
    return History(*zip(*record, strict=True), kept=best.get("epoch", epochs))


def rate(step: int, steps: int) -> float:
    """Return the share of the highest learning rate at a step: a short rise, then a cosine to zero.

    >>> [round(rate(step, 101), 3) for step in (0, 2, 5, 53, 100)]
    [0.167, 0.5, 1.0, 0.5, 0.0]
    """
    rise = int(WARM_UP * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


def _augmented(images: Tensor, augment: bool | Augmentation, generator: torch.Generator) -> Tensor:
    if augment is False:
        return images
    return (random_affine if augment is True else augment)(images, generator)


def _check_training(data: ImageData, epochs: int, batch_size: int, lr: float) -> None:
    if not len(data.train) or not len(data.validation):
        raise CompressionError(
            f"asked to train on {len(data.train)} images and choose on {len(data.validation)}; "
            "both splits need some"
        )
    if epochs < 1 or batch_size < 1 or not 0 < lr < math.inf:
        raise CompressionError(
            f"asked for {epochs} epochs in batches of {batch_size} at lr={lr}; all must be above zero"
        )


def _check_loss(loss: float, lr: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise CompressionError(
            f"asked to train at lr={lr:g}, the loss became {loss} in epoch {epoch}; "
            "use a lower lr, or look for weights and images that are not finite"
        )


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    found = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not found:
        raise CompressionError(
            "asked to train a model without a trainable weight; quantized weights are fixed, "
            "so train through fake_quantize before quantize"
        )
    return found
