"""Range coding costs what the stored model says, reads back anywhere, and has one encoding for a matrix."""

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compresslab.errors import CompressionError, FormatError
from compresslab.storage import ranges
from compresslab.storage.contexts import CONTEXTS, Neighbourhood, find_stride
from compresslab.storage.ranges import _AMOUNTS, _tables, decode, encode

Matrix = list[list[int]]


def amount(byte: int) -> int:
    """Read a byte as a float of four bits exponent and four bits mantissa."""
    exponent, mantissa = divmod(byte, 16)
    return mantissa if exponent == 0 else (16 + mantissa) * 2 ** (exponent - 1)


def busy_before(matrix: Matrix, common: int, row: int, column: int) -> bool:
    return 0 <= column < len(matrix[0]) and matrix[row][column] != common


def context_of(matrix: Matrix, common: int, stride: int, row: int, column: int) -> int:
    """Find a context as the module describes it, by looking at everything again."""
    near = [column - 1, column - stride, column - stride + 1]
    pattern = sum(busy_before(matrix, common, row, at) << bit for bit, at in enumerate(near))
    if pattern:
        return 8 + pattern
    rows = range(len(matrix))
    first, second, third = (sum(busy_before(matrix, common, r, at) for r in rows) for at in near)
    in_row = sum(busy_before(matrix, common, row, at) for at in range(column))
    in_all = sum(busy_before(matrix, common, r, at) for r in rows for at in range(column))
    density = (2 * first + second + third + 1) / 4 * (in_row + 1) / (in_all + len(matrix))
    return min(8, max(0, 9 + math.floor(math.log2(density))))


class PlainReader:
    """Asymmetric numeral systems with a state of 64 bits, words of 32 and probabilities of 24.

    Follows the library's published description of its entropy models and its stack coder.
    """

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % 4)
        self.words = [int.from_bytes(padded[at : at + 4], "little") for at in range(0, len(padded), 4)]
        self.state = 0
        for _ in range(2):
            self.refill()

    def refill(self) -> None:
        if self.words and self.state < 1 << 32:
            self.state = self.state << 32 | self.words.pop()

    def read(self, table: bytes) -> int:
        weights = [float(amount(byte)) for byte in table]
        scale = (2**24 - len(weights)) / sum(weights)
        ends = [int(sum(weights[:symbol]) * scale) + symbol for symbol in range(len(weights))] + [2**24]
        part = self.state % 2**24
        symbol = max(at for at in range(len(weights)) if ends[at] <= part)
        self.state = (self.state >> 24) * (ends[symbol + 1] - ends[symbol]) + part - ends[symbol]
        self.refill()
        return symbol


@st.composite
def matrices(draw: st.DrawFn, most: int = 256) -> tuple[np.ndarray, int]:
    alphabet = draw(st.integers(1, most))
    rows, columns = draw(st.integers(0, 5)), draw(st.sampled_from([0, 1, 2, 3, 7, 16, 31, 32, 33, 40, 65]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    rarity = draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    symbols = generator.integers(0, alphabet, (rows, columns))
    symbols[generator.random(symbols.shape) < rarity] = draw(st.integers(0, alphabet - 1))
    return symbols.astype(np.uint8), alphabet


def pruned(rows: int, side: int, seed: int = 0) -> np.ndarray:
    """Make a mask as a first layer has it: spots that keep together, some rows busier, borders empty."""
    generator = np.random.default_rng(seed)
    image = generator.normal(size=(rows, side + 2, side + 2))
    smooth = sum(image[:, i : i + side, j : j + side] for i in range(3) for j in range(3)) / 3
    axis = np.abs(np.linspace(-1, 1, side))
    border = np.maximum(axis[:, None], axis[None])
    score = smooth + generator.normal(size=(rows, 1, 1)) / 2 - 2 * border**2
    return (score > 1.5).reshape(rows, -1).astype(np.uint8)


@pytest.mark.parametrize("contexts", [1, CONTEXTS])
@given(matrices())
def test_decoding_undoes_encoding(contexts, case):
    symbols, alphabet = case
    data = encode(symbols, alphabet, contexts)
    again = decode(data, symbols.shape, alphabet, contexts)
    assert again.dtype == np.uint8
    assert again.shape == symbols.shape
    assert again.tolist() == symbols.tolist()


@pytest.mark.parametrize("shape", [(1, 9000), (3, 4097), (2, 4096), (5, 8193), (700, 1), (100, 3), (9, 31)])
@pytest.mark.parametrize("alphabet", [2, 5, 256])
def test_long_and_short_rows_read_back(shape, alphabet):
    generator = np.random.default_rng(0)
    symbols = np.minimum(generator.geometric(0.8, shape) - 1, alphabet - 1).astype(np.uint8)
    data = encode(symbols, alphabet, CONTEXTS)
    assert np.array_equal(decode(data, shape, alphabet, CONTEXTS), symbols)


@given(st.integers(2, 256), st.integers(0, 255), st.integers(1, 5), st.integers(1, 5))
def test_what_cannot_differ_costs_nothing_beyond_the_table(alphabet, symbol, rows, columns):
    symbol %= alphabet
    data = encode(np.full((rows, columns), symbol, np.uint8), alphabet)
    assert len(data) == alphabet
    assert encode(np.zeros((rows, columns), np.uint8), 1) == b""
    assert encode(np.zeros((0, columns), np.uint8), alphabet) == b""


@given(matrices(most=6))
def test_a_plain_reader_reads_the_same(case):
    symbols, alphabet = case
    data = encode(symbols, alphabet)
    if alphabet == 1 or not symbols.size or len(set(symbols.reshape(-1).tolist())) == 1:
        return
    reader = PlainReader(data[alphabet:])
    assert [reader.read(data[:alphabet]) for _ in range(symbols.size)] == symbols.reshape(-1).tolist()
    assert (reader.state, reader.words) == (0, [])


@given(st.integers(1, 4), st.sampled_from([32, 37]), st.integers(0, 2**32), st.integers(2, 4))
def test_a_plain_reader_finds_the_same_contexts(rows, columns, seed, alphabet):
    generator = np.random.default_rng(seed)
    symbols = (generator.integers(0, alphabet, (rows, columns)) * (generator.random((rows, 1)) < 0.5)).astype(
        np.uint8
    )
    data = encode(symbols, alphabet, CONTEXTS)
    common, stride = data[:2]
    tables = [data[2 + alphabet * context :][:alphabet] for context in range(CONTEXTS)]
    reader = PlainReader(data[2 + alphabet * CONTEXTS :])
    matrix = [[common] * columns for _ in range(rows)]
    for column in range(columns):
        contexts = [context_of(matrix, common, stride, row, column) for row in range(rows)]
        for context, row in sorted(zip(contexts, range(rows), strict=True)):
            matrix[row][column] = reader.read(tables[context])
    assert matrix == symbols.tolist()
    assert (reader.state, reader.words) == (0, [])


@given(st.lists(st.integers(0, 2**18), min_size=1, max_size=8), st.integers(0, 20))
def test_a_count_is_stored_to_one_part_in_32(counts, times):
    (table,) = _tables(np.array([counts]) << times)
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


@pytest.mark.parametrize(
    ("rows", "alphabet", "contexts", "hexadecimal"),
    [
        ([], 2, 1, ""),
        ([[3, 3], [3, 3]], 4, 1, "00000004"),
        ([[0, 1, 1, 0], [0, 0, 2, 0]], 3, 1, "05020155006052"),
        (
            [[0, 1, 1, 0], [0, 0, 2, 0]],
            3,
            CONTEXTS,
            "0004" + "000000" * 7 + "010100000000020100000001000000010000000000010000000000" + "adaa2a03",
        ),
    ],
)
def test_golden_bytes(rows, alphabet, contexts, hexadecimal):
    symbols = np.array(rows, np.uint8).reshape(len(rows), -1 if rows else 3)
    assert encode(symbols, alphabet, contexts).hex() == hexadecimal
    assert decode(bytes.fromhex(hexadecimal), symbols.shape, alphabet, contexts).tolist() == symbols.tolist()


@pytest.mark.parametrize("contexts", [1, CONTEXTS])
def test_a_changed_bit_is_refused_or_says_something_else(contexts):
    symbols = pruned(rows=3, side=8)
    data = encode(symbols, 2, contexts)
    refused = 0
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        try:
            found = decode(bytes(changed), symbols.shape, 2, contexts)
        except FormatError:
            refused += 1
        else:
            assert encode(found, 2, contexts) == changed
    assert refused > 16 * contexts  # the tables alone


@given(matrices(), st.sampled_from([1, CONTEXTS]), st.binary(max_size=12), st.integers(0, 5000))
def test_any_bytes_are_refused_or_the_one_encoding_of_something(case, contexts, noise, keep):
    symbols, alphabet = case
    for data in (encode(symbols, alphabet, contexts)[:keep] + noise, noise):
        try:
            found = decode(data, symbols.shape, alphabet, contexts)
        except FormatError:
            continue
        assert found.shape == symbols.shape
        assert encode(found, alphabet, contexts) == data


@pytest.mark.parametrize(
    ("data", "contexts", "message"),
    [
        (b"\1", 1, "1 tables of 2 bytes come first, found 1 bytes"),
        (b"\1\1\0", 1, "leading zero"),
        (b"\1\1", 1, "the tables are not those"),
        (b"\0\4\1", 1, "something is left"),
        (b"\1\1" + bytes(range(1, 9)), 1, "something is left"),
        (b"\2\2" + bytes(32), CONTEXTS, "a symbol below 2"),
        (b"\0\1" + bytes(32), CONTEXTS, "a stride from 2"),
        (b"\0\2" + bytes(31), CONTEXTS, "16 tables of 2 bytes come first, found 31 bytes"),
        (b"\0\2" + bytes(32), CONTEXTS, "the tables are not those"),
        (b"\0", CONTEXTS, "found 00"),
    ],
)
def test_what_is_refused_is_named(data, contexts, message):
    with pytest.raises(FormatError, match=message):
        decode(data, (2, 2), 2, contexts)


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


@pytest.mark.parametrize(("contexts", "times"), [(1, 2), (CONTEXTS, 6)])
@pytest.mark.parametrize("shape", [(1, 1 << 20), (1 << 20, 1), (1 << 10, 1 << 10)])
def test_a_small_file_cannot_ask_for_more_than_its_count(shape, contexts, times):
    tracemalloc.start()
    with pytest.raises(FormatError):
        decode(bytes([0, 2, *[1, 1] * contexts, 7]) if contexts > 1 else b"\1\1\7", shape, 2, contexts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The symbols, and with contexts a grid of them, its contexts and one of both in another order; besides,
    # the few megabytes that a chunk takes.
    assert peak < times * 2**20 + 8 * 2**20


@pytest.mark.parametrize("alphabet", [0, 257, -1, 2.0, True, None])
def test_impossible_alphabets_are_refused(alphabet):
    with pytest.raises(CompressionError, match="1 to 256"):
        encode(np.zeros((1, 3), np.uint8), alphabet)
    with pytest.raises(CompressionError, match="1 to 256"):
        decode(b"", (1, 3), alphabet)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(CompressionError, match="symbol 4 is not in an alphabet of 4"):
        encode(np.array([[0, 4]], np.uint8), 4)
    with pytest.raises(CompressionError, match="int64"):
        encode(np.array([[0, 1]]), 4)
    with pytest.raises(CompressionError, match=r"the shape \(2,\)"):
        encode(np.array([0, 1], np.uint8), 4)
    with pytest.raises(CompressionError, match=r"the shape \(-1, 2\)"):
        decode(b"", (-1, 2), 4)
    for wrong in (0, 2, 17):
        with pytest.raises(CompressionError, match=f"1 or 16 contexts, found {wrong}"):
            encode(np.zeros((2, 2), np.uint8), 4, wrong)
        with pytest.raises(CompressionError, match=f"1 or 16 contexts, found {wrong}"):
            decode(b"", (2, 2), 4, wrong)


def test_the_argument_is_untouched_and_the_result_is_its_own():
    symbols = np.asfortranarray(np.arange(16, dtype=np.uint8).reshape(4, 4))
    for contexts in (1, CONTEXTS):
        data = encode(symbols, 16, contexts)
        decode(data, (4, 4), 16, contexts)[:] = 9
        assert decode(data, (4, 4), 16, contexts).tolist() == symbols.tolist()
    assert symbols.reshape(-1).tolist() == list(range(16))
