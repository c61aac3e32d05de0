"""Pruning: exact numbers of zeros, the same ones as torch's, the argument untouched, zeros that stay."""

import copy
import math
from dataclasses import replace
from itertools import groupby, islice, pairwise

import pytest
import torch
from hypothesis import given, settings
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
from compresslab.pruning.weights import hold_zeros, rewind
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


# --- which go

LAYERS = ("0", "3", "4")
shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0, 1 / 72, 3 / 72, 35 / 72]))
mappings = st.dictionaries(st.sampled_from([*LAYERS, "*"]), shares)
patterns = st.one_of(
    st.none(),
    st.builds(Blocks, st.integers(1, 3), st.integers(1, 4)),
    st.integers(1, 4).flatmap(lambda of: st.builds(NofM, st.integers(1, of), st.just(of))),
)


def units(
    layer: str, weight: torch.Tensor, pattern: Blocks | NofM | None
) -> list[list[tuple[str, int, int]]]:
    """The places of a layer's matrix that go as one, in order: rectangles, or single weights."""
    rows, columns = len(weight), weight[0].numel()
    high, wide = (pattern.rows, pattern.columns) if isinstance(pattern, Blocks) else (1, 1)
    return [
        [(layer, i, j) for i in range(r, min(r + high, rows)) for j in range(c, min(c + wide, columns))]
        for r in range(0, rows, high)
        for c in range(0, columns, wide)
    ]


def scopes(layers, share, per_layer: bool, pattern):
    """Lists of units that are compared with each other, and how many of each go."""
    if isinstance(pattern, NofM):
        for found in layers.values():
            for _, row in groupby(found, key=lambda unit: unit[0][1]):
                while group := list(islice(row, pattern.of)):
                    yield group, max(0, len(group) - pattern.keep)
    elif isinstance(share, dict) or per_layer:
        for layer, found in layers.items():
            part = share.get(layer, share.get("*", 0.0)) if isinstance(share, dict) else share
            yield found, round(part * len(found))
    else:
        whole = [unit for found in layers.values() for unit in found]
        yield whole, round(share * len(whole))


@settings(max_examples=300)
@given(
    values=st.lists(few, min_size=1, max_size=36),
    marks=st.lists(st.integers(-3, 3), min_size=1, max_size=36),
    share=st.one_of(shares, mappings),
    per_layer=st.booleans(),
    pattern=patterns,
    protect=st.sets(st.sampled_from(LAYERS), max_size=2),
)
def test_what_goes_is_what_a_stable_sort_says(values, marks, share, per_layer, pattern, protect):
    """Zeros count as gone and come first, then the least mean score; nothing else changes."""
    model, scores = filled(values), weights_of(filled(marks))
    if isinstance(share, dict):
        share = {layer: part for layer, part in share.items() if layer not in protect}
    how = {"share": None if isinstance(pattern, NofM) else share, "per_layer": per_layer}
    pruned = prune_weights(model, Fixed(scores), pattern=pattern, protect=tuple(protect), **how)
    weights = weights_of(model)
    tables = {
        n: (w.reshape(len(w), -1).tolist(), scores[n].view(len(w), -1).tolist()) for n, w in weights.items()
    }

    def rank(unit):
        held, score = ([tables[layer][which][i][j] for layer, i, j in unit] for which in (0, 1))
        return any(held), sum(score) / len(score)

    layers = {name: units(name, weight, pattern) for name, weight in weights.items() if name not in protect}
    expected = copy.deepcopy(model)
    for compared, count in scopes(layers, share, per_layer, pattern):
        for layer, i, j in (place for unit in sorted(compared, key=rank)[:count] for place in unit):
            expected.get_submodule(layer).weight.data.view(len(weights[layer]), -1)[i, j] = 0
    assert all(torch.equal(p, q) for p, q in zip(pruned.parameters(), expected.parameters(), strict=True))


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
    assert repr(held) == f"HeldZeros({round(0.8 * total(pruned)):,} of {total(pruned):,} weights)"
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


def test_sensitivity_scans_six_shares_unless_it_is_told(trained, digits):
    found = sensitivity(trained, digits)
    assert found.shares == (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
    assert len({found, replace(found)}) == 1


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
