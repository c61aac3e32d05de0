"""Make neural networks small, and measure it.

Values are frozen dataclasses that work on tensors; verbs work on a model and return a new one.
The edges (data, plots, widgets, ...) load when first used, so that the import stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from compresslab import criteria, penalties
from compresslab.activations import quantize_activations
from compresslab.comparing import compare
from compresslab.compress import fake_quantize, quantize
from compresslab.errors import CompressionError, DataError, FormatError
from compresslab.granularity import PerChannel, PerGroup, PerTensor
from compresslab.measuring import Report, measure
from compresslab.neurons import prune_neurons
from compresslab.pruning import prune_weights
from compresslab.quantizers import Asymmetric, Binary, KMeans, PowerOfTwo, QuantizedTensor, Symmetric, Ternary
from compresslab.scanning import sensitivity
from compresslab.storage.container import load, save
from compresslab.training import evaluate, train

if TYPE_CHECKING:
    from compresslab import checkpoints, data, exercises, models, plots, widgets

__all__ = [
    "Asymmetric",
    "Binary",
    "CompressionError",
    "DataError",
    "FormatError",
    "KMeans",
    "PerChannel",
    "PerGroup",
    "PerTensor",
    "PowerOfTwo",
    "QuantizedTensor",
    "Report",
    "Symmetric",
    "Ternary",
    "checkpoints",
    "compare",
    "criteria",
    "data",
    "evaluate",
    "exercises",
    "fake_quantize",
    "load",
    "measure",
    "models",
    "penalties",
    "plots",
    "prune_neurons",
    "prune_weights",
    "quantize",
    "quantize_activations",
    "save",
    "sensitivity",
    "train",
    "widgets",
]

_LATER = ("checkpoints", "data", "exercises", "models", "plots", "widgets")


def __getattr__(name: str):
    """Load an edge when it is first used."""
    if name in _LATER:
        return import_module(f"compresslab.{name}")
    raise AttributeError(f"module 'compresslab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
