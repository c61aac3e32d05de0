"""Verbs on models: a new model out, the argument untouched, every layer found, every mistake named."""

import copy

import pytest
import torch
from samples import images, network, same, state
from torch import nn

from compresslab import models
from compresslab.quantization.fake import fake_quantizer, float_weight
from compresslab.quantization.granularity import PerChannel, PerTensor
from compresslab.quantization.layers import QuantizedLayer
from compresslab.quantization.quantizing import fake_quantize, quantize
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Asymmetric, Symmetric

SCHEMES = [Symmetric(4), Asymmetric(3), Binary(), Ternary(), PowerOfTwo(4), KMeans(2)]
NETWORKS = list(models.BUILDERS)
LAYERS = ("conv1", "conv2", "fc1", "fc2")


def schemes_of(model: nn.Module) -> dict:
    return {name: m.quantized.scheme for name, m in model.named_modules() if isinstance(m, QuantizedLayer)}


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
    assert list(schemes_of(small)) == ["blocks.1.shortcut"]


def test_a_model_that_is_one_layer_becomes_one_layer():
    small = quantize(nn.Linear(4, 2).eval(), Symmetric(8))
    assert isinstance(small, QuantizedLayer)
    assert not small.training


def test_a_layer_in_two_places_stays_one_layer():
    shared = nn.Linear(4, 4)
    small = quantize(nn.Sequential(shared, nn.ReLU(), shared), Symmetric(8))
    assert isinstance(small[0], QuantizedLayer)
    assert small[0] is small[2]
    block = nn.Sequential(nn.Linear(4, 4))
    assert len(schemes_of(quantize(nn.Sequential(block, block), Symmetric(8)))) == 1


class Threefold(nn.Linear):
    """A layer of the user's: three times its parent's answer."""

    def forward(self, x):
        return 3 * super().forward(x)


class Holding(nn.Module):
    """A module that also holds its layers in a plain list, and runs them from there."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Threefold(4, 4), nn.Linear(4, 4)
        self.steps = [self.first, self.second]

    def forward(self, x):
        for step in self.steps:
            x = step(x)
        return x


@pytest.mark.parametrize("verb", [quantize, fake_quantize])
def test_a_layer_keeps_its_forward_its_hooks_its_place_in_a_list_and_what_is_frozen(verb):
    model, x, seen = Holding(), torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), []
    model.first.register_forward_hook(lambda *call: seen.append(call[0]))
    model.second.register_forward_pre_hook(lambda *call: seen.append(call[0]))
    model.first.bias.requires_grad_(False)
    model.second.weight.requires_grad_(False)
    small = verb(model, Symmetric(3))
    for one in (small, quantize(small) if verb is fake_quantize else small):
        assert one.steps == [one.first, one.second]
        first, second = (
            Symmetric(3).quantize(w).dequantize() for w in (model.first.weight, model.second.weight)
        )
        hidden = 3 * nn.functional.linear(x, first, model.first.bias)
        assert torch.equal(one(x), nn.functional.linear(hidden, second, model.second.bias))
        assert seen[-2:] == one.steps
        frozen = {name for name, parameter in one.named_parameters() if not parameter.requires_grad}
        assert {name.split(".")[0] for name in frozen} - {"second"} == {"first"}
        assert "second.bias" not in frozen


def test_weights_that_are_one_tensor_stay_one():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    for small in (
        quantize(model, Symmetric(8)),
        quantize(fake_quantize(model, Symmetric(8), learned_step=True)),
        quantize(fake_quantize(model, KMeans(2), learned_step=True)),
    ):
        assert small[0].quantized.codes is small[1].quantized.codes
        assert all(
            value is small[1].quantized.parameters[name]
            for name, value in small[0].quantized.parameters.items()
        )
        assert small[0].quantized.codes is not small[2].quantized.codes


def test_a_tie_trains_as_one():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    fake = fake_quantize(model, Symmetric(3), learned_step=True)
    optimizer = torch.optim.SGD(fake.parameters(), lr=0.1)
    fake(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    assert torch.equal(fake[0].weight, fake[1].weight)
    assert len(list(fake.parameters())) == 4  # one weight, one step, two biases


@pytest.mark.parametrize("key", ["encoder.*", "encoder", nn.Conv1d], ids=str)
def test_a_mapping_takes_patterns_modules_and_types(key):
    encoder = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Sequential(nn.Conv1d(2, 2, 3)))
    model = nn.ModuleDict({"encoder": encoder, "head": nn.Linear(2, 2)})
    small = quantize(model, {key: Binary(), "*": Ternary()})
    assert schemes_of(small) == {"encoder.0": Binary(), "encoder.1.0": Binary(), "head": Ternary()}


def test_channels_of_a_transposed_convolution_are_its_outputs():
    layer = nn.ConvTranspose2d(2, 3, 2)
    with torch.no_grad():
        layer.weight.mul_(torch.tensor([1.0, 1e-3, 1e3])[:, None, None])
    scheme = Symmetric(8, PerChannel())
    small = quantize(layer, scheme)
    assert small.quantized.shape == (3, 2, 2, 2)
    assert small.quantized.parameters["scale"].tolist() == pytest.approx(
        [layer.weight[:, i].abs().max().item() / 127 for i in range(3)]
    )
    fake = fake_quantize(layer, scheme, learned_step=True)
    assert torch.equal(quantize(fake).weight, fake.weight)
    assert (small.weight - layer.weight).abs().amax(dim=(0, 2, 3)).tolist() < [4e-3, 4e-6, 4.0]


def test_bare_parameters_biases_and_norms_stay_in_floats():
    model = nn.TransformerEncoderLayer(8, 2, 16)
    model.token = nn.Parameter(torch.ones(1, 2, 8))
    small = quantize(model, Symmetric(8))
    assert {name for name, parameter in small.named_parameters() if parameter.dim() > 1} == {"token"}
    assert small.norm1.weight is not None


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
        assert torch.equal(small.get_submodule(name).quantized.codes, expected.codes)


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


def test_biases_are_codes_where_they_are_asked_to_be():
    model, images = models.lenet5(2, 3, 5), torch.rand(2, 1, 28, 28)
    result = quantize(model, {"conv1": Symmetric(4), "fc1": Symmetric(3)}, biases=Symmetric(6))
    for name, layer in model.named_children():
        held = getattr(result.get_submodule(name), "quantized_weights", {})
        assert set(held) == ({"weight", "bias"} if name in ("conv1", "fc1") else set())
        if held:
            wanted = Symmetric(6).quantize(layer.bias)
            assert torch.equal(held["bias"].codes, wanted.codes)
            assert torch.equal(result.get_submodule(name).bias, wanted.dequantize())
            layer.bias.data = wanted.dequantize()
            layer.weight.data = held["weight"].dequantize()
    assert torch.equal(result.eval()(images), model.eval()(images))


def test_biases_train_through_their_scheme_and_keep_its_codes():
    trained = fake_quantize(models.lenet5(2, 3, 5), Symmetric(4), learned_step=True, biases=Symmetric(5))
    images = torch.rand(2, 1, 28, 28)
    trained(images).square().sum().backward()
    steps = [trained.get_submodule(n).parametrizations.bias[0].step for n in ("conv1", "conv2", "fc1", "fc2")]
    assert all(step.grad.abs() > 0 for step in steps)
    steps[0].data.fill_(0.25)
    frozen = quantize(trained)
    assert frozen.conv1.quantized_weights["bias"].parameters["scale"].item() == 0.25
    assert all(
        len(layer.quantized_weights) == 2 for layer in (frozen.conv1, frozen.conv2, frozen.fc1, frozen.fc2)
    )
    assert torch.equal(frozen.eval()(images), trained.eval()(images))


def test_a_bias_beside_a_turned_weight_is_read_as_it_is():
    turned = nn.Sequential(nn.ConvTranspose2d(1, 3, 3))
    result = quantize(turned, Symmetric(4), biases=Symmetric(8))
    assert torch.equal(result[0].bias, Symmetric(8).quantize(turned[0].bias).dequantize())
    bare = quantize(nn.Sequential(nn.Linear(3, 2, bias=False)), Symmetric(4), biases=Symmetric(8))
    assert set(bare[0].quantized_weights) == {"weight"}
