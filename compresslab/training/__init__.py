"""How does it learn? Images in batches, the loop, what it is judged by, and what is added to the loss."""

from compresslab.training import datasets, penalties
from compresslab.training.accuracy import Accuracy, evaluate, read_out
from compresslab.training.batching import (
    Batches,
    ImageData,
    Split,
    each,
    first_images,
    held,
    images_of,
    labelled,
    small,
)
from compresslab.training.gates import L0, HardConcrete, add_gates, freeze_gates
from compresslab.training.loop import History, cross_entropy, rate, train
from compresslab.training.penalties import L1, L2, GroupLasso, Hoyer, Proximal, Slimming
from compresslab.training.weights import check_protected, norm_scales, weights_of

# fmt: off
__all__ = [
    "L0", "L1", "L2", "Accuracy", "Batches", "GroupLasso", "HardConcrete", "History", "Hoyer", "ImageData",
    "Proximal", "Slimming", "Split", "add_gates", "check_protected", "cross_entropy", "datasets", "each",
    "evaluate", "first_images", "freeze_gates", "held", "images_of", "labelled", "norm_scales", "penalties",
    "rate", "read_out", "small", "train", "weights_of",
]
# fmt: on
