"""The shortest of all ways is taken, gives everything back, and is never longer than the plain file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from samples import (
    GOLDEN,
    SCHEMES,
    Kinds,
    by_hand,
    counted,
    images,
    network,
    put_together,
    quantized,
    same,
    take_apart,
    thinned,
)

from compresslab import models
from compresslab.errors import FormatError
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.layers import quantized_like
from compresslab.quantization.layers import replace as put
from compresslab.quantization.schemes import KMeans, Ternary
from compresslab.quantization.uniform import Symmetric
from compresslab.storage import codings
from compresslab.storage.codings import Coding, write_codes, write_mask
from compresslab.storage.container import contents, decode, encode
from compresslab.storage.streams import CODERS, Stream

SHARES = (0.0, 0.5, 0.9, 0.99, 1.0)


@st.composite
def matrices(draw):
    """Codes of which one may be far more frequent than the others."""
    bits = draw(st.integers(1, 8))
    shape = draw(arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30))
    codes = draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, 2**bits - 1)))
    kept = draw(arrays.arrays(bool, shape))
    return np.where(kept, codes, draw(st.integers(0, 2**bits - 1))).astype(np.uint8), bits


@given(matrices(), st.sets(st.sampled_from(list(CODERS))))
def test_any_codes_come_back_from_any_coders(case, coders):
    matrix, bits = case
    coding, planes = write_codes(matrix, bits, coders)
    again = Coding.from_list(coding.to_list(), matrix.shape, bits)
    assert again == coding
    assert [len(plane) for plane in planes] == [stream.length for stream in coding.streams]
    assert np.array_equal(again.matrix(planes, matrix.shape, bits), matrix)


@settings(deadline=None)
@given(matrices())
def test_no_other_way_would_have_been_shorter(case):
    matrix, bits = case
    taken = codings._cost(write_codes(matrix, bits, CODERS))
    for coder in CODERS:
        assert taken <= codings._cost(write_codes(matrix, bits, [coder]))
    mask = matrix != np.bincount(matrix.reshape(-1)).argmax()
    assert codings._cost(write_mask(mask, CODERS)) <= mask.size / 8 + 60  # a packed bitmap, and its words


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("scheme", [None, *SCHEMES[:14]], ids=repr)
def test_a_file_is_never_longer_than_the_plain_one(scheme, share):
    model = thinned(network("lenet_300_100"), share)
    model = model if scheme is None else quantized(model, scheme)
    data, parts = encode(model)
    assert len(data) <= len(encode(model, plain=True)[0])
    assert sum(parts.values()) == len(data)
    assert same(decode(data), model)


@pytest.mark.parametrize("coder", CODERS)
def test_each_coder_by_itself_gives_the_model_back(coder):
    coders = ["packed", coder]
    for model in (thinned(network("lenet5"), 0.9), quantized(thinned(network("lenet5"), 0.8), Ternary())):
        assert same(decode(encode(model, coders=coders)[0]), model)


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
    assert parts["codes"] == sum(entry.coding.codes.length for entry in entries)
    assert parts["indices"] == sum(s.length for entry in entries for s in entry.coding.places)
    assert parts["scales"] == 3 * 16 * 4  # a codebook of 16 floats for each of three layers


def test_a_pruned_and_clustered_network_is_far_smaller_and_answers_alike():
    model = quantized(thinned(models.article(), 0.95), KMeans(4, keep_zero=True))
    data, _ = encode(model)
    # 5 % of 333,320 weights: 4 bits each and an entropy of 0.29 bits a place. The rest: 824 bytes of biases,
    # 256 of codebooks, and a header and tables of frequencies below 1,400
    assert len(data) <= 333_320 * (0.05 * 4 + 0.29) / 8 + 2_500
    assert torch.equal(decode(data)(images()), model(images()))


# ---- Headers that lie -------------------------------------------------------------------------------------


def sparse_file():
    model = quantized(thinned(network("lenet_300_100"), 0.9), Symmetric(4))
    return take_apart(encode(model, coders=["packed", "huffman"])[0])


def coded(header):
    return next(item for item in header["tensors"] if item[2] == "coded")


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (2, "zipped", "layout"),
        (3, 7, "scheme 7"),
        (3, "f33", "layout"),
        (3, "f32", "planes|values"),
        (4, "gaps9", "way 'gaps9'"),
        (4, "rows", "planes"),
        (4, "dense", "places"),
        (5, 16, "beside 16"),
        (5, -1, "beside -1"),
        (6, -1, "-1 values"),
        (6, 10**9, "values"),
        (6, True, "must be"),
        (7, [], "planes"),
        (7, [["packed", 1, 1]], "planes"),
        (7, [["packed", 1], ["packed", 1, 1]], "plane must be"),
        (7, [["packed", -1, 1], ["packed", 1, 1]], "impossible"),
        (7, [["zip", 4704, 1], ["packed", 1, 1]], "numbers|zip"),
    ],
)
def test_every_lie_about_a_coding_is_named(position, value, message):
    header, payload = sparse_file()
    coded(header)[position] = value
    with pytest.raises(FormatError, match=message):
        decode(put_together(header, payload))


def test_the_lies_above_start_from_a_good_file():
    assert decode(put_together(*sparse_file()))


def test_counts_must_agree_with_the_planes():
    coding, planes = write_mask(np.eye(40, dtype=bool), ["packed"])
    wrong = replace(coding, kept=39)
    with pytest.raises(FormatError, match="40 places are named for 39"):
        wrong.mask(planes, (40, 40))


def test_what_expands_too_far_is_refused_before_it_is_read():
    """A few bytes may stand for a matrix of zeros of any size; the limit counts the matrix."""
    model = quantized(thinned(models.lenet_300_100(), 1.0), Symmetric(4))
    data, _ = encode(model)
    assert len(data) < 5_000
    with pytest.raises(FormatError, match="max_bytes"):
        decode(data, max_bytes=266_200)  # one byte a code: less than it takes


# ---- Golden files -----------------------------------------------------------------------------------------


def golden_models():
    floats = counted(models.lenet5(conv1=2, conv2=4, fc1=20, classes=4))
    mixed = counted(models.lenet5(conv1=2, conv2=4, fc1=20, classes=4))
    for weight in (floats.fc1.weight, mixed.fc1.weight):
        weight.data.view(-1)[torch.arange(weight.numel()) % 11 != 0] = 0
    for name, scheme in {"conv2": Symmetric(3, PerChannel()), "fc2": KMeans(2)}.items():
        layer = mixed.get_submodule(name)
        put(mixed, name, quantized_like(layer, by_hand(tuple(layer.weight.shape), scheme)))
    codes = by_hand((20, 64), Symmetric(4))
    codes.codes[torch.arange(20 * 64).reshape(20, 64) % 7 != 0] = 0
    put(mixed, "fc1", quantized_like(mixed.fc1, codes))
    return {"v1_sparse_floats": floats, "v1_sparse_codes": mixed}


@pytest.mark.parametrize("name", ["v1_sparse_floats", "v1_sparse_codes"])
@pytest.mark.parametrize("coder", ["packed", "huffman", "range", "context"])
def test_golden_files_of_every_coder_are_read_and_written_to_the_byte(name, coder):
    model = golden_models()[name]
    golden = (GOLDEN / f"{name}_{coder}.clab").read_bytes()
    assert encode(model, coders=["packed", coder])[0] == golden
    assert same(decode(golden), model)


def test_the_cheapest_plane_is_what_its_parts_cost():
    stream = Stream("packed", 100, 50)
    coding = Coding("dense", 0, 100, (), stream)
    assert codings._cost((coding, [bytes(50)])) == 50 + len('["dense",0,100,[["packed",100,50]]]')
