"""Write an integer network as layers between grids: what other runtimes compute in 8 bits by themselves."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compresslab.deploying.decoding import bias_of, operation, quantized_on
from compresslab.integers.layers import Grid, IntegerConvolution, IntegerLayer
from compresslab.integers.steps import (
    IntegerAdd,
    IntegerAverage,
    IntegerMean,
    IntegerReLU,
    QuantizeInput,
)

_UNSIGNED = 128  # between the codes of a Grid, -128 to 127, and those of the file, 0 to 255


def _on(grid: Grid, value: Tensor) -> Tensor:
    if grid.bits < 8:  # the runtime's own ends are those of 8 bits
        low, high = (grid.scale * (end - grid.zero_point) for end in grid.ends)
        value = value.clamp(low, high)
    return quantized_on(value, grid.scale, grid.zero_point + _UNSIGNED)


class _Step(nn.Module):
    """Compute in floats what a step of an integer network computes in codes, and round to its grid."""

    def __init__(self, step: Any) -> None:
        super().__init__()
        self.step = step


class _Input(_Step):
    def forward(self, x: Tensor) -> Tensor:
        return _on(self.step.grid, x)


class _Layer(_Step):
    """Codes of weights and the bias, which counts in steps of source times weight, stay integers."""

    def __init__(self, step: IntegerLayer) -> None:
        super().__init__(step)
        steps = _steps(step)
        shape = (step.codes.shape[1],)
        if isinstance(step, IntegerConvolution):
            shape = (shape[0] // math.prod(step.kernel_size), *step.kernel_size)
        self.register_buffer("codes", step.codes.reshape(-1, *shape))
        offset = step.bias + step.source.zero_point * step.codes.sum(dim=1, dtype=torch.int64)
        self.register_buffer("offset", offset.int())  # fits: a layer sees that bias and sums together do
        self.register_buffer("scale", (steps / step.source.scale).float())
        self.register_buffer("counted", steps.float())

    def forward(self, x: Tensor) -> Tensor:
        step, x = self.step, _on(self.step.source, x)  # x lies there: this says so to the runtime
        codes, scale = self.get_buffer("codes"), self.get_buffer("scale")
        weight = operation("DequantizeLinear", (codes, scale), codes, torch.float32, axis=0)
        bias = bias_of(self.get_buffer("offset"), self.get_buffer("counted"))
        if isinstance(step, IntegerConvolution):
            convolve = (F.conv1d, F.conv2d)[len(step.kernel_size) - 1]
            around = step.pads[::-1]  # torch lists the last axis first, before and after
            if around[::2] == around[1::2]:
                padding = around[::2]
            else:
                x, padding = F.pad(x, step.pads), 0
            found = convolve(x, weight, bias, step.stride, padding, step.dilation, step.groups)
        else:
            found = F.linear(x, weight, bias)
        target = step.target
        return found if target is None else _on(target, found)


def _steps(step: IntegerLayer) -> Tensor:
    """Return what one unit of a layer's sums is worth; inside, its factor to the next grid says so."""
    if step.target is None:
        return step.steps.double()
    return torch.ldexp(step.multiplier.double(), -step.shift) * step.target.scale


class _Add(_Step):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return _on(self.step.target, _on(self.step.left, x) + _on(self.step.right, y))


class _ReLU(_Step):
    def forward(self, x: Tensor) -> Tensor:
        return _on(self.step.grid, F.relu(x).clamp(max=self.step.ceiling or torch.inf))


class _Mean(_Step):
    def forward(self, x: Tensor) -> Tensor:
        return _on(self.step.grid, x.mean(dim=self.step.axes, keepdim=self.step.keep))


class _Average(_Step):
    def forward(self, x: Tensor) -> Tensor:
        step = self.step
        average = (F.avg_pool1d, F.avg_pool2d)[len(step.kernel) - 1]
        settings = step.kernel, step.stride, step.padding
        return _on(step.grid, average(x, *settings, count_include_pad=step.counts_padding))


_TWINS: dict[type[nn.Module], type[_Step]] = {
    QuantizeInput: _Input,
    IntegerLayer: _Layer,
    IntegerAdd: _Add,
    IntegerReLU: _ReLU,
    IntegerMean: _Mean,
    IntegerAverage: _Average,
}


def between_grids(model: nn.Module) -> None:
    """Put in the place of every step of an integer network its twin, in place."""
    for name, step in [*model.named_children()]:
        twin = next((twin for kind, twin in _TWINS.items() if isinstance(step, kind)), None)
        if twin is not None:
            setattr(model, name, twin(step))
