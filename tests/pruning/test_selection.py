"""Selection: always the first so many of a stable sort, whatever equals what; patterns in every group."""

import math
import tracemalloc
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compresslab.errors import CompressionError
from compresslab.pruning import selection
from compresslab.pruning.patterns import Blocks, NofM
from compresslab.pruning.selection import count_of, smallest
from tests.strategies import few, matrices, ordinary

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8]


def by_sorting(tensors: list[torch.Tensor], count: int) -> list[list[bool]]:
    """Mark by a stable sort of Python's own numbers."""
    flat = [value for tensor in tensors for value in tensor.reshape(-1).tolist()]
    chosen = set(sorted(range(len(flat)), key=flat.__getitem__)[:count])
    marks = iter([place in chosen for place in range(len(flat))])
    return [[next(marks) for _ in range(tensor.numel())] for tensor in tensors]


def as_lists(masks: list[torch.Tensor]) -> list[list[bool]]:
    return [mask.reshape(-1).tolist() for mask in masks]


@st.composite
def crowds(draw: st.DrawFn) -> list[torch.Tensor]:
    """Draw tensors of many scores, most of them equal to others, or none, or all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.integers(0, 300), min_size=1, max_size=3))
    kinds = draw(st.sampled_from([1, 2, 3, 10, 10_000]))
    scores = [rng.integers(0, kinds, size) / 8 for size in sizes]
    if draw(st.booleans()):
        scores = [np.where(rng.random(size=part.shape) < 0.2, np.inf, part) for part in scores]
    if draw(st.booleans()):
        scores = [np.where(rng.random(size=part.shape) < 0.2, -np.inf, part) for part in scores]
    return [torch.from_numpy(part.astype(np.float32)) for part in scores]


@given(crowds(), st.floats(0, 1), st.sampled_from([16, 64, 1 << 16]), st.sampled_from([7, 1 << 17]))
def test_the_smallest_are_the_first_of_a_stable_sort(tensors, share, sample, chunk):
    """Small samples and chunks take every path that 100 million scores take."""
    count = round(share * sum(map(len, tensors)))
    with patch.multiple(selection, _SAMPLE=sample, _CHUNK=chunk):
        assert as_lists(smallest(tensors, count)) == by_sorting(tensors, count)


@pytest.mark.parametrize("count", [0, 1, 99_999, 100_000, 100_001, 199_999, 200_000])
@pytest.mark.parametrize("distinct", [1, 2, 1_000, 10**9])
def test_counts_are_exact_among_many_scores(count, distinct):
    rng = np.random.default_rng(3)
    scores = torch.from_numpy(rng.integers(0, distinct, 200_000).astype(np.float64))
    order = np.argsort(scores.numpy(), kind="stable")
    expected = np.zeros(200_000, dtype=bool)
    expected[order[:count]] = True
    (mask,) = smallest([scores], count)
    assert np.array_equal(mask.numpy(), expected)


@pytest.mark.parametrize("total", [1, 4, 9, 25, 100])
def test_every_count_is_exact(total):
    """Small as they are, the ends of the bracket fall on the first and the last score, and beyond."""
    scores = torch.randperm(total, generator=torch.Generator().manual_seed(0)).float()
    for count in range(total + 1):
        (mask,) = smallest([scores], count)
        assert torch.equal(mask, scores < count)


def test_a_sample_that_misleads_costs_time_and_nothing_else():
    scores = torch.rand(192, generator=torch.Generator().manual_seed(0))
    scores[::3] = 100.0  # exactly what a sample of every third sees
    with patch.multiple(selection, _SAMPLE=64):
        low, high = selection._bracket([scores.numpy()], 100)
        assert low == high == 100.0
        assert as_lists(smallest([scores], 100)) == by_sorting([scores], 100)


@pytest.mark.parametrize("extra", [-20, 0, 20])
@pytest.mark.parametrize("mass", [0.0, 1.0])
def test_many_equal_scores_need_no_copy_of_them(mass, extra):
    """Half the scores are equal, the lower or the upper half, and the threshold lies where it begins."""
    scores = torch.rand(4_000_000, generator=torch.Generator().manual_seed(0)) * 0.99 + 0.005
    scores[::2] = mass
    count = 2_000_000 + extra
    tracemalloc.start()
    (mask,) = smallest([scores], count)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mask.sum() == count
    assert scores[mask].max() <= scores[~mask].min()
    # 4 MB of mask, 1 of sample and chunks, 1.6 % of 16 MB inside the bracket; a copy of the half is 8 MB
    assert peak < 7e6


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_is_compared_as_it_is(dtype):
    scores = torch.tensor([3, 1, 2, 1, 5, 0]).to(dtype)
    assert as_lists(smallest([scores], 3)) == [[False, True, False, True, False, True]]


def test_doubles_that_round_to_the_same_float_stay_apart():
    scores = 1 + torch.arange(1000, 0, -1, dtype=torch.float64) * 1e-12
    (mask,) = smallest([scores], 400)
    assert mask.nonzero().flatten().tolist() == list(range(600, 1000))


def test_order_among_equals_is_row_by_row_also_in_a_transposed_tensor():
    scores = torch.zeros(2, 3).T
    (mask,) = smallest([scores], 2)
    assert mask.tolist() == [[True, True], [False, False], [False, False]]


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_nan_is_refused_whatever_the_count(count):
    scores = [torch.tensor([1.0, 2.0]), torch.tensor([math.inf, math.nan, 0.0])]
    with pytest.raises(CompressionError, match="NaN"):
        smallest(scores, count)


def test_nan_is_refused_also_far_from_the_sample():
    scores = torch.zeros(200_000)
    scores[100_001] = math.nan
    for count in (1, 100_000, 200_000):
        with pytest.raises(CompressionError, match="NaN"):
            smallest([scores], count)


@pytest.mark.parametrize(("total", "count"), [(1, 0), (3, 2), (5, 2), (7, 4), (0, 0)])
def test_halves_go_to_the_even_number(total, count):
    assert count_of(0.5, total) == count


# --- N of M

pairs = st.integers(1, 6).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of)))


@given(matrices(st.one_of(few, ordinary)), pairs)
def test_every_group_keeps_its_number_and_a_short_one_the_smaller_of_number_and_length(scores, pair):
    keep, of = pair
    gone = NofM(keep, of).smallest(scores)
    for row, marks in zip(scores.tolist(), gone.tolist(), strict=True):
        for start in range(0, len(row), of):
            group, goes = row[start : start + of], marks[start : start + of]
            assert goes.count(False) == min(keep, len(group))
            order = sorted(range(len(group)), key=group.__getitem__)
            assert {n for n, mark in enumerate(goes) if mark} == set(order[: goes.count(True)])


def test_a_row_of_a_convolution_is_all_it_multiplies_for_one_output():
    scores = torch.rand(3, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(NofM(2, 4).smallest(scores).reshape(3, -1), NofM(2, 4).smallest(scores.reshape(3, -1)))
    assert (~NofM(2, 4).smallest(scores)).sum() == 3 * (4 * 2 + 2)  # 18 = 4 groups and a short one of 2


# --- blocks

sizes = st.tuples(st.integers(1, 7), st.integers(1, 14))


@given(matrices(), sizes)
def test_a_blocks_score_is_the_mean_of_what_lies_in_it(scores, size):
    rows, columns = size
    pooled = Blocks(rows, columns).pool(scores.double())
    for i in range(0, scores.shape[0], rows):
        for j in range(0, scores.shape[1], columns):
            mean = np.mean(scores[i : i + rows, j : j + columns].double().numpy())
            # at most 60 additions of doubles below 100 in another order: 60 * 100 * 2**-53
            assert abs(pooled[i // rows, j // columns].item() - mean) < 1e-12
    assert pooled.shape == (-(-scores.shape[0] // rows), -(-scores.shape[1] // columns))


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4).map(torch.Size), sizes, st.integers(0, 99))
def test_marks_reach_every_weight_of_their_block(shape, size, seed):
    pattern = Blocks(*size)
    blocks = pattern.pool(torch.zeros(shape))
    marks = torch.rand(blocks.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    spread = pattern.spread(marks, shape)
    assert spread.shape == shape
    matrix = spread.reshape(shape[0], -1)
    for i, row in enumerate(matrix.tolist()):
        for j, mark in enumerate(row):
            assert mark == marks[i // size[0], j // size[1]]
