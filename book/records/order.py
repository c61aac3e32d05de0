"""In which order? Prune, distil and quantize LeNet-300-100 in every order, for chapter 20.

Run from the root of the repository: python book/records/order.py

The network is the shipped LeNet-300-100; its teacher is the article's shipped network. Three steps:
prune sets the smallest nine tenths of all weights to zero and holds them there; distil adds soft targets;
quantize puts three bits for each channel in the place of the weights and trains through them. After
each step the network is trained for as many epochs, with what the earlier pruning and quantization did still
in force. The teacher speaks only in its own step. Two more rows: all three from the first epoch on, and the
same two steps without a teacher; both have the epochs of an order in all.

Each row has its learning rate tuned, by the cross entropy on validation at seed 0, over a grid that grows
until its best is inside. Then it runs with every seed. The test split, and MNIST's own, are read for the
record and choose nothing.

Finished runs stand in build/records, so an interrupted run goes on where it was. It takes a quarter of an
hour of one core.
"""

import copy
import json
from functools import cache
from itertools import permutations
from typing import Any

import torch
from distillation import Remembered, digits, judged
from runs import Runs, tuned
from torch import nn

import compresslab as cl
from compresslab import checkpoints, criteria
from compresslab.pruning import hold_zeros
from compresslab.storage import encode
from compresslab.teaching import records

RECORD = records.FOLDER / "order.json"
SEEDS = (0, 1, 2, 3, 4)
EPOCHS = 6  # of every row, shared out among its stages
SHARE, SCHEME = 0.9, cl.Symmetric(3, cl.PerChannel())
TEMPERATURE, WEIGHT = 4.0, 0.9
RATES = (1e-3, 2e-3, 4e-3)
LOWEST_RATE = 6e-5
STEPS = ("prune", "distil", "quantize")
# of each row its stages, of each stage the steps that begin with it
ROWS: dict[str, tuple[tuple[str, ...], ...]] = {
    ", ".join(order): tuple((step,) for step in order) for order in permutations(STEPS)
} | {"all at once": (STEPS,), "prune, quantize": (("prune",), ("quantize",))}


@cache
def start() -> nn.Module:
    return checkpoints.load("lenet_300_100")


@cache
def teacher(seed: int) -> nn.Module:
    """Return the teacher; rows with one seed show it the same images, and it remembers them."""
    del seed
    return Remembered(checkpoints.load("article").to(memory_format=torch.channels_last))


def made(row: str, rate: float, seed: int) -> nn.Module:
    """Carry out the stages of a row and return the network in codes."""
    network, pruned = copy.deepcopy(start()), False
    how: dict[str, Any] = {"epochs": EPOCHS // len(ROWS[row]), "lr": rate, "seed": seed, "progress": False}
    for stage in ROWS[row]:
        if "prune" in stage:
            network, pruned = cl.prune_weights(network, criteria.magnitude, SHARE), True
        if "quantize" in stage:
            network = cl.fake_quantize(network, SCHEME)
        how["after_step"] = hold_zeros(network) if pruned else None
        if "distil" in stage:
            cl.distill(network, teacher(seed), digits, temperature=TEMPERATURE, weight=WEIGHT, **how)
        else:
            cl.train(network, digits, **how)
    return cl.quantize(network)


def run(row: str, rate: float, seed: int, judge: bool) -> dict:
    network = made(row, rate, seed)
    found = judged(network, judge) | {"seed": seed}
    return found | {"bytes": len(encode(network)[0])} if judge else found


def row_of(runs: Runs, row: str) -> dict:
    """Tune a row and run what was best with every seed."""
    best, tried = tuned(
        lambda rate: runs.of((row, rate, 0), run, row, rate, 0, False)["validation loss"],
        RATES,
        lowest=LOWEST_RATE,
    )
    listed = [{"rate": rate, "validation loss": loss} for rate, loss in tried.items()]
    seeds = [runs.of((row, best, seed, "judged"), run, row, best, seed, True) for seed in SEEDS]
    return {"rate": best, "tried": listed, "seeds": seeds}


def main() -> None:
    torch.set_num_threads(1)
    runs = Runs(RECORD.stem)
    record = {
        "seeds": len(SEEDS),
        "epochs": EPOCHS,
        "share": SHARE,
        "bits": SCHEME.bits,
        "temperature": TEMPERATURE,
        "weight": WEIGHT,
        "start": runs.of(("start",), lambda: judged(start(), True)),
        "teacher": runs.of(("teacher",), lambda: judged(checkpoints.load("article"), True)),
        "rows": {row: row_of(runs, row) for row in ROWS},
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
