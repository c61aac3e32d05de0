"""The shortest of all ways is taken, gives everything back, and is never longer than the plain file."""

import json

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import SCHEMES, Kinds, images, network, quantized, same, thinned
from strategies import masks, planes

from compresslab import models
from compresslab.errors import FormatError
from compresslab.quantization.schemes import KMeans
from compresslab.quantization.uniform import Symmetric
from compresslab.storage import places
from compresslab.storage.bits import pack
from compresslab.storage.container import contents, decode, encode
from compresslab.storage.planes import CODERS, WAYS, Coding, Stream, cost, write_codes, write_mask

weights = planes().filter(lambda case: case[0].size and case[1] > 1)


@given(weights, st.sets(st.sampled_from(list(CODERS))))
def test_any_codes_come_back_from_any_coders(case, coders):
    matrix, bits = case[0], (case[1] - 1).bit_length()
    coding, data = write_codes(matrix, bits, coders)
    again = msgspec.convert(json.loads(msgspec.json.encode(coding)), Coding)
    again.check(matrix.shape, bits)
    assert again == coding
    assert [len(plane) for plane in data] == [plane.length for plane in coding.planes]
    assert np.array_equal(again.matrix(data, matrix.shape, bits), matrix)


@given(weights)
def test_no_other_way_would_have_been_shorter(case):
    matrix, bits = case[0], (case[1] - 1).bit_length()
    taken = write_codes(matrix, bits, CODERS)
    in_header = json.dumps(header_of(taken[0]), separators=(",", ":"))
    assert cost(taken) == sum(map(len, taken[1])) + len(in_header)
    for coder in CODERS:
        assert cost(taken) <= cost(write_codes(matrix, bits, [coder]))
    mask = matrix != np.bincount(matrix.reshape(-1)).argmax()
    assert cost(write_mask(mask, CODERS)) <= mask.size / 8 + 60  # a packed bitmap, and its words


def header_of(coding):
    planes = [[plane.coder, plane.count, plane.length] for plane in coding.planes]
    return [coding.way, coding.background, coding.kept, planes]


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
