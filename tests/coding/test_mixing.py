"""Mixing: what is written comes back, costs what the model says, and is the same on every machine."""

import hashlib
import math
import tracemalloc
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import processor
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compresslab.coding import logistic, mixing
from compresslab.coding.logistic import ONE, SURE, Reader, Writer
from compresslab.coding.steps import HIGHEST, LOWEST, nearest_step, step_table
from compresslab.errors import CompressionError, FormatError

SHAPES = [(3, 1, 5, 5), (3,), (4, 3, 5, 5), (4,), (6, 64), (6,), (5, 6), (5,)]  # a LeNet-5


@st.composite
def tensors(draw):
    """Draw a few tensors of one, two or four axes, sparse or dense, of small or of large integers."""
    side = st.integers(1, 5)
    shape = st.one_of(
        side.map(lambda rows: (rows,)),
        st.tuples(side, st.integers(1, 30)),
        st.tuples(side, side, side, side),
        side.flatmap(lambda k: st.tuples(side, side, st.just(k), st.just(k))),
    )
    shapes = draw(st.lists(shape, min_size=0, max_size=5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.3, 1, 5, 60, 1000]))
    drawn = (generator.laplace(0, spread, shape).round().clip(-127, 127) for shape in shapes)
    return [values.astype(draw(st.sampled_from([np.int8, np.int64]))) for values in drawn]


def sparse(shapes=SHAPES, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.laplace(0, 0.7, shape).round().astype(np.int8) for shape in shapes]


def shapes_of(found):
    return [tensor.shape for tensor in found]


# ---- What comes back ------------------------------------------------------------------------------------


@example([])
@given(tensors())
@settings(max_examples=40)
def test_what_is_written_comes_back_and_costs_what_it_says(given_tensors):
    mixed = mixing.mix(given_tensors)
    found, lengths = mixing.unmix(mixed.data, shapes_of(given_tensors), mixed.bits)
    assert all(np.array_equal(left, right) for left, right in zip(found, given_tensors, strict=True))
    assert [one.shape for one in found] == shapes_of(given_tensors)
    assert all(one.dtype == np.int8 for one in found)
    assert lengths == mixed.lengths
    assert sum(lengths) == len(mixed.data) if given_tensors else not mixed.data
    # a number of that many bits stands in every interval, and no shorter one but by luck: 16 bits of it
    assert mixed.cost / 8 - 2 < len(mixed.data) < mixed.cost / 8 + 1 + 1e-6
    assert bool(mixed.cost) == bool(given_tensors)
    values = sum(one.size for one in given_tensors)
    assert values <= mixed.bits <= 26 * values


def test_no_bit_more_is_read_than_is_allowed():
    mixed = mixing.mix(sparse())
    mixing.unmix(mixed.data, SHAPES, mixed.bits)
    with pytest.raises(FormatError, match="bits were read"):
        mixing.unmix(mixed.data, SHAPES, mixed.bits - 1)


def test_a_number_has_one_way_to_be_written():
    data = mixing.mix(sparse()).data
    for other in (data + b"\0", data + b"\1", data[:-1], data[:-1] + bytes([data[-1] ^ 1])):
        try:
            found, _ = mixing.unmix(other, SHAPES)
        except FormatError:
            continue
        assert mixing.mix(found).data == other  # it stands for other integers
    for longer in (data + b"\0", data + b"\0\1"):
        with pytest.raises(FormatError, match="not the one"):
            mixing.unmix(longer, SHAPES)


@pytest.mark.parametrize(
    "wrong",
    [
        *(np.array([[1, 128]]), np.array([-128], np.int8), np.zeros((0, 3), int), np.zeros((2, 0), int)),
        *(np.array([1.0]), np.array(3), np.array([True])),
    ],
)
def test_what_is_no_tensor_of_small_integers_is_refused(wrong):
    with pytest.raises(CompressionError, match="from -127 to 127"):
        mixing.mix([np.array([1]), wrong])


def by_a_rule(shape, number):
    """Make integers of all sizes that keep together in spots, by arithmetic alone."""
    place = np.arange(math.prod(shape), dtype=np.int64) + 1000 * number
    fine, coarse = place * 48271 % 65521, place // 4 * 69621 % 65521
    size = np.where(fine % 64 == 0, fine % 128, fine % 5 // 2 + coarse % 3 // 2)
    size = np.where(coarse % 4 < 2, 0, size)
    return np.where(coarse % 8 < 5, size, -size).astype(np.int8).reshape(shape)


@pytest.mark.parametrize(
    ("shapes", "size", "digest"),
    [
        ([(6, 1, 5, 5), (6,)], 36, "3d8b0d1714e32769"),
        ([(12, 6, 5, 5), (12,)], 287, "db962b3fe11a3647"),
        ([(4, 48)], 46, "46fa9b8a973c8fee"),
        ([(10, 40), (10,)], 75, "5dbd848c68344e76"),
    ],
)
def test_golden_numbers_of_kernels_rows_and_biases(shapes, size, digest):
    """What was written must be read for ever: no context, no weight and no order may change."""
    given_tensors = [by_a_rule(shape, number) for number, shape in enumerate(shapes)]
    data = mixing.mix(given_tensors).data
    assert (len(data), hashlib.sha256(data).hexdigest()[:16]) == (size, digest)
    found, _ = mixing.unmix(data, shapes)
    assert all(np.array_equal(one, other) for one, other in zip(found, given_tensors, strict=True))


# ---- What it takes --------------------------------------------------------------------------------------


def test_patterns_cost_less_than_their_zeros_and_ones_alone():
    """Half of the columns are empty, and neighbours have one sign."""
    weight = np.zeros((20, 1, 6, 6), np.int8)
    weight[:, :, 1:4, 2:5] = 1
    weight[::2] *= -1
    ones = np.count_nonzero(weight) / weight.size
    alone = -weight.size * (ones * math.log2(ones) + (1 - ones) * math.log2(1 - ones)) / 8
    signs = np.count_nonzero(weight) / 8
    assert len(mixing.mix([weight]).data) < (alone + signs) / 2
    shuffled = np.random.default_rng(0).permutation(weight.reshape(-1)).reshape(weight.shape)
    assert len(mixing.mix([shuffled]).data) > alone


def test_a_network_of_ten_thousand_weights_is_read_within_a_second(tmp_path):
    shapes = [(6, 1, 5, 5), (6,), (12, 6, 5, 5), (12,), (40, 192), (40,), (10, 40), (10,)]
    assert sum(map(math.prod, shapes)) > 10_000
    (tmp_path / "codes").write_bytes(mixing.mix(sparse(shapes)).data)
    before = (
        f"from compresslab.coding import mixing; data = open(sys.argv[1], 'rb').read(); shapes = {shapes}"
    )
    assert processor.seconds(before, "mixing.unmix(data, shapes)", tmp_path / "codes") < 1


def test_reading_takes_no_more_memory_than_is_counted():
    for shapes in ([(1, 400)], [(400, 1)], [(8, 6, 3, 3)], [(400,)]):
        dense = [np.random.default_rng(0).integers(-127, 128, shape) for shape in shapes]
        data = mixing.mix(dense).data
        tracemalloc.start()
        mixing.unmix(data, shapes)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < mixing.VALUE_MEMORY * sum(one.size for one in dense)


# ---- The arithmetic, against exact numbers --------------------------------------------------------------


def test_probabilities_and_log_odds_are_those_of_exact_arithmetic():
    getcontext().prec = 40
    squash, stretch = logistic.tables()
    end = logistic.REACH * logistic.UNIT
    assert len(squash) == 2 * end + 1
    for odds in [*range(-end, end + 1, 97), -1, 0, 1, end]:
        exact = ONE / (1 + (Decimal(-odds) / logistic.UNIT).exp())
        assert abs(squash[odds + end] - exact) <= Decimal("0.5000001")
    assert len(stretch) == ONE
    for chance in range(SURE, ONE - SURE + 1, 61):
        odds = stretch[chance]
        assert squash[odds + end] <= chance
        assert odds == end or squash[odds + end + 1] > chance


@given(st.lists(st.tuples(st.booleans(), st.integers(SURE, ONE - SURE)), max_size=200))
@settings(max_examples=50)
def test_the_number_is_the_shortest_in_the_interval_that_long_numbers_cut(bits):
    """Python's integers have any length, so that the reference puts out no bytes and carries nothing."""
    writer, low, wide, places, exact = Writer(), 0, 1 << 40, 40, Fraction(1)
    for bit, chance in bits:
        writer.code(int(bit), chance)
        part = wide * chance >> 16
        low, wide = (low, part) if bit else (low + part, wide - part)
        exact *= Fraction(chance if bit else ONE - chance, ONE)
        while wide < 1 << 32:
            low, wide, places = low << 8, wide << 8, places + 8
    data = writer.finish()
    assert low <= int.from_bytes(data, "big") << places - 8 * len(data) < low + wide
    for shorter in range(len(data)):
        rest = places - 8 * shorter
        assert -(-low >> rest) << rest >= low + wide  # the next number of so few bytes lies beyond
    # cutting in whole numbers of at least 32 bits loses a millionth for each bit at most
    assert Fraction(wide, 1 << places) >= exact * (1 - len(bits) * Fraction(1, 10**6))
    reader = Reader(data)
    assert [bool(reader.code(0, chance)) for _, chance in bits] == [bit for bit, _ in bits]
    assert reader.finish() == data


def test_a_carry_runs_through_all_bytes_before_it():
    """An interval that lies across a half for long: its lower end was put out as 127, 255, 255 ..."""
    writer, bits = Writer(), []
    while len(writer.out) < 6:  # the part that holds the half, again and again
        half, low = 1 << 39 + 8 * len(writer.out), int.from_bytes(bytes(writer.out), "big") << 40 | writer.low
        chance = max(SURE, min(ONE - SURE, (half - low) * ONE // writer.range + 1))
        bits.append((int(half < low + (writer.range * chance >> 16)), chance))
        writer.code(*bits[-1])
    before = bytes(writer.out)
    assert before.startswith(b"\x7f\xff\xff\xff")
    while writer.out[0] == 127:  # then always the upper part
        bits.append((0, ONE // 2))
        writer.code(*bits[-1])
    assert writer.out.startswith(b"\x80\0\0\0")
    reader = Reader(data := writer.finish())
    assert [reader.code(0, chance) for _, chance in bits] == [bit for bit, _ in bits]
    assert reader.finish() == data


def test_steps_are_the_nearest_floats_of_eighths_of_powers_of_two():
    assert list(step_table().values()) == list(range(LOWEST, HIGHEST + 1))
    assert len(step_table()) == 254
    for step, k in step_table().items():
        assert float(np.float32(step)) == step
        below, above = (Fraction(float(np.nextafter(np.float32(step), np.float32(to)))) for to in (0, 2**20))
        low, high = (below + Fraction(step)) / 2, (above + Fraction(step)) / 2
        assert low**8 <= Fraction(2) ** k <= high**8


@given(st.floats(2.0**-24, 90))
def test_the_nearest_step_is_within_a_sixteenth_of_a_power(scale):
    step = nearest_step(scale)
    assert step in step_table()
    assert abs(math.log2(step / scale)) <= 1 / 16 + 1e-6


def test_steps_beyond_the_ends_are_those_at_the_ends():
    assert nearest_step(1e-30) == 2.0**-25
    assert nearest_step(1e30) == list(step_table())[-1]
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(CompressionError, match="positive and finite"):
            nearest_step(wrong)
