"""Cut a network's neurons by every criterion that fits it at one budget, with five seeds, for chapter 16.

Run from the root of the repository: python book/records/neuron_criteria.py [network] [seed ...]

Each seed trains a network, the start. From it every row loses the same share of every layer, so that all
rows have one shape; batch norms are measured anew, and all rows train for the same further epochs. Rows whose
criterion wants a start of its own (group lasso, slimming, weights pruned before) get one of as many epochs.
The control is a network of the small shape, trained from fresh weights for all epochs together; another row
trains the whole network on, and one is cut from a start whose rate was not tuned.

All rows are tuned alike: each trains at every rate of one grid with every seed, and a row whose best rate is
at an edge gets further rates until it is not. The best rate is the one with the least mean cross entropy on
validation. So is the rate of the starts found, and the strengths of the penalties by the digits that are read
right after half is cut, both with seed 0. The test split, and MNIST's where it is present, are read for the
record and choose nothing.

Finished runs stand in build/records, so an interrupted run goes on where it was. With seeds, only their runs
are made, so that processes can share the work. Without, the record is put together from all runs of the
networks asked, and holds the whole grid. The article's network takes an hour of one core, the residual two.
"""

import copy
import json
import math
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from judges import second_judge
from runs import WORK, Runs, beyond, tuned
from torch import nn

import compresslab as cl
from compresslab import criteria, data, models
from compresslab.errors import CompressionError
from compresslab.pruning import hold_zeros, of_the_rest
from compresslab.surgery import remeasure_norms
from compresslab.teaching import records
from compresslab.training import GroupLasso, Proximal, Slimming, read_out

RECORD = records.FOLDER / "neuron_criteria.json"
START = {"article": 8, "residual": 5}  # epochs before the cut
FURTHER = 3  # epochs after it
SEEDS = (0, 1, 2, 3, 4)
SHARES = {"article": (0.5, 0.75), "residual": (0.5,)}
GRID = (2e-3, 4e-3, 8e-3, 16e-3)
LOWEST = 5e-4  # a natural bound: further down the network is as it was before
UNTUNED = 2e-3  # the rate that ``train`` takes if none is given
SPARSE = {"optimizer": partial(torch.optim.SGD, momentum=0.9), "lr": 0.05, "keep_best": False}
LAST = {"article": "fc2", "residual": "fc1"}
PENALTIES: dict[str, tuple[Callable[[str, float], Proximal], tuple[float, ...]]] = {
    "group lasso": (lambda name, strength: GroupLasso(strength, protect=(LAST[name],)), (1e-4, 3e-4, 1e-3)),
    "slimming": (lambda name, strength: Slimming(strength), (0.1, 0.2, 0.4)),
}
LASSO, SCALES = "l2_norm after group lasso", "norm_scale after slimming"
PREPARED = {"article": (LASSO,), "residual": (LASSO, SCALES)}  # the article's network has no norms
OTHERS = ("from scratch", "taylor in rounds", "random")
SLOPES = ("mean_activation", "apoz", "activation_variance", "mean_gradient", "taylor", "taylor_weights")
NORMS = {"article": ("l1_norm", "l2_norm"), "residual": ("l1_norm", "l2_norm", "norm_scale")}
BEFORE = ("live_inputs after weight pruning", "taylor after an untuned start")

digits = data.digits()
Found = dict[str, Any]  # what is noted of one run


def learn(network: nn.Module, epochs: int, seed: int, lr: float, **more: Any) -> nn.Module:
    """Train in place and return the network; the order of the axes in memory is only for speed."""
    network = network.to(memory_format=torch.channels_last)
    cl.train(network, digits, epochs=epochs, seed=seed, **({"lr": lr, "progress": False} | more))
    return network


@cache
def start(name: str, seed: int, rate: float) -> nn.Module:
    return learn(models.build(name, seed=seed), START[name], seed, rate)


@cache
def penalised(name: str, seed: int, penalty: str, strength: float) -> nn.Module:
    """Train fresh weights with a penalty's proximal step."""
    step = PENALTIES[penalty][0](name, strength).after_step
    return learn(models.build(name, seed=seed), START[name], seed, after_step=step, **SPARSE)


@cache
def sparse(name: str, seed: int, rate: float) -> nn.Module:
    """Take nine weights of ten from a network, in as many epochs as the start has."""
    network = learn(models.build(name, seed=seed), START[name] - 2, seed, rate)
    network = cl.prune_weights(network, criteria.magnitude, 0.9)
    return learn(network, 2, seed, rate, after_step=hold_zeros(network))


def cut(network: nn.Module, criterion: criteria.Criterion, share: float) -> nn.Module:
    """Cut, and measure the norms anew, if there are any."""
    return remeasure_norms(cl.prune_neurons(network, criterion, share, batches=digits.train), digits.train)


def in_rounds(network: nn.Module, seed: int, share: float, rate: float) -> nn.Module:
    """Cut by Taylor in as many rounds as there are epochs, one epoch after each."""
    for part in of_the_rest([share * done / FURTHER for done in range(1, FURTHER + 1)]):
        network = learn(cut(network, criteria.taylor, part), 1, seed, rate)
    return network


def read(network: nn.Module, path: Path | None = None) -> Found:
    """Note the digits read right, and the loss that chooses; keep the network for the second judge."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network, path)
    found = {split: cl.evaluate(network, getattr(digits, split)).correct for split in ("validation", "test")}
    return found | {"loss": round(read_out(network, digits.validation, 500)[1], 5)}


def judged(path: Path) -> Found:
    """Note what the second judge reads right."""
    return {"right": cl.evaluate(torch.load(path, weights_only=False), second_judge()).correct}


class Comparison:
    """Make the runs of one network: the choices before the cut, and each row at each rate with each seed.

    A run's key is its share, row, seed and rate; a rate of 0 is the network before further training.
    """

    def __init__(self, name: str, seeds: tuple[int, ...] = SEEDS) -> None:
        self.name, self.seeds = name, seeds
        worker = "" if seeds == SEEDS else "_" + "_".join(map(str, seeds))
        self.runs = Runs(f"{RECORD.stem}_{name}", worker)
        self.rows = (*OTHERS, *SLOPES, *NORMS[name], *PREPARED[name], *BEFORE)
        self.places = [(0.0, "whole"), *((share, row) for share in SHARES[name] for row in self.rows)]
        self.rate, self.rates = tuned(self._loss_of_start, GRID[:3])
        self.strengths = {row.partition(" after ")[2]: self._strength(row) for row in PREPARED[name]}
        self.cut = cache(self._cut)

    def _loss_of_start(self, rate: float) -> float:
        made = self.runs.of((0.0, "start", 0, rate), lambda: read(start(self.name, 0, rate)))
        return made["loss"]

    def _strength(self, row: str) -> tuple[float, dict[float, float]]:
        """Choose a penalty's strength by the digits that are read right after half is cut."""
        scorer, _, penalty = row.partition(" after ")

        def missed(strength: float) -> float:
            def made() -> Found:
                network = penalised(self.name, 0, penalty, strength)
                return read(cut(network, getattr(criteria, scorer), 0.5))

            return -self.runs.of((0.0, penalty, 0, strength), made)["validation"]

        strengths = PENALTIES[penalty][1]
        return tuned(missed, strengths, factor=strengths[-1] / strengths[-2])

    def _cut(self, share: float, row: str, seed: int) -> nn.Module:
        """Return the cut network before any further training."""
        scorer, _, before = row.partition(" after ")
        if before in PENALTIES:
            network = penalised(self.name, seed, before, self.strengths[before][0])
        elif before == "weight pruning":
            network = sparse(self.name, seed, self.rate)
        else:
            network = start(self.name, seed, UNTUNED if before else self.rate)
        criterion = criteria.Random(seed) if scorer == "random" else getattr(criteria, scorer)
        return cut(network, criterion, share)

    def _trained(self, share: float, row: str, seed: int, rate: float) -> nn.Module:
        plain = partial(start, self.name, seed, self.rate)
        if row == "whole":
            return learn(copy.deepcopy(plain()), FURTHER, seed, rate) if rate else plain()
        if row == "taylor in rounds":
            return in_rounds(plain(), seed, share, rate)
        if row == "from scratch":
            shape = models.builder_of(self.cut(share, "random", seed))
            assert shape is not None
            return learn(models.build(*shape, seed=seed), START[self.name] + FURTHER, seed, rate)
        network = self.cut(share, row, seed)
        return learn(copy.deepcopy(network), FURTHER, seed, rate) if rate else network

    def _path(self, share: float, row: str, seed: int, rate: float) -> Path:
        return WORK / f"{RECORD.stem}_{self.name}" / f"{share:g} {row} {seed} {rate:g}.pt"

    def _run(self, *key: Any) -> Found:
        try:
            return read(self._trained(*key), self._path(*key))
        except CompressionError as error:  # the loss was not finite
            return {"validation": 0, "test": 0, "loss": None, "error": str(error)}

    def grid(self, share: float, row: str, seeds: tuple[int, ...] = SEEDS) -> list[float]:
        """Return the rates of the grid, and further ones that all seeds have tried."""
        known = {rate for at, name, _, rate in self.runs.found if (at, name) == (share, row) and rate}
        tried = {rate for rate in known if all((share, row, seed, rate) in self.runs.found for seed in seeds)}
        return sorted({*GRID, *tried})

    def losses(self, share: float, row: str, seeds: tuple[int, ...] = SEEDS) -> dict[float, float]:
        """Return the mean cross entropy on validation for each rate; a broken run is endless."""
        by_rate = {}
        for rate in self.grid(share, row, seeds):
            found = [self.runs.found[share, row, seed, rate]["loss"] for seed in seeds]
            by_rate[rate] = math.inf if None in found else sum(found) / len(found)
        return by_rate

    def make(self) -> None:
        """Make all runs, seed after seed; after each, the grids whose best is at an edge grow."""
        for count in range(1, len(self.seeds) + 1):
            self.runs.reread()
            todo = {place: self.grid(*place, self.seeds[:count]) for place in self.places}
            while todo:
                for (share, row), rates in todo.items():
                    before = () if row in ("from scratch", "taylor in rounds") else (0.0,)
                    for seed in self.seeds[:count]:
                        for rate in (*before, *rates):
                            self.runs.of((share, row, seed, rate), self._run, share, row, seed, rate)
                further = {place: beyond(self.losses(*place, self.seeds[:count])) for place in todo}
                todo = {place: [rate] for place, rate in further.items() if rate and rate >= LOWEST}

    def best(self, share: float, row: str) -> float:
        losses = self.losses(share, row)
        return min(losses, key=losses.__getitem__)

    def judge(self) -> None:
        """Let the second judge read what the rows came to at their best rates."""
        for share, row in self.places:
            rate = self.best(share, row)
            for seed in SEEDS:
                path = self._path(share, row, seed, rate)
                self.runs.of((share, f"mnist: {row}", seed, rate), judged, path)

    def record(self) -> dict[str, Any]:
        """Return everything that was tried, and what was chosen."""
        strengths = {
            penalty: {"chosen": chosen, "validation": {f"{s:g}": -missed for s, missed in tried.items()}}
            for penalty, (chosen, tried) in self.strengths.items()
        }
        shares = {
            f"{share:g}": {"rows": {"whole": self._row(0.0, "whole"), **self._rows_at(share)}}
            for share in SHARES[self.name]
        }
        loss = {f"{rate:g}": one for rate, one in self.rates.items()}
        return {"start": {"chosen": self.rate, "loss": loss}, "strengths": strengths, "shares": shares}

    def _rows_at(self, share: float) -> dict[str, Any]:
        return {row: self._row(share, row) for row in self.rows}

    def _row(self, share: float, row: str) -> dict[str, Any]:
        def counts(rate: float) -> dict[str, list]:
            runs = [self.runs.found[share, row, seed, rate] for seed in SEEDS]
            found = {split: [run[split] for run in runs] for split in ("validation", "test", "loss")}
            second = [self.runs.found.get((share, f"mnist: {row}", seed, rate)) for seed in SEEDS]
            return found | ({"mnist": [run["right"] for run in second if run]} if all(second) else {})

        return {
            "chosen": self.best(share, row),
            "before": counts(0.0) if (share, row, SEEDS[0], 0.0) in self.runs.found else None,
            "rates": {f"{rate:g}": counts(rate) for rate in self.grid(share, row)},
        }


def main(*asked: str) -> None:
    torch.set_num_threads(1)
    seeds = tuple(int(word) for word in asked if word.isdigit())
    networks = [word for word in asked if not word.isdigit()] or list(START)
    if seeds:
        for name in networks:
            Comparison(name, seeds).make()
        return
    sizes = {"validation": len(digits.validation), "test": len(digits.test), "seeds": SEEDS}
    record: dict[str, Any] = sizes | {"epochs": {"start": START, "further": FURTHER}, "lowest rate": LOWEST}
    record["networks"] = {}
    for name in networks:
        comparison = Comparison(name)
        comparison.make()
        if (images := second_judge()) is not None:
            record["mnist"] = len(images)
            comparison.judge()
        record["networks"][name] = comparison.record()
    RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
