"""Steps that are learned and still take one byte in a file: powers of two, to the eighth part."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compresslab.errors import CompressionError
from compresslab.models.checking import copy_of
from compresslab.models.parameters import layer_weights
from compresslab.quantization.fake import FakeQuantize, straight_through
from compresslab.quantization.granularity import PerTensor
from compresslab.quantization.scheme import QuantizedTensor, Scheme
from compresslab.quantization.uniform import Symmetric

PARTS = 8  # steps from a power of two to the next
FIRST = 0.6  # first step of a weight, in standard deviations: most weights begin as -2 to 2
FIRST_OF_BIASES = 2.0**-4


class EighthSteps(FakeQuantize):
    """Train a tensor through one grid whose step is always ``2 ** (k / 8)``, k learned.

    Why: a file holds k in one byte, and training has used just this step. What learns is k as a float; the
    gradient passes straight through its rounding, as it does through that of the weights.

    Args:
        scheme: ``Symmetric`` with one step for the whole tensor; its bits bound the codes.
        weight: the tensor.
        step: where to start from, above zero; the nearest of the allowed steps is taken.

    Raises:
        CompressionError: another scheme, or a step that is not positive and finite.

    Source: the straight-through gradient: Bengio, Leonard, Courville, 2013 (arXiv:1308.3432).
    Chapter: 23.

    >>> weight = torch.tensor([0.3, -1.2])
    >>> grid = EighthSteps(Symmetric(8), weight, step=0.5)
    >>> grid(weight).detach(), grid.freeze(weight).codes
    (tensor([ 0.5000, -1.0000]), tensor([ 1, -2], dtype=torch.int8))
    """

    def __init__(self, scheme: Scheme, weight: Tensor, step: float, axis: int = 0) -> None:
        super().__init__(scheme, weight, axis=axis)
        if not isinstance(scheme, Symmetric) or not isinstance(scheme.granularity, PerTensor):
            raise CompressionError(f"One step for a whole tensor was asked of {scheme}; take Symmetric(8).")
        if not 0 < step < math.inf:
            raise CompressionError(f"A grid was asked to start with the step {step}; give one above zero.")
        self.exponent = nn.Parameter(torch.tensor(math.log2(step)))

    @property
    def length(self) -> Tensor:
        """The step itself, an allowed one, with a gradient to what learns."""
        smooth = torch.exp2(self.exponent)
        exact = 2 ** (round(PARTS * self.exponent.item()) / PARTS)
        return exact + (smooth - smooth.detach())

    def in_steps(self, weight: Tensor) -> Tensor:
        """Return the tensor in units of its step, not yet rounded."""
        return (weight * (1 / self.length)).clamp(*self.scheme.code_range)

    def forward(self, weight: Tensor) -> Tensor:
        steps = self.in_steps(weight)
        return straight_through(steps.round(), steps) * self.length

    def freeze(self, weight: Tensor) -> QuantizedTensor:
        return self.scheme.quantize(weight.transpose(0, self.axis), {"scale": self.length.detach()[None]})

    def extra_repr(self) -> str:
        return f"{self.scheme}, step {self.length.item():.4g}"


def train_codes(model: nn.Module, bits: int = 8) -> nn.Module:
    """Return a copy whose weights and biases all train as small integers times a step of ``EighthSteps``.

    Why: where a file has a thousand bytes, 4 bytes for a bias are a luxury. Train it, with
    ``penalties.CodeLength`` for few bytes, and freeze it with ``quantize``.

    Args:
        model: a network in floats, of linear and convolution layers.
        bits: of a code at most. How many it takes on average, the penalty says.

    Chapter: 23.

    >>> net = train_codes(nn.Sequential(nn.Linear(4, 2)))
    >>> [name for name, _ in net[0].named_parameters()][::2]
    ['parametrizations.weight.original', 'parametrizations.bias.original']
    """
    result, scheme = copy_of(model), Symmetric(bits)
    for weight in layer_weights(result):
        weight.refuse_computed()
        first = FIRST * float(weight.value.detach().std()) or 1.0
        grids = {weight.parameter: EighthSteps(scheme, weight.value, first, weight.axis)}
        if isinstance(bias := getattr(weight.layer, "bias", None), Tensor):
            grids["bias"] = EighthSteps(scheme, bias, FIRST_OF_BIASES)
        for name, grid in grids.items():
            parametrize.register_parametrization(weight.layer, name, grid)
    return result
