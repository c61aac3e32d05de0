"""The law of cutting: the cut network equals the one in which every reader ignores what is cut."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from compresslab import CompressionError, models
from compresslab.surgery import readers
from compresslab.surgery.cutting import cut
from compresslab.surgery.graph import graph_of
from tests.drawn import Coded, networks, redrawn
from tests.ignoring import answers, calibrated, difference, ignoring, law, rows_gone, some_gone


def small_images(count=6):
    generator = torch.Generator().manual_seed(2)
    return torch.randn((count, 2, 4, 4), generator=generator, dtype=torch.float64)


@settings(max_examples=60)
@given(networks(), st.sampled_from([0.3, 0.5, 0.8]), st.integers(0, 5))
def test_a_cut_network_is_the_one_in_which_readers_ignore(model, share, seed):
    images = small_images()
    model = calibrated(model, images)
    graph = graph_of(model, images)
    assume(any(mask.any() for mask in some_gone(graph, share, seed)))
    law(model, images, 1e-9, share, seed)  # doubles, a few hundred products summed in another order


@pytest.mark.parametrize("name", ["article", "lenet_300_100", "lenet5", "residual"])
def test_what_is_to_be_cut_can_be_ignored_first(name):
    """The copy answers as the reference that fills rows with NaN, with rows and shapes as they were."""
    model, images = models.build(name, seed=1).eval(), torch.rand(4, 1, 28, 28)
    graph = graph_of(model)
    gone = some_gone(graph, 0.5)
    copy = readers.ignoring(model, graph, gone)
    expected = answers(ignoring(model, rows_gone(graph, gone)), images)
    assert difference(answers(copy, images), expected) < 1e-5
    assert difference(answers(model, images), expected) > 1e-3
    assert [p.shape for p in copy.parameters()] == [p.shape for p in model.parameters()]
    assert difference(answers(cut(copy, graph, gone), images), expected) < 1e-5


def between(*layers, width=8):
    """Layers between a convolution that makes 8 channels and a linear layer that reads them."""
    return redrawn(
        nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), *layers, nn.Flatten(), nn.Linear(width * 16, 3)), 3
    ).double()


def scaled():
    """A parameter for each channel, as in the newest convolutional networks."""
    scale, shift = nn.Parameter(torch.ones(8, 1, 1)), nn.Parameter(torch.ones(1, 8, 1, 1))
    return Coded(lambda net, x: net.scale * x + net.shift, scale=scale, shift=shift)


def by_layers():
    """A convolution, and a norm over its channels."""
    code = lambda net, x: net.norm(net.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # noqa: E731
    return Coded(code, conv=nn.Conv2d(8, 8, 1), norm=nn.LayerNorm(8))


def by_hand():
    """The same by functions, with parameters of the module's own."""

    def code(net, x):
        x = functional.conv2d(x, net.weight, net.bias).permute(0, 2, 3, 1)
        x = functional.layer_norm(x, net.norm.normalized_shape, net.norm.weight, net.norm.bias)
        return x.permute(0, 3, 1, 2)

    weight, bias = nn.Parameter(torch.ones(8, 8, 1, 1)), nn.Parameter(torch.ones(8))
    return Coded(code, weight=weight, bias=bias, norm=nn.LayerNorm(8))


MOVES = {
    "movedim": lambda x: x.movedim(1, -1).movedim(-1, 1),
    "swapdims": lambda x: torch.swapdims(x, 1, 3).swapdims(3, 1),
    "unflatten": lambda x: x.flatten(1).unflatten(1, (-1, 4, 4)),
    "two rows": lambda x: x.view(x.size(0), 2, x.size(1) // 2, 4, 4).flatten(1, 2),
    "two rows, shuffled": lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2),
    "rows of two, shuffled": lambda x: x.view(x.size(0), -1, 2, 4, 4).transpose(1, 2).flatten(1, 2),
    "swapped halves": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "swapped parts": lambda x: torch.cat(x.split([x.size(1) // 2, x.size(1) // 2], 1)[::-1], 1),
    "expand": lambda x: x.amax((2, 3), True).expand(-1, x.size(1), 4, 4),
    "narrow": lambda x: torch.cat([x.narrow(2, 0, 2), x.narrow(2, 2, 2)], 2),
    "select": lambda x: torch.stack([x.select(3, place) for place in (0, 3, 1, 2)], 3),
    "unbind": lambda x: torch.stack(x.unbind(2), 2),
    "flip": lambda x: x.flip(1).flip((1, 2)).flip(1),
    "roll": lambda x: x.roll((1, 2), (2, 3)),
    "places": lambda x: x[:, :, [3, 1, 0, 2]],
}
BETWEEN = {
    "scale": [scaled()],
    "groups of 2": [nn.GroupNorm(4, 8), nn.ReLU()],
    "one group": [nn.GroupNorm(1, 8), nn.ReLU()],
    "convolution in groups": [nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8)],
    "convolution that widens groups": [nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 1)],
    "depthwise, twice as wide": [nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.Conv2d(16, 8, 1)],
    "transposed": [nn.ConvTranspose2d(8, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 1)],
    "slopes": [nn.PReLU(8), nn.InstanceNorm2d(8, affine=True)],
    "norm of channels": [by_layers(), nn.ReLU()],
    **{name: [Coded(lambda net, x, move=move: move(x)), nn.ReLU()] for name, move in MOVES.items()},
}


@pytest.mark.parametrize("name", BETWEEN)
def test_the_law_between_layers_of_every_kind(name):
    images = small_images()
    small = law(calibrated(between(*BETWEEN[name]), images), images, 1e-9, far=1e-6)
    assert small[0].out_channels == 4


def test_functions_are_cut_as_layers_are():
    images, results = small_images(), []
    for part in (by_hand(), by_layers()):
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
    law(calibrated(model, images), images, 1e-9, far=1e-6)


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


def numbered(function):
    """A network in which the tracer writes down numbers of channels as the layers say them."""
    parts = {"conv": nn.Conv2d(2, 8, 3, padding=1), "norm": nn.GroupNorm(4, 8), "fc": nn.Linear(8, 3)}
    parts["batch"] = nn.BatchNorm2d(8)
    return Coded(lambda net, x: net.fc(function(net, net.conv(x)).mean((2, 3))), **parts).double()


def norm_in_groups(net, x, groups):
    return functional.group_norm(x, groups, net.norm.weight, net.norm.bias)


NUMBERED = {
    "inputs": lambda net, x: x / net.fc.in_features,
    "outputs": lambda net, x: x * net.conv.out_channels,
    "by name": lambda net, x: torch.add(x, x, alpha=net.conv.out_channels),
    "padding": lambda net, x: functional.pad(x, (1, 1), value=float(net.fc.in_features)),
    "statistic": lambda net, x: net.batch(x) / net.batch.running_var.sum(),
    "groups": lambda net, x: norm_in_groups(net, x, 4),
    "counted": lambda net, x: x if net.conv.out_channels == 8 else -x,  # no rule sees the number
}


@pytest.mark.parametrize("name", NUMBERED)
def test_numbers_that_a_cut_would_change_are_found_out(name):
    model, images = numbered(NUMBERED[name]), small_images()
    graph = graph_of(model, images)
    with pytest.raises(CompressionError, match=r"After the cut|another way"):
        cut(model, graph, some_gone(graph, 0.5), images)


FORKED = {
    "takes another way": lambda net, x: net.a(x) + net.b(x) if net.a.out_channels == 8 else net.a(x),
    "other neurons in training than": lambda net, x: net.b(x) if net.training else net.a(x),
}


@pytest.mark.parametrize("message", FORKED)
def test_code_that_takes_another_way_is_not_cut(message):
    parts = {"a": nn.Conv2d(2, 8, 1), "b": nn.Conv2d(2, 8, 1), "fc": nn.Linear(8, 3)}
    model = Coded(lambda net, x: net.fc(FORKED[message](net, x).mean((2, 3))), **parts).double()
    graph = graph_of(model, small_images())
    with pytest.raises(CompressionError, match=message):
        cut(model, graph, some_gone(graph, 0.5), small_images())


def test_a_norm_that_is_called_with_its_own_number_of_groups_is_cut_as_the_layer_is():
    images, small = small_images(), []
    model = numbered(lambda net, x: norm_in_groups(net, x, net.norm.num_groups))
    twin = numbered(lambda net, x: net.norm(x))
    twin.load_state_dict(model.state_dict())
    for net in (model, twin):
        graph = graph_of(net, images)
        small.append(answers(cut(net, graph, some_gone(graph, 0.5), images), images))
    assert difference(*small) < 1e-12


def test_a_cut_convolution_in_groups_says_its_channels_as_whole_numbers():
    model = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=4), nn.Flatten(), nn.Linear(72, 3))
    image = torch.rand(1, 4, 5, 5)
    graph = graph_of(model, image)
    gone = [
        torch.arange(len(group.roots)) < (0 if group.held else len(group.roots) // 2)
        for group in graph.groups
    ]
    layer = cut(model, graph, gone, image)[1]
    assert layer.weight.shape == (4, 2, 3, 3)
    numbers = layer.in_channels, layer.out_channels, layer.groups
    assert numbers == (4, 4, 2)
    assert all(isinstance(number, int) for number in numbers)
