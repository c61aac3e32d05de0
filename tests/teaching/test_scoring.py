"""A stranger's file gets a row or a reason, in seconds; the leaderboard holds what the scorer gives again.

    PYTHONPATH=.:tests python tests/teaching/test_scoring.py 10000 1

scores that many hostile files made from a seed and prints what came of them.
"""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from samples import SMALL, images, quantized, thinned
from torch import nn

import compresslab as cl
from compresslab import models
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Symmetric
from compresslab.storage.container import encode, save
from compresslab.teaching import records, scoring
from compresslab.teaching.scoring import BAR, COLUMNS, score, tell
from tests.storage.test_fuzz import mutants

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "book" / "leaderboard.csv"
SECONDS = 15  # of processor time; the largest file may take 8 to be read, by its size


def small(name="article"):
    """Build a small network that tells ten digits apart."""
    return models.build(name, SMALL[name] | {"classes": 10}).eval()


def seeds():
    """Good files of the challenge, in every layout that the coders have."""
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
    return [(encode(model, plain=plain)[0], None) for model in found for plain in (True, False)]


def run(count, seed):
    """Score that many changed files and report what happened."""
    torch.set_num_threads(1)
    counts, slowest, good = Counter(), 0.0, seeds()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.clab"
        for data, _ in good:
            path.write_bytes(data)
            assert score(path).accuracy.total == 500
        for data, *_ in mutants(count, seed, good):
            path.write_bytes(data)
            begin = time.process_time()
            try:
                counts["scored"] += score(path).bytes_on_disk == len(data)
            except cl.CompressionError as error:
                counts["refused"] += len(str(error)) <= 500
            slowest = max(slowest, time.process_time() - begin)
    return {**counts, "slowest_s": round(slowest, 3)}


def check(figures, count):
    assert figures["scored"] + figures["refused"] == count
    assert figures["scored"] > count / 50  # the test reaches as far as the digits
    assert figures["slowest_s"] < SECONDS


def test_hundred_hostile_files_are_scored_or_refused():
    check(run(100, 0), 100)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_hostile_files_are_scored_or_refused():
    check(run(10_000, 1), 10_000)


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
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
