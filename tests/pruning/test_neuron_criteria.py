"""Criteria of neurons: scores equal naive loops and finite differences."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from compresslab import criteria
from compresslab.training.batching import Split
from tests.ignoring import calibrated
from tests.samples import network

SEEING = [criteria.mean_activation, criteria.apoz, criteria.activation_variance]


def some_images(count=7):
    generator = torch.Generator().manual_seed(4)
    images = torch.rand((count, 1, 28, 28), generator=generator, dtype=torch.float64)
    return Split(images, torch.arange(count) % 3)


def doubles(name):
    return calibrated(network(name).double(), some_images().images)


def heard(model, layer, images):
    """The output of a module, one image at a time, by a hook of the test's own."""
    outputs = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda _m, _i, out: outputs.append(out.detach())
    )
    with torch.no_grad():
        for image in images:
            model(image[None])
    handle.remove()
    return outputs


PLACES = {
    "article": {"conv1": "relu1", "conv2": "relu2", "fc1": "relu3"},
    "residual": {
        "conv1": "relu1",
        "blocks.0.conv1": "blocks.0.relu1",
        "blocks.0.conv2": "blocks.0.relu2",
        "blocks.1.conv2": "blocks.1.relu2",
        "blocks.1.shortcut": "blocks.1.relu2",
    },
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("criterion", SEEING)
def test_what_is_seen_equals_a_naive_loop(name, criterion):
    """Value by value, in plain Python, after the activation function that follows the layer."""
    model, data = doubles(name), some_images()
    scores = criterion(model, data.images)
    for layer, place in PLACES[name].items():
        outputs = heard(model, place, data.images)
        for neuron in range(outputs[0].shape[1]):
            values = [value for out in outputs for value in out[0, neuron].flatten().tolist()]
            mean = sum(values) / len(values)
            expected = {
                criteria.mean_activation: sum(map(abs, values)) / len(values),
                criteria.apoz: 1 - sum(value == 0 for value in values) / len(values),
                criteria.activation_variance: sum((value - mean) ** 2 for value in values) / len(values),
            }[criterion]
            # doubles, at most 5,488 of them summed in another order
            assert scores[layer][neuron].item() == pytest.approx(expected, rel=1e-11, abs=1e-14)


class Factor(nn.Module):
    """Multiply one neuron by a number."""

    def __init__(self, neuron, factor):
        super().__init__()
        self.neuron, self.factor = neuron, factor

    def forward(self, x):
        scale = torch.ones(x.shape[1], dtype=x.dtype)
        scale[self.neuron] = self.factor
        return x * scale.reshape(-1, *[1] * (x.dim() - 2))


def loss_with(model, place, neuron, factor, data):
    changed = copy.deepcopy(model)
    parent, _, leaf = place.rpartition(".")
    holder = changed.get_submodule(parent)
    setattr(holder, leaf, nn.Sequential(getattr(holder, leaf), Factor(neuron, factor)))
    with torch.no_grad():
        return functional.cross_entropy(changed(data.images), data.labels, reduction="none")


@pytest.mark.parametrize("name", PLACES)
def test_taylor_is_the_change_of_the_loss_under_zeroing_to_first_order(name):
    """A factor of 1 - e on the neuron takes e of it away; the slope at e = 0 is what the score estimates."""
    model, data, step = doubles(name), some_images(), 1e-5
    scores = criteria.taylor(model, data)
    for layer, place in PLACES[name].items():
        for neuron in range(len(scores[layer])):
            up, down = (loss_with(model, place, neuron, 1 + e, data) for e in (step, -step))
            expected = ((up - down) / (2 * step)).abs().mean()
            # curvature leaves step^2, rounding 1e-16 / step
            assert scores[layer][neuron].item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-9)


def test_zeroing_one_of_many_small_neurons_changes_the_loss_by_its_score():
    """Not only the slope: where a neuron says little, the whole step to zero is as long as the score."""
    model, data = doubles("article"), some_images(1)
    with torch.no_grad():
        model.fc2.weight *= 1e-3
    scores = criteria.taylor(model, data)["fc1"]
    without = [loss_with(model, "relu3", neuron, 0.0, data) for neuron in range(len(scores))]
    whole = functional.cross_entropy(model(data.images), data.labels)
    changes = torch.stack([(loss - whole).abs()[0] for loss in without])
    assert scores.max() > 0
    assert torch.allclose(changes, scores, rtol=0.02, atol=1e-9)  # the second order is a hundredth of it


def test_the_weight_form_is_taylor_without_cancelling():
    """By Euler's rule for ReLU: sum of w * dL/dw and b * dL/db of a neuron is that of a * dL/da."""
    model, data = doubles("article"), some_images()
    one_by_one = [criteria.taylor(model, data[i : i + 1]) for i in range(len(data))]
    weights = criteria.taylor_weights(model, data)
    single = criteria.taylor_weights(model, data[:1])
    for layer in PLACES["article"]:
        assert torch.allclose(single[layer], one_by_one[0][layer], rtol=1e-9)
        assert (weights[layer] <= criteria.taylor(model, data)[layer] * (1 + 1e-9)).all()
    signed = []
    for place, neuron in (("relu3", 0), ("relu2", 1)):
        up, down = (loss_with(model, place, neuron, 1 + e, data).mean() for e in (1e-5, -1e-5))
        signed.append(((up - down) / 2e-5).abs().item())
    found = [weights["fc1"][0].item(), weights["conv2"][1].item()]
    assert found == pytest.approx(signed, rel=1e-6, abs=1e-9)


def test_mean_gradient_is_what_autograd_says_one_image_at_a_time():
    model, data = doubles("article"), some_images()
    scores, sums = criteria.mean_gradient(model, data), {}
    kept = {}
    for name in PLACES["article"].values():
        model.get_submodule(name).register_full_backward_hook(
            lambda _m, _i, out, name=name: kept.__setitem__(name, out[0])
        )
    for i in range(len(data)):
        functional.cross_entropy(model(data.images[i : i + 1]), data.labels[i : i + 1]).backward()
        for layer, name in PLACES["article"].items():
            sums[layer] = (
                sums.get(layer, 0) + kept[name].abs().flatten(2).mean(2)[0]
                if "conv" in layer
                else (sums.get(layer, 0) + kept[name].abs()[0])
            )
    for layer, total in sums.items():
        assert torch.allclose(scores[layer], total / len(data), rtol=1e-10, atol=1e-15)


def test_norms_and_live_inputs_count_the_incoming_weights():
    model = network("residual")
    with torch.no_grad():
        model.blocks[0].conv1.weight[:, 0] = 0
    rows = {n: m.weight.detach() for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    for name, rows_ in rows.items():
        for neuron, row in enumerate(rows_):
            values = row.flatten().tolist()
            assert criteria.l1_norm(model)[name][neuron].item() == pytest.approx(
                sum(map(abs, values)), rel=1e-5
            )
            square = sum(value**2 for value in values)
            assert criteria.l2_norm(model)[name][neuron].item() == pytest.approx(square**0.5, rel=1e-5)
    assert criteria.live_inputs(model)["blocks.0.conv1"].tolist() == pytest.approx([2 / 3] * 2)
    scales = criteria.norm_scale(model)
    assert torch.equal(scales["blocks.1.shortcut"], model.blocks[1].norm3.weight.abs())
    assert "fc1" not in scales


def test_inputs_come_second_in_a_transposed_convolution():
    layer = nn.ConvTranspose2d(2, 3, 2, bias=False)
    scores = criteria.l1_norm(nn.Sequential(layer))["0"]
    assert torch.allclose(scores, layer.weight.abs().sum((0, 2, 3)))


def test_functional_activations_in_place_are_seen_after_them():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.fc(functional.relu(self.conv(x), inplace=True).mean((2, 3)))

    model, data = InPlace().double().eval(), some_images()
    with torch.no_grad():
        values = model.conv(data.images).relu()
    assert torch.allclose(criteria.mean_activation(model, data)["conv"], values.mean((0, 2, 3)))
    zeros = (values == 0).double().mean((0, 2, 3))
    assert torch.allclose(criteria.apoz(model, data)["conv"], 1 - zeros)
    assert criteria.taylor(model, data)["conv"].gt(0).any()
