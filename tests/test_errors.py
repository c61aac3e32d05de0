"""How we say no: one law for the shared checks, whatever is given to them."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compresslab.errors import CompressionError, fraction, one_of, whole

WHOLE = (lambda value: whole(value, "the bits", 1, 8), "the bits", "give a whole number from 1 to 8")
SHARE = (lambda value: fraction(value, "a share"), "a share", "give a float from 0.0 to 1.0")
NAMES = (lambda value: one_of(value, ["conv1", "fc"], "layer"), "no layer", "there are conv1, fc")

# What each of the three lets through; every other check refuses it.
FITS = [(3, WHOLE), (0.5, SHARE), (np.float64(0.5), SHARE), ("fc", NAMES), (np.str_("fc"), NAMES)]
FITS_NONE = [True, False, None, "3", b"fc", 3.0, 1.5, math.nan, math.inf, [3], ("fc",), 3j]
FITS_NONE += [np.int64(3), np.uint8(3), np.bool_(True), np.float32(0.5), np.array([3, 4]), torch.tensor(3)]
CASES = [*FITS, *((value, None) for value in FITS_NONE)]


@pytest.mark.parametrize("check", [WHOLE, SHARE, NAMES], ids=["whole", "fraction", "one_of"])
@pytest.mark.parametrize(("value", "fits"), CASES, ids=[repr(value) for value, _ in CASES])
def test_a_check_gives_back_what_fits_and_says_what_was_found_asked_and_to_do(check, value, fits):
    """True is no number, 1 is no share, and a number of another library is named with its library."""
    call, asked, remedy = check
    if fits is check:
        assert call(value) is value
        return
    with pytest.raises(CompressionError) as refusal:
        call(value)
    message = str(refusal.value)
    assert repr(value) in message
    assert asked in message
    assert remedy in message
    assert message.endswith(".")


@given(st.integers(), st.integers(-9, 9), st.one_of(st.none(), st.integers(-9, 9)))
def test_both_bounds_of_a_whole_number_are_allowed_and_stand_in_the_message(value, low, high):
    if low <= value <= (value if high is None else high):
        assert whole(value, "a count", low, high) == value
        return
    bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
    with pytest.raises(CompressionError, match=re.escape(f"a count; give a whole number {bounds}.")):
        whole(value, "a count", low, high)


def test_a_count_starts_at_one_unless_said_otherwise():
    assert whole(1, "a count") == 1
    with pytest.raises(CompressionError, match=r"^0 was .* a whole number of at least 1\."):
        whole(0, "a count")


def test_large_bounds_are_grouped():
    with pytest.raises(CompressionError, match="from 1,000 to 10,000"):
        whole(1, "a count", 1_000, 10_000)


@given(st.one_of(st.floats(), st.floats(0, 1)))
def test_a_share_is_any_float_from_zero_to_one(value):
    if value in (0.0, 1.0) or 0 < value < 1:
        assert fraction(value, "a share") == value
        return
    with pytest.raises(CompressionError, match=re.escape(f"{value} was asked for a share; give a float")):
        fraction(value, "a share")


@given(st.lists(st.text(max_size=3), max_size=4, unique=True), st.text(max_size=3))
def test_a_name_is_known_or_the_known_are_listed(names, name):
    given_once = iter(names)  # any iterable will do
    if name in names:
        assert one_of(name, given_once, "layer") == name
        return
    with pytest.raises(CompressionError) as refusal:
        one_of(name, given_once, "layer")
    assert str(refusal.value) == f"There is no layer {name!r}; there are {', '.join(names) or 'none'}."


@pytest.mark.parametrize("check", [WHOLE, SHARE, NAMES], ids=["whole", "fraction", "one_of"])
def test_a_message_stays_short_whatever_was_given(check):
    with pytest.raises(CompressionError) as refusal:
        check[0]("x" * 10_000)
    assert len(str(refusal.value)) < 200
