"""Prune LeNet-300-100 and the article's network at equal budgets, against a dense control, for chapter 09.

Run from the root of the repository: python book/records/weight_pruning.py

Each seed trains a dense network, the start. From it every row gets the same further epochs: the control
trains on, the others prune in rounds along the cubic schedule with their zeros held, and train on to the end.
Rates are chosen with seed 0 by the loss on validation, once for the control and once for 95 % pruned.
Criteria and scopes are compared at the largest share that costs seed 0 at most one point on validation. The
test split is read for the record and chooses nothing.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn

import compresslab as cl
from compresslab import criteria, data, models
from compresslab.measuring import McNemar
from compresslab.pruning import cubic, hold_zeros, rewind
from compresslab.teaching import records
from compresslab.training import Accuracy, read_out, weights_of

RECORD = records.FOLDER / "weight_pruning.json"
SEEDS = (0, 1, 2)
RATES = (2e-3, 4e-3)
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
        self.starts = [self._start(seed) for seed in SEEDS]

    def _train(self, model: nn.Module, epochs: int, rate: float, seed: int) -> nn.Module:
        settings = {"lr": rate, "seed": seed, "progress": False, "after_step": hold_zeros(model)}
        cl.train(model, self.images, epochs=epochs, **settings)
        return model

    def _start(self, seed: int) -> nn.Module:
        return self._train(models.build(self.name, seed=seed), self.recipe.dense, 2e-3, seed)

    def control(self, rate: float, seed: int) -> nn.Module:
        """Train the dense network on."""
        return self._train(copy.deepcopy(self.starts[seed]), self.recipe.further, rate, seed)

    def pruned(
        self, share: float, rate: float, seed: int, criterion: criteria.Criterion = criteria.magnitude,
        per_layer: bool = False, rounds: bool = True,
    ) -> nn.Module:  # fmt: skip
        """Prune in rounds and train on after each, or at once and then train."""
        recipe, model = self.recipe, self.starts[seed]
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
    bench, rows, found, made = Experiment(name, images), {}, {}, {}

    def note(row: str, seed: int, model: nn.Module) -> None:
        rows.setdefault(row, {})[seed] = found[row, seed] = judged(model, images)
        made[row, seed] = model
        print(f"{name}, {row}, seed {seed}: {found[row, seed][0]}", flush=True)

    tried: dict[str, dict[float, float]] = {"control": {}, "95 %": {}}
    for rate in RATES:
        for row, model in (("control", bench.control(rate, 0)), ("95 %", bench.pruned(0.95, rate, 0))):
            tried[row][rate] = round(read_out(model, images.validation, 500)[1], 4)
    slow, fast = (min(losses, key=losses.__getitem__) for losses in tried.values())
    for seed in SEEDS:
        note("start", seed, bench.starts[seed])
        note("control", seed, bench.control(slow, seed))
    for share in SHARES:
        note(label(share), 0, bench.pruned(share, fast, 0))
    limit = found["control", 0][0]["validation"] - len(images.validation) // 100
    chosen = max(share for share in SHARES if found[label(share), 0][0]["validation"] >= limit)
    for seed in SEEDS[1:]:
        for share in sorted({0.9, 0.95, chosen}):
            note(label(share), seed, bench.pruned(share, fast, seed))
    for seed in SEEDS:
        for row, make in rivals(bench, chosen, fast, made[label(chosen), seed], seed).items():
            note(row, seed, make())
    return {
        "recipe": asdict(bench.recipe) | {"further": bench.recipe.further},
        "rates": {row: {f"{rate:g}": loss for rate, loss in losses.items()} for row, losses in tried.items()},
        "chosen rates": {"control": slow, "pruned": fast},
        "chosen share": chosen,
        "rows": {row: [counts for counts, _ in runs.values()] for row, runs in rows.items()},
        "against the control": against("control", [label(s) for s in sorted({0.9, 0.95, chosen})], found),
        "against the chosen": against(label(chosen), [row for row in rows if row in RIVALS], found),
    }


def label(share: float) -> str:
    return f"{100 * share:g} %"


def rivals(
    bench: Experiment, share: float, rate: float, zeros: nn.Module, seed: int
) -> dict[str, Callable[[], nn.Module]]:
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
        "rewound": lambda: bench.rewound(zeros, rate, seed, fresh=seed),
        "fresh weights": lambda: bench.rewound(zeros, rate, seed, fresh=100 + seed),
    }


def judged(model: nn.Module, images: data.ImageData) -> tuple[dict, Accuracy]:
    """Return counts for the record, and the single answers on test."""
    weights, test = weights_of(model).values(), cl.evaluate(model, images)
    counts = {
        "zeros": sum(int((weight == 0).sum()) for weight in weights),
        "validation": cl.evaluate(model, images.validation).correct,
        "test": test.correct,
    }
    return counts, test


def against(first: str, others: list[str], found: dict) -> dict[str, list[dict]]:
    """Test rows against a first one, each seed by itself."""

    def pair(row: str, seed: int) -> dict:
        one, other = (found[name, seed][1].hits for name in (first, row))
        test = McNemar(int((one & ~other).sum()), int((~one & other).sum()))
        return {"only_first": test.only_first, "only_second": test.only_second, "p": round(test.p_value, 4)}

    return {row: [pair(row, seed) for seed in SEEDS] for row in others if row != first}


def main() -> None:
    torch.set_num_threads(1)
    digits = data.digits()
    totals = {"validation": len(digits.validation), "test": len(digits.test), "seeds": SEEDS}
    record = totals | {"networks": {name: run(name, digits) for name in RECIPES}}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
