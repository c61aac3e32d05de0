"""Verbs that mend a network without training: against a layer's arithmetic, and on the book's networks."""

import time
from itertools import pairwise

import pytest
import torch
from samples import images, network
from torch import nn

from compresslab.errors import CompressionError
from compresslab.pruning import criteria
from compresslab.pruning.weights import prune_weights
from compresslab.quantization.clipping import LeastSquares
from compresslab.quantization.folding import fold_norms
from compresslab.quantization.granularity import PerChannel, PerTensor
from compresslab.quantization.quantizing import quantize
from compresslab.quantization.uniform import Symmetric
from compresslab.repairing.equalizing import equalize
from compresslab.repairing.mending import correct_biases, mend
from compresslab.repairing.moments import columns_of, places_of
from compresslab.repairing.reconstructing import more_of, reconstruct
from compresslab.repairing.rounding import AdaptiveRounding, ColumnByColumn
from compresslab.repairing.without_data import mean_after_relu, quantize_without_data
from compresslab.surgery.dead import drop_dead
from compresslab.teaching import checkpoints
from compresslab.training.accuracy import evaluate
from compresslab.training.datasets import digits

TWO_BITS = Symmetric(2, PerChannel(), LeastSquares())
LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (5, 6)),
    "linear on a sequence": (lambda: nn.Linear(6, 4), (5, 3, 6)),
    "convolution": (lambda: nn.Conv2d(4, 6, 3, padding=1), (2, 4, 7, 6)),
    "strided, dilated": (lambda: nn.Conv2d(4, 6, (3, 2), stride=2, dilation=2), (2, 4, 9, 8)),
    "in groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 7, 6)),
    "of each channel": (lambda: nn.Conv2d(4, 8, 3, padding="same", groups=4), (2, 4, 7, 6)),
    "around the border": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 7, 6)),
    "over one axis": (lambda: nn.Conv1d(4, 6, 3, padding=2, stride=2, groups=2), (2, 4, 9)),
}


def error(model, reference, inputs):
    with torch.no_grad():
        return float((model(inputs) - reference(inputs)).square().mean())


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_its_weights_times_its_columns(name):
    made, shape = LAYERS[name]
    torch.manual_seed(0)
    layer, x = made(), torch.rand(shape)
    columns, outputs = columns_of(layer, x), places_of(layer, layer(x))
    weights = layer.weight.flatten(1).unflatten(0, (len(columns), -1))
    bias = layer.bias.reshape(len(columns), 1, -1)
    torch.testing.assert_close(columns @ weights.mT + bias, outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("rounding", [ColumnByColumn(), AdaptiveRounding()])
def test_a_reconstructed_layer_answers_nearer_than_a_rounded_one(name, rounding):
    made, shape = LAYERS[name]
    torch.manual_seed(1)
    net, x = nn.Sequential(made()), torch.rand((40, *shape[1:]))
    plain, found = quantize(net, TWO_BITS), reconstruct(net, TWO_BITS, x, rounding=rounding)
    assert error(found, net, x) < error(plain, net, x)
    assert found[0].quantized.scheme == TWO_BITS


@pytest.mark.parametrize("name", LAYERS)
def test_a_mended_layer_answers_nearer_and_keeps_its_zeros(name):
    made, shape = LAYERS[name]
    torch.manual_seed(2)
    net, x = nn.Sequential(made()), torch.rand((40, *shape[1:]))
    pruned = prune_weights(net, criteria.magnitude, 0.5)
    found = mend(pruned, net, x, damping=1e-3)
    assert torch.equal(found[0].weight == 0, pruned[0].weight == 0)
    assert error(found, net, x) < error(pruned, net, x)


def test_a_layer_also_undoes_what_those_before_it_do():
    """The second layer alone is exact in 8 bits; it still has to change, for what the first one gives."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)), torch.rand(200, 8)
    schemes = {"0": Symmetric(2, PerChannel()), "2": Symmetric(8, PerChannel())}
    found = reconstruct(net, schemes, x, rounding=ColumnByColumn(damping=0.01))
    alone = nn.Sequential(found[0], nn.ReLU(), quantize(net, schemes)[2])
    assert error(found, net, x) < 0.8 * error(alone, net, x)


def test_what_cannot_be_reconstructed_is_named_or_rounded():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 2, 2), nn.Flatten(), nn.Linear(1458, 2))
    with pytest.raises(CompressionError, match="These weights cannot be reconstructed: 1"):
        reconstruct(net, TWO_BITS, images())
    found = reconstruct(net, TWO_BITS, images(), plain=True)
    assert torch.equal(found[1].quantized.codes, quantize(net, TWO_BITS)[1].quantized.codes)


def test_without_images_nothing_is_repaired():
    for verb in (
        lambda: reconstruct(network(), TWO_BITS, torch.zeros(0, 1, 28, 28)),
        lambda: mend(network(), network(), []),
        lambda: correct_biases(network(), network(), []),
    ):
        with pytest.raises(CompressionError, match="needs to see images"):
            verb()


def test_a_network_of_other_shapes_is_no_reference():
    with pytest.raises(CompressionError, match="mend before neurons are cut"):
        mend(network("article"), network("lenet5"), images())


def test_corrected_biases_give_every_layer_its_mean_back():
    net, x = network("residual"), images()
    crude = quantize(net, Symmetric(2))
    found = correct_biases(crude, net, x)
    means = [one(x).mean(0) for one in (net, crude, found)]
    assert (means[0] - means[2]).abs().max() < 1e-4 < (means[0] - means[1]).abs().max()


@pytest.mark.parametrize("name", ["article", "lenet_300_100", "lenet5", "residual"])
def test_equal_ranges_change_no_answer(name):
    net, x = fold_norms(network(name)), images()
    found = equalize(net)
    with torch.no_grad():
        torch.testing.assert_close(found(x), net(x), rtol=1e-5, atol=1e-5)
    layers = [one for one in found.modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    if name == "lenet_300_100":
        for before, after in pairwise(layers):
            made, read = before.weight.abs().amax(1), after.weight.abs().amax(0)
            torch.testing.assert_close(made, read, rtol=1e-3, atol=1e-5)  # twenty rounds are nearly at rest


def test_equal_ranges_save_a_network_whose_channels_differ_widely():
    """One grid for a whole tensor: channels that differ by a factor of 10,000 leave most of them zero."""
    torch.manual_seed(0)
    net, x = network("lenet_300_100"), images()
    factor = torch.logspace(-2, 2, len(net.fc1.weight))
    with torch.no_grad():
        net.fc1.weight.mul_(factor[:, None])
        net.fc1.bias.mul_(factor)
        net.fc2.weight.div_(factor)
    scheme = Symmetric(6, PerTensor())
    assert error(quantize(equalize(net), scheme), net, x) < error(quantize(net, scheme), net, x) / 10


def test_nothing_to_equalize_is_said():
    with pytest.raises(CompressionError, match="no two layers"):
        equalize(nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 2)))


def test_the_mean_after_a_relu_is_that_of_many_draws():
    draws = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
    for mean, spread in ((0.5, 2.0), (-1.0, 0.7), (0.0, 0.0), (2.0, 0.0)):
        found = mean_after_relu(torch.tensor([mean]), torch.tensor([spread]))
        # 400,000 draws: three standard errors are below 0.01
        assert abs(float(found) - float((mean + spread * draws).relu().mean())) < 0.01


def test_norms_alone_correct_the_mean_error_of_their_readers():
    """The norm has measured the inputs that are compared, so its memory of them is right."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1)
    )
    x = torch.randn(64, 3, 12, 12)
    nn.init.normal_(net[1].weight)
    nn.init.normal_(net[1].bias)
    net[1].momentum = None
    net.train()(x)
    net.eval()
    scheme = {"3": Symmetric(2), "*": Symmetric(8)}
    found = quantize_without_data(net, scheme)
    plain = quantize(equalize(fold_norms(net)), scheme)
    assert not torch.equal(plain[3].bias, found[3].bias)
    assert error(found, net, x) < error(plain, net, x)


def test_zeroed_neurons_are_mended_and_dropped():
    data, net = digits(), checkpoints.load("lenet_300_100")
    fewer = checkpoints.load("lenet_300_100")
    gone = net.fc1.weight.norm(dim=1).argsort()[:150]
    with torch.no_grad():
        fewer.fc1.weight[gone], fewer.fc1.bias[gone] = 0, 0
    seen = more_of(data.train[:64], 6, torch.Generator().manual_seed(0))
    mended = drop_dead(mend(fewer, net, seen))
    assert mended.config.fc1 == 150
    assert evaluate(mended, data.test).correct >= evaluate(fewer, data.test).correct


@pytest.mark.parametrize(
    ("name", "images", "times", "draws", "least"),
    [
        ("lenet_300_100", 8, 47, 2, 926 - 5),
        ("lenet_300_100", 64, 6, 2, 945),
        ("lenet_300_100", 512, 0, 1, 955),
        ("lenet5", 64, 6, 1, 975),
        ("article", 64, 6, 1, 970),
    ],
)
def test_two_bits_without_training_reach_their_marks(name, images, times, draws, least):
    """The marks are means over draws of the images; the record of chapter 19 has more draws.

    Ten seconds of the processor are enough for each network, whatever else the machine does.
    """
    data, net, right = digits(), checkpoints.load(name), 0
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        drawn = data.train[torch.randperm(len(data.train), generator=generator)[:images]]
        since = time.process_time()
        found = reconstruct(net, TWO_BITS, more_of(drawn, times, generator))
        assert time.process_time() - since < 10
        right += evaluate(found, data.test).correct
    assert right / draws >= least
