"""Each step of a repair is the least-squares optimum of a dense solve; no step makes outputs worse."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import granularities

from compresslab.errors import CompressionError
from compresslab.quantization.clipping import LeastSquares
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Asymmetric, Symmetric
from compresslab.repairing.columns import column_by_column, descend, output_error, upper_root
from compresslab.repairing.mending import kept_weights
from compresslab.repairing.moments import Moments
from compresslab.repairing.rounding import AdaptiveRounding, ColumnByColumn

CLOSE = {"rtol": 1e-8, "atol": 1e-8}  # float64; the matrices are well conditioned by their damping


@st.composite
def problems(draw):
    """Draw weights, and the metric of inputs that go together, in float64."""
    outputs, columns = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    weights = torch.randn(outputs, columns, generator=generator, dtype=torch.float64)
    mixed = torch.randn(columns + draw(st.integers(0, 9)), columns, generator=generator, dtype=torch.float64)
    return weights, mixed.T @ mixed / len(mixed) + 0.1 * torch.eye(columns, dtype=torch.float64)


schemes = st.one_of(
    st.builds(Symmetric, st.integers(2, 5), granularities, st.just(LeastSquares(8))),
    st.builds(Asymmetric, st.integers(1, 5), granularities),
    st.builds(Binary, granularities),
    st.builds(Ternary, granularities),
    st.builds(PowerOfTwo, st.integers(2, 4), granularities),
    st.builds(KMeans, st.integers(1, 3), granularities),
)


def rounded(values, column):
    return (2 * values).round() / 2


@given(problems())
def test_the_root_is_upper_triangular_and_gives_the_metric_back(problem):
    _, metric = problem
    root = upper_root(metric)
    assert torch.equal(root, root.triu())
    torch.testing.assert_close(root @ root.T, metric, **CLOSE)


@given(problems())
def test_a_column_asks_for_what_a_dense_solve_over_all_later_columns_finds(problem):
    """With the errors E of the rounded columns held, the optimum of the others is W + E A_dr A_rr^-1."""
    weights, metric = problem
    asked = {}

    def nearest(values, column):
        asked[column] = values.clone()
        return rounded(values, column)

    result = column_by_column(weights, metric, nearest)
    done = []
    for column, values in asked.items():
        rest = [j for j in range(len(metric)) if j not in done]
        error = weights[:, done] - result[:, done]
        moved = torch.linalg.solve(metric[rest][:, rest], (error @ metric[done][:, rest]).T).T
        torch.testing.assert_close(values, (weights[:, rest] + moved)[:, rest.index(column)], **CLOSE)
        torch.testing.assert_close(result[:, column], rounded(values, column), **CLOSE)
        done.append(column)
    assert len(done) == len(metric)


@given(problems(), st.integers(0, 3))
def test_going_through_again_never_makes_the_outputs_worse(problem, passes):
    weights, metric = problem
    start = rounded(weights, 0)
    found = descend(weights, start, metric, rounded, passes)
    assert (
        output_error(weights - found, metric) <= output_error(weights - start, metric) * (1 + 1e-9) + 1e-12
    ).all()
    assert torch.equal(found, rounded(found, 0))


def test_blocks_of_columns_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    weights, x = (torch.randn(n, 150, generator=generator, dtype=torch.float64) for n in (3, 400))
    metric = x.T @ x / 400
    found = []
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr("compresslab.repairing.columns._BLOCK", size)
        chosen = column_by_column(weights, metric, rounded)
        found.append((chosen, descend(weights, chosen, metric, rounded, 2)))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@given(problems(), st.integers(0, 2**32))
def test_kept_weights_are_the_least_squares_solution_on_their_own_columns(problem, seed):
    weights, metric = problem
    generator = torch.Generator().manual_seed(seed)
    zeros = torch.rand(weights.shape, generator=generator) < 0.5
    product = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
    found = kept_weights(weights.masked_fill(zeros, 0), metric, product)
    assert (found[zeros] == 0).all()
    for row, wanted, free in zip(found, product, ~zeros, strict=True):
        slope = (row @ metric - wanted)[free]  # the gradient of the quadratic is zero at its optimum
        torch.testing.assert_close(slope, torch.zeros_like(slope), **CLOSE)


@given(problems(), schemes)
def test_no_rounding_is_worse_than_nearest_on_the_layer_s_own_objective(problem, scheme):
    weights, metric = (part.float() for part in problem)
    plain = scheme.quantize(weights)

    def error(code):
        return float(output_error((weights - code.dequantize()).double(), metric.double()).sum())

    for rounding in (AdaptiveRounding(passes=4), ColumnByColumn(passes=0), ColumnByColumn(passes=2)):
        found = rounding.round(weights, metric, plain)
        assert found.scheme == scheme
        assert found.codes.dtype == plain.codes.dtype
        # Ternary rounds by its threshold, so its nearest levels are found first; float32 sums: 1e-4
        assert error(found) <= error(plain) * (1 + 1e-4) + 1e-6


@given(problems(), st.integers(2, 5))
def test_adaptive_rounding_goes_to_the_level_below_or_above(problem, bits):
    weights, metric = (part.float() for part in problem)
    plain = Symmetric(bits, PerChannel()).quantize(weights)
    found = AdaptiveRounding().round(weights, metric, plain)
    exact = weights / plain.parameters["scale"][:, None]
    assert ((found.codes - exact).abs() <= 1 + 1e-4).all()
    assert torch.equal(found.parameters["scale"], plain.parameters["scale"])


def test_the_prior_alone_gives_the_nearest_levels():
    weights = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    plain = Symmetric(3, PerChannel()).quantize(weights)
    found = AdaptiveRounding().round(weights, torch.eye(8), plain)
    assert torch.equal(found.codes, plain.codes)


@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 3.0]))
def test_the_bias_is_one_more_column_that_is_damped_alike(places, columns, seed, damping):
    """Against a dense solve with a column of ones, whose own mean square is 1."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(1, 1, (places, columns)), rng.normal(2, 1, (places, 2))
    seen = Moments.of(torch.from_numpy(x)[None], torch.from_numpy(y)[None])
    squares, products = (part[0].numpy() for part in seen.normal(damping, bias=True))
    ridge = 0.1 * np.eye(columns)
    weights = np.linalg.solve(squares + ridge, products.T).T
    ones = np.concatenate([x, np.ones((places, 1))], 1)
    full = ones.T @ ones / places
    full[:-1, :-1] += ridge
    full[-1, -1] += damping
    dense = np.linalg.solve(full, (ones.T @ y) / places).T
    np.testing.assert_allclose(weights, dense[:, :-1], rtol=1e-6, atol=1e-6)
    shift = seen.shift(torch.from_numpy(weights)[None], damping)[0].numpy()
    np.testing.assert_allclose(shift, dense[:, -1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [ColumnByColumn, AdaptiveRounding])
@pytest.mark.parametrize("wrong", [{"damping": 0}, {"damping": -1.0}, {"damping": True}, {"passes": -1}])
def test_a_rounding_that_makes_no_sense_is_refused(kind, wrong):
    with pytest.raises(CompressionError, match="was asked"):
        kind(**wrong)
