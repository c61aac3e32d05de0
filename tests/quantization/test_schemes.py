"""The contract of the six schemes: every law, for every scheme, granularity and kind of tensor."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from references import nearest, powers_of_two, rows_of
from strategies import (
    extreme,
    few,
    granularities,
    matrices,
    ordinary,
    schemes,
    ternary,
    uniform,
    values,
    weights,
)

from compresslab.quantization.clipping import LeastSquares, MinMax, Percentile
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.scheme import QuantizedTensor, Scheme, middles_of
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Asymmetric, Symmetric

GRANULARITIES = [PerTensor(), PerChannel(), PerGroup(7)]  # 7 leaves a short last group in most kinds
BUILDERS = {
    "symmetric8": lambda g: Symmetric(8, g),
    "symmetric2": lambda g: Symmetric(2, g),
    "symmetric3-least-squares": lambda g: Symmetric(3, g, LeastSquares(8)),
    "asymmetric8": lambda g: Asymmetric(8, g),
    "asymmetric1": lambda g: Asymmetric(1, g),
    "asymmetric4-percentile": lambda g: Asymmetric(4, g, Percentile(90.0)),
    "binary": Binary,
    "ternary": Ternary,
    "powers3": lambda g: PowerOfTwo(3, g),
    "powers8": lambda g: PowerOfTwo(8, g),
    "kmeans1": lambda g: KMeans(1, g),
    "kmeans3": lambda g: KMeans(3, g),
}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_zero_row() -> torch.Tensor:
    weight = normal(4, 15)
    weight[1] = 0
    return weight


KINDS = {
    "zeros": torch.zeros(4, 3, 5),
    "constant": torch.full((4, 15), 0.3),
    "negative constant": torch.full((4, 15), -0.7),
    "all positive": normal(4, 15).abs() + 0.1,
    "all negative": -normal(4, 15).abs() - 0.1,
    "tiny": 1e-30 * normal(4, 15),
    "huge": 1e30 * normal(4, 15),
    "largest": 2.0**126 * normal(4, 15).clamp(-1, 1),
    "subnormal": 1e-40 * normal(4, 15),
    "one row": normal(1, 40),
    "one column": normal(40, 1),
    "one weight": normal(1, 1),
    "vector": normal(20),
    "kernel": normal(3, 2, 3, 3),
    "one zero row": with_zero_row(),
    "outlier": torch.cat([normal(4, 14), torch.full((4, 1), 1e4)], dim=1),
    "bf16": normal(4, 15).bfloat16(),
    "float16": normal(4, 15).half(),
    "float64": normal(4, 15).double() * math.pi,
    "non-contiguous": normal(15, 4).t(),
}

# A product with an inverse that is itself rounded: two roundings of 2**-24 each, and one more in decoding.
ROUNDING = 2.0**-22
SMALLEST = 2.0**-149  # the distance of float32 values near zero, where rounding is no longer relative

every_granularity = pytest.mark.parametrize("granularity", GRANULARITIES, ids=["tensor", "channel", "group"])


def contract(test, builders=BUILDERS):
    """Run a test for every scheme and granularity, each time over all kinds of tensors."""

    @pytest.mark.parametrize("build", builders.values(), ids=builders)
    @every_granularity
    def law(build, granularity):
        for kind, weight in KINDS.items():
            try:
                test(build(granularity), weight)
            except BaseException as error:
                error.add_note(f"kind of tensor: {kind}")
                raise

    law.__name__ = test.__name__
    return law


def uniform_contract(test):
    return contract(test, {name: build for name, build in BUILDERS.items() if "symmetric" in name})


def decoded_rows(code: QuantizedTensor) -> list[np.ndarray]:
    return rows_of(code.dequantize(), code.scheme.granularity)


# --- what every scheme promises ---


@contract
def test_codes_and_values_have_their_types_shape_and_range(scheme, weight):
    before = weight.clone()
    code = scheme.quantize(weight)
    low, high = code.scheme.code_range
    assert torch.equal(weight, before), "the argument was changed"
    assert (code.codes.dtype, code.shape) == (code.scheme.code_dtype, tuple(weight.shape))
    assert low <= int(code.codes.min()) <= int(code.codes.max()) <= high
    assert high - low < 2**code.bits
    decoded = code.dequantize()
    assert (decoded.dtype, decoded.shape) == (torch.float32, weight.shape)
    assert decoded.isfinite().all()


@contract
def test_each_weight_takes_a_level_of_its_row(scheme, weight):
    code = scheme.quantize(weight)
    levels = code.levels.double().numpy()
    assert (np.diff(levels, axis=1) >= 0).all(), "levels are sorted"
    assert all(np.isin(row, own).all() for row, own in zip(decoded_rows(code), levels, strict=True))


@contract
def test_each_weight_takes_the_level_of_the_schemes_own_rule(scheme, weight):
    code = scheme.quantize(weight)
    rows = rows_of(weight.float(), scheme.granularity)
    for row, decoded, levels in zip(rows, decoded_rows(code), code.levels.double().numpy(), strict=True):
        if isinstance(code.scheme, Ternary):
            large = np.abs(row) > 0.7 * np.abs(row).mean()
            assert np.array_equal(decoded, np.sign(row) * large * levels[-1])
        elif isinstance(code.scheme, Binary):
            assert np.array_equal(decoded, np.where(row >= 0, levels[1], levels[0]))
        elif isinstance(code.scheme, PowerOfTwo | KMeans):
            assert np.array_equal(decoded, nearest(row, levels))
        else:
            excess = np.abs(row - decoded) - np.abs(row - nearest(row, levels))
            assert (excess <= ROUNDING * np.abs(row) + SMALLEST).all()


@contract
def test_encoding_the_decoded_weights_again_changes_nothing(scheme, weight):
    code = scheme.quantize(weight)
    again = code.scheme.quantize(code.dequantize(), code.parameters)
    assert torch.equal(again.dequantize(), code.dequantize())


@contract
def test_scaling_by_a_power_of_two_scales_the_values_and_keeps_the_codes(scheme, weight):
    weight = weight.float()
    largest = float(weight.abs().max())
    if 0 < largest < 2.0**-110:
        return  # steps of subnormal weights are rounded to multiples of 2**-149
    factor = 2.0**-21 if largest > 1 else 2.0**21
    code, scaled = scheme.quantize(weight), scheme.quantize(weight * factor)
    assert torch.equal(scaled.codes, code.codes)
    assert torch.equal(scaled.dequantize(), code.dequantize() * factor)


@contract
def test_memory_layout_does_not_matter(scheme, weight):
    strided = torch.stack([weight, weight], dim=-1)[..., 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns where a search has to copy
        code = scheme.quantize(strided)
    assert torch.equal(code.codes, scheme.quantize(weight).codes)


@contract
def test_rows_do_not_see_each_other(scheme, weight):
    if scheme.granularity != PerChannel():
        return  # one law, said for channels
    alone = [scheme.quantize(weight[i : i + 1]).dequantize() for i in range(len(weight))]
    assert torch.equal(torch.cat(alone), scheme.quantize(weight).dequantize())


@given(schemes, weights())
def test_any_weight_up_to_the_limit_is_encoded_and_decoded_to_finite_levels(scheme, weight):
    code = scheme.quantize(weight)
    assert code.dequantize().isfinite().all()
    again = scheme.quantize(code.dequantize(), code.parameters)
    assert torch.equal(again.dequantize(), code.dequantize())


# --- uniform grids ---


@uniform_contract
def test_the_error_is_at_most_half_a_step_inside_the_grid(scheme, weight):
    code = scheme.quantize(weight)
    rows = rows_of(weight.float(), scheme.granularity)
    steps = code.parameters["scale"].double().numpy()
    for row, decoded, step, levels in zip(
        rows, decoded_rows(code), steps, code.levels.double().numpy(), strict=True
    ):
        cut = not isinstance(code.scheme.clip, MinMax)
        inside = (row >= levels[0]) & (row <= levels[-1]) if cut else np.full(row.shape, True)
        bound = step / 2 + ROUNDING * 2 * np.abs(row).max() + SMALLEST
        assert (np.abs(row - decoded)[inside] <= bound).all()


@uniform_contract
def test_zero_is_a_level_exactly(scheme, weight):
    fitted = scheme.quantize(weight)
    assert (fitted.levels == 0).any(dim=1).all()
    zeros = scheme.quantize(torch.zeros(fitted.shape), fitted.parameters)
    assert not zeros.dequantize().any()


@pytest.mark.parametrize("scheme", [Ternary(), PowerOfTwo(3), PowerOfTwo(8)], ids=str)
def test_zero_is_a_level_of_ternary_and_of_powers_too(scheme):
    weight = torch.tensor([0.0, 0.4, -0.9, 0.0])
    assert scheme.quantize(weight).dequantize()[[0, 3]].tolist() == [0, 0]


@given(uniform, matrices())
def test_the_closed_form_is_the_nearest_level(scheme, weight):
    """The generic search and the closed form differ at most where a weight is a middle, up to rounding."""
    code = scheme.quantize(weight)
    blocks, start = scheme.granularity.split(weight), 0
    for rows, codes in zip(blocks, scheme.granularity.split(code.codes), strict=True):
        own = {name: value[start : start + len(rows)] for name, value in code.parameters.items()}
        start += len(rows)
        searched = Scheme.encode(scheme, rows, own).int() % 256 + scheme.code_range[0]  # % undoes int8
        middles = middles_of(scheme.levels(own)).double()
        distance = (rows.double()[:, :, None] - middles[:, None]).abs().amin(dim=2)
        clear = distance > ROUNDING * rows.double().abs() + SMALLEST
        assert torch.equal(codes[clear].int(), searched[clear])


def by_torch(code: QuantizedTensor, weight: torch.Tensor) -> torch.Tensor:
    """Let torch quantize and decode with the scale and the zero point that were fitted."""
    scale, low, high = code.parameters["scale"], *code.scheme.code_range
    zero = code.parameters.get("zero_point", torch.zeros_like(scale)).int()
    if isinstance(code.scheme.granularity, PerTensor):
        return torch.fake_quantize_per_tensor_affine(weight, scale[0], zero[0], low, high)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, low, high)


def within_torchs_int64(code: QuantizedTensor, weight: torch.Tensor) -> bool:
    """A percentile can cut a weight of so many steps that torch's own code for it overflows."""
    return bool(weight.abs().max() / code.parameters["scale"].min() < 2.0**62)


@given(uniform, weights())
def test_torch_gives_the_same_bits_per_tensor(scheme, weight):
    code = dataclasses.replace(scheme, granularity=PerTensor()).quantize(weight)
    assume(within_torchs_int64(code, weight))
    assert torch.equal(code.dequantize(), by_torch(code, weight))


@given(uniform, matrices(st.one_of(few, ordinary, extreme)))
def test_torch_gives_the_same_bits_per_channel(scheme, weight):
    code = dataclasses.replace(scheme, granularity=PerChannel()).quantize(weight)
    assume(within_torchs_int64(code, weight))
    assert torch.equal(code.dequantize(), by_torch(code, weight))


@pytest.mark.parametrize("shape", [(3, 200_000), (700, 300), (1, 300_000)], ids=str)
@pytest.mark.parametrize("scheme", [Symmetric(8, PerChannel()), Asymmetric(5, PerChannel())], ids=str)
def test_torch_gives_the_same_bits_over_many_tiles(scheme, shape):
    weight = normal(*shape)
    code = scheme.quantize(weight)
    assert torch.equal(code.dequantize(), by_torch(code, weight))


@pytest.mark.parametrize(("kind", "bits"), [(Binary, 1), (Ternary, 2)])
def test_the_bits_of_some_schemes_are_no_choice(kind, bits):
    assert kind().bits == bits
    assert "bits" not in repr(kind())
    with pytest.raises(TypeError, match="bits"):
        kind(bits=3)


def test_halves_round_to_the_even_code():
    weight = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 127.0])
    assert Symmetric(8).quantize(weight).codes.tolist() == [0, 2, 2, 0, -2, 127]


def test_symmetric_at_two_bits_has_three_levels_and_asymmetric_at_one_bit_two():
    weight = torch.tensor([-0.8, 0.1, 0.3])
    assert Symmetric(2).quantize(weight).levels.tolist() == [pytest.approx([-0.8, 0, 0.8])]
    assert Asymmetric(1).quantize(torch.tensor([0.1, 0.3])).levels.tolist() == [pytest.approx([0, 0.3])]


def test_a_grid_is_stretched_to_hold_zero():
    code = Asymmetric(8).quantize(torch.tensor([10.0, 10.5]))
    assert (float(code.levels[0, 0]), float(code.levels[0, -1])) == (0, 10.5)


@pytest.mark.parametrize("scheme", [Symmetric(8), Asymmetric(8), Ternary()], ids=str)
def test_a_row_of_zeros_has_scale_one_and_decodes_to_zeros(scheme):
    code = scheme.quantize(torch.zeros(5))
    assert code.parameters["scale"].tolist() == [1.0]
    assert not code.dequantize().any()


def test_a_row_of_zeros_has_no_other_level_beside_the_kept_zero():
    assert not KMeans(2, keep_zero=True).quantize(torch.zeros(5)).levels.any()


def test_binary_gives_a_row_of_zeros_scale_zero_and_zeros_a_plus():
    assert Binary().quantize(torch.zeros(5)).parameters["scale"].tolist() == [0.0]
    code = Binary().quantize(torch.tensor([0.0, -0.0, -1.0]))
    assert code.codes.tolist() == [1, 1, 0]


# --- two and three values, against the papers' formulas ---


def float32_of(exact: float) -> tuple[float, float]:
    """The values between which a float64 result lies once it is rounded to float32."""
    slack = exact * 2.0**-24 * (1 + 1e-6) + SMALLEST
    return exact - slack, exact + slack


@given(granularities, weights())
def test_the_binary_scale_is_the_mean_magnitude(granularity, weight):
    scales = Binary(granularity).quantize(weight).parameters["scale"].tolist()
    for row, scale in zip(rows_of(weight, granularity), scales, strict=True):
        low, high = float32_of(math.fsum(abs(row)) / len(row))
        assert low <= scale <= high


@given(matrices())
def test_no_other_binary_scale_has_a_smaller_error(weight):
    code = Binary().quantize(weight)
    w, scale = weight.double(), float(code.parameters["scale"])
    signs = torch.where(w >= 0, 1.0, -1.0)
    errors = [float((w - scale * factor * signs).square().sum()) for factor in (1, 0.999, 1.001)]
    assert errors[0] <= min(errors) * (1 + 1e-9)


@given(ternary, weights())
def test_the_ternary_scale_is_the_mean_of_the_large_magnitudes(scheme, weight):
    scales = scheme.quantize(weight).parameters["scale"].tolist()
    for row, scale in zip(rows_of(weight, scheme.granularity), scales, strict=True):
        threshold = scheme.factor * math.fsum(abs(row)) / len(row)
        assume(not np.isclose(np.abs(row), threshold, rtol=1e-9, atol=0).any())  # float64 cannot decide there
        large = [abs(w) for w in row if abs(w) > threshold]
        low, high = float32_of(math.fsum(large) / len(large) if large else 1.0)
        assert low <= scale <= high


def test_a_weight_at_the_ternary_threshold_is_small():
    weight = torch.tensor([0.5, -0.5, 1.5, -1.5])  # mean magnitude 1
    assert Ternary(factor=0.5).quantize(weight).dequantize().tolist() == [0, 0, 1.5, -1.5]


def test_ternary_encodes_other_values_by_their_own_threshold_on_the_given_levels():
    code = Ternary().quantize(torch.tensor([1.0, -1.0]))
    other = Ternary().quantize(torch.tensor([0.2, 0.01]), code.parameters)
    assert other.dequantize().tolist() == [1.0, 0.0]


# --- powers of two, against plain enumeration ---


@given(st.integers(2, 8), st.integers(1, 8).flatmap(lambda n: values(n, st.one_of(few, ordinary, extreme))))
def test_powers_of_two_equal_plain_enumeration(bits, row):
    levels = powers_of_two(row, bits)
    code = PowerOfTwo(bits).quantize(torch.from_numpy(row))
    assert np.array_equal(np.unique(code.levels.double().numpy()), levels)
    assert np.array_equal(code.dequantize().double().numpy(), nearest(row, levels))


@pytest.mark.parametrize(
    ("extreme", "top"), [(1.0, 0), (1.49, 0), (1.5, 1), (1.51, 1), (0.0, 0), (1e-45, -149)]
)
def test_the_top_is_the_power_nearest_the_extreme(extreme, top):
    code = PowerOfTwo(4).quantize(torch.tensor([extreme, -extreme / 2]))
    assert code.parameters["top_exponent"].tolist() == [top]


# --- codebooks (their quality is the matter of test_kmeans) ---


@pytest.mark.parametrize("granularity", GRANULARITIES, ids=str)
def test_fewer_distinct_weights_than_centroids_are_kept_exactly(granularity):
    weight = torch.tensor([1e-20, 0.1, -7e8, 0.1, 0.0, 1e-20]).repeat(3, 2)
    assert torch.equal(KMeans(4, granularity).quantize(weight).dequantize(), weight)


@given(st.integers(1, 3), granularities, weights(few))
def test_a_centroid_is_the_mean_of_the_weights_that_took_it(bits, granularity, weight):
    code = KMeans(bits, granularity).quantize(weight)
    for row, decoded in zip(rows_of(weight, granularity), decoded_rows(code), strict=True):
        for centroid in set(decoded):
            mean = math.fsum(row[decoded == centroid]) / (decoded == centroid).sum()
            assert np.float32(mean) == centroid  # sums of these values are exact


# --- the search for the nearest level ---


@given(st.integers(2, 9).flatmap(lambda n: values(n, st.one_of(few, ordinary, extreme))))
def test_a_weight_is_compared_with_the_middle_as_in_float64(levels):
    levels = np.unique(levels)
    assume(len(levels) > 1)
    middles = middles_of(torch.from_numpy(levels)[None])
    near = torch.cat([middles[0], middles[0].nextafter(torch.tensor(torch.inf))])
    chosen = levels[torch.bucketize(near, middles[0]).numpy()].astype(np.float64)
    near, best = near.double().numpy(), nearest(near.numpy(), levels)
    assert (np.abs(near - chosen) <= np.abs(near - best) * (1 + 2.0**-50)).all()


# --- what is stored ---


@given(schemes, weights())
def test_the_layout_promised_is_the_layout_stored(scheme, weight):
    code = scheme.quantize(weight)
    stored = {name: (tuple(value.shape), value.dtype) for name, value in code.parameters.items()}
    assert stored == scheme.parameter_layout(tuple(weight.shape))


def test_a_quantized_tensor_says_what_it_costs():
    text = repr(Symmetric(4, PerGroup(64)).quantize(normal(2, 128)))
    assert "shape (2, 128) by Symmetric(bits=4, granularity=PerGroup(size=64)" in text
    assert "4 bits a weight and 0.5 for scale" in text  # 32 bits for 64 weights


def test_given_parameters_are_used_instead_of_a_fit():
    code = Symmetric(8).quantize(torch.tensor([0.3, 9.0]), {"scale": torch.tensor([0.1])})
    assert code.codes.tolist() == [3, 90]
