"""How much each weight, or each neuron, matters: callables from (model, batches) to scores.

A criterion gives a low score to what can go. It returns a mapping from layer names to tensors, reads the
model and leaves it as it was. Any function of this kind will do. Those written here score weights, in the
weights' shapes; those of ``neuron_criteria``, listed here too, score neurons, one number for each.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from compresslab.models.inputs import answers_of, each_tensor, fitted
from compresslab.models.parameters import layer_weights
from compresslab.models.tracing import arguments_of, evaluating, step_by_step
from compresslab.pruning.activity import weights_times_slopes
from compresslab.pruning.neuron_criteria import (
    activation_variance,
    apoz,
    l1_norm,
    l2_norm,
    live_inputs,
    mean_activation,
    mean_gradient,
    norm_scale,
    taylor,
    taylor_weights,
)
from compresslab.pruning.selection import Scores
from compresslab.training.batching import Batches, each, first_images, held, labelled
from compresslab.training.loop import cross_entropy
from compresslab.training.metrics import Objective
from compresslab.training.weights import stored, weights_in, weights_of

__all__ = [
    "Batches", "Criterion", "Random", "Scores", "activation", "activation_variance", "apoz", "gradient",
    "l1_norm", "l2_norm", "live_inputs", "magnitude", "mean_activation", "mean_gradient", "norm_scale",
    "taylor", "taylor_weights",
]  # fmt: skip

Criterion = Callable[..., Scores]
_ATTENTION = nn.MultiheadAttention


@torch.no_grad()
def magnitude(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a weight by its absolute value.

    Why: it needs no data, and among trained weights it is hard to beat. Over single weights the L1
    and the L2 norm both order by it, so they prune the same weights.

    Source: Han, Pool, Tran, Dally, NIPS 2015 (arXiv:1506.02626).
    Chapter: 09.

    >>> layer = nn.Linear(2, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[-0.5, 0.25]]))
    >>> magnitude(layer)
    {'': tensor([[0.5000, 0.2500]])}
    """
    return {name: weight.abs() for name, weight in weights_of(model).items()}


def gradient(
    model: nn.Module, batches: Batches | None = None, objective: Objective = cross_entropy
) -> Scores:
    """Score a weight by ``|w * dL/dw|``, to first order what the loss changes by if it becomes zero.

    L is the mean loss over all examples, in evaluation mode; how they are cut into batches does not matter.
    At a minimum of L every gradient is near zero, and the scores are mostly noise.

    Args:
        batches: examples with targets, one Split or several.
        objective: the loss, from (model, inputs, targets); of several examples it is the mean.

    Raises:
        CompressionError: there are no images, or some without labels.

    Source: Lee, Ajanthan, Torr, SNIP, ICLR 2019 (arXiv:1810.02340), who take this product before training.
    Chapter: 09.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    probed = {layer: names[id(weight)] for layer, weight in weights_of(model).items()}
    found = weights_times_slopes(model, probed.values(), labelled(batches, model, "gradient"), objective)
    return {layer: found[name].abs() for layer, name in probed.items()}


@torch.no_grad()
def activation(model: nn.Module, batches: Batches | None = None) -> Scores:
    """Score a weight by its absolute value times the L2 norm of the inputs that it is multiplied with.

    Why: a weight that reads a large input moves the output more than an equal one that reads a small
    input, and one whose input is always zero does nothing. In a convolution the inputs of a weight are
    all values that its place in the kernel slides over.

    A layer that the answers do not depend on has scores of zero. What cannot be seen, such as what the states
    of an LSTM are multiplied with, gets no scores: protect it.

    Args:
        model: any network.
        batches: one or several Splits, tensors or inputs of other forms; targets are not needed.

    Raises:
        CompressionError: there are no images.

    Source: Sun, Liu, Bair, Kolter, Wanda, 2023 (arXiv:2306.11695), who compare the scores within each
    output; what is compared here is up to the verb.
    Chapter: 09.
    """
    weights, parts = weights_in(model), held(batches)
    names = {id(value): weight.name for weight, value in weights.items()}
    places = {(w.layer, w.parameter): id(stored(w)) for w in layer_weights(model)}
    at = {place: names[value] for place, value in places.items() if value in names}
    squares: dict[str, Tensor] = {}

    def add(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for owner, parameter, read in _squares_read(layer, args, kwargs):
            if (name := at.get((owner, parameter))) is not None:
                squares[name] = squares[name] + read if name in squares else read

    with ExitStack() as hooks, evaluating(model), step_by_step():
        for layer in {layer for layer, _ in at} | {m for m in model.modules() if isinstance(m, _ATTENTION)}:
            hooks.callback(layer.register_forward_pre_hook(add, with_kwargs=True).remove)
        for part in each(parts, "activation"):
            answers_of(model, part.inputs)
    unread = {names[id(value)]: value for value in weights.values() if names[id(value)] not in squares}
    squares |= {name: torch.zeros_like(unread[name]) for name in _idle(model, unread, first_images(parts))}
    return {n: value.abs() * squares[n].sqrt() for w, value in weights.items() if (n := w.name) in squares}


def _squares_read(
    layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Sum, for the weights of a layer that is called, the squares of what each is multiplied with.

    A convolution is linear in its weight, so the sum is the derivative of ``sum(layer(inputs^2))`` by it,
    whatever the stride, the padding or the groups are. A row of an embedding is multiplied with ones.
    """
    if isinstance(layer, _ATTENTION):
        yield from _squares_of_attention(layer, args, kwargs)
        return
    inputs = args[0] if args else kwargs["input"]
    if isinstance(layer, nn.Linear):
        yield layer, "weight", _columns(inputs).expand_as(layer.weight)
    elif isinstance(layer, nn.Embedding):
        counts = torch.bincount(inputs.flatten(), minlength=len(layer.weight))
        yield layer, "weight", counts[:, None].to(layer.weight.dtype).expand_as(layer.weight)
    elif isinstance(layer, nn.modules.conv._ConvNd):
        probe = torch.zeros_like(layer.weight, requires_grad=True)
        with torch.enable_grad():
            if layer.transposed:
                run = getattr(functional, f"conv_transpose{probe.dim() - 2}d")
                how = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
                total = run(inputs.detach().square(), probe, None, *how).sum()
            else:
                total = layer._conv_forward(inputs.detach().square(), probe, None).sum()
        yield layer, "weight", torch.autograd.grad(total, probe)[0]


def _squares_of_attention(
    layer: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Do so for attention; what its last layer reads, a twin says in whose place nothing is multiplied."""
    names = ("query", "key", "value")
    read = [_columns(args[at] if len(args) > at else kwargs[name]) for at, name in enumerate(names)]
    if layer.in_proj_weight is not None:
        yield layer, "in_proj_weight", torch.cat([one.expand(layer.embed_dim, -1) for one in read])
    else:
        for name, one in zip(names, read, strict=True):
            yield layer, f"{name[0]}_proj_weight", one.expand(layer.embed_dim, -1)
    twin = copy.deepcopy(layer)
    twin._forward_hooks.clear()
    twin._forward_pre_hooks.clear()
    nn.init.eye_(twin.out_proj.weight)
    if twin.out_proj.bias is not None:
        nn.init.zeros_(twin.out_proj.bias)
    yield layer.out_proj, "weight", _columns(twin(*args, **kwargs)[0]).expand_as(layer.out_proj.weight)


def _columns(inputs: Tensor) -> Float[Tensor, " inputs"]:
    return inputs.detach().reshape(-1, inputs.shape[-1]).square().sum(0)


def _idle(model: nn.Module, weights: Mapping[str, Tensor], inputs: Any) -> list[str]:
    """Name the weights that the answers to some inputs do not depend on."""
    paths = {id(parameter): path for path, parameter in model.named_parameters()}
    probes = {paths[id(weight)]: weight.detach().requires_grad_() for weight in weights.values()}
    if not probes:
        return []
    answers: list[Tensor] = []
    with torch.enable_grad(), evaluating(model):
        each_tensor(functional_call(model, probes, *arguments_of(fitted(inputs, model))), answers.append)
        total = sum((answer.sum() for answer in answers), torch.zeros(()))
    if not answers:
        return []  # answers in a form of the user's own: what they depend on is not known
    if not total.requires_grad:
        return list(weights)
    slopes = torch.autograd.grad(total, list(probes.values()), allow_unused=True)
    return [name for name, slope in zip(weights, slopes, strict=True) if slope is None]


@dataclass(frozen=True)
class Random:
    """Score by chance: the control that every other criterion has to beat.

    Args:
        seed: equal seeds give equal scores to equal shapes, so that rising shares take ever more of the
            same weights.

    Chapter: 09.

    >>> layer = nn.Linear(3, 2)
    >>> bool((Random(5)(layer)[""] == Random(5)(layer)[""]).all())
    True
    """

    seed: int = 0

    def __call__(self, model: nn.Module, batches: Batches | None = None) -> Scores:
        generator = torch.Generator().manual_seed(self.seed)
        return {
            name: torch.rand(weight.shape, generator=generator).to(weight.device)
            for name, weight in weights_of(model).items()
        }
