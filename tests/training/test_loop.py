"""Training and evaluating: steps equal hand arithmetic, choices follow validation, runs repeat to the bit."""

import copy
import math
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import nn
from torch.nn import functional

from compresslab import data, models
from compresslab.errors import CompressionError
from compresslab.models.tracing import evaluating
from compresslab.training import loop as training
from compresslab.training.accuracy import Accuracy, evaluate
from compresslab.training.batching import ImageData, Split
from compresslab.training.loop import rate, train
from tests.samples import same

SGD = torch.optim.SGD


@pytest.fixture(scope="module")
def few() -> ImageData:
    digits = data.digits()
    return replace(digits, train=digits.train[:300], validation=digits.validation[:100])


def small(seed: int = 0) -> nn.Module:
    return models.lenet_300_100(fc1=20, fc2=15, seed=seed)


# --- the interval


counts = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(deadline=None, max_examples=50)
@given(counts, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilsons_interval_is_scipys(count, confidence):
    expected = binomtest(*count).proportion_ci(confidence, method="wilson")
    # scipy and we round a dozen float64 operations differently
    assert Accuracy(*count).interval(confidence) == pytest.approx(
        (expected.low, expected.high), rel=1e-9, abs=1e-12
    )


@settings(deadline=None)
@given(counts)
def test_wilsons_ends_are_the_rates_the_score_test_just_accepts(count):
    """(found - p)^2 = z^2 p (1 - p) / n at both ends, with z from a table."""
    accuracy, z = Accuracy(*count), 1.959963984540054
    for end in (accuracy.low, accuracy.high):
        distance = (accuracy.value - end) ** 2 - z**2 * end * (1 - end) / accuracy.total
        assert abs(distance) <= 1e-12  # terms of at most about 1, a few roundings of 1e-16 each
    assert 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1
    assert accuracy.low < accuracy.high


# --- evaluate


def test_evaluate_counts_what_a_loop_counts_whatever_the_batch_size(few):
    model = small().eval()
    with torch.no_grad():
        model.fc3.weight.mul_(20).add_(torch.linspace(-1, 1, 15))
        model.fc3.bias.sub_(model(few.validation.images).mean(0))  # so that it answers this and that
    found = evaluate(model, few.validation)
    assert len(found.predictions.unique()) > 3
    with torch.no_grad():
        answers = [int(model(image[None]).argmax()) for image in few.validation.images]
    truth = few.validation.labels.tolist()
    assert found.predictions.tolist() == answers
    assert found.hits.tolist() == [a == t for a, t in zip(answers, truth, strict=True)]
    assert (found.correct, found.total) == (sum(found.hits.tolist()), 100)
    assert all(evaluate(model, few.validation, size) == found for size in (1, 7, 1000))
    assert evaluate(model, replace(few, test=few.validation)) == found


def test_evaluate_leaves_every_mode_and_every_statistic_as_found(few):
    model = models.residual(widths=(4,), inner=(4,)).train()
    model.norm1.eval()  # a frozen norm inside a training model
    modes, before = [m.training for m in model.modules()], copy.deepcopy(model)
    evaluate(model, few.validation)
    assert [m.training for m in model.modules()] == modes
    assert same(model, before)
    with evaluating(model):
        assert not any(m.training for m in model.modules())
    with pytest.raises(CompressionError, match=r"expected input.* to have 1 channels"):
        evaluate(model.train(), Split(torch.zeros(2, 3, 5, 5), torch.zeros(2).long()))
    model.norm1.eval()
    assert [m.training for m in model.modules()] == modes


# --- train


def test_one_step_is_the_textbooks(few):
    """Stochastic gradient descent over one batch that holds everything: w - lr * gradient."""
    model, twin = small(), small()
    split = few.train
    loss = functional.cross_entropy(twin(split.images), split.labels)
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    history = train(model, few, epochs=1, batch_size=300, lr=0.5, optimizer=SGD, augment=False)
    for found, start, gradient in zip(model.parameters(), twin.parameters(), gradients, strict=True):
        # the batch is the same but shuffled: sums over 300 images in another order
        torch.testing.assert_close(found, start - 0.5 * gradient, rtol=1e-5, atol=1e-6)
    assert history.loss[0] == pytest.approx(loss.item(), rel=1e-5)


def test_training_learns(few):
    model = small()
    before = evaluate(model, few.validation).value
    history = train(model, few, epochs=20, lr=1e-2)
    assert before < 0.3  # ten classes
    assert evaluate(model, few.validation).value > 0.5
    assert history.loss[-1] < history.loss[0] / 2
    assert not model.training


def test_the_kept_weights_are_those_of_the_lowest_validation_loss(few):
    model, split = small(), few.validation
    history = train(model, few, epochs=12, lr=3e-2)
    with torch.no_grad():
        loss = functional.cross_entropy(model(split.images), split.labels).item()
    assert history.validation_loss[history.kept - 1] == min(history.validation_loss)
    # the same 100 terms, summed in batches of 64
    assert loss == pytest.approx(min(history.validation_loss), rel=1e-5)
    assert evaluate(model, split).value == history.validation[history.kept - 1]
    last = train(small(), few, epochs=12, lr=3e-2, keep_best=False)
    assert last.kept == 12
    assert last.loss == history.loss


def test_validation_chooses_and_the_test_split_is_never_looked_at(few):
    model, twin = small(), small()
    blank = Split(few.test.images[:1], few.test.labels[:1])
    train(model, few, epochs=3)
    train(twin, replace(few, test=blank), epochs=3)
    assert same(model, twin)


def test_the_seed_decides_and_the_global_generator_does_not(few):
    def run(seed: int | torch.Generator, world: int, **how: bool) -> nn.Module:
        model = models.article(conv1=2, conv2=3, fc1=8)
        torch.manual_seed(world)
        before = torch.get_rng_state()
        train(model, few, epochs=2, seed=seed, **how)
        assert torch.equal(torch.get_rng_state(), before)
        return model

    assert same(run(1, 10), run(1, 20))
    assert same(run(1, 10), run(torch.Generator().manual_seed(1), 10))
    assert not same(run(1, 10, augment=False), run(2, 10, augment=False))  # it shuffles, too


REPEAT = """
import hashlib, torch
from dataclasses import replace
torch.set_num_threads({threads})
from compresslab import data, models, training
digits = data.digits()
digits = replace(digits, train=digits.train[:130], validation=digits.validation[:50])  # three steps
found = hashlib.sha256()
for name in models.BUILDERS:
    model = models.build(name)
    history = training.train(model, digits, epochs=1)
    for tensor in model.state_dict().values():
        found.update(tensor.numpy().tobytes())
    found.update(repr(history).encode())
print(found.hexdigest())
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_separate_processes_agree_to_the_bit(threads):
    code = REPEAT.format(threads=threads)
    found = {
        subprocess.check_output(
            [sys.executable, "-c", code], text=True, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_the_rate_rises_once_and_falls_to_nearly_nothing():
    for steps in (1, 2, 19, 20, 100, 1000):
        rates = [rate(step, steps) for step in range(steps)]
        top = rates.index(max(rates))
        assert max(rates) == 1
        assert rates[: top + 1] == sorted(rates[: top + 1])
        assert rates[top:] == sorted(rates[top:], reverse=True)
        assert top == steps // 20
        assert min(rates) > 0
    assert rates[-1] < 1e-5


def test_after_step_sees_every_step_with_its_rate_and_holds_zeros(few):
    seen = []

    def hold(model: nn.Module, lr: float) -> None:
        assert not torch.is_grad_enabled()
        seen.append(lr)
        model.fc1.weight[:, ::2] = 0

    model = small()
    train(model, few, epochs=3, batch_size=64, lr=0.01, after_step=hold)
    assert seen == [0.01 * rate(step, 15) for step in range(15)]  # 300 images are 5 batches
    assert model.fc1.weight[:, ::2].count_nonzero() == 0
    assert model.fc1.weight[:, 1::2].count_nonzero() > 0


def test_the_penalty_enters_the_gradient_and_the_loss(few):
    """A pure penalty, the objective silenced: one step on |w|^2 / 2 shrinks every weight by lr."""
    model, twin = small(), small()
    zero = lambda model, images, labels: 0 * functional.cross_entropy(model(images), labels)  # noqa: E731
    square = lambda model: sum(p.square().sum() for p in model.parameters()) / 2  # noqa: E731
    how = {"batch_size": 300, "lr": 0.25, "optimizer": SGD, "augment": False}
    history = train(model, few, epochs=1, objective=zero, penalty=square, **how)
    for found, start in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, 0.75 * start, rtol=1e-6, atol=1e-9)
    assert history.loss[0] == pytest.approx(square(twin).item(), rel=1e-6)


def test_the_objective_is_asked_about_the_augmented_images(few):
    seen = []

    def watch(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return training.cross_entropy(model, images, labels)

    for augment in (lambda images, generator: images * 0, False, True):
        train(small(), few, epochs=1, batch_size=300, augment=augment, objective=watch)
    black, plain, affine = seen
    assert not black.any()
    lit = few.train.images.flatten(1).sum(1)
    assert torch.equal(plain.flatten(1).sum(1).sort().values, lit.sort().values)
    assert not torch.equal(affine.flatten(1).sum(1).sort().values, lit.sort().values)


def test_only_trainable_weights_move(few):
    model = small()
    model.fc1.requires_grad_(False)
    before = copy.deepcopy(model)
    train(model, few, epochs=1)
    assert torch.equal(model.fc1.weight, before.fc1.weight)
    assert not torch.equal(model.fc2.weight, before.fc2.weight)


def test_a_loss_that_is_not_finite_stops_before_its_step(few):
    model = small()
    with torch.no_grad():
        model.fc2.weight[0, 0] = math.nan
    before = copy.deepcopy(model)
    with pytest.raises(
        CompressionError, match=r"at lr=0.002, the loss became nan in epoch 1; use a lower lr"
    ):
        train(model, few, epochs=1)
    assert same(model, before)
    with pytest.raises(CompressionError, match="the loss became"):
        train(small(), few, epochs=5, lr=1e30, optimizer=partial(SGD, momentum=0.9))


def test_no_bar_reaches_what_is_not_a_terminal(few, capfd):
    train(small(), few, epochs=1)
    assert capfd.readouterr() == ("", "")
