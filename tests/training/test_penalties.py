"""Penalties: proximal steps are the minima that a blind search finds, gates open as often as they say."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from sklearn.linear_model import Lasso
from torch import nn
from torch.nn.utils import parametrize

from compresslab import Binary, data, fake_quantize, models, prune_weights, train
from compresslab.pruning.criteria import magnitude
from compresslab.training.gates import L0, HardConcrete, add_gates, freeze_gates
from compresslab.training.penalties import L1, L2, GroupLasso, Hoyer, Slimming
from compresslab.training.weights import weights_of
from tests.samples import network

ALL = [L1(0.5), L2(0.5), GroupLasso(0.5), GroupLasso(0.5, axis=1), Hoyer(0.5), Slimming(0.5)]
STEPPING = [penalty for penalty in ALL if not isinstance(penalty, Hoyer)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- proximal steps

numbers = st.floats(-10, 10)
strengths = st.floats(0, 10)


@settings(max_examples=200)
@given(numbers, strengths, st.floats(0, 2), st.sampled_from(["L1", "L2"]))
def test_a_proximal_step_is_the_minimum_that_a_search_finds(weight, strength, step, kind):
    """Of (x - w)^2 / 2 + step * strength * penalty(x), with the penalty written down anew."""
    penalty, cost = {"L1": (L1, abs), "L2": (L2, lambda x: x * x / 2)}[kind]
    found = penalty(strength).proximal(doubles(weight), step).item()
    searched = minimize_scalar(
        lambda x: (x - weight) ** 2 / 2 + step * strength * cost(x),
        bounds=(-abs(weight) - 1, abs(weight) + 1),
        method="bounded",
        options={"xatol": 1e-12, "maxiter": 500},
    ).x
    # a search by values cannot see x closer than sqrt(2 * 2**-53 * value), value at most w^2 / 2 here
    assert abs(found - searched) <= 2e-7 * (1 + abs(weight))


@settings(max_examples=60)
@given(st.lists(numbers, min_size=2, max_size=3), st.floats(0, 4), st.sampled_from([0, 1]))
def test_a_groups_proximal_step_is_the_minimum_that_a_search_finds(group, strength, axis):
    weight = doubles(*group)
    matrix = weight[None] if axis == 0 else weight[:, None]
    found = GroupLasso(strength, axis=axis).proximal(matrix, 0.5).flatten().numpy()

    def cost(x: np.ndarray) -> float:
        norm = math.sqrt(sum(value**2 for value in x))
        return sum((x - np.array(group)) ** 2) / 2 + 0.5 * strength * math.sqrt(len(group)) * norm

    options = {"xatol": 1e-10, "fatol": 1e-16, "maxiter": 5000}
    starts = [np.array(group), np.zeros(len(group))]
    best = min(
        (minimize(cost, x, method="Nelder-Mead", options=options) for x in starts), key=lambda r: r.fun
    )
    assert cost(found) <= best.fun + 1e-13 * (1 + best.fun)
    # the cost rises by half the squared distance at least, and is seen to a rounding of values below 300
    assert np.linalg.norm(found - best.x) <= 1e-6


@pytest.mark.parametrize("axis", [0, 1])
def test_groups_are_independent_rows_or_columns_also_of_a_convolution(axis):
    weight = torch.randn((4, 3, 2, 2), generator=generator(), dtype=torch.float64)
    penalty = GroupLasso(2.0, axis=axis)
    whole = penalty.proximal(weight, 0.5)
    parts = [penalty.proximal(part, 0.5) for part in weight.split(1, dim=axis)]
    assert torch.equal(whole, torch.cat(parts, dim=axis))
    assert penalty.of(weight).item() == pytest.approx(
        sum(penalty.of(p).item() for p in weight.split(1, axis))
    )
    empty = [bool((part == 0).all()) for part in whole.split(1, axis)]
    assert any(empty)
    assert not all(empty)
    assert not any(bool((p == 0).any()) for p, e in zip(whole.split(1, axis), empty, strict=True) if not e)


@pytest.mark.parametrize("penalty", STEPPING)
def test_a_step_of_nothing_changes_nothing(penalty):
    weight = torch.randn((5, 4), generator=generator())
    assert torch.equal(penalty.proximal(weight, 0.0), weight)
    assert torch.equal(replace(penalty, strength=0.0).proximal(weight, 1.0), weight)


@pytest.mark.parametrize("penalty", STEPPING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_zeros_stay_plain_zeros_and_the_type_stays(penalty, dtype):
    weight = torch.tensor([[0.0, -0.0], [-1e-3, 1e-3], [-3.0, 0.0]], dtype=dtype)
    before = weight.clone()
    stepped = penalty.proximal(weight, 0.1)
    assert stepped.dtype == dtype
    assert torch.equal(weight, before)
    assert stepped[0].tolist() == [0.0, 0.0]
    if not isinstance(penalty, L2):
        assert not torch.signbit(stepped[stepped == 0]).any()


def test_l1_leaves_no_negative_zero():
    stepped = L1(1.0).proximal(torch.tensor([-0.5, -1.0, 0.5, 1.0, -0.0]), 1.0)
    assert (stepped == 0).all()
    assert not torch.signbit(stepped).any()


def test_proximal_gradient_descent_ends_where_scikit_learns_lasso_does():
    """The same zeros and the same weights, by coordinate descent there."""
    inputs = torch.randn((60, 12), generator=generator(1), dtype=torch.float64)
    truth = doubles(3, -2, 0, 0, 1, *[0] * 7)
    targets = inputs @ truth + 0.1 * torch.randn(60, generator=generator(2), dtype=torch.float64)
    step = 1 / torch.linalg.eigvalsh(inputs.T @ inputs / 60).max().item()
    weight = torch.zeros(12, dtype=torch.float64)
    for _ in range(3000):
        slope = inputs.T @ (inputs @ weight - targets) / 60
        weight = L1(0.2).proximal(weight - step * slope, step)
    theirs = Lasso(alpha=0.2, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(inputs, targets).coef_
    assert ((weight == 0).numpy() == (theirs == 0)).all()
    assert 5 < (weight == 0).sum() < 12
    assert np.abs(weight.numpy() - theirs).max() < 1e-9  # both have converged to doubles


# --- terms of the loss


def reached(penalty, model):
    """What a penalty is over, by layer name."""
    kinds = nn.BatchNorm2d if isinstance(penalty, Slimming) else nn.Linear | nn.Conv2d
    return {name: module.weight for name, module in model.named_modules() if isinstance(module, kinds)}


def drawn():
    """A network in doubles with norms; no parameter is 0 or 1 by custom, none equals another."""
    model = network("residual").double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, 0.7, generator=generator(3))
    return model


BY_HAND = [
    (L1(2.0), lambda w: np.abs(w).sum()),
    (L2(2.0), lambda w: (w**2).sum() / 2),
    (GroupLasso(2.0), lambda w: sum(np.sqrt(r.size) * np.sqrt((r**2).sum()) for r in w)),
    (GroupLasso(2.0, axis=1), lambda w: BY_HAND[2][1](np.moveaxis(w, 1, 0))),
    (Hoyer(2.0), lambda w: np.abs(w).sum() ** 2 / (w**2).sum()),
    (Slimming(2.0), lambda w: np.abs(w).sum()),
]


@pytest.mark.parametrize(("penalty", "by_hand"), BY_HAND)
def test_the_term_is_the_strength_times_the_sum_over_what_it_reaches_and_pulls_at_nothing_else(
    penalty, by_hand
):
    model = drawn()
    costs = {name: 2 * by_hand(weight.detach().numpy()) for name, weight in reached(penalty, model).items()}
    assert penalty(model).item() == pytest.approx(sum(costs.values()), rel=1e-12)
    spared = tuple(costs)[::2]
    term = replace(penalty, protect=spared)(model)
    assert term.item() == pytest.approx(sum(costs[name] for name in costs if name not in spared), rel=1e-12)
    term.backward()
    pulled = {name.removesuffix(".weight") for name, p in model.named_parameters() if p.grad is not None}
    assert pulled == set(costs) - set(spared)


@pytest.mark.parametrize("penalty", STEPPING)
def test_after_step_steps_in_place_and_spares_all_else(penalty):
    model = drawn()
    before, spared = copy.deepcopy(model), tuple(reached(penalty, model))[::2]
    replace(penalty, protect=spared).after_step(model, 0.01)
    stepped = {f"{name}.weight" for name in reached(penalty, model) if name not in spared}
    for name, old in before.state_dict().items():
        new = model.state_dict()[name]
        assert torch.equal(new, penalty.proximal(old, 0.01) if name in stepped else old)
        assert torch.equal(new, old) == (name not in stepped)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("penalty", ALL)
def test_the_gradient_is_that_of_differences(penalty):
    weight = torch.randn((3, 4), generator=generator(), dtype=torch.float64) + 0.5
    assert torch.autograd.gradcheck(penalty.of, weight.requires_grad_())


@pytest.mark.parametrize("penalty", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_weight_of_zero_is_not_pulled(penalty, dtype):
    for weight in (torch.zeros((3, 4), dtype=dtype), torch.tensor([[0.0, 0.0], [3.0, 0.0]], dtype=dtype)):
        value = penalty.of(weight.requires_grad_())
        (slope,) = torch.autograd.grad(value, weight)
        assert torch.isfinite(value)
        assert (slope[weight == 0] == 0).all()


@given(st.integers(1, 30), st.integers(0, 30), st.floats(1e-3, 1e3))
def test_hoyer_counts_equal_weights_at_any_scale(equal, gone, scale):
    weight = torch.cat([torch.full((equal,), scale, dtype=torch.float64), doubles(*[0] * gone)])
    assert Hoyer(1.0).of(weight).item() == pytest.approx(equal, rel=1e-12)


def test_a_group_of_equal_weights_costs_what_l1_makes_it_cost():
    weight = torch.full((3, 7), -0.3, dtype=torch.float64)
    for axis in (0, 1):
        assert GroupLasso(1.0, axis=axis).of(weight).item() == pytest.approx(L1(1.0).of(weight).item())


# --- in training


@pytest.fixture(scope="module")
def digits():
    whole = data.digits()
    return replace(whole, train=whole.train[:640], validation=whole.validation[:100])


def learn(digits, model=None, **arguments):
    model = models.lenet_300_100(20, 15) if model is None else model
    train(model, digits, epochs=2, keep_best=False, progress=False, **arguments)
    return model


def share_of_zeros(model) -> float:
    flat = torch.cat([weight.detach().flatten() for weight in weights_of(model).values()])
    return (flat == 0).float().mean().item()


def norm(model) -> float:
    return sum(weight.detach().abs().sum().item() for weight in weights_of(model).values())


def test_l1_makes_zeros_by_its_step_and_small_weights_by_its_gradient(digits):
    """What the chapter shows: the same penalty, by subgradient and by proximal step. L2 makes none."""
    plain = learn(digits)
    by_step = learn(digits, after_step=L1(1.0).after_step)
    by_gradient = learn(digits, penalty=L1(0.001))
    assert share_of_zeros(by_step) > 0.2
    assert share_of_zeros(by_gradient) < 0.001  # a sum of floats may hit zero by chance
    assert norm(by_gradient) < norm(plain)
    assert share_of_zeros(learn(digits, after_step=L2(0.05).after_step)) < 0.001
    assert share_of_zeros(learn(digits, penalty=L2(0.05))) < 0.001


@pytest.mark.parametrize("axis", [0, 1])
def test_group_steps_empty_whole_neurons_or_inputs(digits, axis):
    model = learn(digits, after_step=GroupLasso(1.2, protect=("fc3",), axis=axis).after_step)
    for name in ("fc1", "fc2"):
        weight = model.get_submodule(name).weight.detach()
        empty = (weight == 0).all(dim=1 - axis)
        assert empty.sum() > 0 or name == "fc2"
        rest = weight[~empty] if axis == 0 else weight[:, ~empty]
        assert (rest != 0).all()


@pytest.mark.parametrize("penalty", [Hoyer(1e-4), GroupLasso(1e-3)])
def test_penalties_train(digits, penalty):
    model = learn(digits, penalty=penalty)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert penalty.of(model.fc1.weight) < penalty.of(learn(digits).fc1.weight)


def test_float_weights_behind_quantization_are_penalised():
    model = fake_quantize(network("article"), Binary())
    raw = sum(weight.detach().abs().sum() for weight in weights_of(network("article")).values())
    assert L1(1.0)(model).item() == pytest.approx(raw.item(), rel=1e-5)


# --- gates


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_gates_are_open_and_wide_open_as_often_as_they_should(keep):
    """Against 200,000 draws, within five standard errors; the second formula is the paper's at 1."""
    draws = 200_000
    gates = HardConcrete((draws,), 1, keep, generator(7))
    drawn = gates.draw().detach()
    location = gates.log_alpha[0].item()
    full = 1 / (1 + math.exp(-(location - 2 / 3 * math.log(1.1 / 0.1))))
    for found, p in ((drawn > 0, keep), (drawn == 1, full)):
        assert abs(found.double().mean().item() - p) <= 5 * math.sqrt(p * (1 - p) / draws)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert gates.open_probability()[0].item() == pytest.approx(keep, rel=1e-5)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_the_expected_l0_is_the_mean_count_of_a_model(axis):
    """Weights that are not zero over 2,000 passes, gates of every openness."""
    model = add_gates(nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(3, 4)).train(), axis=axis)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            gates = layer.parametrizations.weight[0]
            gates.slow.copy_(torch.linspace(-0.4, 0.3, gates.slow.numel()).reshape(gates.slow.shape))
    counts = torch.tensor(
        [sum((model[n].weight != 0).sum().item() for n in (0, 2)) for _ in range(2000)], dtype=torch.float64
    )
    error = counts.std().item() / math.sqrt(len(counts))
    assert abs(L0(1.0)(model).item() - counts.mean().item()) <= 5 * error
    assert 0.1 < counts.mean() / 36 < 0.9


def test_the_gradient_of_expected_l0_is_that_of_differences():
    model = add_gates(nn.Linear(3, 2).double(), keep=0.6, axis=0)
    model.double()
    slow = model.parametrizations.weight[0].slow
    (slope,) = torch.autograd.grad(L0(2.0)(model), slow)
    # ten times the slope of the probability, times three weights behind a gate, times the strength
    assert slope.flatten().tolist() == pytest.approx([10 * 0.6 * 0.4 * 3 * 2] * 2)


def test_the_gradient_passes_through_a_draw():
    gates = HardConcrete((1000,), 1, 0.7, generator())
    drawn = gates.draw()
    (slope,) = torch.autograd.grad(drawn.sum(), gates.slow)
    between = (drawn > 0) & (drawn < 1)
    assert (slope[between] > 0).all()
    assert (slope[~between] == 0).all()


def test_draws_follow_their_seed_and_are_fresh_each_time():
    first, again, other = (add_gates(network("article"), 0.5, seed=seed).train() for seed in (1, 1, 2))
    a, b, c = (model.fc1.weight.detach().clone() for model in (first, again, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert not torch.equal(a, first.fc1.weight)
    twin = copy.deepcopy(first)
    assert torch.equal(twin.fc1.weight, first.fc1.weight)


def test_evaluation_takes_no_chance():
    model = add_gates(network("article"), 0.5).eval()
    images = torch.rand((3, 1, 28, 28), generator=generator())
    assert torch.equal(model(images), model(images))


def test_gates_stand_before_what_is_not_protected():
    gated = add_gates(network("article"), axis=0, protect=("fc2",))
    assert not parametrize.is_parametrized(gated.fc2)
    assert gated.conv1.parametrizations.weight[0].slow.shape == (3, 1, 1, 1)
    assert gated.conv1.parametrizations.weight[0].size == 9
    assert "3 x 1 x 1 x 1 gates, 90.0% open" in repr(gated.conv1.parametrizations)


@pytest.mark.parametrize("name", ["article", "residual"])
def test_frozen_gates_are_zeros_in_a_plain_model_that_computes_the_same(name):
    gated = add_gates(network(name), 0.5).train()
    with torch.no_grad():
        for layer in weights_of(network(name)):
            slow = gated.get_submodule(layer).parametrizations.weight[0].slow
            slow.copy_(torch.randn(slow.shape, generator=generator(len(layer))))
    plain = freeze_gates(gated)
    assert not any(parametrize.is_parametrized(module) for module in plain.modules())
    assert list(plain.state_dict()) == list(network(name).state_dict())
    images = torch.rand((3, 1, 28, 28), generator=generator())
    assert torch.equal(plain.eval()(images), gated.eval()(images))
    for layer, weight in weights_of(plain).items():
        gates = gated.get_submodule(layer).parametrizations.weight[0].settled()
        assert torch.equal(weight == 0, gates == 0)
        assert not torch.signbit(weight[weight == 0]).any()
        assert isinstance(weight, nn.Parameter)
        assert weight.requires_grad
    assert 0 < share_of_zeros(plain) < 1
    prune_weights(plain, magnitude, 0.9)


def test_gates_close_when_training_charges_for_them(digits):
    gated = add_gates(models.lenet_300_100(20, 15), keep=0.9)
    history = train(gated, digits, epochs=12, lr=5e-3, penalty=L0(1e-4), keep_best=False, progress=False)
    sparse = freeze_gates(gated)
    assert share_of_zeros(sparse) > 0.5
    assert history.validation[-1] > 0.5
