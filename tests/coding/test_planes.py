"""The shortest of all ways is taken, gives everything back, and is never longer than the plain file."""

import dataclasses
import json

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import SCHEMES, Kinds, images, network, quantized, same, thinned
from strategies import masks, planes

from compresslab import models
from compresslab.coding import places
from compresslab.coding.bits import count_symbols, pack, unpack
from compresslab.coding.choosing import Plane, _way, cost, shortest, write_codes, write_places
from compresslab.coding.planes import CODERS, WAYS, Coding, Stream
from compresslab.errors import FormatError
from compresslab.quantization.schemes import KMeans
from compresslab.quantization.uniform import Symmetric
from compresslab.storage.container import contents, decode, encode

weights = planes().filter(lambda case: case[0].size and case[1] > 1)


@given(weights, st.sets(st.sampled_from(list(CODERS))))
def test_any_codes_come_back_from_any_coders(case, coders):
    matrix, bits = case[0], (case[1] - 1).bit_length()
    coding, data = write_codes(matrix, bits, coders)
    if coding is None:
        assert np.array_equal(unpack(data[0], bits, matrix.size).reshape(matrix.shape), matrix)
        return
    again = msgspec.convert(json.loads(msgspec.json.encode(coding)), Coding)
    again.check(matrix.shape, bits)
    assert again == coding
    assert [len(plane) for plane in data] == [plane.length for plane in coding.planes]
    assert np.array_equal(again.matrix(data, matrix.shape, bits), matrix)


@given(weights, st.integers(1, 255), st.sets(st.sampled_from(list(CODERS))))
def test_codes_that_are_counted_from_the_lowest_are_written_as_if_they_had_been(case, low, coders):
    """Modulo 256: -127 is the byte 129, and the codes above zero come after the wrap."""
    matrix, bits = case[0], (case[1] - 1).bit_length()
    raw = matrix + np.uint8(low)
    assert write_codes(raw, bits, coders, low) == write_codes(matrix, bits, coders)
    assert pack(raw, bits, low) == pack(matrix, bits)
    for coder in CODERS.values():
        assert coder.write(raw, bits, low) == coder.write(matrix, bits)


def header_of(coding):
    planes = [[plane.coder, plane.count, plane.length] for plane in coding.planes]
    return [coding.way, coding.background, coding.kept, planes]


def tried(matrix, bits, coders):
    """Write a weight in every way with every coder, and keep the first of the shortest: no estimate."""

    def plane(numbers, width):
        names = [n for n in CODERS if n in {"packed", *coders} and (n != "context" or len(numbers) > 1)]
        written = {name: CODERS[name].write(numbers, width) for name in names}
        best = min(written, key=lambda name: len(written[name]) + len(name))
        return Stream(best, numbers.size, len(written[best])), written[best]

    def row(numbers, width):
        return plane(numbers.reshape(1, -1), width)

    background = int(np.bincount(matrix.reshape(-1)).argmax())
    mask = matrix != background
    columns, by_width = mask.shape[1], {width: places.gaps(mask, width) for width in places.GAP_BITS}
    narrow = min(by_width, key=lambda width: width * len(by_width[width]))
    widths = [*places.widths(columns + 1), *places.widths(columns)]
    ways = {
        "bitmap": [plane(mask.astype(np.uint8), 1)],
        "rows": [row(*pair) for pair in zip(places.rows_and_columns(mask), widths, strict=True)],
        **{f"gaps{width}": [row(by_width[width], width)] for width in (narrow, 8)},
    }
    kept = row(matrix[mask], bits)
    found = [(Coding("dense", 0, matrix.size, (first := plane(matrix, bits))[:1]), [first[1]])]
    for way, written in ways.items():
        streams, data = zip(*written, kept, strict=True)
        found.append((Coding(way, background, int(mask.sum()), streams), list(data)))
    costs = [sum(map(len, data)) + len(json.dumps(header_of(c), separators=(",", ":"))) for c, data in found]
    if (plain := (matrix.size * bits + 7) // 8) <= min(costs):
        return plain, (None, [pack(matrix, bits)])
    return min(costs), found[costs.index(min(costs))]


@settings(max_examples=200)
@given(
    planes(most_rows=40).filter(lambda case: case[0].size and case[1] > 1),
    st.sets(st.sampled_from(list(CODERS))),
)
def test_the_way_is_that_of_trying_all_though_only_what_may_be_shortest_is_written(case, coders):
    matrix, bits = case[0], (case[1] - 1).bit_length()
    least, wanted = tried(matrix, bits, coders)
    assert write_codes(matrix, bits, coders) == wanted
    assert cost(wanted) == least


def test_nothing_is_written_that_must_be_longer_than_what_is():
    written = []
    ways = [
        (bound, lambda size=size: written.append(size) or size) for bound, size in [(1, 5), (2, 3), (4, 6)]
    ]
    assert shortest(ways, int) == 3
    assert written == [5, 3]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_a_way_takes_no_less_than_its_bound(share):
    """Packed it takes 200 bytes, with three digits in the header; another coder may need but one."""
    numbers = (np.random.default_rng(0).random((1, 1600)) < share).astype(np.uint8)
    plane = Plane(numbers.shape, count_symbols(numbers, 2), lambda *_: numbers, CODERS)
    bound, write = _way(Coding("dense", 0, 1600, ()), [plane])
    assert bound <= cost(write())


def test_places_of_numbers_are_written_as_by_trying_all():
    """Numbers of four bytes: what is said of the places must be shorter than the zeros that it saves."""
    for share in (0.0, 0.02, 0.3, 0.97, 1.0):
        mask = np.random.default_rng(0).random((30, 50)) < share
        coding, data = write_places(mask, 4, CODERS)
        saved = 4 * int((~mask).sum())
        if coding is None:
            assert not data
            assert saved < 60 + mask.size / 8  # a packed bitmap, and its words
        else:
            assert cost((coding, data)) < saved
            assert np.array_equal(coding.mask(data, mask.shape), mask)


@pytest.mark.parametrize("keep", [0.9, 0.3, 0.02])
def test_of_a_large_matrix_one_way_is_written(keep, monkeypatch):
    """Above half a million codes a block stands for the whole; what follows is decided, and written once."""
    generator, written = np.random.default_rng(0), []
    matrix = generator.integers(1, 16, (1000, 1000), dtype=np.uint8)
    matrix[generator.random(matrix.shape) >= keep] = 0
    for name, coder in CODERS.items():
        spy = lambda plane, bits, name=name, coder=coder: written.append(name) or coder.write(plane, bits)  # noqa: E731
        monkeypatch.setitem(CODERS, name, dataclasses.replace(coder, write=spy))
    coding, data = write_codes(matrix, 4, CODERS)
    assert len(written) == len(data)
    assert np.array_equal(coding.matrix(data, matrix.shape, 4), matrix)


def test_a_large_matrix_is_written_in_contexts_where_they_save_a_twentieth():
    """Half the rows are nearly empty, the others noise: contexts know which; a block stands for the whole."""
    share = np.where(np.arange(1000) % 2 == 0, 0.02, 0.5)[:, None]
    matrix = (np.random.default_rng(0).random((1000, 1000)) < share).astype(np.uint8)
    coding, data = write_codes(matrix, 1, CODERS)
    assert coding.planes[-1].coder == "context"
    assert sum(map(len, data)) < 0.95 * sum(map(len, write_codes(matrix, 1, ["range"])[1]))


def test_what_a_block_promises_in_vain_never_makes_a_file_longer():
    """The first rows repeat, so that contexts look good; all others are noise."""
    matrix = np.random.default_rng(0).integers(0, 2, (1200, 1024), dtype=np.uint8)
    matrix[:256] = np.arange(1024) % 7 == 0
    coding, data = write_codes(matrix, 1, CODERS)
    assert cost((coding, data)) <= matrix.size / 8


@given(masks, st.sampled_from(places.GAP_BITS))
def test_a_survey_counts_what_the_planes_hold(mask, bits):
    survey, columns = places.survey(mask, 0), mask.shape[1]
    assert survey.count_gaps(bits).tolist() == count_symbols(places.gaps(mask, bits), 1 << bits).tolist()
    counted = [
        *places.count_split(survey.rows, columns + 1),
        *places.count_split(np.arange(columns), columns, survey.columns),
    ]
    planes = places.rows_and_columns(mask)
    assert [c.tolist() for c in counted] == [
        count_symbols(plane, len(c)).tolist() for plane, c in zip(planes, counted, strict=True)
    ]


def test_a_survey_takes_long_gaps_and_several_blocks(monkeypatch):
    monkeypatch.setattr(places, "_BLOCK", 7)
    monkeypatch.setattr(places, "_SHORT", 5)
    mask = np.random.default_rng(0).random((40, 3)) < 0.1
    counts = places.survey(mask, 0).count_gaps(3)
    assert counts.tolist() == count_symbols(places.gaps(mask, 3), 8).tolist()


@pytest.mark.parametrize("way", WAYS[1:])
@given(masks)
def test_every_way_is_read_whether_or_not_it_is_written_today(way, mask):
    columns = mask.shape[1]
    if way == "bitmap":
        arrays = [(mask.astype(np.uint8), 1)]
    elif way == "rows":
        widths = [*places.widths(columns + 1), *places.widths(columns)]
        arrays = list(zip(places.rows_and_columns(mask), widths, strict=True))
    else:
        arrays = [(places.gaps(mask, int(way[-1])), int(way[-1]))]
    data = [pack(array, bits) for array, bits in arrays]
    streams = [
        Stream("packed", array.size, len(piece)) for (array, _), piece in zip(arrays, data, strict=True)
    ]
    coding = Coding(way, 0, int(mask.sum()), tuple(streams))
    coding.check(mask.shape, None)
    assert np.array_equal(coding.mask(data, mask.shape), mask)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("scheme", [None, *SCHEMES[:14]], ids=repr)
def test_a_file_is_never_longer_than_the_plain_one(scheme, share):
    model = thinned(network("lenet_300_100"), share)
    model = model if scheme is None else quantized(model, scheme)
    data, parts = encode(model)
    assert len(data) <= len(encode(model, plain=True)[0])
    assert sum(parts.values()) == len(data)
    assert same(decode(data), model)


def test_a_minus_zero_is_no_zero():
    model = thinned(models.lenet_300_100(), 0.99)
    model.fc1.weight.data[0, :5] = -0.0
    data, _ = encode(model)
    assert len(data) < len(encode(model, plain=True)[0]) / 10
    assert same(decode(data), model)
    assert bool(torch.signbit(decode(data).fc1.weight[0, :5]).all())


def test_every_number_type_may_be_sparse():
    class Wide(Kinds):
        def __init__(self, fill=True):
            super().__init__(fill)
            for name, value in [*self.named_buffers(), *self.named_parameters()]:
                flat = value.detach().reshape(-1)
                wide = torch.cat([flat, torch.zeros(3000, dtype=value.dtype), flat])
                wide = wide if fill else torch.zeros_like(wide)
                setattr(self, name, torch.nn.Parameter(wide) if name in self._parameters else wide)

    data, _ = encode(Wide())
    assert all(entry.coding for entry in contents(data) if entry.count > 3000)
    assert same(decode(data, into=Wide(fill=False)), Wide())


def test_the_parts_of_a_sparse_file_are_named():
    model = quantized(thinned(models.lenet_300_100(), 0.95), KMeans(4, keep_zero=True))
    data, parts = encode(model)
    entries = [entry for entry in contents(data) if entry.coding]
    assert [entry.name for entry in entries] == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert parts["codes"] == sum(entry.coding.planes[-1].length for entry in entries)
    assert parts["indices"] == sum(s.length for entry in entries for s in entry.coding.planes[:-1])
    assert parts["scales"] == 3 * 16 * 4  # a codebook of 16 floats for each of three layers


def test_a_pruned_and_clustered_network_is_far_smaller_and_answers_alike():
    model = quantized(thinned(models.article(), 0.95), KMeans(4, keep_zero=True))
    data, _ = encode(model)
    # 5 % of 333,320 weights: 4 bits each and an entropy of 0.29 bits a place. The rest: 824 bytes of biases,
    # 256 of codebooks, and a header and tables of frequencies below 1,400
    assert len(data) <= 333_320 * (0.05 * 4 + 0.29) / 8 + 2_500
    assert torch.equal(decode(data)(images()), model(images()))


def test_what_expands_too_far_is_refused_before_it_is_read():
    """A few bytes may stand for a matrix of zeros of any size; the limit counts the matrix."""
    model = quantized(thinned(models.lenet_300_100(), 1.0), Symmetric(4))
    data, _ = encode(model)
    assert len(data) < 5_000
    with pytest.raises(FormatError, match="max_bytes"):
        decode(data, max_bytes=266_200)  # one byte a code: less than it takes
