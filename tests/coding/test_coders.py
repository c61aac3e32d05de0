"""One contract for every coder: what is written comes back, and each plane has exactly one encoding."""

import math
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import planes

from compresslab.coding import huffman, lanes, ranges
from compresslab.coding.bits import pack, unpack
from compresslab.coding.frequencies import size_bound
from compresslab.coding.planes import CODERS
from compresslab.errors import FormatError

Numbers = list[int]
Shape = tuple[int, int]


def width(alphabet: int) -> int:
    return max(1, (alphabet - 1).bit_length())


# ---- The formats a second time, symbol by symbol, without the package -----------------------------------


def read_packed(data: bytes, shape: Shape, alphabet: int) -> Numbers:
    """One Python integer of unlimited size: code i times 2**(i * bits), written lowest byte first."""
    number, bits = int.from_bytes(data, "little"), width(alphabet)
    return [number >> bits * i & (1 << bits) - 1 for i in range(math.prod(shape))]


def words(lengths: Numbers) -> dict[str, int]:
    """Number the words of a code as text, by counting upwards."""
    found, code, wide = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        code <<= length - wide
        found[f"{code:0{length}b}"] = symbol
        code, wide = code + 1, length
    return found


def read_huffman(data: bytes, shape: Shape, alphabet: int) -> Numbers:
    """Read as ``lanes`` describes it, one lane after another, one bit after another."""
    size, count = (alphabet + 1) // 2, math.prod(shape)
    lengths = [data[symbol // 2] >> 4 * (symbol % 2) & 15 for symbol in range(alphabet)]
    if sum(lengths) == 1:
        return [lengths.index(1)] * count
    pieces = [
        f"{low + 256 * high:016b}" for low, high in zip(data[size::2], data[size + 1 :: 2], strict=True)
    ]
    book, dealt = words(lengths), max(1, count // 1024)
    waiting, symbols = [""] * dealt, []
    for index in range(math.ceil(count / dealt) * dealt):
        lane = index % dealt
        if len(waiting[lane]) < max(lengths):
            waiting[lane] += pieces.pop(0)
        word = next(word for word in book if waiting[lane].startswith(word))
        waiting[lane] = waiting[lane][len(word) :]
        symbols.append(book[word])
    assert not pieces
    assert set("".join(waiting)) <= {"0"}
    return symbols[:count]


def amount(byte: int) -> int:
    """Read a byte as a float of four bits exponent and four bits mantissa."""
    exponent, mantissa = divmod(byte, 16)
    return mantissa if exponent == 0 else (16 + mantissa) * 2 ** (exponent - 1)


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
        weights = weights if any(weights) else [1.0] * len(weights)
        scale = (2**24 - len(weights)) / sum(weights)
        ends = [int(sum(weights[:symbol]) * scale) + symbol for symbol in range(len(weights))] + [2**24]
        part = self.state % 2**24
        symbol = max(at for at in range(len(weights)) if ends[at] <= part)
        self.state = (self.state >> 24) * (ends[symbol + 1] - ends[symbol]) + part - ends[symbol]
        self.refill()
        return symbol


def read_range(data: bytes, shape: Shape, alphabet: int) -> Numbers:
    table, reader = data[:alphabet], PlainReader(data[alphabet:])
    if sum(map(bool, table)) == 1:
        return [next(at for at in range(alphabet) if table[at])] * math.prod(shape)
    found = [reader.read(table) for _ in range(math.prod(shape))]
    assert (reader.state, reader.words) == (0, [])
    return found


def context_of(matrix: list[Numbers], common: int, stride: int, row: int, column: int) -> int:
    """Find a context as ``contexts`` describes it, by looking at everything again."""

    def busy(row: int, column: int) -> bool:
        return column >= 0 and matrix[row][column] != common

    near, rows = [column - 1, column - stride, column - stride + 1], range(len(matrix))
    pattern = sum(busy(row, at) << bit for bit, at in enumerate(near))
    if pattern:
        return 8 + pattern
    first, second, third = (sum(busy(r, at) for r in rows) for at in near)
    in_row = sum(busy(row, at) for at in range(column))
    in_all = sum(busy(r, at) for r in rows for at in range(column))
    density = (2 * first + second + third + 1) / 4 * (in_row + 1) / (in_all + len(matrix))
    return min(8, max(0, 9 + math.floor(math.log2(density))))


def read_context(data: bytes, shape: Shape, alphabet: int) -> Numbers:
    """Read column by column: short rows joined to 32 numbers at least, and few enough to need no cutting."""
    (common, stride), count = data[:2], math.prod(shape)
    tables = [data[2 + alphabet * context :][:alphabet] for context in range(16)]
    reader, wide = PlainReader(data[2 + 16 * alphabet :]), shape[1] * max(1, math.ceil(32 / shape[1]))
    matrix = [[common] * wide for _ in range(math.ceil(count / wide))]
    for column in range(wide):
        contexts = [
            (context_of(matrix, common, stride, row, column), row)
            for row in range(len(matrix))
            if row * wide + column < count
        ]
        for context, row in sorted(contexts):
            matrix[row][column] = reader.read(tables[context])
    assert (reader.state, reader.words) == (0, [])
    return [number for numbers in matrix for number in numbers][:count]


@dataclass(frozen=True)
class Codec:
    """What the contract is held by: three functions, and how many bits must be refused when they change."""

    write: Callable[[np.ndarray, int], bytes]
    read: Callable[[bytes, Shape, int], np.ndarray]
    read_plainly: Callable[[bytes, Shape, int], Numbers]
    refused: int
    table: Callable[[int], int]


CODECS = {
    "packed": Codec(
        lambda plane, alphabet: pack(plane, width(alphabet)),
        lambda data, shape, alphabet: unpack(data, width(alphabet), math.prod(shape)).reshape(shape),
        read_packed,
        *(4, lambda alphabet: 0),  # the bits of the last byte that no code takes
    ),
    "huffman": Codec(
        huffman.encode,
        lambda data, shape, alphabet: huffman.decode(data, math.prod(shape), alphabet).reshape(shape),
        read_huffman,
        *(32, lambda alphabet: (alphabet + 1) // 2),  # a table of 8 lengths of 4 bits
    ),
    "range": Codec(ranges.encode, ranges.decode, read_range, 32, lambda alphabet: alphabet),
    "context": Codec(
        lambda plane, alphabet: ranges.encode(plane, alphabet, ranges.CONTEXTS),
        lambda data, shape, alphabet: ranges.decode(data, shape, alphabet, ranges.CONTEXTS),
        read_context,
        *(512, lambda alphabet: 2 + 16 * alphabet),
    ),
}
every_coder = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def check_one_encoding(codec: Codec, data: bytes, shape: Shape, alphabet: int) -> bool:
    """Read any bytes: they are refused, or the very bytes that are written for what was read."""
    try:
        found = codec.read(data, shape, alphabet)
    except FormatError:
        return False
    assert found.shape == shape
    assert codec.write(found, alphabet) == data
    return True


def test_the_contract_is_about_the_coders_of_files():
    plane = np.random.default_rng(0).binomial(7, 0.4, (4, 15)).astype(np.uint8)
    assert list(CODECS) == list(CODERS)
    for name, codec in CODECS.items():
        data = CODERS[name].write(plane, 3)
        assert data == codec.write(plane, 8)
        assert np.array_equal(CODERS[name].read(data, (4, 15), 3), plane)


@every_coder
@given(planes())
def test_reading_undoes_writing(codec, case):
    plane, alphabet = case
    before = plane.copy()
    data = codec.write(plane, alphabet)
    again = codec.read(data, plane.shape, alphabet)
    assert again.dtype == np.uint8
    assert np.array_equal(again, plane)
    again[:] = 9  # the result is its own
    assert np.array_equal(plane, before)
    assert np.array_equal(codec.read(data, plane.shape, alphabet), plane)


@every_coder
@settings(max_examples=40)
@given(planes(most_rows=3))
def test_a_plain_reader_reads_the_same(codec, case):
    plane, alphabet = case
    if plane.size and alphabet > 1:
        assert (
            codec.read_plainly(codec.write(plane, alphabet), plane.shape, alphabet) == plane.ravel().tolist()
        )


@pytest.mark.parametrize("count", [1, 7, 2047, 2048, 2049, 3772])
@pytest.mark.parametrize("spread", [0.3, 2.0, 40.0])
def test_a_plain_reader_reads_lanes_of_huffman_words(count, spread):
    normal = np.random.default_rng(count).normal(128, spread, (1, count))
    plane = np.clip(normal, 0, 255).astype(np.uint8)
    assert read_huffman(huffman.encode(plane, 256), plane.shape, 256) == plane.ravel().tolist()


@every_coder
@given(planes())
def test_what_cannot_differ_costs_nothing_beyond_the_table(codec, case):
    plane, alphabet = case
    data, table = codec.write(plane, alphabet), codec.table(alphabet)
    if codec is CODECS["packed"]:
        assert len(data) == math.ceil(plane.size * width(alphabet) / 8)
    elif alphabet == 1 or not plane.size:
        assert data == b""
    elif len(np.unique(plane)) > 1:
        assert len(data) > table
    elif codec is not CODECS["context"]:  # sixteen models, none of which is ever wholly sure
        assert len(data) == table


@every_coder
def test_a_changed_bit_is_refused_or_says_something_else(codec, monkeypatch):
    monkeypatch.setattr(lanes, "_EACH", 16)  # three lanes
    plane = np.random.default_rng(0).binomial(7, 0.4, (4, 15)).astype(np.uint8)
    data = codec.write(plane, 8)
    refused = 0
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        if not check_one_encoding(codec, bytes(changed), plane.shape, 8):
            refused += 1
        else:
            assert not np.array_equal(codec.read(bytes(changed), plane.shape, 8), plane)
    assert refused >= codec.refused


@every_coder
@given(planes(most_rows=40))
def test_counts_alone_bound_the_bytes_from_below(codec, case):
    """And from near: a range-coded number ends in two to four bytes more, a lane loses up to four."""
    plane, alphabet = case[0], 1 << width(max(2, case[1]))
    name = next(name for name in CODECS if CODECS[name] is codec)
    size, counts = len(codec.write(plane, alphabet)), np.bincount(plane.reshape(-1), minlength=alphabet)
    bound = CODERS[name].bound(counts)
    if name == "context" and plane.size:
        assert bound == codec.table(alphabet)
        bound = size_bound(ranges.count_in_contexts(plane, alphabet))
    assert bound <= size or not plane.size
    assert size <= bound + {"packed": 0, "huffman": 4, "range": 8, "context": 8}[name]


@every_coder
@given(planes(), st.binary(max_size=12), st.integers(0, 5000))
def test_any_bytes_are_refused_or_the_one_encoding_of_something(codec, case, noise, keep):
    plane, alphabet = case
    data = codec.write(plane, alphabet)
    for changed in (data[:keep] + noise, noise, data[:-1], data + b"\0", data + b"\1"):
        check_one_encoding(codec, changed, plane.shape, alphabet)
    for surplus in (b"\0", b"\1"):
        with pytest.raises(FormatError):
            codec.read(data + surplus, plane.shape, alphabet)


@pytest.mark.parametrize(
    ("coder", "plane", "alphabet", "hexadecimal"),
    [
        ("packed", [[1, 0, 0, 1, 0, 0, 1]], 2, "49"),
        ("packed", [[0, 1, 2, 3, 1, 2, 3, 1]], 4, "e479"),
        ("packed", [[1, 2, 3, 4]], 8, "d108"),
        ("packed", [[0, 1, 2, 3, 15]], 16, "10320f"),
        ("packed", [[1, 2, 31]], 32, "417c"),
        ("packed", [[1, 2, 3, 4, 63]], 64, "8130103f"),
        ("packed", [[1, 2, 127]], 128, "01c11f"),
        ("packed", [[0, 255, 7]], 256, "00ff07"),
        ("huffman", [[]], 16, ""),
        ("huffman", [[0, 0, 0]], 1, ""),
        ("huffman", [[2, 2, 2]], 4, "0001"),
        ("huffman", [[0, 1, 1, 0]], 2, "110060"),  # 0 1 1 0
        ("huffman", [[0, 2, 0, 1, 0, 3, 0, 0]], 4, "31234076"),  # 0 10 0 110 0 111 0 0: 1 comes before 3
        ("range", [[]], 2, ""),
        ("range", [[3, 3], [3, 3]], 4, "00000004"),
        ("range", [[0, 1, 1, 0], [0, 0, 2, 0]], 3, "05020155006052"),
        (
            *("context", [[0, 1, 1, 0], [0, 0, 2, 0]], 3),
            "0004" + "000000" * 7 + "010100000000020100000001000000010000000000010000000000" + "adaa2a03",
        ),
    ],
)
def test_golden_bytes(coder, plane, alphabet, hexadecimal):
    codec, symbols = CODECS[coder], np.array(plane, np.uint8)
    assert codec.write(symbols, alphabet).hex() == hexadecimal
    assert codec.read(bytes.fromhex(hexadecimal), symbols.shape, alphabet).tolist() == plane


@pytest.mark.parametrize(
    ("coder", "data", "times"),
    [
        ("packed", b"\1\1\7", 0),
        ("huffman", b"\x11" + bytes(8), 1.5),
        ("range", b"\1\1\7", 2),
        # A grid of symbols, its contexts and both in another order; what is picked of them.
        ("context", bytes([0, 2, *[1, 1] * 16, 7]), 6),
    ],
)
@pytest.mark.parametrize("shape", [(1, 1 << 20), (1 << 20, 1), (1 << 10, 1 << 10)])
def test_a_few_bytes_cannot_ask_for_more_than_their_count(coder, data, times, shape):
    tracemalloc.start()
    with pytest.raises(FormatError):
        CODECS[coder].read(data, shape, 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < times * 2**20 + (8 * 2**20 if coder in ("range", "context") else 2**18)  # a library's chunk


@pytest.mark.parametrize("shape", [(1, 9000), (3, 4097), (2, 4096), (5, 8193), (700, 1), (100, 3), (9, 31)])
@pytest.mark.parametrize("alphabet", [2, 5, 256])
@every_coder
def test_long_and_short_rows_read_back(codec, shape, alphabet):
    plane = np.minimum(np.random.default_rng(0).geometric(0.8, shape) - 1, alphabet - 1).astype(np.uint8)
    assert np.array_equal(codec.read(codec.write(plane, alphabet), shape, alphabet), plane)


@every_coder
def test_memory_order_and_strides_do_not_matter(codec):
    plane = np.random.default_rng(0).integers(0, 16, (12, 10), dtype=np.uint8)
    for view in (plane.T, plane[:, ::2], np.asfortranarray(plane)):
        assert codec.write(view, 16) == codec.write(np.ascontiguousarray(view), 16)
