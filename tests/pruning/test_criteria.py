"""Criteria: scores equal finite differences and explicit sums, and the model is as it was."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from compresslab import Binary, criteria, fake_quantize, models
from compresslab.errors import CompressionError
from compresslab.training.batching import Split
from tests.samples import network, same


def some_images(count: int = 12, side: int = 6, channels: int = 2) -> Split:
    generator = torch.Generator().manual_seed(4)
    images = torch.rand((count, channels, side, side), generator=generator, dtype=torch.float64)
    return Split(images, torch.arange(count) % 3)


def smooth(seed: int = 0) -> nn.Module:
    """A small network in doubles without kinks, so that differences find its slopes."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Tanh(), nn.Dropout(0.5), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(27, 3)).double()


CRITERIA = [criteria.magnitude, criteria.gradient, criteria.activation, criteria.Random(1)]


def test_magnitude_is_the_absolute_value():
    model = network("lenet5")
    scores = criteria.magnitude(model)
    assert list(scores) == ["conv1", "conv2", "fc1", "fc2"]
    assert all(torch.equal(scores[n], model.get_submodule(n).weight.abs()) for n in scores)


def test_gradient_scores_are_what_finite_differences_find():
    model, data, step = smooth().eval(), some_images(), 1e-6
    scores = criteria.gradient(model, data)
    for name in scores:
        weight = model.get_submodule(name).weight.data.view(-1)
        for place in range(0, len(weight), 5):
            losses, start = [], weight[place].item()
            for moved in (start + step, start - step):
                weight[place] = moved
                losses.append(functional.cross_entropy(model(data.images), data.labels).item())
            weight[place] = start
            slope = (losses[0] - losses[1]) / (2 * step)
            # central differences: step**2 of curvature, and 1e-16 / step of rounding
            assert scores[name].view(-1)[place].item() == pytest.approx(abs(start * slope), abs=1e-8)


@pytest.mark.parametrize("criterion", [criteria.gradient, criteria.activation])
def test_how_the_images_are_cut_does_not_matter(criterion):
    model, data = smooth(), some_images()
    whole, cut = criterion(model, data), criterion(model, (data[i : i + 5] for i in range(0, 12, 5)))
    for name in whole:  # doubles, summed in another order
        assert torch.allclose(whole[name], cut[name], rtol=1e-12, atol=1e-15)


CONVOLUTIONS = [
    {"in_channels": 4, "out_channels": 6, "kernel_size": 3},
    {"in_channels": 4, "out_channels": 6, "kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
    {"in_channels": 4, "out_channels": 2, "kernel_size": 3, "dilation": 2, "padding": 2},
    {"in_channels": 4, "out_channels": 6, "kernel_size": 2, "groups": 2},
    {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "groups": 4, "padding": "same"},
    {"in_channels": 4, "out_channels": 2, "kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
]


@pytest.mark.parametrize("arguments", CONVOLUTIONS)
def test_activation_scores_of_a_convolution_are_explicit_sums(arguments):
    """Every input that every weight meets, one by one: set one weight to 1, the others to 0."""
    images = some_images(channels=4).images
    layer = nn.Conv2d(**arguments, bias=False).double()
    scores, weight = criteria.activation(layer, images)[""], layer.weight.detach().clone()
    for place in range(0, weight.numel(), 3):
        layer.weight.data.zero_().view(-1)[place] = 1
        norm = layer(images).norm()
        expected = weight.view(-1)[place].abs() * norm
        assert torch.isclose(scores.view(-1)[place], expected, rtol=1e-12)


def test_activation_scores_of_a_linear_layer_are_explicit_sums():
    inputs = torch.randn((5, 7, 4), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = nn.Linear(4, 3).double()
    norms = torch.stack([inputs[..., column].norm() for column in range(4)])
    assert torch.allclose(criteria.activation(layer, inputs)[""], layer.weight.abs() * norms, rtol=1e-12)


def test_a_layer_that_runs_twice_reads_twice():
    layer = nn.Linear(3, 3, bias=False).double()
    layer.weight.data.copy_(torch.eye(3))
    inputs = torch.rand((4, 3), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    once = criteria.activation(layer, inputs)[""]
    twice = criteria.activation(nn.Sequential(layer, layer), inputs)["0"]
    assert torch.allclose(twice, once * 2**0.5, rtol=1e-12)


def test_random_scores_follow_their_seed_alone():
    model = network("lenet5")
    before = torch.get_rng_state()
    first, again, other = (criteria.Random(seed)(model) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name in first:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
    assert criteria.Random(1) == criteria.Random(1)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_criterion_leaves_the_model_as_it_was(criterion):
    model = smooth().train()
    model[4].requires_grad_(False)
    model[3].eval()  # a mode of its own
    modes = [module.training for module in model.modules()]
    before, hooks = copy.deepcopy(model), [len(m._forward_pre_hooks) for m in model.modules()]
    noise = torch.get_rng_state()
    scores = criterion(model, some_images())
    assert torch.equal(torch.get_rng_state(), noise)
    assert same(model, before)
    assert [module.training for module in model.modules()] == modes
    assert [len(m._forward_pre_hooks) for m in model.modules()] == hooks == [0] * len(hooks)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(not score.requires_grad for score in scores.values())
    for name, score in scores.items():
        assert score.shape == model.get_submodule(name).weight.shape
        assert score.data_ptr() != model.get_submodule(name).weight.data_ptr()


@pytest.mark.parametrize("criterion", [criteria.gradient, criteria.activation])
def test_nothing_is_left_behind_when_the_model_fails(criterion):
    model = smooth().train()
    with pytest.raises(RuntimeError):
        criterion(model, some_images(channels=3))
    assert all(not m._forward_pre_hooks and m.training for m in model.modules())
    assert all(isinstance(p, nn.Parameter) and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("criterion", [criteria.gradient, criteria.activation])
@pytest.mark.parametrize("nothing", [None, [], some_images()[:0]])
def test_a_criterion_that_needs_images_says_so(criterion, nothing):
    with pytest.raises(CompressionError, match=r"needs to see images.*batches=digits"):
        criterion(smooth(), nothing)


def test_gradient_says_that_it_needs_labels():
    with pytest.raises(CompressionError, match="needs labels"):
        criteria.gradient(smooth(), [some_images().images])


def test_a_layer_that_no_image_reaches_is_named():
    model = smooth()
    model.add_module("spare", nn.Linear(2, 2).double())
    model.forward = lambda images: nn.Sequential(*list(model)[:5])(images)
    with pytest.raises(CompressionError, match="through spare"):
        criteria.activation(model, some_images())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_layers_that_train_through_quantization_are_scored_by_their_float_weights(criterion):
    data = Split(torch.rand((6, 1, 28, 28), generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3)
    model = fake_quantize(models.lenet_300_100(6, 5, 3), Binary())
    scores = criterion(model, data)
    assert scores["fc1"].shape == (6, 784)
    if criterion is criteria.magnitude:
        assert torch.equal(scores["fc1"], model.fc1.parametrizations.weight.original.abs())


def test_a_weight_that_two_layers_share_is_scored_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).double()
    model[1].weight = model[0].weight
    data = Split(torch.ones((4, 3, 1, 1), dtype=torch.float64), torch.arange(4) % 3)
    flat = nn.Sequential(nn.Flatten(), *model)
    assert list(criteria.gradient(flat, data)) == ["1"]
