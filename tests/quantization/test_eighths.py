"""Steps of one byte: training sees what the file will hold; a step is a power of two to the eighth part."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import matrices, ordinary
from torch import nn

import compresslab as cl
from compresslab import models
from compresslab.quantization import EighthSteps, train_codes
from compresslab.quantization.fake import fake_quantizer
from compresslab.quantization.uniform import Symmetric
from compresslab.storage import encode

steps = st.floats(2.0**-20, 2.0**20)


@given(steps)
def test_the_step_is_the_nearest_power_and_exact(step):
    found = EighthSteps(Symmetric(8), torch.ones(1), step).length.item()
    eighths = round(8 * math.log2(found))
    assert found == torch.tensor(2.0 ** (eighths / 8)).item()
    assert abs(math.log2(step) - eighths / 8) <= 1 / 16 + 1e-6  # the exponent is a float32


@given(st.integers(2, 8), matrices(ordinary), steps)
def test_training_sees_the_decoded_codes_to_the_last_bit(bits, weight, step):
    grid = EighthSteps(Symmetric(bits), weight, step)
    assert torch.equal(grid(weight), grid.freeze(weight).dequantize())


def test_the_gradient_passes_straight_through_to_the_weight_and_the_step():
    """Inside the codes as if nothing rounded; of the step what rounding left, as learned steps have it."""
    weight = torch.tensor([0.3, -1.2, 9.0], requires_grad=True)
    grid = EighthSteps(Symmetric(2), weight, 0.5)  # codes -1, 0, 1
    grid(weight).backward(torch.tensor([1.0, 2.0, 4.0]))
    assert weight.grad.tolist() == pytest.approx([1.0, 0.0, 0.0])
    # d length / d exponent = length ln 2; per unit of length: (1 - 0.6) + 2 * (-1) + 4 * 1
    assert grid.exponent.grad.item() == pytest.approx((0.4 - 2 + 4) * 0.5 * math.log(2), rel=1e-5)


def test_every_weight_and_bias_trains_as_codes_and_the_model_stays():
    model = models.lenet5(3, 4, 5)
    net = train_codes(model)
    grids = [part for part in net.modules() if isinstance(part, EighthSteps)]
    assert len(grids) == 8
    assert fake_quantizer(net.conv1, "bias") in grids
    assert not any(isinstance(part, EighthSteps) for part in model.modules())
    for name in ("conv1", "conv2", "fc1", "fc2"):
        for held in ("weight", "bias"):
            value, grid = (
                getattr(net.get_submodule(name), held),
                fake_quantizer(net.get_submodule(name), held),
            )
            codes = value / grid.length
            assert torch.allclose(codes, codes.round(), atol=1e-4)


def test_what_was_trained_is_what_the_file_holds(tmp_path):
    """Every step takes one byte there, and the network that comes back answers alike."""
    net = train_codes(models.lenet5(3, 4, 5))
    images = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    cl.train(net, [(images, torch.arange(16) % 10)] * 3, epochs=1, progress=False)
    cl.save(cl.quantize(net), tmp_path / "small.clab", coding="mixing")
    again = cl.load(tmp_path / "small.clab")
    with torch.no_grad():
        assert torch.equal(again(images), net(images))
    assert encode(again, coding="mixing")[1]["scales"] == 8


@pytest.mark.parametrize("step", [0.0, -1.0, math.inf, math.nan])
def test_an_impossible_step_is_refused(step):
    with pytest.raises(cl.CompressionError, match="give one above zero"):
        EighthSteps(Symmetric(8), torch.ones(2), step)


@pytest.mark.parametrize("scheme", [cl.Symmetric(8, cl.PerChannel()), cl.Ternary(), cl.KMeans(4)], ids=str)
def test_another_grid_is_refused(scheme):
    with pytest.raises(cl.CompressionError, match=r"take Symmetric\(8\)"):
        EighthSteps(scheme, torch.ones(2, 2), 0.5)


def test_a_layer_without_a_spread_starts_at_one():
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.weight)
    assert fake_quantizer(train_codes(nn.Sequential(layer))[0]).length.item() == 1.0
