"""Pruning neurons: exact counts, the right ones, the argument untouched, files, training, budgets."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import compresslab as cl
from compresslab import CompressionError, criteria, models, prune_neurons
from compresslab.measuring.costs import count_macs
from compresslab.models.architectures import ArticleConfig
from compresslab.pruning.neurons import comparable
from compresslab.storage.container import decode, encode
from compresslab.surgery.dead import drop_dead
from compresslab.surgery.graph import graph_of
from compresslab.training.batching import ImageData, Split
from tests.drawn import networks
from tests.ignoring import answers, calibrated, difference
from tests.samples import images, network, same


def some_images(count=8):
    generator = torch.Generator().manual_seed(3)
    return Split(torch.rand((count, 1, 28, 28), generator=generator), torch.arange(count) % 3)


class Fixed:
    """A criterion that gives these scores."""

    def __init__(self, scores):
        self.scores = scores

    def __call__(self, model, batches):
        return {name: torch.as_tensor(values) for name, values in self.scores.items()}


CRITERIA = [
    *(criteria.mean_activation, criteria.apoz, criteria.activation_variance, criteria.mean_gradient),
    *(criteria.taylor, criteria.taylor_weights, criteria.l1_norm, criteria.l2_norm, criteria.live_inputs),
    *(criteria.magnitude, criteria.gradient, criteria.activation, criteria.Random(3)),
]


# --- exact counts


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("name", ["article", "lenet_300_100", "lenet5", "residual"])
def test_every_criterion_makes_a_smaller_network_of_the_same_kind(criterion, name):
    model = network(name)
    small = prune_neurons(model, criterion, 0.5, batches=some_images())
    assert type(small) is type(model)
    before, after = model.config.to_dict(), small.config.to_dict()
    for key, width in before.items():
        if key not in ("classes", "channels", "norm"):
            halves = [w - round(0.5 * w) for w in (width if isinstance(width, list) else [width])]
            assert after[key] == (halves if isinstance(width, list) else halves[0])
        else:
            assert after[key] == width
    assert small(images()).shape == model(images()).shape


@given(st.floats(0, 1), st.integers(1, 4), st.booleans())
@settings(max_examples=40)
def test_exactly_so_many_neurons_go(share, minimum, per_layer):
    model = network("article")  # 3, 4 and 5 neurons
    small = prune_neurons(model, criteria.l2_norm, share, minimum=minimum, per_layer=per_layer)
    widths = small.config.conv1, small.config.conv2, small.config.fc1
    if per_layer:
        assert widths == tuple(max(n - round(share * n), min(minimum, n)) for n in (3, 4, 5))
    else:
        assert sum(widths) == max(12 - round(share * 12), sum(min(minimum, n) for n in (3, 4, 5)))
        assert all(width >= min(minimum, n) for width, n in zip(widths, (3, 4, 5), strict=True))


def test_nothing_goes_at_a_share_of_zero():
    assert same(prune_neurons(network("residual"), criteria.l1_norm, 0.0), network("residual"))


# --- the right ones


def test_the_least_important_go_and_equal_ones_in_order():
    model = network("article")
    scores = {"conv1": [2.0, 1.0, 3.0], "conv2": [1.0, 1.0, 1.0, 1.0], "fc1": [5.0, 4.0, 3.0, 2.0, 1.0]}
    small = prune_neurons(model, Fixed(scores), {"conv1": 0.34, "*": 0.5})
    assert torch.equal(small.conv1.weight, model.conv1.weight[[0, 2]])
    assert torch.equal(small.conv2.weight, model.conv2.weight[2:][:, [0, 2]])
    assert torch.equal(small.fc2.weight, model.fc2.weight[:, :3])
    maps = model.fc1.weight.reshape(5, 4, 49)[:3, 2:].reshape(3, -1)
    assert torch.equal(small.fc1.weight, maps)


def test_layers_that_are_added_go_by_the_mean_of_their_scores():
    model = network("residual")
    scores = criteria.l1_norm(model)
    scores["blocks.1.conv2"] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    scores["blocks.1.shortcut"] = torch.tensor([40.0, 30.0, 5.0, 10.0])
    small = prune_neurons(model, Fixed(scores), {"blocks.1.conv2": 0.25})
    # each by its root mean square: 0.37 0.73 1.10 1.46, and 1.56 1.17 0.19 0.39; the third has the least sum
    kept = [0, 1, 3]
    assert torch.equal(small.blocks[1].shortcut.weight, model.blocks[1].shortcut.weight[kept])
    assert torch.equal(small.blocks[1].norm2.running_var, model.blocks[1].norm2.running_var[kept])


def test_layers_are_comparable_whatever_the_unit_of_their_scores():
    model = network("article")
    scores = {"conv1": [1.0, 2.0, 3.0], "conv2": [1.0, 2.0, 3.0, 4.0], "fc1": [5.0, 6.0, 7.0, 8.0, 9.0]}
    larger = {
        name: [1000 * value for value in values] if name == "fc1" else values
        for name, values in scores.items()
    }
    one, other = (prune_neurons(model, Fixed(s), 0.4, per_layer=False) for s in (scores, larger))
    assert same(one, other)
    as_they_are = prune_neurons(model, Fixed(larger), 0.25, per_layer=False, normalise=False)
    assert as_they_are.config == ArticleConfig(conv1=1, conv2=3, fc1=5, classes=3)


def test_scores_of_weights_are_averaged_over_each_neuron():
    model = network("lenet5")
    by_weights = prune_neurons(model, criteria.magnitude, 0.5)
    assert same(by_weights, prune_neurons(model, criteria.l1_norm, 0.5))


def test_layers_may_be_protected():
    model = network("residual")
    small = prune_neurons(model, criteria.norm_scale, 0.5, protect=("blocks.1.shortcut",))
    assert small.config.widths == (1, 4)
    assert small.config.inner == (1, 3)


# --- what else must hold


@settings(max_examples=30)
@given(networks(), st.sampled_from(CRITERIA[:8]), st.booleans())
def test_any_network_that_is_drawn_becomes_smaller(model, criterion, per_layer):
    generator = torch.Generator().manual_seed(2)
    maps = torch.randn((6, 2, 4, 4), generator=generator, dtype=torch.float64)
    model = calibrated(model, maps)
    data = Split(maps, torch.arange(6) % 3)
    small = prune_neurons(model, criterion, 0.5, batches=data, per_layer=per_layer, minimum=1)
    weights = [sum(p.numel() for p in net.parameters()) for net in (small, model)]
    free = [group.neurons for group in graph_of(model, maps).free]
    assert weights[0] < weights[1] or all(round(0.5 * n) == 0 for n in free)
    assert answers(small, maps).isfinite().all()


def test_cutting_twice_is_cutting_more():
    once = prune_neurons(network("residual"), criteria.l1_norm, 0.5)
    twice = prune_neurons(once, criteria.l1_norm, 0.5, minimum=1)
    assert twice.config.widths == (1, 1)
    assert twice(images()).shape == (4, 3)


@pytest.mark.parametrize("name", ["article", "lenet_300_100", "lenet5", "residual"])
def test_a_cut_network_of_the_book_is_saved_loaded_and_trained(name, tmp_path):
    small = prune_neurons(network(name), criteria.l2_norm, 0.5)
    cl.save(small, tmp_path / "small.clab")
    again = cl.load(tmp_path / "small.clab")
    assert same(again, small)
    assert torch.equal(answers(again, images()), answers(small, images()))
    data = ImageData("noise", some_images(), some_images(), some_images())
    before = copy.deepcopy(small)
    cl.train(small, data, epochs=1, progress=False)
    assert not same(small, before)
    assert same(again, before)


def stranger():
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(12 * 16, 8), nn.LayerNorm(8), nn.Linear(8, 3)]
    depthwise = nn.Conv2d(6, 12, 3, padding=1, groups=6)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.PReLU(6), depthwise, nn.GroupNorm(6, 12), nn.ReLU(), *head
    ).eval()


@pytest.mark.parametrize("scheme", [None, cl.Symmetric(8), cl.KMeans(3)])
def test_a_cut_module_of_any_kind_loads_into_the_module_that_it_was_cut_from(scheme, tmp_path):
    small = prune_neurons(stranger(), criteria.l2_norm, 0.5, example=images())
    assert small[3].groups == small[4].num_groups == 3
    if scheme is not None:
        small = cl.quantize(small, {"3": None, "*": scheme})
    cl.save(small, tmp_path / "small.clab")
    into = stranger()
    again = cl.load(tmp_path / "small.clab", into=into)
    assert again is into
    assert same(again, small)
    assert torch.equal(answers(again, images()), answers(small, images()))
    assert again[3].extra_repr() == small[3].extra_repr()
    assert again[4].extra_repr() == small[4].extra_repr()
    if scheme is None:
        assert graph_of(again, images()).groups == graph_of(small, images()).groups


def test_a_file_whose_layers_do_not_fit_each_other_is_refused():
    """Each layer alone would be fine: 3 channels go into a layer that reads 2."""
    small = prune_neurons(stranger(), criteria.l2_norm, 0.5, example=images())
    for changed in (
        nn.Linear(5 * 16, 4),
        nn.Linear(6 * 16, 5),
    ):
        wrong = copy.deepcopy(small)
        wrong[8] = changed
        into = stranger().train()
        before = copy.deepcopy(into)
        with pytest.raises(CompressionError, match="do not fit each other"):
            decode(encode(wrong)[0], into=into)
        assert same(into, before)
        assert into.training
        assert into[8].in_features == 192


# --- budgets


def multiplications(model):
    return count_macs(model, images()[:1])


def size(model):
    return len(encode(model)[0])


@pytest.mark.parametrize(("name", "cost"), [("max_macs", multiplications), ("max_bytes", size)])
def test_a_budget_is_met_by_the_smallest_share(name, cost):
    model = models.article()
    budget = cost(model) // 2
    small = prune_neurons(model, criteria.l2_norm, **{name: budget})
    assert 0.97 * budget < cost(small) <= budget  # a neuron more would be too many
    assert cost(prune_neurons(model, criteria.l2_norm, **{name: cost(small)})) == cost(small)  # it fits
    assert cost(prune_neurons(model, criteria.l2_norm, **{name: cost(model)})) <= cost(model)


def test_a_budget_is_met_to_a_thousandth_of_the_neurons():
    """Each of 1,024 neurons takes 2 + 2 multiplications; one less is enough, so one goes."""
    model = nn.Sequential(nn.Conv2d(2, 1024, 1), nn.Conv2d(1024, 2, 1))
    small = prune_neurons(model, criteria.l2_norm, max_macs=4 * 1023, example=torch.zeros(1, 2, 1, 1))
    assert small[0].out_channels == 1023


# --- dead neurons


def with_dead(model, scale=False):
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.BatchNorm2d if scale else nn.Conv2d | nn.Linear) and name != "fc2":
                module.weight[::2] = 0
    return model


@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.0])
def test_dead_neurons_go_and_the_answers_stay(bias):
    """A bias of 1 makes them say 1: linear layers take that in, convolutions with padding cannot."""
    model = calibrated(network("article").double(), images().double())
    with_dead(model)
    for layer in (model.conv1, model.conv2, model.fc1):
        layer.bias.data[::2] = bias
    small = drop_dead(model)
    assert small.config.conv1 == (3 if bias > 0 else 1)
    assert (small.config.conv2, small.config.fc1) == (2, 2)
    # doubles, a product less in sums of some hundreds
    assert difference(answers(small, images().double()), answers(model, images().double())) < 1e-13


def test_a_neuron_that_one_weight_keeps_alive_is_not_dead():
    """The example, which is black, does not show it: each says 1 of it."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    model[0].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    model[0].bias.data[:] = 1
    small = drop_dead(model, torch.zeros(1, 2))
    assert small[0].weight.tolist() == [[1, 0], [0, 1]]


def test_scales_of_zero_make_dead_neurons():
    model = calibrated(network("residual").double(), images().double())
    with_dead(model, scale=True)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data -= 1  # the shift that is left is cut off by the ReLU
    small = drop_dead(model)
    assert small.config.widths == (1, 2)
    assert small.config.inner == (1, 2)
    assert difference(answers(small, images().double()), answers(model, images().double())) < 1e-13


@settings(max_examples=60)
@given(networks(), st.integers(0, 9))
def test_dropping_the_dead_changes_no_answer(model, seed):
    maps = torch.randn((6, 2, 4, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    model, choose = calibrated(model, maps), torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.weight.data[torch.rand(len(module.weight), generator=choose) < 0.4] = 0
    small = drop_dead(model, maps)
    found = answers(small, maps) - answers(model, maps)
    assert found.abs().max() <= 1e-9 * (1 + answers(model, maps).abs().max())


class Meeting(nn.Module):
    """Maps of which three say one number, until the image meets them all."""

    def __init__(self, meet):
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1)
        self.meet = (meet,)
        self.norm.weight.data[:3], self.norm.bias.data[:3] = 0, 1

    def forward(self, x):
        return self.last(self.meet[0](self.norm(self.conv(x)), x))


MEETING = {
    "times": lambda h, x: h * x.mean((1, 2, 3), keepdim=True),
    "plus": lambda h, x: h + x.mean(1, keepdim=True),
    "where": lambda h, x: torch.where(torch.relu(x.mean((1, 2, 3), keepdim=True)).bool(), h, -h),
}


@pytest.mark.parametrize("name", MEETING)
def test_what_meets_the_image_is_not_dead(name):
    maps = torch.randn((5, 3, 4, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    model = Meeting(MEETING[name]).double().eval()
    small = drop_dead(model, torch.zeros_like(maps))
    assert difference(answers(small, maps), answers(model, maps)) < 1e-13


UNEVEN = {
    "pads of a layer": lambda: [nn.ZeroPad2d(1), nn.Conv2d(4, 3, 3)],
    "a linear layer at every place": lambda: [nn.ZeroPad2d(1), nn.Flatten(2), Turned(), nn.Linear(4, 3)],
    "pads along one axis": lambda: [nn.Conv2d(4, 3, 3, padding=(1, 0))],
}


class Turned(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


@pytest.mark.parametrize("name", UNEVEN)
def test_what_says_another_number_at_the_edges_is_not_dead(name):
    model = nn.Sequential(nn.Conv2d(2, 4, 1), *UNEVEN[name]()).double()
    model[0].weight.data[:2], model[0].bias.data[:2] = 0, 1
    maps = torch.randn((5, 2, 4, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert same(drop_dead(model, maps), model)


def test_scores_are_compared_as_they_are_or_by_their_mean_square():
    graph, scores = graph_of(models.article(conv1=2, conv2=3, fc1=4)), torch.tensor([1.0, 2.0, 4.0])
    assert comparable(graph, "conv2", scores, False).tolist() == [1, 2, 4]
    assert comparable(graph, "conv2", scores, True) ** 2 == pytest.approx([1 / 7, 4 / 7, 16 / 7])
    assert comparable(graph, "conv2", 0 * scores, True).tolist() == [0, 0, 0]


def test_the_living_weights_without_a_module_and_single_layers_stay():
    class ByHand(nn.Module):
        def __init__(self):
            super().__init__()
            self.w1, self.last = nn.Parameter(torch.randn(4, 8)), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(nn.functional.linear(x, self.w1))

    for model in (ByHand(), nn.Linear(8, 2)):
        assert same(drop_dead(model, torch.zeros(1, 8)), model)
    assert same(drop_dead(network("residual")), network("residual"))


def test_batches_may_come_once():
    model = network("article")
    parts = (some_images()[i : i + 4] for i in (0, 4))
    assert same(
        prune_neurons(model, criteria.mean_activation, 0.5, batches=parts),
        prune_neurons(model, criteria.mean_activation, 0.5, batches=some_images()),
    )
