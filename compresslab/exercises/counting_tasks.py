"""The functions that chapters 01 and 09 ask for: multiplications, and one threshold for many tensors."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compresslab.exercises.task import Task, random
from compresslab.measuring.costs import count_macs
from compresslab.pruning.selection import count_of, smallest

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


def _positions(side: int, kernel: int, stride: int, padding: int) -> int:
    return (side + 2 * padding - kernel) // stride + 1


POSITIONS = Task(
    _positions,
    lambda: [(16, 3, 1, 0), (16, 5, 2, 2), (9, 3, 1, 1), (10, 3, 3, 0), (7, 7, 2, 0)],
    "The kernel starts at the edge; how many steps can it make from there?",
    [
        (lambda n, k, s, p: (n + 2 * p - k) // s, "The first position needs no step: one is missing."),
        (lambda n, k, s, p: _positions(n, k, s, 0), "The padding is missing."),
        (lambda n, k, s, p: (n + p - k) // s + 1, "The image is padded on both sides."),
        (lambda n, k, s, p: _positions(n, k, 1, p), "A step is as long as the stride."),
        (lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1, "Steps are rounded down, not up."),
        (lambda n, k, s, p: (n + 2 * p - k) / s + 1, "Round down: a kernel that does not fit makes no step."),
        (lambda n, k, s, p: _positions(n, k, s, p) ** 2, "Along one side is asked, not on the whole image."),
        (lambda n, k, s, p: (n + 2 * p) // s, "The kernel takes room itself."),
    ],
)


def _convs() -> list[nn.Conv2d]:
    return [
        nn.Conv2d(3, 8, 3),
        nn.Conv2d(4, 8, 5),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(6, 4, 1, groups=2),
    ]


AT_ONE_PLACE = Task(
    lambda conv: conv.weight.numel(),
    lambda: [(conv,) for conv in _convs()],
    "Every weight is used once.",
    [
        (lambda conv: conv.weight.numel() * conv.groups, "An output channel reads only its own group."),
        (lambda conv: conv.weight[0].numel(), "Those are the multiplications of one output channel."),
        (lambda conv: conv.weight[:, 0].numel(), "A kernel has a weight for each input channel it reads."),
        (lambda conv: conv.weight.numel() // conv.kernel_size[0], "A kernel is a square."),
        (lambda conv: conv.weight.numel() + conv.out_channels, "A bias is added, not multiplied."),
        (lambda conv: conv.weight[0, 0].numel(), "That is one kernel for one input channel."),
    ],
)


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


def _sizes(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.abs().flatten() for tensor in tensors])


SIZES = Task(
    _sizes,
    lambda: [([random(3, 4), random(5, seed=1)],), ([random(2, 2, 2)],)],
    "Flatten each, then join.",
    [
        (lambda t: torch.cat([one.flatten() for one in t]), "The signs count no more: magnitudes."),
        (lambda t: _sizes(t).sort().values, "The order stays; a place must find its weight again."),
        (lambda t: _sizes(t[::-1]), "The first tensor comes first."),
        (lambda t: _sizes(t[:1]), "Those are the magnitudes of the first tensor alone."),
        (lambda t: _sizes(t) ** 2, "Those are squares; give magnitudes."),
        (lambda t: _sizes([one.T if one.ndim == 2 else one.transpose(0, -1) for one in t]), "Row by row."),
        (lambda t: len(_sizes(t)), "That is how many there are."),
    ],
)


def _marked(sizes: Tensor, count: int) -> Tensor:
    return smallest([sizes], count)[0]


def _below(sizes: Tensor, count: int) -> Tensor:
    return sizes <= sizes.sort().values[count - 1] if count else sizes < 0


MARKED = Task(
    _marked,
    lambda: [
        (random(9).abs(), 4),
        (torch.ones(6), 2),
        (torch.tensor([2.0, 1, 1, 3, 1]), 2),
        (torch.ones(3), 0),
    ],
    "argsort(stable=True) lists places from the smallest on, equals as they stand.",
    [
        (lambda m, n: ~_marked(m, n), "True means that a weight goes."),
        (_below, "A threshold takes all that are equal to it."),
        (lambda m, n: _marked(m.flip(0), n).flip(0), "Among equals the earlier goes."),
        (lambda m, n: _marked(-m, n), "The largest went."),
        (lambda m, n: m.argsort(stable=True)[:n], "Those are places; give a mask."),
        (lambda m, n: m.argsort(stable=True) < n, "Those are places smaller than the count, not a mask."),
        (lambda m, n: _marked(m, n + 1), "One too many goes."),
    ],
)


def _each_alone(tensors: list[Tensor], share: float) -> Tensor:
    return torch.cat([_masks([tensor], share) for tensor in tensors])


def _threshold(tensors: list[Tensor], share: float) -> Tensor:
    sizes = torch.cat([tensor.abs().flatten() for tensor in tensors])
    count = count_of(share, len(sizes))
    return sizes <= sizes.sort().values[count - 1] if count else sizes < 0


def _cut_off(tensors: list[Tensor], share: float) -> Tensor:
    sizes = _sizes(tensors)
    return _marked(sizes, int(share * len(sizes)))


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
        (_drawn(), 0.4),  # 6.8 of 17
        (_equal(), 1.0),
    ],
    "Join the magnitudes first, then rank them.",
    [
        (_each_alone, "Each tensor lost its own share; the share is of all of them together."),
        (_threshold, "A threshold takes all that are equal to it; exactly round(share * n) go."),
        (_cut_off, "One weight too few goes: round the count, and do not cut it off."),
        (lambda t, s: ~_masks(t, s), "True means that a weight goes."),
        (lambda t, s: _masks([one + 9 for one in t], s), "The signs count; rank magnitudes."),
        (lambda t, s: _masks([-one.abs() + 99 for one in t], s), "The largest went."),
        (lambda t, s: _masks(t[::-1], s), "The tensors come in another order."),
        (_last_of_equals, "Among equal magnitudes the earlier goes; sort with stable=True."),
    ],
    ask=_joined,
)
