"""What the package does, written a second time: slowly, in plain loops, without the package's formulas."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
from matplotlib.colors import to_rgb

from compresslab.quantization.granularity import PerGroup, PerTensor


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


def least_inertia(values: np.ndarray, clusters: int) -> Fraction:
    """Find the least sum of squares over all ways to cut the sorted values, in exact arithmetic."""
    exact = np.array([Fraction(float(v)) for v in np.sort(values)], dtype=object)

    def cost(part: np.ndarray) -> Fraction:
        mean = sum(part) / len(part)
        return sum(((v - mean) ** 2 for v in part), Fraction(0))

    places = combinations(range(1, len(exact)), min(clusters, len(exact)) - 1)  # one cut more never costs
    return min(sum(map(cost, np.split(exact, cuts)), Fraction(0)) for cuts in places)


# --- a network in integers, one number at a time ---


def weight_codes(weight) -> tuple[np.ndarray, np.ndarray]:
    """Quantize a weight to 8 bits per channel: codes and float32 scales."""
    rows = weight.detach().numpy().reshape(len(weight), -1)
    scales = np.abs(rows).max(axis=1) / np.float32(127)
    inverse = np.float32(1) / scales
    return np.round(rows * inverse[:, None]).astype(int).reshape(weight.shape), scales


def fixed(factor: float) -> tuple[int, int]:
    """Write a factor as multiplier / 2**shift, the multiplier of 31 bits."""
    fraction, exponent = math.frexp(factor)
    return round(fraction * 2**31), 31 - exponent


def int8(value: int, bits: int = 8) -> int:
    return max(-(2**bits) // 2, min(2**bits // 2 - 1, value))


def integer_sums(layer, source, inputs: list[list[int]]) -> tuple[list[list[int]], list[float]]:
    """Multiply rows of codes by a float layer's weight codes in Python's integers, the bias in steps."""
    codes, scales = weight_codes(layer.weight)
    codes = codes.reshape(len(codes), -1).tolist()
    steps = [source.scale * float(scale) for scale in scales]
    biases = [round(float(b) / step) for b, step in zip(layer.bias.detach().tolist(), steps, strict=True)]
    sums = [
        [
            bias + sum((x - source.zero_point) * w for x, w in zip(row, weights, strict=True))
            for weights, bias in zip(codes, biases, strict=True)
        ]
        for row in inputs
    ]
    return sums, steps


def requantized(sums: list[list[int]], steps: list[float], target) -> list[list[int]]:
    """Bring sums to the target's grid: a multiplication, half a unit, a shift."""
    factors = [fixed(step / target.scale) for step in steps]
    return [
        [
            int8(((s * m + 2 ** (k - 1)) // 2**k) + target.zero_point, target.bits)
            for s, (m, k) in zip(row, factors, strict=True)
        ]
        for row in sums
    ]


def integer_linear(layer, source, target, inputs: list[int]) -> list:
    """Apply a linear layer to one row of codes; at the end of the network the sums leave as float32."""
    sums, steps = integer_sums(layer, source, [inputs])
    if target is None:
        return [np.float32(s) * np.float32(step) for s, step in zip(sums[0], steps, strict=True)]
    return requantized(sums, steps, target)[0]


def integer_conv(layer, source, target, maps: np.ndarray) -> np.ndarray:
    """Apply a convolution to the maps of one image, window by window; outside lies the code of zero."""
    channels, height, width = maps.shape
    (kh, kw), (sh, sw), (ph, pw) = layer.kernel_size, layer.stride, layer.padding
    high, wide = (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1

    def pixel(c: int, i: int, j: int) -> int:
        return int(maps[c, i, j]) if 0 <= i < height and 0 <= j < width else source.zero_point

    windows = [
        [
            pixel(c, i * sh - ph + u, j * sw - pw + v)
            for c in range(channels)
            for u in range(kh)
            for v in range(kw)
        ]
        for i in range(high)
        for j in range(wide)
    ]
    codes = np.array(requantized(*integer_sums(layer, source, windows), target))
    return codes.T.reshape(-1, high, wide)


def integer_add(left, right, target, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Add codes of two grids on a third, rounded once."""
    shift = 31
    a, b = (round(grid.scale / target.scale * 2**shift) for grid in (left, right))
    sums = [
        (int(p) - left.zero_point) * a + (int(q) - right.zero_point) * b
        for p, q in zip(x.ravel(), y.ravel(), strict=True)
    ]
    codes = [int8((s + 2 ** (shift - 1)) // 2**shift + target.zero_point) for s in sums]
    return np.array(codes).reshape(x.shape)


def integer_relu(grid, maps: np.ndarray) -> np.ndarray:
    return np.array([max(int(x), grid.zero_point) for x in maps.ravel()]).reshape(maps.shape)


def halved(maps: np.ndarray) -> np.ndarray:
    """Take the largest of each 2 x 2 square."""
    channels, height, width = maps.shape
    squares = [
        max(int(maps[c, 2 * i + u, 2 * j + v]) for u in (0, 1) for v in (0, 1))
        for c in range(channels)
        for i in range(height // 2)
        for j in range(width // 2)
    ]
    return np.array(squares).reshape(channels, height // 2, width // 2)


def integer_mean(maps: np.ndarray) -> list[int]:
    """Average each channel to the nearest code, halves upward."""
    means = (Fraction(sum(int(x) for x in channel.ravel()), channel.size) for channel in maps)
    return [math.floor(mean + Fraction(1, 2)) for mean in means]


def contrast(first, second) -> float:
    """Return the contrast ratio of two colours by the formula of WCAG 2.1."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
