"""Integers only: a plain loop over Python's integers gives the same codes, and nothing overflows."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import (
    halved,
    integer_add,
    integer_conv,
    integer_linear,
    integer_mean,
    integer_relu,
)
from samples import images, network
from torch import nn
from torch.nn import functional as F

from compresslab.errors import CompressionError
from compresslab.integers import network as calibrating
from compresslab.integers.layers import (
    Grid,
    IntegerConvolution,
    IntegerLayer,
    IntegerLinear,
    fixed_point,
    requantize,
)
from compresslab.integers.network import quantize_activations
from compresslab.integers.steps import IntegerAdd, IntegerMean
from compresslab.quantization.clipping import LeastSquares, MinMax, Percentile
from compresslab.quantization.folding import fold_norms
from compresslab.quantization.granularity import PerChannel, PerTensor
from compresslab.quantization.quantizing import quantize
from compresslab.quantization.uniform import Symmetric

int32 = st.integers(-(2**31), 2**31 - 1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pixels(seed: int = 3, count: int = 3) -> torch.Tensor:
    """Images like those of a data set: whole numbers of 255."""
    return torch.randint(256, (count, 1, 28, 28), generator=torch.Generator().manual_seed(seed)) / 255


# --- fixed-point arithmetic ---


@given(st.floats(2.0**-40, 2.0**29))
def test_a_multiplier_has_31_bits_and_is_off_by_half_a_unit_at_most(factor):
    multiplier, shift = (int(value) for value in fixed_point(torch.tensor([factor], dtype=torch.float64)))
    assert 1 <= shift <= 62
    assert abs(Fraction(factor) * 2**shift - multiplier) <= Fraction(1, 2)
    assert multiplier <= 2**31
    assert multiplier >= 2**30 or shift == 62


@given(int32, st.floats(2.0**-40, 2.0**29))
def test_requantizing_rounds_to_the_nearest_integer_halves_upward(total, factor):
    multiplier, shift = fixed_point(torch.tensor([factor], dtype=torch.float64))
    found = requantize(torch.tensor([[total]], dtype=torch.int32), multiplier, shift)
    exact = Fraction(total * int(multiplier), 2 ** int(shift))
    assert int(found) == math.floor(exact + Fraction(1, 2))


def test_halves_go_upward_on_both_sides_of_zero():
    multiplier, shift = fixed_point(torch.tensor([0.5]))
    totals = torch.tensor([[-3], [-1], [1], [3]], dtype=torch.int32)
    assert requantize(totals, multiplier, shift).flatten().tolist() == [-1, 0, 1, 2]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20))
def test_a_grid_holds_zero_exactly_and_everything_it_has_seen(values):
    grid = Grid.of(torch.tensor(values))
    assert -128 <= grid.zero_point <= 127
    low, high = (grid.scale * (code - grid.zero_point) for code in (-128, 127))
    slack = grid.scale * (0.5 + 2.0**-14)  # the zero point is rounded; 256 steps of float32
    assert low - slack <= min(values)
    assert max(values) <= high + slack


# --- the whole network, in a plain loop ---


def codes_of(grid: Grid, image: torch.Tensor) -> np.ndarray:
    values = image.numpy() * np.float32(1 / grid.scale)
    return np.clip(np.round(values) + grid.zero_point, -128, 127).astype(int)


def article_by_hand(model: nn.Module, integer: nn.Module, image: torch.Tensor) -> list[np.float32]:
    maps = codes_of(integer.quantize_input.grid, image)
    for name in ("1", "2"):
        conv = integer.get_submodule(f"conv{name}")
        maps = integer_conv(model.get_submodule(f"conv{name}"), conv.source, conv.target, maps)
        maps = halved(integer_relu(conv.target, maps))
    row = integer_linear(model.fc1, integer.fc1.source, integer.fc1.target, maps.ravel().tolist())
    row = integer_relu(integer.fc1.target, np.array(row)).tolist()
    return integer_linear(model.fc2, integer.fc2.source, None, row)


def residual_by_hand(model: nn.Module, integer: nn.Module, image: torch.Tensor) -> list[np.float32]:
    """The same for the residual network; ``model`` has its norms folded."""

    def conv(name: str, maps: np.ndarray) -> tuple[Grid, np.ndarray]:
        layer = integer.get_submodule(name.replace(".", "_"))
        return layer.target, integer_conv(model.get_submodule(name), layer.source, layer.target, maps)

    grid, maps = conv("conv1", codes_of(integer.quantize_input.grid, image))
    maps = integer_relu(grid, maps)
    for i, block in enumerate(model.blocks):
        inner_grid, inner = conv(f"blocks.{i}.conv1", maps)
        left, inner = conv(f"blocks.{i}.conv2", integer_relu(inner_grid, inner))
        right, straight = grid, maps
        if isinstance(block.shortcut, nn.Conv2d):
            right, straight = conv(f"blocks.{i}.shortcut", maps)
        grid = integer.get_submodule("add" if i == 0 else f"add_{i}").target
        maps = integer_relu(grid, integer_add(left, right, grid, inner, straight))
    return integer_linear(model.fc1, grid, None, integer_mean(maps))


@pytest.mark.parametrize("clip", [MinMax(), Percentile(99.0), LeastSquares(8)], ids=str)
def test_a_plain_loop_reproduces_the_articles_network_exactly(clip):
    model = network("article")
    integer = quantize_activations(model, [pixels(1), pixels(2)], clip)
    found = integer(pixels()).numpy()
    expected = np.array([article_by_hand(model, integer, image) for image in pixels()])
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) > 5


@pytest.mark.parametrize("bits", [2, 4])
def test_with_fewer_bits_the_loop_agrees_too_and_the_activations_are_few(bits):
    model = network("article")
    integer = quantize_activations(
        model, pixels(1), Percentile(99.0), bits
    )  # so that some lie beyond the ends
    expected = np.array([article_by_hand(model, integer, image) for image in pixels()])
    assert np.array_equal(integer(pixels()).numpy(), expected)
    seen = []
    integer.relu2.register_forward_hook(lambda module, inputs, output: seen.append(output))
    integer(pixels())
    assert len(seen[0].unique()) == 2**bits
    assert integer.quantize_input.grid.bits == 8


def test_a_plain_loop_reproduces_the_residual_network_exactly():
    model = network("residual")
    integer = quantize_activations(model, pixels(1))
    found = integer(pixels(count=2)).numpy()
    folded = fold_norms(model)
    expected = np.array([residual_by_hand(folded, integer, image) for image in pixels(count=2)])
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) > 5


@pytest.mark.parametrize("name", ["article", "lenet_300_100", "lenet5", "residual"])
def test_only_codes_travel_between_the_layers(name):
    integer = quantize_activations(network(name), images())
    seen = []
    for layer in integer.children():
        layer.register_forward_hook(lambda module, inputs, output: seen.extend([*inputs, output]))
    logits = integer(images())
    assert {value.dtype for value in seen[1:-1]} == {torch.int8}
    assert (seen[0].dtype, logits.dtype) == (torch.float32, torch.float32)
    assert not [m for m in integer.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["article", "residual"])
def test_the_result_is_the_same_for_any_batch_size(name):
    integer = quantize_activations(network(name), pixels(1))
    one_by_one = torch.cat([integer(image[None]) for image in pixels()])
    assert torch.equal(one_by_one, integer(pixels()))


# --- near the float network ---


def test_each_logit_is_as_near_the_float_one_as_the_steps_allow():
    """Carry a bound on the error through a perceptron, layer by layer."""
    torch.manual_seed(0)  # the bound holds for any weights; that it is below the logits does not
    model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 5))
    x = normal(64, 20)
    integer = quantize_activations(model, [x])
    layers = [m for m in integer.modules() if isinstance(m, IntegerLinear)]
    exact, error = x.double(), torch.full_like(x, layers[0].source.scale, dtype=torch.float64)
    for layer, float_layer in zip(layers, (model[0], model[2], model[4]), strict=True):
        weight, bias = float_layer.weight.double(), float_layer.bias.double()
        step = float_layer.weight.abs().amax(dim=1).double() / 127
        # The input is off by error, each weight by half a step, the bias by half a step of the sum.
        error = error @ (weight.abs().T + step / 2) + (exact.abs() @ torch.ones_like(weight.T)) * step / 2
        error = error + layer.source.scale * step / 2
        exact = exact @ weight.T + bias
        if layer.target is not None:
            error = error + layer.target.scale  # half a step of rounding and half a step past the grid's end
            exact = exact.relu()
    found = integer(x).double()
    assert ((found - exact).abs() <= error * (1 + 1e-5)).all()  # 1e-5: float32 in scales and logits
    assert (error < exact.abs().max()).all(), "a bound that says something"


def test_padding_holds_zero_although_the_code_of_zero_is_not_zero():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    nn.init.ones_(model[0].weight)
    integer = quantize_activations(model, [pixels(1)])
    (layer,) = (m for m in integer.modules() if isinstance(m, IntegerConvolution))
    assert layer.source.zero_point == -128
    assert integer(torch.ones(1, 1, 28, 28))[0, 0, 0].tolist() == pytest.approx(
        [4.0, *[6.0] * 26, 4.0], rel=1e-6
    )


def test_quantized_layers_keep_their_codes():
    model = quantize(network(), {"conv1": Symmetric(3), "*": Symmetric(8, PerChannel())})
    integer = quantize_activations(model, pixels(1))
    assert torch.equal(integer.conv1.codes, model.conv1.quantized.codes.flatten(1))
    assert torch.equal(integer.fc2.codes, model.fc2.quantized.codes)


# --- int32 never overflows ---


def perceptron_layer(columns: int, bias: float = 0.0, sign: int = 1) -> tuple[IntegerLinear, torch.Tensor]:
    code = Symmetric(8).quantize(torch.full((1, columns), 127.0 * sign))
    layer = IntegerLinear(code, torch.tensor([bias]), Grid(1.0, 0), None)
    return layer, torch.full((1, columns), -128, dtype=torch.int8)


def test_the_largest_sum_that_is_allowed_is_exact():
    columns = (2**31 - 1) // (127 * 128)
    for sign in (1, -1):
        layer, x = perceptron_layer(columns, sign=sign)
        assert layer.accumulate(x).item() == -sign * 127 * 128 * columns


def test_one_sum_of_two_that_could_overflow_is_refused():
    """The other fits: a bias of 1 beside one of 2**31."""
    code = Symmetric(8).quantize(torch.full((2, 3), 127.0))
    with pytest.raises(CompressionError, match="could overflow"):
        IntegerLinear(code, torch.tensor([1.0, 2.0**31]), Grid(1.0, 0), None)


@pytest.mark.parametrize("size", [1, (1, 1)])
def test_a_mean_over_the_whole_map_is_asked_in_two_ways(size):
    model = nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Flatten(), nn.Linear(2, 3))
    images = torch.rand((4, 2, 5, 5), generator=torch.Generator().manual_seed(0))
    found = quantize_activations(model, images)(images)
    # two grids of 256 steps over numbers below 1, and weights below 1
    assert torch.allclose(found, model(images), atol=0.02)


@given(st.tuples(*[st.floats(1e-6, 1e6)] * 3), st.tuples(*[st.integers(-128, 127)] * 5))
def test_an_addition_is_near_the_real_one_and_never_overflows(scales, codes):
    left, right, target = (Grid(s, z) for s, z in zip(scales, codes, strict=False))
    if max(left.scale, right.scale) > 2**19 * target.scale:
        with pytest.raises(CompressionError, match="times finer than those of its terms"):
            IntegerAdd(left, right, target)
        return
    layer = IntegerAdd(left, right, target)
    x, y = (torch.tensor([code], dtype=torch.int8) for code in codes[3:])
    found = int(layer(x, y))
    assert found == integer_add(left, right, target, x.numpy(), y.numpy())[0]
    terms = [g.scale / target.scale * (c - g.zero_point) for g, c in ((left, codes[3]), (right, codes[4]))]
    exact = min(max(sum(terms) + target.zero_point, -128), 127)
    assert abs(found - exact) <= 0.5 + 2 * 255 * 0.5 / 2**layer.SHIFT + 1e-9


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=30))
def test_a_mean_is_the_nearest_code_halves_upward(codes):
    maps = torch.tensor(codes, dtype=torch.int8).reshape(1, 1, 1, -1)
    assert int(IntegerMean(Grid(1.0, 0))(maps)) == integer_mean(maps[0].numpy())[0]


def test_a_pooled_map_keeps_its_axes_for_the_convolution_that_reads_it():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 3, 1))
    x = torch.rand((4, 2, 5, 5), generator=torch.Generator().manual_seed(0))
    found = quantize_activations(model, x)(x)
    assert found.shape == (4, 3, 1, 1)
    # two grids of 256 steps over numbers below 1, and weights below 1
    assert torch.allclose(found, model(x), atol=0.02)


def test_a_convolution_of_windows_equals_torchs_own_on_integers():
    like = nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), bias=False)
    code = Symmetric(8, PerTensor()).quantize(normal(4, 3, 3, 2))
    layer = IntegerConvolution(like, code, Grid(1.0, 5), None)
    x = torch.randint(-128, 128, (2, 3, 7, 8), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    expected = F.conv2d(F.pad(x - 5.0, (0, 0, 1, 1)), code.codes.float(), stride=(2, 1))  # exact below 2**24
    assert isinstance(layer, IntegerLayer)
    assert torch.equal(layer(x), expected * layer.steps[:, None, None])


@pytest.mark.parametrize(("most", "sizes"), [(1, [1] * 5), (2 * 784, [2, 2, 1]), (10**9, [5])])
def test_images_are_looked_at_a_few_at_a_time_and_one_by_one_where_they_are_large(most, sizes, monkeypatch):
    monkeypatch.setattr(calibrating, "_MOST_VALUES", most)
    parts = list(calibrating._images(torch.rand(5, 1, 28, 28), network()))
    assert [len(part) for part in parts] == sizes
