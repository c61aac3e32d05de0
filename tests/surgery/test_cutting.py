"""The law of cutting: the cut network equals the one in which every reader ignores what is cut."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from compresslab import CompressionError, models
from compresslab.surgery.cutting import cut
from compresslab.surgery.graph import graph_of
from tests.drawn import networks, redrawn
from tests.ignoring import answers, calibrated, difference, ignoring, rows_gone, some_gone


def small_images(count=6):
    generator = torch.Generator().manual_seed(2)
    return torch.randn((count, 2, 4, 4), generator=generator, dtype=torch.float64)


@settings(max_examples=60)
@given(networks(), st.sampled_from([0.3, 0.5, 0.8]), st.integers(0, 5))
def test_a_cut_network_is_the_one_in_which_readers_ignore(model, share, seed):
    images = small_images()
    model = calibrated(model, images)
    graph = graph_of(model, images)
    gone = some_gone(graph, share, seed)
    assume(any(mask.any() for mask in gone))
    small = cut(model, graph, gone, images)
    expected = answers(ignoring(model, rows_gone(graph, gone)), images)
    assert not expected.isnan().any()
    # doubles, a few hundred products summed in another order
    assert difference(answers(small, images), expected) < 1e-9


def law(model, images, share=0.5):
    """Cut the same share of every group, hold the result against the network that ignores it."""
    graph = graph_of(model, images)
    gone = some_gone(graph, share)
    small = cut(model, graph, gone, images)
    expected = answers(ignoring(model, rows_gone(graph, gone)), images)
    assert not expected.isnan().any()
    assert difference(answers(small, images), expected) < 1e-9  # doubles
    assert difference(answers(model, images), expected) > 1e-6, "the cut changed nothing"
    return graph, small


def between(*layers, width=8):
    """Layers between a convolution that makes 8 channels and a linear layer that reads them."""
    return redrawn(
        nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), *layers, nn.Flatten(), nn.Linear(width * 16, 3)), 3
    ).double()


class Scaled(nn.Module):
    """A parameter for each channel, as in the newest convolutional networks."""

    def __init__(self, width):
        super().__init__()
        self.scale, self.shift = (
            nn.Parameter(torch.ones(width, 1, 1)),
            nn.Parameter(torch.ones(1, width, 1, 1)),
        )

    def forward(self, x):
        return self.scale * x + self.shift


class ByHand(nn.Module):
    """Layers called as functions, with parameters of the module's own."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width, width, 1, 1)), nn.Parameter(torch.ones(width))
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        x = functional.conv2d(x, self.weight, self.bias).permute(0, 2, 3, 1)
        x = functional.layer_norm(x, self.norm.normalized_shape, self.norm.weight, self.norm.bias)
        return x.permute(0, 3, 1, 2)


class ByLayers(nn.Module):
    """The same from layers."""

    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 1), nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Ordered(nn.Module):
    """Channels in two rows: cut apart and swapped, or shuffled, or laid out row by row."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        if self.how == "swapped":
            left, right = x.chunk(2, 1)
            return torch.cat([right, left], 1)
        rows = x.view(x.size(0), 2, x.size(1) // 2, 4, 4)
        if self.how == "shuffled":
            rows = rows.transpose(1, 2)
        return rows.flatten(1)


BETWEEN = {
    "scale": [Scaled(8)],
    "groups of 2": [nn.GroupNorm(4, 8), nn.ReLU()],
    "one group": [nn.GroupNorm(1, 8), nn.ReLU()],
    "convolution in groups": [nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8)],
    "convolution that widens groups": [nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 1)],
    "depthwise, twice as wide": [nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.Conv2d(16, 8, 1)],
    "transposed": [nn.ConvTranspose2d(8, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 1)],
    "slopes": [nn.PReLU(8), nn.InstanceNorm2d(8, affine=True)],
    "norm of channels": [ByLayers(8), nn.ReLU()],
    "swapped halves": [Ordered("swapped"), nn.Conv2d(8, 8, 1)],
    "shuffled": [Ordered("shuffled")],
    "row by row": [Ordered("rows")],
}


class Moved(nn.Module):
    """A function that only moves values."""

    def __init__(self, function):
        super().__init__()
        self.function = (function,)

    def forward(self, x):
        return self.function[0](x)


MOVES = {
    "movedim": lambda x: x.movedim(1, -1).movedim(-1, 1),
    "swapdims": lambda x: torch.swapdims(x, 1, 3).swapdims(3, 1),
    "unflatten": lambda x: x.flatten(1).unflatten(1, (-1, 4, 4)),
    "rows": lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2),
    "columns": lambda x: x.view(x.size(0), -1, 2, 4, 4).transpose(1, 2).flatten(1, 2),
    "expand": lambda x: x.amax((2, 3), True).expand(-1, x.size(1), 4, 4),
    "narrow": lambda x: torch.cat([x.narrow(2, 0, 2), x.narrow(2, 2, 2)], 2),
    "select": lambda x: torch.stack([x.select(3, place) for place in (0, 3, 1, 2)], 3),
    "unbind": lambda x: torch.stack(x.unbind(2), 2),
    "flip": lambda x: x.flip(1).flip((1, 2)).flip(1),
    "roll": lambda x: x.roll((1, 2), (2, 3)),
    "places": lambda x: x[:, :, [3, 1, 0, 2]],
    "parts": lambda x: torch.cat(x.split([x.size(1) // 2, x.size(1) // 2], 1)[::-1], 1),
}


@pytest.mark.parametrize("name", MOVES)
def test_the_law_of_operations_that_only_move_values(name):
    images = small_images()
    _, small = law(calibrated(between(Moved(MOVES[name]), nn.ReLU()), images), images)
    assert small[0].out_channels == 4


@pytest.mark.parametrize("name", BETWEEN)
def test_the_law_between_layers_of_every_kind(name):
    images = small_images()
    _, small = law(calibrated(between(*BETWEEN[name]), images), images)
    assert small[0].out_channels == 4


def test_functions_are_cut_as_layers_are():
    images, results = small_images(), []
    for part in (ByHand(8), ByLayers(8)):
        model = between(part, nn.ReLU()).eval()  # both draw their parameters in the same order
        graph = graph_of(model, images)
        results.append(answers(cut(model, graph, some_gone(graph, 0.5), images), images))
    assert difference(*results) < 1e-9


@pytest.mark.parametrize("dims", [1, 3])
def test_the_law_in_one_and_in_three_dimensions(dims):
    convolution, norm = getattr(nn, f"Conv{dims}d"), getattr(nn, f"BatchNorm{dims}d")
    pool = getattr(nn, f"MaxPool{dims}d")
    layers = [convolution(2, 6, 3, padding=1), norm(6), nn.ReLU(), pool(2), convolution(6, 4, 1)]
    model = redrawn(nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 2**dims, 3)), 1).double()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((6, 2, *[4] * dims), generator=generator, dtype=torch.float64)
    law(calibrated(model, images), images)


def test_masks_that_do_not_fit_are_refused():
    model = models.article(conv1=2, conv2=3, fc1=4)
    graph = graph_of(model)
    good = [torch.zeros(n, dtype=torch.bool) for n in (2, 3, 4, 10)]
    for place, mask, message in (
        (0, torch.ones(2, dtype=torch.bool), "All 2 neurons of conv1"),
        (1, torch.zeros(4, dtype=torch.bool), "conv2 needs 3 truth values"),
        (2, torch.zeros(4), "fc1 needs 4 truth values"),
        (3, torch.arange(10) == 1, "held: they are the network's output"),
    ):
        with pytest.raises(CompressionError, match=message):
            cut(model, graph, [*good[:place], mask, *good[place + 1 :]])
    with pytest.raises(CompressionError, match="3 masks"):
        cut(model, graph, good[:3])


class Numbered(nn.Module):
    """Numbers of channels that the tracer writes down, as the layers say them."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(2, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.Linear(8, 3)
        self.batch = nn.BatchNorm2d(8)
        self.function = (function,)

    def forward(self, x):
        return self.fc(self.function[0](self, self.conv(x)).mean((2, 3)))


def norm_in_groups(net, x, groups):
    return functional.group_norm(x, groups, net.norm.weight, net.norm.bias)


NUMBERED = {
    "inputs": lambda net, x: x / net.fc.in_features,
    "outputs": lambda net, x: x * net.conv.out_channels,
    "by name": lambda net, x: torch.add(x, x, alpha=net.conv.out_channels),
    "padding": lambda net, x: functional.pad(x, (1, 1), value=float(net.fc.in_features)),
    "statistic": lambda net, x: net.batch(x) / net.batch.running_var.sum(),
    "groups": lambda net, x: norm_in_groups(net, x, 4),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_numbers_that_a_cut_would_change_are_found_out(name):
    model, images = Numbered(NUMBERED[name]).double(), small_images()
    graph = graph_of(model, images)
    with pytest.raises(CompressionError, match="After the cut"):
        cut(model, graph, some_gone(graph, 0.5), images)


def test_a_norm_that_is_called_with_its_own_number_of_groups_is_cut_as_the_layer_is():
    images = small_images()
    model = Numbered(lambda net, x: norm_in_groups(net, x, net.norm.num_groups)).double()
    twin = Numbered(lambda net, x: net.norm(x)).double()
    twin.load_state_dict(model.state_dict())
    small = [
        cut(net, graph_of(net, images), some_gone(graph_of(net, images), 0.5), images)
        for net in (model, twin)
    ]
    assert difference(*(answers(net, images) for net in small)) < 1e-12


def test_code_that_counts_channels_by_itself_is_found_out():
    """The rules cannot see the number behind the name; the graph of the result can."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc, self.width = nn.Conv2d(2, 8, 3, padding=1), nn.Linear(8, 3), 8

        def forward(self, x):
            x = self.conv(x)
            return self.fc(x.mean((2, 3)) if self.conv.out_channels == self.width else x.amax((2, 3)))

    model, images = Counting().double(), small_images()
    graph = graph_of(model, images)
    with pytest.raises(CompressionError, match=r"After the cut|another way"):
        cut(model, graph, some_gone(graph, 0.5), images)
