"""What an integer network may hold: every kind of step is exact on its grid, every spelling is understood."""

from itertools import product

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from samples import network
from torch import fx, nn
from torch.nn import functional as F

from compresslab.integers.layers import Grid, IntegerConvolution, IntegerLayer
from compresslab.integers.network import _images, integer_like, quantize_activations
from compresslab.integers.steps import IntegerAdd, IntegerAverage, IntegerReLU
from compresslab.models.tracing import trace
from compresslab.quantization.clipping import Percentile
from compresslab.quantization.folding import fold_norms
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.uniform import Symmetric


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Simulated(fx.Interpreter):
    """Run the folded network in float64, and round to the grids of its integer twin where that does."""

    def __init__(self, model: nn.Module, integer: nn.Module) -> None:
        folded = fold_norms(model)
        super().__init__(fx.GraphModule(folded, trace(folded)).double())
        self.integer = integer
        for node in self.module.graph.nodes:
            step = getattr(integer, node.name, None)
            if isinstance(step, IntegerLayer):
                layer = self.module.get_submodule(node.target)
                code = Symmetric(8, PerChannel()).quantize(layer.weight)
                steps = step.source.scale * code.parameters["scale"].double()  # a bias is counted in these
                shape = (-1, *[1] * (layer.weight.dim() - 1))
                layer.weight.data = code.codes * code.parameters["scale"].double().reshape(shape)
                layer.bias.data = torch.round(layer.bias.data / steps) * steps

    def run_node(self, n):
        step = getattr(self.integer, n.name, None)
        value = super().run_node(n)
        grid = self.integer.quantize_input.grid if n.op == "placeholder" else getattr(step, "grid", None)
        if isinstance(step, IntegerLayer | IntegerAdd):
            grid = step.target
        if grid is None:
            return value
        codes = (torch.floor(value / grid.scale + 0.5) + grid.zero_point).clamp(-128, 127)
        return grid.scale * (codes - grid.zero_point)


def centred(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """Take from the last layer's bias what all inputs have in common, so that answers differ."""
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.bias -= model(x).mean(dim=0)
    return model


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_torchvisions_networks_answer_as_a_float_simulation_of_the_same_grids(name):
    torch.manual_seed(0)
    model, x = getattr(torchvision.models, name)(num_classes=10), normal(100, 3, 32, 32)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0  # the statistics are those of the next batch
    model.train()(x)
    model = centred(model.eval(), x)
    integer = quantize_activations(model, x)
    with torch.no_grad():
        found, expected = integer(x).argmax(1), Simulated(model, integer).run(x.double()).argmax(1)
    assert (found == expected).float().mean() >= 0.99
    assert len(found.unique()) >= 5, "the answers differ"


class Spelled(nn.Module):
    """A network whose middle is written as a function."""

    def __init__(self, function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.function = nn.Conv2d(2, 4, 3), nn.Linear(4 * 6 * 6, 5), function

    def forward(self, x):
        return self.fc(self.function(self.conv(x)))


FLATTENS = {
    "flatten": lambda x: x.flatten(1),
    "torch.flatten": lambda x: torch.flatten(x, 1),
    "start_dim": lambda x: torch.flatten(x, start_dim=1),
    "size": lambda x: x.view(x.size(0), -1),
    "shape": lambda x: x.reshape(x.shape[0], -1),
    "torch.reshape": lambda x: torch.reshape(x, (x.shape[0], 4 * 6 * 6)),
    "computed": lambda x: x.view(-1, x.size(1) * x.size(2) * x.size(3)),
    "permuted": lambda x: x.permute(0, 2, 3, 1).contiguous().view(x.size(0), -1),
}
RELUS = {
    "torch.relu": torch.relu,
    "F.relu": F.relu,
    "in place": lambda x: F.relu(x, inplace=True),
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "F.relu6": F.relu6,
    "with dropout": lambda x: F.dropout(F.relu(x), training=False),
}


@pytest.mark.parametrize("spelling", [*FLATTENS, *RELUS])
def test_every_spelling_is_understood(spelling):
    flatten, relu = FLATTENS.get(spelling, FLATTENS["flatten"]), RELUS.get(spelling, torch.relu)
    model, x = Spelled(lambda x: flatten(relu(x))), normal(16, 2, 8, 8)
    integer = quantize_activations(model, x)
    step = next(m for m in integer.modules() if isinstance(m, IntegerLayer)).target.scale
    # the output is off by half a step of each of its 144 inputs and, for the weights, 1/127 of their size
    assert (integer(x) - model(x)).abs().max() <= 144 * 0.1 * step + 0.05
    assert torch.equal(integer(x)[:3], integer(x[:3]))


POOLS = {
    "average": lambda x: F.avg_pool2d(x, 2),
    "mean": lambda x: x.mean((2, 3)),
    "torch.mean": lambda x: torch.mean(x, dim=[2, 3], keepdim=True),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (1, 1)),
    "max": lambda x: F.max_pool2d(x, 2),
}


@pytest.mark.parametrize("spelling", POOLS)
def test_every_pooling_is_understood(spelling):
    model, x = Spelled(lambda x: POOLS[spelling](torch.relu(x)).flatten(1)), normal(16, 2, 8, 8)
    with torch.no_grad():
        model.fc = nn.Linear(POOLS[spelling](model.conv(x)).flatten(1).shape[1], 5)
    integer = quantize_activations(model, x)
    assert (integer(x) - model(x)).abs().max() <= 0.05  # activations and weights near 1, in 256 steps


CONV = nn.Conv1d(2, 4, 3)
SEQUENCES = {
    "of features": (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), (4, 5, 6)),
    "of windows": (
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 3, 1)),
        (4, 2, 9),
    ),
    "pooled": (
        nn.Sequential(CONV, nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)),
        (4, 2, 9),
    ),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_network_of_one_axis_is_near_its_floats(name):
    model, shape = SEQUENCES[name]
    x = normal(*shape)
    integer = quantize_activations(model, [(x, "targets")])
    assert integer(x).shape == model.eval()(x).shape
    assert (integer(x) - model(x)).abs().max() <= 0.1  # three layers of 8 bits, values near 1


@pytest.mark.parametrize(
    "settings",
    [
        {"groups": 4},
        {"groups": 2, "stride": 2},
        {"dilation": 2, "padding": 2},
        {"padding": "same"},
        {"padding": "same", "dilation": (1, 3), "groups": 4},
        {"padding": "valid", "bias": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("axes", [1, 2])
def test_a_convolution_of_any_settings_equals_torchs_own_on_integers(axes, settings):
    if axes == 1:
        settings = {k: v[1] if isinstance(v, tuple) else v for k, v in settings.items()}
    like = (nn.Conv1d, nn.Conv2d)[axes - 1](4, 8, 3, **settings)
    code = Symmetric(8, PerChannel()).quantize(like.weight)
    layer = IntegerConvolution(like, code, Grid(1.0, 5), None)
    x = torch.randint(-128, 128, (2, 4, *[9] * axes), generator=torch.Generator().manual_seed(0)).to(
        torch.int8
    )
    with torch.no_grad():
        like.weight.copy_(code.codes.float())
        if like.bias is not None:
            like.bias.copy_(torch.round(like.bias.double() / code.parameters["scale"].double()))
        expected = like.double()(x.double() - 5)  # exact: sums far below 2**53
    steps = layer.steps.reshape(-1, *[1] * axes)
    assert torch.equal(layer(x), expected.to(torch.int32) * steps)


@given(
    st.lists(st.integers(-128, 127), min_size=25, max_size=25),
    st.integers(-128, 127),
    st.booleans(),
    st.sampled_from([(2, 1, 0), (3, 2, 1), (2, 2, 1), ((3, 2), (1, 2), (1, 0))]),
)
def test_an_average_is_that_of_a_plain_loop_halves_upward(codes, zero, counts, settings):
    like = nn.AvgPool2d(*settings, count_include_pad=counts)
    maps = torch.tensor(codes, dtype=torch.int8).reshape(1, 1, 5, 5)
    (height, width), (down, right), (top, left) = (v if isinstance(v, tuple) else (v, v) for v in settings)
    found = IntegerAverage(Grid(1.0, zero), like)(maps)[0, 0].tolist()
    for row, column in product(range(len(found)), range(len(found[0]))):
        places = [
            (row * down - top + i, column * right - left + j) for i, j in product(range(height), range(width))
        ]
        inside = [codes[5 * i + j] - zero for i, j in places if 0 <= i < 5 and 0 <= j < 5]
        count = len(places) if counts else len(inside)
        assert found[row][column] == max(-128, min(127, (2 * sum(inside) + count) // (2 * count) + zero))


def test_a_ceiling_is_a_code():
    grid = Grid(0.05, -128)
    x = torch.arange(-128, 128).to(torch.int8)
    assert IntegerReLU(grid, 6.0)(x).unique().tolist() == list(range(-128, -7))  # 6 / 0.05 steps above zero
    assert int(IntegerReLU(Grid(0.01, -128), 6.0)(x).max()) == 127


def test_a_second_call_of_one_layer_and_an_addition_in_place_are_followed():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.relu, self.last = nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)

        def forward(self, x):
            y = self.relu(self.first(x))
            y = self.relu(self.first(y))
            y += x
            return self.last(y)

    model, x = Twice(), normal(64, 4)
    before = x.clone()
    integer = quantize_activations(model, x, Percentile(100.0))
    assert torch.equal(x, before)
    assert (integer(x) - model(x)).abs().max() <= 0.15  # three layers of 8 bits, values up to 4
    assert torch.equal(integer(x), quantize_activations(model, x)(x)), "the hundredth percentile is MinMax"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_precision_is_calibrated_in_it(dtype):
    integer = quantize_activations(network().to(dtype), normal(4, 1, 28, 28))
    assert integer(normal(4, 1, 28, 28)).dtype == torch.float32


def test_large_images_run_a_few_at_a_time_and_small_ones_together():
    model = nn.Linear(2, 2)
    assert [len(few) for few in _images(normal(20, 1, 256, 256), model)] == [
        16,
        4,
    ]  # a million values at once
    assert [len(few) for few in _images(normal(20, 1, 28, 28), model)] == [20]


def test_integer_like_is_the_same_network_without_its_numbers():
    model = network("residual")
    integer, empty = quantize_activations(model, normal(4, 1, 28, 28)), integer_like(model)
    assert str(integer.graph) == str(empty.graph)
    assert integer.meta["builder"] == empty.meta["builder"] is not None
    for name, step in integer.named_modules():
        grids = {key: value for key, value in vars(step).items() if isinstance(value, Grid)}
        if hasattr(step, "take"):
            empty.get_submodule(name).take(**grids)
    empty.load_state_dict(integer.state_dict())
    assert torch.equal(empty(normal(4, 1, 28, 28)), integer(normal(4, 1, 28, 28)))
