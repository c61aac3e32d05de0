"""Pruning: exact numbers of zeros, the same ones as torch's, the argument untouched, zeros that stay."""

import copy
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from compresslab import (
    Binary,
    Symmetric,
    criteria,
    data,
    evaluate,
    fake_quantize,
    models,
    prune_weights,
    quantize,
    sensitivity,
    train,
)
from compresslab.pruning.patterns import Blocks, NofM, cubic, of_the_rest
from compresslab.pruning.weights import HeldZeros, hold_zeros, rewind
from compresslab.training.batching import ImageData, Split
from compresslab.training.weights import weights_of
from tests.samples import network, same
from tests.strategies import few


def zeros(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight == 0 for name, weight in weights_of(model).items()}


def number(model: nn.Module) -> int:
    return sum(int(mask.sum()) for mask in zeros(model).values())


def total(model: nn.Module) -> int:
    return sum(weight.numel() for weight in weights_of(model).values())


def filled(values: list[float]) -> nn.Module:
    """A network of 36 weights, in a convolution and two linear layers, with these values in turn."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2, 6), nn.Linear(6, 1))
    places = (value for weight in weights_of(model).values() for value in weight.data.view(-1).split(1))
    for number, place in enumerate(places):
        place.fill_(values[number % len(values)])
    return model


class Fixed:
    """A criterion that gives these scores."""

    def __init__(self, scores: dict[str, torch.Tensor]) -> None:
        self.scores, self.calls = scores, 0

    def __call__(self, model: nn.Module, batches: object) -> dict[str, torch.Tensor]:
        self.calls += 1
        return self.scores


# --- exact counts

shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0, 1 / 72, 3 / 72, 35 / 72]))


@given(st.lists(few, min_size=1, max_size=36), shares, st.booleans())
def test_exactly_so_many_weights_are_zero(values, share, per_layer):
    """Values with ties, and with zeros among them, which count as gone."""
    model = filled(values)
    pruned = prune_weights(model, criteria.magnitude, share, per_layer=per_layer)
    before, after = zeros(model), zeros(pruned)
    if per_layer:
        for name, mask in after.items():
            assert mask.sum() == max(round(share * mask.numel()), int(before[name].sum()))
    else:
        assert number(pruned) == max(round(share * total(model)), number(model))
    assert all((after[name] | ~before[name]).all() for name in after), "a zero came back"


@pytest.mark.parametrize("criterion", [criteria.magnitude, criteria.Random(3)])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_equal_weights_go_in_order(criterion, share):
    pruned = prune_weights(filled([0.5]), criterion, share)
    gone = torch.cat([mask.view(-1) for mask in zeros(pruned).values()]).tolist()
    assert sum(gone) == round(share * 36)
    if criterion is criteria.magnitude:
        assert gone == sorted(gone, reverse=True)


def test_nothing_and_everything():
    model = network("article")
    assert same(prune_weights(model, criteria.magnitude, 0.0), model)
    empty = prune_weights(model, criteria.magnitude, 1.0)
    assert number(empty) == total(model)
    assert torch.equal(empty.fc1.bias, model.fc1.bias)


# --- the right ones


@pytest.mark.parametrize("name", ["article", "lenet_300_100", "residual"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_the_masks_are_those_of_torch(name, share):
    model = network(name)
    order = 1 + torch.randperm(total(model), generator=torch.Generator().manual_seed(0))
    signed = torch.where(order % 3 == 0, -1.0, 1.0) * order  # no ties, both signs
    nn.utils.vector_to_parameters(signed, list(weights_of(model).values()))
    theirs = copy.deepcopy(model)
    layers = [theirs.get_submodule(layer) for layer in weights_of(model)]
    prune.global_unstructured(
        [(layer, "weight") for layer in layers], prune.L1Unstructured, amount=round(share * total(model))
    )
    for mask, layer in zip(
        zeros(prune_weights(model, criteria.magnitude, share)).values(), layers, strict=True
    ):
        assert torch.equal(mask, layer.weight_mask == 0)


def test_the_least_important_go_by_whatever_criterion():
    model = filled([1.0])
    scores = {
        name: torch.arange(weight.numel(), 0, -1.0).reshape(weight.shape)
        for name, weight in weights_of(model).items()
    }
    pruned = prune_weights(model, Fixed(scores), 0.25)
    for name, mask in zeros(pruned).items():  # 9 go: 1 to 3 in each of three layers
        assert torch.equal(mask, scores[name] <= 3)


def test_weights_that_are_gone_stay_gone_whatever_their_score():
    """A criterion of activations or chance may score a zero high; rising shares must still nest."""
    model, before = filled([1.0, 2.0, 3.0]), None
    for round_, share in enumerate((0.2, 0.5, 0.8)):
        model = prune_weights(model, criteria.Random(round_), share)
        assert number(model) == round(share * 36)
        assert before is None or all((zeros(model)[name] | ~before[name]).all() for name in before)
        before = zeros(model)
    assert same(prune_weights(model, criteria.Random(9), 0.1), model)


def test_scores_of_zero_do_not_crowd_out_the_weights_that_are_gone():
    model = filled([1.0, 0.0])
    flat = Fixed({name: torch.zeros_like(weight) for name, weight in weights_of(model).items()})
    assert number(prune_weights(model, flat, 0.5)) == 18
    assert number(prune_weights(model, flat, 0.75)) == 27


def test_the_argument_is_untouched_and_shares_nothing():
    model = network("residual").train()
    before = copy.deepcopy(model)
    pruned = prune_weights(model, criteria.magnitude, 0.9)
    assert same(model, before)
    assert model.training
    assert pruned.training
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in pruned.parameters()}
    assert [name for name, _ in pruned.named_buffers()] == [name for name, _ in model.named_buffers()]
    copy.deepcopy(pruned)  # torch's own pruning makes this fail


def test_layers_may_be_protected():
    model = network("article")
    pruned = prune_weights(model, criteria.magnitude, 0.9, protect=("conv1", "fc2"))
    assert torch.equal(pruned.conv1.weight, model.conv1.weight)
    assert torch.equal(pruned.fc2.weight, model.fc2.weight)
    inner = model.conv2.weight.numel() + model.fc1.weight.numel()
    assert number(pruned) == round(0.9 * inner)


def test_every_layer_may_have_a_share_of_its_own():
    model = network("article")
    pruned = prune_weights(model, criteria.magnitude, {"fc1": 0.9, "*": 0.5})
    for name, mask in zeros(pruned).items():
        assert mask.sum() == round((0.9 if name == "fc1" else 0.5) * mask.numel())
    only = prune_weights(model, criteria.magnitude, {"fc1": 0.9})
    assert number(only) == round(0.9 * model.fc1.weight.numel())


# --- patterns


@pytest.mark.parametrize("name", ["article", "lenet5", "lenet_300_100", "residual"])
@pytest.mark.parametrize("pattern", [NofM(2, 4), NofM(1, 4), NofM(3, 5), NofM(4, 4)])
def test_n_of_m_holds_in_every_row(name, pattern):
    """Row lengths here are 9, 18, 27, 50, 196 and more: most leave a short last group."""
    pruned = prune_weights(network(name), criteria.magnitude, pattern=pattern)
    for weight in weights_of(pruned).values():
        for row in weight.reshape(len(weight), -1).tolist():
            for start in range(0, len(row), pattern.of):
                group = row[start : start + pattern.of]
                assert sum(value != 0 for value in group) == min(pattern.keep, len(group))


def test_n_of_m_counts_the_zeros_that_are_there():
    layer = nn.Linear(4, 1)
    layer.weight.data.copy_(torch.tensor([[0.0, 3.0, 0.0, 1.0]]))
    pruned = prune_weights(layer, criteria.Random(0), pattern=NofM(2, 4))
    assert torch.equal(pruned.weight, layer.weight)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("per_layer", [False, True])
def test_blocks_go_as_one_and_exactly_so_many(share, per_layer):
    model, pattern = network("lenet5"), Blocks(2, 5)
    pruned = prune_weights(model, criteria.magnitude, share, pattern=pattern, per_layer=per_layer)
    counts = []
    for mask in zeros(pruned).values():
        matrix = mask.reshape(len(mask), -1)
        blocks = [
            matrix[i : i + 2, j : j + 5].flatten().tolist()
            for i in range(0, matrix.shape[0], 2)
            for j in range(0, matrix.shape[1], 5)
        ]
        assert all(len(set(block)) == 1 for block in blocks)
        counts.append((sum(block[0] for block in blocks), len(blocks)))
    if per_layer:
        assert all(gone == round(share * n) for gone, n in counts)
    else:
        assert sum(gone for gone, _ in counts) == round(share * sum(n for _, n in counts))


def test_blocks_that_are_gone_count():
    model = prune_weights(network("lenet5"), criteria.magnitude, 0.5, pattern=Blocks(2, 5))
    again = prune_weights(model, criteria.Random(1), 0.5, pattern=Blocks(2, 5))
    assert same(model, again)


# --- schedule, rewinding, holding


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 40))
def test_the_cubic_schedule_rises_ever_slower_and_ends_exactly(first, second, rounds):
    start, share = sorted((first, second))
    steps = [start, *cubic(share, rounds, start)]
    assert len(steps) == rounds + 1
    assert steps[-1] == share
    rises = [after - before for before, after in pairwise(steps)]
    assert all(rise >= -1e-15 for rise in rises)  # a rounding of numbers up to 1
    assert all(later <= rise + 1e-15 for rise, later in pairwise(rises))


def test_the_cubic_schedule_is_the_papers():
    """Halfway, one eighth of the way is left."""
    assert cubic(0.8, 2) == pytest.approx([0.7, 0.8])
    assert cubic(0.9, 4, start=0.5)[1] == pytest.approx(0.9 - 0.4 / 8)


@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=20).map(sorted))
def test_shares_of_the_rest_leave_what_the_levels_leave(levels):
    left = 1.0
    for share, level in zip(of_the_rest(levels), levels, strict=True):
        left *= 1 - share
        assert left == pytest.approx(1 - level, rel=1e-12)  # 20 products, each rounded to 2e-16


def test_rewinding_puts_the_zeros_into_the_earlier_weights():
    earlier, later = network("residual", 1), network("residual", 2)
    pruned = prune_weights(later, criteria.magnitude, 0.8)
    before = copy.deepcopy(earlier)
    back = rewind(pruned, earlier)
    assert same(earlier, before)
    for name, mask in zeros(pruned).items():
        weight, old = back.get_submodule(name).weight, earlier.get_submodule(name).weight
        assert (weight[mask] == 0).all()
        assert torch.equal(weight[~mask], old[~mask])
    assert torch.equal(back.norm1.running_mean, earlier.norm1.running_mean)
    assert torch.equal(back.fc1.bias, earlier.fc1.bias)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    whole = data.digits()
    return replace(whole, train=whole.train[:320], validation=whole.validation[:100])


@pytest.mark.parametrize(
    "optimizer",
    [torch.optim.Adam, lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, weight_decay=0.01)],
)
def test_held_zeros_are_zeros_after_training_and_the_others_moved(digits, optimizer):
    pruned = prune_weights(models.lenet_300_100(20, 15), criteria.magnitude, 0.8)
    before, held = copy.deepcopy(pruned), hold_zeros(pruned)
    train(pruned, digits, epochs=1, optimizer=optimizer, after_step=held, progress=False)
    for name, mask in zeros(before).items():
        weight = pruned.get_submodule(name).weight
        assert (weight[mask] == 0).all()
        assert (weight[~mask] != before.get_submodule(name).weight[~mask]).float().mean() > 0.5
    free = copy.deepcopy(before)
    train(free, digits, epochs=1, optimizer=optimizer, progress=False)
    assert number(free) < number(before) / 2, "held or not must make a difference"


def test_zeros_are_held_behind_quantization_too(digits):
    pruned = prune_weights(models.lenet_300_100(20, 15), criteria.magnitude, 0.8)
    held, through = hold_zeros(pruned), fake_quantize(pruned, Symmetric(4))
    train(through, digits, epochs=1, after_step=held, progress=False)
    frozen = quantize(through)
    for name, mask in zeros(pruned).items():
        assert (frozen.get_submodule(name).weight[mask] == 0).all()
    assert (zeros(through)["fc1"] == zeros(pruned)["fc1"]).all()


def test_holding_says_what_it_holds():
    pruned = prune_weights(network("lenet5"), criteria.magnitude, 0.5)
    held = hold_zeros(pruned)
    assert isinstance(held, HeldZeros)
    assert repr(held) == f"HeldZeros({round(total(pruned) / 2):,} of {total(pruned):,} weights)"


def test_weights_trained_through_a_scheme_can_be_pruned():
    through = fake_quantize(network("article"), Binary())
    pruned = prune_weights(through, criteria.magnitude, 0.5)
    assert number(pruned) == round(0.5 * total(pruned))
    assert number(through) == 0


# --- sensitivity


@pytest.fixture(scope="module")
def trained(digits):
    model = models.lenet_300_100(20, 15)
    train(model, digits, epochs=3, progress=False)
    return model


def test_sensitivity_prunes_one_layer_at_a_time_on_validation(trained, digits):
    before = copy.deepcopy(trained)
    poisoned = replace(digits, test=Split(torch.full((2, 1, 28, 28), math.nan), torch.zeros(2, dtype=int)))
    scores = Fixed(dict(criteria.magnitude(trained)))
    found = sensitivity(trained, poisoned, scores, (0.0, 0.5, 1.0))
    assert scores.calls == 1
    assert same(trained, before)
    assert found.reference == evaluate(trained, digits.validation)
    assert list(found.accuracies) == ["fc1", "fc2", "fc3"]
    for name, row in found.accuracies.items():
        assert row[0] == found.reference
        expected = copy.deepcopy(trained)
        weight = expected.get_submodule(name).weight.data
        order = weight.abs().flatten().argsort(stable=True)
        weight.view(-1)[order[: round(0.5 * len(order))]] = 0
        assert row[1] == evaluate(expected, digits.validation)
    without = copy.deepcopy(trained)
    without.fc3.weight.data.zero_()
    assert found.accuracies["fc3"][2] == evaluate(without, digits.validation)


def test_sensitivity_shows_a_table(trained, digits):
    found = sensitivity(trained, digits, shares=(0.5, 0.95))
    lines = repr(found).splitlines()
    assert "100 validation images" in lines[0]
    assert "95 % gone" in lines[1]
    assert [line.split()[0] for line in lines[2:]] == ["fc1", "fc2", "fc3"]
    assert f"{100 * found.accuracies['fc2'][1].value:.1f} %" in lines[3]
    assert found._repr_html_().count("<tr>") == 4


def test_sensitivity_takes_criteria_that_need_images(trained, digits):
    found = sensitivity(trained, digits, criteria.gradient, (0.9,), batches=digits.train[:50])
    assert found.accuracies["fc1"][0].total == 100
