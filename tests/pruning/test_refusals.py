"""What the room of pruning refuses: what was asked, what is said; and nothing has changed."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from compresslab import CompressionError, Symmetric, criteria, data, prune_neurons, prune_weights, quantize
from compresslab.pruning import selection
from compresslab.pruning.patterns import Blocks, NofM, cubic, of_the_rest
from compresslab.pruning.scanning import sensitivity
from compresslab.pruning.weights import hold_zeros, rewind
from compresslab.training.batching import Split
from tests.samples import images, network, same

NO_SHARES = [0, 1, True, 2, -0.5, 1.5, math.nan, math.inf, "0.5"]
NO_SIZES = [0, -1, True, 2.0]
SCORED = {"conv1": [1.0] * 3, "conv2": [1.0] * 4, "fc1": [1.0] * 5}


def weights(share=0.5, criterion=criteria.magnitude, model=None, **how):
    """Ask for weights to be pruned, and see that the model is as it was."""
    return untouched(prune_weights, network() if model is None else model, criterion, share, how)


def neurons(share=0.5, criterion=criteria.l1_norm, model=None, **how):
    return untouched(prune_neurons, network() if model is None else model, criterion, share, how)


def untouched(verb, model, criterion, share, how):
    def call():
        before = copy.deepcopy(model.train())
        try:
            verb(model, criterion, share, **how)
        finally:
            assert same(model, before)
            assert all(module.training for module in model.modules())

    return call


def scored(**changed):
    """A criterion of neurons that gives these scores for three layers of the article's network."""
    return lambda model, batches: {name: torch.tensor(s) for name, s in {**SCORED, **changed}.items()}


def weighed(change):
    """A criterion of weights: the magnitudes, changed in the last layer."""
    return lambda model, batches: {
        **criteria.magnitude(model),
        "fc2": change(model.fc2.weight.detach() + 0.0),
    }


def with_last(value):
    return weighed(lambda weight: weight.view(-1).index_fill(0, torch.tensor([4]), value).view_as(weight))


def not_finite():
    model = network()
    model.conv1.weight.data.view(-1)[1] = math.nan
    return model


def pruned_by_torch():
    model = nn.Sequential(nn.Linear(4, 4))
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    return model


def masked_by_torch():
    model = network("lenet_300_100")
    prune.l1_unstructured(model.fc1, "weight", amount=0.5)
    return model


def normed_by_torch():
    model = network("lenet_300_100")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older weight norm, which networks still have
        weight_norm(model.fc1)
    return model


def of_no_known_images():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))


SHARES = [
    *[(lambda share=share: selection.count_of(share, 10), r"0\.0 to 1\.0") for share in NO_SHARES],
    *[(weights(share), r"0\.0 to 1\.0") for share in NO_SHARES],
    *[(weights(share, per_layer=True), r"0\.0 to 1\.0") for share in NO_SHARES],
    *[(neurons(share), r"0\.0 to 1\.0") for share in NO_SHARES],
    (weights({"fc1": 1}), r"0\.0 to 1\.0"),
    (weights(None), "No share was given"),
    (weights(None, per_layer=True), "No share was given"),
    (neurons(None), "Give a share, or a budget"),
    (weights({"fc9": 0.5}), r"'fc9'.*conv1"),
    (neurons({"fc9": 0.5}), r"'fc9'.*conv1"),
    (neurons({"conv1": 0.5, "blocks.0.conv2": 0.1}, model=network("residual")), "give them one share"),
    (neurons(1.0), r"none of the 3 neurons of conv1.*minimum=1"),
    (neurons(0.9), r"none of the 3 neurons of conv1.*minimum=1"),
    (neurons(1.0, per_layer=False), "none of the"),
    (weights(0.5, pattern=NofM(2, 4)), "leave it out"),
    (neurons(0.5, max_macs=100), "budget"),
    *[(neurons(None, max_macs=size), "for max_macs; give a whole number") for size in NO_SIZES],
    *[(neurons(None, max_bytes=size), "for max_bytes; give a whole number") for size in NO_SIZES],
    *[
        (neurons(0.5, **{name: size}), f"for {name}; give a whole number")
        for size in NO_SIZES
        for name in ("minimum", "multiple")
    ],
    (neurons(None, max_macs=10), r"fewest neurons.*MACs"),
    (neurons(None, max_bytes=10), r"fewest neurons.*bytes"),
]
PROTECTED = [
    *[
        (verb(protect=protect), message)
        for verb in (weights, neurons)
        for protect, message in [
            ("conv1", r"write \(name,\)"),
            (None, "protect=None"),
            (("nowhere",), r"'nowhere'; there are .*conv1"),
            (("relu1",), r"'relu1'; there are .*conv1"),
        ]
    ],
    (neurons(protect=("conv1", "conv2", "fc1")), "no neurons that could go"),
]
SCORES = [
    *[
        (verb(criterion=lambda model, batches, s=s: s), "returned")
        for verb in (weights, neurons)
        for s in ([1.0], None)
    ],
    *[(verb(criterion=lambda m, b: {"conv1": [1.0]}), "gave a list") for verb in (weights, neurons)],
    (
        weights(criterion=lambda m, b: {"conv1": criteria.magnitude(m)["conv1"]}),
        "no scores for layer 'conv2'",
    ),
    (weights(criterion=weighed(lambda weight: weight[0])), r"shape \(5,\) for layer 'fc2'"),
    *[
        (weights(share, with_last(bad), **how), "layer 'fc2' is NaN, or minus infinity")
        for bad in (math.nan, -math.inf)
        for share, how in [(0.0, {}), (1.0, {}), (None, {"pattern": NofM(2, 4)})]
    ],
    (weights(model=not_finite()), "'conv1' is NaN"),
    (neurons(criterion=lambda m, b: {"conv1": torch.ones(3)}), r"no scores for conv2.*protect"),
    (neurons(criterion=scored(conv1=[1.0, 2.0])), r"'conv1', which has 3"),
    (neurons(criterion=scored(conv1=[1.0, math.nan, 1.0])), r"'conv1'.*NaN"),
    (neurons(criterion=scored(conv1=[1.0, math.inf, 1.0])), "'conv1' is infinite"),
]
MODELS = [
    (lambda: prune_weights(quantize(network(), Symmetric(4)), criteria.magnitude, 0.5), "before quantize"),
    (weights(model=nn.ReLU()), "no linear or convolution"),
    (lambda: prune_weights(pruned_by_torch(), criteria.magnitude, 0.5), r"prune\.remove"),
    (weights(model=nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)))), "remove_parametrizations"),
    (neurons(model=of_no_known_images()), "example="),
    (lambda: criteria.norm_scale(network()), r"models\.residual"),
    *[
        (verb(criterion=name), rf"{name!r} was given for a criterion.*criteria\.{name}\.")
        for verb in (weights, neurons)
        for name in ("magnitude", "taylor")
    ],
    (lambda: prune_neurons(masked_by_torch(), criteria.l1_norm, 0.5), r"prune\.remove"),
    (lambda: prune_weights(normed_by_torch(), criteria.magnitude, 0.5), "remove_weight_norm"),
    (lambda: prune_neurons(normed_by_torch(), criteria.l1_norm, 0.5), "remove_weight_norm"),
    (lambda: rewind(network("article"), network("lenet5")), "same network"),
    (lambda: hold_zeros(network("lenet5"))(network("article")), "same network"),
]
SEEING = [criteria.activation, criteria.mean_activation, criteria.apoz, criteria.activation_variance]
LEARNING = [criteria.gradient, criteria.mean_gradient, criteria.taylor, criteria.taylor_weights]
NOTHING = [None, [], images()[:0], [Split(images()[:0], torch.zeros(0, dtype=torch.int64))]]
BATCHES = [
    *[
        (lambda of=of, seen=seen: of(network(), seen), f"'{of.__name__}' needs to see images.*batches=digits")
        for of in SEEING + LEARNING
        for seen in NOTHING
    ],
    *[(lambda of=of: of(of_no_known_images(), []), "needs to see images") for of in SEEING + LEARNING],
    *[(lambda of=of: of(network(), [images()]), "needs labels") for of in LEARNING],
    *[(neurons(criterion=of), "needs to see images") for of in SEEING + LEARNING],
    (neurons(criterion=criteria.taylor, batches=images()), "needs labels"),
    (lambda: sensitivity(network(), data.digits(), criteria.gradient, (0.9,)), "needs to see images"),
    (lambda: sensitivity(network(), data.digits(), shares=()), "no share"),
]
VALUES = [
    *[(lambda size=size: NofM(size, 4), r"keep in NofM.* from 1 to 4") for size in [*NO_SIZES, 5]],
    *[(lambda size=size: NofM(1, size), r"of in NofM.*at least 1") for size in NO_SIZES],
    (lambda: NofM(1, 2).smallest(torch.tensor([[1.0, math.nan]])), "NaN"),
    *[(lambda size=size: Blocks(size, 4), r"rows in Blocks.*at least 1") for size in NO_SIZES],
    *[(lambda size=size: Blocks(4, size), r"columns in Blocks.*at least 1") for size in NO_SIZES],
    *[(lambda count=count: selection.smallest([torch.ones(3)], count), "of 3 scores.* from 0 to 3")
      for count in (-1, 4, True, 1.0)],
    *[(lambda rounds=rounds: cubic(0.9, rounds), "rounds of a schedule") for rounds in NO_SIZES],
    *[(lambda share=share: cubic(share, 3), r"0\.0 to 1\.0") for share in NO_SHARES],
    *[(lambda share=share: cubic(0.5, 3, share), r"0\.0 to 1\.0") for share in NO_SHARES],
    (lambda: cubic(0.5, 3, 0.6), "start at or below the end"),
    *[(lambda share=share: of_the_rest([0.5, share]), r"0\.0 to 1\.0") for share in NO_SHARES],
    *[(lambda levels=levels: of_the_rest(levels), "none follows 1.0") for levels in ([0.5, 0.4], [1.0, 1.0])],
]  # fmt: skip
REFUSED = [*SHARES, *PROTECTED, *SCORES, *MODELS, *BATCHES, *VALUES]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_is_refused_in_words(call, message):
    with pytest.raises(CompressionError, match=message):
        call()
