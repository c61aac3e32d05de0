"""Places of values: every layout gives the mask back, at the cost that its definition states."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks

from compresslab.coding import places


def slow_gaps(mask, bits):
    """Walk place by place, as the docstring tells it."""
    symbols, waiting = [], 0
    for stands in mask.reshape(-1).tolist():
        if stands:
            symbols.append(waiting)
            waiting = 0
        elif waiting == 2**bits - 2:
            symbols.append(waiting + 1)
            waiting = 0
        else:
            waiting += 1
    while symbols and symbols[-1] == 2**bits - 1:  # a skip is written only if a value follows
        symbols.pop()
    return symbols


@given(masks, st.sampled_from(places.GAP_BITS))
def test_gaps_are_those_of_a_walk_and_lead_back(mask, bits):
    symbols = places.gaps(mask, bits)
    assert symbols.tolist() == slow_gaps(mask, bits)
    assert np.array_equal(places.from_gaps(symbols, bits, mask.shape), mask)


@given(masks)
def test_rows_and_columns_are_those_of_scipys_definition_and_lead_back(mask):
    planes = places.rows_and_columns(mask)
    counts = [sum(row) for row in mask.tolist()]
    columns = [column for row in mask.tolist() for column, stands in enumerate(row) if stands]
    assert planes[0].tolist() == counts
    assert planes[1].tolist() == columns
    assert np.array_equal(places.from_rows_and_columns(planes, mask.shape), mask)


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0, 0)])
def test_a_matrix_without_places_is_surveyed_too(shape):
    found = places.survey(np.zeros(shape, dtype=np.uint8), background=0)
    assert (len(found.rows), len(found.gaps)) == (shape[0], 0)


def test_wide_rows_need_two_planes():
    mask = np.zeros((2, 1000), dtype=bool)
    mask[0, [0, 255, 256, 999]] = mask[1] = True
    planes = places.rows_and_columns(mask)
    assert len(planes) == 4
    assert planes[0].tolist() == [4, 1000 % 256]
    assert planes[1].tolist() == [0, 1000 // 256]
    assert np.array_equal(places.from_rows_and_columns(planes, mask.shape), mask)


@given(st.integers(1, 2**40))
def test_widths_hold_every_number_below_the_limit_and_no_bit_more(limit):
    found = places.widths(limit)
    assert all(1 <= width <= 8 for width in found)
    assert 2 ** sum(found) >= limit
    assert sum(found) == 1 or 2 ** (sum(found) - 1) < limit
