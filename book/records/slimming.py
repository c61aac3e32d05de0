"""Train the residual network with a price on its norm scales and cut half its channels, for chapter 14.

Run from the root of the repository: python book/records/slimming.py

Every run trains 15 epochs from fresh weights. Half of all channels are then cut before any further training:
first those that are dead, whose removal changes no answer, then, if they are fewer than half, those with the
smallest scales. Four ways of training are held against each other: SGD or Adam, the price in the loss or as a
proximal step. SGD with the step runs with three seeds for every strength from CLOSE, and the strength is
chosen by the validation digits that the cut networks read together. The other ways run once a strength.
The test split, and MNIST's own, are read for the record and choose nothing. Finished runs stand in
build/records, so an interrupted run goes on where it was. Some half an hour of one core.
"""

import json
from functools import partial
from typing import Any

import torch
from judges import right
from runs import Runs
from torch import nn

import compresslab as cl
from compresslab import criteria, data, models
from compresslab.surgery import drop_dead, graph_of
from compresslab.teaching import records
from compresslab.training import Slimming, norm_scales

RECORD = records.FOLDER / "slimming.json"
EPOCHS = 15
SEEDS = (0, 1, 2)
CLOSE = (0.1, 0.12, 0.15)
SGD = partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4)
WAYS: dict[str, dict[str, Any]] = {
    "SGD, step": {"optimizer": SGD, "lr": 0.1, "strengths": (0.05, 0.1, 0.12, 0.15, 0.2, 0.25)},
    "SGD, loss": {"optimizer": SGD, "lr": 0.1, "strengths": (0.01, 0.03)},
    "Adam, loss": {"optimizer": torch.optim.Adam, "lr": 2e-3, "strengths": (0.03, 0.1)},
    "Adam, step": {"optimizer": torch.optim.Adam, "lr": 2e-3, "strengths": (0.5, 1.0)},
}

digits, runs = data.digits(), Runs(RECORD.stem)


def trained(way: str, strength: float, seed: int) -> nn.Module:
    """Train fresh weights; a strength of 0 trains without a price."""
    network, price = models.residual(seed=seed), Slimming(strength)
    settings = {key: WAYS[way][key] for key in ("optimizer", "lr")}
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


def run(way: str, strength: float, seed: int) -> dict:
    """Return what a run found, of this call or of an earlier one."""
    return runs.of((way, strength, seed), made, way, strength, seed)


def made(way: str, strength: float, seed: int) -> dict:
    """Train, cut, and count."""
    network = trained(way, strength, seed)
    alive, cut = drop_dead(network), half(network)
    scales = torch.cat([scale.detach().abs() for scale in norm_scales(network).values()])
    found: dict[str, Any] = {
        "strength": strength,
        "seed": seed,
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
        "without a price": [run("SGD, step", 0.0, seed) for seed in SEEDS],
    }
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
