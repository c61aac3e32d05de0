"""A file that is damaged, hostile or too large is refused with a sentence that says what is wrong."""

import math
import os
import struct
from pathlib import Path

import pytest
import torch
from samples import Kinds, counted, network, put_together, quantized, same, state, take_apart
from torch import nn

from compresslab import models
from compresslab.errors import CompressionError, FormatError
from compresslab.quantization.schemes import Binary
from compresslab.quantization.uniform import Symmetric
from compresslab.storage import container
from compresslab.storage.container import decode, encode, load, save


def test_every_single_bit_counts():
    """CRC-32 finds every error of one bit."""
    data, _ = encode(counted(models.lenet5(conv1=1, conv2=1, fc1=1, classes=1)))
    for position in range(0, 8 * len(data), 5):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(FormatError):
            decode(bytes(changed))


def test_every_cut_and_every_addition_is_refused():
    data, _ = encode(quantized(network(), Symmetric(3)))
    for length in (*range(60), *range(60, len(data), 7)):
        with pytest.raises(FormatError):
            decode(data[:length])
    with pytest.raises(FormatError):
        decode(data + b"\0")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a compresslab file"),
        (b"PK\3\4" + bytes(100), "not a compresslab file"),
        (put_together("{}", b"", magic=b"clab"), "not a compresslab file"),
        (put_together("{}", b"", version=2), "version 2.*reads 1"),
        (put_together("{}", b""), "builder, schemes and tensors"),
        (put_together("[]", b""), "builder, schemes and tensors"),
        (put_together("nonsense", b""), "not JSON"),
        (put_together('{"a":1,"a":2}', b""), "key 'a' twice"),
        (put_together('{"a":NaN}', b""), "NaN"),
        (put_together('{"a":-Infinity}', b""), "-Infinity"),
        (put_together('{"a":1e999}', b""), "1e999"),
        (put_together('{"a":' + "9" * 5000 + "}", b""), "not JSON"),
        (put_together('{"a":' + "[" * 20 + "]" * 20 + "}", b""), "nested"),
        (put_together("[" * 100_000, b""), "not JSON"),
        (put_together('"\xff"'.encode("latin-1").decode("latin-1"), b""), "builder, schemes"),
        (b"CLAB\1\0" + struct.pack("<II", 2**32 - 1, 0) + bytes(50), "header should have 4294967295"),
        (put_together("1" + " " * 1_000_000, b""), "header should have 1000001"),
    ],
)
def test_bad_beginnings_are_named(data, message):
    with pytest.raises(FormatError, match=message):
        decode(data)


def edit(change):
    """Change the header of a good file and set the checksum right."""
    header, payload = take_apart(encode(quantized(network(), Symmetric(4)), plain=True)[0])
    payload = change(header, payload) or payload
    return put_together(header, payload)


def entry(header, name):
    return next(item for item in header["tensors"] if item[0] == name)


def say(name, position, value):
    """Put a value at a position of a tensor's entry."""
    return lambda header, payload: entry(header, name).__setitem__(position, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, p: h.update(extra=1), "builder, schemes and tensors"),
        (lambda h, p: h.update(builder=7), "builder must be null"),
        (lambda h, p: h.update(builder=None), "into=module"),
        (lambda h, p: h["builder"].append(1), "builder must be null"),
        (lambda h, p: h.update(builder=["resnet", {}]), "'resnet'; there are article"),
        (lambda h, p: h["builder"][1].update(conv1=10**9), "conv1"),
        (lambda h, p: h["builder"][1].update(conv1=-1), "conv1"),
        (lambda h, p: h["builder"][1].update(conv1="3"), "conv1"),
        (lambda h, p: h["builder"][1].update(seed=1), "keywords"),
        (lambda h, p: h["builder"][1].update(device="cuda"), "keywords"),
        (lambda h, p: h["builder"][1].update(conv1=4), "conv1.weight has shape"),
        (lambda h, p: h.update(schemes=None), "schemes must be a list"),
        (lambda h, p: h["schemes"][0].update(name="os.system"), "scheme"),
        (lambda h, p: h["schemes"][0].update(bits=9), "9 was asked for the bits of"),
        (lambda h, p: h["schemes"][0].update(bits=3), "announces"),
        (lambda h, p: h["schemes"][0].update(clip={"name": "Percentile", "value": "x"}), "scheme"),
        (lambda h, p: h.update(tensors={}), "tensors must be a list"),
        (lambda h, p: h["tensors"].__delitem__(-1), "announces"),
        (lambda h, p: h["tensors"].append(7), "a tensor in the header must"),
        (lambda h, p: h["tensors"].append(["x", [1], 5]), "'x' has the layout"),
        (lambda h, p: h["tensors"].append(h["tensors"][0]), "'conv1.weight' twice"),
        (say("conv1.weight", 0, "conv9.weight"), "has no tensor 'conv1.weight'"),
        (lambda h, p: h["tensors"].append(["more", [0], "f32"]), "surplus tensor 'more'"),
        (say("conv1.weight", 0, "x" * 501), "501 characters"),
        (say("conv1.bias", 2, "f128"), "f128"),
        (say("conv1.bias", 2, "i32"), "torch.int32 in the file"),
        (say("conv1.bias", 2, "f16"), "announces"),
        (lambda h, p: say("conv1.bias", 2, "f64")(h, p) or p + bytes(12), "torch.float64 in the file"),
        (say("conv1.bias", 2, "packed"), "layout"),
        (lambda h, p: entry(h, "conv1.bias").append(0), "layout"),
        (say("conv1.weight", 3, 1), "names scheme 1; the header holds 1"),
        (say("conv1.weight", 3, -1), "names scheme -1"),
        (say("conv1.weight", 3, False), "names scheme False"),
        (say("conv1.weight", 1, [-3, -1, 3, 3]), "impossible shape"),
        (say("conv1.weight", 1, [3.0, 1, 3, 3]), "impossible shape"),
        (say("conv1.weight", 1, [True, 1, 3, 3]), "impossible shape"),
        (say("conv1.weight", 1, "3133"), "must be a list"),
        (say("conv1.weight", 1, [1] * 17), "impossible shape"),
        (say("conv1.weight", 1, [2**40, 2**40]), "larger than any machine"),
        (say("conv1.weight", 1, [10**4000]), "impossible shape"),
        (say("conv1.weight", 1, []), "needs an axis"),
        (say("conv1.weight", 1, [3, 1, 3, 3, 0]), "needs an axis"),
        (say("conv1.weight", 1, [27]), "shape"),
        (lambda h, p: p + b"\0", "announces"),
        (lambda h, p: p[:-1], "announces"),
        (lambda h, p: p[:14] + struct.pack("<f", math.nan) + p[18:], "conv1.weight.*not all finite"),
        (lambda h, p: p[:14] + struct.pack("<f", 3e38) + p[18:], "conv1.weight.*overflowed"),
        (lambda h, p: b"\xff" + p[1:], "conv1.weight.*codes run from -7 to 8"),
        (lambda h, p: p[:13] + bytes([p[13] | 0xF0]) + p[14:], "conv1.weight.*unused bits"),
    ],
)
def test_every_lie_in_a_header_is_named(change, message):
    with pytest.raises(FormatError, match=f"(?i){message}"):
        decode(edit(change))


def test_the_edits_above_start_from_a_good_file():
    assert same(decode(edit(lambda header, payload: None)), quantized(network(), Symmetric(4)))


def test_the_code_below_the_lowest_is_refused():
    """Symmetric has no -128, though a byte does."""
    header, payload = take_apart(encode(quantized(network(), Symmetric(8)), plain=True)[0])
    with pytest.raises(FormatError, match=r"conv1\.weight.*-128"):
        decode(put_together(header, b"\xff" + payload[1:]))


def test_a_flag_that_is_neither_true_nor_false_is_refused():
    header, payload = take_apart(encode(Kinds(), plain=True)[0])
    before = header["tensors"].index(["flags", [3], "bool"])
    size = {"f64": 8, "f32": 4, "f16": 2, "bf16": 2, "i64": 8, "i32": 4, "i16": 2, "i8": 1, "u8": 1}
    start = sum(math.prod(shape) * size[layout] for _, shape, layout in header["tensors"][:before])
    assert payload[start : start + 3] == b"\1\0\1"
    with pytest.raises(FormatError, match=r"flags.* byte of 2"):
        decode(put_together(header, payload[:start] + b"\2" + payload[start + 1 :]), into=Kinds(fill=False))


def test_a_name_cannot_reach_outside_the_tensors():
    for name in ("conv1", "conv1.__class__", "..", "conv1.weight.data", "forward", "conv1.codes"):
        with pytest.raises(FormatError, match="has no tensor"):
            decode(edit(say("conv1.weight", 0, name)))


def test_the_limit_counts_what_loading_allocates():
    model = quantized(models.article(), Binary())
    data, parts = encode(model)
    floor = 333_320 + parts["scales"] + parts["biases"]  # one byte a code, and the floats
    ceiling = floor + parts["codes"] + 40 * parts["header"]
    decode(data, max_bytes=ceiling)
    with pytest.raises(FormatError, match="max_bytes"):
        decode(data, max_bytes=floor)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "model.clab"
    save(network(), path)
    with path.open("ab") as file:
        file.truncate(256_000_001)  # a hole: it takes no room on the disk
    monkeypatch.setattr(container, "_checksum", lambda *a: pytest.fail("read"))
    with pytest.raises(FormatError, match="256,000,001 bytes, more than the limit of 256,000,000"):
        load(path)


def test_the_limit_is_a_number_of_bytes():
    for limit in (1e9, True, None, "256 MB"):
        with pytest.raises(CompressionError, match="integer"):
            decode(encode(network())[0], max_bytes=limit)


def test_nothing_is_allocated_for_a_file_that_asks_too_much(monkeypatch):
    """100 kB that would become 800 kB of codes: refused before torch is asked for a byte."""
    big = models.build("lenet_300_100", {"fc1": 1000, "fc2": 10})
    data, _ = encode(quantized(big, Binary()))
    monkeypatch.setattr("compresslab.storage.payload.torch.empty", lambda *a, **k: pytest.fail("allocated"))
    monkeypatch.setattr("compresslab.storage.payload.unpack", lambda *a, **k: pytest.fail("allocated"))
    with pytest.raises(FormatError, match="more than the limit"):
        decode(data, max_bytes=500_000)


def test_what_is_not_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(FormatError, match="not a file"):
            load(path)
        with pytest.raises(CompressionError, match="not a file"):
            save(network(), path)
    with pytest.raises(FileNotFoundError, match="absent"):
        load(tmp_path / "absent.clab")
    with pytest.raises(FileNotFoundError, match=r"folder .*absent.* does not exist"):
        save(network(), tmp_path / "absent" / "model.clab")


@pytest.mark.parametrize("name", ["0.bias", "1.bias", "1.running_mean", "1.running_var", "4.bias"])
def test_a_vector_that_does_not_fit_its_own_layer_is_refused(name):
    """On the meta device, where shapes are tried, torch takes a bias of any length."""

    def model(longer=None):
        made = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        made.append(nn.Linear(2, 3))
        if longer is not None:
            layer, leaf = made[int(longer[0])], longer[2:]
            old = getattr(layer, leaf)
            value = torch.cat([old.detach(), old.detach()])
            setattr(layer, leaf, nn.Parameter(value) if isinstance(old, nn.Parameter) else value)
        return made

    into = model()
    before = state(into)
    with pytest.raises(CompressionError, match=f"{name} has shape"):
        decode(encode(model(name))[0], into=into)
    assert state(into) == before
