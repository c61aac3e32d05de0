"""Prune LeNet-300-100 and the article's network at equal budgets, against a dense control, for chapter 09.

Run from the root of the repository: python book/records/weight_pruning.py

Each seed trains a dense network, the start. From it every row gets the same further epochs: the control
trains on, the others prune in rounds along the cubic schedule with their zeros held, and train on to the end.
Every row chooses its own rate with seed 0 by the loss on validation, over a grid that grows until the best is
inside it. In LeNet-300-100 criteria and scopes are compared at the largest share that costs seed 0 at most
one point on validation. The test split, and MNIST's own, are read for the record and choose nothing. Finished
runs stand in build/records, so an interrupted run goes on. An hour of one core.
"""

import copy
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import torch
from judges import right
from runs import Runs, tuned
from torch import nn

import compresslab as cl
from compresslab import criteria, data, models
from compresslab.pruning import cubic, hold_zeros, rewind
from compresslab.teaching import records
from compresslab.training import read_out, weights_of

RECORD = records.FOLDER / "weight_pruning.json"
SEEDS = (0, 1, 2, 3, 4)
RATES = (1e-3, 2e-3, 4e-3, 8e-3)
SHARES = (0.9, 0.95, 0.97, 0.98, 0.99)
STARTED = 2e-3  # the rate of the start, which all rows share

Make = Callable[[int, float], nn.Module]  # trains a row's network with a seed at a rate


@dataclass(frozen=True)
class Recipe:
    """Say how many epochs (passes over the training split) each part of the way takes.

    Args:
        dense: of the start, from fresh weights.
        rounds: rounds of pruning.
        each: after every round but the last.
        after: after the last round.
    """

    dense: int
    rounds: int
    each: int
    after: int

    @property
    def further(self) -> int:
        """Epochs after the start, the same for every row."""
        return (self.rounds - 1) * self.each + self.after


RECIPES = {"lenet_300_100": Recipe(30, 6, 2, 20), "article": Recipe(8, 5, 1, 4)}


class Experiment:
    """Run the rows of one network, each from the start of its seed."""

    def __init__(self, name: str, images: data.ImageData) -> None:
        self.name, self.images, self.recipe = name, images, RECIPES[name]
        self.start, self.pruned = cache(self._start), cache(self._pruned)

    def _train(self, model: nn.Module, epochs: int, rate: float, seed: int) -> nn.Module:
        settings = {"lr": rate, "seed": seed, "progress": False, "after_step": hold_zeros(model)}
        cl.train(model, self.images, epochs=epochs, **settings)
        return model

    def _start(self, seed: int) -> nn.Module:
        return self._train(models.build(self.name, seed=seed), self.recipe.dense, STARTED, seed)

    def control(self, seed: int, rate: float) -> nn.Module:
        """Train the dense network on."""
        return self._train(copy.deepcopy(self.start(seed)), self.recipe.further, rate, seed)

    def _pruned(
        self, share: float, seed: int, rate: float, criterion: criteria.Criterion = criteria.magnitude,
        per_layer: bool = False, rounds: bool = True,
    ) -> nn.Module:  # fmt: skip
        """Prune in rounds and train on after each, or at once and then train."""
        recipe, model = self.recipe, self.start(seed)
        steps = [(level, recipe.each) for level in cubic(share, recipe.rounds)]
        steps[-1] = (share, recipe.after)
        for level, epochs in steps if rounds else [(share, recipe.further)]:
            scored = {"batches": self.images.train, "per_layer": per_layer}
            model = cl.prune_weights(model, criterion, level, **scored)
            self._train(model, epochs, rate, seed)
        return model

    def rewound(self, zeros: nn.Module, seed: int, rate: float, fresh: int) -> nn.Module:
        """Give untrained weights, those of the start or others, the zeros that were found, and train."""
        model = rewind(zeros, models.build(self.name, seed=fresh))
        return self._train(model, self.recipe.further, rate, seed)

    def rivals(self, share: float, found: float) -> dict[str, Make]:
        """Say what is held against global magnitude in rounds, which found its zeros at one rate."""

        def again(first: int) -> Make:
            return lambda seed, rate: self.rewound(self.pruned(share, seed, found), seed, rate, first + seed)

        if self.name == "article":  # a row of it takes five times as long
            return {}
        return {
            "per layer": partial(self.pruned, share, per_layer=True),
            "random": lambda seed, rate: self.pruned(share, seed, rate, criteria.Random(seed)),
            "gradient": partial(self.pruned, share, criterion=criteria.gradient),
            "activation": partial(self.pruned, share, criterion=criteria.activation),
            "at once": partial(self.pruned, share, rounds=False),
            "rewound": again(0),
            "fresh weights": again(100),
        }


def run(name: str, images: data.ImageData) -> dict[str, Any]:
    """Return the record of one network."""
    bench, runs = Experiment(name, images), Runs(f"{RECORD.stem}_{name}")
    rows: dict[str, list[dict]] = {}
    chosen: dict[str, float] = {}
    rates: dict[str, dict[str, float]] = {}

    def note(row: str, make: Make, seeds: Iterable[int] = SEEDS) -> list[dict]:
        """Choose the row's rate with seed 0, and note what all its seeds come to."""

        def found(seed: int, rate: float) -> dict:
            return runs.of((row, seed, rate), lambda: judged(make(seed, rate), images))

        if row not in chosen:
            chosen[row], tried = tuned(lambda rate: found(0, rate)["loss"], RATES)
            rates[row] = {f"{rate:g}": one for rate, one in tried.items()}
        rows[row] = [found(seed, chosen[row]) for seed in seeds]
        return rows[row]

    def started(seed: int) -> dict:
        return judged(bench.start(seed), images)

    rows["start"] = [runs.of(("start", seed, STARTED), started, seed) for seed in SEEDS]
    limit = note("control", bench.control)[0]["validation"] - len(images.validation) // 100
    first = {share: note(label(share), partial(bench.pruned, share), (0,))[0] for share in SHARES}
    share = max(share for share, found in first.items() if found["validation"] >= limit)
    rivals = bench.rivals(share, chosen[label(share)])
    for further in sorted({0.9, 0.95} | ({share} if rivals else set[float]())):
        note(label(further), partial(bench.pruned, further))
    for row, make in rivals.items():
        note(row, make)
    return {
        "recipe": asdict(bench.recipe) | {"further": bench.recipe.further},
        "rates": rates,
        "chosen rates": chosen,
        "chosen share": share,
        "rows": rows,
    }


def label(share: float) -> str:
    return f"{100 * share:g} %"


def judged(model: nn.Module, images: data.ImageData) -> dict[str, Any]:
    """Return what the record notes of a network; the loss on validation chooses."""
    return {
        "zeros": sum(int((weight == 0).sum()) for weight in weights_of(model).values()),
        "loss": round(read_out(model, images.validation, 500)[1], 4),
    } | right(model, images)


def main() -> None:
    torch.set_num_threads(1)
    digits = data.digits()
    totals = {"validation": len(digits.validation), "test": len(digits.test), "seeds": SEEDS}
    record = totals | {"networks": {name: run(name, digits) for name in RECIPES}}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
