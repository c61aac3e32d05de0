"""One-dimensional k-means, solved by dynamic programming instead of by luck.

In one dimension every cluster is a stretch of the sorted values, so a clustering is a list of cuts. Prefix
sums give the cost of any stretch in constant time.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

_CUTS = 2048  # places where a cluster may end; up to as many distinct values the result is exact
_CUTS_PER_CLUSTER = 16  # at least: with fewer, 256 clusters lose more than 0.1 % to the optimum
_MOST_STEPS = 1000  # of Lloyd's iteration; each moves every boundary and costs microseconds


def kmeans_centroids(values: Float[ndarray, " n"], clusters: int) -> Float[ndarray, " clusters"]:
    """Find centroids with a small sum of squared distances to the values.

    With at most 2048 distinct values the result is the optimum, up to float64 rounding of the sum of
    squares about the median. Beyond that, clusters may end only at 2048 places, or 16 for each
    cluster if that is more, denser where values are dense; the best clustering among these starts
    Lloyd's iteration, which runs on the values themselves to convergence.

    Args:
        values: at least one, finite, in any order; computed in float64.
        clusters: the number of centroids.

    Returns:
        The centroids, ascending; the last one repeated where there are fewer distinct values.

    Source: Wang, Song, Ckmeans.1d.dp, The R Journal, 2011, for the dynamic program; Lloyd, 1982.
    Chapter: 06.

    >>> kmeans_centroids(np.array([1.0, 2.0, 10.0, 12.0]), 2)
    array([ 1.5, 11. ])
    """
    ordered = np.sort(values).astype(np.float64)
    ends = _possible_cuts(ordered, max(_CUTS, _CUTS_PER_CLUSTER * clusters))
    if len(ends) - 1 > clusters:
        centred = ordered - ordered[len(ordered) // 2]
        first, second = _sums_from_middle(centred), _sums_from_middle(centred * centred)
        ends = ends[_best_cuts(ends, first[ends], second[ends], clusters)]
        ends = _lloyd(centred, first, ends)
    means = np.add.reduceat(ordered, ends[:-1]) / np.diff(ends)
    return np.concatenate([means, np.repeat(means[-1], clusters - len(means))])


def _sums_from_middle(values: Float[ndarray, " n"]) -> Float[ndarray, " n+1"]:
    """Sum from the middle outward, negative to the left: differences are those of prefix sums.

    Begun at one end, a single outlier there would leave no digits for all the values behind it.
    """
    left, right = np.split(values, [len(values) // 2])
    return np.concatenate([-np.cumsum(left[::-1])[::-1], [0.0], np.cumsum(right)])


def _possible_cuts(ordered: Float[ndarray, " n"], most: int) -> Int[ndarray, " cuts"]:
    """List the positions where a cluster may begin or end, from 0 to n.

    Too many are thinned to ``most``, evenly in the sum of the square roots of the gaps: evenly in count
    would starve the tails, evenly in value the centre. A gap wider than the spacing counts as no wider.
    """
    gaps = np.diff(ordered)
    cuts = np.flatnonzero(gaps) + 1
    if len(cuts) >= most:
        gaps /= 2.0 ** np.frexp(gaps.max())[1]  # a power of two, so that scaled values give the same cuts
        np.sqrt(gaps, out=gaps)
        while gaps.max() > 2 * (spacing := gaps.sum() / most):
            np.minimum(gaps, spacing, out=gaps)
        sums = np.cumsum(gaps)
        cuts = np.searchsorted(sums, np.linspace(0, sums[-1], most)) + 1
    return np.union1d(np.minimum(cuts, len(ordered)), [0, len(ordered)])


def _best_cuts(
    count: Int[ndarray, " cuts"],
    first: Float[ndarray, " cuts"],
    second: Float[ndarray, " cuts"],
    clusters: int,
) -> Int[ndarray, " {clusters}+1"]:
    """Choose the cuts with the least sum of squares, as indices into the possible ones.

    ``best[j]`` is the least cost of splitting everything before cut j into m clusters. Going from
    m - 1 to m clusters, the best last cut before j never moves left as j grows, so each j searches
    only between its neighbours' answers (divide and conquer, all j of a depth at once).
    ``count``, ``first`` and ``second`` are prefix sums of 1, value and squared value at each possible cut.
    """
    n = len(count) - 1

    def cost(start: Int[ndarray, " m"], stop: Int[ndarray, " m"]) -> Float[ndarray, " m"]:
        total = first[stop] - first[start]
        return second[stop] - second[start] - total * total / (count[stop] - count[start])

    best = np.full(n + 1, np.inf)
    best[1:] = cost(np.zeros(n, int), np.arange(1, n + 1))
    last_cut = np.zeros((clusters, n + 1), dtype=np.int32)
    for m in range(1, clusters):
        answer = last_cut[m]
        answer[:m], answer[n] = 0, n - 1
        new = np.full(n + 1, np.inf)
        for stops, lows, highs in _search_ranges(m + 1, n, answer):
            lengths = highs - lows + 1
            offsets = np.cumsum(lengths) - lengths
            starts = np.arange(lengths.sum()) + np.repeat(lows - offsets, lengths)
            costs = best[starts] + cost(starts, np.repeat(stops, lengths))
            new[stops] = np.minimum.reduceat(costs, offsets)
            hits = np.flatnonzero(costs == np.repeat(new[stops], lengths))
            answer[stops] = starts[hits[np.searchsorted(hits, offsets)]]
        best = new
    ends = [n]
    for m in range(clusters - 1, 0, -1):
        ends.append(last_cut[m, ends[-1]])
    return np.array([0, *ends[::-1]])


def _search_ranges(lowest: int, n: int, answer: Int[ndarray, " {n}+1"]):
    """Yield (stops, lows, highs): the cuts of one depth, and where each has to look.

    ``answer`` is filled by the caller between two depths; cuts below ``lowest`` have no answer.
    """
    yield np.array([n]), np.array([lowest - 1]), np.array([n - 1])
    step = 1 << (n - lowest).bit_length()
    while step > 1:
        step //= 2
        stops = np.arange(lowest - 1 + step, n, 2 * step)
        if len(stops):
            lows = np.maximum(answer[stops - step], lowest - 1)
            highs = np.minimum(answer[np.minimum(stops + step, n)], stops - 1)
            yield stops, lows, highs


def _lloyd(
    ordered: Float[ndarray, " n"], first: Float[ndarray, " {len(ordered)}+1"], ends: Int[ndarray, " ends"]
) -> Int[ndarray, " ends"]:
    """Move every boundary to the middle between its two means until none moves."""
    for _ in range(_MOST_STEPS):
        means = np.diff(first[ends]) / np.diff(ends)
        moved = np.searchsorted(ordered, (means[:-1] + means[1:]) / 2)
        moved = np.concatenate([[0], moved, [len(ordered)]])
        if np.array_equal(moved, ends) or np.any(np.diff(moved) == 0):
            break
        ends = moved
    return ends
