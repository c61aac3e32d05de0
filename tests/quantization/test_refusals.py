"""What the room refuses, and with which words: what was asked, what was found, what to do."""

import math

import numpy as np
import pytest
import torch
from samples import network
from torch import nn
from torch.nn.utils import prune

from compresslab.errors import CompressionError
from compresslab.integers.layers import Grid, IntegerLinear, fixed_point
from compresslab.integers.network import quantize_activations
from compresslab.integers.rounding import rounded_activations
from compresslab.models.tracing import trace
from compresslab.quantization.clipping import LeastSquares, MinMax, Percentile
from compresslab.quantization.fake import FakeQuantize
from compresslab.quantization.folding import fold_norms
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.layers import quantized_like
from compresslab.quantization.quantizing import fake_quantize, quantize
from compresslab.quantization.scheme import QuantizedTensor
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary, scheme_from_dict
from compresslab.quantization.uniform import Asymmetric, Symmetric


def refuse(call, words):
    with pytest.raises(CompressionError, match=words) as refusal:
        call()
    return str(refusal.value)


def table(*rows):
    """Run a test for every row of a table, the words being its name."""
    return pytest.mark.parametrize(("asked", "words"), rows, ids=[words[:40] for _, words in rows])


# --- values ---

NO_SIZE = "was asked for the size of a group; give a whole number of at least 1"
NO_STEPS = "was asked for the steps of a least-squares clip; give a whole number from 1 to 10,000"
NO_PERCENT = "was asked; it must lie above 50 and be at most 100"
CHOICES = r"take PerTensor\(...\), PerChannel\(...\), PerGroup\(...\), with the parentheses"


@table(
    *[(lambda s=size: PerGroup(s), f"^{size!r} {NO_SIZE}") for size in (0, -1, True, 2.0, "8", None)],
    *[(lambda s=n: LeastSquares(s), f"^{n!r} {NO_STEPS}") for n in (0, -3, True, 2.0, "9", 10_001)],
    *[
        (lambda v=value: Percentile(v), f"percentile of {value!r} {NO_PERCENT}")
        for value in (50, 100.1, 0, -1, True, "99", None, math.nan)
    ],
    (lambda: Symmetric(1), "1 was asked for the bits of Symmetric; give a whole number from 2 to 8"),
    *[(lambda b=bits: Symmetric(b), f"{bits!r} was") for bits in (9, True, 4.0, "8")],
    (lambda: Symmetric(np.int64(8)), "the bits of Symmetric"),
    (lambda: Asymmetric(0), "0 was asked for the bits of Asymmetric; give a whole number from 1 to 8"),
    (lambda: PowerOfTwo(1), "from 2 to 8"),
    (lambda: KMeans(9), "from 1 to 8"),
    (lambda: KMeans(4, keep_zero=1), "keep_zero=1; write True or False"),
    (lambda: Symmetric(8, PerChannel), f"PerChannel'> was given as the granularity of Symmetric; {CHOICES}"),
    (lambda: Binary(PerChannel), "with the parentheses"),
    (lambda: Ternary("channel"), "'channel' was given as the granularity of Ternary"),
    (lambda: KMeans(2, None), "None was given"),
    (lambda: Symmetric(8, PerTensor(), MinMax), r"the clip of Symmetric; take MinMax\(...\).*parentheses"),
    (lambda: Asymmetric(8, PerTensor(), 99.9), "99.9 was given as the clip"),
    *[
        (lambda f=factor: Ternary(factor=f), f"factor of {factor}; it must lie between 0 and 1")
        for factor in (1.0, 0, math.nan, True)
    ],
)
def test_an_impossible_value_is_refused(asked, words):
    refuse(asked, words)


def symmetric(**values):
    return {"name": "Symmetric", **values}


LONG = 10**6 * "x"


@table(
    (None, "scheme was expected as a mapping with a name; found None"),
    ("Symmetric", "mapping with a name"),
    ({}, "mapping with a name"),
    ({"name": ["Symmetric"]}, "mapping with a name"),
    ({"name": "Sigma"}, "no scheme 'Sigma'; there are Asymmetric, Binary"),
    (symmetric(bits=4, mood=1), "cannot take.*mood"),
    (symmetric(lowest_bits=1), "cannot take"),
    ({"name": "Binary", "bits": 1}, "cannot take"),
    (symmetric(bits=77), "77 was asked for the bits"),
    ({"name": "KMeans", "clip": {"name": "MinMax"}}, "cannot take"),
    (symmetric(granularity="PerTensor"), "granularity was expected as a mapping with a name"),
    (symmetric(granularity=[]), "mapping with a name"),
    (symmetric(granularity={}), "mapping with a name"),
    (symmetric(granularity={"name": 7}), "mapping with a name"),
    (
        symmetric(granularity={"name": "PerPixel"}),
        "no granularity 'PerPixel'; there are PerChannel, PerGroup, PerTensor",
    ),
    (symmetric(granularity={"name": "Binary"}), "no granularity 'Binary'"),
    (symmetric(granularity={"name": "PerGroup"}), "granularity PerGroup cannot take {}"),
    (symmetric(granularity={"name": "PerTensor", "size": 3}), "cannot take"),
    (symmetric(granularity={"name": "PerGroup", "size": -2}), NO_SIZE),
    (symmetric(granularity={"name": "PerGroup", "size": 8, 3: 1}), "cannot take"),
    (symmetric(clip=None), "clip was expected as a mapping with a name"),
    (symmetric(clip={"name": "Entropy"}), "no clip 'Entropy'; there are LeastSquares, MinMax, Percentile"),
    (symmetric(clip={"name": "MinMax", "value": 9}), "cannot take"),
    (symmetric(clip={"name": "Percentile", "value": 3}), "percentile of 3"),
    ({"name": LONG}, "no scheme 'xxx"),
    (symmetric(**{LONG: 1}), "cannot take"),
    (symmetric(bits=LONG), "the bits of Symmetric"),
    (symmetric(granularity=LONG), "granularity was expected"),
    (symmetric(clip={"name": "Percentile", "value": LONG}), NO_PERCENT),
    ({"name": "Ternary", "factor": LONG}, "between 0 and 1"),
    ({"name": "KMeans", "keep_zero": LONG}, "True or False"),
)
def test_odd_json_is_no_scheme_and_the_message_is_short(asked, words):
    assert len(refuse(lambda: scheme_from_dict(asked), words)) < 200


# --- tensors ---


@pytest.mark.parametrize(
    "scheme", [Symmetric(8), Asymmetric(8), Binary(), Ternary(), PowerOfTwo(4), KMeans(4)], ids=str
)
@table(
    (torch.tensor([1.0, math.nan, 2.0, math.nan]), "2 of 4 values NaN or infinite"),
    (torch.tensor([[1.0, math.inf]]), "1 of 2 values NaN or infinite"),
    (torch.tensor([-math.inf, 1.0], dtype=torch.float64), "1 of 2 values NaN or infinite"),
    (torch.zeros(0, 4), r"shape \(0, 4\).*at least one axis and one weight"),
    (torch.zeros(3, 0), r"shape \(3, 0\)"),
    (torch.tensor(1.0), r"shape \(\)"),
    (torch.tensor([1, 2]), "torch.int64; give it a floating-point tensor"),
    (torch.tensor([1j]), "torch.complex64"),
    ([1.0, 2.0], "list; give it a floating-point tensor"),
    (torch.tensor([1e38]), "magnitude 1e.38; its float32 levels reach 8.51e.37"),
    (torch.tensor([1e200], dtype=torch.float64), "magnitude 1e.200"),
)
def test_a_weight_that_no_scheme_can_encode_is_refused(scheme, asked, words):
    refuse(lambda: scheme.quantize(asked), words)


@pytest.mark.parametrize(
    ("codes", "parameters"),
    [
        (torch.zeros(2, 3, dtype=torch.uint8), {"scale": torch.ones(1)}),
        (torch.zeros(2, 3, dtype=torch.int8), {"scale": torch.ones(2)}),
        (torch.zeros(2, 3, dtype=torch.int8), {"scale": torch.ones(1, dtype=torch.float64)}),
        (torch.zeros(2, 3, dtype=torch.int8), {}),
        (torch.zeros(2, 3, dtype=torch.int8), {"scale": torch.ones(1), "zero_point": torch.zeros(1)}),
        (torch.zeros(0, 3, dtype=torch.int8), {"scale": torch.ones(1)}),
        (torch.zeros((), dtype=torch.int8), {"scale": torch.ones(1)}),
    ],
)
def test_a_quantized_tensor_refuses_what_its_scheme_does_not_store(codes, parameters):
    refuse(lambda: QuantizedTensor(Symmetric(8), codes, parameters), "Symmetric")


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_must_be_positive_and_finite_given_or_learned(value):
    given = {"scale": torch.tensor([value])}
    refuse(lambda: Symmetric(8).quantize(torch.ones(3), given), "a scale is positive and finite")
    fake = FakeQuantize(Symmetric(4, PerChannel()), torch.ones(3, 2), learned_step=True)
    with torch.no_grad():
        fake.step[1] = value
    refuse(lambda: fake(torch.ones(3, 2)), r"1 of 3 learned steps.*smaller learning rate")


# --- layers and models ---


def sum_of(columns: int, bias: float = 0.0) -> IntegerLinear:
    """A layer whose sums are as large as they can be."""
    code = Symmetric(8).quantize(torch.full((1, columns), 127.0))
    return IntegerLinear(code, torch.tensor([bias]), Grid(1.0, 0), None)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


CODE = Symmetric(4).quantize(torch.ones(4, 6))
NORMED = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
WEIGHT_NORM = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))


@table(
    (
        lambda: Symmetric(8, PerChannel()).quantize(
            torch.ones(4, 3), Symmetric(8, PerChannel()).quantize(torch.ones(5, 3)).parameters
        ),
        "of a weight of the same shape",
    ),
    (lambda: quantized_like(nn.ReLU(), CODE), "ReLU cannot be quantized; it has no 'weight'"),
    (
        lambda: quantized_like(nn.Linear(4, 6), CODE),
        r"shape \(4, 6\) was given for a layer that has \(6, 4\)",
    ),
    (
        lambda: FakeQuantize(Ternary(), torch.ones(3, 2), learned_step=True),
        r"learned step was asked for Ternary.*only Symmetric",
    ),
    (lambda: fake_quantize(network(), Ternary(), learned_step=True), "only Symmetric has one"),
    (
        lambda: quantize_activations(network(), torch.rand(3, 1, 28, 28), bits=9),
        "9 was asked for the bits of",
    ),
    (lambda: round_while(nn.Linear(2, 2), 4), "A Linear without a ReLU layer was given"),
    (lambda: round_while(nn.ReLU(), 1), "1 was asked for the bits of an activation"),
    (lambda: fold_norms(NORMED), "norm '1' keeps no running statistics"),
    (lambda: trace(Branching()), r"cannot trace this Branching \(line \d+: .*\).*without branches"),
    (lambda: fixed_point(torch.tensor([1.0, 2.0**30])), r"1\.07e\+09 times finer than the sums"),
    (
        lambda: sum_of((2**31 - 1) // (127 * 128) + 1),
        r"132105 inputs could overflow: they may reach 2\.15e\+09",
    ),
    *[
        (lambda b=bias: sum_of(2, b), "2 inputs could overflow")  # too large for int32
        for bias in (3e9, -3e9, math.inf, math.nan)
    ],
    (lambda: quantize(network()), "No scheme was given and the model was not trained through"),
    (
        lambda: fake_quantize(fake_quantize(network(), Binary()), Ternary()),
        r"'conv1' is parametrized already, by FakeQuantize.*Binary",
    ),
    (lambda: fake_quantize(WEIGHT_NORM, Ternary()), "'0' is computed at every call.*remove_parametrizations"),
)
def test_what_cannot_be_done_is_refused(asked, words):
    refuse(asked, words)


def round_while(model: nn.Module, bits: int) -> None:
    with rounded_activations(model, bits):
        pass


def spoiled() -> nn.Module:
    model = network()
    with torch.no_grad():
        model.fc1.weight[0, 0] = math.nan
    return model


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    return model


def masked() -> nn.Module:
    return nn.Sequential(prune.l1_unstructured(nn.Linear(4, 2), "weight", 0.5))


def old_norm() -> nn.Module:
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 2)))


@pytest.mark.parametrize("verb", [quantize, fake_quantize])
@table(
    (
        (network, {"conv9": Symmetric(8)}),
        "no layer 'conv9'; there are .*, conv1, conv2, fc1, fc2",
    ),
    ((network, {"relu1": Symmetric(8)}), "no layer 'relu1'"),
    ((network, {"conv9": None, "*": Symmetric(8)}), "no layer 'conv9'"),
    ((network, {"conv1": 8}), "For 'conv1' a scheme was expected, found 8"),
    ((network, {"*": Symmetric}), r"For '\*' a scheme was expected.*parentheses"),
    ((network, Symmetric), "a scheme was expected.*parentheses"),
    ((network, 8), "a scheme was expected, found 8"),
    ((network, {}), r"gives no layer a scheme; name one of conv1, conv2, fc1, fc2, or '\*'"),
    ((network, {"fc1": None}), "gives no layer a scheme"),
    ((spoiled, Symmetric(8)), r"Layer 'fc1': .*1 of \d+ values NaN"),
    ((lambda: quantize(network(), Symmetric(8)), Symmetric(4)), "Article are quantized already"),
    (
        (lambda: quantize(network(), Symmetric(8)), {"fc1": Symmetric(4)}),
        "Layer 'fc1' is quantized already; start from the float model",
    ),
    (
        (tied, {"0": Symmetric(4)}),
        "'0' and '1' share one weight, and were given Symmetric.* and None",
    ),
    ((tied, {"0": Symmetric(4), "*": Binary()}), "share one weight.*give them one scheme"),
    ((masked, Symmetric(4)), r"'weight' of module '0' is computed anew.*torch\.nn\.utils\.prune\.remove"),
    ((old_norm, Symmetric(4)), r"computed anew.*torch\.nn\.utils\.remove_weight_norm"),
    ((lambda: WEIGHT_NORM, Symmetric(4)), "layer '0' is computed at every call.*remove_parametrizations"),
    ((lambda: [nn.Linear(2, 2)], Symmetric(4)), "A list was given for a model"),
    ((nn.ReLU, Symmetric(4)), "layers with weights of this ReLU do not exist"),
)
def test_both_verbs_name_a_mistake(verb, asked, words):
    model, schemes = asked
    assert len(refuse(lambda: verb(model(), schemes), words)) <= 500


def test_codes_need_their_names_on_the_layer():
    layer = nn.Linear(2, 2)
    layer.weight_codes = "the user's"
    refuse(lambda: quantize(layer, Symmetric(4)), "has an attribute 'weight_codes'.*rename it, or leave")


# --- integer networks ---


class Functional(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.fc, self.function = nn.Linear(784, 3), function

    def forward(self, x):
        return self.fc(self.function(x.flatten(1)))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(784, 3)

    def forward(self, x, y):
        return self.fc(x + y)


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.fc, self.fd = nn.Flatten(), nn.Linear(784, 3), nn.Linear(784, 3)

    def forward(self, x):
        x = self.flatten(x)
        return self.fc(x), self.fd(x)


def ending(*layers: nn.Module, columns: int = 784) -> nn.Sequential:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(columns, 3))


class Subclassed(nn.Conv2d):
    """It may compute something else."""


def hooked() -> nn.Module:
    model = ending()
    model[1].register_forward_pre_hook(print)
    return model


@table(
    (ending(nn.Sigmoid()), r"'_0' \(Sigmoid\) has no integer rule"),
    (ending(nn.AvgPool2d(1, ceil_mode=True)), "asked with ceil_mode or divisor_override"),
    (ending(nn.AvgPool2d(1, divisor_override=2)), "asked with ceil_mode or divisor_override"),
    (ending(nn.AdaptiveAvgPool2d(2), columns=4), r"\(AdaptiveAvgPool2d\)"),
    (ending(nn.BatchNorm2d(1)), r"\(BatchNorm2d\)"),
    (ending(nn.MaxPool2d(1, return_indices=True)), r"\(MaxPool2d\)"),
    (Functional(torch.sigmoid), r"'sigmoid' \(sigmoid\) has no integer rule"),
    (Functional(lambda x: torch.add(x, x, alpha=2)), r"\(add\) has no integer rule"),
    (Functional(lambda x: x + 1), r"\(add\) has no integer rule"),
    (Functional(lambda x: x.mean(0)), r"'mean' \(mean\) has no integer rule"),
    (ending(Subclassed(1, 1, 1)), "has no integer rule"),
    (ending(nn.ConvTranspose2d(1, 1, 1)), r"\(ConvTranspose2d\) has no integer rule"),
    (hooked(), "Module '1' has hooks, which an integer network cannot keep"),
    (TwoInputs(), r"'y' \(y\) has no integer rule"),
    (TwoOutputs(), "must end with one linear or convolution layer"),
    (nn.Sequential(nn.Flatten(), nn.Linear(784, 3), nn.ReLU()), r"ends with _2; .*must end with one linear"),
    (ending(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")), "with padding of reflect"),
    (quantize(ending(), Binary()), "quantized by Binary.*need Symmetric weights"),
    (quantize(ending(), Symmetric(8, PerGroup(64))), "per tensor or per channel"),
    (fake_quantize(ending(), Symmetric(8)), r"layer '1' still trains through quantization; freeze it first"),
)
def test_what_has_no_integer_rule_is_refused_by_its_name(asked, words):
    refuse(lambda: quantize_activations(asked, torch.rand(3, 1, 28, 28)), words)


NOT_FINITE = torch.zeros(3, 1, 28, 28).index_fill(0, torch.tensor([1]), math.nan)


@table(
    ([], "No batches were given to calibrate on"),
    (torch.zeros(0, 1, 28, 28), r"The activations of .* shape \(0,\)"),
    (NOT_FINITE, r"activations of 'images': .* values NaN"),
    (3, "A int was given to calibrate on; give a tensor of images, a split, or an iterable"),
    ([{"x": torch.zeros(2)}], "A batch to calibrate on holds a dict"),
    (torch.zeros(3, 1, 28, 28, dtype=torch.int64), r"fails on inputs of shape \(3, 1, 28, 28\)"),
    (torch.zeros(3, 1, 9, 9), r"fails on inputs of shape \(3, 1, 9, 9\)"),
)
def test_calibration_needs_finite_images(asked, words):
    refuse(lambda: quantize_activations(network(), asked), words)
