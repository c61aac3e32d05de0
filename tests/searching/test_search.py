"""A search finds what enumeration finds, on validation alone, and goes on where it was."""

from itertools import product

import pytest
import torch
from torch import nn

import compresslab as cl
from compresslab.errors import CompressionError
from compresslab.quantization.uniform import Symmetric
from compresslab.searching.budgets import Budget, Space
from compresslab.searching.plans import LayerPlan, Plan
from compresslab.searching.seeking import search
from compresslab.storage.container import encode
from compresslab.training.accuracy import evaluate
from compresslab.training.batching import Batch, ImageData, Split
from compresslab.training.metrics import MeanSquaredError

SCHEMES = tuple(Symmetric(bits) for bits in (4, 2))
BITS = Space(SCHEMES, (), ())


def small(seed=0):
    """Give a network whose answers are worth nothing, and data it answers perfectly."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 4)
    )
    model.eval()
    images = torch.randn(120, 1, 4, 4)
    with torch.no_grad():
        return model, Split(images, model(images).argmax(1))


MODEL, JUDGED = small()


def enumerated(metric_of):
    for options in product((None, *SCHEMES), repeat=3):
        plan = Plan({n: LayerPlan(o) for n, o in zip("135", options, strict=True) if o is not None})
        made = plan.apply(MODEL)
        yield len(encode(made)[0]), metric_of(made)


def accuracy(model):
    return evaluate(model, JUDGED).value


def test_with_enough_trials_it_finds_the_best_of_all_under_a_budget_of_loss():
    """There are 27 plans: the search stops when it has seen them, and knows the smallest allowed."""
    found = search(MODEL, [JUDGED], Budget(loss=0.05), space=BITS, trials=40)
    assert len({repr(trial.plan) for trial in found.trials}) == len(found.trials)
    everything = list(enumerated(accuracy))
    assert len(found.trials) == len(everything) == 27
    assert found.best.bytes == min(size for size, value in everything if value >= 0.95 - 1e-9)
    assert found.best.value >= 0.95 - 1e-9


def test_under_a_budget_of_bytes_the_best_reading_counts_and_then_the_smaller_file():
    sizes = sorted(size for size, _ in enumerated(accuracy))
    limit = sizes[len(sizes) // 2]
    found = search(MODEL, [JUDGED], Budget(bytes=limit), space=BITS, trials=40)
    best = max((value, -size) for size, value in enumerated(accuracy) if size <= limit)
    assert (found.best.value, -found.best.bytes) == pytest.approx(best)
    assert found.greedy.fits
    assert found.greedy.origin == "greedy"
    assert len(encode(found.plan.apply(MODEL))[0]) == found.best.bytes


def test_the_curve_has_no_trial_that_another_beats():
    found = search(MODEL, [JUDGED], Budget(loss=0.2), space=BITS, trials=20)
    curve = found.curve
    assert [trial.bytes for trial in curve] == sorted({trial.bytes for trial in curve})
    for trial in found.trials:
        assert any(one.bytes <= trial.bytes and one.value >= trial.value for one in curve)
    for one in curve:
        assert not any(t.bytes <= one.bytes and t.value > one.value for t in found.trials)


def test_the_same_seed_gives_the_same_search_and_chance_is_left_alone():
    before = torch.get_rng_state()
    first, second = (search(MODEL, [JUDGED], Budget(loss=0.1), space=BITS, trials=10, seed=3) for _ in "ab")
    assert first.trials == second.trials
    assert first.plan == second.plan
    assert torch.equal(before, torch.get_rng_state())


class Sealed:
    """A test split that nobody may open."""

    def __getattribute__(self, name):
        raise AssertionError(f"the test split was asked for its {name}")


def test_choices_read_validation_and_never_the_test_split():
    images = ImageData("noise", JUDGED[:60], JUDGED[60:], JUDGED)
    object.__setattr__(images, "test", Sealed())
    found = search(MODEL, images, Budget(loss=0.1), space=Space(SCHEMES, (0.5,), ()), trials=8)
    assert found.given.value == 1.0
    with pytest.raises(AssertionError, match="the test split"):
        len(images.test.labels)


def test_neurons_weights_and_schemes_spend_a_budget_of_bytes_and_macs_together():
    model = cl.models.lenet_300_100(seed=1)
    torch.manual_seed(2)
    images = torch.rand(40, 1, 28, 28)
    with torch.no_grad():
        judged = Split(images, model(images).argmax(1))
    space = Space((Symmetric(8), Symmetric(4)), (0.5, 0.9), (0.5, 0.75))
    found = search(model, [judged], Budget(bytes=60_000, macs=100_000), space=space, trials=6, plain=True)
    assert found.best.bytes <= 60_000
    assert found.best.macs <= 100_000
    made = found.plan.apply(model, [judged])
    assert made.config.fc1 < 300
    assert found.given.macs == 784 * 300 + 300 * 100 + 100 * 10


def test_another_task_is_judged_by_its_own_metric():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2)).eval()
    inputs = torch.randn(50, 6)
    with torch.no_grad():
        data = [Batch(inputs, model(inputs))]
    found = search(model, data, Budget(loss=0.01), space=BITS, trials=12, metric=MeanSquaredError())
    assert found.best.value <= 0.01
    assert found.best.bytes < found.given.bytes


def test_a_budget_of_milliseconds_is_of_the_float_network_that_it_runs_as():
    found = search(MODEL, [JUDGED], Budget(latency_ms=1e4), space=BITS, trials=3)
    assert found.best.latency_ms > 0
    assert "ms" in repr(found)


def test_trials_that_are_repaired_spend_a_budget_better(tmp_path):
    space, budget, study = Space(SCHEMES, (), (0.25,)), Budget(loss=0.05), tmp_path / "study.journal"
    plain = search(MODEL, [JUDGED], budget, space=space, trials=12)
    mended = search(MODEL, [JUDGED], budget, space=space, trials=12, repair=[JUDGED[:60]], study=study)
    assert mended.best.bytes < plain.best.bytes
    assert mended.knobs == plain.knobs  # options alone are tried as they are
    again = mended.plan.apply(MODEL, [JUDGED], repair=[JUDGED[:60]])
    assert (len(encode(again)[0]), accuracy(again)) == (mended.best.bytes, mended.best.value)
    with pytest.raises(CompressionError, match="belongs to another search"):
        search(MODEL, [JUDGED], budget, space=space, trials=12, study=study)


def test_what_stands_in_a_journal_is_not_made_again(tmp_path):
    calls = []

    def counting(model, after_step):
        calls.append(model)

    asked = {"space": BITS, "train": counting, "study": tmp_path / "study.journal"}
    first = search(MODEL, [JUDGED], Budget(loss=0.1), trials=6, **asked)
    assert len(calls) == sum(bool(trial.plan.layers) for trial in first.trials)
    calls.clear()
    again = search(MODEL, [JUDGED], Budget(loss=0.1), trials=6, **asked)
    assert not calls
    assert (again.trials, again.best, again.greedy) == (first.trials, first.best, first.greedy)
    more = search(MODEL, [JUDGED], Budget(loss=0.1), trials=9, **asked)
    assert more.trials[:6] == first.trials
    assert len(more.trials) == 9


def test_a_study_of_another_search_is_refused(tmp_path):
    file = tmp_path / "study.journal"
    search(MODEL, [JUDGED], Budget(loss=0.1), space=BITS, trials=2, study=file)
    before = file.read_bytes()
    for model, judged, budget, space in (
        (small(1)[0], JUDGED, Budget(loss=0.1), BITS),
        (MODEL, JUDGED[:99], Budget(loss=0.1), BITS),
        (MODEL, JUDGED, Budget(loss=0.2), BITS),
        (MODEL, JUDGED, Budget(loss=0.1), Space(SCHEMES[:1], (), ())),
    ):
        with pytest.raises(CompressionError, match=r"belongs to another search .* another path or name"):
            search(model, [judged], budget, space=space, trials=2, study=file)
    trials = b'"op_code":4'  # a trial was made
    assert file.read_bytes().count(trials) == before.count(trials)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": None}, "without data was asked"),
        ({"data": []}, "data without examples"),
        ({"data": [JUDGED[:0]]}, "data without examples"),
        ({"budget": Budget(bytes=10)}, r"cannot be met: the harshest plan here has [\d,]+ bytes"),
        ({"budget": Budget(macs=10)}, "cannot be met"),
        ({"budget": 90_000}, r"write Budget\(bytes=90_000\)"),
        ({"train": print, "repair": [JUDGED]}, "takes one of them"),
        ({"trials": 0}, "the trials of a search"),
        ({"trials": 2.0}, "the trials of a search"),
        ({"model": cl.quantize(MODEL, Symmetric(4))}, "search before quantize"),
        ({"model": nn.Sequential(nn.Flatten(), nn.ReLU())}, "no layer in floats"),
        ({"study": "/nowhere/at/all.journal"}, "could not be opened"),
        ({"study": "nosql://user:secret@host/data"}, "could not be opened"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_what_to_do(change, says):
    asked = {
        "model": MODEL,
        "data": [JUDGED],
        "budget": Budget(loss=0.1),
        "space": BITS,
        "trials": 2,
    } | change
    with pytest.raises(CompressionError, match=says) as refusal:
        search(**asked)
    assert "secret" not in str(refusal.value)
