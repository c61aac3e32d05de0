"""Make neural networks small, and measure it.

Values are frozen dataclasses that work on tensors; verbs work on a model and return a new one.
What serves notebooks (plots, widgets, ...) loads when first used, so that the import stays light.

Fourteen rooms, each a folder that answers one question; a room imports from those below it only. ``EVENING``
names the modules that one should read in order to know the package, from the lowest room to the highest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

try:
    import_module("torch")
except (ImportError, OSError) as problem:  # OSError: a library that torch loads is missing or broken
    raise ImportError(
        f"compresslab needs torch, and it cannot be imported here: {problem}. Install torch again, as the "
        'README says, see that python -c "import torch" runs, then ask python -m compresslab doctor'
    ) from problem

from compresslab import models
from compresslab.deploying import export_onnx
from compresslab.errors import CompressionError, DataError, FormatError
from compresslab.integers import quantize_activations
from compresslab.measuring import Report, compare, measure
from compresslab.pruning import criteria, prune_neurons, prune_weights, sensitivity
from compresslab.quantization import (
    Asymmetric,
    Binary,
    KMeans,
    PerChannel,
    PerGroup,
    PerTensor,
    PowerOfTwo,
    QuantizedTensor,
    Symmetric,
    Ternary,
    fake_quantize,
    quantize,
)
from compresslab.searching import Budget, Plan, search
from compresslab.storage import load, save
from compresslab.training import datasets as data
from compresslab.training import distill, evaluate, penalties, train

if TYPE_CHECKING:
    from compresslab import exercises
    from compresslab.teaching import checkpoints, plots, widgets

# fmt: off
__all__ = [
    "Asymmetric", "Binary", "Budget", "CompressionError", "DataError", "FormatError", "KMeans", "PerChannel",
    "PerGroup", "PerTensor", "Plan", "PowerOfTwo", "QuantizedTensor", "Report", "Symmetric", "Ternary",
    "checkpoints", "compare", "criteria", "data", "distill", "evaluate", "exercises", "export_onnx",
    "fake_quantize", "load",
    "measure", "models", "penalties", "plots", "prune_neurons", "prune_weights", "quantize",
    "quantize_activations", "save", "search", "sensitivity", "train", "widgets",
]
# fmt: on

EVENING = {
    "models": ("models.architectures",),
    "quantization": (
        "quantization.granularity",
        "quantization.scheme",
        "quantization.uniform",
        "quantization.layers",
        "quantization.quantizing",
    ),
    "training": ("training.loop",),
    "surgery": ("surgery.units", "surgery.graph", "surgery.cutting"),
    "coding": ("coding.bits",),
    "storage": ("storage.container",),
    "measuring": ("measuring.report",),
    "pruning": ("pruning.selection", "pruning.weights"),
}

_LATER = {
    "checkpoints": "teaching.checkpoints",
    "exercises": "exercises",
    "plots": "teaching.plots",
    "widgets": "teaching.widgets",
}


def __getattr__(name: str):
    """Load what serves notebooks when it is first used."""
    if name in _LATER:
        return import_module(f"compresslab.{_LATER[name]}")
    raise AttributeError(f"module 'compresslab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
