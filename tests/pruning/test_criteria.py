"""The contract of all criteria; those of weights equal finite differences and explicit sums."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from compresslab import Binary, criteria, fake_quantize
from compresslab.errors import CompressionError
from compresslab.pruning import activity, neuron_criteria
from compresslab.training.batching import Split
from tests.ignoring import calibrated
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


# --- the contract

SEEING = [criteria.activation, criteria.mean_activation, criteria.apoz, criteria.activation_variance]
LEARNING = [criteria.gradient, criteria.mean_gradient, criteria.taylor, criteria.taylor_weights]
NORMS = [criteria.l1_norm, criteria.l2_norm, criteria.live_inputs, criteria.norm_scale]
OF_WEIGHTS = [criteria.magnitude, criteria.gradient, criteria.activation, criteria.Random(1)]
ALL = [criteria.magnitude, criteria.Random(1), *SEEING, *LEARNING, *NORMS]


def residual() -> nn.Module:
    return calibrated(network("residual").double(), digits_like(8).images)


def digits_like(count: int) -> Split:
    return some_images(count, side=28, channels=1)


def marks(model: nn.Module) -> list[tuple[object, ...]]:
    """What a criterion could leave behind: modes, hooks, attributes, gradients, frozen parameters."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = [
        (m.training, list(vars(m)), [len(getattr(m, kind)) for kind in kinds], type(m))
        for m in model.modules()
    ]
    return [*modules, *((type(p), p.grad, p.requires_grad) for p in model.parameters())]


@pytest.mark.parametrize("criterion", ALL)
def test_a_criterion_scores_the_same_again_and_leaves_all_as_it_was(criterion):
    model, data = residual().train(), digits_like(8)
    model.fc1.requires_grad_(False)
    model.norm1.eval()  # a mode of its own
    before, noise = copy.deepcopy(model), torch.get_rng_state()
    scores = criterion(model, data)
    assert torch.equal(torch.get_rng_state(), noise)
    assert same(model, before)
    assert marks(model) == marks(before)
    torch.rand(1)
    again = criterion(model, data)
    for name, score in scores.items():
        weight = model.get_submodule(name).weight
        assert score.shape == (weight.shape if criterion in OF_WEIGHTS else weight.shape[:1])
        assert torch.equal(again[name], score)
        assert not score.requires_grad
        assert score.data_ptr() not in {parameter.data_ptr() for parameter in model.parameters()}


@pytest.mark.parametrize("criterion", SEEING + LEARNING)
def test_how_the_images_are_cut_does_not_matter(criterion, monkeypatch):
    model, data = residual(), digits_like(12)
    whole = criterion(model, data)
    cut = criterion(model, (data[i : i + 5] for i in range(0, 12, 5)))
    for module in (activity, neuron_criteria):
        monkeypatch.setattr(module, "AT_ONCE", 3)
    smaller = criterion(model, data)
    for name in whole:  # doubles, summed in another order; variances are differences
        assert torch.allclose(whole[name], cut[name], rtol=1e-9, atol=1e-14)
        assert torch.allclose(whole[name], smaller[name], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("criterion", SEEING + LEARNING)
def test_nothing_is_left_behind_when_the_model_fails(criterion):
    """After some images that it can read come some that it cannot."""
    model = network("article").double().train()
    before = copy.deepcopy(model)
    with pytest.raises(CompressionError, match="fails on inputs of shape"):
        criterion(model, [digits_like(2), some_images(2, side=20, channels=1)])
    assert same(model, before)
    assert marks(model) == marks(before)


@pytest.mark.parametrize("criterion", OF_WEIGHTS)
def test_layers_that_train_through_quantization_are_scored_by_their_float_weights(criterion):
    model, plain = fake_quantize(network("lenet5").double(), Binary()), network("lenet5").double()
    scores = criterion(model, digits_like(6))
    assert {name: score.shape for name, score in scores.items()} == {
        name: plain.get_submodule(name).weight.shape for name in ("conv1", "conv2", "fc1", "fc2")
    }
    if criterion is criteria.magnitude:
        assert torch.equal(scores["fc1"], plain.fc1.weight.abs())


# --- scores of weights


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


def test_a_weight_that_two_layers_share_is_scored_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).double()
    model[1].weight = model[0].weight
    data = Split(torch.ones((4, 3, 1, 1), dtype=torch.float64), torch.arange(4) % 3)
    flat = nn.Sequential(nn.Flatten(), *model)
    assert list(criteria.gradient(flat, data)) == ["1"]


def test_random_scores_follow_their_seed_alone():
    model = network("lenet5")
    first, again, other = (criteria.Random(seed)(model) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    assert criteria.Random(1) == criteria.Random(1)
