"""Compact files: a network of the book, its integers as one number, hardly a byte beside."""

import processor
import pytest
import torch
from samples import images, network, quantized, resealed, same, tiny
from torch import nn

from compresslab import models
from compresslab.errors import CompressionError, FormatError
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.quantizing import quantize
from compresslab.quantization.schemes import Ternary
from compresslab.quantization.uniform import Symmetric
from compresslab.storage import compact, limits
from compresslab.storage.arguments import OWN
from compresslab.storage.container import contents, decode, encode, load, save


def mixed(model):
    return encode(model, coding="mixing")[0]


def lenet5():
    """LeNet-5 of the records' widths: 10,098 numbers, all codes, most of them zero."""
    model = tiny("lenet5", conv1=6, conv2=12, fc1=40, classes=10)
    for name, buffer in model.named_buffers():
        if name.endswith("codes"):
            buffer[torch.arange(buffer.numel()).reshape(buffer.shape) % 9 != 0] = 0
    return model


NETWORKS = {
    "codes": tiny,
    "cosines": lambda: tiny("lenet_300_100", cosines=4),
    "lists": lambda: tiny("residual", norm=False),
    "float biases": lambda: quantized(network("article"), Symmetric(3)),
    "one layer": lambda: quantize(network("lenet5"), {"conv2": Symmetric(5)}),
    "wide": lambda: tiny("lenet_300_100", fc1=200, fc2=2, cosines=3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_saved_answers_as_before_to_the_bit(name, tmp_path):
    model = NETWORKS[name]().eval()
    save(model, tmp_path / "small.clab", coding="mixing")
    again, data = load(tmp_path / "small.clab"), mixed(model)
    assert (tmp_path / "small.clab").read_bytes() == data
    assert torch.equal(again(images()), model(images()))
    assert mixed(again) == data
    assert again.config == model.config
    into = decode(data, into=network(model.name) if name == "float biases" else type(model)(model.config))
    assert same(into, again)
    assert len(data) < len(encode(model)[0]) - 150


def test_the_parts_and_the_contents_add_up():
    for make in NETWORKS.values():
        data, parts = encode(make(), coding="mixing")
        assert sum(parts.values()) == len(data)
        listed = [entry.bytes_by_part for entry in contents(data)]
        assert sum(part.get("codes", 0) for part in listed) == parts["codes"]
        assert sum(part.get("scales", 0) for part in listed) == parts["scales"]


def test_lenet5_takes_fifteen_bytes_beside_its_integers_and_loads_within_a_second(tmp_path):
    data, parts = encode(lenet5(), coding="mixing")
    assert len(data) - parts["codes"] == 15
    (tmp_path / "lenet5.clab").write_bytes(data)
    before = "import compresslab; from compresslab.storage import decode"
    assert processor.seconds(before, "decode(open(sys.argv[1], 'rb').read())", tmp_path / "lenet5.clab") < 1


def test_every_byte_of_the_head():
    """Form and version; checksum; builder 2 with 4 arguments; widths; steps; the integers."""
    data = mixed(tiny())
    names = (f"{layer}.{leaf}" for layer in ("conv1", "conv2", "fc1", "fc2") for leaf in ("weight", "bias"))
    steps = [200 + 8 * (len(name) - 12) for name in names]
    assert data[0] == 0xC1
    assert list(data[3:8]) == [2 + 16 * 4, 2, 3, 5, 3]
    assert list(data[8:16]) == steps
    assert resealed(data) == data
    assert tuple(models.BUILDERS) == OWN  # a new builder comes behind these
    wide = mixed(tiny("lenet_300_100", fc1=300, fc2=5, classes=10, cosines=3))
    assert list(wide[3:9]) == [1 + 16 * 4, 300 % 128 + 128, 300 // 128, 5, 10, 3]
    assert mixed(tiny("lenet5", classes=10))[3:7] == bytes([2 + 16 * 3, 2, 3, 5])  # the default is left out


def test_a_scale_of_another_kind_takes_four_bytes_and_floats_four_each():
    model = tiny()
    before = len(mixed(model))
    model.conv1.weight_scale.fill_(0.3)
    assert len(mixed(model)) == before + 4
    floats = quantize(network("lenet5"), Symmetric(4))
    assert encode(floats, coding="mixing")[1]["biases"] == 4 * (2 + 3 + 5 + 3)


# ---- What is refused --------------------------------------------------------------------------------------


def tied():
    model = models.residual(widths=[3, 3], inner=[3, 3], norm=False)
    model.blocks[0].conv2.weight = model.blocks[0].conv1.weight
    return quantize(model, Symmetric(4))


REFUSED = {
    "another module": (lambda: quantize(nn.Sequential(nn.Linear(4, 2)), Symmetric(4)), "book's own networks"),
    "norms": (lambda: quantized(network("residual"), Symmetric(4)), "fold the norms"),
    "floats": (lambda: network("lenet5"), "quantize it first"),
    "another scheme": (lambda: quantized(network("lenet5"), Ternary()), r"Symmetric\(bits, PerTensor"),
    "a scale a channel": (lambda: quantized(network("lenet5"), Symmetric(4, PerChannel())), "PerTensor"),
    "half": (lambda: tiny().half(), "decoded|float32"),
    "tied": (tied, "tensors that are one"),
    "large": (lambda: quantized(models.lenet5(), Symmetric(2)), r"at most 50,000 bits.* has 430,500 codes"),
    "dense": (lambda: quantized(models.lenet5(10, 20, 80), Symmetric(8)), "at most 50,000 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_compact_file_cannot_hold_is_refused_and_nothing_is_written(name, tmp_path):
    make, why = REFUSED[name]
    with pytest.raises(CompressionError, match=why) as refused:
        save(make(), tmp_path / "small.clab", coding="mixing")
    assert not list(tmp_path.iterdir())
    assert len(str(refused.value)) <= 500


def test_words_that_are_no_coding_are_refused():
    with pytest.raises(CompressionError, match="mixing"):
        encode(tiny(), coding="mixed")
    with pytest.raises(CompressionError, match="plain"):
        encode(tiny(), coding="mixing", plain=True)


def test_every_single_bit_counts():
    """A CRC of 16 bits finds every error of one bit."""
    data = mixed(tiny("lenet5", conv1=1, conv2=1, fc1=1, classes=1))
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(FormatError):
            decode(bytes(changed))


def test_every_cut_and_every_addition_is_refused():
    data = mixed(tiny())
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode(data[:length])  # under its checksum: a shorter number may stand for other integers
    for more in (b"\0", b"\1", b"\0\1"):
        with pytest.raises(FormatError):
            decode(resealed(data + more))


def head(*numbers):
    return resealed(bytes([0xC1, 0, 0, *numbers]))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (head(), "ends within its head"),
        (head(4), "not known"),
        (head(2 + 16 * 5, 1, 1, 1, 1, 1), "not known"),
        (head(2 + 16, 20), "would have been left out"),  # the default of conv1
        (head(2 + 16, 128, 0), "another way"),  # 0 in two bytes
        (head(2 + 16, 0), "conv1 of a network"),
        (head(2 + 16, 255, 127), "conv1 of a network"),  # 16,383
        (head(1 + 16 * 4, 3, 3, 3, 29, 0, 0), "cosines"),
        (head(3 + 16, 2, 3), "ends within its head"),
        (head(2 + 16 * 4, 1, 1, 1, 1, 255, 0), "ends within 'conv1.weight'"),
        (head(2 + 16 * 4, 1, 1, 1, 1, 254, 0, 0, 128, 62), "would have been written as one"),  # 0.25
        (head(2 + 16 * 4, 1, 1, 1, 1, 254, 0, 0, 192, 127, *[0] * 9), "finite"),  # NaN
        (head(2 + 16 * 3, 40, 60, 60, *[0] * 8), "s to be read"),
        (head(2 + 16 * 3, 127, 127, 127, *[0] * 8), "666,125,030 bytes"),
        (bytes([0xC2]) + head(2)[1:], "version 2 of the compact form, this package reads 1"),
        (bytes([0xC1]), "checksum"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(data, why):
    with pytest.raises(FormatError, match=why):
        decode(data)


def test_a_caller_who_allows_more_may_read_more_and_one_who_allows_less_less(monkeypatch):
    data = mixed(tiny())
    with pytest.raises(FormatError, match="more than the limit"):
        decode(data, max_bytes=100_000)
    large = quantized(models.lenet5(10, 20, 80), Symmetric(5))
    with monkeypatch.context() as patch:
        patch.setattr(limits, "WORK", 3_000_000)
        bomb = mixed(large)
    with pytest.raises(FormatError, match="read"):
        decode(bomb)
    assert torch.equal(decode(bomb, max_bytes=2_000_000_000)(images()), large(images()))


@pytest.mark.parametrize(("less", "written"), [(0, True), (1, False)])
def test_what_is_written_takes_the_bits_that_may_be_read_and_not_one_more(less, written, monkeypatch):
    """Each zero is one bit, so that a network of zeros has as many bits as codes."""
    model = tiny()
    for name, buffer in model.named_buffers():
        if name.endswith("codes"):
            buffer.zero_()
    codes = sum(len(buffer.flatten()) for name, buffer in model.named_buffers() if name.endswith("codes"))
    monkeypatch.setattr(compact, "most_work", lambda *_: (codes - less) * compact.BIT_TIME)
    if written:
        assert torch.equal(decode(mixed(model))(images()), model(images()))
    else:
        with pytest.raises(CompressionError, match="coding='mixing' is slow"):
            mixed(model)
