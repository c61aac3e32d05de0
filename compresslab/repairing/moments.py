"""What a layer sees, and what it should answer: sums over images, from which least squares follows.

A convolution is a linear layer on patches. So of each layer it is enough to know the mean and the squares of
the columns that its weights multiply, and how its wanted outputs go with them. Memory follows the layer's
width, not the number of images.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from compresslab.errors import CompressionError
from compresslab.models.inputs import call, fitted
from compresslab.models.tracing import evaluating, step_by_step


@dataclass(frozen=True, eq=False)
class Moments:
    """Hold sums over places: images of a linear layer, patches of a convolution; in float64, by group.

    >>> x, y = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[2.0], [6.0]]])
    >>> seen = Moments.of(x, y)
    >>> squares, products = seen.normal(damping=0.0, bias=True)
    >>> squares.item(), products.item()
    (1.0, 2.0)
    """

    count: int
    inputs: Float[Tensor, "groups columns"]
    outputs: Float[Tensor, "groups outputs"]
    squares: Float[Tensor, "groups columns columns"]
    products: Float[Tensor, "groups outputs columns"]

    @classmethod
    def of(
        cls, x: Float[Tensor, "groups places columns"], y: Float[Tensor, "groups places outputs"]
    ) -> Moments:
        """Sum over the places of one batch."""
        sums = (x.sum(1), y.sum(1), x.mT @ x, y.mT @ x)  # in the layer's precision: half the time
        return cls(x.shape[1], *(one.double() for one in sums))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count,
            self.inputs + other.inputs,
            self.outputs + other.outputs,
            self.squares + other.squares,
            self.products + other.products,
        )

    def normal(self, damping: float, bias: bool) -> tuple[Tensor, Tensor]:
        """Return the two sides of the normal equations, A and B of ``W A = B``, undamped but for the bias.

        The bias is one more column, which reads 1; solved for and left out, it takes from the squares
        what goes along the means. It is damped like the others, so from few images it moves less.
        """
        part = 1 / (1 + damping) if bias else 0.0
        mean, wanted = self.inputs / self.count, self.outputs / self.count
        squares = self.squares / self.count - part * mean[:, :, None] * mean[:, None]
        return squares, self.products / self.count - part * wanted[:, :, None] * mean[:, None]

    def shift(self, weights: Float[Tensor, "groups outputs columns"], damping: float) -> Tensor:
        """Return what the bias has to grow by, for weights that have been chosen."""
        mean, wanted = self.inputs / self.count, self.outputs / self.count
        return (wanted - torch.einsum("gok,gk->go", weights, mean)) / (1 + damping)


def can_be_seen(layer: nn.Module) -> bool:
    """Tell whether a layer is linear in columns that are known here: its forward method is torch's."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    return any(isinstance(layer, kind) and type(layer).forward is kind.forward for kind in kinds)


def order_of(model: nn.Module, names: Iterable[str], inputs: Any) -> list[str]:
    """Return the layers that a run reaches, in the order in which it does."""
    met: dict[str, None] = {}

    with ExitStack() as hooks, evaluating(model), step_by_step(), torch.no_grad():
        for name in names:
            layer = model.get_submodule(name)
            hooks.enter_context(layer.register_forward_pre_hook(lambda *_, name=name: met.setdefault(name)))
        call(model, fitted(inputs, model))
    return list(met)


@torch.no_grad()
def moments_of(model: nn.Module, reference: nn.Module, name: str, inputs: Iterable[Any]) -> Moments:
    """Sum up what a layer reads in a network that is being repaired, and what it should answer.

    What it should answer is what the same layer of the reference does, on what that one reads: so a layer
    also undoes, as far as it can, what those before it do wrong. Biases are left out of both.
    """
    layer, twin = model.get_submodule(name), reference.get_submodule(name)
    bias = getattr(twin, "bias", None)
    found = None
    for one in inputs:
        x = torch.cat([columns_of(layer, given) for given, _ in _met(model, layer, one)], 1)
        y = torch.cat([places_of(twin, answer) for _, answer in _met(reference, twin, one)], 1)
        if bias is not None:
            y = y - bias.reshape(len(y), 1, -1)
        found = Moments.of(x, y) if found is None else found + Moments.of(x, y)
    if found is None:
        raise CompressionError("There are no images; give some, for example batches=digits.train[:64].")
    return found


def _met(model: nn.Module, layer: nn.Module, inputs: Any) -> list[tuple[Tensor, Tensor]]:
    """Run a network in evaluation mode; return what went into a layer and came out, for each of its calls."""
    found: list[tuple[Tensor, Tensor]] = []
    hook = layer.register_forward_hook(lambda _, *said: found.append((said[0][0], said[1])))
    with hook, evaluating(model), step_by_step():
        call(model, fitted(inputs, model))
    return found


def columns_of(layer: Any, x: Tensor) -> Float[Tensor, "groups places columns"]:
    """Lay out what the weights of a linear layer or a convolution multiply, a row for each place.

    >>> layer = nn.Conv2d(1, 1, 2)
    >>> columns_of(layer, torch.arange(6.0).reshape(1, 1, 2, 3)).tolist()
    [[[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0]]]
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, x.shape[-1])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = functional.pad(x, layer._reversed_padding_repeated_twice, mode)
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    if len(kernel) == 1:
        x, kernel, stride, dilation = x.unsqueeze(-2), (1, *kernel), (1, *stride), (1, *dilation)
    patches = functional.unfold(x, kernel, dilation, 0, stride)  # images, columns, places
    return patches.unflatten(1, (layer.groups, -1)).movedim(1, 0).mT.flatten(1, 2)


def places_of(layer: Any, y: Tensor) -> Float[Tensor, "groups places outputs"]:
    """Lay out the outputs of a layer in the same order."""
    if isinstance(layer, nn.Linear):
        return y.reshape(1, -1, y.shape[-1])
    return y.flatten(2).unflatten(1, (layer.groups, -1)).movedim(1, 0).mT.flatten(1, 2)
