"""A file that is damaged, too large, or no file at all is refused before it can do harm."""

import contextlib
import os
import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
from samples import counted, network, put_together, quantized, state
from torch import nn

from compresslab import models
from compresslab.errors import CompressionError, FormatError
from compresslab.quantization.schemes import Binary
from compresslab.quantization.uniform import Symmetric
from compresslab.storage import limits, opening
from compresslab.storage.container import contents, decode, encode, load, save
from compresslab.storage.header import HEADER_COST
from compresslab.storage.limits import MAX_BYTES


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


def test_the_limit_counts_what_loading_allocates():
    model = quantized(models.article(), Binary())
    data, parts = encode(model)
    floor = 333_320 + parts["scales"] + parts["biases"]  # one byte a code, and the floats
    ceiling = floor + parts["codes"] + 70 * parts["header"]
    decode(data, max_bytes=ceiling)
    with pytest.raises(FormatError, match="max_bytes"):
        decode(data, max_bytes=floor)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "model.clab"
    save(network(), path)
    with path.open("ab") as file:
        file.truncate(256_000_001)  # a hole: it takes no room on the disk
    monkeypatch.setattr(opening, "checksum", lambda *a: pytest.fail("read"))
    with pytest.raises(FormatError, match="256,000,001 bytes, more than the limit of 256,000,000"):
        load(path)


def test_nothing_is_allocated_for_a_file_that_asks_too_much(monkeypatch):
    """100 kB that would become 800 kB of codes: refused before torch is asked for a byte."""
    big = models.build("lenet_300_100", {"fc1": 1000, "fc2": 10})
    data, _ = encode(quantized(big, Binary()))
    monkeypatch.setattr("compresslab.storage.tensors.torch.empty", lambda *a, **k: pytest.fail("allocated"))
    monkeypatch.setattr("compresslab.coding.planes.unpack", lambda *a, **k: pytest.fail("allocated"))
    with pytest.raises(FormatError, match="more than the limit"):
        decode(data, max_bytes=500_000)


def test_a_file_may_be_a_header_alone():
    data = put_together('{"builder":null,"schemes":[],"tensors":[]}', b"")
    assert contents(data) == ()
    with pytest.raises(FormatError, match="should have"):
        contents(data[:-1])


def test_the_limit_is_what_may_be_used_and_no_byte_more():
    data, limit = encode(quantized(network(), Symmetric(4)))[0], 1
    for _ in range(3):  # the file, its header, and what both take when they are read: each is named in turn
        with pytest.raises(FormatError, match="more than the limit") as refused:
            decode(data, max_bytes=limit)
        limit = int(re.search(r"needs ([\d,]+) bytes", str(refused.value))[1].replace(",", ""))
        with contextlib.suppress(FormatError):
            decode(data, max_bytes=limit)
            break
    decode(data, max_bytes=limit)
    with pytest.raises(FormatError, match="more than the limit"):
        decode(data, max_bytes=limit - 1)


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


@pytest.mark.parametrize(
    "piece", ["[[]],", "[],", '{"":0},', '"ab",', "[[[[]]]],", "[" * 900 + "]" * 900 + ","]
)
def test_a_header_takes_no_more_memory_than_it_is_taken_to_cost(piece):
    """Lists of lists take most; such a header is refused by what it may take before it is parsed."""
    body = piece * (300_000 // len(piece))
    data = put_together(f'{{"builder":null,"schemes":[],"tensors":[{body[:-1]}]}}', b"")
    tracemalloc.start()
    with pytest.raises(FormatError):
        decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < HEADER_COST * len(data)
    with pytest.raises(FormatError, match="more than the limit of 9,600,000"):
        decode(data, max_bytes=9_600_000)


class Columns(nn.Module):
    """Matrices of two rows and many columns, each column a step for a reader of contexts."""

    def __init__(self, number, width=4096):
        super().__init__()
        for at in range(number):
            self.register_buffer(f"wide{at}", torch.zeros(2, width))
            self.get_buffer(f"wide{at}")[:, :: at + 50] = 1.0  # contexts see the stride


def test_work_is_bounded_like_memory(monkeypatch):
    """Few bytes may stand for many steps; a caller who allows more bytes allows more work."""
    with monkeypatch.context() as patch:
        patch.setattr(limits, "WORK", 1e12)
        bomb, _ = encode(Columns(3), coders=["context"])
    assert len(bomb) < 20_000
    assert any(
        plane.coder == "context" for entry in contents(bomb, 4 * MAX_BYTES) for plane in entry.coding.planes
    )
    start = time.process_time()
    with pytest.raises(FormatError, match=r"takes 0\.7 s to be read, more than the 0\.5"):
        decode(bomb, into=Columns(3))
    assert time.process_time() - start < 0.5  # it is not read at all
    assert torch.equal(decode(bomb, into=Columns(3), max_bytes=2 * MAX_BYTES).wide2, Columns(3).wide2)


def test_what_is_saved_takes_no_more_work_than_is_allowed():
    data, _ = encode(Columns(3), coders=["context"])
    assert torch.equal(decode(data, into=Columns(3)).wide2, Columns(3).wide2)


def test_many_short_planes_of_words_are_refused_by_their_work():
    """A plane of a thousand Huffman words is a lane of a thousand steps, in 128 bytes."""
    data, _ = encode(few := Columns(1, width=700), coders=["huffman"])
    (entry,) = contents(data)
    assert entry.coding is None or entry.work < 30_000
    tensors = ",".join(
        f'["{n}",[1,2000],"coded","f32","bitmap",0,0,[["huffman",2000,251]]]' for n in range(60)
    )
    bomb = put_together(f'{{"builder":null,"schemes":[],"tensors":[{tensors}]}}', bytes(60 * 251))
    assert len(bomb) < 20_000
    with pytest.raises(FormatError, match="s to be read"):
        decode(bomb, into=few)


@pytest.mark.parametrize("change", ["", "long " * 200])
def test_no_message_is_longer_than_a_reader_reads(change):
    """Names come from the file, or from the module; both may have 500 letters."""
    name = "x" * 499
    into = nn.Module()
    into.register_buffer(name[:80] + change.strip()[:10].replace(" ", "_"), torch.zeros(3))
    data = put_together(f'{{"builder":null,"schemes":[],"tensors":[["{name}",[3],"f32"]]}}', bytes(12))
    with pytest.raises(CompressionError) as caught:
        decode(data, into=into)
    assert len(str(caught.value)) <= 500
    assert len(str(CompressionError("y" * 5000))) == 500


def test_loading_into_a_module_of_the_same_shapes_imports_nothing_more():
    """A run on the meta device, where other widths are tried, imports hundreds of modules of torch."""
    code = (
        "import sys, torch; from torch import nn; from compresslab.storage.container import decode, encode\n"
        "made = lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(3, 2)).eval()\n"
        "data, _ = encode(made()); before = len(sys.modules); decode(data, into=made())\n"
        "print(len(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20
