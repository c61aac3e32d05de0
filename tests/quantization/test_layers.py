"""A quantized layer computes what its float layer would with the decoded weight, and holds only codes."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.layers import QuantizedLinear, quantized_like, replace
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Asymmetric, Symmetric

SCHEMES = [Symmetric(4), Asymmetric(3), Binary(), Ternary(), PowerOfTwo(4), KMeans(2)]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: type(scheme).__name__)


def seeded(layer: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def quantized(layer, scheme=None):
    return quantized_like(layer, (scheme or Symmetric(4, PerChannel())).quantize(layer.weight))


@every_scheme
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_multiplies_by_the_decoded_weight(scheme, bias):
    layer, x = seeded(nn.Linear(6, 4, bias=bias)), inputs(5, 6)
    twin, code = quantized(layer, scheme), scheme.quantize(layer.weight)
    assert torch.equal(twin(x), F.linear(x, code.dequantize(), layer.bias))


@every_scheme
@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 2, "padding": 1},
        {"padding": "same", "dilation": 2},
        {"groups": 2, "bias": False},
        {"stride": (1, 2), "padding": (0, 1)},
    ],
    ids=str,
)
def test_a_convolution_keeps_every_setting(scheme, settings):
    layer, x = seeded(nn.Conv2d(4, 6, 3, **settings)), inputs(2, 4, 9, 9)
    twin, code = quantized(layer, scheme), scheme.quantize(layer.weight)
    with torch.no_grad():
        layer.weight.copy_(code.dequantize())
    assert torch.equal(twin(x), layer(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_layer_computes_in_the_type_of_its_input(dtype):
    for layer, x in ((nn.Linear(6, 4), inputs(5, 6)), (nn.Conv2d(3, 2, 3), inputs(1, 3, 5, 5))):
        layer = seeded(layer).to(dtype)
        assert quantized(layer)(x.to(dtype)).dtype == dtype


def test_it_holds_one_byte_for_each_weight_and_the_parameters():
    twin = quantized(nn.Linear(100, 10))
    held = {name: value.numel() * value.element_size() for name, value in twin.state_dict().items()}
    assert held == {"bias": 40, "codes": 1000, "scale": 40}


@every_scheme
def test_a_state_dict_carries_the_whole_layer(scheme):
    source, target = quantized(seeded(nn.Linear(6, 4)), scheme), quantized(seeded(nn.Linear(6, 4), 1), scheme)
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    target.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(target(inputs(2, 6)), source(inputs(2, 6)))


def test_the_bias_is_a_copy_and_can_be_trained():
    layer = seeded(nn.Linear(6, 4))
    twin = quantized(layer)
    with torch.no_grad():
        layer.bias.zero_()
    twin(inputs(2, 6)).sum().backward()
    assert twin.bias.detach().abs().min() > 0
    assert twin.bias.grad.tolist() == [2.0] * 4


def test_a_deep_copy_is_independent():
    twin = quantized(seeded(nn.Linear(6, 4)))
    other = copy.deepcopy(twin)
    with torch.no_grad():
        other.codes.zero_()
    assert twin.codes.any()
    assert not other.weight.any()


def test_the_layer_says_what_it_is():
    assert "2 x 3 x 5 x 5, Symmetric(bits=4" in repr(quantized(seeded(nn.Conv2d(3, 2, 5))))


def test_replace_finds_dotted_names_and_keeps_the_mode():
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 4)), nn.Linear(4, 2))
    model[0].eval()
    replace(model, "0.0", quantized(model[0][0]))
    replace(model, "1", quantized(model[1]))
    assert [type(m) for m in (model[0][0], model[1])] == [QuantizedLinear, QuantizedLinear]
    assert (model[0][0].training, model[1].training) == (False, True)
