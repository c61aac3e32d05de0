"""The greedy path against an enumeration of all choices."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compresslab.errors import CompressionError
from compresslab.searching.greedy import Knob, greedy_path

FACTORS = (1.0, 0.5, 0.25, 0.125)


def total(parts, knobs, choice):
    """Cost and loss, written down once more: factors multiply, losses add up."""
    cost = 0.0
    for part, price in parts.items():
        for knob in knobs:
            price *= knob.factors[choice[knob.name]].get(part, 1.0)
        cost += price
    return cost, sum(knob.losses[choice[knob.name]] for knob in knobs)


def all_choices(knobs):
    names = [knob.name for knob in knobs]
    for options in product(*(range(len(knob.losses)) for knob in knobs)):
        yield dict(zip(names, options, strict=True))


@st.composite
def convex(draw):
    """Layers whose steps lose more and more for what they save: there the greedy path is exact."""
    parts, knobs = {}, []
    for name in "abc"[: draw(st.integers(2, 3))]:
        price = parts[name] = float(draw(st.integers(1, 1000)))
        rates = sorted(draw(st.lists(st.integers(1, 10_000), min_size=3, max_size=3, unique=True)))
        losses = [0.0]
        for (before, after), rate in zip(pairwise(FACTORS), rates, strict=True):
            losses.append(losses[-1] + rate * price * (before - after))
        knobs.append((name, tuple(losses), tuple({name: factor} for factor in FACTORS)))
    return parts, knobs


def built(case):
    """Make the knobs of what was drawn, outside of the strategy: executed annotations draw, too."""
    parts, rows = case
    return parts, [Knob(*row) for row in rows]


@given(convex())
def test_where_steps_lose_ever_more_no_choice_of_its_cost_loses_less(case):
    parts, knobs = built(case)
    everything = [total(parts, knobs, choice) for choice in all_choices(knobs)]
    for choice in greedy_path(parts, knobs):
        cost, loss = total(parts, knobs, choice)
        least = min(other for price, other in everything if price <= cost)
        assert loss <= least + 1e-9 * max(1.0, least)


@st.composite
def any_knobs(draw):
    parts = {name: float(draw(st.integers(1, 100))) for name in "ab"}
    knobs = []
    for number in range(draw(st.integers(1, 4))):
        size = draw(st.integers(1, 4))
        losses = (0.0, *(draw(st.floats(-1, 9)) for _ in range(size)))
        named = st.dictionaries(st.sampled_from("abz"), st.floats(0.1, 2.0))
        factors = [{}, *(draw(named) for _ in range(size))]
        knobs.append((str(number), losses, tuple(factors)))
    return parts, knobs


@given(any_knobs())
def test_the_path_starts_with_nothing_falls_at_each_step_by_one_knob_and_ends_where_nothing_saves(case):
    parts, knobs = built(case)
    path = greedy_path(parts, knobs)
    assert path[0] == {knob.name: 0 for knob in knobs}
    costs = [total(parts, knobs, choice)[0] for choice in path]
    assert all(after < before for before, after in pairwise(costs))
    assert all(sum(a[name] != b[name] for name in a) == 1 for a, b in pairwise(path))
    for knob in knobs:
        for option in range(len(knob.losses)):
            turned = path[-1] | {knob.name: option}
            assert total(parts, knobs, turned)[0] >= costs[-1] * (1 - 1e-6)


def test_a_step_that_loses_nothing_comes_first_and_the_one_that_saves_most_of_these():
    cheap = Knob("cheap", (0.0, -0.5), ({}, {"a": 0.9}))
    free = Knob("free", (0.0, 0.0), ({}, {"b": 0.5}))
    dear = Knob("dear", (0.0, 0.1), ({}, {"a": 0.01}))
    path = greedy_path({"a": 10.0, "b": 10.0}, [cheap, free, dear])
    assert [choice["free"] for choice in path] == [0, 1, 1, 1]
    assert [choice["cheap"] for choice in path] == [0, 0, 1, 1]


def test_a_knob_needs_a_factor_for_each_loss():
    with pytest.raises(CompressionError, match=r"2 losses and 1 factors; give one of each"):
        Knob("fc1", (0.0, 1.0), ({},))
