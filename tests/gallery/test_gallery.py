"""Eleven networks that no chapter trains go the whole way: no silence, no wrong cut, the same answers."""

import re
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import table
from networks import CASES

import compresslab as cl
from compresslab.errors import CompressionError
from compresslab.models import layer_weights
from compresslab.pruning import criteria, prune_neurons
from compresslab.quantization import Symmetric
from compresslab.quantization.quantizing import quantize
from compresslab.storage.container import load, save
from tests.ignoring import law

HELD = {"GRU language model, tied"}
each = pytest.mark.parametrize("name", CASES)


@each
@pytest.mark.parametrize("column", table.COLUMNS)
def test_a_step_gives_a_figure_or_says_what_to_do(name, column):
    cell = table.cell(name, column)
    assert re.search(r"\d", cell) or cell.startswith("refused: ")
    assert len(cell) <= 500 + len("refused: ")


def test_the_page_shows_what_came_out():
    rows = table.PAGE.read_text(encoding="utf-8").split(table.BEGIN)[1].split(table.END)[0]
    assert rows == table.table()


@each
def test_all_weights_become_codes_that_are_as_near_as_the_grid_allows(name):
    model = CASES[name].model()
    before = {weight.name: weight.value for weight in layer_weights(model)}
    for weight in layer_weights(quantize(model, Symmetric(8))):
        assert weight.is_codes, weight.name
        apart = (weight.value - before[weight.name]).abs().max()
        # one scale for the tensor: half a step, and the rounding of float32 beside it
        assert apart <= before[weight.name].abs().max() / 127 * (0.5 + 1e-5), weight.name


@each
def test_a_cut_network_answers_as_one_whose_readers_ignore_what_went(name):
    if name in HELD:
        pytest.skip("nothing of it can be cut, as the table says")
    inputs = CASES[name].batches(1)[0][0]
    law(CASES[name].model(), inputs, 1e-5, far=1e-3)


@each
def test_what_was_cut_and_quantized_comes_back_from_its_file(name, tmp_path):
    if name in HELD:
        pytest.skip("nothing of it can be cut, as the table says")
    case, path = CASES[name], tmp_path / "network.clab"
    inputs = case.batches(1)[0][0]
    small = quantize(prune_neurons(case.model(), criteria.l2_norm, 0.5, example=inputs), Symmetric(8))
    save(small, path)
    again = load(path, into=case.build(), example=inputs)
    assert table.equal(table.answers(small, inputs), table.answers(again, inputs))


@pytest.mark.parametrize("name", ["transformer encoder", "bidirectional LSTM", "MLP-Mixer"])
def test_the_ten_lines_of_the_page_run_as_they_stand(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cl, "measure", partial(cl.measure, latency=False))  # the clock takes seconds
    case = CASES[name]
    given = {
        "MyNetwork": case.build,
        "model": case.model(),
        "batches": case.batches(1),
        "held_out": case.batches(2),
    }
    lines = table.PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0].splitlines()
    assert sum(bool(line) for line in lines) == 10
    ours = [line for line in lines if not line.startswith(("model = ", "batches = "))]
    exec("\n".join(ours), given | {"inputs": case.batches(1)[0][0]})
    assert "MACs" in capsys.readouterr().out


def test_a_network_without_a_weight_is_refused_in_words():
    with pytest.raises(CompressionError):
        quantize(torch.nn.Sequential(torch.nn.ReLU()), Symmetric(8))
