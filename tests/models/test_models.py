"""The book's networks: counts from the literature, equality with references written apart, refusals."""

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn
from torch.nn import functional

from compresslab import models
from compresslab.errors import CompressionError
from compresslab.models.widths import LARGEST_WIDTH
from compresslab.quantization.layers import quantized_like
from compresslab.quantization.uniform import Symmetric

NAMES = ("article", "lenet_300_100", "lenet5", "residual")
every_network = pytest.mark.parametrize("name", NAMES)
# Caffe's LeNet and LeNet-300-100: the counts that Han et al. 2015 round to 431K and 267K; the article's:
# (9 + 1) 32 + (9 * 32 + 1) 64 + (49 * 64 + 1) 100 + (100 + 1) 10
PARAMETERS = {"article": 333_526, "lenet_300_100": 266_610, "lenet5": 431_080}


def images(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(7))


def functional_answers(name: str, w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The networks a second time, as formulas on their state."""

    def linear(layer: str, x: torch.Tensor) -> torch.Tensor:
        return x @ w[f"{layer}.weight"].T + w[f"{layer}.bias"]

    def conv(layer: str, x: torch.Tensor, **how: int) -> torch.Tensor:
        return functional.conv2d(x, w[f"{layer}.weight"], w.get(f"{layer}.bias"), **how)

    def norm(layer: str, x: torch.Tensor) -> torch.Tensor:
        mean, var, scale, shift = (
            w[f"{layer}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    if name == "article":
        x = functional.max_pool2d(conv("conv1", x, padding=1).relu(), 2)
        x = functional.max_pool2d(conv("conv2", x, padding=1).relu(), 2)
        return linear("fc2", linear("fc1", x.reshape(-1, 64 * 7 * 7)).relu())
    if name == "lenet_300_100":
        return linear("fc3", linear("fc2", linear("fc1", x.reshape(-1, 784)).relu()).relu())
    if name == "lenet5":
        x = functional.max_pool2d(conv("conv2", functional.max_pool2d(conv("conv1", x), 2)), 2)
        return linear("fc2", linear("fc1", x.reshape(-1, 50 * 4 * 4)).relu())
    x = norm("norm1", conv("conv1", x, padding=1)).relu()
    for block in range(3):
        at, stride = f"blocks.{block}.", 1 if block == 0 else 2
        inner = norm(at + "norm1", conv(at + "conv1", x, padding=1, stride=stride)).relu()
        inner = norm(at + "norm2", conv(at + "conv2", inner, padding=1))
        around = x if block == 0 else norm(at + "norm3", conv(at + "shortcut", x, stride=stride))
        x = (inner + around).relu()
    return linear("fc1", x.mean((2, 3)))


def warmed(name: str) -> nn.Module:
    """A network whose norm statistics are not the trivial zeros and ones."""
    model = models.build(name, seed=1)
    with torch.no_grad():
        model(images(32))
    return model.eval()


@every_network
def test_counts_are_those_of_the_literature(name):
    count = sum(p.numel() for p in models.build(name).parameters())
    assert count == PARAMETERS[name] if name in PARAMETERS else count < 100_000


@every_network
def test_every_network_equals_its_formula(name):
    model = warmed(name)
    with torch.no_grad():
        got, expected = model(images()), functional_answers(name, model.state_dict(), images())
    assert got.shape == (3, 10)
    # the same sums in another order; float32 sums of at most 3,136 terms of size about 1
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@every_network
def test_every_leaf_is_a_submodule_that_takes_part(name):
    model, seen = models.build(name).eval(), set()
    leaves = {n: m for n, m in model.named_modules() if not list(m.children())}
    for leaf, module in leaves.items():
        module.register_forward_hook(lambda *_, leaf=leaf: seen.add(leaf))
    model(images())
    assert seen == leaves.keys()


@every_network
def test_fx_sees_only_modules_and_one_addition_per_block(name):
    model = warmed(name)
    traced = fx.symbolic_trace(model)
    calls = [node for node in traced.graph.nodes if node.op not in ("placeholder", "output")]
    others = [n.target for n in calls if n.op != "call_module"]
    assert others == [torch.add] * (3 if name == "residual" else 0)
    assert torch.equal(traced(images()), model(images()))


@every_network
def test_weights_come_from_the_seed_alone(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = models.build(name, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = models.build(name, seed=5).state_dict(), models.build(name, seed=6).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    drawn = [k for k in first if "norm" not in k]
    assert not any(torch.equal(first[k], other[k]) for k in drawn)


@pytest.mark.parametrize("network", NAMES)
def test_fresh_weights_follow_torchs_law(network):
    """Against fresh layers of torch itself, by their two first moments and their bound."""
    torch.manual_seed(0)
    for layer in models.build(network).modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        twin = copy.deepcopy(layer)
        twin.reset_parameters()
        theirs_by_name = twin.state_dict()
        for name, ours in layer.state_dict().items():
            theirs = theirs_by_name[name]
            bound, n = layer.weight[0].numel() ** -0.5, ours.numel()
            assert max(ours.abs().max(), theirs.abs().max()) <= bound
            # five standard errors: the mean of n uniform draws, and the mean of their squares
            assert abs(float(ours.mean())) <= 5 * bound / (3 * n) ** 0.5
            square = float((ours / bound).square().mean())
            assert abs(square - 1 / 3) <= 5 * (4 / 45 / n) ** 0.5
            spread = 5 * (2 * 4 / 45 / n) ** 0.5
            assert abs(square - float((theirs / bound).square().mean())) <= spread


@every_network
def test_the_meta_device_allocates_nothing_and_knows_every_shape(name):
    real, meta = models.build(name).state_dict(), models.build(name, device="meta").state_dict()
    assert all(tensor.is_meta for tensor in meta.values())
    assert [(k, v.shape, v.dtype) for k, v in real.items()] == [
        (k, v.shape, v.dtype) for k, v in meta.items()
    ]


def test_the_widest_network_costs_nothing_on_meta():
    model = models.article(*[LARGEST_WIDTH] * 4, device="meta")
    assert sum(p.numel() for p in model.parameters()) * 4 > 3e9  # gigabytes, were they real


width = st.integers(1, 40)


def kwargs_of(name: str) -> st.SearchStrategy[dict]:
    if name != "residual":
        return st.fixed_dictionaries(dict.fromkeys(models.builder_of(models.build(name))[1], width))
    per_block = st.integers(1, 4).map(lambda n: st.lists(width, min_size=n, max_size=n))
    return per_block.flatmap(
        lambda widths: st.fixed_dictionaries(
            {"widths": widths, "inner": widths, "channels": width, "classes": width, "norm": st.booleans()}
        )
    )


@every_network
def test_builder_and_build_are_inverse_through_json(name):
    @settings(deadline=None, max_examples=30)  # a busy machine is not a failure
    @given(kwargs_of(name))
    def law(kwargs):
        found = models.builder_of(models.build(name, kwargs))
        assert found == (name, kwargs)
        again = models.build(found[0], json.loads(json.dumps(found[1])), device="meta")
        assert models.builder_of(again) == found
        assert hash(again.config) == hash(models.build(name, kwargs, device="meta").config)

    law()


def test_builder_of_reads_the_widths_of_a_cut_network():
    model = models.article()
    model.conv1, model.conv2 = nn.Conv2d(1, 20, 3, padding=1), nn.Conv2d(20, 64, 3, padding=1)
    assert models.builder_of(model) == (
        "article",
        {"conv1": 20, "conv2": 64, "fc1": 100, "classes": 10},
    )


def test_builder_of_accepts_quantized_layers():
    model = models.article()
    expected = models.builder_of(model)
    for name in ("conv1", "fc2"):
        layer = getattr(model, name)
        setattr(model, name, quantized_like(layer, Symmetric(bits=4).quantize(layer.weight.detach())))
    assert models.builder_of(model) == expected is not None


def test_builder_of_knows_the_residual_network_with_its_norms_folded():
    model, bare = models.residual(), models.residual(norm=False)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.Conv2d):
                child.bias = nn.Parameter(torch.zeros(child.out_channels))
    name, kwargs = models.builder_of(model)
    assert (name, kwargs["norm"]) == ("residual", False)
    assert model.state_dict().keys() == bare.state_dict().keys()


CHANGES = {
    "activation": {"relu1": nn.Tanh()},
    "cut halfway": {"conv1": nn.Conv2d(1, 20, 3, padding=1)},  # conv2 still reads 32
    "no bias": {"fc2": nn.Linear(100, 10, bias=False)},
    "wrapped": {"conv1": nn.Sequential(nn.Conv2d(1, 32, 3, padding=1))},
    "extra": {"extra": nn.ReLU()},
    "gone": {"fc1": nn.Identity()},
    "pooling": {"pool1": nn.MaxPool2d(2, stride=1)},
    "buffer": {"note": nn.Buffer(torch.zeros(1))},
    # equal weight shapes, another function: a file by name would answer differently
    "stride": {"conv1": nn.Conv2d(1, 32, 3, padding=1, stride=2)},
    "padding": {"conv1": nn.Conv2d(1, 32, 3)},
    "dilation": {"conv1": nn.Conv2d(1, 32, 3, padding=2, dilation=2)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_builder_of_gives_none_for_what_the_builder_would_not_build(change):
    model = models.article()
    for name, part in change.items():
        setattr(model, name, part)
    assert models.builder_of(model) is None


def test_builder_of_gives_none_for_strangers():
    assert models.builder_of(nn.Linear(2, 2)) is None
    assert models.builder_of(fx.symbolic_trace(models.article())) is None


NO_WIDTH = "was asked for classes of a network; give a whole number from 1 to 4,096"
NO_LIST = "was asked for widths of a network; list 1 to 8, one per block"
BAD = (0, -1, True, 1.5, "32", None, [3], LARGEST_WIDTH + 1, 10**30)
REFUSED = [
    *[(n, {"classes": width}, NO_WIDTH) for n in NAMES for width in BAD],
    *[("residual", {"widths": widths}, NO_LIST) for widths in ([], 16, [1] * 9)],
    ("residual", {"inner": "abc"}, "'abc' was asked for inner of a network; list 1 to 8"),
    ("residual", {"inner": [16, 32, 0]}, "0 was asked for inner of a network; give a whole number"),
    ("residual", {"widths": [16, 32, [64]]}, r"\[64\] was asked for widths"),
    ("residual", {"widths": [16, 32]}, "3 inner widths were asked for 2 blocks; give one for each"),
    ("residual", {"channels": (3,)}, r"\(3,\) was asked for channels"),
    *[("residual", {"norm": norm}, "norm of a network; write True or False") for norm in (1, None)],
    *[(n, None, "There is no network .* there are article, lenet_300_100") for n in ("", "Article", "seed")],
    *[(n, None, "There is no network") for n in ("__class__", None, 3, ["article"])],
    *[
        ("article", kwargs, "takes the keywords classes, conv1, conv2, fc1; found")
        for kwargs in ({"conv3": 1}, {"seed": 1}, {"device": "cpu"}, [1], "conv1", {3: 4})
    ],
]


@pytest.mark.parametrize(("name", "kwargs", "words"), REFUSED)
def test_what_is_no_network_is_refused(name, kwargs, words):
    with pytest.raises(CompressionError, match=words):
        models.build(name, kwargs)


@every_network
def test_a_deep_copy_shares_nothing(name):
    model = warmed(name)
    expected, twin = model(images()), copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(twin(images()), expected)


@every_network
def test_the_printed_counts_add_up(name):
    title, *lines = repr(models.build(name)).splitlines()
    last = (line.split()[-1].replace(",", "") for line in lines)
    assert sum(int(count) for count in last if count.isdigit()) == int(title.split()[1].replace(",", ""))
    assert all(len(line) <= 88 for line in lines)


def test_a_linear_layer_on_cosine_coefficients_is_one_on_pixels_with_smooth_weights():
    """The transform is orthonormal, so its transpose turns weights on coefficients into weights on pixels."""
    model = models.lenet_300_100(fc1=7, fc2=3, cosines=5).double().eval()
    pixels = torch.arange(28, dtype=torch.float64)
    waves = torch.stack([torch.cos(torch.pi * (pixels + 0.5) * k / 28) for k in range(5)]) * (2 / 28) ** 0.5
    waves[0] /= 2**0.5
    assert torch.allclose(waves @ waves.T, torch.eye(5, dtype=torch.float64))
    images = torch.rand((2, 1, 28, 28), generator=torch.Generator().manual_seed(0)).double()
    weight = torch.einsum("oij,iy,jx->oyx", model.fc1.weight.reshape(7, 5, 5), waves, waves)
    on_pixels = images.reshape(2, -1) @ weight.reshape(7, -1).T + model.fc1.bias
    seen = []
    model.fc1.register_forward_hook(lambda *values: seen.append(values[2]))
    model(images)
    assert torch.allclose(seen[0], on_pixels, atol=1e-5)


def test_cosines_are_no_state_and_stand_among_the_arguments_where_there_are_some():
    model = models.lenet_300_100(fc1=6, fc2=4, cosines=3)
    assert not [name for name, _ in model.named_buffers()]
    assert models.builder_of(model) == ("lenet_300_100", {"fc1": 6, "fc2": 4, "classes": 10, "cosines": 3})
    assert "cosines" not in models.builder_of(models.lenet_300_100())[1]
    for wrong in (0, 29, 3.0, True):
        with pytest.raises(CompressionError, match="cosines of a network"):
            models.lenet_300_100(cosines=wrong)
