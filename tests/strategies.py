"""Hypothesis strategies: weights of every shape and size, every scheme with every argument, and figures."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from compresslab.quantization.clipping import LeastSquares, MinMax, Percentile
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Asymmetric, Symmetric

shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)

granularities = st.one_of(st.just(PerTensor()), st.just(PerChannel()), st.integers(1, 40).map(PerGroup))

clips = st.one_of(
    st.just(MinMax()),
    st.floats(50, 100, exclude_min=True).map(Percentile),
    st.integers(1, 20).map(LeastSquares),
)

symmetric = st.builds(Symmetric, st.integers(2, 8), granularities, clips)
asymmetric = st.builds(Asymmetric, st.integers(1, 8), granularities, clips)
uniform = st.one_of(symmetric, asymmetric)
ternary = st.builds(Ternary, granularities, st.floats(0, 1, exclude_min=True, exclude_max=True))
schemes = st.one_of(
    uniform,
    ternary,
    st.builds(Binary, granularities),
    st.builds(PowerOfTwo, st.integers(2, 8), granularities),
    st.builds(KMeans, st.integers(1, 4), granularities, st.booleans()),
)

# Few distinct values make ties and repetitions; any float32 up to 2**126 makes everything else.
few = st.sampled_from([-3.0, -1.5, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0])
ordinary = st.floats(-100, 100, width=32)
extreme = st.floats(-(2.0**126), 2.0**126, width=32)


masks = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@st.composite
def planes(draw: st.DrawFn, most_rows: int = 5) -> tuple[np.ndarray, int]:
    """Draw a matrix of symbols, of which one may be far more frequent than the others, and their alphabet."""
    alphabet = draw(st.one_of(st.integers(1, 8), st.integers(1, 256)))
    shape = draw(st.integers(0, most_rows)), draw(st.sampled_from([0, 1, 2, 3, 7, 16, 31, 32, 33, 40]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    symbols = generator.integers(0, alphabet, shape)
    rare = draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    symbols[generator.random(shape) < rare] = draw(st.integers(0, alphabet - 1))
    return symbols.astype(np.uint8), alphabet


def values(count: int, elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    return st.lists(elements, min_size=count, max_size=count).map(lambda v: np.array(v, np.float32))


@st.composite
def weights(draw: st.DrawFn, elements: st.SearchStrategy[float] | None = None) -> torch.Tensor:
    """Draw a float32 weight; all its values are of one sort unless ``elements`` says which."""
    shape = draw(shapes)
    kind = draw(st.sampled_from([few, ordinary, extreme])) if elements is None else elements
    return torch.from_numpy(draw(values(int(np.prod(shape)), kind))).reshape(shape)


@st.composite
def matrices(draw: st.DrawFn, elements: st.SearchStrategy[float] = ordinary) -> torch.Tensor:
    """Draw a weight of two axes."""
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    return torch.from_numpy(draw(values(rows * columns, elements))).reshape(rows, columns)


# Right answers of 1,000, one pair for each seed: few values make equal differences, many make all else.
pairs_over_seeds = st.sampled_from([3, 1000]).flatmap(
    lambda most: st.lists(st.tuples(st.integers(0, most), st.integers(0, most)), min_size=2, max_size=9)
)

# Multiples of 1/4096 keep Holm's products exact; a few values make ties.
p_values = st.one_of(st.integers(0, 4096), st.sampled_from([0, 1, 40, 205, 4096])).map(lambda k: k / 4096)
