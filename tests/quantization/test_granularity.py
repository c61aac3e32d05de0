"""Splitting a weight into rows loses nothing, mixes nothing and counts right."""

import pytest
import torch
from hypothesis import given
from references import row_indices
from strategies import granularities, shapes

from compresslab.quantization.granularity import (
    PerChannel,
    PerGroup,
    PerTensor,
)


def numbered(shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


@given(shapes, granularities)
def test_the_rows_are_those_of_a_plain_loop(shape, granularity):
    rows = [row.int().tolist() for block in granularity.split(numbered(shape)) for row in block]
    assert rows == row_indices(shape, granularity)


@given(shapes, granularities)
def test_rows_counts_what_split_gives(shape, granularity):
    assert granularity.rows(shape) == sum(len(block) for block in granularity.split(numbered(shape)))


@given(shapes, granularities)
def test_join_undoes_split(shape, granularity):
    weight = numbered(shape)
    assert torch.equal(granularity.join(granularity.split(weight), shape), weight)


@given(shapes, granularities)
def test_split_reads_any_memory_layout(shape, granularity):
    weight = numbered(shape[::-1]).permute(*range(len(shape))[::-1])  # not contiguous, same shape
    split, copied = granularity.split(weight), granularity.split(weight.contiguous())
    assert all(torch.equal(a, b) for a, b in zip(split, copied, strict=True))


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(), PerGroup(20)])
def test_split_copies_no_memory_where_whole_rows_lie_side_by_side(granularity):
    weight = numbered((4, 20))
    assert granularity.split(weight)[0].data_ptr() == weight.data_ptr()


def test_a_group_size_that_does_not_divide_leaves_a_short_last_group_in_each_channel():
    blocks = PerGroup(4).split(numbered((2, 9)))
    assert [tuple(block.shape) for block in blocks] == [(4, 4), (2, 1)]
    assert blocks[1].tolist() == [[8.0], [17.0]]


def test_a_group_larger_than_a_channel_is_the_channel():
    assert PerGroup(10**400).rows((3, 5)) == 3  # an integer, however large, never becomes a float
    assert PerGroup(10**400).split(numbered((3, 5)))[0].shape == (3, 5)
