"""Huffman codes are as short as words can be, and every text has exactly one encoding."""

import heapq
import math
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compresslab.errors import CompressionError, FormatError
from compresslab.storage import lanes
from compresslab.storage.huffman import canonical_codes, code_lengths, decode, encode
from compresslab.storage.lanes import _EACH, _MOST, LONGEST

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


def words(lengths: list[int]) -> dict[str, int]:
    """Number the words of a code as text, by counting upwards."""
    found, code, width = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        code <<= length - width
        found[f"{code:0{length}b}"] = symbol
        code, width = code + 1, length
    return found


def read_slowly(data: bytes, count: int, alphabet: int) -> list[int]:
    """Read an encoding as the module describes it, one lane after another, one bit after another."""
    size = (alphabet + 1) // 2
    lengths = [data[symbol // 2] >> 4 * (symbol % 2) & 15 for symbol in range(alphabet)]
    pieces = [
        f"{low + 256 * high:016b}" for low, high in zip(data[size::2], data[size + 1 :: 2], strict=True)
    ]
    book, dealt = words(lengths), max(1, count // _EACH)
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


@given(counts_lists)
def test_the_code_is_as_short_as_merging_makes_it(counts):
    lengths = code_lengths(counts)
    assert sum(count * int(length) for count, length in zip(counts, lengths, strict=True)) == cost_by_merging(
        counts
    )
    assert [bool(length) for length in lengths] == [bool(count) for count in counts] or sum(
        map(bool, counts)
    ) == 1


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
    book = sorted(
        f"{code:0{length}b}" for code, length in zip(canonical_codes(lengths), lengths, strict=True) if length
    )
    assert book == sorted(words(lengths.tolist()))
    # Sorted, a word that begins another stands right before one that it begins.
    assert not any(after.startswith(before) for before, after in pairwise(book))


@given(counts_lists.filter(any))
def test_the_mean_length_is_within_a_bit_of_the_entropy(counts):
    total = sum(counts)
    entropy = sum(count / total * math.log2(total / count) for count in counts if count)
    mean = int(code_lengths(counts) @ np.array(counts)) / total
    # float64: a few dozen roundings of numbers below 64
    assert entropy - 1e-12 <= mean < entropy + 1


@st.composite
def texts(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    alphabet = draw(st.integers(1, 256))
    some = st.integers(0, draw(st.integers(0, alphabet - 1)))
    return np.array(draw(st.lists(some, max_size=60)), np.uint8), alphabet


@given(texts())
def test_decoding_undoes_encoding(text):
    symbols, alphabet = text
    data = encode(symbols, alphabet)
    again = decode(data, len(symbols), alphabet)
    assert again.dtype == np.uint8
    assert again.tolist() == symbols.tolist()


@given(texts())
def test_what_cannot_differ_costs_nothing_beyond_the_table(text):
    symbols, alphabet = text
    table = (alphabet + 1) // 2 if alphabet > 1 and len(symbols) else 0
    data = encode(symbols, alphabet)
    assert len(data) == table if len(set(symbols.tolist())) < 2 else len(data) > table


@pytest.mark.parametrize("count", [1, 7, 2 * _EACH - 1, 2 * _EACH, 2 * _EACH + 1, 3 * _EACH + 700])
@pytest.mark.parametrize("spread", [0.3, 2.0, 40.0])
def test_a_plain_reader_reads_the_same(count, spread):
    normal = np.random.default_rng(count).normal(128, spread, count)
    symbols = np.clip(normal, 0, 255).astype(np.uint8)
    if len(set(symbols.tolist())) > 1:
        assert read_slowly(encode(symbols, 256), count, 256) == symbols.tolist()


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


@pytest.mark.parametrize(
    ("symbols", "alphabet", "hexadecimal"),
    [
        ([], 16, ""),
        ([0, 0, 0], 1, ""),
        ([2, 2, 2], 4, "0001"),
        ([0, 1, 1, 0], 2, "110060"),  # 0 1 1 0
        ([0, 2, 0, 1, 0, 3, 0, 0], 4, "31234076"),  # 0 10 0 110 0 111 0 0: of 1 and 3 the smaller comes first
    ],
)
def test_golden_bytes(symbols, alphabet, hexadecimal):
    assert encode(np.array(symbols, np.uint8), alphabet).hex() == hexadecimal
    assert decode(bytes.fromhex(hexadecimal), len(symbols), alphabet).tolist() == symbols


def test_a_changed_bit_is_refused_or_says_something_else(monkeypatch):
    monkeypatch.setattr(lanes, "_EACH", 16)
    symbols = np.random.default_rng(0).binomial(7, 0.4, 60).astype(np.uint8)  # three lanes
    data = encode(symbols, 8)
    refused = 0
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        try:
            found = decode(bytes(changed), len(symbols), 8)
        except FormatError:
            refused += 1
        else:
            assert encode(found, 8) == changed
    assert refused > 32  # a table of 32 bits alone


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


@given(texts(), st.binary(max_size=12), st.integers(0, 200))
def test_any_bytes_are_refused_or_the_one_encoding_of_something(text, noise, keep):
    symbols, alphabet = text
    for data in (encode(symbols, alphabet)[:keep] + noise, noise):
        try:
            found = decode(data, len(symbols), alphabet)
        except FormatError:
            continue
        assert len(found) == len(symbols)
        assert encode(found, alphabet) == data


def pieces(bits: str) -> bytes:
    return int(bits.ljust(16, "0"), 2).to_bytes(2, "little")


@pytest.mark.parametrize(
    ("table", "found"),
    [("00", "do not make a code"), ("21", "do not make"), ("22", "do not make"), ("f1", "do not make")],
)
def test_lengths_that_are_no_code_are_refused(table, found):
    with pytest.raises(FormatError, match=found):
        decode(bytes.fromhex(table) + bytes(2), 3, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x21", "takes 2 bytes, found 1"),
        (b"\x21\x02", "end within the 3 symbols"),
        (b"\x21\x02" + pieces("0100"), "not those of the best code"),  # 0, 1, 0 needs no third word
        (b"\x22\x01" + pieces("10110"), None),
        (b"\x22\x01" + pieces("101101"), "something follows"),
        (b"\x22\x01" + pieces("10110") + b"\0\0", "something follows"),
        (b"\x22\x01" + pieces("10110") + b"\0", "pieces of two bytes"),
        (b"\x22\x01" + bytes(100), "at most 3 pieces"),
        (b"\x22\x11" + pieces("10110"), "unused bits"),
        (b"\x01\x00" + b"\0", "take no words"),
    ],
)
def test_what_is_refused_is_named(data, message):
    if message is None:
        assert decode(data, 3, 3).tolist() == [0, 1, 2]
        return
    with pytest.raises(FormatError, match=message):
        decode(data, 3, 3)


def test_a_small_file_cannot_ask_for_more_than_its_count():
    count = 1 << 20
    tracemalloc.start()
    with pytest.raises(FormatError, match="end within"):
        decode(b"\x11" + bytes(8), count, 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * count


@pytest.mark.parametrize("alphabet", [0, 257, -1, 2.0, True, None])
def test_impossible_alphabets_are_refused(alphabet):
    with pytest.raises(CompressionError, match="1 to 256"):
        encode(np.zeros(3, np.uint8), alphabet)
    with pytest.raises(CompressionError, match="1 to 256"):
        decode(b"", 0, alphabet)


def test_what_is_no_text_is_refused():
    with pytest.raises(CompressionError, match="symbol 4 is not in an alphabet of 4"):
        encode(np.array([0, 4], np.uint8), 4)
    with pytest.raises(CompressionError, match="int64"):
        encode(np.array([0, 1]), 4)
    with pytest.raises(CompressionError, match="list"):
        encode([0, 1], 4)
    with pytest.raises(CompressionError, match="-1 symbols"):
        decode(b"", -1, 4)
    with pytest.raises(CompressionError, match="-3 times"):
        code_lengths([1, -3])


@pytest.mark.parametrize("lengths", [[1, 1, 1], [1, 2, 2, 2], [49, 1], [-1, 1]])
def test_lengths_without_a_code_have_no_words(lengths):
    with pytest.raises(CompressionError):
        canonical_codes(lengths)


def test_the_argument_is_untouched_and_the_result_is_its_own():
    symbols = np.arange(16, dtype=np.uint8)
    data = encode(symbols, 16)
    decode(data, 16, 16)[:] = 9
    assert decode(data, 16, 16).tolist() == symbols.tolist() == list(range(16))
