"""A file gives back the model that was saved, bit for bit."""

import math
import struct
import sys

import numpy as np
import pytest
import torch
from samples import (
    SCHEMES,
    SMALL,
    Kinds,
    images,
    network,
    put_together,
    quantized,
    same,
    state,
    stranger,
    take_apart,
)
from torch import nn

from compresslab import models
from compresslab.errors import CompressionError, FormatError
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.layers import QuantizedLayer, quantized_like, replace
from compresslab.quantization.schemes import Binary, KMeans
from compresslab.quantization.uniform import Symmetric
from compresslab.storage import tensors
from compresslab.storage.container import decode, encode, load, save

# ---- What is saved comes back ------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_a_network_of_the_book_comes_back_without_being_given(name, tmp_path):
    model = network(name)
    save(model, tmp_path / "model.clab")
    again = load(tmp_path / "model.clab")
    assert type(again) is type(model)
    assert same(again, model)
    assert torch.equal(again(images()), model(images()))


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_every_scheme_comes_back_bit_for_bit(scheme):
    model = quantized(network("lenet5"), scheme)
    again = decode(encode(model)[0])
    assert same(again, model)
    assert again.get_submodule("fc1").quantized.scheme == scheme
    assert torch.equal(again(images()), model(images()))


def test_layers_may_have_different_schemes_and_some_may_stay_in_floats():
    model = network("residual")
    for name, scheme in {"conv1": Symmetric(8), "blocks.0.conv2": KMeans(2), "fc1": Symmetric(8)}.items():
        layer = model.get_submodule(name)
        replace(model, name, quantized_like(layer, scheme.quantize(layer.weight)))
    data, _ = encode(model)
    again = decode(data)
    assert same(again, model)
    assert torch.equal(again(images()), model(images()))
    assert data.count(b'"Symmetric"') == 1  # a shared scheme is written once


def test_every_number_type_and_shape_comes_back_into_a_module():
    into = Kinds(fill=False)
    again = decode(encode(Kinds())[0], into=into)
    assert again is into
    assert same(into, Kinds())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_network_in_another_precision_keeps_it(dtype):
    model = network().to(dtype)
    again = decode(encode(model)[0])
    assert same(again, model)


def test_a_loaded_network_can_be_trained_and_saved_again():
    data, _ = encode(network())
    again = decode(data)
    assert encode(again)[0] == data
    again(images()).sum().backward()
    assert all(parameter.grad is not None for parameter in again.parameters())


def test_paths_may_be_text_and_links_are_followed(tmp_path):
    save(network(), str(tmp_path / "file.clab"))
    (tmp_path / "link.clab").symlink_to(tmp_path / "file.clab")
    save(network(seed=1), tmp_path / "link.clab")
    assert (tmp_path / "link.clab").is_symlink()
    assert same(load(str(tmp_path / "file.clab")), network(seed=1))


# ---- The bytes, counted by part -----------------------------------------------------------


def test_the_parts_add_up_to_the_file(tmp_path):
    for model in (network("residual"), *(quantized(network("residual"), scheme) for scheme in SCHEMES[:14])):
        data, parts = encode(model)
        save(model, tmp_path / "model.clab")
        assert sum(parts.values()) == len(data) == (tmp_path / "model.clab").stat().st_size
        assert list(parts) == ["header", "codes", "scales", "indices", "biases", "weights"]


def test_each_part_counts_what_its_name_says():
    model = quantized(network("residual"), KMeans(3, PerChannel()))
    layers = [m for m in model.modules() if isinstance(m, QuantizedLayer)]
    shapes = [layer.quantized.shape for layer in layers]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    channels = sum(norm.num_features for norm in norms)
    _, parts = encode(model, plain=True)
    assert parts["codes"] == sum((3 * math.prod(shape) + 7) // 8 for shape in shapes)
    assert parts["scales"] == sum(4 * 8 * shape[0] for shape in shapes)  # 8 centroids per channel
    assert parts["biases"] == 4 * (3 + channels)  # the linear layer's and the norms'
    assert parts["weights"] == 4 * 3 * channels + 8 * len(norms)  # weight, mean, variance; a counter each
    assert parts["indices"] == 0
    with pytest.raises(TypeError):
        parts["codes"] = 0


@pytest.mark.parametrize(("bits", "smaller"), [(8, 3.9), (4, 7.5), (2, 14), (1, 25)])
def test_the_articles_network_shrinks_as_promised(bits, smaller):
    scheme = Binary(PerChannel()) if bits == 1 else Symmetric(bits, PerChannel())
    floats = len(encode(models.article())[0])
    assert floats / len(encode(quantized(models.article(), scheme))[0]) >= smaller


def test_the_same_model_gives_the_same_bytes():
    assert encode(network("residual"))[0] == encode(network("residual"))[0]


# ---- Loading into a given module -------------------------------------------------------------------------


def test_any_module_is_filled_and_returned():
    model, into = quantized(stranger(0), Symmetric(4)), stranger(1).train()
    again = decode(encode(model)[0], into=into)
    assert again is into
    assert same(into, model)
    assert torch.equal(into(images()), model(images()))
    assert not into.training


def test_a_module_on_the_meta_device_is_brought_to_life():
    with torch.device("meta"):
        into = stranger()
    assert torch.equal(decode(encode(stranger())[0], into=into)(images()), stranger()(images()))


@pytest.mark.parametrize("part", [0, 3])
def test_a_module_is_brought_to_life_of_which_a_part_is_on_the_meta_device(part):
    into = stranger(1)
    into[part].to(device="meta")
    assert {tensor.is_meta for tensor in into.parameters()} == {True, False}
    assert same(decode(encode(stranger())[0], into=into), stranger())


def test_frozen_parameters_stay_frozen():
    into = stranger(1)
    into[0].weight.requires_grad_(False)
    decode(encode(stranger())[0], into=into)
    assert [p.requires_grad for p in into.parameters()] == [False, True, True, True, True, True]


def test_a_file_of_a_stranger_says_that_it_needs_a_module():
    with pytest.raises(FormatError, match="into=module"):
        decode(encode(stranger())[0])


def test_a_file_of_a_network_fills_a_network_that_is_given():
    into = network(seed=1)
    assert decode(encode(network())[0], into=into) is into
    assert same(into, network())


def refused_into():
    wide = nn.Sequential(nn.Conv2d(1, 2, 5), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 26 * 26, 3))
    short = stranger()[:3]
    longer = nn.Sequential(*stranger(), nn.Linear(3, 3))
    counter = stranger()
    counter[1].running_mean = torch.zeros(2, dtype=torch.int64)
    tied = stranger()
    tied[1].bias = tied[1].weight
    return {
        "0.weight has shape": wide,
        "surplus tensor '3.bias'": short,
        "has no tensor '4.bias'": longer,
        "1.running_mean is torch.float32 in the file, torch.int64": counter,
        "one tensor in the module, two in the file": tied,
        "quantized already": quantized(stranger(), Symmetric(8)),
    }


@pytest.mark.parametrize("message", refused_into())
def test_a_module_that_does_not_fit_is_refused_and_left_as_it_was(message):
    data, _ = encode(quantized(stranger(), Symmetric(4)))
    into = refused_into()[message].train()
    before, identities = state(into), [id(p) for p in into.parameters()]
    with pytest.raises(CompressionError, match=message):
        decode(data, into=into)
    assert state(into) == before
    assert [id(p) for p in into.parameters()] == identities
    assert into.training


def test_a_damaged_file_leaves_the_given_module_as_it_was():
    """The last scale is infinite: everything before it was fine and had been read."""
    header, payload = take_apart(encode(quantized(stranger(), Symmetric(4)), plain=True)[0])
    assert header["tensors"][-2][:3] == ["3.weight", [3, 1352], "packed"]
    payload = payload[:-16] + struct.pack("<f", math.inf) + payload[-12:]
    into = stranger(1).train()
    before = state(into)
    with pytest.raises(FormatError, match=r"3\.weight"):
        decode(put_together(header, payload), into=into)
    assert state(into) == before
    assert into.training


def test_a_machine_of_the_other_order_of_bytes_writes_the_same_file(monkeypatch):
    values = np.array([1, -2, 2**20], dtype="<i4")
    there = values.astype(">i4").view(np.uint8)  # what its memory holds
    monkeypatch.setattr(sys, "byteorder", "big")
    assert tensors._little_endian(there, 4).tobytes() == values.tobytes()
    assert tensors._little_endian(there, 1).tobytes() == there.tobytes()
