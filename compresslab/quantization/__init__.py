"""How does a number become a code? Rows share parameters, schemes fit levels, layers hold codes."""

from compresslab.quantization.clipping import LeastSquares, MinMax, Percentile
from compresslab.quantization.fake import FakeQuantize, fake_quantizer, float_weight
from compresslab.quantization.fake_activations import rounded_activations
from compresslab.quantization.folding import fold_norms
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.integer import (
    Grid,
    Gridded,
    IntegerConvolution,
    IntegerLayer,
    fixed_point,
    requantize,
)
from compresslab.quantization.integer_network import integer_like, quantize_activations
from compresslab.quantization.integer_steps import (
    IntegerAdd,
    IntegerAverage,
    IntegerMean,
    IntegerReLU,
    QuantizeInput,
)
from compresslab.quantization.kmeans import kmeans_centroids
from compresslab.quantization.layers import QuantizedLayer, hold_codes, quantized_like, replace
from compresslab.quantization.quantizing import Schemes, fake_quantize, quantize
from compresslab.quantization.scheme import Parameters, QuantizedTensor, Scheme, middles_of, with_parameters
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary, scheme_from_dict
from compresslab.quantization.uniform import Asymmetric, Symmetric

# fmt: off
__all__ = [
    "Asymmetric", "Binary", "FakeQuantize", "Grid", "Gridded", "IntegerAdd", "IntegerAverage",
    "IntegerConvolution", "IntegerLayer", "IntegerMean", "IntegerReLU", "KMeans", "LeastSquares", "MinMax",
    "Parameters", "PerChannel", "PerGroup", "PerTensor", "Percentile", "PowerOfTwo", "QuantizeInput",
    "QuantizedLayer", "QuantizedTensor", "Scheme", "Schemes", "Symmetric", "Ternary", "fake_quantize",
    "fake_quantizer", "fixed_point", "float_weight", "fold_norms", "hold_codes", "integer_like",
    "kmeans_centroids", "middles_of", "quantize", "quantize_activations", "quantized_like", "replace",
    "requantize", "rounded_activations", "scheme_from_dict", "with_parameters",
]
# fmt: on
