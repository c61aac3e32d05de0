"""Verbs on models: a new model out, the argument untouched, every layer found, every mistake named."""

import copy

import pytest
import torch
from samples import images, network, same, state
from torch import nn

from compresslab import models
from compresslab.quantization.fake import fake_quantizer, float_weight
from compresslab.quantization.granularity import PerChannel, PerTensor
from compresslab.quantization.layers import QuantizedConv2d, QuantizedLayer, QuantizedLinear
from compresslab.quantization.quantizing import fake_quantize, quantize
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Asymmetric, Symmetric

SCHEMES = [Symmetric(4), Asymmetric(3), Binary(), Ternary(), PowerOfTwo(4), KMeans(2)]
NETWORKS = list(models.BUILDERS)
LAYERS = ("conv1", "conv2", "fc1", "fc2")


def schemes_of(model: nn.Module) -> dict:
    return {name: m.scheme for name, m in model.named_modules() if isinstance(m, QuantizedLayer)}


def trained(model: nn.Module, steps: int = 3) -> nn.Module:
    """Take a few steps of plain gradient descent."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((8, 1, 28, 28), generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), torch.arange(8) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


# --- quantize ---


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_quantized_model_is_the_float_model_with_decoded_weights(name, scheme):
    model = network(name)
    small = quantize(model, scheme)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight.copy_(scheme.quantize(layer.weight).dequantize())
    assert torch.equal(small(images()), model(images()))


def test_every_layer_gets_its_scheme():
    wanted = {"conv1": Symmetric(8), "fc2": None, "*": KMeans(2)}
    small = quantize(network(), wanted)
    assert schemes_of(small) == {"conv1": Symmetric(8), "conv2": KMeans(2), "fc1": KMeans(2)}
    assert type(small.fc2) is nn.Linear


def test_without_a_star_the_others_stay_in_floats():
    assert list(schemes_of(quantize(network(), {"fc1": Binary()}))) == ["fc1"]


def test_a_second_call_quantizes_what_is_left():
    once = quantize(network(), {"conv1": Symmetric(8)})
    both = quantize(once, Ternary())
    assert schemes_of(both) == {"conv1": Symmetric(8), **dict.fromkeys(LAYERS[1:], Ternary())}


def test_nested_layers_are_named_with_dots():
    small = quantize(network("residual"), {"blocks.1.shortcut": Symmetric(2)})
    assert isinstance(small.blocks[1].shortcut, QuantizedConv2d)


def test_a_model_that_is_one_layer_becomes_one_layer():
    small = quantize(nn.Linear(4, 2).eval(), Symmetric(8))
    assert isinstance(small, QuantizedLinear)
    assert not small.training


def test_a_layer_in_two_places_stays_one_layer():
    shared = nn.Linear(4, 4)
    small = quantize(nn.Sequential(shared, nn.ReLU(), shared), Symmetric(8))
    assert isinstance(small[0], QuantizedLinear)
    assert small[0] is small[2]
    block = nn.Sequential(nn.Linear(4, 4))
    assert len(schemes_of(quantize(nn.Sequential(block, block), Symmetric(8)))) == 1


# --- fake_quantize ---


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_fake_and_frozen_model_give_the_same_bits(name, scheme):
    model = trained(fake_quantize(network(name), scheme)).eval()
    assert torch.equal(quantize(model)(images()), model(images()))


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel()], ids=str)
def test_with_a_learned_step_too(granularity):
    scheme = Symmetric(2, granularity)
    fresh = fake_quantize(network(), scheme, learned_step=True)
    before = fake_quantizer(fresh.conv1).step.clone()
    model = trained(fresh).eval()
    assert not torch.equal(fake_quantizer(model.conv1).step, before), "the step was learned"
    frozen = quantize(model)
    assert torch.equal(frozen(images()), model(images()))
    assert torch.equal(quantize(model, scheme)(images()), model(images())), (
        "naming the scheme changes nothing"
    )


def test_another_scheme_starts_from_the_float_weights_behind():
    model = trained(fake_quantize(network(), Binary()))
    small = quantize(model, Symmetric(8))
    for name in LAYERS:
        expected = Symmetric(8).quantize(float_weight(model.get_submodule(name)))
        assert torch.equal(small.get_submodule(name).codes, expected.codes)


def test_the_optimizer_moves_the_float_weights():
    model, fresh = fake_quantize(network(), Ternary()), network()
    pairs = [(fresh.get_submodule(name).weight, model.get_submodule(name)) for name in LAYERS]
    assert all(torch.equal(weight, float_weight(layer)) for weight, layer in pairs)
    trained(model)
    assert not any(torch.equal(weight, float_weight(layer)) for weight, layer in pairs)


def test_deep_copies_learn_alone():
    model = fake_quantize(network(), Symmetric(2), learned_step=True)
    twin = copy.deepcopy(model)
    before = state(model)
    trained(twin)
    assert state(model) == before
    assert not same(model, twin)


def test_a_mapping_prepares_what_it_names_and_freezing_follows_it():
    model = fake_quantize(network(), {"conv1": Symmetric(8), "fc1": Ternary()})
    assert schemes_of(quantize(model)) == {"conv1": Symmetric(8), "fc1": Ternary()}


def test_a_shared_layer_is_prepared_once():
    shared = nn.Linear(4, 4)
    model = fake_quantize(nn.Sequential(shared, nn.ReLU(), shared), Symmetric(8))
    frozen = quantize(model)
    assert frozen[0] is frozen[2]
