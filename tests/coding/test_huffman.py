"""Huffman codes are as short as words can be; that they read back is the contract of ``test_coders``."""

import heapq
import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compresslab.coding import lanes
from compresslab.coding.huffman import canonical_codes, code_lengths, decode, encode
from compresslab.coding.lanes import _EACH, _MOST, LONGEST
from compresslab.errors import CompressionError, FormatError

# Equal counts make ties, powers and Fibonacci numbers long words.
counts_lists = st.lists(
    st.one_of(st.integers(0, 3), st.integers(0, 10**6), st.integers(0, 40).map(lambda power: 2**power)),
    max_size=40,
)
FIBONACCI = [1, 1]
while len(FIBONACCI) < 22:
    FIBONACCI.append(FIBONACCI[-1] + FIBONACCI[-2])


def cost_by_merging(counts: list[int]) -> int:
    """Sum the merged weights: each merge puts one more bit before everything below it."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def all_lengths(symbols: int, room: Fraction, least: int, limit: int) -> Iterator[list[int]]:
    """List all rising lengths of a complete code, by how much of the unit interval they leave."""
    if symbols == 0:
        if room == 0:
            yield []
        return
    for length in range(least, limit + 1):
        if symbols * Fraction(1, 2**length) >= room >= Fraction(1, 2**length):
            for rest in all_lengths(symbols - 1, room - Fraction(1, 2**length), length, limit):
                yield [length, *rest]


@given(counts_lists)
def test_the_code_is_as_short_as_merging_makes_it(counts):
    lengths = code_lengths(counts).tolist()
    assert sum(count * length for count, length in zip(counts, lengths, strict=True)) == cost_by_merging(
        counts
    )
    assert [*map(bool, lengths)] == [*map(bool, counts)] or sum(map(bool, counts)) == 1


@given(st.lists(st.integers(1, 30), min_size=2, max_size=8), st.integers(1, 7))
def test_under_a_limit_no_complete_code_is_shorter(counts, limit):
    if len(counts) > 2**limit:
        with pytest.raises(CompressionError, match=f"{len(counts)} symbols"):
            code_lengths(counts, limit)
        return
    falling = sorted(counts, reverse=True)
    best = min(
        sum(count * length for count, length in zip(falling, lengths, strict=True))
        for lengths in all_lengths(len(counts), Fraction(1), 1, limit)
    )
    lengths = code_lengths(counts, limit)
    assert lengths.max() <= limit
    assert int(lengths @ counts) == best


@given(counts_lists, st.sampled_from([None, 6, 15]))
def test_words_fill_the_tree_and_none_begins_another(counts, limit):
    lengths = code_lengths(counts, limit)
    if np.count_nonzero(counts) > 1:
        assert sum(Fraction(1, 2 ** int(length)) for length in lengths if length) == 1
    if lengths.max(initial=0) > 48:
        return
    pairs = zip(canonical_codes(lengths), lengths, strict=True)
    book = sorted(f"{code:0{length}b}" for code, length in pairs if length)
    # Sorted, a word that begins another stands right before one that it begins.
    assert not any(after.startswith(before) for before, after in pairwise(book))
    assert book == sorted(book, key=lambda word: (len(word), word))  # shorter words are smaller ones


@given(counts_lists.filter(any))
def test_the_mean_length_is_within_a_bit_of_the_entropy(counts):
    total = sum(counts)
    entropy = sum(count / total * math.log2(total / count) for count in counts if count)
    mean = int(code_lengths(counts) @ np.array(counts)) / total
    # float64: a few dozen roundings of numbers below 64
    assert entropy - 1e-12 <= mean < entropy + 1


@pytest.mark.parametrize("count", [_EACH - 1, _EACH, 100 * _EACH + 13, _MOST * _EACH, _MOST * _EACH + 1])
def test_each_lane_loses_less_than_four_bytes(count):
    symbols = np.random.default_rng(count).binomial(15, 0.3, count).astype(np.uint8)
    data = encode(symbols, 16)
    assert np.array_equal(decode(data, count, 16), symbols)
    counts = np.bincount(symbols, minlength=16)
    lengths = code_lengths(counts, LONGEST)
    dealt = min(max(1, count // _EACH), _MOST)
    filler = int(lengths[lengths > 0].min()) * (-count % dealt)
    lost = len(data) - 8 - (int(counts @ lengths) + filler) / 8
    # A lane's last look reaches at most 14 bits beyond its words, and its last piece 15 beyond that.
    assert 0 <= lost < 4 * dealt


def test_words_longer_than_the_limit_are_never_needed():
    symbols = np.repeat(np.arange(22, dtype=np.uint8), FIBONACCI)
    assert code_lengths(FIBONACCI).max() == 21
    data = encode(symbols, 22)
    assert max(max(byte & 15, byte >> 4) for byte in data[:11]) == LONGEST
    assert np.array_equal(decode(data, len(symbols), 22), symbols)


def test_blocks_of_lanes_leave_no_trace(monkeypatch):
    symbols = np.random.default_rng(0).integers(0, 9, 5 * _EACH, dtype=np.uint8)
    whole = encode(symbols, 9)
    for most in (1, 2 * _EACH):  # less than a lane, two lanes
        monkeypatch.setattr(lanes, "_BLOCK", most)
        assert encode(symbols, 9) == whole


def test_what_fills_the_last_step_is_fixed(monkeypatch):
    monkeypatch.setattr(lanes, "_EACH", 16)
    full = np.random.default_rng(0).integers(0, 2, 34, dtype=np.uint8)  # two lanes of 17, as for 33 symbols
    for last, same in ((0, True), (1, False)):
        full[-1] = last
        data = encode(full, 2)
        if same:
            assert decode(data, 33, 2).tolist() == full[:33].tolist()
        else:
            with pytest.raises(FormatError, match="something follows"):
                decode(data, 33, 2)
