"""The contract of every verb: a new object comes out, the argument is as it was, and chance is left alone.

``train`` and ``distill`` alone work in place, as they say; a teacher is only looked at. What a verb does is
tested in its room; here stands what all have in common, on the four networks of the book, with marks that a
careless verb would lose: modules in different modes, a frozen parameter, a gradient, an attribute and hooks
of the user's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from samples import SMALL, network, raw, state
from torch import nn

from compresslab.integers.network import quantize_activations
from compresslab.measuring.comparison import compare
from compresslab.measuring.report import measure
from compresslab.pruning import criteria
from compresslab.pruning.neurons import prune_neurons
from compresslab.pruning.scanning import sensitivity
from compresslab.pruning.weights import hold_zeros, prune_weights, rewind
from compresslab.quantization.folding import fold_norms
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.quantizing import fake_quantize, quantize
from compresslab.quantization.schemes import Binary, KMeans
from compresslab.quantization.uniform import Symmetric
from compresslab.repairing.equalizing import equalize
from compresslab.repairing.mending import correct_biases, mend
from compresslab.repairing.reconstructing import reconstruct
from compresslab.repairing.without_data import quantize_without_data
from compresslab.searching.budgets import Budget, Space
from compresslab.searching.plans import LayerPlan, Plan
from compresslab.searching.seeking import search
from compresslab.storage.container import decode, encode
from compresslab.surgery.cutting import cut
from compresslab.surgery.dead import drop_dead
from compresslab.surgery.graph import graph_of
from compresslab.surgery.norms import remeasure_norms
from compresslab.training import penalties
from compresslab.training.accuracy import evaluate
from compresslab.training.batching import ImageData, Split
from compresslab.training.distilling import distill
from compresslab.training.features import Features
from compresslab.training.gates import L0, add_gates, freeze_gates


def split(seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    return Split(torch.rand(12, 1, 28, 28, generator=generator), torch.arange(12) % 3)


DATA = ImageData("noise", split(1), split(2), split(3))
IMAGES = DATA.train.images


@dataclass(frozen=True)
class Verb:
    """How a verb is called, what it is for, and whether its result is always in evaluation mode.

    ``follows``: it refuses a network with hooks, which may change any value (a test of its room says so).
    """

    call: Callable[[nn.Module], Any]
    prepare: Callable[[nn.Module], nn.Module] = lambda model: model
    evaluates: bool = False
    follows: bool = False


def cut_some(model: nn.Module) -> nn.Module:
    graph = graph_of(model)
    return cut(model, graph, [torch.arange(g.neurons) == (-1 if g.held else 0) for g in graph.groups])


def planned(net: nn.Module) -> Plan:
    first = "conv1" if hasattr(net, "conv1") else "fc1"
    return Plan({first: LayerPlan(Symmetric(4, PerChannel()), 0.5, 0.3)})


def with_dead(model: nn.Module) -> nn.Module:
    model.get_parameter("fc1.weight").data[0] = 0
    return model


VERBS = {
    "quantize": Verb(lambda net: quantize(net, Symmetric(4))),
    "quantize one layer": Verb(lambda net: quantize(net, {"fc1": Binary()})),
    "quantize what trained": Verb(quantize, lambda net: fake_quantize(net, Symmetric(4), learned_step=True)),
    "quantize learned codebooks": Verb(quantize, lambda net: fake_quantize(net, KMeans(2), True)),
    "fake_quantize": Verb(lambda net: fake_quantize(net, Symmetric(3), learned_step=True)),
    "fake_quantize by codebooks": Verb(lambda net: fake_quantize(net, KMeans(2), learned_step=True)),
    "quantize_activations": Verb(
        lambda net: quantize_activations(net, [IMAGES]), evaluates=True, follows=True
    ),
    "fold_norms": Verb(fold_norms, evaluates=True),
    "remeasure_norms": Verb(lambda net: remeasure_norms(net, IMAGES), evaluates=True),
    "prune_weights": Verb(lambda net: prune_weights(net, criteria.gradient, 0.5, batches=DATA.train)),
    "prune_weights by chance": Verb(lambda net: prune_weights(net, criteria.Random(1), 0.5)),
    "rewind from": Verb(lambda net: rewind(net, network(net.name).train()).eval(), evaluates=True),
    "rewind to": Verb(lambda net: rewind(prune_weights(net, criteria.magnitude, 0.5), net)),
    "reconstruct": Verb(lambda net: reconstruct(net, Symmetric(3), IMAGES)),
    "mend": Verb(lambda net: mend(prune_weights(net, criteria.magnitude, 0.5), net, IMAGES)),
    "correct_biases": Verb(lambda net: correct_biases(quantize(net, Symmetric(2)), net, IMAGES)),
    "equalize": Verb(lambda net: equalize(fold_norms(net)), evaluates=True, follows=True),
    "quantize_without_data": Verb(
        lambda net: quantize_without_data(net, Symmetric(3)), evaluates=True, follows=True
    ),
    "prune_neurons": Verb(
        lambda net: prune_neurons(net, criteria.taylor, 0.4, batches=DATA.train, minimum=1), follows=True
    ),
    "prune_neurons to a budget": Verb(
        lambda net: prune_neurons(net, criteria.l2_norm, max_bytes=len(encode(net)[0]) * 3 // 4),
        follows=True,
    ),
    "cut": Verb(cut_some, follows=True),
    "apply a plan": Verb(lambda net: planned(net).apply(net, DATA), follows=True),
    "drop_dead": Verb(drop_dead, with_dead, follows=True),
    "add_gates": Verb(lambda net: add_gates(net, axis=0)),
    "freeze_gates": Verb(freeze_gates, add_gates),
    "decode what encode wrote": Verb(lambda net: decode(encode(net)[0]), evaluates=True),
}
WATCHING = ("mean_activation", "apoz", "activation_variance", "mean_gradient", "taylor")
LOOKS = {
    "measure": Verb(lambda net: measure(net, DATA, repeats=1)),
    "compare": Verb(lambda net: compare(*[measure(net, DATA, latency=False)] * 2)),
    "evaluate": Verb(lambda net: evaluate(net, DATA)),
    "sensitivity": Verb(lambda net: sensitivity(net, DATA, shares=(0.5,))),
    "search": Verb(
        lambda net: search(net, DATA, Budget(loss=0.5), space=Space.of_bits(8, 4), trials=2).plan.layers
    ),
    "encode": Verb(encode),
    "graph_of": Verb(lambda net: str(graph_of(net)), follows=True),
    "hold_zeros": Verb(hold_zeros),
    "L0": Verb(L0(1.0), add_gates),
    "distill, its teacher": Verb(
        lambda net: distill(network(), net, DATA, epochs=1, features=Features({"fc1": "fc1"}))
    ),
    **{
        f"penalty {kind.__name__}": Verb(kind(0.1))
        for kind in (penalties.L1, penalties.L2, penalties.GroupLasso, penalties.Hoyer)
    },
    **{
        f"criterion {name}": Verb(
            lambda net, name=name: getattr(criteria, name)(net, DATA.train), follows=name in WATCHING
        )
        for name in criteria.__all__
        if name[0].islower() and name != "norm_scale"
    },
    "criterion Random": Verb(criteria.Random(1)),
}
EVERY = VERBS | LOOKS


def unmoved(module, inputs, output):
    """A hook that changes nothing, so that it is seen only by who loses it."""


def marked(name: str, verb: Verb) -> nn.Module:
    """Build a verb's argument, with everything on it that a user may have put there."""
    model = verb.prepare(network(name)).train()
    model.get_submodule("fc1").eval()
    model.get_parameter("fc1.bias").requires_grad_(False)
    first = next(model.parameters())
    first.grad = torch.ones_like(first)
    model.note = "the user's"
    if not verb.follows:
        model.register_forward_hook(unmoved)
        model.get_submodule("fc1").register_forward_hook(unmoved)
    return model


def everything(model: nn.Module) -> dict[str, Any]:
    """Write down all that a model is: which objects, their bytes, and each attribute, hooks and mode too."""
    found = {}
    for name, module in model.named_modules():
        own = {key: value for key, value in vars(module).items() if key not in ("_parameters", "_buffers")}
        found[name] = (module, {key: dict(v) if isinstance(v, dict) else v for key, v in own.items()})
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        gradient = None if tensor.grad is None else raw(tensor.grad)
        found[f"tensor {name}"] = (id(tensor), raw(tensor), tensor.shape, tensor.requires_grad, gradient)
    return found


def storages(model: nn.Module) -> set[int]:
    tensors = [*model.parameters(), *model.buffers()]
    held = [t.untyped_storage() for one in tensors for t in (one, one.grad) if t is not None]
    return {storage.data_ptr() for storage in held if storage.nbytes()}


def chance() -> tuple[Any, ...]:
    """Python's own generator is not among them: beartype draws from it which item of a list to look at."""
    return raw(torch.get_rng_state()), np.random.get_state()[1].tobytes()  # noqa: NPY002


def plain(value: Any) -> Any:
    """Turn a result into what ``==`` can compare to the bit."""
    if isinstance(value, nn.Module):
        return repr(value), state(value), [module.training for module in value.modules()]
    if isinstance(value, torch.Tensor):
        return raw(value)
    if hasattr(value, "items"):
        return {key: plain(one) for key, one in value.items()}
    return plain(value.zeros) if hasattr(value, "zeros") else value


@dataclass(frozen=True)
class Trial:
    """What two calls did to one argument."""

    model: nn.Module
    before: dict[str, Any]
    after: dict[str, Any]
    noise: tuple[tuple[Any, ...], tuple[Any, ...]]
    results: tuple[Any, Any]


@cache
def trial(verb: str, name: str) -> Trial:
    model = marked(name, EVERY[verb])
    before, noise = everything(model), chance()
    first = EVERY[verb].call(model)
    found = Trial(model, before, everything(model), (noise, chance()), (first, None))
    torch.rand(7)  # whoever asks the global generator now gets another answer
    return replace(found, results=(first, EVERY[verb].call(model)))


every = pytest.mark.parametrize("verb", EVERY)
every_new = pytest.mark.parametrize("verb", VERBS)
each_network = pytest.mark.parametrize("name", SMALL)


@every
@each_network
def test_the_argument_is_as_it_was(verb, name):
    assert trial(verb, name).after == trial(verb, name).before


@every
@each_network
def test_chance_is_left_alone_and_the_same_call_gives_the_same_bits(verb, name):
    before, after = trial(verb, name).noise
    assert before == after
    first, second = map(plain, trial(verb, name).results)
    assert first == second


@every_new
@each_network
def test_the_result_is_new_and_shares_nothing(verb, name):
    nets = (trial(verb, name).model, *trial(verb, name).results)
    for left, right in combinations(nets, 2):
        assert not set(left.modules()) & set(right.modules())
        assert not storages(left) & storages(right)


@every_new
@each_network
def test_the_result_has_the_argument_s_modes_or_evaluates(verb, name):
    given, found = (
        {path: module.training for path, module in net.named_modules()}
        for net in (trial(verb, name).model, trial(verb, name).results[0])
    )
    kept = {path: mode and not VERBS[verb].evaluates for path, mode in given.items() if path in found}
    assert {path: found[path] for path in kept} == kept
    assert not VERBS[verb].evaluates or not any(found.values())


@every_new
@each_network
def test_what_stays_in_floats_stays_in_its_precision_and_on_its_device(verb, name):
    given, result = trial(verb, name).model.state_dict(), trial(verb, name).results[0].state_dict()
    floats = {path: tensor for path, tensor in result.items() if tensor.is_floating_point()}
    assert {path: tensor.dtype for path, tensor in floats.items() if path in given} == {
        path: given[path].dtype for path in floats if path in given
    }
    assert {tensor.device for tensor in result.values()} == {torch.device("cpu")}


@pytest.mark.parametrize("verb", [verb for verb in LOOKS if verb.startswith("criterion")])
@each_network
def test_scores_are_tensors_of_their_own_without_a_gradient(verb, name):
    scores = trial(verb, name).results[0].values()
    assert not {score.untyped_storage().data_ptr() for score in scores} & storages(trial(verb, name).model)
    assert not any(score.requires_grad for score in scores)
