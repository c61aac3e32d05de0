"""k-means in one dimension: the optimum where it can be found by brute force, near it elsewhere."""

import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from references import inertia, least_inertia
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.exceptions import ConvergenceWarning
from strategies import extreme, few, ordinary, values
from threadpoolctl import threadpool_limits

from compresslab.quantization.kmeans import _lloyd, kmeans_centroids

rows = st.integers(1, 9).flatmap(
    lambda n: values(n, st.sampled_from([few, ordinary, extreme]).flatmap(lambda e: e))
)


@given(rows, st.integers(1, 5))
def test_small_inputs_get_the_optimum(row, clusters):
    found = inertia(row, kmeans_centroids(row, clusters))
    about_the_median = float(((row.astype(np.float64) - np.median(row)) ** 2).sum())
    # Costs are differences of sums of squares: some tens of float64 roundings of the whole sum.
    assert found <= float(least_inertia(row, clusters)) * (1 + 1e-12) + 64 * 2.0**-53 * about_the_median


@given(st.integers(1, 10).flatmap(lambda n: values(n, few)), st.integers(1, 6))
def test_ties_and_repeated_values_get_the_optimum_too(row, clusters):
    assert inertia(row, kmeans_centroids(row, clusters)) == pytest.approx(
        float(least_inertia(row, clusters)), rel=1e-12, abs=1e-13
    )


@given(rows, st.integers(1, 16))
def test_centroids_ascend_within_the_values(row, clusters):
    centroids = kmeans_centroids(row, clusters).astype(np.float32)
    assert centroids.shape == (clusters,)
    assert (np.diff(centroids) >= 0).all()
    assert row.min() <= centroids[0]
    assert centroids[-1] <= row.max()


@given(rows, st.integers(0, 8))
def test_as_many_centroids_as_distinct_values_are_these_values(row, more):
    distinct = np.unique(row)
    centroids = kmeans_centroids(row, len(distinct) + more).astype(np.float32)
    assert np.array_equal(centroids, np.append(distinct, np.repeat(distinct[-1], more)))


@given(rows, st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_order_of_the_values_does_not_matter(row, clusters, random):
    shuffled = row.copy()
    random.shuffle(shuffled)
    assert np.array_equal(kmeans_centroids(row, clusters), kmeans_centroids(shuffled, clusters))


def test_one_cluster_is_the_mean_and_two_split_the_widest_gap():
    assert kmeans_centroids(np.array([3.0, 1.0, 8.0]), 1).tolist() == [4.0]
    assert kmeans_centroids(np.array([5.0, 5.0, 5.0, 6.0]), 2).tolist() == [5.0, 6.0]


def least_by_table(row, clusters):
    """Return the least sum of squares by the plain recursion over all places where a cluster may end."""
    row = np.sort(row)
    first, second = (np.concatenate([[0], np.cumsum(power)]) for power in (row, row * row))
    ends = np.arange(len(row) + 1)
    count = ends[None, :] - ends[:, None]
    total = first[None, :] - first[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(count > 0, second[None, :] - second[:, None] - total * total / count, np.inf)
    best = cost[0]
    for _ in range(clusters - 1):
        best = (best[:, None] + cost).min(axis=0)
    return best[-1]


@pytest.mark.parametrize("clusters", [3, 16])
def test_up_to_2048_distinct_values_get_the_optimum_as_chapter_06_says(clusters):
    row = np.random.default_rng(0).standard_normal(2048)
    assert len(np.unique(row)) == 2048
    found = inertia(row, kmeans_centroids(row, clusters))
    assert found == pytest.approx(least_by_table(row, clusters), rel=1e-9)  # differences of sums near 2048


SIZE = 6000
SAMPLES = {  # more than 2048 distinct values each, so that none is solved exactly
    "normal": lambda g: g.normal(size=SIZE),
    "uniform": lambda g: g.random(SIZE),
    "Laplace": lambda g: g.laplace(size=SIZE),
    "Cauchy": lambda g: g.standard_cauchy(SIZE),
    "lognormal": lambda g: g.lognormal(0, 2, SIZE),
    "two scales": lambda g: np.append(g.normal(5, 1e-3, SIZE // 2), g.normal(0, 1, SIZE // 2)),
    "outliers": lambda g: np.append(g.normal(size=SIZE - 3), [1e8, -3e7, 5e3]),
    "one far below": lambda g: np.append(g.normal(size=SIZE - 1), -1e12),
    "pruned": lambda g: np.append(np.zeros(SIZE), g.normal(size=SIZE // 2)),
}


def sample(name: str) -> np.ndarray:
    return SAMPLES[name](np.random.default_rng(0)).astype(np.float32)


@pytest.mark.parametrize("clusters", [4, 16])
@pytest.mark.parametrize("name", SAMPLES)
def test_the_inertia_is_at_most_that_of_scikit_learns_best_of_ten(name, clusters):
    row = sample(name).astype(np.float64)  # its float32 inertia is inexact
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        best = SklearnKMeans(clusters, n_init=10, tol=0, random_state=0).fit(row[:, None])
    found = inertia(row, kmeans_centroids(sample(name), clusters))
    assert found <= 1.001 * inertia(row, best.cluster_centers_)


@pytest.mark.parametrize("name", SAMPLES)
def test_thinned_cuts_lose_almost_nothing_to_the_optimum(name, monkeypatch):
    row, clusters = sample(name), 64
    found = inertia(row, kmeans_centroids(row, clusters))
    monkeypatch.setattr("compresslab.quantization.kmeans._CUTS", 10**9)
    assert found <= 1.001 * inertia(row, kmeans_centroids(row, clusters))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_result_is_a_fixed_point_of_lloyds_iteration(name):
    row = sample(name).astype(np.float64)
    centroids = kmeans_centroids(row, 16)
    nearest = np.abs(row[:, None] - centroids).argmin(axis=1)
    means = [row[nearest == i].mean() for i in range(16)]
    assert centroids == pytest.approx(np.array(means), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("factor", [2.0**-31, 2.0**17])
def test_scaled_values_give_scaled_centroids_to_the_last_bit(name, factor):
    row = sample(name).astype(np.float64)
    fit = partial(kmeans_centroids, clusters=32)
    assert np.array_equal(fit(row * factor), fit(row) * factor)


@pytest.mark.parametrize("factor", [2.0**-31, 2.0**17])  # square roots of these are rounded
def test_a_scale_moves_no_cut_off_a_value_that_it_meets_exactly(factor):
    """4,094 equal steps and 2,048 cuts, so a cut at every second value; and a value that comes twice."""
    row = np.append(np.arange(4095.0), 0)
    fit = partial(kmeans_centroids, clusters=32)
    assert np.array_equal(fit(row * factor), fit(row) * factor)


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_the_divided_search_equals_the_plain_one(size, clusters, seed):
    """The dynamic program that tries every last cut for every end, in a plain loop."""
    row = np.sort(np.random.default_rng(seed).integers(-50, 50, size)).astype(np.float64)
    best = [0.0] + [np.inf] * size
    for _ in range(clusters):
        best = [0.0] + [
            min(best[i] + ((row[i:j] - row[i:j].mean()) ** 2).sum() for i in range(j))
            for j in range(1, size + 1)
        ]
    assert inertia(row, kmeans_centroids(row, clusters)) == pytest.approx(best[-1], rel=1e-10, abs=1e-9)


def test_boundaries_stay_where_moving_them_would_leave_a_cluster_empty():
    ordered = np.array([-1.0, 0.0, 10.0, 11.0])  # the middles 2 and 8 have nothing between them
    ends = np.array([0, 1, 3, 4])
    assert _lloyd(ordered, np.array([0.0, *ordered.cumsum()]), ends).tolist() == ends.tolist()
