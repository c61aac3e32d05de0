"""A quantized layer computes what its float layer would with the decoded weight, and holds only codes."""

import copy
import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import matrices, ordinary, schemes, symmetric
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from compresslab.quantization.fake import FakeQuantize, fake_quantizer, float_weight
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
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


# --- training through quantization ---


@given(schemes, matrices(ordinary))
def test_the_forward_pass_is_the_decoded_weight_to_the_last_bit(scheme, weight):
    assert torch.equal(FakeQuantize(scheme, weight)(weight), scheme.quantize(weight).dequantize())


@given(schemes, matrices(ordinary), st.data())
def test_the_gradient_passes_straight_through(scheme, weight, data):
    upstream = torch.rand(
        weight.shape, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    )
    weight = weight.clone().requires_grad_()
    FakeQuantize(scheme, weight)(weight).backward(upstream)
    assert torch.equal(weight.grad, upstream)


@given(symmetric, matrices(ordinary))
def test_freezing_a_learned_step_gives_what_training_used_to_the_last_bit(scheme, weight):
    fake = FakeQuantize(scheme, weight, learned_step=True)
    with torch.no_grad():
        fake.step.mul_(1.1)
    assert torch.equal(fake(weight), fake.freeze(weight).dequantize())
    assert torch.equal(fake.freeze(weight).parameters["scale"], fake.step)


def esser(weight, steps, upstream, q):
    """Gradients of the weights and the steps by the paper's equations 2, 3 and section 2.2, one by one."""
    for_weights, for_steps = torch.zeros_like(weight), torch.zeros_like(steps)
    for row in range(len(weight)):
        for column in range(weight.shape[1]):
            v = float(weight[row, column]) / float(steps[row])
            inside = -q < v < q
            for_weights[row, column] = float(upstream[row, column]) * inside
            slope = round(v) - v if inside else math.copysign(q, v)
            for_steps[row] += float(upstream[row, column]) * slope / math.sqrt(weight.shape[1] * q)
    return for_weights, for_steps


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_gradient_of_the_step_is_the_papers(bits):
    weight = torch.randn((3, 50), generator=torch.Generator().manual_seed(0), dtype=torch.float64).float()
    upstream = torch.randn((3, 50), generator=torch.Generator().manual_seed(1))
    fake = FakeQuantize(Symmetric(bits, PerChannel()), weight, learned_step=True)
    own = weight.clone().requires_grad_()
    fake(own).backward(upstream)
    for_weights, for_steps = esser(
        weight.double(), fake.step.detach().double(), upstream.double(), 2 ** (bits - 1) - 1
    )
    # Multiplied by the step and by its rounded inverse: three roundings, and zero stays zero.
    assert ((own.grad - for_weights).abs() <= 3 * 2.0**-24 * (1 + 2.0**-20) * for_weights.abs()).all()
    # A sum of 50 terms of magnitude q at most, each with a few roundings of 2**-24, divided by sqrt(50 q).
    slack = 50 * 8 * 2.0**-24 * float(upstream.abs().max()) * 2 ** ((bits - 1) / 2)
    assert (fake.step.grad - for_steps).abs().max() <= slack


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(), PerGroup(4)], ids=str)
def test_a_learned_step_starts_at_twice_the_mean_magnitude_over_the_root_of_q(granularity):
    weight = torch.randn((3, 10), generator=torch.Generator().manual_seed(0))
    step = FakeQuantize(Symmetric(4, granularity), weight, learned_step=True).step.detach()
    expected = [2 * float(row.abs().mean()) / 7**0.5 for b in granularity.split(weight) for row in b]
    assert step.tolist() == pytest.approx(expected, rel=1e-6)


def test_a_learned_step_of_zeros_starts_at_one_and_of_tiny_weights_stays_tiny():
    steps = FakeQuantize(Symmetric(2, PerChannel()), torch.tensor([[0.0], [1e-30]]), True).step
    assert steps.tolist() == pytest.approx([1.0, 2e-30])


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_float_types_train_too(dtype, learned):
    layer = seeded(nn.Linear(6, 4)).to(dtype)
    fake = FakeQuantize(Symmetric(4), layer.weight, learned)
    parametrize.register_parametrization(layer, "weight", fake)
    assert layer(inputs(2, 6).to(dtype)).dtype == dtype
    assert torch.equal(layer.weight, fake.freeze(float_weight(layer)).dequantize().to(dtype))


def test_only_our_own_parametrization_is_taken_for_a_fake_quantizer():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))
    assert fake_quantizer(layer) is None
    assert torch.equal(float_weight(layer), layer.weight)
