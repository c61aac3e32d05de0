"""One-dimensional k-means of a million weights against scikit-learn's KMeans, ratios in one run.

    python tests/bench/bench_kmeans.py

Ours is fit and codes. Scikit-learn's is one k-means++ start on the same float32 weights, run to convergence
(tol=0, at most 300 steps), which brings its labels; its default tolerance, which stops earlier, is shown too.
Both run on one thread in one process and processor time is counted. One function sums the squared distances
in float64 for both. Shown are medians with the distance between the fastest and the slowest run; scikit-learn
takes minutes at 256 levels and runs once there. Exits with 1 if a ratio is below its mark or an inertia above
scikit-learn's.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from compresslab import KMeans

WEIGHTS = 1_000_000
CASES = {4: (20.0, 3), 8: (30.0, 1)}  # bits -> mark, runs of scikit-learn
RUNS = 5


def inertia(values: np.ndarray, centroids: np.ndarray) -> float:
    """Sum the squared distances to the nearest centroid, in float64."""
    values, centroids = values.astype(np.float64), np.sort(centroids.astype(np.float64).ravel())
    nearest = centroids[np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)]
    return float(((values - nearest) ** 2).sum())


def timed(function: Callable[[], np.ndarray], runs: int) -> tuple[list[float], np.ndarray]:
    """Return the times of some runs, and the last centroids."""
    times, centroids = [], np.empty(0)
    for _ in range(runs):
        start = time.process_time()
        centroids = function()
        times.append(time.process_time() - start)
    return times, centroids


def ours(weight: torch.Tensor, bits: int) -> np.ndarray:
    return KMeans(bits).quantize(weight).levels[0].numpy()


def theirs(weight: np.ndarray, bits: int, **settings: float) -> np.ndarray:
    model = SklearnKMeans(2**bits, init="k-means++", n_init=1, random_state=0, **settings).fit(
        weight[:, None]
    )
    assert len(model.labels_) == len(weight)
    return model.cluster_centers_


def show(name: str, times: list[float], cost: float, fast: float) -> None:
    median, spread = statistics.median(times), max(times) - min(times)
    print(f"  {name:31} {median:8.3f} ± {spread:6.3f} s   inertia {cost:11.4f}   {median / fast:6.1f}x")


def compare(bits: int) -> bool:
    """Print three rows and say whether the mark is met."""
    mark, runs = CASES[bits]
    weight = 0.05 * torch.randn(WEIGHTS, generator=torch.Generator().manual_seed(0))
    values = weight.numpy()
    ours(weight, bits)
    fast, own = timed(lambda: ours(weight, bits), RUNS)
    slow, other = timed(lambda: theirs(values, bits, tol=0), runs)
    early, third = timed(lambda: theirs(values, bits), runs)
    print(f"{2**bits} levels, mark {mark:g}x")
    median, cost, bound = statistics.median(fast), inertia(values, own), inertia(values, other)
    show("compresslab", fast, cost, median)
    show("scikit-learn, converged", slow, bound, median)
    show("scikit-learn, default tolerance", early, inertia(values, third), median)
    return statistics.median(slow) / median >= mark and cost <= bound


def main() -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)  # 300 steps are its default limit
    print(f"{WEIGHTS:,} float32 weights, one thread, median ± range of {RUNS} runs of ours")
    with threadpool_limits(1):
        met = [compare(bits) for bits in CASES]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
