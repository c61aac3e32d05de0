"""Gates in front of weights that learn to close: the L0 norm made differentiable by chance."""

import copy
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compresslab.errors import CompressionError
from compresslab.training.weights import weights_of

TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1  # beta, gamma, zeta of the paper, with its values
_SHIFT = TEMPERATURE * math.log(-LOW / HIGH)  # log_alpha at which a draw is zero half the time
_PACE = 10.0


class HardConcrete(nn.Module):
    """Multiply a weight by random gates between 0 and 1 that are often exactly one of the two.

    A gate is a logistic draw around ``log_alpha``, squeezed by a sigmoid, stretched a little beyond 0 and 1
    and clipped there. The draw is fresh at every use in training; in evaluation mode each gate
    is what the clipped stretch makes of ``sigmoid(log_alpha)``, without chance.

    Args:
        shape: of the gates, to be broadcast over the weight.
        size: weights behind each gate.
        keep: how probable an open gate is at the start, above 0 and below 1.
        generator: of the draws.

    Source: Louizos, Welling, Kingma, ICLR 2018 (arXiv:1712.01312). New here: the stored parameter is a tenth
    of ``log_alpha``, so that at a learning rate that suits the weights Adam moves gates ten times as fast.
    Chapter: 11.
    """

    def __init__(self, shape: tuple[int, ...], size: int, keep: float, generator: torch.Generator) -> None:
        super().__init__()
        start = math.log(keep / (1 - keep)) + _SHIFT
        self.slow = nn.Parameter(torch.full(shape, start / _PACE))
        self.size, self.generator = size, generator

    @property
    def log_alpha(self) -> Float[Tensor, "..."]:
        """The location of each gate's distribution: far above 0 it is open, far below closed."""
        return _PACE * self.slow

    def draw(self) -> Float[Tensor, "..."]:
        """Draw every gate once; the gradient passes through to ``log_alpha``."""
        uniform = torch.rand(self.slow.shape, generator=self.generator).to(self.slow.device)
        noise = torch.logit(uniform, eps=torch.finfo(uniform.dtype).eps)  # 0 may be drawn
        return _stretched((noise + self.log_alpha) / TEMPERATURE)

    def settled(self) -> Float[Tensor, "..."]:
        """Return the gates of evaluation mode."""
        return _stretched(self.log_alpha)

    def open_probability(self) -> Float[Tensor, "..."]:
        """Return for every gate the probability that a draw is not zero.

        >>> gates = HardConcrete((2,), 1, 0.9, torch.Generator().manual_seed(0))
        >>> gates.open_probability()
        tensor([0.9000, 0.9000], grad_fn=<SigmoidBackward0>)
        """
        return torch.sigmoid(self.log_alpha - _SHIFT)

    def forward(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return weight * (self.draw() if self.training else self.settled())

    def extra_repr(self) -> str:
        gates = " x ".join(map(str, self.slow.shape))
        return f"{gates} gates, {float(self.open_probability().detach().mean()):.1%} open on average"


def _stretched(logits: Tensor) -> Tensor:
    return (torch.sigmoid(logits) * (HIGH - LOW) + LOW).clamp(0, 1)


def add_gates(
    model: nn.Module,
    keep: float = 0.9,
    *,
    axis: int | None = None,
    protect: Collection[str] = (),
    seed: int | torch.Generator = 0,
) -> nn.Module:
    """Put gates in front of the weights of linear and convolution layers.

    Train the result with ``penalty=L0(strength)`` and ``keep_best=False``, then make it a plain network with
    ``freeze_gates(result)``.

    Args:
        model: a network in floats. It is not changed.
        keep: how probable an open gate is at the start, above 0 and below 1.
        axis: None for a gate before every weight, 0 for one before every output, 1 before every input.
        protect: names of layers that get none.
        seed: of the draws, or a generator that continues.

    Returns:
        A new model with torch parametrizations on its weights.

    Raises:
        CompressionError: ``keep`` or ``axis`` is out of range, or a layer is unknown or parametrized already.

    Chapter: 11.
    """
    if not isinstance(keep, float) or not 0 < keep < 1:
        raise CompressionError(f"keep={keep!r} was asked; it is a float above 0 and below 1.")
    if axis not in (None, 0, 1):
        raise CompressionError(f"axis={axis!r} was asked; it is None, 0 for outputs or 1 for inputs.")
    weights_of(model, protect)
    result = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    modules = dict(result.named_modules())
    for name, weight in weights_of(result, protect).items():
        if name and name not in modules:
            raise CompressionError(
                f"Gates stand on the one weight of a layer, not on {name!r:.80}; "
                f"protect=({name!r:.80},) leaves it out."
            )
        layer = result.get_submodule(name)
        if parametrize.is_parametrized(layer, "weight"):
            raise CompressionError(f"The weight of layer {name!r} is parametrized already; start without.")
        shape = tuple(n if axis in (None, dim) else 1 for dim, n in enumerate(weight.shape))
        gates = HardConcrete(shape, weight.numel() // math.prod(shape), keep, generator)
        parametrize.register_parametrization(layer, "weight", gates.to(weight.device).train(layer.training))
    return result


def freeze_gates(model: nn.Module) -> nn.Module:
    """Multiply the settled gates into the weights: a plain network, in which closed gates left exact zeros.

    Returns:
        A new model that computes what the argument computes in evaluation mode.

    Raises:
        CompressionError: there are no gates.

    Chapter: 11.
    """
    _gated(model)
    result = copy.deepcopy(model)
    for layer, gates in _gated(result):
        gates.eval()
        weight = cast(Tensor, layer.weight).detach() + 0.0  # a negative weight times 0 is -0.0
        _make_plain(layer, nn.Parameter(weight))
    return result


def _make_plain(layer: nn.Module, weight: nn.Parameter) -> None:
    """Take a layer's parametrization away, in place.

    torch's ``remove_parametrizations`` would edit the layer's class, which copies of a layer share: the
    argument of ``freeze_gates`` would lose its weight.
    """
    bias = cast(nn.Parameter | None, layer.bias)
    layer.__class__ = type(layer).__bases__[0]
    del layer.parametrizations, layer.bias
    layer.register_parameter("weight", weight)
    layer.register_parameter("bias", bias)


@dataclass(frozen=True)
class L0:
    """Charge for every weight that is expected to be not zero; needs a model from ``add_gates``.

    Args:
        strength: what one weight costs, in units of the loss; 0 or above.

    Source: Louizos, Welling, Kingma, ICLR 2018 (arXiv:1712.01312).
    Chapter: 11.

    >>> print(f"{L0(1.0)(add_gates(nn.Linear(10, 10), keep=0.75)).item():.2f} of 100 weights")
    75.00 of 100 weights
    """

    strength: float

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def __call__(self, model: nn.Module) -> Float[Tensor, ""]:
        counts = [gates.size * gates.open_probability().sum() for _, gates in _gated(model)]
        return self.strength * torch.stack(counts).sum()


def check_strength(strength: float) -> None:
    """Refuse a strength that is negative or not finite."""
    if not 0 <= strength < math.inf:
        raise CompressionError(f"A strength of {strength!r} was asked; it is a number from 0 up.")


def _gated(model: nn.Module) -> list[tuple[nn.Module, HardConcrete]]:
    """Return every layer with gates, and these."""
    found = []
    for layer in model.modules():
        if parametrize.is_parametrized(layer, "weight"):
            held = cast(nn.ModuleDict, layer.parametrizations)["weight"]
            first = next(iter(held.children()))
            if isinstance(first, HardConcrete):
                found.append((layer, first))
    if not found:
        raise CompressionError(
            f"{type(model).__name__} has no gates; make some first: gated = add_gates(model)."
        )
    return found
