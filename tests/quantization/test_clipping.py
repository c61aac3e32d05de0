"""Where a grid ends: percentiles as numpy's, least squares as brute force finds them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import asymmetric, few, matrices, ordinary, symmetric

from compresslab.quantization.clipping import LeastSquares, MinMax, Percentile
from compresslab.quantization.granularity import PerChannel, PerTensor
from compresslab.quantization.uniform import Asymmetric, Symmetric


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def squared_errors(scheme, weight: torch.Tensor) -> np.ndarray:
    """The squared error of each channel, in float64."""
    difference = scheme.quantize(weight).dequantize().double() - weight.double()
    return difference.square().sum(dim=1).numpy()


@given(matrices())
def test_min_max_is_the_smallest_and_the_largest(weight):
    low, high = MinMax().bounds(weight)
    rows = weight.numpy()
    assert np.array_equal(low.numpy(), rows.min(axis=1))
    assert np.array_equal(high.numpy(), rows.max(axis=1))


@given(matrices(), st.floats(50, 100, exclude_min=True))
def test_a_percentile_is_numpys(weight, value):
    low, high = Percentile(value).bounds(weight)
    rows = weight.double().numpy()
    expected = np.percentile(rows, [100 - value, value], axis=1)
    # Interpolated in float32: two products and a sum, each rounded, of magnitudes up to the row's largest.
    slack = 4 * 2.0**-24 * np.abs(rows).max(axis=1) + 2.0**-149
    kept = (np.abs(expected) > slack).any(axis=0)  # a row with both percentiles 0 keeps its extremes instead
    assert (np.abs(low.numpy() - expected[0]) <= slack)[kept].all()
    assert (np.abs(high.numpy() - expected[1]) <= slack)[kept].all()


@given(matrices())
def test_the_hundredth_percentile_is_min_max(weight):
    assert all(map(torch.equal, Percentile(100).bounds(weight), MinMax().bounds(weight)))


def test_a_row_that_is_mostly_zero_keeps_its_extremes():
    rows = torch.zeros(2, 100)
    rows[0, 0], rows[0, 1] = 0.3, -0.1  # beyond the percentile, yet all that is there
    low, high = Percentile(95.0).bounds(rows)
    assert (low.tolist(), high.tolist()) == ([pytest.approx(-0.1), 0], [pytest.approx(0.3), 0])


def test_a_percentile_cuts_an_outlier_and_refines_the_rest():
    weight = torch.cat([normal(1, 999), torch.tensor([[1000.0]])], dim=1)
    wide, cut = Symmetric(4), Symmetric(4, clip=Percentile(99.0))
    assert cut.quantize(weight).parameters["scale"] < wide.quantize(weight).parameters["scale"] / 100
    rest = weight[:, :999]
    assert squared_errors(cut, weight).item() > 900**2, "the outlier itself is cut"
    lost = (wide.quantize(weight).dequantize()[:, :999] - rest).square().sum()
    assert (cut.quantize(weight).dequantize()[:, :999] - rest).square().sum() < lost / 10


def brute_force(row: np.ndarray, bits: int, steps: int, zero_point: bool) -> float:
    """Find the least squared error over all factors, by the textbook formula in float64."""
    errors = []
    for i in range(1, steps + 1):
        low, high = row.min() * i / steps, row.max() * i / steps
        if zero_point:
            top = 2**bits - 1
            low, high = min(low, 0), max(high, 0)
            scale = (high - low) / top or 1
            zero = np.clip(np.round(-low / scale), 0, top)
            codes = np.clip(np.round(row / scale) + zero, 0, top) - zero
        else:
            q = 2 ** (bits - 1) - 1
            scale = max(-low, high) / q or 1
            codes = np.clip(np.round(row / scale), -q, q)
        errors.append(((scale * codes - row) ** 2).sum())
    return min(errors)


@pytest.mark.parametrize("steps", [7, 64])
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("kind", [Symmetric, Asymmetric])
def test_least_squares_finds_what_brute_force_finds(kind, bits, steps):
    weight = normal(6, 200) + torch.linspace(-1, 1, 6)[:, None]
    found = squared_errors(kind(bits, PerChannel(), LeastSquares(steps)), weight)
    expected = [brute_force(row, bits, steps, kind is Asymmetric) for row in weight.double().numpy()]
    # float32 scales are 2**-24 off, relatively; the error is least there, or a code flips at equal distance.
    assert found == pytest.approx(expected, rel=1e-5)


@given(st.one_of(symmetric, asymmetric), matrices(st.one_of(few, ordinary)))
def test_least_squares_is_never_worse_than_min_max(scheme, weight):
    kind, bits = type(scheme), scheme.bits
    searched = squared_errors(kind(bits, PerChannel(), LeastSquares(16)), weight)
    assert (searched <= squared_errors(kind(bits, PerChannel()), weight)).all()


def test_least_squares_cuts_a_normal_weight_at_two_bits_and_hardly_at_eight():
    weight = normal(1, 10_000)
    extreme = float(weight.abs().max())
    ends = [float(Symmetric(bits, clip=LeastSquares()).quantize(weight).levels.max()) for bits in (2, 8)]
    assert ends[0] < 0.4 * extreme
    assert ends[1] > 0.85 * extreme


def test_each_row_gets_its_own_factor():
    weight = torch.stack([torch.linspace(-1, 1, 100), torch.cat([normal(99), torch.tensor([50.0])])])
    low, high = LeastSquares(32).bounds(weight, _reconstruct(weight))
    alone = [LeastSquares(32).bounds(row[None], _reconstruct(row[None])) for row in weight]
    assert torch.equal(low, torch.cat([one[0] for one in alone]))
    assert torch.equal(high, torch.cat([one[1] for one in alone]))


def _reconstruct(rows):
    scheme = Symmetric(3, PerChannel())

    def reconstruct(low, high):
        parameters = scheme.grid(low, high)
        return scheme.decode(scheme.encode(rows, parameters), parameters)

    return reconstruct


def test_a_percentile_of_more_weights_than_torchs_own_quantile_takes():
    weight = torch.zeros(1, 2**24 + 1)
    weight[0, : 2**23] = 1.0
    assert Percentile(99.0).bounds(weight, None)[1].item() == 1.0
    assert PerTensor().rows(tuple(weight.shape)) == 1


def test_least_squares_takes_64_steps_unless_it_is_told():
    assert LeastSquares() == LeastSquares(64)


def test_of_equal_errors_the_bounds_that_clip_least_win():
    rows = torch.tensor([[-1.0, 2.0], [0.5, 3.0]])
    low, high = LeastSquares().bounds(rows, lambda low, high: torch.zeros(2, 2))
    assert low.tolist() == [-1.0, 0.5]
    assert high.tolist() == [2.0, 3.0]
