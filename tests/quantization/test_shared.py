"""Shared weights: a centroid learns from all its weights, zero stays zero, freezing changes nothing."""

import numpy as np
import pytest
import torch
from torch import nn

import compresslab as cl
from compresslab.quantization.fake import LearnedCodebook


def weights(rows: int = 3, columns: int = 40) -> torch.Tensor:
    drawn = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    return torch.where(drawn.abs() < 0.6, 0.0, drawn)


def student(scheme: cl.KMeans) -> nn.Module:
    model = nn.Sequential(nn.Linear(40, 3))
    model[0].weight.data = weights()
    return cl.fake_quantize(model, scheme, learned_step=True)


@pytest.mark.parametrize("granularity", [cl.PerTensor(), cl.PerChannel(), cl.PerGroup(16)], ids=str)
def test_a_centroid_learns_the_sum_of_its_weights_gradients(granularity):
    shared = LearnedCodebook(cl.KMeans(2, granularity), weights())
    upstream = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
    shared(weights()).backward(upstream)
    start = 0
    for codes, gradients in zip(granularity.split(shared.codes), granularity.split(upstream), strict=True):
        for code, gradient in zip(codes.numpy(), gradients.double().numpy(), strict=True):
            expected = np.bincount(code, weights=gradient, minlength=4)
            # at most 120 float32 terms of magnitude below 4, each sum rounded to 2**-24 of at most 480
            bound = 120 * 480 * 2**-24
            assert np.abs(shared.centroids.grad[start].numpy() - expected).max() <= bound
            start += 1


def test_a_kept_zero_is_a_level_and_does_not_learn():
    shared = LearnedCodebook(cl.KMeans(2, keep_zero=True), weights())
    shared(weights()).sum().backward()
    zero = shared.centroids[0] == 0
    assert int(zero.sum()) == 1
    assert shared.centroids.grad[0][zero].item() == 0
    assert torch.equal(shared(weights())[weights() == 0], weights()[weights() == 0])


def test_freezing_gives_what_training_used_in_order_again():
    model = student(cl.KMeans(3, keep_zero=True))
    centroids = model[0].parametrizations.weight[0].centroids
    with torch.no_grad():
        nonzero = (centroids != 0).nonzero()[:, 1]
        centroids[0, nonzero] = centroids[0, nonzero.flip(0)]  # learning may cross any two of them
    frozen = cl.quantize(model)
    levels = frozen[0].quantized.levels
    assert torch.equal(frozen[0].weight, model[0].weight)
    assert torch.equal(levels, levels.sort(dim=1).values)


def test_only_the_centroids_and_the_bias_move():
    model = student(cl.KMeans(2))
    before, original = model[0].weight.detach().clone(), model[0].parametrizations.weight.original.clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.ones(2, 40)).sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, before)
    assert torch.equal(model[0].parametrizations.weight.original, original)
    assert len(model[0].weight.unique()) <= 4


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_kept_zeros_survive_clustering_and_a_row_of_zeros_is_zeros(bits):
    rows = torch.cat([weights(), torch.zeros(1, 40)])
    decoded = cl.KMeans(bits, cl.PerChannel(), keep_zero=True).quantize(rows).dequantize()
    assert torch.equal(decoded[rows == 0], rows[rows == 0])
    assert torch.equal(decoded[3], rows[3])
