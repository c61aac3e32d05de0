"""The smallest files: each comes back from its bytes alone, at once, and reads what the record says."""

import os
import subprocess
import sys

import pytest
import smallest
import torch

import compresslab as cl
from compresslab import data, models
from compresslab.quantization import train_codes
from compresslab.storage import encode
from compresslab.teaching import records

RECORD = records.load("smallest")
ALL = RECORD["points"] | RECORD["goals"]


def file_of(name, point, run):
    whole = "mnist_" * (point["recipe"]["data"] == "mnist")
    return f"smallest/{whole}{name.replace(' ', '_')}_{run['seed']}.clab"


FILES = [
    pytest.param(file_of(name, point, run), run, id=f"{name}, {run['seed']}")
    for name, point in ALL.items()
    for run in point["seeds"]
]


@pytest.mark.parametrize(("name", "run"), FILES)
def test_a_file_comes_back_from_its_bytes_and_reads_what_was_recorded(name, run):
    path = records.path(name)
    assert path.stat().st_size == run["bytes"] == run["codings"]["mixing"]
    small = cl.load(path)
    # the same codes everywhere; sums of floats may put one image of a thousand on the other side
    assert abs(cl.evaluate(small, data.digits().test).correct - run["digits"]) <= 1
    assert encode(small, coding="mixing")[0] == path.read_bytes()


def test_a_load_takes_less_than_a_second():
    """In a process of its own: under test each call checks its annotations, too."""
    code = """
import sys, time
import compresslab as cl
for path in sys.argv[1:]:
    begun = time.process_time()
    cl.load(path)
    print(time.process_time() - begun)
"""
    paths = [str(records.path(param.values[0])) for param in FILES]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    seconds = list(map(float, done.stdout.split()))
    assert len(seconds) == len(FILES)
    assert max(seconds) < 1, seconds


def test_a_file_that_teaches_answers_in_floats_as_it_does_in_codes():
    small = cl.load(records.path("smallest/mnist_lenet5_3030_0.clab"))
    floats, images = smallest.in_floats(small), data.digits().validation.images[:100]
    assert sum(weights.numel() for weights in floats.parameters()) == 31_770
    torch.testing.assert_close(floats(images), small(images), rtol=1e-4, atol=1e-4)


def test_an_exact_budget_counts_the_codes_and_an_ordinary_one_what_lies_between():
    """What is asked lies between the two: so one price rises and the other falls."""
    net = train_codes(models.lenet5(3, 6, 12, seed=0))
    length = smallest.CodeLength(1.0)
    codes = length.bits(net).item()
    between = smallest.AllBits(net, length.lengths_of(net))().item()
    asked = (codes + between) / 2
    prices = {}
    for exact in (False, True):
        budget = smallest.Budget(asked, 100, 1e-5, exact=exact)
        budget.step = 50  # here the whole budget holds already
        budget(net)
        assert budget.bits == pytest.approx(codes if exact else between)
        prices[exact] = budget.price
    assert (prices[True] > 1e-5) == (codes > asked)
    assert (prices[False] > 1e-5) == (codes < asked)


def test_the_price_of_an_exact_budget_moves_longer():
    net = train_codes(models.lenet5(3, 6, 12, seed=0))
    moved = {}
    for exact in (False, True):
        budget = smallest.Budget(100.0, 100, 1e-5, exact=exact)
        budget(net)
        for step in (69, 71, 94, 96):
            budget.step, before = step, budget.price
            budget(net)
            moved[exact, step] = budget.price > before
    assert [step for (exact, step), rises in moved.items() if rises and not exact] == [69]
    assert [step for (exact, step), rises in moved.items() if rises and exact] == [69, 71, 94]


def test_the_record_has_every_file_and_no_other():
    recorded = {name for name in records.files() if name.startswith("smallest/")}
    assert recorded == {param.values[0] for param in FILES}


def test_the_digits_fill_fewer_than_a_thousand_bytes():
    """Means of three seeds: bytes at most, right answers of 1,000 at least."""
    asked = {"digits 660": (660, 970), "digits 950": (950, 976), "digits 1400": (1400, 980)}
    for name, (most, least) in asked.items():
        seeds = RECORD["points"][name]["seeds"]
        assert len(seeds) == 3
        assert sum(run["bytes"] for run in seeds) <= 3 * most
        assert sum(run["digits"] for run in seeds) >= 3 * least


def test_the_whole_mnist_is_read_from_as_few_bytes_as_were_asked():
    """Means of three seeds: bytes at most, errors in 10,000 at most."""
    asked = {"lenet5 1520": (1520, 80), "lenet5 3030": (3030, 65), "perceptron 2000": (2000, 164)}
    for name, (most, wrong) in asked.items():
        seeds = RECORD["points"][name]["seeds"]
        assert len(seeds) == 3
        assert sum(run["bytes"] for run in seeds) <= len(seeds) * most
        assert sum(10_000 - run["mnist"] for run in seeds) <= len(seeds) * wrong


@pytest.mark.skipif("COMPRESSLAB_DATA" not in os.environ, reason="wants the whole MNIST")
@pytest.mark.parametrize(("name", "run"), FILES)
def test_a_file_reads_the_whole_mnist_as_recorded(name, run):
    assert abs(cl.evaluate(cl.load(records.path(name)), data.mnist()).correct - run["mnist"]) <= 3


@pytest.mark.parametrize("name", ALL)
def test_a_setting_after_one_whose_files_read_the_test_has_fresh_seeds(name):
    point = ALL[name]
    known = {run["seed"] for earlier in point.get("earlier", []) for run in earlier["seeds"]}
    assert not known & {run["seed"] for run in point["seeds"] + point.get("fresh", [])}
    assert all(earlier["recipe"] != point["recipe"] for earlier in point.get("earlier", []))
    read = [run["validation"][0] for run in point["seeds"]]
    tried = [one[-1] for one in point["tried"] if one[1:-1] == settings_of(point)]
    assert set(read) <= set(tried)


def settings_of(point: dict) -> list:
    """Return what a row of the tried settings holds between its seed and what it read."""
    recipe = point["recipe"]
    settings = [recipe[what] for what in ("budget", "codes", "rate", "price", "teachers")]
    return [*settings, "-".join(map(str, recipe["widths"][-1]))]


def test_fresh_seeds_stand_beside_the_setting_that_a_test_reading_chose():
    fresh = RECORD["points"]["digits 660"]["fresh"]
    known = {run["seed"] for run in RECORD["points"]["digits 660"]["seeds"]}
    assert len(fresh) == 3
    assert not known & {run["seed"] for run in fresh}
    assert sum(run["bytes"] for run in fresh) <= 3 * 660
    assert sum(run["digits"] for run in fresh) >= 3 * 970


def test_a_record_made_again_judges_the_teachers_of_what_was_made_and_no_other(monkeypatch):
    monkeypatch.setattr(smallest, "judged_teachers", lambda data, count: {"data": data, "teachers": count})
    before = [{"data": "digits", "teachers": 1, "test": 983}, {"data": "mnist", "teachers": 2, "test": 9951}]
    now = {"data": "mnist", "teachers": smallest.POINTS["lenet5 1520"].teachers}
    assert smallest.all_teachers([], before) == before
    assert smallest.all_teachers(["lenet5 1520"], before) == [*before, now]
    assert smallest.all_teachers(["digits 660"], before) == [before[1], {"data": "digits", "teachers": 1}]
