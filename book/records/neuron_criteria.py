"""Cut the neurons of two networks by every criterion at one budget, with five seeds, for chapter 16.

Run from the root of the repository: python book/records/neuron_criteria.py [network [seed ...]]

Each seed trains a network, the start. From it every row loses the same share of every layer, so that all
rows have one shape; batch norms are measured anew, and all rows train for the same further epochs. Rows whose
criterion wants a start of its own (group lasso, slimming, weights pruned before) get one of as many epochs.
The control is a network of the small shape, trained from fresh weights for all epochs together; another row
trains the whole network on.

All rows are tuned alike: each trains at every rate of one grid with every seed, and a row whose best rate is
at an edge gets further rates until it is not. The best rate is the one with the least mean cross entropy on
validation. So is the rate of the starts found, and the strengths of the penalties by the digits that are read
right after half is cut, both with seed 0. The test split, and MNIST's where it is present,
are read for the record and choose nothing.

Every finished run is a line of a work file in build/records, so an interrupted run goes on where it was. With
a network, and seeds of it, only these runs are made, so that processes can share the work; without, the record
is put together from all runs. It holds the whole grid.
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
from torch import nn

import compresslab as cl
from compresslab import criteria, data, models
from compresslab.errors import CompressionError, DataError
from compresslab.pruning import hold_zeros, of_the_rest
from compresslab.surgery import remeasure_norms
from compresslab.teaching import records
from compresslab.training import GroupLasso, Proximal, Slimming, read_out

RECORD = records.FOLDER / "neuron_criteria.json"
WORK = Path("build/records")
START = {"article": 8, "residual": 5}  # epochs before the cut
FURTHER = 3  # epochs after it
SEEDS = (0, 1, 2, 3, 4)
SHARES = {"article": (0.5, 0.75), "residual": (0.5,)}
GRID = (2e-3, 4e-3, 8e-3, 16e-3)
LOWEST = 5e-4  # a natural bound: further down the network is as it was before
SPARSE = {"optimizer": partial(torch.optim.SGD, momentum=0.9), "lr": 0.05, "keep_best": False}
LAST = {"article": "fc2", "residual": "fc1"}
PENALTIES: dict[str, tuple[Callable[[str, float], Proximal], tuple[float, ...]]] = {
    "group lasso": (lambda name, strength: GroupLasso(strength, protect=(LAST[name],)), (1e-4, 3e-4, 1e-3)),
    "slimming": (lambda name, strength: Slimming(strength), (0.1, 0.2, 0.4)),
}
SLOPES = ("mean_activation", "apoz", "activation_variance", "mean_gradient", "taylor", "taylor_weights")
NORMS = {"article": ("l1_norm", "l2_norm"), "residual": ("l1_norm", "l2_norm", "norm_scale")}

digits = data.digits()
Found = dict[str, Any]  # what is noted of one run


class Runs:
    """Keep what every run of one network found, in a file of one line each; a run that stands is not repeated."""

    def __init__(self, name: str, worker: str = "") -> None:
        self.name, self.file, self.found = name, WORK / f"neuron_criteria_{name}{worker}.jsonl", {}
        WORK.mkdir(parents=True, exist_ok=True)
        self.reread()

    def reread(self) -> None:
        """Take in what other processes have found meanwhile."""
        for file in sorted(WORK.glob(f"neuron_criteria_{self.name}*.jsonl")):
            for line in file.read_text(encoding="utf-8").splitlines():
                key, found = json.loads(line)
                self.found[tuple(key)] = found

    def of(self, share: float, row: str, seed: int, rate: float, make: Callable[[], Found]) -> Found:
        """Return what a run found, and make it if it was not made."""
        key = (share, row, seed, rate)
        if key not in self.found:
            self.found[key] = make()
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, self.found[key]]) + "\n")
            print(self.name, *key, self.found[key], flush=True)
        return self.found[key]

    def grid(self, share: float, row: str) -> tuple[float, ...]:
        """Return the rates that any seed has tried at a row, from low to high."""
        return tuple(sorted({r for s, name, _, r in self.found if (s, name) == (share, row) and r}))

    def losses(self, share: float, row: str, seeds: tuple[int, ...]) -> dict[float, float]:
        """Return the mean cross entropy on validation for each rate; a run that broke off has none."""

        def mean(rate: float) -> float:
            found = [self.found[share, row, seed, rate]["loss"] for seed in seeds]
            return math.inf if None in found else sum(found) / len(found)

        tried = [r for r in self.grid(share, row) if all((share, row, s, r) in self.found for s in seeds)]
        return {rate: mean(rate) for rate in tried}


def inside(losses: dict[float, float], factor: float = 2) -> tuple[float, float | None]:
    """Return the place of the least value, and the next place to try if it is at an edge."""
    best = min(losses, key=losses.__getitem__)
    edges = {min(losses): best / factor, max(losses): best * factor}
    return best, edges.get(best)


@cache
def second_judge() -> data.Split | None:
    """Return MNIST's own test images, where they are present."""
    try:
        return data.mnist().test
    except DataError:
        return None


def read(network: nn.Module, weights: Path | None = None) -> Found:
    """Note how many digits are read right, and the loss that chooses; keep the weights for the second judge."""
    found = {split: cl.evaluate(network, getattr(digits, split)).correct for split in ("validation", "test")}
    if weights is not None:
        weights.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network, weights)
    return found | {"loss": round(read_out(network, digits.validation, 500)[1], 5)}


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


class Comparison:
    """Make the runs of one network: the choices before the cut, and each row at each rate with each seed."""

    def __init__(self, name: str, seeds: tuple[int, ...]) -> None:
        self.name, self.seeds = name, seeds
        self.runs = Runs(name, "" if seeds == SEEDS else "_" + "_".join(map(str, seeds)))
        self.rate = self._rate_of_the_start()
        self.strengths = {
            penalty: self._strength(penalty, scorer)
            for penalty, scorer in (("group lasso", criteria.l2_norm), ("slimming", criteria.norm_scale))
            if penalty != "slimming" or name == "residual"  # the other has no norms
        }
        self._cut = cache(self._cut_by)

    def _rate_of_the_start(self) -> float:
        following, rates = None, list(GRID[:3])
        while rates:
            for rate in rates:
                self.runs.of(0.0, "start", 0, rate, lambda: read(start(self.name, 0, rate)))
            best, following = inside(self.runs.losses(0.0, "start", (0,)))
            rates = [following] if following else []
        return best

    def _strength(self, penalty: str, scorer: criteria.Criterion) -> float:
        """Choose a penalty's strength by the digits that are read right after half is cut."""
        right: dict[float, float] = {}
        strengths = list(PENALTIES[penalty][1])
        factor = strengths[-1] / strengths[-2]
        while strengths:
            for strength in strengths:
                found = self.runs.of(
                    0.0,
                    penalty,
                    0,
                    strength,
                    lambda: read(cut(penalised(self.name, 0, penalty, strength), scorer, 0.5)),
                )
                right[strength] = -found["validation"]
            best, following = inside(right, factor)
            strengths = [float(f"{following:.1g}")] if following else []
        return best

    def _cut_by(self, seed: int, share: float, row: str) -> nn.Module:
        """Return the cut network before any further training."""
        scorer, _, before = row.partition(" after ")
        if before in PENALTIES:
            network = penalised(self.name, seed, before, self.strengths[before])
        elif before:
            network = sparse(self.name, seed, self.rate)
        else:
            network = start(self.name, seed, self.rate)
        criterion = criteria.Random(seed) if scorer == "random" else getattr(criteria, scorer)
        return cut(network, criterion, share)

    def rows(self) -> tuple[str, ...]:
        prepared = ["l2_norm after group lasso"]
        prepared += ["norm_scale after slimming"] if "slimming" in self.strengths else []
        own = ("random", *SLOPES, *NORMS[self.name], *prepared, "live_inputs after weight pruning")
        return ("from scratch", "taylor in rounds", *own)

    def _trained(self, share: float, row: str, seed: int, rate: float) -> nn.Module:
        if row == "whole":
            return learn(copy.deepcopy(start(self.name, seed, self.rate)), FURTHER, seed, rate)
        if row == "taylor in rounds":
            return in_rounds(start(self.name, seed, self.rate), seed, share, rate)
        if row == "from scratch":
            shape = models.builder_of(self._cut(seed, share, "random"))
            assert shape is not None
            fresh = models.build(*shape, seed=seed)
            return learn(fresh, START[self.name] + FURTHER, seed, rate)
        return learn(copy.deepcopy(self._cut(seed, share, row)), FURTHER, seed, rate)

    def weights(self, share: float, row: str, seed: int, rate: float) -> Path:
        return WORK / f"neuron_criteria_{self.name}" / f"{share:g} {row} {seed} {rate:g}.pt"

    def _run(self, share: float, row: str, seed: int, rate: float) -> Found:
        """Make one run; a rate of 0 reads the network before its further training."""
        weights = self.weights(share, row, seed, rate)
        if not rate:
            whole = row == "whole"
            return read(start(self.name, seed, self.rate) if whole else self._cut(seed, share, row), weights)
        try:
            return read(self._trained(share, row, seed, rate), weights)
        except CompressionError as error:  # the loss was not finite
            return {"validation": 0, "test": 0, "loss": None, "error": str(error)}

    def places(self) -> list[tuple[float, str]]:
        return [(0.0, "whole"), *((share, row) for share in SHARES[self.name] for row in self.rows())]

    def make(self) -> None:
        """Make all runs, seed after seed; after each, the grids whose best is at an edge grow."""
        for count in range(1, len(self.seeds) + 1):
            self.runs.reread()
            todo = {place: set(GRID) | set(self.runs.grid(*place)) for place in self.places()}
            while todo:
                for (share, row), rates in todo.items():
                    before = () if row in ("from scratch", "taylor in rounds") else (0.0,)
                    for seed in self.seeds[:count]:
                        for rate in (*before, *sorted(rates)):
                            self.runs.of(share, row, seed, rate, lambda: self._run(share, row, seed, rate))
                edges = {place: inside(self.runs.losses(*place, self.seeds[:count]))[1] for place in todo}
                todo = {place: {edge} for place, edge in edges.items() if edge and edge >= LOWEST}

    def judge(self) -> None:
        """Let the second judge read what each row came to at its best rate, and before."""
        images = second_judge()
        for share, row in self.places() if images is not None else ():
            best = inside(self.runs.losses(share, row, SEEDS))[0]
            for seed in SEEDS:
                for rate in (0.0, best):
                    weights = self.weights(share, row, seed, rate)
                    if weights.exists():

                        def judged() -> Found:
                            network = torch.load(weights, weights_only=False)
                            return {"right": cl.evaluate(network, images).correct, "loss": None}

                        self.runs.of(share, f"mnist: {row}", seed, rate, judged)

    def record(self) -> dict[str, Any]:
        """Return everything that was tried, and what was chosen."""
        tried = self.runs.losses(0.0, "start", (0,))
        strengths = {
            penalty: {
                "chosen": chosen,
                "validation": {f"{s:g}": self._noted(0.0, penalty, 0, s)["validation"] for s in self._tried(penalty)},
            }
            for penalty, chosen in self.strengths.items()
        }
        return {
            "start": {"chosen": self.rate, "loss": {f"{r:g}": round(loss, 5) for r, loss in tried.items()}},
            "strengths": strengths,
            "shares": {
                f"{share:g}": {"rows": {row: self._row(*self._place(share, row)) for row in ("whole", *self.rows())}}
                for share in SHARES[self.name]
            },
        }

    def _place(self, share: float, row: str) -> tuple[float, str]:
        return (0.0 if row == "whole" else share), row

    def _tried(self, penalty: str) -> tuple[float, ...]:
        return self.runs.grid(0.0, penalty)

    def _noted(self, share: float, row: str, seed: int, rate: float) -> Found:
        return self.runs.found[share, row, seed, rate]

    def _row(self, share: float, row: str) -> dict[str, Any]:
        losses = self.runs.losses(share, row, SEEDS)

        def counts(rate: float) -> dict[str, list]:
            runs = [self._noted(share, row, seed, rate) for seed in SEEDS]
            found = {split: [run[split] for run in runs] for split in ("validation", "test", "loss")}
            judged = [self.runs.found.get((share, f"mnist: {row}", seed, rate)) for seed in SEEDS]
            return found | ({"mnist": [run["right"] for run in judged if run]} if all(judged) else {})

        return {
            "chosen": inside(losses)[0],
            "before": counts(0.0) if (share, row, 0, 0.0) in self.runs.found else None,
            "rates": {f"{rate:g}": counts(rate) for rate in losses},
        }


def main(name: str | None = None, *seeds: str) -> None:
    torch.set_num_threads(1)
    if name is not None:
        Comparison(name, tuple(map(int, seeds)) or SEEDS).make()
        return
    record = {"validation": len(digits.validation), "test": len(digits.test)}
    if (images := second_judge()) is not None:
        record["mnist"] = len(images)
    record |= {"epochs": {"start": START, "further": FURTHER}, "networks": {}}
    for network in START:
        comparison = Comparison(network, SEEDS)
        comparison.make()
        comparison.judge()
        record["networks"][network] = comparison.record()
    RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
