"""How does a number become a code? Rows share parameters, schemes fit levels, layers hold codes."""

from compresslab.quantization.clipping import Clip, LeastSquares, MinMax, Percentile
from compresslab.quantization.eighths import EighthSteps, train_codes
from compresslab.quantization.fake import FakeQuantize, fake_quantizer, float_weight, straight_through
from compresslab.quantization.folding import fold_norms
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.kmeans import kmeans_centroids
from compresslab.quantization.layers import QuantizedLayer, hold_codes, quantized_like, replace
from compresslab.quantization.lengths import CodeLength, Lengths, grids_of
from compresslab.quantization.quantizing import Schemes, fake_quantize, quantize
from compresslab.quantization.scheme import Parameters, QuantizedTensor, Scheme, middles_of, with_parameters
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary, scheme_from_dict
from compresslab.quantization.uniform import Asymmetric, Symmetric

# fmt: off
__all__ = [
    "Asymmetric", "Binary", "Clip", "CodeLength", "EighthSteps", "FakeQuantize", "KMeans", "LeastSquares",
    "Lengths", "MinMax", "Parameters", "PerChannel", "PerGroup", "PerTensor", "Percentile", "PowerOfTwo",
    "QuantizedLayer", "QuantizedTensor", "Scheme", "Schemes", "Symmetric", "Ternary", "fake_quantize",
    "fake_quantizer", "float_weight", "fold_norms", "grids_of", "hold_codes", "kmeans_centroids",
    "middles_of", "quantize", "quantized_like", "replace", "scheme_from_dict", "straight_through",
    "train_codes", "with_parameters",
]
# fmt: on
