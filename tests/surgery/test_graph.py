"""The graph: who goes with whom and why, what is held, and what is refused by name."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from compresslab import CompressionError, Symmetric, fake_quantize, models, quantize
from compresslab.surgery.cutting import cut
from compresslab.surgery.graph import graph_of
from compresslab.surgery.units import components
from tests.ignoring import some_gone
from tests.samples import network, same

IMAGES = torch.zeros(1, 2, 4, 4)


class Function(nn.Module):
    """Two convolutions and a linear layer, with a function of the maps in between."""

    def __init__(self, function, features=64):
        super().__init__()
        self.conv, self.other = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        self.norm, self.function, self.fc = nn.BatchNorm2d(4), (function,), nn.Linear(features, 3)

    def forward(self, x):
        return self.fc(self.function[0](self, self.norm(self.conv(x)), self.other(x)))


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


def test_segments_say_what_stands_where():
    graph = graph_of(models.article())
    assert [repr(part) for part in graph.segments("pool1")] == ["conv1[0:32]"]
    assert [repr(part) for part in graph.segments("flatten")] == ["conv2[0:64] x 49"]
    joined = Function(lambda net, x, y: torch.cat([x, y[:, :, :, :], x], 1).flatten(1), 192)
    graph = graph_of(joined, IMAGES)
    assert [repr(part) for part in graph.segments("cat")] == ["conv[0:4]", "other[0:4]", "conv[0:4]"]
    assert graph.segments("x") == ()


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


FOLLOWED = {
    "add": (lambda net, x, y: (x + y).flatten(1), 64, [("conv", "other")]),
    "in place": (lambda net, x, y: functional.relu_(x).add_(y).flatten(1), 64, [("conv", "other")]),
    "times a gate": (lambda net, x, y: (x * y.mean((2, 3), True)).flatten(1), 64, [("conv", "other")]),
    "cat": (lambda net, x, y: torch.cat((x, y), dim=1).mean((2, 3)), 8, [("conv",), ("other",)]),
    "stack": (lambda net, x, y: torch.stack([x, y], 1).flatten(1), 128, [("conv", "other")]),
    "axis": (
        lambda net, x, y: torch.cat([x, y], axis=1).mean((2, 3), keepdims=True).flatten(1),
        8,
        [("conv",)],
    ),
    "parts": (lambda net, x, y: torch.cat(x.chunk(2, dim=1)[::-1], axis=1).flatten(1), 64, [("conv",)]),
    "dims": (lambda net, x, y: x.flatten(x.dim() - 3), 64, [("conv",)]),
    "beside": (lambda net, x, y: torch.cat([x, y], 2).flatten(1), 128, [("conv", "other")]),
    "view": (lambda net, x, y: x.view(x.size(0), -1), 64, [("conv",)]),
    "shape": (lambda net, x, y: x.reshape(x.shape[0], x.shape[1] * 16), 64, [("conv",)]),
    "permute": (lambda net, x, y: x.permute(0, 2, 3, 1).mean((1, 2)), 4, [("conv",)]),
    "transpose": (lambda net, x, y: x.transpose(1, 3).flatten(1, 2).mean(1), 4, [("conv",)]),
    "pool": (lambda net, x, y: functional.adaptive_max_pool2d(x, 1).squeeze(-1).squeeze(-1), 4, [("conv",)]),
    "unsqueeze": (lambda net, x, y: x.unsqueeze(1).squeeze(1).amax((2, 3)), 4, [("conv",)]),
    "pad": (lambda net, x, y: functional.pad(x, (1, 1, 0, 0)).mean((2, 3)), 4, [("conv",)]),
    "zoom": (lambda net, x, y: functional.interpolate(x, scale_factor=2).mean([2, 3]), 4, [("conv",)]),
    "corner": (lambda net, x, y: x[:, :, 0, 1:].mean(-1), 4, [("conv",)]),
    "number": (lambda net, x, y: (2 * x / 3 - 1).clamp(min=0).flatten(1), 64, [("conv",)]),
    "norm": (
        lambda net, x, y: functional.layer_norm(
            x.transpose(1, 3), (x.size(1),), net.norm.weight, net.norm.bias
        ).mean((1, 2)),
        4,
        [("conv",)],
    ),
    "places": (lambda net, x, y: functional.softmax(x.flatten(2), -1).flatten(1), 64, [("conv",)]),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_has_a_rule_is_followed(name):
    function, features, free = FOLLOWED[name]
    model = Function(function, features)
    graph = graph_of(model, IMAGES)
    named = [group.layers for group in graph.free]
    assert [layers for layers in free if layers not in named] == []
    small = cut(model, graph, some_gone(graph, 0.5), IMAGES)
    assert small(torch.randn(3, 2, 4, 4)).shape == (3, 3)
    assert small.conv.out_channels == small.norm.num_features == 2


HELD = {
    "softmax": (lambda net, x, y: functional.softmax(x, 1).flatten(1), 64, "compares them"),
    "mean": (lambda net, x, y: x.mean(1).flatten(1), 16, "takes them all together"),
    "slice": (lambda net, x, y: x[:, :2].flatten(1), 32, "by place"),
    "split": (lambda net, x, y: x.split([1, 3], 1)[1].flatten(1), 48, "written in the code"),
    "constant": (lambda net, x, y: (x + torch.ones(4, 1, 1)).flatten(1), 64, "what is not cut"),
    "padded": (lambda net, x, y: functional.pad(x, (0, 0, 0, 0, 0, 2)).flatten(1), 96, "pads them"),
    "bias": (lambda net, x, y: (x * net.conv.bias.sum()).flatten(1), 64, "read by sum"),
    "rows": (lambda net, x, y: (x / net.conv.weight.shape[0]).flatten(1), 64, "read by getattr"),
    "narrow": (lambda net, x, y: x.narrow(1, 0, 2).flatten(1), 32, "by place"),
    "select": (lambda net, x, y: x.select(1, 3).flatten(1), 16, "by place"),
    "roll": (lambda net, x, y: x.roll(1, 1).flatten(1), 64, "by place"),
    "half": (lambda net, x, y: x[:, : x.size(1) // 2].flatten(1), 32, "by place"),
    "stripes": (lambda net, x, y: x[:, 1::2].flatten(1), 32, "by place"),
    "spread": (lambda net, x, y: x.mean(1, True).expand(-1, 4, 4, 4).flatten(1), 64, "all together"),
    "outer": (lambda net, x, y: (x[:, :1] * y).flatten(1), 64, "by place"),
}


@pytest.mark.parametrize("name", HELD)
def test_what_would_make_a_wrong_cut_is_held_with_a_reason(name):
    function, features, why = HELD[name]
    group = groups(Function(function, features))["conv",]
    assert group.held is not None
    assert why in group.held


REFUSED = {
    "no rule for cumsum": (lambda net, x, y: torch.cumsum(x, 1).flatten(1), 64),
    "no rule for matmul": (lambda net, x, y: torch.matmul(x, y).flatten(1), 64),
    "written in the code": (lambda net, x, y: x.view(-1, 64), 64),
    "computes with the number": (lambda net, x, y: (x * x.size(1)).flatten(1), 64),
    "'truediv': it computes with": (lambda net, x, y: (x / x[0].numel()).flatten(1), 64),
    "'mul': it computes with": (lambda net, x, y: (x * x.stride()[0]).flatten(1), 64),
    "'mul_1': it computes with": (lambda net, x, y: (x * 1 * torch.numel(x)).flatten(1), 64),
    "'sub': it computes with": (lambda net, x, y: (x - x.shape[1:].numel()).flatten(1), 64),
    "cannot trace": (lambda net, x, y: x.flatten(1) if x.sum() > 0 else y.flatten(1), 64),
    "do not stay together": (lambda net, x, y: x.permute(0, 2, 3, 1).reshape(x.size(0), -1, 2).mean(2), 32),
    "fails at 'fc'": (lambda net, x, y: x.flatten(1), 65),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_followed_is_refused(message):
    model = Function(*REFUSED[message])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CompressionError, match=message):
        graph_of(model, IMAGES)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor


class Named(nn.Module):
    """Answers in a dataclass, or with a number that follows the channels."""

    def __init__(self, counted=False):
        super().__init__()
        self.conv, self.fc, self.counted = nn.Conv2d(2, 4, 1), nn.Linear(4, 4), counted

    def forward(self, x):
        x = self.conv(x)
        return (self.fc(x.mean((2, 3))), x.shape[1]) if self.counted else Answer(self.fc(x.mean((2, 3))))


def test_answers_under_names_are_held_and_counts_are_no_answers():
    found = groups(Named())
    assert found["fc",].held == "they are the network's output"
    assert found["conv",].held is None
    with pytest.raises(CompressionError, match="the number of channels is an answer"):
        graph_of(Named(counted=True), IMAGES)


def test_hooks_and_lazy_layers_are_refused():
    hooked = Function(lambda net, x, y: x.flatten(1))
    hooked.conv.register_forward_hook(lambda layer, inputs, output: output * 2)
    with pytest.raises(CompressionError, match="'conv' has hooks"):
        graph_of(hooked, IMAGES)
    with pytest.raises(CompressionError, match="'0' has no weights yet"):
        graph_of(nn.Sequential(nn.LazyConv2d(4, 1)), IMAGES)


def test_a_network_without_anything_to_hold_has_a_graph():
    assert graph_of(nn.Sequential(nn.Flatten()), IMAGES).groups == ()


def test_shared_modules_and_weights_are_refused():
    layer = nn.Linear(4, 4)
    with pytest.raises(CompressionError, match="shared module"):
        graph_of(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 4))
    twice = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    twice[1].weight = twice[0].weight
    with pytest.raises(CompressionError, match=r"0\.weight and 1\.weight are one tensor"):
        graph_of(twice, torch.zeros(1, 4))

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(self.layer(x))

    with pytest.raises(CompressionError, match="'layer' is a shared module: it runs 2 times"):
        graph_of(Twice(), torch.zeros(1, 4))


def test_weights_that_cannot_be_cut_are_refused():
    with pytest.raises(CompressionError, match="prune neurons before quantize"):
        graph_of(quantize(network(), Symmetric(4)))
    with pytest.raises(CompressionError, match="computed at every call"):
        graph_of(fake_quantize(network(), Symmetric(4)))
    normed = nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 3)), nn.Linear(3, 2))
    with pytest.raises(CompressionError, match="computed at every call"):
        graph_of(normed, torch.zeros(1, 2))


def test_an_unknown_input_is_asked_for():
    with pytest.raises(CompressionError, match="example="):
        graph_of(nn.Linear(2, 3))


def test_attention_is_held_and_what_stands_beside_it_is_cut():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.attention = nn.Linear(4, 8), nn.MultiheadAttention(8, 2, batch_first=True)
            self.up, self.down, self.norm = nn.Linear(8, 16), nn.Linear(16, 8), nn.LayerNorm(8)

        def forward(self, x):
            x = self.inner(x)
            x = x + self.attention(x, x, x)[0]
            return self.norm(x + self.down(functional.gelu(self.up(x))))

    found = groups(Beside(), torch.zeros(1, 5, 4))
    assert "heads are not cut" in found["inner", "down"].held
    assert found["up",].held is None


def test_making_the_graph_leaves_the_model_as_it_was():
    model = network("residual").train()
    model.norm1.eval()
    before, modes = copy.deepcopy(model), [module.training for module in model.modules()]
    graph_of(model)
    assert same(model, before)
    assert vars(model).keys() == vars(before).keys()
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_tensor_made_in_the_forward_method_leaves_nothing_on_the_model():
    model = Function(HELD["constant"][0])
    names = set(vars(model))
    graph_of(model, IMAGES)
    assert set(vars(model)) == names


def test_layers_that_only_training_reaches_are_cut_too():
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleDict({"body": nn.Conv2d(2, 4, 1), "aside": nn.Conv2d(4, 3, 1)})
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            x = self.parts["body"](x)
            answer = self.fc(x.mean((2, 3)))
            return (answer, self.parts["aside"](x)) if self.training else answer

    model = Aside().eval()
    graph = graph_of(model, IMAGES)
    assert graph.free[0].readers == ("fc", "parts.aside")
    small = cut(model, graph, some_gone(graph, 0.5), IMAGES)
    assert [answer.shape[1] for answer in small.train()(torch.zeros(2, 2, 4, 4))] == [3, 3]


def test_a_gate_is_heard_before_it_is_spread_over_the_map():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate, self.fc = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(64, 3)

        def forward(self, x):
            x = self.conv(x)
            gate = torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
            return self.fc((gate * x).flatten(1))

    graph = graph_of(Gated(), IMAGES)
    assert graph.free[0].layers == ("conv", "gate")
    assert graph.end_of("gate").name == "sigmoid"


def test_equal_parts_tie_their_channels_in_order():
    """Four channels in two halves, or two rows, are two neurons; two groups of a convolution are two too."""
    halves = Function(lambda net, x, y: torch.cat(x.chunk(2, 1)[::-1], 1).flatten(1))
    rows = Function(lambda net, x, y: x.view(x.size(0), 2, -1, 16).transpose(1, 2).flatten(1))
    grouped = Function(lambda net, x, y: x.flatten(1))
    grouped.norm = nn.Conv2d(4, 4, 1, groups=2)
    for model in (halves, rows, grouped):
        assert {group.neurons for group in graph_of(model, IMAGES).free if "conv" in group.layers} == {2}
    graph = graph_of(halves, IMAGES)
    assert (graph.roots[graph.units.layers["conv"]] == [0, 1, 0, 1]).all()
    graph = graph_of(grouped, IMAGES)
    assert (graph.roots[graph.units.layers["conv"]] == [0, 0, 2, 2]).all()
