"""What the room of training refuses: what was asked, and what is said."""

import math

import pytest
import torch
from torch import nn

from compresslab import Binary, fake_quantize
from compresslab.errors import CompressionError, DataError
from compresslab.training.accuracy import evaluate
from compresslab.training.batching import ImageData, Split, batches
from compresslab.training.gates import L0, add_gates, freeze_gates
from compresslab.training.loop import train
from compresslab.training.penalties import L1, L2, GroupLasso, Hoyer, Slimming
from compresslab.training.weights import norm_scales, weights_of
from tests.samples import images, network

FEW = Split(images(), torch.arange(4) % 3)
DATA = ImageData("few", FEW, FEW, FEW)
NOTHING = FEW[:0]


def learn(data=DATA, model=None, **how):
    return lambda: train(network() if model is None else model, data, **{"epochs": 1, **how})


PENALTIES = [L1(0.5), L2(0.5), GroupLasso(0.5), GroupLasso(0.5, axis=1), Hoyer(0.5)]
REFUSED = [
    (lambda: evaluate(network(), NOTHING), "without images"),
    *[
        (learn(**bad), "all must be above zero")
        for bad in ({"epochs": 0}, {"lr": 0.0}, {"lr": math.nan}, {"batch_size": 0})
    ],
    (learn(ImageData("none", NOTHING, FEW, FEW)), "training and validation need some"),
    (learn(ImageData("none", FEW, NOTHING, FEW)), "training and validation need some"),
    (learn(model=network().requires_grad_(False)), "without a trainable weight"),
    *[
        (lambda kind=kind, strength=strength: kind(strength), "strength")
        for kind in (L1, L2, GroupLasso, Hoyer, Slimming, L0)
        for strength in (-1.0, math.inf, math.nan)
    ],
    *[(lambda axis=axis: GroupLasso(1.0, axis=axis), "for the axis") for axis in (2, -1, None)],
    *[(lambda penalty=penalty: penalty(add_gates(network())), "freeze_gates") for penalty in PENALTIES],
    *[(lambda keep=keep: add_gates(network(), keep), "keep=") for keep in (0.0, 1.0, 1, -0.1, math.nan)],
    (lambda: add_gates(network(), axis=2), "axis=2"),
    (lambda: add_gates(network(), protect=("nowhere",)), "there are .*conv1"),
    (lambda: add_gates(fake_quantize(network(), Binary())), "parametrized already"),
    (lambda: add_gates(add_gates(network())), "computed at every call"),
    (lambda: freeze_gates(network()), "no gates"),
    (lambda: L0(1.0)(network()), "no gates"),
    (lambda: Slimming(0.1)(network()), "no batch norm"),
    (lambda: Slimming(1.0, protect=("nowhere",))(network("residual")), "'nowhere'; there are norm1"),
    (lambda: norm_scales(nn.Sequential(nn.BatchNorm2d(3, affine=False))), "no batch norm"),
    (lambda: weights_of(nn.ReLU()), "no linear or convolution"),
    (lambda: weights_of(network(), "conv1"), r"write \(name,\)"),
]
WRONG = [
    *[(lambda size=size: list(batches(FEW, size)), "at least one") for size in (0, -1)],
    (lambda: Split(FEW.images, FEW.labels[:3]), r"found shapes \(4, 1, 28, 28\) and \(3,\)"),
    (lambda: Split(FEW.images[0], FEW.labels[:1]), r"found shapes \(1, 28, 28\)"),
]


@pytest.mark.parametrize(("call", "message"), [*REFUSED, *WRONG])
def test_what_cannot_be_is_refused_in_words(call, message):
    with pytest.raises(CompressionError, match=message) as refusal:
        call()
    assert isinstance(refusal.value, DataError) == ((call, message) in WRONG)
