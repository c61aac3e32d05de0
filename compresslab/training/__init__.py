"""How does it learn? Images in batches, the loop, what it is judged by, and what is added to the loss."""

from compresslab.training import datasets, penalties
from compresslab.training.accuracy import Accuracy, Score, evaluate, read_out
from compresslab.training.augmenting import random_affine
from compresslab.training.batching import (
    Batch,
    Batches,
    ImageData,
    Part,
    Split,
    each,
    first_images,
    held,
    labelled,
    parts_of,
    small,
)
from compresslab.training.datasets import digits
from compresslab.training.distilling import distill
from compresslab.training.features import Features
from compresslab.training.gates import L0, HardConcrete, add_gates, freeze_gates
from compresslab.training.loop import History, cross_entropy, rate, train
from compresslab.training.metrics import (
    Classification,
    IntersectionOverUnion,
    Loss,
    MeanSquaredError,
    Metric,
    Objective,
    TokenAccuracy,
)
from compresslab.training.penalties import L1, L2, GroupLasso, Hoyer, Proximal, Slimming
from compresslab.training.targets import LabelSmoothing, SoftTargets
from compresslab.training.weights import (
    check_collection,
    check_protected,
    norm_scales,
    stored,
    weights_in,
    weights_of,
)

# fmt: off
__all__ = [
    "L0", "L1", "L2", "Accuracy", "Batch", "Batches", "Classification", "Features", "GroupLasso",
    "HardConcrete", "History", "Hoyer", "ImageData", "IntersectionOverUnion", "LabelSmoothing", "Loss",
    "MeanSquaredError", "Metric", "Objective", "Part", "Proximal", "Score", "Slimming", "SoftTargets",
    "Split", "TokenAccuracy", "add_gates", "check_collection", "check_protected", "cross_entropy", "datasets",
    "digits", "distill", "each", "evaluate", "first_images", "freeze_gates", "held", "labelled",
    "norm_scales", "parts_of", "penalties", "random_affine", "rate", "read_out", "small", "stored", "train",
    "weights_in", "weights_of",
]
# fmt: on
