"""The law of cutting on torchvision's networks, half of each group gone; the groups of Torch-Pruning."""

import re
import warnings
from collections import Counter

import pytest
import torch
import torchvision

from compresslab.surgery.graph import graph_of
from tests.ignoring import calibrated, law

NAMES = [
    *("resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "vgg11_bn", "googlenet", "densenet121"),
    *("mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "regnet_y_400mf", "shufflenet_v2_x1_0"),
    *("squeezenet1_1", "mnasnet1_0", "convnext_tiny", "inception_v3"),
]
SIDE = {"vit_b_16": 224, "inception_v3": 299}  # its side output has a kernel of 5 x 5 behind five halvings

pytestmark = pytest.mark.slow


def network(name):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two of them announce that their initial weights will change
        model = getattr(torchvision.models, name)(weights=None)
    side = SIDE.get(name, 64)
    return model, torch.randn((4, 3, side, side), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_half_of_every_group_is_cut(name):
    model, images = network(name)
    model = calibrated(model, images)
    small = law(model, images, 1e-5, far=1e-3)
    weights = [sum(p.numel() for p in net.parameters()) for net in (small, model)]
    assert weights[0] < 0.45 * weights[1]


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_transformers_keep_their_heads_and_lose_half_of_the_neurons_between(name):
    model, images = network(name)
    graph = graph_of(model, images)
    assert {re.sub(r"(layers|\d+)", "", layer).strip("._") for g in graph.free for layer in g.layers} <= {
        "encoder..encoder_layer_.mlp",
        "features...mlp",
    }
    for layer in model.modules():  # the last one of vit starts with zeros
        if isinstance(layer, torch.nn.Linear) and not layer.weight.any():
            torch.nn.init.normal_(layer.weight)
    small = law(model.eval(), images, 1e-5, far=1e-3)
    weights = [sum(p.numel() for p in net.parameters()) for net in (small, model)]
    assert weights[0] < 0.75 * weights[1]


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_the_groups_are_those_of_torch_pruning(name):
    """The same layers make the neurons of a group, and the same layers read them."""
    pruning = pytest.importorskip("torch_pruning")
    model, images = network(name)
    model.eval()
    theirs = pruning.DependencyGraph().build_dependency(model, example_inputs=images[:1])
    names = {module: path for path, module in model.named_modules()}
    found = Counter()
    last = model.fc if name == "resnet18" else model.classifier
    for group in theirs.get_all_groups(ignored_layers=[last], root_module_types=[torch.nn.Conv2d]):
        makers, readers = set(), set()
        for dep, _ in group:
            module = dep.target.module
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                makes = theirs.is_out_channel_pruning_fn(dep.handler)
                (makers if makes else readers).add(names[module])
        found[frozenset(makers), frozenset(readers)] += 1
    graph = graph_of(model, images)
    ours = Counter((frozenset(group.layers), frozenset(group.readers)) for group in graph.free)
    assert ours == found
    assert max(found.values()) == 1
