"""The functions that chapters 12 and 15 ask for: means of activations, and groups of neurons."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compresslab.exercises.task import Task, random, without_hooks
from compresslab.surgery.units import components
from compresslab.teaching.checkpoints import load

# 12-3: what a hook collects


def _neurons_first(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compare what a function of images returns with the neurons in front; and refuse hooks left behind."""

    def turned(*given: Any) -> Any:
        answer = without_hooks(function)(*given)
        images_first = isinstance(answer, Tensor) and answer.ndim > 1 and len(answer) == len(given[2])
        return answer.transpose(0, 1).flatten(1) if images_first else answer

    return turned


def _outputs(model: nn.Module, name: str, images: Tensor) -> list[Tensor]:
    """Return what a module answers to each 64 images: neurons first, then all images and places."""
    seen: list[Tensor] = []
    module = model.get_submodule(name)
    handle = module.register_forward_hook(
        lambda *call: seen.append(call[2].transpose(0, 1).flatten(1).double())
    )
    try:
        with torch.no_grad():
            for batch in images.split(64):
                model(batch)
    finally:
        handle.remove()
    return seen


OUTPUTS = Task(
    lambda model, name, images: torch.cat(_outputs(model, name, images), 1),
    lambda: [(load("article"), relu, random(80, 1, 28, 28)) for relu in ("relu3", "relu2")],
    "Let the hook append to a list, and join it at the end.",
    [
        (lambda *a: _outputs(*a)[-1], "Only the last batch is there; the list begins anew each time."),
        (lambda *a: _outputs(*a)[0], "Only the first batch is there."),
        (lambda *a: torch.cat(_outputs(*a)[::-1], 1), "The first batch comes first."),
        (lambda *a: torch.cat(_outputs(*a), 1).mean(1), "Those are means already; all values are asked."),
        (lambda m, n, x: torch.cat(_outputs(m, "fc2", x), 1), "Those are the answers of the last layer."),
        (lambda *a: (torch.cat(_outputs(*a), 1) > 0).float(), "Those are marks; give the values."),
    ],
    within=1e-4,
    ask=_neurons_first,
)

MEAN_OF = Task(
    lambda values: values.transpose(0, 1).flatten(1).mean(1),
    lambda: [(random(5, 3),), (random(4, 3, 2, 2),), (random(1, 2, 3, 3),)],
    "The second axis is that of the neurons; the mean is over all others.",
    [
        (lambda v: v.transpose(0, 1).flatten(1).sum(1), "Those are sums."),
        (lambda v: v.mean(0), "The places of a map count, too."),
        (lambda v: v.mean(), "A number for each neuron is asked."),
        (lambda v: v.flatten(1).mean(1), "Those are means of images, not of neurons."),
        (lambda v: v.transpose(0, 1).flatten(1).abs().mean(1), "The values keep their signs here."),
        (lambda v: v.transpose(0, 1).flatten(1).amax(1), "That is the largest, not the mean."),
        (lambda v: v.transpose(0, 1).flatten(1).sum(1) / len(v), "Divide by the places of a map, too."),
    ],
    within=1e-5,
)


MEANS = Task(
    lambda model, relu, images: torch.cat(_outputs(model, relu, images), 1).mean(1),
    lambda: [(load("article"), relu, random(100, 1, 28, 28)) for relu in ("relu1", "relu2", "relu3")],
    "100 images are 64 and 36: add sums.",
    [
        (
            lambda *a: torch.stack([batch.mean(1) for batch in _outputs(*a)]).mean(0),
            "The means of the batches were averaged, but the last batch has fewer images.",
        ),
        (lambda *a: _outputs(*a)[-1].mean(1), "Only the last batch counts."),
        (lambda *a: _outputs(*a)[0].mean(1), "Only the first batch counts."),
        (lambda *a: torch.cat(_outputs(*a), 1).sum(1), "Divide the sum by images and places."),
        (lambda *a: torch.cat(_outputs(*a), 1).sum(1) / 100, "Divide by the places of a map, too."),
        (lambda *a: torch.cat(_outputs(*a), 1).amax(1), "That is the largest, not the mean."),
    ],
    within=1e-4,
    ask=without_hooks,
)


# 15-3: the smallest number that each neuron is tied to


def _roots(count: int, ties: list) -> list[int]:
    left, right = torch.tensor(ties, dtype=torch.int64).reshape(-1, 2).T.numpy()
    return components(count, left, right).tolist()


def _root(parent: list[int], neuron: int) -> int:
    while parent[neuron] != neuron:
        neuron = parent[neuron]
    return neuron


_PARENTS = [0, 0, 1, 3, 3, 2, 6]

ROOT = Task(
    _root,
    lambda: [(_PARENTS, neuron) for neuron in range(len(_PARENTS))],
    "Go on while a neuron points to another one.",
    [
        (lambda p, i: p[i], "One step is not enough: follow to the end."),
        (lambda p, i: p[p[i]], "Two steps are not always enough."),
        (lambda p, i: 0, "There are several groups."),
        (lambda p, i: i, "No pointer was followed."),
        (lambda p, i: sum(_root(p, j) == _root(p, i) for j in range(i)), "A neuron is asked, not a count."),
        (lambda p, i: [i, p[i], _root(p, i)], "Only the end of the way is asked."),
    ],
)


def _pointed(parent: list[int], low: int, high: int) -> list[int]:
    return [low if place == high else other for place, other in enumerate(parent)]


def _tied(parent: list[int], left: int, right: int) -> list[int]:
    return _pointed(parent, *sorted((_root(parent, left), _root(parent, right))))


def _ends(tie: Callable[..., Any]) -> Callable[..., Any]:
    """Compare where pointers lead, not the pointers: ways may be shortened."""

    def ends(parent: list[int], left: int, right: int) -> Any:
        found = tie(parent, left, right)
        if not isinstance(found, list | tuple) or len(found) != len(parent):
            return found
        return [_root([*found], neuron) if _leads(found, neuron) else -1 for neuron in range(len(found))]

    return ends


def _leads(parent: Sequence[int], neuron: int) -> bool:
    """Say whether the pointers from a neuron on come to an end."""
    for _ in parent:
        neuron = parent[neuron]
    return parent[neuron] == neuron


TIED = Task(
    _tied,
    lambda: [
        ([0, 1, 2, 3], 1, 2),
        ([0, 1, 2, 3], 3, 0),
        (_PARENTS, 5, 4),
        (_PARENTS, 6, 3),
        (_PARENTS, 2, 5),
    ],
    "Find both roots; the larger then points to the smaller.",
    [
        (lambda p, i, j: _pointed(p, min(i, j), max(i, j)), "Tie the roots: an earlier tie gets lost."),
        (
            lambda p, i, j: _pointed(p, *sorted((_root(p, i), _root(p, j)))[::-1]),
            "The larger root points to the smaller, not the other way round.",
        ),
        (lambda p, i, j: _pointed(p, _root(p, i), _root(p, j)), "The smaller root stays, whichever it is."),
        (lambda p, i, j: _pointed(p, _root(p, j), _root(p, i)), "Compare the roots: the smaller stays."),
        (lambda p, i, j: p, "Nothing was tied."),
        (lambda p, i, j: min(_root(p, i), _root(p, j)), "Give back the list of pointers."),
    ],
    ask=_ends,
)


def _one_step(count: int, ties: list) -> list[int]:
    first = list(range(count))
    for left, right in ties:
        first[max(left, right)] = min(first[max(left, right)], left, right)
    return first


def _one_pass(count: int, ties: list) -> list[int]:
    first = list(range(count))
    for left, right in ties:
        first[left] = first[right] = min(first[left], first[right])
    return first


def _largest(count: int, ties: list) -> list[int]:
    turned = _roots(count, [[count - 1 - neuron for neuron in tie] for tie in ties])
    return [count - 1 - root for root in turned[::-1]]


def _ties() -> list[list[int]]:
    return torch.randint(0, 200, (120, 2), generator=torch.Generator().manual_seed(0)).tolist()


ROOTS = Task(
    _roots,
    lambda: [
        (3, []),
        (5, [(0, 3), (3, 4)]),
        (4, [(3, 2), (1, 0), (2, 1)]),
        (200, _ties()),
        (10_001, [[i + 1, i] for i in reversed(range(10_000))]),
    ],
    "Let each neuron point to a smaller one, and follow.",
    [
        (_one_step, "Only direct ties count; a neuron may be tied by several steps."),
        (_one_pass, "One pass is not enough: a later tie can lower what an earlier one has copied."),
        (_largest, "That is the largest number of each group; the smallest was asked."),
        (lambda n, ties: sorted(set(_roots(n, ties))), "A number for each neuron is asked."),
        (lambda n, ties: np.unique(_roots(n, ties), return_inverse=True)[1], "Those are counted groups."),
        (lambda n, ties: list(range(n)), "No tie was followed."),
    ],
)
