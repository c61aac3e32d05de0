"""The functions that chapters 13 and 14 ask for: Taylor's score from a hook, and burying the dead."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compresslab.exercises.task import Task, random, without_hooks
from compresslab.teaching.checkpoints import load

# 13-3: what the loss of each image changes by when a neuron becomes zero


def _seen(
    model: nn.Module, place: str, images: Tensor, labels: Tensor, reduction: str = "sum", before: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the values of a place and the loss's slopes in them, or those of what enters it."""
    seen: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        seen.append(inputs[0] if before else output)

    handle = model.get_submodule(place).register_forward_hook(look)
    try:
        loss = functional.cross_entropy(model(images), labels, reduction=reduction)
    finally:
        handle.remove()
    return seen[0].detach(), torch.autograd.grad(loss, seen[0])[0]


def _images(count: int) -> tuple[Tensor, Tensor]:
    """Return images. Of 7 and of 10, no two outputs of ``conv2`` in a pooling window are nearer than 1e-5.

    Where two are, as of 6, rounding decides which of them has a slope, and so what all slopes before it are.
    """
    return random(count, 1, 28, 28, seed=count).sigmoid(), torch.arange(count) % 10


SEEN = Task(
    _seen,
    lambda: [(load("article"), place, *_images(count)) for place, count in (("relu3", 12), ("relu2", 7))],
    "Keep the output in a hook; torch.autograd.grad gives the slopes in it.",
    [
        (lambda *a: _seen(*a, reduction="mean"), "Those are slopes of the mean; the loss is summed."),
        (lambda *a: _seen(*a)[::-1], "The values come first, then the slopes."),
        (lambda *a: _seen(*a, before=True), "That is what enters the ReLU; what leaves it is asked."),
        (lambda *a: (_seen(*a)[0],) * 2, "Those are the values twice; the slopes are missing."),
        (lambda *a: (_seen(*a)[0], _seen(*a)[1].abs()), "A slope keeps its sign."),
        (lambda *a: (_seen(*a)[0], _seen(*a)[0] * _seen(*a)[1]), "That is the product already."),
    ],
    within=1e-5,
    ask=without_hooks,
)


def _sum_over_map(products: Tensor) -> Tensor:
    return products.reshape(*products.shape[:2], -1).sum(2)


def _scored(values: Tensor, slopes: Tensor) -> Tensor:
    return _sum_over_map(values * slopes).abs().mean(0)


def _with(score: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *a: score(*_seen(*a))


# of a score: wrong ways from values and slopes, for the step and for the whole
_WRONG_SCORES: list[tuple[Callable[[Tensor, Tensor], Tensor], str]] = [
    (
        lambda v, s: _sum_over_map((v * s).abs()).mean(0),
        "Sum over the places of a map first, then take the size.",
    ),
    (lambda v, s: _sum_over_map(v * s).mean(0).abs(), "Take the size of each image, then the mean."),
    (lambda v, s: _sum_over_map(s).abs().mean(0), "The values are missing: a small slope alone says little."),
    (lambda v, s: _sum_over_map(v).abs().mean(0), "The slopes are missing."),
    (lambda v, s: _sum_over_map(v * s).mean(0), "The size is missing: images of both signs cancel."),
    (lambda v, s: _sum_over_map(v * s).square().mean(0), "That is squared; the size was asked."),
    (lambda v, s: _sum_over_map(v * s).abs().sum(0), "The mean over the images is asked, not their sum."),
    (
        lambda v, s: (v * s).flatten(2).mean(2).abs().mean(0) if v.ndim > 2 else _scored(v, s),
        "Over the places of a map the products are summed, not averaged.",
    ),
]

SCORED = Task(
    _scored,
    lambda: [(random(5, 3, 2, 2), random(5, 3, 2, 2, seed=1)), (random(5, 4), random(5, 4, seed=1))],
    "Product, sum over the map, size, mean over the images.",
    _WRONG_SCORES,
    within=1e-5,
)

TAYLOR = Task(
    _with(_scored),
    lambda: [
        (load("article"), place, *_images(count))
        for place, count in (("relu3", 20), ("relu2", 10), ("relu1", 7))
    ],
    "Sum over places before the size is taken.",
    [
        *((_with(wrong), sentence) for wrong, sentence in _WRONG_SCORES),
        (lambda *a: _scored(*_seen(*a, reduction="mean")), "Those are slopes of the mean loss; sum it."),
    ],
    within=1e-5,
    ask=without_hooks,
)

# 14-3: what the dead say goes into the bias of their reader


def _layers(width: int, outputs: int, seed: int = 7) -> tuple[Tensor, ...]:
    scale = random(width, seed=seed) * torch.tensor([1.0, 0.0]).repeat(width)[:width]
    return scale, *(random(*shape, seed=seed + n) for n, shape in ((1, [width]), (2, [outputs, width])))


def _says(scale: Tensor, shift: Tensor) -> Tensor:
    return torch.where(scale == 0, shift.relu(), 0.0)


SAYS = Task(
    _says,
    lambda: [_layers(width, 1)[:2] for width in (4, 9, 1)],
    "A norm multiplies by the scale and adds the shift; then comes the ReLU.",
    [
        (lambda scale, shift: torch.where(scale == 0, shift, 0.0), "The ReLU is missing."),
        (lambda scale, shift: shift.relu(), "A living neuron says no constant; give 0 for it."),
        (lambda scale, shift: _says(1.0 * (scale == 0), shift), "Those are the living; the dead are asked."),
        (lambda scale, shift: (scale * shift).relu(), "Scale and shift are not multiplied."),
        (lambda scale, shift: torch.zeros_like(shift), "A dead neuron is a constant, but not always 0."),
        (lambda scale, shift: 1.0 * (scale == 0), "That says who is dead, not what they say."),
    ],
)


def _bias(scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return bias + weight @ _says(scale, shift)


def _new_biases() -> list[tuple]:
    sizes = ((4, 2), (9, 3), (1, 1), (30, 10))
    return [(*_layers(*size), random(size[1], seed=3)) for size in sizes]


_WRONG_BIASES: list[tuple[Callable[..., Tensor], str]] = [
    (
        lambda scale, shift, weight, bias: bias + weight @ torch.where(scale == 0, shift, 0.0),
        "The ReLU stands between: a dead neuron says nothing below zero.",
    ),
    (lambda scale, shift, weight, bias: bias, "What the dead say is lost: their constants go into the bias."),
    (
        lambda scale, shift, weight, bias: weight @ _says(scale, shift),
        "The bias that was there is missing.",
    ),
    (
        lambda scale, shift, weight, bias: bias + weight @ shift.relu(),
        "The living say no constant; only the dead go into the bias.",
    ),
    (
        lambda scale, shift, weight, bias: bias - weight @ _says(scale, shift),
        "What the dead say is added, not taken away.",
    ),
    (
        lambda scale, shift, weight, bias: bias + _says(scale, shift).sum(),
        "Each reader multiplies a constant by its own weight.",
    ),
]

NEW_BIAS = Task(
    _bias,
    _new_biases,
    "The new bias answers what the reader answered when every living neuron is 0.",
    _WRONG_BIASES,
    within=1e-5,
)


def _buried(bias: Callable[..., Tensor] = _bias, living: Callable[[Tensor], Tensor] = torch.abs) -> Callable:
    def bury(scale: Tensor, shift: Tensor, weight: Tensor, old: Tensor) -> Tensor:
        return torch.cat([weight[:, living(scale) > 0], bias(scale, shift, weight, old)[:, None]], 1)

    return bury


def _all_columns(scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.cat([weight * (scale != 0), _bias(scale, shift, weight, bias)[:, None]], 1)


def _bias_first(*layers: Tensor) -> Any:
    return _buried()(*layers).roll(1, 1)


BURIED = Task(
    _buried(),
    _new_biases,
    "A dead neuron says relu(shift).",
    [
        *((_buried(wrong), sentence) for wrong, sentence in _WRONG_BIASES),
        (_buried(living=lambda scale: scale), "A scale below zero lives, too."),
        (_buried(living=lambda scale: 1.0 * (scale == 0)), "Those are the columns of the dead."),
        (_all_columns, "The columns of the dead go; zeros in their place still cost."),
        (_bias_first, "The new bias is the last column."),
    ],
    within=1e-5,
)
