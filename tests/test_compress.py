"""Whole models: a new one out, the argument untouched, and integers that another loop reproduces."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import compresslab as cl
from compresslab import models
from compresslab.folding import fold_norms
from compresslab.integer import IntegerConv2d, IntegerLayer, IntegerLinear, fixed_point, requantize


def net() -> nn.Sequential:
    generator = torch.Generator().manual_seed(1)
    made = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 4)
    )
    for parameter in made.parameters():
        parameter.data.uniform_(-0.3, 0.3, generator=generator)
    return made.eval()


def images(count: int = 3, side: int = 8) -> torch.Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(2))


def test_quantize_leaves_its_argument_alone():
    model = net()
    before = copy.deepcopy(model.state_dict())
    small = cl.quantize(model, {"4": None, "*": cl.Symmetric(4)})
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert small[0].quantized.bits == 4
    assert type(small[4]) is nn.Linear


@pytest.mark.parametrize(
    ("schemes", "words"),
    [
        ({"nine": cl.Symmetric(4)}, "no layer 'nine'"),
        ({"*": "4 bits"}, "scheme was expected"),
        (None, "No scheme was given"),
    ],
)
def test_a_wrong_wish_is_refused_by_name(schemes, words):
    with pytest.raises(cl.CompressionError, match=words):
        cl.quantize(net(), schemes)


def test_the_gradient_passes_straight_through():
    student = cl.fake_quantize(net(), cl.Binary())
    weight = student[4].parametrizations.weight.original
    student[4].weight.backward(torch.ones_like(weight))
    assert torch.equal(weight.grad, torch.ones_like(weight))


@pytest.mark.parametrize("learned", [False, True])
def test_freezing_gives_the_weights_that_training_used(learned):
    student = cl.fake_quantize(net(), cl.Symmetric(2, cl.PerChannel()), learned_step=learned)
    frozen = cl.quantize(student)
    for name in ("0", "4"):
        assert torch.equal(student.get_submodule(name).weight, frozen.get_submodule(name).weight)


def test_folding_keeps_the_function():
    model = models.residual().eval()
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    folded, pixels = fold_norms(model), images(4, 28)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    wanted = model(pixels)
    # float32 keeps 24 bits; ten layers of at most a few hundred terms each lose some of them
    assert torch.allclose(folded(pixels), wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


def test_requantization_rounds_halves_upward():
    multiplier, shift = fixed_point(torch.tensor([0.5]))
    totals = torch.tensor([[-3], [-1], [1], [3], [4]], dtype=torch.int32)
    assert requantize(totals, multiplier, shift).flatten().tolist() == [-1, 0, 1, 2, 2]


def whole_numbers(layer: IntegerLayer, row: list[int], channel: int) -> int:
    """One sum, in Python's integers."""
    return sum(a * int(b) for a, b in zip(row, layer.codes[channel], strict=True)) + int(layer.bias[channel])


def on_grid(layer: IntegerLayer, total: int, channel: int) -> int:
    multiplier, shift = int(layer.multiplier[channel]), int(layer.shift[channel])
    code = ((total * multiplier + (1 << (shift - 1))) >> shift) + layer.target.zero_point
    return min(127, max(-128, code))


def test_a_loop_over_whole_numbers_gives_the_same_network():
    pixels = images()
    integer = cl.quantize_activations(net(), [pixels])
    conv, linear = (m for m in integer.modules() if isinstance(m, IntegerConv2d | IntegerLinear))
    codes = np.clip(
        np.rint(pixels.numpy() * np.float32(1 / conv.source.scale)) + conv.source.zero_point, -128, 127
    )
    padded = np.full((3, 10, 10), conv.source.zero_point)
    padded[:, 1:9, 1:9] = codes[:, 0]
    for image, logits in zip(padded.astype(int), integer(pixels), strict=True):
        maps = np.empty((3, 8, 8), int)
        for channel, y, x in np.ndindex(3, 8, 8):
            window = image[y : y + 3, x : x + 3].flatten().tolist()
            code = on_grid(conv, whole_numbers(conv, window, channel), channel)
            maps[channel, y, x] = max(code, conv.target.zero_point)
        pooled = maps.reshape(3, 4, 2, 4, 2).max(axis=(2, 4)).flatten().tolist()
        totals = torch.tensor([whole_numbers(linear, pooled, channel) for channel in range(4)])
        assert torch.equal(logits, totals * linear.steps)


def test_integers_stay_close_to_floats():
    model, pixels = net(), images(50)
    error = (cl.quantize_activations(model, [pixels])(pixels) - model(pixels)).abs().max()
    assert error < 0.05 * model(pixels).abs().max()  # three roundings of half a step in 255, weights included


def test_what_has_no_integer_rule_is_refused_by_name():
    with pytest.raises(cl.CompressionError, match="GELU"):
        cl.quantize_activations(
            nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2)), [torch.zeros(2, 4)]
        )
    with pytest.raises(cl.CompressionError, match="No batches"):
        cl.quantize_activations(net(), [])
