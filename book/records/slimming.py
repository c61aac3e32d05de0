"""Train the residual network with a price on its norm scales and cut half its channels, for chapter 14.

Run from the root of the repository: python book/records/slimming.py

Every run trains 15 epochs from fresh weights. Half of all channels are then cut before any further training:
first those that are dead, whose removal changes no answer, then, if they are fewer than half, those with the
smallest scales. Four ways of training are held against each other: SGD or Adam, the price in the loss or as a
proximal step. SGD with the step runs with three seeds for every strength from CLOSE, and the strength is
chosen by the validation digits that the cut networks read together. The other ways run once a strength.

What does the price cost before any cut? There the network without a price has its learning rate tuned, by
the cross entropy on validation at seed 0, over a grid that grows until its best is inside. With a price the
rate is that of its way: at another one the same price leaves other channels dead, and is another price.

The test split, and MNIST's own, are read for the record and choose nothing. Finished runs stand in
build/records, so an interrupted run goes on where it was. It takes forty minutes of one core.
"""

import json
from functools import partial
from typing import Any

import torch
from judges import right
from runs import Runs, tuned
from torch import nn

import compresslab as cl
from compresslab import criteria, data, models
from compresslab.surgery import drop_dead, graph_of
from compresslab.teaching import records
from compresslab.training import Slimming, norm_scales, read_out

RECORD = records.FOLDER / "slimming.json"
EPOCHS = 15
SEEDS = (0, 1, 2)
CLOSE = (0.1, 0.12, 0.15)
RATE, RATES = 0.1, (0.05, 0.1, 0.2)  # of the rows with a price and SGD; of the one without
SGD = partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4)
WAYS: dict[str, dict[str, Any]] = {
    "SGD, step": {"optimizer": SGD, "lr": RATE, "strengths": (0.05, 0.1, 0.12, 0.15, 0.2, 0.25)},
    "SGD, loss": {"optimizer": SGD, "lr": RATE, "strengths": (0.01, 0.03)},
    "Adam, loss": {"optimizer": torch.optim.Adam, "lr": 2e-3, "strengths": (0.03, 0.1)},
    "Adam, step": {"optimizer": torch.optim.Adam, "lr": 2e-3, "strengths": (0.5, 1.0)},
}

digits, runs = data.digits(), Runs(RECORD.stem)


def trained(way: str, strength: float, seed: int, lr: float) -> nn.Module:
    """Train fresh weights; a strength of 0 trains without a price."""
    network, price = models.residual(seed=seed), Slimming(strength)
    settings = {"optimizer": WAYS[way]["optimizer"], "lr": lr}
    if strength:
        settings |= {"after_step": price.after_step} if way.endswith("step") else {"penalty": price}
    cl.train(network, digits, epochs=EPOCHS, keep_best=False, seed=seed, progress=False, **settings)
    return network


def neurons(network: nn.Module) -> int:
    return sum(group.neurons for group in graph_of(network).free)


def half(network: nn.Module) -> nn.Module:
    """Cut half the channels: the dead ones, then as many with the smallest scales as are missing."""
    alive = drop_dead(network)
    missing = neurons(alive) - neurons(network) // 2
    if missing <= 0:
        return alive
    share = missing / neurons(alive)
    return cl.prune_neurons(alive, criteria.norm_scale, share, per_layer=False, normalise=False, minimum=1)


def run(way: str, strength: float, seed: int, lr: float | None = None) -> dict:
    """Return what a run found, of this call or of an earlier one; each way has a rate of its own."""
    asked = way, strength, seed, lr or WAYS[way]["lr"]
    return runs.of(asked, made, *asked)


def without_a_price() -> tuple[dict, list[dict]]:
    """Choose the rate of a network without a price at seed 0, and run all seeds."""

    def at(rate: float, seed: int = 0) -> dict:
        return run("SGD, step", 0.0, seed, rate)

    best, tried = tuned(lambda rate: at(rate)["loss"], RATES)
    losses = {f"{rate:g}": loss for rate, loss in tried.items()}
    return {"chosen": best, "rates": losses}, [at(best, seed) for seed in SEEDS]


def made(way: str, strength: float, seed: int, lr: float) -> dict:
    """Train, cut, and count."""
    network = trained(way, strength, seed, lr)
    alive, cut = drop_dead(network), half(network)
    scales = torch.cat([scale.detach().abs() for scale in norm_scales(network).values()])
    found: dict[str, Any] = {
        "strength": strength,
        "seed": seed,
        "loss": round(read_out(network, digits.validation, 500)[1], 5),
        "scales": [round(scale, 4) for scale in scales.sort(descending=True).values[::4].tolist()],
        "zeros": int((scales == 0).sum()),
        "neurons": [neurons(each) for each in (network, alive, cut)],
    }
    readings = [right(each, digits) for each in (network, alive, cut)]
    return found | {judge: [one[judge] for one in readings] for judge in readings[0]}


def main() -> None:
    torch.set_num_threads(1)
    record: dict[str, Any] = {
        "epochs": EPOCHS,
        "validation": len(digits.validation),
        "test": len(digits.test),
    }
    record["rate without a price"], record["without a price"] = without_a_price()
    for way, settings in WAYS.items():
        tried = [run(way, strength, 0) for strength in settings["strengths"]]
        candidates = [[one] for one in tried]
        if way == "SGD, step":
            close = [one for one in tried if one["strength"] in CLOSE]
            candidates = [[one, *(run(way, one["strength"], seed) for seed in SEEDS[1:])] for one in close]
        best = max(candidates, key=lambda runs: sum(one["validation"][2] for one in runs))
        record[way] = {"tried": tried, "chosen": best[0]["strength"], "seeds": best}
        record[way]["all seeds"] = [one for runs in candidates for one in runs]
    RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
