"""One place decides what a model may be, and says what to do about what may not."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from compresslab.errors import CompressionError
from compresslab.models.checking import DEEPEST, check_model, copy_of
from compresslab.models.inputs import answers_of, call, fitted
from tests.samples import network, same, stranger


class Subclass(torch.Tensor):
    """A tensor of another kind, as quantized weights of other libraries are."""


def nested(levels: int) -> nn.Module:
    inner = nn.Linear(2, 2)
    for _ in range(levels):
        inner = nn.Sequential(inner)
    return inner


def holding(tensor: torch.Tensor) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].register_buffer("held", tensor)
    return model


def named(name: str) -> nn.Module:
    model = nn.Sequential()
    model.add_module(name, nn.Linear(2, 2))
    return model


def subclassed() -> nn.Module:
    model = nn.Linear(2, 2)
    model.weight = nn.Parameter(torch.zeros(2, 2).as_subclass(Subclass))
    return model


REFUSED = {
    "class": (nn.Linear, "class Linear was given for a model; give a torch.nn.Module"),
    "function": (torch.relu, "was given for a model"),
    "nothing": (None, "A NoneType was given"),
    "compiled": (
        torch.compile(nn.Linear(2, 2)),
        r"wrapper \(OptimizedModule\); give what it wraps, ._orig_mod",
    ),
    "parallel": (nn.DataParallel(nn.Linear(2, 2)), r"wrapper \(DataParallel\); give what it wraps, .module"),
    "parallel inside": (nn.Sequential(nn.DataParallel(nn.ReLU())), "Module '0' is a wrapper"),
    "scripted": (torch.jit.script(nn.Linear(2, 2)), "compiled by torch.jit"),
    "lazy": (
        nn.Sequential(nn.LazyLinear(3)),
        "Module '0' holds 'weight', which has no shape yet; run the model",
    ),
    "meta": (
        nn.Linear(2, 2, device="meta"),
        "The model holds 'weight', which is on the meta device.*to_empty",
    ),
    "sparse": (holding(torch.eye(3).to_sparse()), r"Module '0' holds 'held', which is sparse .*to_dense\(\)"),
    "subclass": (subclassed(), "is a Subclass, a subclass of Tensor; put a plain tensor"),
    "complex": (holding(torch.zeros(2, dtype=torch.complex64)), "complex numbers .* two real tensors"),
    "deep": (nested(300), f"more than {DEEPEST} levels deep, below '0.0.0"),
    "newline": (named("a\nb"), r"The model holds the name 'a\\nb'; give up to 100 letters, all printable"),
    "long name": (named("a" * 5000), "holds the name 'aaaa"),
}


@pytest.mark.parametrize("verb", [check_model, copy_of])
@pytest.mark.parametrize(("model", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_model_for_us_is_refused_in_words(verb, model, message):
    with pytest.raises(CompressionError, match=message) as refusal:
        verb(model)
    assert len(str(refusal.value)) <= 500


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_fine_and_floats_are_brought_to_it(dtype):
    model = stranger().to(dtype)
    check_model(model)
    assert same(copy_of(model), model)
    assert answers_of(model, torch.rand(2, 1, 28, 28)).dtype == dtype
    words = fitted({"ids": torch.tensor([3]), "x": [torch.ones(1), "text"]}, model)
    assert words["ids"].dtype == torch.int64
    assert (words["x"][0].dtype, words["x"][1]) == (dtype, "text")


def test_a_network_of_two_precisions_is_fed_as_it_is():
    mixed = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2).half()})
    assert fitted(torch.ones(1, dtype=torch.float64), mixed).dtype == torch.float64


def test_the_deepest_that_is_allowed_can_be_copied():
    model = nested(DEEPEST)
    assert same(copy_of(model), model)


def test_a_module_may_stand_in_two_places():
    layer = nn.Linear(2, 2)
    twice = copy_of(nn.Sequential(layer, nn.ReLU(), layer))
    assert twice[0] is twice[2]


def test_an_answer_left_on_a_module_is_copied_as_numbers():
    model = network()
    model.last = model(torch.rand(2, 1, 28, 28))
    model.fc1.seen = {"maps": [model.last * 2]}
    copied = copy_of(model)
    assert torch.equal(copied.last, model.last)
    assert torch.equal(copied.fc1.seen["maps"][0], 2 * model.last)
    assert copied.last.grad_fn is None
    assert model.last.grad_fn is not None
    assert same(copied, model)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    ("compute", "remedy"),
    [
        (lambda layer: prune.l1_unstructured(layer, "weight", 2), "torch.nn.utils.prune.remove"),
        (torch.nn.utils.spectral_norm, "remove_spectral_norm"),
        (torch.nn.utils.weight_norm, "torch.nn.utils.remove_weight_norm"),
    ],
)
def test_a_weight_that_torch_computes_anew_may_be_looked_at_and_not_copied(compute, remedy):
    model = nn.Sequential(nn.Linear(4, 4))
    compute(model[0])
    check_model(model)
    with pytest.raises(CompressionError, match=f"'weight' of module '0' is computed anew.*{remedy}"):
        copy_of(model)


class Two(nn.Module):
    """Take two inputs by order or by name, and say the difference."""

    def forward(self, left, right):
        return left - right


def test_inputs_are_one_tensor_a_tuple_or_a_mapping():
    a, b = torch.rand(2, 3), torch.rand(2, 3)
    for inputs in ((a, b), [a, b], {"right": b, "left": a}):
        assert torch.equal(call(Two(), inputs), a - b)
        assert torch.equal(answers_of(Two(), inputs), a - b)
    assert torch.equal(call(torch.relu, a), a)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            torch.rand(2, 7),
            r"Two fails on inputs of shape \(2, 7\): .*missing 1 required.* a mapping by keyword",
        ),
        ((torch.rand(2), torch.rand(3)), r"inputs of shape \(\(2,\), \(3,\)\): The size of tensor"),
        ({"left": torch.rand(2), "middle": torch.rand(2)}, "unexpected keyword"),
    ],
)
def test_what_a_network_cannot_read_is_said_in_our_words(inputs, message):
    with pytest.raises(CompressionError, match=message) as refusal:
        answers_of(Two(), inputs)
    assert len(str(refusal.value)) <= 500
