"""How does a network run on integers alone? Activations get grids, sums stay whole."""

from compresslab.integers.layers import (
    Grid,
    Gridded,
    IntegerConvolution,
    IntegerLayer,
    fixed_point,
    requantize,
)
from compresslab.integers.network import integer_like, quantize_activations
from compresslab.integers.rounding import rounded_activations
from compresslab.integers.steps import (
    IntegerAdd,
    IntegerAverage,
    IntegerMean,
    IntegerReLU,
    QuantizeInput,
)

# fmt: off
__all__ = [
    "Grid", "Gridded", "IntegerAdd", "IntegerAverage", "IntegerConvolution", "IntegerLayer", "IntegerMean",
    "IntegerReLU", "QuantizeInput", "fixed_point", "integer_like", "quantize_activations", "requantize",
    "rounded_activations",
]
# fmt: on
