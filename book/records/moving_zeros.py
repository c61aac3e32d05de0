"""Let the zeros of LeNet-300-100 be chosen by gradients: RigL and movement pruning, for chapter 09.

Run from the root of the repository: python book/records/moving_zeros.py

RigL: of fresh weights a few, at random places, are not zero. Again and again the smallest of these become
zeros, and as many others begin to learn: those whose gradients are largest. Its control keeps its places.

Movement: the shipped network trains on, and every weight collects -weight * gradient at each step. The
weights that collected least become zeros, and it trains on once more. Its control trains the same two times
and cuts the smallest magnitudes; both have one threshold for all layers. (The authors of movement pruning cut
while the scores are collected; here there is one cut.)

Every row has its own rate, chosen by the loss on validation at seed 0 over a grid that grows until the best
is inside it; then it runs with every seed. The test split, and MNIST's own, are read for the record and
choose nothing. Finished runs stand in build/records. Two minutes of one core.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import torch
from distillation import digits
from judges import right
from runs import Runs, tuned
from torch import Tensor, nn

import compresslab as cl
from compresslab import checkpoints, criteria, models
from compresslab.pruning import hold_zeros
from compresslab.teaching import records
from compresslab.training import read_out, weights_of

RECORD = records.FOLDER / "moving_zeros.json"
SEEDS = (0, 1, 2, 3, 4)
SHARE = 0.95
EPOCHS = {"fresh": 10, "collect": 3, "after": 3}
RATES = {"fresh": (4e-3, 8e-3, 16e-3), "shipped": (1e-3, 2e-3, 4e-3)}
LOWEST_RATE = 6e-5  # below it a network is as it was
EVERY, MOVED, STILL = (
    10,
    0.3,
    0.75,
)  # steps between moves, share of places that move at first, part without end
STEPS = EPOCHS["fresh"] * math.ceil(len(digits.train) / 64)


class Moves:
    """Hold zeros, and after every tenth step move some: the smallest weights go, the steepest places come."""

    def __init__(self, network: nn.Module) -> None:
        self.learns = {name: weight != 0 for name, weight in weights_of(network).items()}
        self.taken = 0

    def __call__(self, network: nn.Module, lr: float) -> None:
        self.taken += 1
        part = MOVED / 2 * (1 + math.cos(math.pi * self.taken / (STILL * STEPS)))
        for name, weight in weights_of(network).items():
            learns = self.learns[name].view(-1)
            if self.taken % EVERY == 0 and self.taken < STILL * STEPS:
                count = round(part * int(learns.sum()))
                steep = weight.grad.flatten().abs().masked_fill(learns, -1).topk(count).indices
                small = (
                    weight.flatten().abs().masked_fill(~learns, math.inf).topk(count, largest=False).indices
                )
                learns[small], learns[steep] = False, True
            weight.masked_fill_(~self.learns[name], 0)


class Movement:
    """Collect -weight * gradient of every weight; called as a criterion it gives what it collected."""

    def __init__(self) -> None:
        self.scores: dict[str, Tensor] = {}

    def collect(self, network: nn.Module, lr: float) -> None:
        for name, weight in weights_of(network).items():
            self.scores[name] = self.scores.get(name, 0) - lr * weight.detach() * weight.grad

    def __call__(self, network: nn.Module, batches: Any = None) -> dict[str, Tensor]:
        return self.scores


def learn(
    network: nn.Module, epochs: int, rate: float, seed: int, after_step: Callable | None = None
) -> nn.Module:
    cl.train(network, digits, epochs=epochs, lr=rate, seed=seed, after_step=after_step, progress=False)
    return network


def fresh(rate: float, seed: int, moves: bool) -> nn.Module:
    """Train a fresh network that has few weights from the start."""
    network = cl.prune_weights(models.lenet_300_100(seed=seed), criteria.Random(seed), SHARE)
    held = Moves(network) if moves else hold_zeros(network)
    return learn(network, EPOCHS["fresh"], rate, seed, held)


def cut(rate: float, seed: int, movement: bool) -> nn.Module:
    """Train the shipped network on, cut it, and train it on."""
    scores = Movement()
    network = learn(checkpoints.load("lenet_300_100"), EPOCHS["collect"], rate, seed, scores.collect)
    network = cl.prune_weights(network, scores if movement else criteria.magnitude, SHARE)
    return learn(network, EPOCHS["after"], rate, seed, hold_zeros(network))


ROWS: dict[str, tuple[str, Callable[[float, int], nn.Module]]] = {
    "fresh, places held": ("fresh", lambda rate, seed: fresh(rate, seed, False)),
    "fresh, RigL": ("fresh", lambda rate, seed: fresh(rate, seed, True)),
    "shipped, magnitude": ("shipped", lambda rate, seed: cut(rate, seed, False)),
    "shipped, movement": ("shipped", lambda rate, seed: cut(rate, seed, True)),
}


def run(row: str, rate: float, seed: int) -> dict:
    network = ROWS[row][1](rate, seed)
    found: dict[str, Any] = {
        "seed": seed,
        "zeros": sum(int((w == 0).sum()) for w in weights_of(network).values()),
    }
    found["validation loss"] = round(read_out(network, digits.validation, 500)[1], 5)
    return found | right(network, digits)


def row_of(runs: Runs, row: str) -> dict:
    """Tune a row and run what was best with every seed."""

    def loss(rate: float) -> float:
        return runs.of((row, rate, 0), run, row, rate, 0)["validation loss"]

    best, tried = tuned(loss, RATES[ROWS[row][0]], lowest=LOWEST_RATE)
    seeds = [runs.of((row, best, seed), run, row, best, seed) for seed in SEEDS]
    return {"chosen": best, "rates": {f"{rate:g}": one for rate, one in tried.items()}, "seeds": seeds}


def main() -> None:
    torch.set_num_threads(1)
    runs = Runs(RECORD.stem)
    record = {"share": SHARE, "epochs": EPOCHS, "lowest rate": LOWEST_RATE}
    record["rows"] = {row: row_of(runs, row) for row in ROWS}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
