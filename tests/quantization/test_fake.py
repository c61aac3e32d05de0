"""Training through quantization: the forward pass sees codes, the gradient is the one of the papers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import matrices, ordinary, schemes, symmetric
from torch import nn
from torch.nn.utils import parametrize

from compresslab.integers.network import quantize_activations
from compresslab.integers.rounding import rounded_activations
from compresslab.quantization.fake import FakeQuantize, LearnedCodebook, fake_quantizer, float_weight
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.quantizing import fake_quantize, quantize
from compresslab.quantization.schemes import KMeans
from compresslab.quantization.uniform import Asymmetric, Symmetric


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
    torch.manual_seed(0)
    layer = nn.Linear(6, 4).to(dtype)
    fake = FakeQuantize(Symmetric(4), layer.weight, learned)
    parametrize.register_parametrization(layer, "weight", fake)
    assert layer(torch.ones(2, 6).to(dtype)).dtype == dtype
    assert torch.equal(layer.weight, fake.freeze(float_weight(layer)).dequantize().to(dtype))


def test_only_our_own_parametrization_is_taken_for_a_fake_quantizer():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))
    assert fake_quantizer(layer) is None
    assert torch.equal(float_weight(layer), layer.weight)


# --- shared weights: a centroid learns from all its weights, zero stays zero ---


def pruned(rows: int = 3, columns: int = 40) -> torch.Tensor:
    drawn = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    return torch.where(drawn.abs() < 0.6, 0.0, drawn)


def student(scheme: KMeans) -> nn.Module:
    model = nn.Sequential(nn.Linear(40, 3))
    model[0].weight.data = pruned()
    return fake_quantize(model, scheme, learned_step=True)


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(), PerGroup(16)], ids=str)
def test_a_centroid_learns_the_sum_of_its_weights_gradients(granularity):
    shared = LearnedCodebook(KMeans(2, granularity), pruned())
    upstream = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
    shared(pruned()).backward(upstream)
    start = 0
    for codes, gradients in zip(granularity.split(shared.codes), granularity.split(upstream), strict=True):
        for code, gradient in zip(codes.numpy(), gradients.double().numpy(), strict=True):
            expected = np.bincount(code, weights=gradient, minlength=4)
            # at most 120 float32 terms of magnitude below 4, each sum rounded to 2**-24 of at most 480
            bound = 120 * 480 * 2**-24
            assert np.abs(shared.centroids.grad[start].numpy() - expected).max() <= bound
            start += 1


def test_a_kept_zero_is_a_level_and_does_not_learn():
    shared = LearnedCodebook(KMeans(2, keep_zero=True), pruned())
    shared(pruned()).sum().backward()
    zero = shared.centroids[0] == 0
    assert int(zero.sum()) == 1
    assert shared.centroids.grad[0][zero].item() == 0
    assert torch.equal(shared(pruned())[pruned() == 0], pruned()[pruned() == 0])


def test_freezing_gives_what_training_used_in_order_again():
    model = student(KMeans(3, keep_zero=True))
    centroids = model[0].parametrizations.weight[0].centroids
    with torch.no_grad():
        nonzero = (centroids != 0).nonzero()[:, 1]
        centroids[0, nonzero] = centroids[0, nonzero.flip(0)]  # learning may cross any two of them
    frozen = quantize(model)
    levels = frozen[0].quantized.levels
    assert torch.equal(frozen[0].weight, model[0].weight)
    assert torch.equal(levels, levels.sort(dim=1).values)


def test_only_the_centroids_and_the_bias_move():
    model = student(KMeans(2))
    before, original = model[0].weight.detach().clone(), model[0].parametrizations.weight.original.clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.ones(2, 40)).sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, before)
    assert torch.equal(model[0].parametrizations.weight.original, original)
    assert len(model[0].weight.unique()) <= 4


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_kept_zeros_survive_clustering_and_a_row_of_zeros_is_zeros(bits):
    rows = torch.cat([pruned(), torch.zeros(1, 40)])
    decoded = KMeans(bits, PerChannel(), keep_zero=True).quantize(rows).dequantize()
    assert torch.equal(decoded[rows == 0], rows[rows == 0])
    assert torch.equal(decoded[3], rows[3])


# --- activations ---


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_activations_are_those_of_an_asymmetric_grid_and_their_gradient_passes(bits):
    x = torch.linspace(-1, 3, 101, requires_grad=True)
    with rounded_activations(nn.ReLU(), bits) as relu:
        found = relu(x)
    found.sum().backward()
    expected = Asymmetric(bits).quantize(x.detach().relu()).dequantize()
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)
    assert len(found.unique()) == min(2**bits, len(x.detach().relu().unique()))
    assert torch.equal(x.grad, (x.detach() > 0).float())
    assert torch.equal(relu(x.detach()), x.detach().relu()), "behind the block nothing is rounded"


def test_the_layers_are_released_when_the_block_fails():
    with pytest.raises(ZeroDivisionError), rounded_activations(nn.ReLU(), 2) as relu:
        raise ZeroDivisionError
    assert not relu._forward_hooks


@pytest.mark.parametrize("bits", [2, 3])
def test_what_trains_through_rounding_is_near_what_the_integers_compute(bits):
    """Far nearer than the network without rounded activations; inputs and sums are rounded as well."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 30), nn.ReLU(), nn.Linear(30, 4)), torch.rand(200, 8)
    with rounded_activations(model, bits):
        trained = model(x)
    integers = quantize_activations(model, x, bits=bits)(x)
    assert (trained - integers).norm() < 0.5 * (model(x) - integers).norm()
