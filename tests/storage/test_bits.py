"""Packing is a bijection between code sequences and byte strings of exactly the promised length."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compresslab.errors import CompressionError, FormatError
from compresslab.storage.bits import _CHUNK, pack, packed_size, unpack


def reference(codes: list[int], bits: int) -> bytes:
    """One Python integer of unlimited size: code i times 2**(i * bits), written lowest byte first."""
    number = sum(code << (index * bits) for index, code in enumerate(codes))
    return number.to_bytes((len(codes) * bits + 7) // 8, "little")


@st.composite
def code_lists(draw):
    bits = draw(st.integers(1, 8))
    return bits, draw(st.lists(st.integers(0, 2**bits - 1), max_size=70))


@given(code_lists())
def test_packing_equals_one_big_integer(case):
    bits, codes = case
    assert pack(np.array(codes, np.uint8), bits) == reference(codes, bits)


@given(code_lists())
def test_unpacking_undoes_the_reference(case):
    bits, codes = case
    assert unpack(reference(codes, bits), bits, len(codes)).tolist() == codes


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [8 * _CHUNK - 1, 8 * _CHUNK, 8 * _CHUNK + 1, 16 * _CHUNK + 13])
def test_chunk_borders_leave_no_trace(bits, count):
    codes = np.random.default_rng(count).integers(0, 2**bits, count, dtype=np.uint8)
    # Independent of the word tricks: the bits of each code written out, one by one.
    bit_rows = (codes[:, None] >> np.arange(bits)) & 1
    expected = np.packbits(bit_rows.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
    assert pack(codes, bits) == expected
    assert np.array_equal(unpack(expected, bits, count), codes)


@pytest.mark.parametrize(
    ("bits", "codes", "hexadecimal"),
    [
        (1, [1, 0, 0, 1, 0, 0, 1], "49"),
        (2, [0, 1, 2, 3, 1, 2, 3, 1], "e479"),
        (3, [1, 2, 3, 4], "d108"),
        (4, [0, 1, 2, 3, 15], "10320f"),
        (5, [1, 2, 31], "417c"),
        (6, [1, 2, 3, 4, 63], "8130103f"),
        (7, [1, 2, 127], "01c11f"),
        (8, [0, 255, 7], "00ff07"),
    ],
)
def test_golden_bytes(bits, codes, hexadecimal):
    assert pack(np.array(codes, np.uint8), bits).hex() == hexadecimal
    assert unpack(bytes.fromhex(hexadecimal), bits, len(codes)).tolist() == codes


@given(st.integers(1, 8), st.integers(0, 200))
def test_size_is_the_bits_rounded_up_to_a_byte(bits, count):
    size = len(pack(np.zeros(count, np.uint8), bits))
    assert 0 <= 8 * size - bits * count < 8
    assert size == packed_size(count, bits)


@given(code_lists())
def test_every_bit_of_the_data_is_either_a_code_bit_or_refused(case):
    """Canonical: no two byte strings unpack to the same codes."""
    bits, codes = case
    data = reference(codes, bits)
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        if position < bits * len(codes):
            assert unpack(changed, bits, len(codes)).tolist() != codes
        else:
            with pytest.raises(FormatError, match="unused bits"):
                unpack(changed, bits, len(codes))


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("length", [-1, 1])
def test_a_wrong_length_is_refused(bits, length):
    data = bytes(packed_size(100, bits) + length)
    with pytest.raises(FormatError, match="100 codes"):
        unpack(data, bits, 100)


@pytest.mark.parametrize("bits", range(1, 8))
def test_a_code_that_does_not_fit_is_refused(bits):
    codes = np.zeros(100, np.uint8)
    codes[57] = 2**bits
    with pytest.raises(CompressionError, match=f"code {2**bits} does not fit"):
        pack(codes, bits)


@pytest.mark.parametrize("bits", [0, 9, -1, 2.0, True, None])
def test_impossible_widths_are_refused(bits):
    with pytest.raises(CompressionError, match="1 to 8"):
        pack(np.zeros(3, np.uint8), bits)
    with pytest.raises(CompressionError, match="1 to 8"):
        unpack(b"", bits, 0)


@pytest.mark.parametrize(
    "codes", [np.zeros(3, np.int8), torch.zeros(3), torch.zeros(3, dtype=torch.int8), [0, 1], b"abc"]
)
def test_only_uint8_is_packed(codes):
    with pytest.raises(CompressionError, match="uint8"):
        pack(codes, 4)


def test_a_negative_count_is_refused():
    with pytest.raises(CompressionError, match="-1"):
        unpack(b"", 4, -1)


def test_tensors_of_any_shape_and_stride_pack_in_c_order():
    codes = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    assert pack(codes.T, 4) == pack(codes.T.reshape(-1).numpy().copy(), 4)
    assert pack(codes, 4) == reference(list(range(12)), 4)
    assert pack(codes[:, ::2], 4) == reference([0, 2, 4, 6, 8, 10], 4)


def test_the_argument_is_untouched_and_the_result_is_its_own():
    codes = np.arange(16, dtype=np.uint8)
    for bits in (4, 8):
        before = codes.copy()
        data = pack(codes, bits)
        result = unpack(data, bits, 16)
        result[:] = 9
        assert np.array_equal(codes, before)
        assert unpack(data, bits, 16).tolist() == before.tolist()
