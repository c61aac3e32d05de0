"""How the loss minds a change: its slopes in probes, summed over images, in one loop for all who ask."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from compresslab.models.tracing import evaluating
from compresslab.training.batching import Part

Name = TypeVar("Name", bound=Hashable)


def slopes(
    model: nn.Module,
    parts: Iterable[Part],
    run: Callable[[Tensor], tuple[Tensor, Mapping[Name, Tensor]]],
    read: Callable[[Name, Tensor], Tensor],
) -> tuple[dict[Name, Tensor], int]:
    """Sum what is read of the slopes of the loss, the cross entropy of each image, in evaluation mode.

    Args:
        parts: images with labels, on the model's device.
        run: returns the answers to images, and the probes that they depend on, by name.
        read: what is summed of a probe's slope; a slope is summed over the images of its part already.

    Returns:
        The sums by name, and the number of images.
    """
    sums: dict[Name, Tensor] = {}
    images = 0
    with evaluating(model), torch.enable_grad():
        for part in parts:
            answers, probes = run(part.inputs)
            loss = functional.cross_entropy(answers, part.targets, reduction="sum")
            found = torch.autograd.grad(loss, list(probes.values()), materialize_grads=True)
            for name, slope in zip(probes, found, strict=True):
                seen = read(name, slope)
                sums[name] = sums[name] + seen if name in sums else seen
            images += len(part)
    return sums, images


def weights_times_slopes(
    model: nn.Module, names: Iterable[str], parts: Iterable[Part], dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Return ``w * dL/dw`` for all weights of the named parameters; L is the mean loss over all images.

    Args:
        dtype: of the sums; None for that of each parameter.
    """
    probes = {name: model.get_parameter(name).detach().requires_grad_() for name in names}
    sums, images = slopes(
        model,
        parts,
        run=lambda images: (functional_call(model, probes, (images,)), probes),
        read=lambda _, slope: slope.to(dtype or slope.dtype),
    )
    return {name: probe.detach() * sums[name] / images for name, probe in probes.items()}
