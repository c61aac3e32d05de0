"""One notion of a weight: which parameters are, what each is called, and which of them a mapping means."""

import pytest
import torch
from samples import network
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from compresslab.errors import CompressionError
from compresslab.models.parameters import assigned, layer_weights


class Own(nn.Module):
    """A layer of the user's own, with a weight, a scale of one long axis, and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.scale = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(1, 4, 1, 1))
        self.bias = nn.Parameter(torch.ones(3))


class Token(nn.Module):
    """A module that holds a layer, and a parameter beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.layer = nn.Parameter(torch.ones(1, 5, 4)), nn.Linear(4, 4)


class Adapted(nn.Linear):
    """A layer that brings more weights than its parent."""

    def __init__(self) -> None:
        super().__init__(4, 1)
        self.left = nn.Parameter(torch.ones(4, 2))


def names(model: nn.Module) -> list[str]:
    return [weight.name for weight in layer_weights(nn.Sequential(model))]


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        *[(kind(2, 3, 1), {"0": 0}) for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Bilinear)],
        *[(kind(2, 3, 1), {"0": 1}) for kind in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)],
        (nn.Linear(1, 1), {"0": 0}),
        (nn.Embedding(9, 4), {"0": 0}),
        (nn.EmbeddingBag(9, 4), {"0": 0}),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), {"0.in_proj_weight": 0, "0.out_proj": 0}),
        (
            nn.MultiheadAttention(4, 2, kdim=3),
            {"0.q_proj_weight": 0, "0.k_proj_weight": 0, "0.v_proj_weight": 0, "0.out_proj": 0},
        ),
        (nn.LSTM(3, 4, proj_size=2), {f"0.weight_{kind}_l0": 0 for kind in ("ih", "hh", "hr")}),
        (
            nn.GRU(3, 4, bidirectional=True),
            {f"0.weight_{kind}_l0{end}": 0 for end in ("", "_reverse") for kind in ("ih", "hh")},
        ),
        (nn.GRUCell(3, 4), {"0.weight_ih": 0, "0.weight_hh": 0}),
        *[(norm, {}) for norm in (nn.BatchNorm2d(3), nn.LayerNorm((2, 3)), nn.GroupNorm(1, 2), nn.PReLU(3))],
        (Own(), {"0.kernel": 0}),
        (Token(), {"0.layer": 0}),
        (Adapted(), {"0": 0, "0.left": 0}),
        (nn.LazyLinear(3), {"0": 0}),
        (parametrizations.weight_norm(nn.Linear(4, 2)), {"0": 0}),
        (prune.identity(nn.Linear(4, 2), "weight"), {"0": 0}),
        (weight_norm(nn.Linear(4, 2)), {"0": 0}),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, nn.Module) else "",
)
def test_every_kind_of_layer_gives_its_weights_and_the_axis_of_their_channels(layer, found):
    weights = layer_weights(nn.Sequential(layer))
    assert {weight.name: weight.axis for weight in weights} == found


def test_a_model_that_is_a_layer_gives_its_weight_the_empty_name_and_one_in_two_places_has_two():
    assert layer_weights(nn.Linear(2, 2))[0].name == ""
    assert layer_weights(nn.GRU(2, 2))[0].name == "weight_ih_l0"
    shared = nn.Linear(2, 2)
    (weight,) = layer_weights(nn.Sequential(shared, nn.ReLU(), shared))
    assert weight.names == ("0", "2")
    assert weight.value is shared.weight


@pytest.mark.parametrize(
    "helper", [lambda layer: prune.identity(layer, "weight"), parametrizations.orthogonal]
)
def test_a_weight_that_is_computed_is_refused_with_its_remedy(helper):
    (weight,) = layer_weights(nn.Sequential(helper(nn.Linear(4, 4))))
    with pytest.raises(CompressionError, match=r"layer '0' is computed.*remove_param.*prune\.remove"):
        weight.refuse_computed()
    (plain,) = layer_weights(nn.Linear(4, 4))
    plain.refuse_computed()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"*": 1}, {"conv1": 1, "blocks.0.conv1": 1, "blocks.1.shortcut": 1, "fc1": 1}),
        ({"fc1": 1, "*": 2}, {"fc1": 1, "conv1": 2}),
        ({"*": 2, "blocks.1": 1}, {"blocks.1.conv1": 1, "blocks.1.shortcut": 1, "blocks.0.conv1": 2}),
        ({"blocks": 3, "blocks.1": 1, "blocks.1.conv1": 2}, {"blocks.1.conv1": 2, "blocks.1.conv2": 1}),
        ({"blocks": 3, "blocks.1": 1, "fc1": 0}, {"blocks.0.conv1": 3, "conv1": None}),
        ({"*.conv1": 1, "blocks.?.conv2": 2}, {"blocks.0.conv1": 1, "blocks.1.conv2": 2, "conv1": None}),
        ({"*conv1": 1, "blocks.*": 2}, {"blocks.0.conv1": 1, "blocks.0.conv2": 2, "conv1": 1}),
        ({nn.Conv2d: 1, "*": 2}, {"conv1": 1, "fc1": 2}),
        ({nn.Module: 3, nn.Linear: 1}, {"fc1": 3}),
        ({nn.Conv2d: 1, "blocks.*": None}, {"conv1": 1, "blocks.0.conv1": None, "fc1": None}),
    ],
    ids=str,
)
def test_a_mapping_means_names_then_modules_then_patterns_then_types_then_all_others(wanted, found):
    chosen = {w.name: value for w, value in assigned(layer_weights(network("residual")), wanted).items()}
    assert {name: chosen.get(name) for name in found} == found


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"conv9": 1}, r"no layer 'conv9'; there are \*, conv1"),
        ({"relu1": 1}, "no layer 'relu1'"),
        ({"decoder.*": 1}, r"no layer 'decoder\.\*'"),
        ({nn.LSTM: 1}, "no layer of type LSTM"),
        ({3: 1}, "no layer 3"),
    ],
)
def test_a_key_that_means_nothing_is_refused_in_few_words(wanted, words):
    model = nn.ModuleDict({"net": network("residual"), "deep": nn.Sequential(*[nn.Linear(1, 1)] * 500)})
    with pytest.raises(CompressionError, match=words.replace("conv1", r"net\.conv1")) as refusal:
        assigned(layer_weights(model), wanted)
    assert len(str(refusal.value)) < 500
