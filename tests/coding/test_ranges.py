"""Range coding costs what the stored model says; that it reads back is the contract of ``test_coders``."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compresslab.coding import ranges
from compresslab.coding.contexts import CONTEXTS, Neighbourhood, find_stride
from compresslab.coding.frequencies import _AMOUNTS, tables_of
from compresslab.coding.ranges import decode, encode
from compresslab.errors import FormatError


def amount(byte: int) -> int:
    """Read a byte as a float of four bits exponent and four bits mantissa."""
    exponent, mantissa = divmod(byte, 16)
    return mantissa if exponent == 0 else (16 + mantissa) * 2 ** (exponent - 1)


def pruned(rows: int, side: int, seed: int = 0) -> np.ndarray:
    """Make a mask as a first layer has it: spots that keep together, some rows busier, borders empty."""
    generator = np.random.default_rng(seed)
    image = generator.normal(size=(rows, side + 2, side + 2))
    smooth = sum(image[:, i : i + side, j : j + side] for i in range(3) for j in range(3)) / 3
    axis = np.abs(np.linspace(-1, 1, side))
    border = np.maximum(axis[:, None], axis[None])
    score = smooth + generator.normal(size=(rows, 1, 1)) / 2 - 2 * border**2
    return (score > 1.5).reshape(rows, -1).astype(np.uint8)


@given(st.lists(st.integers(0, 2**18), min_size=1, max_size=8), st.integers(0, 20))
def test_a_count_is_stored_to_one_part_in_32(counts, times):
    (table,) = tables_of(np.array([counts]) << times)
    scale = max(0, (max(counts) << times).bit_length() - 18)
    for count, byte in zip(counts, table.tolist(), strict=True):
        wanted = math.ceil(Fraction(count << times, 2**scale))
        # 16 to 31 steps in each power of two, so at most half a sixteenth; none at all below 32.
        assert abs(amount(byte) - wanted) <= Fraction(wanted, 32)


def test_the_amounts_are_tiny_floats():
    assert _AMOUNTS.tolist() == [amount(byte) for byte in range(256)]


def ideal_bytes(symbols: np.ndarray, contexts: np.ndarray, tables: np.ndarray) -> float:
    """Sum what each symbol is worth under the stored model."""
    weights = np.array([amount(byte) for byte in range(256)])[tables]
    share = weights[contexts, symbols] / weights.sum(axis=1)[contexts]
    return float(-np.log2(share).sum() / 8)


def contexts_at_once(busy: np.ndarray, stride: int) -> np.ndarray:
    """Find all contexts by shifting whole matrices; rows must be 32 to 4096 long."""
    busy = busy.astype(np.int64)

    def shifted(values: np.ndarray, by: int) -> np.ndarray:
        return np.pad(values, ((0, 0), (by, 0)))[:, : values.shape[1]]

    left, above, right = (shifted(busy, by) for by in (1, stride, stride - 1))
    near = (2 * left + above + right).sum(axis=0)
    before = shifted(busy, 1).cumsum(axis=1)
    density = (near + 1) / 4 * (before + 1) / (before.sum(axis=0) + len(busy))
    # log2 of a power of two is exact, and what lies between is not near a whole number.
    classes = np.clip(9 + np.floor(np.log2(density)), 0, 8).astype(np.int64)
    pattern = left + 2 * above + 4 * right
    return np.where(pattern > 0, 8 + pattern, classes)


@pytest.mark.parametrize("share", [0.5, 0.05, 0.001])
@pytest.mark.parametrize("alphabet", [2, 16, 256])
def test_a_million_symbols_cost_what_the_model_says(share, alphabet):
    generator = np.random.default_rng(0)
    symbols = generator.integers(0, alphabet, (1000, 1000), dtype=np.uint8)
    symbols[generator.random(symbols.shape) >= share] = 0
    data = encode(symbols, alphabet)
    tables = np.frombuffer(data, np.uint8, alphabet)[None]
    ideal = ideal_bytes(symbols, np.zeros_like(symbols), tables)
    assert ideal - 1 <= len(data) - alphabet <= 1.01 * ideal + 32
    counts = np.bincount(symbols.reshape(-1), minlength=alphabet)
    entropy = -(counts[counts > 0] / 1e6 * np.log2(counts[counts > 0] / 1e6)).sum() * 1e6 / 8
    # Counts wrong by one part in 32 each cost at most (1/32)**2 / (2 ln 2) = 0.0007 bits a symbol where those
    # are worth a bit, and in proportion where they are worth less. Counts above 2**18, here up to 2**20, are
    # stored in fours and rounded up: three too many for each symbol, at 1 / ln 2 bits.
    assert ideal <= 1.001 * entropy + 3 * alphabet / math.log(2) / 8


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_million_symbols_in_contexts_cost_what_the_model_says(noise):
    symbols = pruned(rows=1300, side=28)
    symbols ^= np.random.default_rng(1).random(symbols.shape) < noise
    data = encode(symbols, 2, CONTEXTS)
    contexts = contexts_at_once(symbols != data[0], stride=data[1])
    ideal = ideal_bytes(symbols, contexts, np.frombuffer(data, np.uint8, 32, offset=2).reshape(16, 2))
    assert ideal - 1 <= len(data) - 34 <= 1.01 * ideal + 32


def test_neighbours_save_what_they_know():
    symbols = pruned(rows=300, side=28)
    alike, apart = len(encode(symbols, 2)), len(encode(symbols, 2, CONTEXTS))
    assert apart < 0.75 * alike
    shuffled = np.random.default_rng(0).permutation(symbols.reshape(-1)).reshape(symbols.shape)
    # Nothing to know: the tables' 34 bytes against 2, and what 16 models waste where one would do.
    assert len(encode(shuffled, 2, CONTEXTS)) < alike + 64


@pytest.mark.parametrize("side", [5, 12, 28, 40, 255])
def test_the_width_of_an_image_is_found(side):
    symbols = pruned(rows=40, side=side)
    assert find_stride(symbols.T.astype(bool)) == side
    assert encode(symbols, 2, CONTEXTS)[1] == side or side == 255  # rows of 65,025 are cut


def test_a_stride_beyond_all_steps_finds_no_neighbours():
    near = Neighbourhood(lanes=2, stride=200)
    for _ in range(5):
        assert (near.contexts() < 9).all()
        near.add(np.zeros(2, dtype=bool))


def test_another_stride_is_refused_however_well_it_is_coded(monkeypatch):
    symbols = pruned(rows=20, side=12)
    with monkeypatch.context() as patch:
        patch.setattr(ranges, "find_stride", lambda busy: 11)
        data = encode(symbols, 2, CONTEXTS)
    assert data != encode(symbols, 2, CONTEXTS)
    with pytest.raises(FormatError, match="11 not the best stride"):
        decode(data, symbols.shape, 2, CONTEXTS)


def test_another_common_symbol_is_refused_however_well_it_is_coded(monkeypatch):
    symbols = pruned(rows=20, side=12)
    count = ranges.count_symbols
    with monkeypatch.context() as patch:
        # Only the search for the common symbol counts a whole matrix.
        patch.setattr(ranges, "count_symbols", lambda part, n: count(part, n)[:: 1 if part.ndim == 1 else -1])
        data = encode(symbols, 2, CONTEXTS)
    assert data[0] == 1
    with pytest.raises(FormatError, match="1 is not the most common symbol"):
        decode(data, symbols.shape, 2, CONTEXTS)


@pytest.mark.parametrize("contexts", [1, CONTEXTS])
def test_chunks_leave_no_trace(contexts, monkeypatch):
    """Also where one step has more numbers than a chunk."""
    symbols = pruned(rows=20, side=12)
    data = encode(symbols, 2, contexts)
    monkeypatch.setattr(ranges, "_CHUNK", 7)
    assert encode(symbols, 2, contexts) == data
    assert np.array_equal(decode(data, symbols.shape, 2, contexts), symbols)


@pytest.mark.parametrize(
    ("columns", "steps"),
    [(0, 0), (1, 32), (2, 32), (5, 35), (31, 62), (32, 32), (4096, 4096), (4097, 2049), (9000, 3000)],
)
def test_short_rows_are_joined_to_32_steps_and_long_ones_cut_below_4097(columns, steps):
    assert ranges.steps_of((7, columns)) == steps
