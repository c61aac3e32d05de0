"""What the package does, written a second time: slowly, in plain loops, without the package's formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from compresslab.granularity import PerGroup, PerTensor


def row_indices(shape: tuple[int, ...], granularity) -> list[list[int]]:
    """List, for each row of parameters, the flat positions of the weights that share it."""
    per_channel = math.prod(shape[1:])
    if isinstance(granularity, PerTensor):
        return [list(range(math.prod(shape)))]
    size = granularity.size if isinstance(granularity, PerGroup) else per_channel
    full, short = [], []
    for channel in range(shape[0]):
        for start in range(0, per_channel, size):
            stop = min(start + size, per_channel)
            row = [channel * per_channel + i for i in range(start, stop)]
            (full if len(row) == size else short).append(row)
    return full + short


def rows_of(tensor, granularity) -> list[np.ndarray]:
    """Cut a tensor into its rows, in float64."""
    flat = tensor.detach().double().contiguous().reshape(-1).numpy()
    return [flat[row] for row in row_indices(tuple(tensor.shape), granularity)]


def nearest(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Take the nearest level of each value in exact arithmetic, the lower one in a tie."""
    ordered = np.unique(levels).astype(np.float64)  # sorted, so that the first of two equals is the lower
    chosen = []
    for value in values:
        place = int((ordered < value).sum())
        around = ordered[max(place - 1, 0) : place + 1]
        chosen.append(
            min(around, key=lambda level, v=value: abs(Fraction(float(level)) - Fraction(float(v))))
        )
    return np.array(chosen)


def powers_of_two(row: np.ndarray, bits: int) -> np.ndarray:
    """List the levels of a power-of-two row: the top is the power nearest the extreme, the upper in a tie."""
    extreme = Fraction(float(np.abs(row).max()))
    powers = {e: Fraction(2) ** e for e in range(-150, 128)}
    top = min(powers, key=lambda e: (abs(powers[e] - extreme), -e)) if extreme else 0
    chosen = [2.0 ** (top - i) for i in range(2 ** (bits - 1) - 1)]
    chosen = [float(np.float32(power)) for power in chosen]  # zero where float32 ends
    return np.array(sorted({*chosen, 0.0, *(-power for power in chosen)}))


def inertia(values: np.ndarray, centroids: np.ndarray) -> float:
    """Sum the squared distances to the nearest centroid, in float64."""
    ordered = np.sort(np.asarray(centroids, np.float64).ravel())
    values = np.asarray(values, np.float64).ravel()
    place = np.searchsorted(ordered, values).clip(1, max(len(ordered) - 1, 1))
    below, above = ordered[place - 1], ordered[np.minimum(place, len(ordered) - 1)]
    return float((np.minimum(np.abs(values - below), np.abs(values - above)) ** 2).sum())


def partitions(values: np.ndarray, clusters: int) -> Iterator[list[np.ndarray]]:
    """Cut sorted values into at most that many stretches, in every possible way."""
    if clusters == 1 or len(values) <= 1:
        yield [values]
        return
    for first in range(1, len(values) + 1):
        if first == len(values):
            yield [values]
        else:
            for rest in partitions(values[first:], clusters - 1):
                yield [values[:first], *rest]


def least_inertia(values: np.ndarray, clusters: int) -> Fraction:
    """Find the least sum of squares over all partitions, in exact arithmetic."""
    exact = np.array([Fraction(float(v)) for v in np.sort(values)], dtype=object)

    def cost(part: np.ndarray) -> Fraction:
        mean = sum(part) / len(part)
        return sum(((v - mean) ** 2 for v in part), Fraction(0))

    return min(sum(map(cost, parts), Fraction(0)) for parts in partitions(exact, clusters))
