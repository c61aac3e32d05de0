"""The functions that chapters 01, 09, 12 and 15 ask for: counts, masks, means of activations, groups."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compresslab.exercises.task import Task, random, without_hooks
from compresslab.measuring.costs import count_macs
from compresslab.pruning.selection import count_of, smallest
from compresslab.surgery.units import components
from compresslab.teaching.checkpoints import load

# 01-3: multiplications of a convolution on a square image


def _macs(conv: nn.Conv2d, side: int) -> int:
    return count_macs(conv, torch.zeros(1, conv.in_channels, side, side))


def _by_places(
    padding: int = 1, rounded: Callable = math.floor, more: int = 1
) -> Callable[[nn.Conv2d, int], int]:
    def macs(conv: nn.Conv2d, side: int) -> int:
        free = side + 2 * padding * int(conv.padding[0]) - conv.kernel_size[0]
        return int((rounded(free / conv.stride[0]) + more) ** 2) * conv.weight.numel()

    return macs


def _macs_of_all_groups(conv: nn.Conv2d, side: int) -> int:
    return _macs(conv, side) * conv.groups


MACS = Task(
    _macs,
    lambda: [
        (nn.Conv2d(3, 8, 3), 16),
        (nn.Conv2d(4, 8, 5, stride=2, padding=2), 16),
        (nn.Conv2d(8, 8, 3, groups=8), 9),
    ],
    "Positions times weights.",
    [
        (
            _by_places(rounded=float),
            "Round positions down: a kernel that does not fit makes no step.",
        ),
        (_by_places(rounded=math.ceil), "Positions are rounded down, not up."),
        (_by_places(padding=0), "The padding is missing: it makes the image larger on both sides."),
        (_by_places(more=0), "One position of each side is missing: the first needs no step."),
        (_macs_of_all_groups, "An output channel reads only its own group."),
        (
            lambda conv, side: side**2 * conv.weight.numel(),
            "A kernel does not fit at every place.",
        ),
    ],
)


# 09-3: one threshold for many tensors


def _masks(tensors: list[Tensor], share: float) -> Tensor:
    count = count_of(share, sum(tensor.numel() for tensor in tensors))
    return torch.cat([mask.flatten() for mask in smallest([tensor.abs() for tensor in tensors], count)])


def _each_alone(tensors: list[Tensor], share: float) -> Tensor:
    return torch.cat([_masks([tensor], share) for tensor in tensors])


def _threshold(tensors: list[Tensor], share: float) -> Tensor:
    sizes = torch.cat([tensor.abs().flatten() for tensor in tensors])
    count = count_of(share, len(sizes))
    return sizes <= sizes.sort().values[count - 1] if count else sizes < 0


def _last_of_equals(tensors: list[Tensor], share: float) -> Tensor:
    return _masks([tensor.flatten().flip(0) for tensor in tensors[::-1]], share).flip(0)


def _joined(masks: Callable) -> Callable:
    """Join masks that come as a list, as joined ones are compared."""

    def join(tensors: list[Tensor], share: float) -> Any:
        given = masks(tensors, share)
        several = isinstance(given, list | tuple) and all(isinstance(mask, Tensor) for mask in given)
        return torch.cat([mask.flatten() for mask in given]) if several else given

    return join


def _drawn() -> list[Tensor]:
    return [random(3, 4), random(5, seed=1)]


def _equal() -> list[Tensor]:
    return [torch.ones(2, 3), -torch.ones(4)]


MASKS = Task(
    _masks,
    lambda: [
        (_drawn(), 0.5),
        (_drawn(), 0.9),
        (_equal(), 0.5),
        (_equal(), 0.25),
        (_drawn(), 0.0),
        (_equal(), 1.0),
    ],
    "Join the magnitudes first, then rank them.",
    [
        (_each_alone, "Each tensor lost its own share; the share is of all of them together."),
        (_threshold, "A threshold takes all that are equal to it; exactly round(share * n) go."),
        (
            lambda t, s: ~_masks(t, s),
            "True means that a weight goes.",
        ),
        (
            lambda t, s: _masks([one + 9 for one in t], s),
            "The signs count; rank magnitudes.",
        ),
        (
            lambda t, s: _masks([-one.abs() + 99 for one in t], s),
            "The largest went.",
        ),
        (lambda t, s: _masks(t[::-1], s), "The tensors come in another order."),
        (_last_of_equals, "Among equal magnitudes the earlier goes; sort with stable=True."),
    ],
    ask=_joined,
)


# 12-3: what a hook collects


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
