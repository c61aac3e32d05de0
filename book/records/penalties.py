"""Train LeNet-300-100 with L1 and L2 at many strengths, and prune what they left, for chapter 10.

Run from the root of the repository: python book/records/penalties.py

The sweep trains each run alike, 15 epochs of plain SGD from fresh weights, and keeps the runs that fail. The
comparison gives every method the same budget, 15 epochs before and 15 after the pruning, at the same share
of zeros. The first half has one rate for all. A strength is chosen for each share by the loss on validation,
with seed 0, over a grid that grows until the best is inside it; then each method and the dense control choose
the rate of their second half likewise, and two more seeds run with both. The last part holds the zeros that
L1 made by itself against as many cut by magnitude; there each run chooses the rate of its second half.
The test split, and MNIST's own, are read for the record and choose nothing. Finished runs stand in
build/records, so an interrupted run goes on where it was. Half an hour of one core.
"""

import copy
import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from judges import right
from runs import Runs, tuned

import compresslab as cl
from compresslab import criteria, data, models
from compresslab.pruning import cubic, hold_zeros
from compresslab.teaching import records
from compresslab.training import L1, L2, cross_entropy, weights_of

RECORD = records.FOLDER / "penalties.json"
EPOCHS, RATE, ROUNDS = 15, 0.5, 5
SEEDS = (0, 1, 2)
SHARES = (0.9, 0.98)
STRENGTHS = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
L2_STRENGTHS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
OWN = (3e-4, 5e-4, 1e-3)
RATES = (0.1, 0.2, 0.5, 1.0)  # of the second half
LOWEST = 1e-6  # of the strengths: weaker ones change nothing, as the sweep shows
TRIED = {"L1, step": (1e-5, 1e-4, 3e-4), "L1, loss": (1e-5, 1e-4, 3e-4), "L2, loss": (1e-4, 1e-3, 1e-2)}

digits, runs = data.digits(), Runs(RECORD.stem)


def main() -> None:
    torch.set_num_threads(1)
    sweep = {"L1, step": STRENGTHS, "L1, loss": STRENGTHS, "L2, loss": L2_STRENGTHS}
    swept = {
        way: [
            {"strength": strength} | runs.of(("sweep", way, strength), priced, way, strength)
            for strength in strengths
        ]
        for way, strengths in sweep.items()
    }
    record = {"epochs": EPOCHS, "rate": RATE, "lowest strength": LOWEST, "sweep": swept}
    record["dense"] = at_its_rate(lambda rate, seed: runs.of(("dense", rate, seed), dense, rate, seed))
    record["pruned"] = {f"{share:g}": compared(share) for share in SHARES}
    record["own zeros"] = {f"{strength:g}": [own(strength, seed) for seed in SEEDS] for strength in OWN}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def priced(way: str, strength: float) -> dict:
    """Return what is seen of one run of the sweep."""
    return seen(first(way, strength, 0))


def at_its_rate(run: Callable[[float, int], dict]) -> dict:
    """Choose the rate of the second half with seed 0, and run all seeds at it."""
    best, tried = tuned(lambda rate: run(rate, 0)["validation loss"], RATES)
    losses = {f"{rate:g}": loss for rate, loss in tried.items()}
    return {"rate": best, "rates": losses, "seeds": [{"seed": seed} | run(best, seed) for seed in SEEDS]}


def dense(rate: float, seed: int) -> dict:
    """Train the whole budget without a price or a zero."""
    return seen(learn(copy.deepcopy(first(None, 0, seed)), seed, lr=rate))


def compared(share: float) -> dict[str, dict]:
    """Return the rows that have the same share of zeros."""
    found: dict[str, dict] = {}

    def run(kind: str, way: str | None, strength: float, rate: float, seed: int) -> dict:
        key = ("pruned", share, kind, way, strength, rate, seed)
        return runs.of(key, pruned, kind, way, strength, share, rate, seed)

    for name in ("at random", "once", "in rounds"):
        found[name] = at_its_rate(partial(run, name, None, 0))
    for way, strengths in TRIED.items():
        price = partial(run, "once", way)
        best, tried = tuned(
            lambda strength, price=price: price(strength, RATE, 0)["validation loss"],
            strengths, factor=10, lowest=LOWEST,
        )  # fmt: skip
        found[way] = {"chosen": best} | at_its_rate(partial(price, best))
        found[way]["strengths at seed 0"] = {f"{one:g}": price(one, RATE, 0) for one in tried}
    return found


@cache
def first(way: str | None, strength: float, seed: int) -> torch.nn.Module:
    """Train fresh weights, with a penalty in the loss, by its proximal step, or without any."""
    network = models.lenet_300_100(seed=seed)
    if way is None:
        return learn(network, seed)
    if way == "L1, step":
        return learn(network, seed, after_step=L1(strength).after_step)
    return learn(network, seed, penalty=L1(strength) if way == "L1, loss" else L2(strength))


def learn(
    network: torch.nn.Module, seed: int, epochs: int = EPOCHS, lr: float = RATE, **more: Any
) -> torch.nn.Module:
    """Train in place without choosing an epoch, and return the network."""
    more |= {"optimizer": torch.optim.SGD, "keep_best": False, "progress": False}
    cl.train(network, digits, epochs=epochs, lr=lr, seed=seed, **more)
    return network


def pruned(kind: str, way: str | None, strength: float, share: float, rate: float, seed: int) -> dict:
    """Prune after the first half of the budget, and train the rest for the second half."""
    criterion = criteria.Random(seed) if kind == "at random" else criteria.magnitude
    shares = cubic(share, ROUNDS) if kind == "in rounds" else [share]
    network = first(way, strength, seed)
    for part in shares:
        network = cl.prune_weights(network, criterion, part)
        learn(network, seed, EPOCHS // len(shares), rate, after_step=hold_zeros(network))
    return seen(network)


def own(strength: float, seed: int) -> dict:
    """Train on with the zeros that L1 made, and with as many that are the smallest without a penalty."""
    sparse = first("L1, step", strength, seed)
    zeros = seen(sparse)["zeros"]
    share = zeros / sum(weight.numel() for weight in weights_of(sparse).values())
    cut = cl.prune_weights(first(None, 0, seed), criteria.magnitude, share)
    found = {"seed": seed, "L1, before": seen(sparse)}
    for name, start in {"L1": sparse, "magnitude": cut}.items():

        def end(rate: float, name: str = name, start: torch.nn.Module = start) -> dict:
            return runs.of(("own", strength, seed, name, rate), trained_on, start, seed, rate)

        best, tried = tuned(lambda rate: end(rate)["validation loss"], RATES)
        losses = {f"{rate:g}": loss for rate, loss in tried.items()}
        found[name] = {"rate": best, "rates": losses, "live neurons": live(start)} | end(best)
    return found


def trained_on(start: torch.nn.Module, seed: int, rate: float) -> dict:
    """Train a copy for the second half of the budget, its zeros held."""
    return seen(learn(copy.deepcopy(start), seed, lr=rate, after_step=hold_zeros(start)))


def live(network: torch.nn.Module) -> list[int]:
    """Count in each layer the neurons with a weight that is not zero."""
    return [int((weight != 0).any(dim=1).sum()) for weight in weights_of(network).values()]


def seen(network: torch.nn.Module) -> dict:
    """Return what validation and test say, how many weights are zero, and how many nearly."""
    weights = torch.cat([weight.detach().flatten() for weight in weights_of(network).values()])
    with torch.no_grad():
        loss = cross_entropy(network, digits.validation.images, digits.validation.labels).item()
    return {
        "zeros": int((weights == 0).sum()),
        "below a thousandth": int((weights.abs() < 1e-3).sum()),
        "validation loss": round(loss, 4),
    } | right(network, digits)


if __name__ == "__main__":
    main()
