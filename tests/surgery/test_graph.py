"""The graph: who goes with whom and why, what is held, and what is refused by name."""

import copy
import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from compresslab import CompressionError, Symmetric, fake_quantize, models, quantize
from compresslab.surgery.cutting import cut
from compresslab.surgery.graph import graph_of
from compresslab.surgery.units import Channels, Tie, components
from compresslab.surgery.walk import Count
from tests.drawn import Coded
from tests.ignoring import law, some_gone
from tests.samples import network

IMAGES = torch.zeros(1, 2, 4, 4)


def maps(function, features=None):
    """Two convolutions and a linear layer, with a function of the maps in between."""
    parts = {"conv": nn.Conv2d(2, 4, 3, padding=1), "other": nn.Conv2d(2, 4, 3, padding=1)}
    parts["norm"] = nn.BatchNorm2d(4)
    between = Coded(lambda net, x: function(net, net.norm(net.conv(x)), net.other(x)), **parts)
    features = between.eval()(IMAGES).shape[1] if features is None else features
    return Coded(lambda net, x: net.fc(between.code(net, x)), **parts, fc=nn.Linear(features, 3)).train()


def groups(model, images=IMAGES):
    return {group.layers: group for group in graph_of(model, images).groups}


def test_the_residual_network_has_the_groups_that_its_drawing_has():
    found = {group.layers: group.neurons for group in graph_of(models.residual()).free}
    assert found == {
        ("conv1", "blocks.0.conv2"): 16,
        ("blocks.0.conv1",): 16,
        ("blocks.1.conv1",): 32,
        ("blocks.1.conv2", "blocks.1.shortcut"): 32,
        ("blocks.2.conv1",): 64,
        ("blocks.2.conv2", "blocks.2.shortcut"): 64,
    }


def test_printing_says_who_goes_together_and_why():
    text = repr(graph_of(models.residual()))
    assert text.startswith("Residual: 6 groups of neurons can be cut, 1 held")
    assert "conv1 + blocks.0.conv2: 16 neurons" in text
    assert "together: add in blocks.0.add joins them" in text
    assert "read by blocks.0.conv1, blocks.1.conv1, blocks.1.shortcut" in text
    assert "held: they are the network's output" in text


def test_printing_names_six_and_counts_the_others():
    for count, end in ((6, "r4, r5\n"), (7, "r4, r5 and 1 more\n")):
        parts = {f"r{number}": nn.Linear(4, 1) for number in range(count)}

        def code(net, x, parts=parts):
            x = net.first(x)
            return [getattr(net, name)(x) for name in parts]

        model = Coded(code, first=nn.Linear(4, 4), **parts)
        assert f"read by r0, r1, r2, r3, {end}" in repr(graph_of(model, IMAGES))


def test_segments_say_what_stands_where():
    graph = graph_of(models.article())
    assert [repr(part) for part in graph.segments("pool1")] == ["conv1[0:32]"]
    assert [repr(part) for part in graph.segments("flatten")] == ["conv2[0:64] x 49"]
    joined = maps(lambda net, x, y: torch.cat([x, y[:, :, :, :], x], 1).flatten(1))
    graph = graph_of(joined, IMAGES)
    assert [repr(part) for part in graph.segments("cat")] == ["conv[0:4]", "other[0:4]", "conv[0:4]"]
    assert graph.segments("x") == ()

    def swapped(net, x, y):
        halves, mean = x.chunk(2, 1), y.mean(1, True)
        return torch.cat([halves[1], halves[0], mean, mean], 1).flatten(1)

    found = [repr(part) for part in graph_of(maps(swapped), IMAGES).segments("cat")]
    assert found == ["conv[2:4]", "conv[0:2]", "fixed[0:2]"]


def test_the_end_of_a_layer_is_where_others_read_it():
    graph = graph_of(models.residual())
    ends = {layer: graph.end_of(layer).name for layer in ("conv1", "blocks.1.conv1", "blocks.1.conv2")}
    assert ends == {"conv1": "relu1", "blocks.1.conv1": "blocks_1_relu1", "blocks.1.conv2": "blocks_1_relu2"}
    assert graph.norm_of("blocks.1.shortcut") == "blocks.1.norm3"


def test_components_are_those_that_a_walk_finds():
    choose = np.random.default_rng(0)
    for count in (1, 2, 9, 60):
        left, right = choose.integers(0, count, (2, count * 2 // 3))
        near = {i: {i} for i in range(count)}
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            joined = near[a] | near[b]
            for i in joined:
                near[i] = joined
        assert components(count, left, right).tolist() == [min(near[i]) for i in range(count)]
    chain = np.arange(9999)
    assert (components(10000, chain, chain + 1) == 0).all()


TIED = {
    "add": lambda net, x, y: (x + y).flatten(1),
    "in place": lambda net, x, y: functional.relu_(x).add_(y).flatten(1),
    "times a gate": lambda net, x, y: (x * y.mean((2, 3), True)).flatten(1),
    "stack": lambda net, x, y: torch.stack([x, y], 1).flatten(1),
    "beside": lambda net, x, y: torch.cat([x, y], 2).flatten(1),
}
FOLLOWED = {
    "cat": lambda net, x, y: torch.cat((x, y), dim=1).mean((2, 3)),
    "axis": lambda net, x, y: torch.cat([x, y], axis=1).mean((2, 3), keepdims=True).flatten(1),
    "parts": lambda net, x, y: torch.cat(x.chunk(2, dim=1)[::-1], axis=1).flatten(1),
    "dims": lambda net, x, y: x.flatten(x.dim() - 3),
    "rank": lambda net, x, y: x.flatten(x.ndim - 3),
    "view": lambda net, x, y: x.view(x.size(0), -1),
    "shape": lambda net, x, y: x.reshape(x.shape[0], x.shape[1] * 16),
    "permute": lambda net, x, y: x.permute(0, 2, 3, 1).mean((1, 2)),
    "transpose": lambda net, x, y: x.transpose(1, 3).flatten(1, 2).mean(1),
    "pool": lambda net, x, y: functional.adaptive_max_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "unsqueeze": lambda net, x, y: x.unsqueeze(1).squeeze(1).amax((2, 3)),
    "pad": lambda net, x, y: functional.pad(x, (1, 1, 0, 0)).mean((2, 3)),
    "zoom": lambda net, x, y: functional.interpolate(x, scale_factor=2).mean([2, 3]),
    "corner": lambda net, x, y: x[:, :, 0, 1:].mean(-1),
    "number": lambda net, x, y: (2 * x / 3 - 1).clamp(min=0).flatten(1),
    "sizes": lambda net, x, y: functional.layer_norm(
        x.transpose(1, 3), (x.size(1),), net.norm.weight, net.norm.bias
    ).mean((1, 2)),
    "places": lambda net, x, y: functional.softmax(x.flatten(2), -1).flatten(1),
}


@pytest.mark.parametrize("name", [*TIED, *FOLLOWED])
def test_what_has_a_rule_is_followed(name):
    model = maps((TIED | FOLLOWED)[name])
    graph = graph_of(model, IMAGES)
    assert (("conv", "other") if name in TIED else ("conv",)) in [group.layers for group in graph.free]
    assert [group.layers for group in graph.groups if group.held] == [("fc",)]
    small = cut(model, graph, some_gone(graph, 0.5), IMAGES)
    assert small(torch.randn(3, 2, 4, 4)).shape == (3, 3)
    assert small.conv.out_channels == small.norm.num_features == 2


HELD = {
    "softmax": (lambda net, x, y: functional.softmax(x, 1).flatten(1), "compares them"),
    "mean": (lambda net, x, y: x.mean(1).flatten(1), "takes them all together"),
    "spread": (lambda net, x, y: x.mean(1, True).expand(-1, 4, 4, 4).flatten(1), "takes them all together"),
    "slice": (lambda net, x, y: x[:, :2].flatten(1), "by place"),
    "half": (lambda net, x, y: x[:, : x.size(1) // 2].flatten(1), "by place"),
    "stripes": (lambda net, x, y: x[:, 1::2].flatten(1), "by place"),
    "the first": (lambda net, x, y: x[:, ::7].flatten(1), "by place"),
    "square": (
        lambda net, x, y: x.mean((2, 3)).unsqueeze(2).expand(-1, -1, x.size(1)).flatten(1),
        "by place",
    ),
    "outer": (lambda net, x, y: (x[:, :1] * y).flatten(1), "by place"),
    "narrow": (lambda net, x, y: x.narrow(1, 0, 2).flatten(1), "by place"),
    "select": (lambda net, x, y: x.select(1, 3).flatten(1), "by place"),
    "roll": (lambda net, x, y: x.roll(1, 1).flatten(1), "by place"),
    "round": (lambda net, x, y: x.roll(4, 1).flatten(1), "by place"),
    "split": (lambda net, x, y: x.split([1, 3], 1)[1].flatten(1), "written in the code"),
    "constant": (lambda net, x, y: (x + torch.ones(4, 1, 1)).flatten(1), "what is not cut"),
    "padded": (lambda net, x, y: functional.pad(x, (0, 0, 0, 0, 0, 2)).flatten(1), "pads them"),
    "bias": (lambda net, x, y: (x * net.conv.bias.sum()).flatten(1), "read by sum"),
    "rows": (lambda net, x, y: (x / net.conv.weight.shape[0]).flatten(1), "read by getattr"),
    "last axis": (lambda net, x, y: x, "works across another axis"),
    "no scales": (lambda net, x, y: functional.group_norm(x, 2).flatten(1), "no tensor that would tell"),
    "running sum": (lambda net, x, y: torch.cumsum(x, 1).flatten(1), r"cumsum (cumsum) has no rule"),
    "matmul": (lambda net, x, y: torch.matmul(x, y).flatten(1), "matmul (matmul) has no rule"),
    "by hand": (lambda net, x, y: (x @ y).flatten(1), "matmul (matmul) has no rule"),
    "einsum": (lambda net, x, y: torch.einsum("bchw,bdhw->bcd", x, y).flatten(1), "(einsum) has no rule"),
    "sorted": (lambda net, x, y: x.sort(1).values.flatten(1), "sort (sort) has no rule"),
    "all as one": (lambda net, x, y: x.view(-1, 64), "their number, 64, is written in the code"),
    "in places": (lambda net, x, y: x.view(-1, 4, 16).flatten(1), "their number, 4, is written in the code"),
    "number": (lambda net, x, y: (x * x.size(1)).flatten(1), "mul computes with their number"),
    "bytes": (lambda net, x, y: (x * x.nbytes).flatten(1), "mul computes with their number"),
    "values": (lambda net, x, y: (x / x[0].numel()).flatten(1), "truediv computes with their number"),
    "strides": (lambda net, x, y: (x * x.stride()[0]).flatten(1), "mul computes with their number"),
    "numel": (lambda net, x, y: (x * 1 * torch.numel(x)).flatten(1), "mul_1 computes with their number"),
    "sizes": (lambda net, x, y: (x - x.shape[1:].numel()).flatten(1), "sub computes with their number"),
    "product": (lambda net, x, y: (x + x.size(1) * x.size(2)).flatten(1), "add computes with their number"),
    "of another": (
        lambda net, x, y: functional.pad(y.mean((1, 2, 3))[:, None], (0, 3)).view(-1, x.size(1)),
        "view gives their number to other values",
    ),
    "mixed": (
        lambda net, x, y: x.permute(0, 2, 3, 1).reshape(x.size(0), -1, 2).mean(2),
        "do not stay together",
    ),
    "no weight": (
        lambda net, x, y: functional.conv2d(x, torch.ones(3, 4, 1, 1)).sum((2, 3)),
        "no weight that is a parameter",
    ),
    "a computed weight": (
        lambda net, x, y: functional.linear(x.mean((2, 3)), net.norm.weight[None] + 1),
        "the weight of linear is computed",
    ),
    "slides": (
        lambda net, x, y: functional.conv2d(x.transpose(1, 3)[:, :2], net.other.weight).flatten(1),
        "slides over the axis of channels",
    ),
    "another axis": (
        lambda net, x, y: functional.group_norm(x.transpose(1, 3), 2).flatten(1),
        "normalises another axis",
    ),
    "across": (lambda net, x, y: functional.max_pool2d(x.transpose(1, 3), 2).flatten(1), "across channels"),
    "turned": (lambda net, x, y: torch.cat([x, y.transpose(1, 2)], 1).flatten(1), "along different axes"),
    "crossed": (lambda net, x, y: (x + y.transpose(1, 2)).flatten(1), "along different axes"),
    "mT": (lambda net, x, y: x.mT.flatten(1), ".mT has no rule"),
    "a computed axis": (lambda net, x, y: x.mean(x.dim() - 1).flatten(1), "arguments of mean are not"),
    "a norm's weight": (
        lambda net, x, y: functional.group_norm(y, 1, net.norm.weight).flatten(1),
        "norm.weight is used in two places",
    ),
    "a norm that is not followed": (  # it asks for its weight before it finds that its bias is computed
        lambda net, x, y: functional.batch_norm(
            y, None, None, net.norm.weight, net.other.bias * 2, True
        ).flatten(1),
        "the values of norm.weight are read by batch_norm",
    ),
    "a scale": (  # of a norm that reads no channels
        lambda net, x, y: functional.layer_norm(torch.ones(1, 4), (4,), x.mean((0, 2, 3))),
        "layer_norm does not pass them on",
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_what_would_make_a_wrong_cut_is_held_with_a_reason(name):
    function, why = HELD[name]
    assert why in "".join(
        group.held or "" for group in graph_of(maps(function), IMAGES).groups if "conv" in group.layers
    )


REFUSED = {
    "cannot trace": lambda net, x, y: x.flatten(1) if x.sum() > 0 else y.flatten(1),
    "fails at 'fc'": lambda net, x, y: x.flatten(1),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_followed_is_refused(message):
    model = maps(REFUSED[message], features=65 if message == "fails at 'fc'" else None)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CompressionError, match=message):
        graph_of(model, IMAGES)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor


def test_answers_under_names_and_counts_are_held():
    parts = {"conv": nn.Conv2d(2, 4, 1), "fc": nn.Linear(4, 4)}
    found = groups(Coded(lambda net, x: Answer(net.fc(net.conv(x).mean((2, 3)))), **parts))
    assert found["fc",].held == "they are the network's output"
    assert found["conv",].held is None
    counted = groups(Coded(lambda net, x: net.conv(x).shape[1], **parts))
    assert counted["conv",].held == "they are the network's output"


def test_a_network_without_anything_to_hold_has_a_graph():
    assert graph_of(nn.Sequential(nn.Flatten()), IMAGES).groups == ()


def hooked():
    model = maps(lambda net, x, y: x.flatten(1))
    model.conv.register_forward_hook(lambda layer, inputs, output: output * 2)
    return model


def hooked_itself():
    model = nn.Sequential(nn.Conv2d(2, 4, 1))
    model.register_forward_hook(lambda layer, inputs, output: output * 2)
    return model


def tied_weights():
    twice = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    twice[1].weight = twice[0].weight
    return twice


LAYER = nn.Linear(4, 4)
LAYERS_HELD = {
    "1.conv has hooks": hooked,
    "1.1 is a transposed convolution in groups": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ConvTranspose2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1)
    ),
    "1.1 is a shared module: it runs 2 times": lambda: nn.Sequential(
        nn.Linear(4, 4), LAYER, nn.ReLU(), LAYER, nn.Linear(4, 4)
    ),
    "1.layer is a shared module: it runs 2 times": lambda: Coded(
        lambda net, x: net.last(net.layer(net.layer(net.first(x)))),
        **{name: nn.Linear(4, 4) for name in ("first", "layer", "last")},
    ),
    "1.0.weight is shared by two layers": tied_weights,
}


@pytest.mark.parametrize("why", LAYERS_HELD)
def test_layers_that_nothing_is_followed_through_hold_what_stands_around_them(why):
    """The rest is cut: a pair of layers in front of it."""
    front = nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 2, 1))
    model = nn.Sequential(front, copy.deepcopy(LAYERS_HELD[why]())).double()
    graph = graph_of(model, IMAGES.double())
    held = [group.held for group in graph.groups if group.held and not group.held.startswith("they are")]
    assert held
    assert any(why in reason for reason in held)
    assert graph.free[0].layers == ("0.0",)
    law(model.eval(), torch.randn(3, 2, 4, 4, dtype=torch.float64), 1e-9)


NOT_CUT = {
    "'weight', which has no shape yet": lambda: nn.Sequential(nn.LazyConv2d(4, 1)),
    "The network has hooks": hooked_itself,
    "prune neurons before quantize": lambda: quantize(network(), Symmetric(4)),
    "a tensor of layer '.+' is computed at every call": lambda: fake_quantize(network(), Symmetric(4)),
    "A tensor of layer '0' is computed at every call": lambda: nn.Sequential(
        parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2)
    ),
}


@pytest.mark.parametrize("message", NOT_CUT)
def test_layers_that_cannot_be_cut_are_refused(message):
    with pytest.raises(CompressionError, match=f"(?i){message}"):
        graph_of(NOT_CUT[message](), IMAGES)


def test_an_unknown_input_is_asked_for():
    with pytest.raises(CompressionError, match="example="):
        graph_of(nn.Linear(2, 3))


@pytest.mark.parametrize("weights", [True, False], ids=["with its weights", "and None in their place"])
def test_attention_is_held_and_what_stands_beside_it_is_cut(weights):
    def code(net, x):
        x = net.inner(x)
        x = x + net.attention(x, x, x, need_weights=weights)[0]
        return net.norm(x + net.down(functional.gelu(net.up(x))))

    parts = {"inner": nn.Linear(4, 8), "attention": nn.MultiheadAttention(8, 2, batch_first=True)}
    parts |= {"up": nn.Linear(8, 16), "down": nn.Linear(16, 8), "norm": nn.LayerNorm(8)}
    found = groups(Coded(code, **parts), torch.zeros(1, 5, 4))
    assert "heads are not cut" in found["inner", "down"].held
    assert found["up",].held is None


def test_a_tensor_made_in_the_forward_method_leaves_nothing_on_the_model():
    model = maps(HELD["constant"][0])
    names = set(vars(model))
    graph_of(model, IMAGES)
    assert set(vars(model)) == names


def test_layers_that_only_training_reaches_are_cut_too():
    def code(net, x):
        x = net.parts["body"](x)
        answer = net.fc(x.mean((2, 3)))
        return (answer, net.parts["aside"](x)) if net.training else answer

    parts = nn.ModuleDict({"body": nn.Conv2d(2, 4, 1), "aside": nn.Conv2d(4, 3, 1)})
    model = Coded(code, parts=parts, fc=nn.Linear(4, 3)).eval()
    graph = graph_of(model, IMAGES)
    assert graph.free[0].readers == ("fc", "parts.aside")
    small = cut(model, graph, some_gone(graph, 0.5), IMAGES)
    assert [answer.shape[1] for answer in small.train()(torch.zeros(2, 2, 4, 4))] == [3, 3]


def test_training_is_followed_only_where_evaluation_leaves_a_layer_out():
    """A layer of one's own, made from one of torch's that has no weights, runs by what it has inside."""

    class Scaled(nn.ReLU):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x):
            return functional.relu(self.norm(x))

    model = nn.Sequential(nn.Conv2d(2, 4, 1), Scaled(), nn.Conv2d(4, 3, 1))
    assert len(graph_of(model, IMAGES).walks) == 1


def test_a_gate_is_heard_before_it_is_spread_over_the_map():
    def code(net, x):
        x = net.conv(x)
        gate = torch.sigmoid(net.gate(x.mean((2, 3), keepdim=True)))
        return net.fc((gate * x).flatten(1))

    graph = graph_of(
        Coded(code, conv=nn.Conv2d(2, 4, 1), gate=nn.Conv2d(4, 4, 1), fc=nn.Linear(64, 3)), IMAGES
    )
    assert graph.free[0].layers == ("conv", "gate")
    assert graph.end_of("gate").name == "sigmoid"


def test_equal_parts_tie_their_channels_in_order():
    """Four channels in two halves, or two rows, are two neurons; two groups of a convolution are two too."""
    halves = maps(lambda net, x, y: torch.cat(x.chunk(2, 1)[::-1], 1).flatten(1))
    rows = maps(lambda net, x, y: x.view(x.size(0), 2, -1, 16).transpose(1, 2).flatten(1))
    grouped = maps(lambda net, x, y: x.flatten(1))
    grouped.norm = nn.Conv2d(4, 4, 1, groups=2)
    for model in (halves, rows, grouped):
        assert {group.neurons for group in graph_of(model, IMAGES).free if "conv" in group.layers} == {2}
    graph = graph_of(halves, IMAGES)
    assert (graph.roots[graph.units.layers["conv"]] == [0, 1, 0, 1]).all()
    graph = graph_of(grouped, IMAGES)
    assert (graph.roots[graph.units.layers["conv"]] == [0, 0, 2, 2]).all()


@pytest.mark.parametrize("make", [partial(Channels, 1), Count, lambda row: Tie(row, row, "add joins them")])
def test_what_holds_rows_is_equal_to_itself_alone(make):
    """Two arrays have no one answer to whether they are equal; a state is told apart by who it is."""
    one, other = make(np.arange(2)), make(np.arange(2))
    assert one != other
    assert len({one, other, one}) == 2


def test_a_layer_without_weights_may_run_more_than_once():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 3), relu, nn.Linear(3, 3), relu, nn.Linear(3, 2))
    assert [group.layers for group in graph_of(model, torch.zeros(2, 4)).free] == [("0",), ("2",)]
