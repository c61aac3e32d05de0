"""A plan does what the verbs do, and comes back from JSON as it was."""

import json
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import SCHEMES, network

from compresslab.errors import CompressionError
from compresslab.pruning import criteria
from compresslab.pruning.neurons import prune_neurons
from compresslab.pruning.weights import hold_zeros, prune_weights
from compresslab.quantization.clipping import LeastSquares
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.quantizing import fake_quantize, quantize
from compresslab.quantization.schemes import KMeans
from compresslab.quantization.uniform import Symmetric
from compresslab.repairing.mending import mend
from compresslab.repairing.reconstructing import reconstruct
from compresslab.searching.budgets import Budget, Space
from compresslab.searching.plans import LayerPlan, Plan
from compresslab.storage.container import encode
from compresslab.teaching import checkpoints
from compresslab.training.accuracy import evaluate
from compresslab.training.batching import ImageData, Split
from compresslab.training.datasets import digits
from compresslab.training.loop import train

SHARES = st.floats(0, 1)
LAYERS = st.builds(LayerPlan, st.one_of(st.none(), st.sampled_from(SCHEMES)), SHARES, SHARES)


def split(seed, count=24):
    generator = torch.Generator().manual_seed(seed)
    return Split(torch.rand(count, 1, 28, 28, generator=generator), torch.arange(count) % 3)


DATA = ImageData("noise", split(1), split(2), split(3))
EVERYTHING = Plan(
    {
        "conv1": LayerPlan(Symmetric(4)),
        "conv2": LayerPlan(KMeans(2, keep_zero=True), weights=0.5, neurons=0.5),
        "fc1": LayerPlan(KMeans(3, keep_zero=True), weights=0.8, neurons=0.4),
        "fc2": LayerPlan(weights=0.25),
    }
)


@given(st.dictionaries(st.text(max_size=8), LAYERS, max_size=5))
def test_what_json_says_is_read_back_as_it_was(layers):
    plan = Plan(layers)
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_json(json.dumps(json.loads(plan.to_json()))) == plan


NO_PLANS = ["", "[]", "{}", '{"layers": 3}', '{"layers": {"a": 3}}', '{"layers": {"a": {"share": 0.5}}}']
NO_PLANS += ['{"layers": {"a": {"weights": 3}}}', '{"layers": {"a": {"scheme": {"name": "Best"}}}}']
NO_PLANS += ['{"layers": {"a": {"scheme": 3}}}', '{"layers": {"a": {"neurons": "0.5"}}}', "null"]


@pytest.mark.parametrize("text", NO_PLANS)
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(CompressionError):
        Plan.from_json(text)


def test_a_plan_does_what_the_verbs_do_one_after_the_other():
    model = network()
    by_hand = prune_neurons(model, criteria.taylor, {"conv2": 0.5, "fc1": 0.4}, batches=DATA.train, minimum=1)
    by_hand = prune_weights(by_hand, criteria.magnitude, {"conv2": 0.5, "fc1": 0.8, "fc2": 0.25})
    schemes = {name: layer.scheme for name, layer in EVERYTHING.layers.items() if layer.scheme}
    by_hand = quantize(by_hand, schemes)
    assert encode(EVERYTHING.apply(model, DATA))[0] == encode(by_hand)[0]
    assert encode(EVERYTHING.apply(model, [DATA.train]))[0] == encode(by_hand)[0]


def test_training_goes_through_the_codes_and_leaves_the_zeros():
    model, teach = network(), partial(train, data=DATA, epochs=1, lr=1e-2, augment=False, progress=False)
    by_hand = EVERYTHING._thinned(model, DATA, None)
    by_hand = prune_weights(by_hand, criteria.magnitude, {"conv2": 0.5, "fc1": 0.8, "fc2": 0.25})
    teach(by_hand, after_step=hold_zeros(by_hand))
    schemes = {name: layer.scheme for name, layer in EVERYTHING.layers.items() if layer.scheme}
    books = {name: scheme for name, scheme in schemes.items() if isinstance(scheme, KMeans)}
    student = fake_quantize(fake_quantize(by_hand, books, learned_step=True), {"conv1": schemes["conv1"]})
    teach(student, after_step=hold_zeros(student))
    made = EVERYTHING.apply(model, DATA, train=teach)
    assert encode(made)[0] == encode(quantize(student, schemes))[0]
    assert encode(made)[0] != encode(EVERYTHING.apply(model, DATA))[0]
    fc1 = made.get_submodule("fc1").weight
    assert int((fc1 == 0).sum()) >= round(0.8 * fc1.numel())


def error(made, model):
    with torch.no_grad():
        return float((made(DATA.test.images) - model(DATA.test.images)).square().mean())


REPAIR = DATA.train.images
ONE_KIND = {
    "neurons": Plan({"conv2": LayerPlan(neurons=0.5), "fc1": LayerPlan(neurons=0.4)}),
    "weights": Plan({"fc1": LayerPlan(weights=0.6)}),
    "codes": Plan({"conv2": LayerPlan(Symmetric(2)), "fc1": LayerPlan(Symmetric(2))}),
    "all": Plan(
        {
            "conv2": LayerPlan(Symmetric(3), neurons=0.25),
            "fc1": LayerPlan(KMeans(3, keep_zero=True), weights=0.6),
            "fc2": LayerPlan(Symmetric(3)),
        }
    ),
}


@pytest.mark.parametrize("kind", ONE_KIND)
def test_repair_brings_the_answers_nearer_without_training(kind):
    """Of images that it has not seen; shapes, schemes and zeros are those of the plan."""
    model, plan = network(), ONE_KIND[kind]
    plain, mended = plan.apply(model, DATA), plan.apply(model, DATA, repair=REPAIR)
    assert error(mended, model) < 0.95 * error(plain, model)
    assert [(n, t.dtype, t.shape) for n, t in mended.state_dict().items()] == [
        (n, t.dtype, t.shape) for n, t in plain.state_dict().items()
    ]
    if plan.layers["fc1"].weights:
        zeros = [int((one.get_submodule("fc1").weight == 0).sum()) for one in (plain, mended)]
        assert zeros[1] >= round(0.6 * model.fc1.weight.numel() * (0.75 if kind == "all" else 1))


def test_repair_is_that_of_the_verbs():
    model = network()
    thin = prune_weights(model, criteria.magnitude, {"fc1": 0.6})
    by_hand = mend(thin, model, REPAIR)
    assert encode(ONE_KIND["weights"].apply(model, repair=REPAIR))[0] == encode(by_hand)[0]
    schemes = {"conv2": Symmetric(2), "fc1": Symmetric(2)}
    by_hand = reconstruct(model, schemes, REPAIR)
    assert encode(ONE_KIND["codes"].apply(model, repair=REPAIR))[0] == encode(by_hand)[0]
    by_hand = prune_neurons(
        model,
        criteria.taylor,
        {"conv2": 0.5, "fc1": 0.4},
        batches=DATA.train,
        before_cut=lambda copy: mend(copy, model, REPAIR),
    )
    assert encode(ONE_KIND["neurons"].apply(model, DATA, repair=REPAIR))[0] == encode(by_hand)[0]


def test_a_repaired_plan_takes_less_than_half_the_bytes_of_the_best_uniform_plan_repaired_alike():
    """The plan that book/records/search.py lays greedily: neurons and bits, 256 images, nothing trained."""

    def bits(width):
        return Symmetric(width, PerChannel(), LeastSquares())

    plan = Plan(
        {
            "conv1": LayerPlan(bits(4), neurons=0.25),
            "conv2": LayerPlan(bits(2), neurons=0.5),
            "fc1": LayerPlan(bits(2), neurons=0.25),
            "fc2": LayerPlan(bits(4)),
        }
    )
    model, images = checkpoints.load("article"), digits()
    seen = images.train.images[:256]
    small, uniform = plan.apply(model, images, repair=seen), reconstruct(model, bits(2), seen)
    assert evaluate(small, images.test).correct >= evaluate(uniform, images.test).correct - 2  # by machine
    assert 2 * len(encode(small)[0]) < len(encode(uniform)[0])


def test_a_plan_is_trained_or_repaired():
    with pytest.raises(CompressionError, match="takes one of them"):
        EVERYTHING.apply(network(), DATA, train=partial(train, data=DATA), repair=REPAIR)


def test_a_plan_without_anything_gives_a_copy():
    model = network()
    made = Plan({}).apply(model)
    assert made is not model
    assert encode(made)[0] == encode(model)[0]


@pytest.mark.parametrize(
    ("plan", "data", "says"),
    [
        (Plan({"fc9": LayerPlan(Symmetric(4))}), None, "There is no layer 'fc9'"),
        (Plan({"fc9": LayerPlan(weights=0.5)}), None, "There is no layer to prune 'fc9'"),
        (Plan({"fc1": LayerPlan(neurons=0.5)}), None, r"give it: plan.apply\(model, data\)"),
        (Plan({"fc1": LayerPlan(neurons=0.5)}), [], r"give it: plan.apply\(model, data\)"),
        (Plan({"fc2": LayerPlan(neurons=0.5)}), DATA, "fc2"),
    ],
)
def test_what_cannot_be_done_is_refused(plan, data, says):
    with pytest.raises(CompressionError, match=says):
        plan.apply(network(), data)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Plan({"fc1": Symmetric(4)}), "give a LayerPlan"),
        (lambda: Plan({1: LayerPlan()}), "give a LayerPlan"),
        (lambda: LayerPlan(Symmetric), "with its parentheses"),
        (lambda: LayerPlan(weights=90), "give a float from 0.0 to 1.0"),
        (lambda: LayerPlan(neurons=1), "give a float from 0.0 to 1.0"),
        (lambda: Budget(), "without a limit"),
        (lambda: Budget(bytes=0), "whole number of at least 1"),
        (lambda: Budget(bytes=1e5), "whole number of at least 1"),
        (lambda: Budget(macs=-5), "whole number of at least 1"),
        (lambda: Budget(latency_ms=0), "a number above 0"),
        (lambda: Budget(latency_ms=float("nan")), "a number above 0"),
        (lambda: Budget(loss=-0.1), "of at least 0"),
        (lambda: Budget(loss="1 %"), "of at least 0"),
        (lambda: Budget(loss=True), "of at least 0"),
        (lambda: Space((), (), ()), "nothing in it"),
        (lambda: Space((Symmetric,)), "with its parentheses"),
        (lambda: Space(weights=(50,)), "give a float from 0.0 to 1.0"),
    ],
)
def test_what_is_no_value_is_refused(call, says):
    with pytest.raises(CompressionError, match=says):
        call()


@pytest.mark.parametrize(
    ("budget", "costs", "lost", "excess"),
    [
        (Budget(bytes=100), {"bytes": 100}, 9.0, 0.0),
        (Budget(bytes=100), {"bytes": 150}, 0.0, 0.5),
        (Budget(bytes=100, macs=10), {"bytes": 150, "macs": 20}, 0.0, 1.5),
        (Budget(bytes=100, macs=10), {"bytes": 50, "macs": 20}, 0.0, 1.0),
        (Budget(latency_ms=2.0), {"latency_ms": 3.0}, 0.0, 0.5),
        (Budget(loss=0.02), {}, 0.02, 0.0),
        (Budget(loss=0.02), {}, 0.03, 0.5),
        (Budget(loss=0.0), {}, 0.01, 1.0),
        (Budget(loss=0.02), {}, -1.0, 0.0),
    ],
)
def test_the_excess_adds_up_what_each_limit_is_passed_by(budget, costs, lost, excess):
    assert budget.excess(costs, lost) == pytest.approx(excess)
