"""Terms that make weights small or zero while they are learned, and the steps that make zeros exact.

A penalty is a frozen value. Called with a model it is a term of the loss, ``train(..., penalty=L1(1e-4))``;
its ``proximal`` step solves the same problem exactly for the weights alone, and
``train(..., after_step=L1(0.2).after_step)`` takes it after every step. Use one or the other; their strengths
differ (see ``Proximal``). Give ``keep_best=False``: the lowest validation loss often comes before the zeros.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from compresslab.errors import whole
from compresslab.quantization.lengths import CodeLength
from compresslab.training.gates import L0, HardConcrete, add_gates, check_strength, freeze_gates
from compresslab.training.weights import norm_scales, weights_of

__all__ = [
    "L0", "L1", "L2", "CodeLength", "GroupLasso", "HardConcrete", "Hoyer", "Penalty", "Proximal", "Slimming",
    "add_gates", "freeze_gates",
]  # fmt: skip


@dataclass(frozen=True)
class Penalty(ABC):
    """A sum over the weights of linear and convolution layers, times a strength; biases stay free.

    Args:
        strength: what one unit of the penalty costs, in units of the loss; 0 or above.
        protect: names of layers to leave out.

    Raises:
        CompressionError: the strength is negative or not finite.
    """

    strength: float
    protect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def __call__(self, model: nn.Module) -> Float[Tensor, ""]:
        values = [self.of(weight) for weight in self.targets(model).values()]
        return self.strength * torch.stack(values).sum()

    def targets(self, model: nn.Module) -> Mapping[str, Tensor]:
        """Return what is penalised, by layer name."""
        return weights_of(model, self.protect)

    @abstractmethod
    def of(self, weight: Float[Tensor, "..."]) -> Float[Tensor, ""]:
        """Return the penalty of one weight tensor, without the strength."""


class Proximal(Penalty):
    """A penalty with a proximal step.

    ``proximal(w, step)`` is the x that makes ``(x - w)^2 / 2 + step * strength * of(x)`` smallest. After a
    step of plain SGD of size ``step`` this is proximal gradient descent, which ends at a minimum of loss plus
    penalty. Adam scales each weight's step to about ``lr`` whatever its gradient, and the proximal step after
    it does not: the zeros are as exact, but the end is another point, and the strength competes with 1, not
    with the gradient. On LeNet-300-100 and the digits, 15 epochs, L1(0.3) with Adam makes half the weights
    zero, and L1(0.001) with SGD (lr 0.05, momentum 0.9) an eighth.

    Source: Parikh, Boyd, Foundations and Trends in Optimization 1, 2014.
    """

    @abstractmethod
    def proximal(self, weight: Float[Tensor, "..."], step: float) -> Float[Tensor, "..."]:
        """Return the weight after a proximal step; the argument is untouched."""

    @torch.no_grad()
    def after_step(self, model: nn.Module, lr: float) -> None:
        """Take a proximal step of size ``lr`` in place; ``train(..., after_step=penalty.after_step)``."""
        for weight in self.targets(model).values():
            weight.copy_(self.proximal(weight, lr))


class L1(Proximal):
    """Sum the absolute values of the weights.

    Its pull has the same size at any distance from zero. By the gradient (at zero, by convention, no pull)
    a weight steps to and fro around zero and stays small; by the proximal step it stops there.

    Source: Tibshirani, Journal of the Royal Statistical Society B 58, 1996.
    Chapter: 10.

    >>> w = torch.tensor([1.0, -0.25, 0.0], requires_grad=True)
    >>> torch.autograd.grad(L1(0.5).of(w), w)[0]
    tensor([ 1., -1.,  0.])
    >>> L1(0.5).proximal(w.detach(), step=1.0)
    tensor([0.5000, 0.0000, 0.0000])
    """

    def of(self, weight: Float[Tensor, "..."]) -> Float[Tensor, ""]:
        return weight.abs().sum()

    def proximal(self, weight: Float[Tensor, "..."], step: float) -> Float[Tensor, "..."]:
        """Bring every weight closer to zero by ``step * strength``; what would cross zero stays there."""
        by = step * self.strength
        return (weight - by).clamp(min=0) + (weight + by).clamp(max=0)


class Slimming(L1):
    """Sum the absolute values of the scales in batch norms: one number for each neuron.

    Why: a scale multiplies all that a neuron says, so a scale of zero makes the neuron a constant, whatever
    its weights are. Train with it, then ``prune_neurons(model, criteria.norm_scale, share)``.

    Args:
        protect: names of norms to leave out.

    Source: Liu et al., Network Slimming, ICCV 2017, equation 1 (arXiv:1708.06519).
    Chapter: 14.

    >>> net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    >>> _ = net[1].weight.data.copy_(torch.tensor([0.5, -0.25, 0.01]))
    >>> Slimming(0.1)(net)
    tensor(0.0760, grad_fn=<MulBackward0>)
    >>> Slimming(0.1).after_step(net, lr=1.0)
    >>> net[1].weight.data
    tensor([ 0.4000, -0.1500,  0.0000])
    """

    def targets(self, model: nn.Module) -> Mapping[str, Tensor]:
        return norm_scales(model, self.protect)


class L2(Proximal):
    """Sum half the squares of the weights: what optimizers call weight decay.

    Its pull shrinks with the weight, so that neither the gradient nor the proximal step makes a zero.

    Source: Hoerl, Kennard, Technometrics 12, 1970 (ridge regression).
    Chapter: 10.

    >>> w = torch.tensor([1.0, -0.25, 0.0], requires_grad=True)
    >>> torch.autograd.grad(L2(0.5).of(w), w)[0]
    tensor([ 1.0000, -0.2500,  0.0000])
    >>> L2(0.5).proximal(w.detach(), step=2.0)
    tensor([ 0.5000, -0.1250,  0.0000])
    """

    def of(self, weight: Float[Tensor, "..."]) -> Float[Tensor, ""]:
        return weight.square().sum() / 2

    def proximal(self, weight: Float[Tensor, "..."], step: float) -> Float[Tensor, "..."]:
        """Divide every weight by ``1 + step * strength``."""
        return weight / (1 + step * self.strength)


@dataclass(frozen=True)
class GroupLasso(Proximal):
    """Sum the L2 norms of groups of weights, each times the square root of its size.

    A group becomes zero as a whole or not at all. Over the outputs (axis 0) it empties neurons and filters,
    over the inputs (axis 1) it stops reading them. With the root, a group of equal weights costs what
    L1 would make it cost, so that large and small layers can share one strength.

    Args:
        protect: names of layers to leave out; the last layer's outputs are the classes.
        axis: 0 for a group for every output, 1 for every input (in a grouped convolution, for every
            place among a group's inputs).

    Raises:
        CompressionError: the axis is not 0 or 1.

    Source: Yuan, Lin, Journal of the Royal Statistical Society B 68, 2006; over neurons and filters: Wen et
    al., NIPS 2016 (arXiv:1608.03665).
    Chapter: 11.

    >>> w = torch.tensor([[3.0, 4.0], [0.3, -0.4]])
    >>> GroupLasso(1.0).proximal(w, step=0.5)  # norms 5 and 0.5, both less 0.5 * sqrt(2)
    tensor([[2.5757, 3.4343],
            [0.0000, 0.0000]])
    """

    axis: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.axis, "the axis of groups, outputs (0) or inputs (1)", 0, 1)

    def of(self, weight: Float[Tensor, "..."]) -> Float[Tensor, ""]:
        return self._norms(weight).sum() * self._root(weight)

    def proximal(self, weight: Float[Tensor, "..."], step: float) -> Float[Tensor, "..."]:
        """Shorten every group by ``step * strength * sqrt(size)``; a shorter group becomes zero."""
        norms, by = self._norms(weight), step * self.strength * self._root(weight)
        return torch.where(norms > by, weight * (1 - by / norms), 0)

    def _norms(self, weight: Tensor) -> Tensor:
        others = [dim for dim in range(weight.ndim) if dim != self.axis]
        return torch.linalg.vector_norm(weight, dim=others, keepdim=True)

    def _root(self, weight: Tensor) -> float:
        return math.sqrt(weight.numel() // max(1, weight.shape[self.axis]))


class Hoyer(Penalty):
    """Sum, over the layers, the squared L1 norm by the squared L2 norm: about how many weights count.

    The value is 1 where one weight is not zero and n where n weights are equal, at any scale: weights
    above ``L2^2 / L1`` are pushed up, those below down. No proximal step is given, so it makes weights
    small, and a threshold has to follow. A layer of zeros costs 0, without a pull.

    Source: Yang, Wen, Li, DeepHoyer, ICLR 2020 (arXiv:1908.09979), after Hoyer, Journal of Machine
    Learning Research 5, 2004.
    Chapter: 11.

    >>> w = torch.tensor([2.0, -1.0, 0.0], requires_grad=True)
    >>> Hoyer(1.0).of(w)
    tensor(1.8000, grad_fn=<DivBackward0>)
    >>> torch.autograd.grad(_, w)[0]
    tensor([-0.2400, -0.4800,  0.0000])
    """

    def of(self, weight: Float[Tensor, "..."]) -> Float[Tensor, ""]:
        squares = weight.square().sum()
        return weight.abs().sum().square() / squares.clamp(min=torch.finfo(weight.dtype).tiny)
