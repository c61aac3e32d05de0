"""Saving is all or nothing: what cannot be saved writes nothing, what is interrupted leaves the old file."""

import math
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import HELPERS, network, quantized, same
from torch import nn
from tqdm import tqdm

from compresslab.errors import CompressionError, FormatError
from compresslab.quantization.layers import quantized_like
from compresslab.quantization.scheme import QuantizedTensor
from compresslab.quantization.schemes import Ternary
from compresslab.quantization.uniform import Symmetric
from compresslab.storage import container, files
from compresslab.storage.container import decode, encode, load, save


class Extra(nn.Linear):
    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        raise AssertionError("loading must not run this")


def unsavable():
    shared = nn.Linear(3, 3)
    complex_one = nn.Sequential(nn.Linear(3, 3))
    complex_one.register_buffer("wave", torch.zeros(3, dtype=torch.complex64))
    sparse = nn.Sequential(nn.Linear(3, 3))
    sparse.register_buffer("holes", torch.zeros(3, 3).to_sparse())
    high = quantized(nn.Sequential(nn.Linear(3, 3)), Ternary())
    high[0].weight_codes[1, 1] = 3
    infinite = quantized(nn.Sequential(nn.Linear(3, 3)), Symmetric(4))
    infinite[0].weight_scale[0] = math.inf
    overflowing = quantized(nn.Sequential(nn.Linear(3, 3)), Symmetric(4))
    overflowing[0].weight_scale[0] = 3e38  # finite, but 7 times it is not
    mixed = network()
    mixed.conv1.double()
    uneven = quantized(network(), Symmetric(4))  # codes decode to float32, which no bias in float64 can join
    for layer in (uneven.conv1, uneven.conv2, uneven.fc1, uneven.fc2):
        layer.bias.data = layer.bias.data.double()
    with torch.device("meta"):
        nowhere = nn.Linear(3, 3)
    return {
        "'wave', .*complex64": complex_one,
        "'holes', which is sparse": sparse,
        "conv1.weight is torch.float64 in the file, torch.float32": mixed,
        "conv1.bias is torch.float64 in the file, torch.float32": uneven,
        "_extra_state is a dict": nn.Sequential(Extra(3, 3)),
        "has no shape yet": nn.Sequential(nn.LazyLinear(3)),
        "'weight', which is on the meta device": nowhere,
        "single quantized layer": quantized_like(shared, Symmetric(4).quantize(shared.weight)),
        "codes run from [01] to 3": high,
        "not all finite": infinite,
        "overflowed": overflowing,
    }


@pytest.mark.parametrize("message", unsavable())
def test_what_no_file_can_hold_is_refused_before_writing(message, tmp_path):
    with pytest.raises(CompressionError, match=message):
        save(unsavable()[message], tmp_path / "model.clab")
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_the_book_that_was_changed_is_a_stranger():
    model = network()
    model.relu1 = nn.GELU()
    with pytest.raises(FormatError, match="into=module"):
        decode(encode(model)[0])


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["OSError", "interrupt"])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(step, error, tmp_path, monkeypatch):
    path = tmp_path / "model.clab"
    save(network(seed=0), path)

    def fail(*args):
        raise error

    if step == "write":
        real = open
        monkeypatch.setattr(
            files, "open", lambda *args, **how: HalfWritten(real(*args, **how), fail), raising=False
        )
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        save(network(seed=1), path)
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.clab"]
    assert same(load(path), network(seed=0))


class HalfWritten:
    """A file that takes half of what it is given and then does something else."""

    def __init__(self, file, then):
        self.file, self.then, self.fileno = file, then, file.fileno

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        self.then()


def test_progress_is_shown_on_a_terminal_alone(tmp_path, capsys, monkeypatch):
    for terminal in (False, True):
        monkeypatch.setattr(container, "tqdm", lambda items, *a, **how: tqdm(items, *a, **how | {"delay": 0}))
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        save(network(), tmp_path / "model.clab")
        shown = capsys.readouterr().err
        assert ("encoding" in shown) == terminal
        assert not shown or shown.endswith("\r")  # and taken away


def test_the_bytes_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (order.append(name), real(*a))[1])
    save(network(), tmp_path / "model.clab")
    assert order == ["fsync", "replace", "fsync"]  # the last one is the folder's


def test_a_file_has_the_rights_of_any_new_file_or_of_the_one_before(tmp_path):
    path = tmp_path / "model.clab"
    (tmp_path / "other").write_bytes(b"")
    save(network(), path)
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    path.chmod(0o640)
    save(network(seed=1), path)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give a file away")
def test_the_owner_stays(tmp_path):
    save(network(), path := tmp_path / "model.clab")
    os.chown(path, 12345, 23456)
    save(network(seed=1), path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def written(folder: Path) -> dict[str, tuple]:
    """What stands in a folder, without the times of reading: to follow a link in a circle is to read it."""
    found = ((entry.name, entry.lstat()) for entry in folder.iterdir())
    return {name: (*one[:7], one.st_mtime_ns, one.st_ctime_ns) for name, one in found}


def test_a_target_that_cannot_be_replaced_whole_is_refused_and_stays(tmp_path):
    save(network(), path := tmp_path / "model.clab")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.link(path, tmp_path / "second.clab")
    save(network(), fixed := tmp_path / "fixed.clab")
    fixed.chmod(0o444)
    for target, message in (
        (str(tmp_path) + os.sep + "new" + os.sep, "names a folder"),
        (tmp_path / "loop", "in a circle"),
        (fixed, "read-only"),
        (tmp_path / "second.clab", "one of 2 names"),
    ):
        before = written(tmp_path)
        with pytest.raises(CompressionError, match=message):
            save(network(seed=1), target)
        assert written(tmp_path) == before
    (tmp_path / "far").symlink_to(tmp_path / "missing" / "model.clab")
    with pytest.raises(FileNotFoundError, match="missing does not exist"):
        save(network(), tmp_path / "far")


def test_what_dead_processes_left_is_swept_and_what_is_being_written_is_not(tmp_path):
    """A temporary file is locked while it is written, in whatever process; other names are not ours."""
    dead, living, other = (
        tmp_path / name for name in (f".{'0' * 16}.clab.tmp", f".{'1' * 16}.clab.tmp", ".x.tmp")
    )
    for path in (dead, living, other):
        path.write_bytes(b"half")
    with living.open("rb") as held:
        assert files._locked(held.fileno())
        save(network(), tmp_path / "model.clab")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        [living.name, other.name, "model.clab"]
    )


def test_a_save_killed_at_any_moment_leaves_a_readable_file(tmp_path):
    """One helper process imports once; each of its children is killed while it saves, over and over."""
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=False, env=HELPERS
    )
    assert done.returncode == 0, done.stderr
    kills, debris = map(int, done.stdout.split())
    assert kills == 64
    assert debris <= 1  # each save sweeps what the one before left


def kill_saves(folder: Path) -> tuple[int, int]:
    """Kill children that save: at three chosen steps, else at random moments; check the file each time."""
    torch.set_num_threads(1)
    path, choose = folder / "model.clab", np.random.default_rng(0)
    files = [encode(network("article", seed))[0] for seed in (0, 1)]
    path.write_bytes(files[0])
    for kill in range(64):
        child = os.fork()
        if not child:
            save_until_killed(path, kill)
        if kill > 3:
            signal.sigtimedwait([], choose.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert path.read_bytes() in files
        load(path)
    return 64, len(list(folder.glob(".*.tmp")))


def save_until_killed(path: Path, kill: int) -> None:
    def die(*args):
        os.kill(os.getpid(), signal.SIGKILL)

    if kill == 0:
        real = open
        files.open = lambda *args, **how: HalfWritten(real(*args, **how), die)
    elif kill == 1:
        os.fsync = die
    elif kill == 2:
        os.replace = die
    elif kill == 3:
        files._sync_folder = die
    while True:
        for seed in (1, 0):
            save(network("article", seed), path)


if __name__ == "__main__":
    print(*kill_saves(Path(sys.argv[1])))


@pytest.mark.parametrize("spread", [30, 1000])
def test_saving_many_codes_takes_little_memory_beside_the_file(spread, tmp_path):
    """No second copy of the codes, and the file's bytes once: coders work in pieces."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-spread, spread, (4000, 4000), generator=generator) % 255 - 127
    layer = quantized_like(nn.Linear(4000, 4000, bias=False, device="meta"), eight_bits(codes))
    model = nn.Sequential(layer).eval()
    del layer
    tracemalloc.start()
    save(model, tmp_path / "model.clab")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (tmp_path / "model.clab").stat().st_size
    assert size > 0.7 * codes.numel()
    assert peak < size + 0.3 * codes.numel()


def eight_bits(codes):
    return QuantizedTensor(Symmetric(8), codes.to(torch.int8), {"scale": torch.tensor([0.1])})


def test_a_network_without_tensors_is_a_file_of_a_header_alone():
    assert decode(encode(nn.Sequential(nn.ReLU()))[0], into=nn.Sequential(nn.ReLU()))(-torch.ones(1)) == 0
