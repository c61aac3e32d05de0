"""The functions that chapters 10 and 11 ask for: a proximal step of two prices, and N of M."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from compresslab.exercises.task import EIGHT, Task, random
from compresslab.teaching.checkpoints import load

# 10-3: the lowest place of half a squared distance and two prices

_PRICES = ((0.2, 0.0), (0.0, 0.5), (0.1, 0.3), (2.0, 1.0), (0.3, 2.0))


def _cost(places: Tensor, weight: float, a: float, b: float) -> Tensor:
    return (places - weight) ** 2 / 2 + a * places.abs() + b * places**2 / 2


COST = Task(
    _cost,
    lambda: [(torch.linspace(-1, 1, 9), weight, a, b) for weight in (0.42, -0.9) for a, b in _PRICES],
    "Three summands, and a half in two of them.",
    [
        (lambda x, w, a, b: _cost(x, w, a, b) + (x - w) ** 2 / 2, "The square of the distance is halved."),
        (lambda x, w, a, b: _cost(x, w, a, 2 * b), "The second price is halved, too: b times x squared / 2."),
        (lambda x, w, a, b: _cost(x, w, a, b) - a * x.abs() + a * x, "L1 charges the size of x, not x."),
        (lambda x, w, a, b: _cost(x, w, 0, b), "The price of L1 is missing."),
        (lambda x, w, a, b: _cost(x, w, a, 0), "The price of L2 is missing."),
        (
            lambda x, w, a, b: (x - w) ** 2 / 2 + a * abs(w) + b * w**2 / 2,
            "The prices are due at the place x, not at the weight w.",
        ),
        (lambda x, w, a, b: _cost(x, w, a, b).min(), "A cost for each place is asked, not the lowest alone."),
    ],
    within=1e-5,
)


def _slope(places: Tensor, weight: float, a: float, b: float) -> Tensor:
    return places - weight + a * places.sign() + b * places


SLOPE = Task(
    _slope,
    lambda: [
        (torch.tensor([-1.0, -0.25, 0.25, 1.0]), weight, a, b) for weight in (0.42, -0.9) for a, b in _PRICES
    ],
    "Derive one summand after the other.",
    [
        (lambda x, w, a, b: x - w + a + b * x, "To the left of zero the size of x falls as x grows."),
        (lambda x, w, a, b: _slope(x, w, 0, b), "The slope of L1 is missing."),
        (lambda x, w, a, b: _slope(x, w, a, 0), "The slope of L2 is missing."),
        (lambda x, w, a, b: _slope(x, w, a, b / 2), "Of b times x squared / 2 the slope is b times x."),
        (lambda x, w, a, b: _slope(x, w, a, 2 * b), "The half of b times x squared / 2 is missing."),
        (
            lambda x, w, a, b: _slope(x, w, a, b) + 2 * (w - x),
            "The distance is x minus w, not w minus x: look at the sign of its slope.",
        ),
        (lambda x, w, a, b: _slope(x, w, a, b) + x - w, "The half of the squared distance is missing."),
    ],
    within=1e-5,
)


def _elastic(weights: Tensor, a: float, b: float) -> Tensor:
    return weights.sign() * (weights.abs() - a).clamp(min=0) / (1 + b)


ELASTIC = Task(
    _elastic,
    lambda: [(torch.tensor(EIGHT), a, b) for a, b in _PRICES] + [(random(30), 0.5, 0.25)],
    "Set the slope to zero on each side, and see whether the place lies on that side.",
    [
        (lambda w, a, b: _elastic(w, a, 0), "The price of L2 is missing: it divides."),
        (lambda w, a, b: _elastic(w, 0, b), "The price of L1 is missing: it makes the zeros."),
        (lambda w, a, b: (w - a * w.sign()) / (1 + b), "What would cross zero stays there."),
        (lambda w, a, b: (w - a).clamp(min=0) / (1 + b), "Weights below zero have a place on their side."),
        (lambda w, a, b: _elastic(w / (1 + b), a, 0), "L2 divides what L1 has left, so a is divided, too."),
        (lambda w, a, b: _elastic(w, a, 2 * b), "The price of L2 is b times x squared, halved."),
        (lambda w, a, b: _elastic(w, a, b).abs(), "The signs are lost."),
        (lambda w, a, b: w * (w.abs() > a) / (1 + b), "What survives is moved by a, too."),
    ],
    within=1e-4,
)

# 11-3: the largest of every few neighbours


def _groups(rows: Tensor, of: int) -> Tensor:
    return functional.pad(rows, (0, -rows.shape[1] % of)).unflatten(1, (-1, of))


def _pieces(rows: Tensor, of: int) -> Tensor:
    whole = functional.pad(rows, (0, -rows.shape[1] % of))
    return whole.reshape(-1, len(rows), of).transpose(0, 1)


GROUPS = Task(
    _groups,
    lambda: [(random(2, 8), 4), (random(3, 6, seed=1), 4), (random(2, 9, seed=2), 8), (random(1, 3), 1)],
    "Fill up at the end of each row; the shape is rows, groups of a row, of.",
    [
        (
            lambda r, of: functional.pad(r, (0, of - r.shape[1] % of)).unflatten(1, (-1, of)),
            "A row that `of` divides needs no filling up.",
        ),
        (lambda r, of: r[:, : r.shape[1] // of * of].unflatten(1, (-1, of)), "The short last group is lost."),
        (
            lambda r, of: functional.pad(r, (-r.shape[1] % of, 0)).unflatten(1, (-1, of)),
            "The zeros stand at the end of a row, not in front.",
        ),
        (
            lambda r, of: _groups(r, of).flatten(1).unflatten(1, (of, -1)).transpose(1, 2),
            "A group holds neighbours, not every so many weights.",
        ),
        (lambda r, of: _groups(r, of).abs(), "The signs are still needed."),
        (lambda r, of: _pieces(r, of), "Each row has groups of its own; these go across."),
        (
            lambda r, of: functional.pad(r, (0, -r.shape[1] % of), value=1.0).unflatten(1, (-1, of)),
            "Fill up with zeros: they are the first to go.",
        ),
    ],
)


def _mask(groups: Tensor, keep: int) -> Tensor:
    order = groups.abs().argsort(dim=-1, stable=True)[..., groups.shape[-1] - keep :]
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order, True)


def _later_goes(groups: Tensor, keep: int) -> Tensor:
    return _mask(groups.flip(-1), keep).flip(-1)


def _all_equals(groups: Tensor, keep: int) -> Tensor:
    sizes = groups.abs()
    return sizes >= sizes.sort(-1, descending=True).values[..., keep - 1 : keep]


_EQUAL = ((1.0, -1.0, 1.0, -1.0), (2.0, 1.0, -2.0, 2.0), (3.0, -4.0, 0.0, 0.0))

MASK = Task(
    _mask,
    lambda: [(random(2, 3, 4), 2), (torch.tensor([_EQUAL]), 2), (torch.tensor([_EQUAL]), 1)],
    "Sort the magnitudes of a group, and mark the last `keep` places of the order.",
    [
        (_later_goes, "Among equal magnitudes the earlier goes, so the later stays."),
        (_all_equals, "A threshold keeps all that are equal to it; exactly `keep` stay."),
        (lambda g, k: _mask(g + 9, k), "The signs count; compare magnitudes."),
        (lambda g, k: ~_mask(g, k), "True means that a weight stays."),
        (lambda g, k: _mask(-1 / (g.abs() + 1), k), "The smallest stayed."),
        (lambda g, k: _mask(g, g.shape[-1] - k), "That many go; `keep` of them stay."),
        (lambda g, k: _mask(g.flatten(1), k).view(g.shape), "Each group keeps its own."),
    ],
)


def _kept(rows: Tensor, keep: int, of: int, mask: Callable = _mask, groups: Callable = _groups) -> Tensor:
    found = groups(rows, of)
    return (found * mask(found, keep)).flatten(1)[:, : rows.shape[1]]


def _shortened(rows: Tensor, keep: int, of: int) -> Tensor:
    whole = rows.shape[1] // of * of
    rest = rows[:, whole:]
    part = min(rest.shape[1], round(keep * rest.shape[1] / of))
    return torch.cat([_kept(rows[:, :whole], keep, of), rest * _mask(rest, part)], 1)


def _across(rows: Tensor, keep: int, of: int) -> Tensor:
    return _kept(rows.reshape(1, -1), keep, of).reshape(rows.shape)


def _untouched_end(rows: Tensor, keep: int, of: int) -> Tensor:
    whole = rows.shape[1] // of * of
    return torch.cat([_kept(rows[:, :whole], keep, of), rows[:, whole:]], 1)


_TIES = (1.0, -1.0, 1.0, -1.0, 1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0)

KEPT = Task(
    _kept,
    lambda: [
        (random(6, 9), 2, 4),
        (torch.tensor([_TIES]), 2, 4),
        (torch.tensor([_TIES]), 1, 8),
        (load("article").get_parameter("conv1.weight").detach().flatten(1), 2, 4),
    ],
    "Fill the row up, and view it as groups.",
    [
        (lambda r, k, of: _kept(r, k, of, _later_goes), "Among equal magnitudes the earlier goes."),
        (
            lambda r, k, of: _kept(r, k, of, _all_equals),
            "A threshold keeps all that are equal to it; at most `keep` stay.",
        ),
        (lambda r, k, of: _kept(r, k, of, lambda g, k: _mask(g + 9, k)), "Compare magnitudes."),
        (_across, "A group ends with its row; these go on into the next."),
        (_untouched_end, "The short last group keeps at most `keep`, too."),
        (_shortened, "The short last group may keep `keep`, not a part of it."),
        (lambda r, k, of: _kept(r, of - k, of), "`keep` stay; here they went."),
        (lambda r, k, of: r - _kept(r, k, of), "The others were asked: the largest stay."),
        (lambda r, k, of: _kept(r.T, k, of).T, "The neighbours stand in a row, not in a column."),
        (lambda r, k, of: _kept(r, k, of) != 0, "Those are marks; give the weights themselves."),
    ],
)
