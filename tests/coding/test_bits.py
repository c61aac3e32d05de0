"""Packing is a bijection between code sequences and byte strings of exactly the promised length."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compresslab.coding.bits import _CHUNK, _COUNTED, count_symbols, pack, packed_size, unpack
from compresslab.errors import CompressionError

# The contract of all coders in ``test_coders`` holds that packing equals one big integer, and reads back.


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [8 * _CHUNK - 1, 8 * _CHUNK, 8 * _CHUNK + 1, 16 * _CHUNK + 13])
def test_chunk_borders_leave_no_trace(bits, count):
    codes = np.random.default_rng(count).integers(0, 2**bits, count, dtype=np.uint8)
    # Independent of the word tricks: the bits of each code written out, one by one.
    bit_rows = (codes[:, None] >> np.arange(bits)) & 1
    expected = np.packbits(bit_rows.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
    assert pack(codes, bits) == expected
    assert np.array_equal(unpack(expected, bits, count), codes)


@given(st.integers(1, 8), st.integers(0, 200))
def test_size_is_the_bits_rounded_up_to_a_byte(bits, count):
    size = len(pack(np.zeros(count, np.uint8), bits))
    assert 0 <= 8 * size - bits * count < 8
    assert size == packed_size(count, bits)


def test_tensors_of_any_shape_and_stride_pack_in_c_order():
    codes = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    assert pack(codes, 4).hex() == "1032547698ba"
    assert pack(codes.T, 4).hex() == "401895623ab7"
    assert pack(codes[:, ::2], 4).hex() == "2064a8"


@pytest.mark.parametrize("count", [0, 1, _COUNTED - 1, _COUNTED, _COUNTED + 1, 3 * _COUNTED + 5])
def test_symbols_are_counted_across_chunks(count):
    symbols = np.random.default_rng(count).integers(0, 7, count, dtype=np.uint8)
    assert count_symbols(symbols, 9).tolist() == [symbols.tolist().count(symbol) for symbol in range(9)]


@pytest.mark.parametrize("low", [0, 253])
@pytest.mark.parametrize("place", [0, _COUNTED, 2 * _COUNTED])
def test_what_does_not_fit_is_found_in_every_chunk(low, place):
    symbols = np.full(2 * _COUNTED + 1, low, dtype=np.uint8)
    symbols[place : place + 1] += 4  # modulo 256
    with pytest.raises(CompressionError, match="The number 4 does not fit among 4"):
        pack(symbols, 2, low)
