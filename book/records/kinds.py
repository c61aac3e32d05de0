"""Ask the article's third question by measurement: do the same three methods fit other kinds of networks?

Run from the root of the repository: python book/records/kinds.py [kind ...]

Six networks, each of another kind: a perceptron, convolutions, a residual network, a transformer and a GRU
that read a digit row by row, and a regression on the diabetes data that scikit-learn ships. The digits have
half their height and width, 14 x 14 points, so that six networks are tuned in minutes. Of each the same is
asked: 8 and 4 bits for every weight, with a scale for each row, without training; three quarters of all
weights to zero, by magnitude, and trained on; half of the neurons that can go, by Taylor, and trained on.

Two controls: the whole network trained on for as many epochs, and a network of the cut shape with fresh
weights and all epochs together. Every row that trains, control or not, has its rate chosen alike: by the loss
on validation at seed 0, over a grid that grows until the best is inside. Then it runs with every seed of the
record, and seed 0 is none of them. The test split, and for the digits MNIST's own, halved alike, are read for
the record and choose nothing.

Networks, epochs and grids were changed while results of the seeds 0, 1 and 2 were in sight. So they were
fixed as they stand here before any run with the seeds 3 to 7, and the record holds these alone.

Finished runs stand in build/records, so an interrupted run goes on where it was. It takes six minutes of one
core.
"""

import copy
import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from judges import judges
from runs import Runs, tuned
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import compresslab as cl
from compresslab import criteria, data
from compresslab.measuring.costs import count_macs
from compresslab.models import call
from compresslab.pruning import hold_zeros
from compresslab.storage import encode
from compresslab.surgery.graph import graph_of
from compresslab.teaching import records
from compresslab.training import ImageData, Split, metrics, read_out

RECORD = records.FOLDER / "kinds.json"
TUNED_AT, SEEDS = 0, (3, 4, 5, 6, 7)
ZEROS, CUT = 0.75, 0.5
MIDDLE, LOWEST = 8e-3, 3e-4  # below the lowest a network is as it was
BITS = {"8 bits": 8, "4 bits": 4}
TRAINED = (
    "whole, trained on",
    "three quarters of the weights gone",
    "half of the neurons gone",
    "cut shape, fresh",
)
WHOLE, WEIGHTS, NEURONS, FRESH = TRAINED


class Transformer(nn.Module):
    """Read a digit as 14 rows, by an encoder layer of torch's own."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(14, width)
        self.place = nn.Parameter(0.02 * torch.randn(14, width))
        self.layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.layer(self.embed(images.squeeze(1)) + self.place)
        return self.head(hidden.mean(1))


class Recurrent(nn.Module):
    """Read a digit row by row, and answer after the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(14, 24)
        self.gru = nn.GRU(24, 32, batch_first=True)
        self.hidden = nn.Linear(32, 24)
        self.head = nn.Linear(24, 10)

    def forward(self, images: Tensor) -> Tensor:
        read, _ = self.gru(functional.relu(self.embed(images.squeeze(1))))
        return self.head(functional.relu(self.hidden(read[:, -1])))


class Residual(nn.Module):
    """Convolve with norms, and add what two of the convolutions find to what they read."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.head = nn.Linear(9 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        maps = functional.max_pool2d(functional.relu(maps + self.inner(maps)), 2)
        return self.head(maps.flatten(1))


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(196, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 10)
    )


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(24 * 9, 48), nn.ReLU(), nn.Linear(48, 10),
    )  # fmt: skip


def regression() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))


class Digits:
    """The book's digits at half their size; a network is judged by how many of 100 it names."""

    metric, objective, batch = metrics.Classification(), None, 128

    def __init__(self) -> None:
        digits = data.digits()
        splits = {"train": digits.train, "validation": digits.validation} | judges(digits)
        halves = {
            name: Split(functional.avg_pool2d(split.images, 2), split.labels)
            for name, split in splits.items()
        }
        self.seen, self.validation = halves.pop("train"), halves.pop("validation")
        self.judges, self.example = halves, self.seen.images[:2]
        parts = self.seen, self.validation, halves["test"]
        self.digits = ImageData("digits of 14 x 14", *parts, digits.augmentation)

    def learn(self, seed: int) -> dict[str, Any]:
        return {"data": self.digits, "seed": seed}

    def figure(self, value: float) -> float:
        return 100 * value


class Diabetes:
    """How far a disease went within a year, from ten facts; judged by the share of the variance explained."""

    metric, batch = metrics.MeanSquaredError(), 32

    def __init__(self) -> None:
        inputs, targets = (torch.tensor(part, dtype=torch.float32) for part in load_diabetes(return_X_y=True))
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
        mean, spread = targets.mean(), targets.std()
        inputs = inputs[order] / inputs.std(0)
        targets = ((targets[order] - mean) / spread).unsqueeze(1)
        train, validation, test = (slice(0, 262), slice(262, 342), slice(342, None))
        self.seen, self.validation, judged = (
            [(inputs[part], targets[part])] for part in (train, validation, test)
        )
        self.judges = {"test": judged}
        self.example, self.learned = inputs[:2], TensorDataset(inputs[train], targets[train])
        self.spread = float(targets[test].square().mean() - targets[test].mean().square())

    @staticmethod
    def objective(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(call(model, inputs), targets)

    def learn(self, seed: int) -> dict[str, Any]:
        shuffled = torch.Generator().manual_seed(seed)
        loader = DataLoader(self.learned, self.batch, shuffle=True, generator=shuffled)
        return {"data": loader, "validation": self.validation, "objective": self.objective}

    def figure(self, value: float) -> float:
        return 100 * (1 - value / self.spread)


@dataclass(frozen=True)
class Kind:
    """A network, the epochs of its start and of what follows, and its task."""

    build: Callable[[], nn.Module]
    start: int
    further: int
    task: Callable[[], Any]
    factor: float = 2  # between the rates of its grids


DIGITS, DIABETES = cache(Digits), cache(Diabetes)
KINDS = {
    "perceptron": Kind(perceptron, 12, 4, DIGITS),
    "convolutions": Kind(convolutions, 12, 4, DIGITS),
    "residual": Kind(Residual, 6, 3, DIGITS, 4),
    "transformer": Kind(Transformer, 12, 3, DIGITS, 4),
    "GRU": Kind(Recurrent, 16, 4, DIGITS, 4),
    "regression": Kind(regression, 40, 10, DIABETES, 4),
}


def fresh(kind: Kind, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind.build()


def drawn_again(network: nn.Module, seed: int) -> nn.Module:
    """Return a network of the same shape whose weights are drawn as torch draws new ones."""
    result = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in result.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        for module in result.modules():
            if isinstance(module, nn.MultiheadAttention):
                module._reset_parameters()
            if isinstance(module, Transformer):
                nn.init.normal_(module.place, std=0.02)
    return result


def learn(kind: Kind, network: nn.Module, epochs: int, seed: int, lr: float, **more: Any) -> nn.Module:
    """Train in place and return the network; the order of the axes in memory is only for speed."""
    network = network.to(memory_format=torch.channels_last)
    task = kind.task()
    given = task.learn(seed)
    cl.train(
        network, given.pop("data"), epochs=epochs, lr=lr, batch_size=task.batch, metric=task.metric,
        progress=False, **(given | more),
    )  # fmt: skip
    return network


@cache
def start(name: str, seed: int, rate: float) -> nn.Module:
    kind = KINDS[name]
    return learn(kind, fresh(kind, seed), kind.start, seed, rate)


@cache
def cut(name: str, seed: int, rate: float) -> nn.Module:
    task = KINDS[name].task()
    return cl.prune_neurons(
        start(name, seed, rate), criteria.taylor, CUT, batches=task.seen, objective=task.objective,
        example=task.example,
    )  # fmt: skip


def made(name: str, row: str, seed: int, first: float, rate: float) -> nn.Module:
    """Make the network of a row that trains: from the start at its rate, or from fresh weights."""
    kind = KINDS[name]
    if row == "start":
        return start(name, seed, rate)
    if row == FRESH:
        network = drawn_again(cut(name, seed, first), seed)
        return learn(kind, network, kind.start + kind.further, seed, rate)
    if row == NEURONS:
        return learn(kind, copy.deepcopy(cut(name, seed, first)), kind.further, seed, rate)
    network, held = start(name, seed, first), None
    if row == WEIGHTS:
        network = cl.prune_weights(network, criteria.magnitude, ZEROS)
        held = hold_zeros(network)
    return learn(kind, copy.deepcopy(network), kind.further, seed, rate, after_step=held)


def read(name: str, network: nn.Module) -> dict[str, Any]:
    """Note what a network reaches and what it costs."""
    task = KINDS[name].task()
    reached = {judge: read_out(network, seen, 500, task.metric)[0] for judge, seen in task.judges.items()}
    return {
        "validation loss": round(read_out(network, task.validation, 500, task.metric)[1], 5),
        **{judge: round(task.figure(value), 2) for judge, value in reached.items()},
        "bytes": len(encode(network)[0]),
        "macs": count_macs(network, task.example[:1]),
    }


def run(name: str, row: str, seed: int, first: float, rate: float) -> dict[str, Any]:
    try:
        return read(name, made(name, row, seed, first, rate))
    except cl.CompressionError as error:  # the loss was not finite
        return {"validation loss": math.inf, "failed": str(error)}


def row_of(runs: Runs, name: str, row: str, first: float) -> dict[str, Any]:
    """Choose the rate at one seed, and run it with all others."""

    def at(rate: float, seed: int = TUNED_AT) -> dict[str, Any]:
        return runs.of((name, row, seed, rate), run, name, row, seed, first, rate)

    factor = KINDS[name].factor
    rates = [MIDDLE * factor**power for power in (-1, 0, 1)]
    chosen, tried = tuned(lambda rate: at(rate)["validation loss"], rates, factor, LOWEST)
    return {"chosen": chosen, "rates": {f"{rate:g}": loss for rate, loss in tried.items()}} | each(
        at(chosen, seed) for seed in SEEDS
    )


def each(found: Iterable[dict[str, Any]]) -> dict[str, list]:
    """Turn what single runs noted, but the loss that chose, into lists over the seeds."""
    listed = list(found)
    return {key: [one[key] for one in listed] for key in listed[0] if key != "validation loss"}


def neurons(name: str) -> dict[str, Any]:
    """Say how many neurons there are, and which of them are held, and why; the last layer's always are."""
    kind = KINDS[name]
    graph = graph_of(fresh(kind, 0).eval(), kind.task().example)
    held = [group for group in graph.groups if group.held and "output" not in group.held]
    return {
        "neurons": sum(group.neurons for group in graph.groups),
        "free": sum(group.neurons for group in graph.free),
        "held": [[" + ".join(group.layers), group.neurons, group.held] for group in held],
    }


def kind_of(runs: Runs, name: str) -> dict[str, Any]:
    """Make all rows of one kind."""
    first = row_of(runs, name, "start", 0.0)
    rate, kind = first["chosen"], KINDS[name]
    rows = {"start": first}
    for row, bits in BITS.items():
        scheme = cl.Symmetric(bits, cl.PerChannel())

        def quantized(seed: int, scheme: cl.Symmetric = scheme) -> dict[str, Any]:
            return read(name, cl.quantize(start(name, seed, rate), scheme))

        rows[row] = each(runs.of((name, row, seed), partial(quantized, seed)) for seed in SEEDS)
    rows |= {row: row_of(runs, name, row, rate) for row in TRAINED}
    return {
        "epochs": {"start": kind.start, "further": kind.further},
        "parameters": sum(parameter.numel() for parameter in fresh(kind, 0).parameters()),
        **neurons(name),
        "rows": rows,
    }


def main(*asked: str) -> None:
    torch.set_num_threads(1)
    runs = Runs(RECORD.stem)
    kinds = {name: kind_of(runs, name) for name in asked or KINDS}
    if not asked:
        record = {
            "tuned at": TUNED_AT,
            "seeds": SEEDS,
            "lowest rate": LOWEST,
            "zeros": ZEROS,
            "cut": CUT,
            "kinds": kinds,
        }
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
