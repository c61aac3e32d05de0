"""When a difference shows: every verdict against an independent reference, and intervals hold the truth."""

import math
from dataclasses import FrozenInstanceError, fields
from fractions import Fraction

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import p_values, pairs_over_seeds

from compresslab.measuring.statistics import Holm, McNemar, PairedDifference, verdict
from compresslab.measuring.t_distribution import t_quantile, t_share

FORBIDDEN = ("tie", "noise", "no difference", "equal")  # what a lack of data never says


def paired(pairs, change=lambda method, control: (method, control)):
    """Return the difference of pairs that were changed one by one."""
    method, control = zip(*(change(*pair) for pair in pairs), strict=True)
    return PairedDifference(method, control)


def has_spread(pairs):
    return len({method - control for method, control in pairs}) > 1


# ------------------------------------------------------------------ McNemar


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_equals_the_exact_binomial_test(first, second):
    expected = scipy.stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    # scipy sums floats, we sum whole numbers: its own relative error is some 1e-13 here
    assert McNemar(first, second).p_value == pytest.approx(expected, rel=1e-9)


def test_mcnemar_stays_exact_where_floats_overflow():
    assert McNemar(1500, 1500).p_value == 1.0  # 2**3000 is beyond a float
    assert 0 < McNemar(1400, 1600).p_value < 0.001


@pytest.mark.parametrize(
    ("first", "second", "shows"),
    [(0, 5, False), (0, 6, True), (3, 12, True), (4, 12, False), (6, 16, False), (6, 17, True)],
)
def test_a_difference_of_images_shows_from_one_in_twenty_on(first, second, shows):
    found = McNemar(first, second)
    assert found.shows is shows
    assert repr(found).endswith(f": {verdict(found.p_value)}")
    assert not [words for words in FORBIDDEN if words in repr(found)]


@pytest.mark.parametrize("found", [McNemar(3, 5), PairedDifference((1, 2), (3, 5)), Holm((0.1, 0.2))])
def test_what_was_found_cannot_be_changed(found):
    for field in fields(found):
        with pytest.raises(FrozenInstanceError):
            setattr(found, field.name, getattr(found, field.name))


# ------------------------------------------------------------------ Student's t distribution


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 9, 30, 99, 1000])
def test_students_distribution_is_scipys_both_ways(freedom):
    reference = scipy.stats.t(freedom)
    assert t_share(math.inf, freedom) == pytest.approx(1, abs=1e-15)
    for t in (0.0, 1e-6, 0.3, 1.0, 2.5, 7.0, 60.0):
        # scipy's own t loses seven digits at t = 1e-6, its incomplete beta function none;
        # ours sums freedom / 2 terms of at most 1, each rounded at 1e-16
        expected = scipy.special.betainc(0.5, freedom / 2, t * t / (freedom + t * t))
        assert t_share(t, freedom) == pytest.approx(expected, abs=1e-13)
    for confidence in (0.01, 0.5, 0.9, 0.95, 0.99, 0.9999):
        # an error of 1e-13 in the share is one of 1e-9 in the t whose tail of 1e-4 it moves
        assert t_quantile(confidence, freedom) == pytest.approx(reference.ppf((1 + confidence) / 2), rel=1e-9)


@given(st.floats(0, 50), st.integers(1, 60))
def test_more_freedom_and_a_wider_reach_both_hold_more(t, freedom):
    assert 0 <= t_share(t, freedom) <= t_share(t, freedom + 2) + 1e-13 <= 1 + 1e-13
    assert t_share(t, freedom) <= t_share(t + 1, freedom) + 1e-13  # sums of rounded terms, as above


# ------------------------------------------------------------------ a method against its control, over seeds


@given(pairs_over_seeds)
def test_a_paired_difference_is_scipys_paired_t_test(pairs):
    assume(has_spread(pairs))
    found, expected = paired(pairs), scipy.stats.ttest_rel(*zip(*pairs, strict=True))
    # scipy's spread is a sum of floats, ours of fractions: they agree to some 1e-12
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-12)
    for confidence in (0.5, 0.95, 0.99):
        ends = expected.confidence_interval(confidence)
        assert found.interval(confidence) == pytest.approx((ends.low, ends.high), rel=1e-9, abs=1e-9)
    assert (found.n, found.interval()) == (len(pairs), found.interval(0.95))


def test_students_own_ten_patients_sleep_longer():
    """The data of Cushny and Peebles 1905, on which Student tried his distribution in 1908."""
    left = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    right = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    found = PairedDifference(left, right, unit="hours")
    assert found.p_value == pytest.approx(scipy.stats.ttest_rel(left, right).pvalue, rel=1e-9)
    assert repr(found) == "1.58 hours [0.70, 2.46] over 10 seeds: shows, p = 0.003"


@given(pairs_over_seeds, st.integers(-500, 500), st.randoms())
def test_what_both_share_cancels_and_the_order_of_seeds_does_not_count(pairs, shared, random):
    starts = [shared + random.randrange(100) for _ in pairs]
    again = [(start + a, start + b) for start, (a, b) in zip(starts, pairs, strict=True)]
    random.shuffle(again)
    assert paired(again).interval() == paired(pairs).interval()
    assert paired(again).p_value == paired(pairs).p_value


@given(pairs_over_seeds, st.integers(-500, 500), st.integers(1, 7))
def test_the_interval_shifts_with_a_constant_and_scales(pairs, shift, factor):
    before = paired(pairs)
    shifted = paired(pairs, lambda a, b: (a + shift, b))
    scaled = paired(pairs, lambda a, b: (factor * a, factor * b))
    # all figures are whole numbers, so that only the last roundings differ
    assert shifted.interval() == pytest.approx([end + shift for end in before.interval()], abs=1e-9)
    assert scaled.interval() == pytest.approx([factor * end for end in before.interval()], rel=1e-9, abs=1e-9)
    assert scaled.p_value == pytest.approx(before.p_value, abs=1e-12)


@given(pairs_over_seeds)
def test_method_and_control_change_places_and_only_the_sign_changes(pairs):
    found, swapped = paired(pairs), paired(pairs, lambda a, b: (b, a))
    low, high = found.interval()
    assert swapped.mean == -found.mean
    assert swapped.interval() == (-high, -low)
    assert (swapped.p_value, swapped.shows) == (found.p_value, found.shows)


@given(pairs_over_seeds)
def test_it_shows_where_the_interval_leaves_out_zero_and_says_so(pairs):
    found = paired(pairs)
    low, high = found.interval()
    assert found.shows == (not low <= 0 <= high) == (" shows, p" in repr(found))
    assert ("does not show with this much data" in repr(found)) is not found.shows
    assert f"over {len(pairs)} seeds" in repr(found)
    assert ("[" in repr(found)) == has_spread(pairs)
    assert not [words for words in FORBIDDEN if words in repr(found)]


@pytest.mark.parametrize(
    "pairs",
    [
        [(5, 5)] * 3,
        [(5, 3)] * 3,
        [(0.3, 0.1), (0.5, 0.3), (0.9, 0.7)],
        [(1e6 + 0.1, 1e6), (0.1, 0.0), (0.2, 0.1)],
    ],
)
def test_equal_differences_have_no_spread_and_claim_nothing(pairs):
    """Tenths of a point differ by rounding alone, that of the largest figure: that is no spread either."""
    found = paired(pairs)
    assert found.interval() == (-math.inf, math.inf)
    assert (found.p_value, found.shows) == (1.0, False)
    assert "without a spread over 3 seeds: does not show with this much data" in repr(found)


@pytest.mark.parametrize("n", [3, 5])
def test_95_of_100_intervals_hold_the_truth(n):
    """Seeds that move both by ten points and each by one; the truth is 0.7 of a point."""
    generator, draws, truth = np.random.default_rng(seed=n), 2_000, 0.7
    start = generator.normal(95, 10, (draws, n))
    control = start + generator.normal(0, 1, (draws, n))
    method = start + truth + generator.normal(0, 1, (draws, n))
    held = 0
    for a, b in zip(method.tolist(), control.tolist(), strict=True):
        low, high = PairedDifference(a, b).interval()
        held += low <= truth <= high
    # A share of 95 % of 2,000 draws scatters by 0.5 points: four of these to each side. With the normal
    # distribution's 1.96 in place of t it would be 81 % at n = 3 and 88 % at n = 5.
    assert 0.93 <= held / draws <= 0.97


# ------------------------------------------------------------------ many comparisons


def test_holm_of_a_known_example():
    """The example that pingouin's documentation gives for its own ``holm``."""
    found = Holm([0.50, 0.003, 0.32, 0.054, 0.0003])
    assert found.adjusted == pytest.approx((0.64, 0.012, 0.64, 0.162, 0.0015))
    assert found.shows == (False, True, False, False, True)


def shown_by_walking(values, level):
    """Walk from the smallest p-value up and stop at the first that is too large; Holm's own words."""
    shown = set()
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        if Fraction(values[place]) > Fraction(level) / (len(values) - rank):
            break
        shown.add(place)
    return [place in shown for place in range(len(values))]


@given(st.lists(p_values, min_size=1, max_size=12), p_values)
def test_holms_p_is_the_smallest_level_at_which_the_walk_shows_it(values, level):
    assume(level < 1)  # at 1 everything shows
    assert [p <= level for p in Holm(values).adjusted] == shown_by_walking(values, level)


@given(st.lists(p_values, min_size=1, max_size=12), st.randoms())
def test_holm_only_raises_keeps_the_ranks_and_follows_any_order(values, random):
    adjusted = Holm(values).adjusted
    assert all(p <= raised <= min(1, len(values) * p) for p, raised in zip(values, adjusted, strict=True))
    pairs = sorted(zip(values, adjusted, strict=True))
    assert [raised for _, raised in pairs] == sorted(adjusted)
    order = random.sample(range(len(values)), len(values))
    assert Holm([values[place] for place in order]).adjusted == tuple(adjusted[place] for place in order)
    assert Holm(values[:1]).adjusted == (values[0],)


def test_with_holm_one_family_in_twenty_shows_what_is_not_there():
    families = np.random.default_rng(seed=0).random((2_000, 10)).tolist()
    false = sum(any(Holm(family).shows) for family in families) / 2_000
    alone = sum(min(family) <= 0.05 for family in families) / 2_000
    # expected 4.9 % and 40.1 %, which scatter by 0.5 and 1.1 points: four of these
    assert false == pytest.approx(1 - 0.995**10, abs=0.02)
    assert alone == pytest.approx(1 - 0.95**10, abs=0.044)


# ------------------------------------------------------------------ the words


@given(st.floats(0, 1))
def test_a_verdict_is_one_of_two(p_value):
    words, _, number = verdict(p_value).partition(", ")
    assert words == ("shows" if p_value <= 0.05 else "does not show with this much data")
    assert number == "p < 0.001" or abs(float(number.removeprefix("p = ")) - p_value) <= 0.0005 + 1e-12


@pytest.mark.parametrize(
    ("p_value", "said"), [(0.00049, "p < 0.001"), (0.0006, "p = 0.001"), (0.0014, "p = 0.001")]
)
def test_what_would_round_to_nothing_is_said_to_be_small(p_value, said):
    assert verdict(p_value).endswith(said)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.04], "Holm, of 1: 1 shows, 0 do not show with this much data; p = 0.040"),
        ([0.04, 0.9], "Holm, of 2: 0 show, 2 do not show with this much data; p = 0.080, 0.900"),
        ([0.9, 0.01], "Holm, of 2: 1 shows, 1 does not show with this much data; p = 0.900, 0.020"),
    ],
)
def test_holm_says_how_many_show(values, words):
    assert repr(Holm(values)) == words
