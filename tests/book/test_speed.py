"""The script of chapter 21 times what there is, says what is missing, and judges by the chip."""

import copy
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import speed
import torch
from torch import nn

from compresslab.teaching import Drawing, records


def row(**given):
    kept = {"network": "article", "neurons": "all", "numbers": "float32", "runs_in": "torch"}
    return speed.Row(**(kept | given))


def record(eager, runtime, half, half_floats=1.0, has=("amx_int8",)):
    """Return a record in which both networks take the same milliseconds."""
    rows = []
    for network in speed.MARKS:
        for neurons, numbers, runs_in, ms in (
            ("all", "float32", "torch", eager),
            ("all", "float32", "ONNX Runtime", runtime),
            ("half", "float32", "ONNX Runtime", half_floats),
            ("half", "int8", "OpenVINO", half),
        ):
            told = row(network=network, neurons=neurons, numbers=numbers, runs_in=runs_in).told()
            del told["missing"]
            rows.append(told | {"ms at 64": [ms, ms, ms]})
    return {"machine": {"has": [*has]}, "limits": {"float32": 100.0, "int8": 350.0}, "rows": rows}


@pytest.mark.parametrize(
    ("times", "held"),
    [((15, 5, 1), "11"), ((15, 4, 1), "10"), ((14, 5, 1), "01"), ((8, 5, 1), "01"), ((7.9, 5, 1), "00")],
)
def test_with_amx_both_ratios_must_hold(times, held):
    said = speed.marks(record(*times))
    assert ["MISSED" not in line for line in said] == [one == "1" for one in held]
    assert ["holds" in line for line in said] == [one == "1" for one in held]


@pytest.mark.parametrize(("half", "holds"), [(0.7, True), (0.9, False)])
def test_on_other_chips_the_chips_own_limit_judges(half, holds):
    """Half width alone gives 2 times, int8 3.5 times: 7 in all, of which 0.7 are asked, that is 4.9."""
    said = speed.marks(record(100, 4.0, half, half_floats=2.0, has=("avx2",)))
    assert all(("holds" in line) == holds for line in said)
    assert all("0.7 of 7.0 asked" in line for line in said)


def raising(error):
    def make():
        raise error

    return make


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module", name="openvino"), "openvino is not installed"),
        (LookupError("this chip has no bf16"), "this chip has no bf16"),
        (RuntimeError("/some/place of this machine"), "torch raises RuntimeError"),
    ],
)
def test_what_is_missing_is_a_row_that_says_so(error, words):
    told = speed.made(row(), raising(error)).told()
    assert told["missing"] == words
    assert not [key for key in told if key.startswith("ms")]


def test_a_row_that_cannot_compute_is_missing_too():
    def run(images):
        raise ValueError

    assert speed.made(row(), lambda: run).told()["missing"] == "torch raises ValueError"


def test_products_weights_and_activations_are_counted():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 784, 5))
    found = speed.counts(model)
    assert found["macs"] == 784 * 18 + 2 * 784 * 5
    assert found["weights"] == 18 + 2 * 784 * 5
    assert found["activations"] == (784 + 2 * 784) + (2 * 784 + 5)
    assert not any(layer._forward_hooks for layer in model)


def test_all_test_digits_are_read_64_at_a_time():
    seen = []

    def run(images):
        seen.append(len(images))
        return nn.functional.one_hot(torch.full((len(images),), 3), 10).float()

    assert speed.read_by(run) == int((speed.digits.test.labels == 3).sum())
    assert set(seen) == {64}


def test_rows_take_turns_and_each_is_timed_in_every_round(monkeypatch):
    shown = {f"float32 {side}": (lambda: None, side * 10**9) for side in (6, 12)}
    monkeypatch.setattr(speed, "limits", lambda: shown)
    calls, ticks = [], iter(range(10**6))
    rows = [row(run=lambda x, n=name: calls.append((n, len(x)))) for name in "ab"]
    best = speed.timed([*rows, row(missing="nothing")], 3, lambda: next(ticks))
    assert best == {"float32": 36.0}  # the better of two; three calls take one tick, a second
    for one in rows:
        assert {batch: len(times) for batch, times in one.times.items()} == {1: 3, 64: 3}
    turns = [name for (name, _), before in zip(calls[1:], calls, strict=False) if before[0] != name]
    assert len(turns) >= 6


def test_without_amx_a_process_of_its_own_leaves_the_units_alone(monkeypatch):
    asked = {}

    def run(command, env, **how):
        asked.update(command=command[1:], isa=env["ONEDNN_MAX_CPU_ISA"], **how)
        return SimpleNamespace(stdout='{"float32": 2.0, "int8": 7.0}')

    monkeypatch.setattr(speed.subprocess, "run", run)
    assert speed.limits_without_amx(4) == {"float32": 2.0, "int8": 7.0}
    assert asked["command"] == [speed.__file__, "--products", "4"]
    assert asked["isa"] == "AVX512_CORE_VNNI"
    assert asked["check"]


def test_of_the_limits_without_amx_only_float32_and_int8_are_measured(monkeypatch):
    called = []
    names = ("float32 6", "float32 12", "bfloat16 6", "int8 6", "cache")
    shown = {name: (lambda name=name: called.append(name), 10**9) for name in names}
    monkeypatch.setattr(speed, "limits", lambda: shown)
    assert set(speed.products(2)) == {"float32", "int8"}
    assert set(called) == {"float32 6", "float32 12", "int8 6"}


def test_csr_computes_what_the_dense_network_does():
    model = speed.checkpoints.load("lenet_300_100")
    sparse = speed.cl.prune_weights(copy.deepcopy(model), speed.criteria.magnitude, 0.9)
    images = speed.digits.test.images[:5]
    torch.testing.assert_close(speed.in_csr(sparse)(images), sparse(images), rtol=1e-4, atol=1e-4)


def cell(text):
    """Return the code of the one cell of chapter 21 that holds a text."""
    (path,) = (Path(__file__).resolve().parents[2] / "book" / "chapters").glob("21_*.md")
    cells = re.findall(r"```\{code-cell\}\n(?:---\n.*?---\n)?(.*?)```", path.read_text("utf-8"), re.DOTALL)
    (found,) = (code for code in cells if text in code)
    return found


def test_the_roofline_places_every_row():
    found = records.load("speed")
    names = {
        "record": found,
        "limits": found["limits"],
        "BLUE": "b",
        "GREEN": "g",
        "VERMILION": "r",
        "Drawing": Drawing,
    }
    exec(cell("def placed("), names)
    exec(cell("roofs = Drawing("), names)
    timed = [row for row in found["rows"] if "missing" not in row]
    assert len(timed) >= 50
    drawn = [(float(x), float(y)) for one in names["roofs"].ax.collections for x, y in one.get_offsets()]
    assert len(drawn) == 2 * len(timed), "one image and 64"
    for row in timed:  # products a second, by hand; those of CSR are a tenth
        macs = found["counts"][f"{row['network']}, {row['neurons']}"]["macs"]
        macs *= 0.1 if "CSR" in row["runs in"] else 1
        for batch in speed.BATCHES:
            height = batch * macs / row[f"ms at {batch}"][0] / 1e6
            assert any(y == pytest.approx(height) for _, y in drawn), row


def test_the_stored_record_is_whole():
    found = records.load("speed")
    assert {"float32", "bfloat16", "int8", "cache", "memory"} == set(found["limits"])
    ways = {(r["network"], r["neurons"], r["zeros"], r["numbers"], r["runs in"]) for r in found["rows"]}
    assert len(ways) == len(found["rows"]) == 4 * 11 + 8
    for one in found["rows"]:
        assert f"{one['network']}, {one['neurons']}" in found["counts"]
        if "missing" not in one:
            for batch in speed.BATCHES:
                median, low, high = one[f"ms at {batch}"]
                assert 0 < low <= median <= high
            assert one["bytes"] > 20_000
            assert 100 < one["right"] <= 1000
    assert set(found["without AMX"]) == {"load", *speed.NUMBERS}
    assert "/" not in json.dumps(found["machine"])
