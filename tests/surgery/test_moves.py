"""What place numbers show is what the rules said that were written for each operation, for one commit."""

import warnings

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings

from compresslab.surgery import following
from compresslab.surgery.graph import graph_of
from compresslab.surgery.units import Channels
from tests.drawn import networks
from tests.surgery.old_moves import MOVE_RULES
from tests.surgery.test_torchvision import NAMES, SIDE


def alike(left, right):
    if isinstance(left, tuple):
        return isinstance(right, tuple) and len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, Channels):
        return (
            isinstance(right, Channels)
            and left.axis == right.axis
            and np.array_equal(left.units, right.units)
        )
    return left is right


def the_same(model, images):
    now = graph_of(model, images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "RULES", {**following.LAYER_RULES, **MOVE_RULES})
        before = graph_of(model, images)
    for left, right in zip(now.walks, before.walks, strict=True):
        for node, other in zip(left.states, right.states, strict=True):
            assert alike(left.states[node], right.states[other]), node
        assert left.readers.keys() == right.readers.keys()
    assert repr(now) == repr(before)
    assert np.array_equal(now.roots, before.roots)
    assert now.slots.keys() == before.slots.keys()


@settings(max_examples=200)
@given(networks())
def test_on_drawn_networks(model):
    the_same(model, torch.zeros(1, 2, 4, 4, dtype=torch.float64))


@pytest.mark.parametrize(
    "name", [*NAMES, "vgg16", "alexnet", "regnet_x_400mf", "mnasnet0_5", "efficientnet_v2_s"]
)
def test_on_torchvision(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(torchvision.models, name)(weights=None)
    side = SIDE.get(name, 64)
    the_same(model, torch.zeros(1, 3, side, side))
