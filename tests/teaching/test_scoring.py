"""A stranger's file gets a row or a reason, in seconds; the leaderboard holds what the scorer gives again.

    PYTHONPATH=tests python -m tests.teaching.test_scoring 10000 1

scores that many hostile files made from a seed and prints what came of them: mutated, cut, extended, with
other headers, in all forms of the format.
"""

import csv
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from memory import needs_proc
from samples import SMALL, images, quantized, resealed, thinned, tiny
from torch import nn

import compresslab as cl
from compresslab import models
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Symmetric
from compresslab.storage.container import encode, save
from compresslab.teaching import records, scoring
from compresslab.teaching.scoring import BAR, COLUMNS, score, tell
from tests.storage.test_fuzz import in_a_fresh_process, run

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "book" / "leaderboard.csv"
SECONDS = 15  # of processor time; the largest file may take 8 to be read, by its size
EACH = 1  # second of processor time for a file of some thousand bytes; half a second was the most of 10,000
ROOM = 64_000_000  # bytes that the process may grow by, all files together; 21 million were needed


def small(name="article"):
    """Build a small network that tells ten digits apart."""
    return models.build(name, SMALL[name] | {"classes": 10}).eval()


def seeds():
    """Good files of the challenge, in every layout that the coders have and in the compact form."""
    found = [small(name) for name in SMALL]
    schemes = (
        Symmetric(4, PerChannel()),
        Binary(PerTensor()),
        Ternary(PerChannel()),
        PowerOfTwo(5, PerGroup(4)),
    )
    found += [quantized(small("lenet5"), scheme) for scheme in schemes]
    found += [quantized(thinned(small("lenet_300_100"), 0.8), KMeans(3, keep_zero=True))]
    found += [cl.quantize_activations(small(name), [images()]) for name in ("article", "residual")]
    compact = [tiny(classes=10), tiny("lenet_300_100", classes=10, cosines=4), tiny("article", classes=10)]
    written = [encode(model, plain=plain)[0] for model in found for plain in (True, False)]
    return [(data, None) for data in written + 2 * [encode(one, coding="mixing")[0] for one in compact]]


def outcome(path, into):
    """Score a file as a stranger would send it: "refused" in a sentence, or "scored" with a row."""
    try:
        row = score(path, into=into)
    except cl.CompressionError as error:
        return "refused" if len(str(error)) <= 500 else "refused at length"
    return "scored" if row.bytes_on_disk == path.stat().st_size else "counted wrongly"


def check(figures, count):
    assert figures["scored"] + figures["refused"] == count
    assert figures["scored"] > count / 50  # the test reaches as far as the digits
    assert figures["refused"] > count / 2
    assert max(figures["slowest_refused_s"], figures["slowest_scored_s"]) < EACH
    assert max(figures["resident"], figures["address_space"]) <= ROOM


@needs_proc
def test_hundred_hostile_files_are_scored_or_refused():
    check(in_a_fresh_process(100, 0, module="tests.teaching.test_scoring"), 100)


@needs_proc
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_hostile_files_are_scored_or_refused():
    check(in_a_fresh_process(10_000, 1, module="tests.teaching.test_scoring"), 10_000)


def saved(folder, model, name="file", **how):
    path = folder / f"{name}.clab"
    save(model, path, **how)
    return path


def greedy():
    """A megabyte that asks for billions of multiplications."""
    return cl.quantize(models.residual([2000], [200]), Binary(PerTensor()))


REFUSED = {
    "many multiplications": (greedy, r"allows 20,000,000 multiplications .* takes 5,658,932,000"),
    "three classes": (lambda: models.article(classes=3), r"asks for 10 numbers .* makes \(20, 3\)"),
    "colours": (lambda: models.residual([4], [4], channels=3), r"inputs of shape \(20, 1, 28, 28\)"),
    "nothing of the book": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "not one of the book's"),
    "too large a file": (models.lenet5, "at most 1,500,000 bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_breaks_a_rule_is_refused_soon_and_told_why(case, tmp_path):
    make, reason = REFUSED[case]
    path = saved(tmp_path, make(), plain=True)
    begin = time.process_time()
    with pytest.raises(cl.CompressionError, match=reason):
        score(path)
    assert time.process_time() - begin < SECONDS


def folded(width):
    return models.residual([width], [width], channels=1, norm=False)


HEAVY = {  # what the limits let pass, each near one of them
    "multiplications in floats": lambda: encode(models.residual([36], [36]))[0],
    "multiplications of integers": lambda: encode(cl.quantize_activations(folded(36), [images()]))[0],
    "bytes": lambda: encode(cl.quantize(models.lenet_300_100(3000, 3000), Binary(PerTensor())))[0],
    "bits of one number": lambda: padded(17, 1_490_000),
    "bits of a short one": lambda: padded(19, 20_000),
}


def padded(width, size):
    """A compact file that says it is wide, and ends in whatever comes."""
    head = bytearray(encode(tiny(classes=10), coding="mixing")[0])
    assert list(head[4:7]) == [2, 3, 5], "the widths"
    head[4:7] = bytes([width] * 3)
    return resealed(head + random.Random(0).randbytes(size))


@pytest.mark.parametrize("case", HEAVY)
def test_a_file_that_takes_all_it_may_is_judged_in_time(case, tmp_path):
    data = HEAVY[case]()
    (tmp_path / "file.clab").write_bytes(data)
    begin = time.process_time()
    assert outcome(tmp_path / "file.clab", None) in ("scored", "refused")
    assert time.process_time() - begin < SECONDS


def test_a_file_that_would_take_more_memory_than_allowed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "MEMORY", 20_000)
    with pytest.raises(cl.CompressionError, match="limit of 20,000"):
        score(saved(tmp_path, small("lenet_300_100")))


def test_the_clock_stops_a_network_that_takes_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "SECONDS", 0.0)
    with pytest.raises(cl.CompressionError, match=r"allows 0 s of processor time for 500 digits"):
        score(saved(tmp_path, small()))


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe") if hasattr(os, "mkfifo") else (tmp_path / "pipe").mkdir()
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(cl.CompressionError, match="no file"):
            score(path)


@pytest.mark.parametrize("name", ["", "a,b", "=1", "-1", "a\nb", "x" * 41, "\x1b[31m", '"a"'])
def test_a_name_cannot_break_the_table(name, tmp_path):
    with pytest.raises(cl.CompressionError, match="1 to 40 letters"):
        score(saved(tmp_path, small()), name=name)


def test_bytes_are_the_files_digits_the_networks_and_the_split_the_one_asked_for():
    path = records.path("search/article_1.clab")
    network, digits = cl.load(path), cl.data.digits()
    for final, split in ((False, digits.validation), (True, digits.test)):
        row = score(path, final=final, name="a name")
        assert row.bytes_on_disk == path.stat().st_size
        assert row.accuracy == cl.evaluate(network, split)
        assert row.digest == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        right = f"{row.accuracy.correct} of {len(split)}"
        assert next(csv.reader([str(row)])) == [str(row.bytes_on_disk), right, "a name", "book", row.digest]


def test_a_network_of_ones_own_is_the_second_track(tmp_path):
    own = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    path = saved(tmp_path, cl.quantize(own, Symmetric(4)))
    row = score(path, into=nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    assert row.track == "own"
    assert row.accuracy == cl.evaluate(cl.load(path, into=own), cl.data.digits().validation)


def told(capsys):
    out, err = capsys.readouterr()
    return out.strip().splitlines(), err


def test_the_terminal_gets_a_row_or_a_reason(tmp_path, capsys):
    good = saved(tmp_path, small(), "untrained")
    assert tell(str(good), True, None) == 0
    (row,), meaning = told(capsys)
    assert re.fullmatch(r"\d+,\d+ of 1000,untrained,book,[0-9a-f]{16}", row)
    assert f"below the {BAR:.0%}" in meaning
    assert tell(str(good), False, "mine") == 0
    assert ",mine,book," in told(capsys)[0][0]
    good.write_bytes(good.read_bytes()[:-1])
    assert tell(str(good), False, None) == 1
    rows, reason = told(capsys)
    assert not rows
    assert "Refused: The checksum is wrong" in reason
    assert tell(str(tmp_path / "none"), False, None) == 2
    assert "No such file" in told(capsys)[1]


def test_the_command_reads_its_arguments():
    path = records.path("search/article_1.clab")
    command = [sys.executable, "-m", "compresslab", "score", str(path), "--final", "--name", "by search"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{score(path, final=True, name='by search')}\n"


# ---- The leaderboard --------------------------------------------------------------------------------------


def board():
    with BOARD.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def digests():
    paths = [records.path(name) for name in records.files() if name.endswith(".clab")]
    return {hashlib.sha256(path.read_bytes()).hexdigest()[:16]: path for path in paths}


def test_every_row_is_what_the_scorer_says_of_a_recorded_file():
    head, *rows = board()
    assert tuple(head) == COLUMNS
    known = digests()
    assert len({row[4] for row in rows}) == len(rows)
    for row in rows:
        path = known[row[4]]
        assert "mnist" not in path.name, "learned from images that are test digits here"
        found = score(path, final=True, name=row[2])
        assert next(csv.reader([str(found)])) == row, path
        assert found.accuracy.value >= BAR
    assert rows == sorted(rows, key=lambda row: int(row[0]))


def test_no_recorded_file_that_may_be_ranked_is_left_out():
    ranked = {row[4] for row in board()[1:]}
    for digest, path in digests().items():
        if "mnist" not in path.name and digest not in ranked:
            assert score(path, final=True).accuracy.value < BAR, path


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), seeds(), outcome)))
