"""How much each weight, or each neuron, matters: callables from (model, batches) to scores.

A criterion gives a low score to what can go. It returns a mapping from layer names to tensors, reads the
model and leaves it as it was. Any function of this kind will do. Those written here score weights, in the
weights' shapes; those of ``neuron_criteria``, listed here too, score neurons, one number for each.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.models.tracing import device_of, evaluating
from compresslab.pruning.activity import weights_times_slopes
from compresslab.pruning.neuron_criteria import (
    activation_variance,
    apoz,
    l1_norm,
    l2_norm,
    live_inputs,
    mean_activation,
    mean_gradient,
    norm_scale,
    taylor,
    taylor_weights,
)
from compresslab.pruning.selection import Scores
from compresslab.training.batching import Batches, each, images_of, labelled
from compresslab.training.weights import weights_of

__all__ = [
    "Batches", "Criterion", "Random", "Scores", "activation", "activation_variance", "apoz", "gradient",
    "l1_norm", "l2_norm", "live_inputs", "magnitude", "mean_activation", "mean_gradient", "norm_scale",
    "taylor", "taylor_weights",
]  # fmt: skip

Criterion = Callable[[nn.Module, Any], Scores]


@torch.no_grad()
def magnitude(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a weight by its absolute value.

    Why: it needs no data, and among trained weights it is hard to beat. Over single weights the L1
    and the L2 norm both order by it, so they prune the same weights.

    Source: Han, Pool, Tran, Dally, NIPS 2015 (arXiv:1506.02626).
    Chapter: 09.

    >>> layer = nn.Linear(2, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[-0.5, 0.25]]))
    >>> magnitude(layer)
    {'': tensor([[0.5000, 0.2500]])}
    """
    return {name: weight.abs() for name, weight in weights_of(model).items()}


def gradient(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a weight by ``|w * dL/dw|``, to first order what the loss changes by if it becomes zero.

    L is the mean cross entropy over all images, in evaluation mode; how they are cut into batches does
    not matter. At a minimum of L every gradient is near zero, and the scores are mostly noise.

    Args:
        model: a classifier.
        batches: one Split or several, images with labels.

    Raises:
        CompressionError: there are no images, or some without labels.

    Source: Lee, Ajanthan, Torr, SNIP, ICLR 2019 (arXiv:1810.02340), who take this product before training.
    Chapter: 09.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    probed = {layer: names[id(weight)] for layer, weight in weights_of(model).items()}
    found = weights_times_slopes(model, probed.values(), labelled(batches, model, "gradient"))
    return {layer: found[name].abs() for layer, name in probed.items()}


@torch.no_grad()
def activation(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a weight by its absolute value times the L2 norm of the inputs that it is multiplied with.

    Why: a weight that reads a large input moves the output more than an equal one that reads a small
    input, and one whose input is always zero does nothing. In a convolution the inputs of a weight are
    all values that its place in the kernel slides over.

    Args:
        model: any network.
        batches: one or several Splits or image tensors; labels are not needed.

    Raises:
        CompressionError: there are no images, or a layer that none passes through.

    Source: Sun, Liu, Bair, Kolter, Wanda, 2023 (arXiv:2306.11695), who compare the scores within each
    output; what is compared here is up to the verb.
    Chapter: 09.
    """
    weights = weights_of(model)
    squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    reached: set[str] = set()

    def add(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        squares[name] += _squares_read(layer, inputs[0].detach(), weights[name])
        reached.add(name)

    with ExitStack() as hooks, evaluating(model):
        for name in weights:
            handle = model.get_submodule(name).register_forward_pre_hook(partial(add, name))
            hooks.callback(handle.remove)
        for batch in each(batches, "activation"):
            model(images_of(batch).to(device_of(model)))
    if unread := [name for name in weights if name not in reached]:
        raise CompressionError(
            f"No image passed through {', '.join(unread)}; is it part of the forward pass?"
        )
    return {name: weight.abs() * squares[name].sqrt() for name, weight in weights.items()}


def _squares_read(layer: nn.Module, inputs: Tensor, weight: Tensor) -> Tensor:
    """Sum, for every weight, the squares of the inputs it is multiplied with.

    The layer is linear in its weight, so the sum is the derivative of ``sum(layer(inputs^2))`` by the
    weight, whatever the stride, the padding or the groups are.
    """
    if not isinstance(layer, nn.Conv2d):
        return inputs.reshape(-1, inputs.shape[-1]).square().sum(0).expand_as(weight)
    probe = torch.zeros_like(weight, requires_grad=True)
    with torch.enable_grad():
        total = layer._conv_forward(inputs.square(), probe, None).sum()
    return torch.autograd.grad(total, probe)[0]


@dataclass(frozen=True)
class Random:
    """Score by chance: the control that every other criterion has to beat.

    Args:
        seed: equal seeds give equal scores to equal shapes, so that rising shares take ever more of the
            same weights.

    Chapter: 09.

    >>> layer = nn.Linear(3, 2)
    >>> bool((Random(5)(layer)[""] == Random(5)(layer)[""]).all())
    True
    """

    seed: int = 0

    def __call__(self, model: nn.Module, batches: Batches | None = None) -> Scores:
        generator = torch.Generator().manual_seed(self.seed)
        return {
            name: torch.rand(weight.shape, generator=generator).to(weight.device)
            for name, weight in weights_of(model).items()
        }
