"""Prune LeNet-300-100 and the article's network at equal budgets, against a dense control, for chapter 09.

Run from the root of the repository: python book/records/weight_pruning.py

Each seed trains a dense network, the start. From it every row gets the same further epochs: the control
trains on, the others prune in rounds along the cubic schedule with their zeros held, and train on to the end.
Rates are chosen with seed 0 by the loss on validation, once for the control and once for 95 % pruned, over a
grid that grows until the best is inside it; all pruned rows share the latter. Criteria and scopes are
compared at the largest share that costs seed 0 at most one point on validation. The test split is read for
the record and chooses nothing. Finished runs stand in build/records, so an interrupted run goes on.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from runs import Runs, tuned
from torch import nn

import compresslab as cl
from compresslab import criteria, data, models
from compresslab.pruning import cubic, hold_zeros, rewind
from compresslab.teaching import records
from compresslab.training import read_out, weights_of

RECORD = records.FOLDER / "weight_pruning.json"
SEEDS = (0, 1, 2)
RATES = (1e-3, 2e-3, 4e-3, 8e-3)
SHARES = (0.9, 0.95, 0.97, 0.98, 0.99)
RIVALS = ("per layer", "random", "gradient", "activation", "at once", "rewound", "fresh weights")


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
        return self._train(models.build(self.name, seed=seed), self.recipe.dense, 2e-3, seed)

    def control(self, rate: float, seed: int) -> nn.Module:
        """Train the dense network on."""
        return self._train(copy.deepcopy(self.start(seed)), self.recipe.further, rate, seed)

    def _pruned(
        self, share: float, rate: float, seed: int, criterion: criteria.Criterion = criteria.magnitude,
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

    def rewound(self, zeros: nn.Module, rate: float, seed: int, fresh: int) -> nn.Module:
        """Give untrained weights, those of the start or others, the zeros that were found, and train."""
        model = rewind(zeros, models.build(self.name, seed=fresh))
        return self._train(model, self.recipe.further, rate, seed)


def run(name: str, images: data.ImageData) -> dict:
    """Return the record of one network."""
    bench, runs = Experiment(name, images), Runs(f"{RECORD.stem}_{name}")
    rows: dict[str, list[dict]] = {}

    def note(row: str, seed: int, make: Callable[..., nn.Module], *asked: Any) -> dict:
        found = runs.of((row, seed), lambda: judged(make(*asked), images))
        rows.setdefault(row, []).append(found)
        return found

    def loss(row: str, make: Callable[..., nn.Module], *asked: Any) -> float:
        return runs.of((row, asked[-2]), lambda: round(read_out(make(*asked), images.validation, 500)[1], 4))

    slow, of_control = tuned(lambda rate: loss("rate of the control", bench.control, rate, 0), RATES)
    fast, of_pruned = tuned(lambda rate: loss("rate of 95 %", bench.pruned, 0.95, rate, 0), RATES)
    for seed in SEEDS:
        note("start", seed, bench.start, seed)
        note("control", seed, bench.control, slow, seed)
    first = {share: note(label(share), 0, bench.pruned, share, fast, 0) for share in SHARES}
    limit = rows["control"][0]["validation"] - len(images.validation) // 100
    chosen = max(share for share, found in first.items() if found["validation"] >= limit)
    for seed in SEEDS[1:]:
        for share in sorted({0.9, 0.95, chosen}):
            note(label(share), seed, bench.pruned, share, fast, seed)
    for seed in SEEDS:
        for row, make in rivals(bench, chosen, fast, seed).items():
            note(row, seed, make)
    tried = {"control": of_control, "95 %": of_pruned}
    return {
        "recipe": asdict(bench.recipe) | {"further": bench.recipe.further},
        "rates": {row: {f"{rate:g}": loss for rate, loss in losses.items()} for row, losses in tried.items()},
        "chosen rates": {"control": slow, "pruned": fast},
        "chosen share": chosen,
        "rows": rows,
    }


def label(share: float) -> str:
    return f"{100 * share:g} %"


def rivals(bench: Experiment, share: float, rate: float, seed: int) -> dict[str, Callable[[], nn.Module]]:
    """Say what is held against global magnitude in rounds, at the chosen share."""
    both = {
        "per layer": lambda: bench.pruned(share, rate, seed, per_layer=True),
        "random": lambda: bench.pruned(share, rate, seed, criteria.Random(seed)),
    }
    if bench.name == "article":  # a row of it takes five times as long
        return both
    return both | {
        "gradient": lambda: bench.pruned(share, rate, seed, criteria.gradient),
        "activation": lambda: bench.pruned(share, rate, seed, criteria.activation),
        "at once": lambda: bench.pruned(share, rate, seed, rounds=False),
        "rewound": lambda: bench.rewound(bench.pruned(share, rate, seed), rate, seed, fresh=seed),
        "fresh weights": lambda: bench.rewound(bench.pruned(share, rate, seed), rate, seed, fresh=100 + seed),
    }


def judged(model: nn.Module, images: data.ImageData) -> dict[str, int]:
    """Return counts for the record."""
    return {
        "zeros": sum(int((weight == 0).sum()) for weight in weights_of(model).values()),
        "validation": cl.evaluate(model, images.validation).correct,
        "test": cl.evaluate(model, images).correct,
    }


def main() -> None:
    torch.set_num_threads(1)
    digits = data.digits()
    totals = {"validation": len(digits.validation), "test": len(digits.test), "seeds": SEEDS}
    record = totals | {"networks": {name: run(name, digits) for name in RECIPES}}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
