"""Norms that were measured anew standardise the images that they saw, and nothing else has changed."""

import copy

import pytest
import torch
from torch import nn

from compresslab import criteria, data, models
from compresslab.errors import CompressionError
from compresslab.pruning.neurons import prune_neurons
from compresslab.surgery.norms import remeasure_norms

IMAGES = data.digits().train[:100].images


def said(model, name, images):
    found = []
    handle = model.get_submodule(name).register_forward_hook(lambda *call: found.append(call[2]))
    with torch.no_grad():
        model(images)
    handle.remove()
    return found[0].transpose(0, 1).flatten(1)


def test_every_norm_of_a_cut_network_standardises_what_it_reads():
    """As in training: also what the norms before it have changed is seen as it then is."""
    cut = prune_neurons(models.residual(), criteria.l2_norm, 0.5)
    right = remeasure_norms(cut, IMAGES)
    for name, norm in right.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            values, old = said(right, name, IMAGES), said(cut.eval(), name, IMAGES)
            assert values.mean(1).abs().max() < 1e-3  # a mean taken off in float32, over a small deviation
            # eps = 1e-5 is added to variances; the smallest here is 0.005.
            assert (values.var(1) - 1).abs().max() < 1e-2
            assert (old.var(1) - 1).abs().max() > 0.5


def test_statistics_are_averages_over_parts_of_a_hundred():
    torch.manual_seed(0)
    net, images = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()), torch.randn(250, 3)
    parts = images.split(100)
    norm = remeasure_norms(net, images)[0]
    # Means of numbers around 1 in float32, each rounded to 6e-8, in another order.
    assert norm.running_mean == pytest.approx(sum(part.mean(0) for part in parts) / 3, abs=1e-6)
    assert norm.running_var == pytest.approx(sum(part.var(0) for part in parts) / 3, abs=1e-6)


def test_the_argument_and_all_weights_stay():
    model = models.residual().train()
    before = copy.deepcopy(model.state_dict())
    result = remeasure_norms(model, IMAGES)
    assert model.training
    assert not any(module.training for module in result.modules())
    assert [m.momentum for m in result.modules() if isinstance(m, nn.BatchNorm2d)] == [0.1] * 9
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    changed = {name for name, value in result.state_dict().items() if not torch.equal(before[name], value)}
    assert {name.rpartition(".")[2] for name in changed} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


class Two(nn.Module):
    """Add two inputs, of which the second has a name."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, left, *, right):
        return self.norm(left + right)


def test_a_network_of_several_inputs_in_doubles_is_measured_as_well():
    left, right = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0))
    small = remeasure_norms(Two().double(), {"left": left, "right": right})
    wanted = (left + right).double().mean(0)
    assert torch.allclose(small.norm.running_mean, wanted, atol=1e-6)  # the inputs are of single precision


def test_without_images_it_is_refused():
    with pytest.raises(CompressionError, match="remeasure_norms"):
        remeasure_norms(models.residual(), IMAGES[:0])
