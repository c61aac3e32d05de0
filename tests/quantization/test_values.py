"""Granularities, clips and schemes are values: comparable, printable, frozen, the same again from JSON."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import clips, granularities, schemes

from compresslab.quantization.clipping import LeastSquares, MinMax, Percentile
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary, scheme_from_dict
from compresslab.quantization.uniform import Asymmetric, Symmetric
from compresslab.quantization.values import from_json, to_json

# as files of the first version hold them, in the order of the words
WRITTEN = {
    Symmetric(4, PerGroup(3), Percentile(99.5)): '{"name": "Symmetric", "granularity": {"name": "PerGroup", '
    '"size": 3}, "bits": 4, "clip": {"name": "Percentile", "value": 99.5}}',
    Asymmetric(3, PerChannel(), LeastSquares(9)): '{"name": "Asymmetric", "granularity": {"name": '
    '"PerChannel"}, "bits": 3, "clip": {"name": "LeastSquares", "steps": 9}}',
    Binary(): '{"name": "Binary", "granularity": {"name": "PerTensor"}}',
    Ternary(): '{"name": "Ternary", "granularity": {"name": "PerTensor"}, "factor": 0.7}',
    PowerOfTwo(5): '{"name": "PowerOfTwo", "granularity": {"name": "PerTensor"}, "bits": 5}',
    KMeans(2): '{"name": "KMeans", "granularity": {"name": "PerTensor"}, "bits": 2}',
    KMeans(2, keep_zero=True): '{"name": "KMeans", "granularity": {"name": "PerTensor"}, "bits": 2, '
    '"keep_zero": true}',
}


@given(st.one_of(granularities, clips, schemes))
def test_a_value_survives_json_and_repr(value):
    again = from_json([type(value)], json.loads(json.dumps(to_json(value))), "value")
    assert again == value
    assert hash(again) == hash(value)
    assert eval(repr(value)) == value
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.granularity = PerTensor()


@pytest.mark.parametrize(("scheme", "text"), WRITTEN.items(), ids=repr)
def test_a_scheme_is_written_as_in_every_file_so_far(scheme, text):
    assert json.dumps(scheme.to_dict()) == text
    assert scheme_from_dict(json.loads(text)) == scheme


def test_what_is_left_out_is_the_default():
    assert scheme_from_dict({"name": "Symmetric"}) == Symmetric(8, PerTensor(), MinMax())


@given(schemes, schemes)
def test_two_schemes_are_equal_when_their_words_are(left, right):
    assert (left == right) == (repr(left) == repr(right))


def test_a_scheme_can_be_a_key():
    assert len({Symmetric(4), Symmetric(4), Symmetric(5), Asymmetric(4), Asymmetric(4, PerChannel())}) == 4
