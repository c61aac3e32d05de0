"""Cut the neurons of two networks by every criterion at one budget, with five seeds, for chapter 16.

Run from the root of the repository: python book/records/neuron_criteria.py

Each seed trains a network, the start. From it every row loses the same share of every layer, so that all
rows have one shape; batch norms are measured anew, and all rows train for the same further epochs. Rows whose
criterion wants a start of its own (group lasso, slimming, weights pruned before) get one of as many epochs.
The control is a network of the small shape, trained from fresh weights for all epochs together; another row
trains the whole network on. Strengths, and the learning rate after the cut, are chosen with seed 0 on
validation. The test split is read for the record and chooses nothing.
"""

import copy
import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import nn

import compresslab as cl
from compresslab import criteria, data, models
from compresslab.pruning import hold_zeros, of_the_rest
from compresslab.surgery import remeasure_norms
from compresslab.teaching import records
from compresslab.training import GroupLasso, Proximal, Slimming, read_out

RECORD = records.FOLDER / "neuron_criteria.json"
START = {"article": 8, "residual": 5}  # epochs before the cut
FURTHER = 3  # epochs after it
SEEDS = (0, 1, 2, 3, 4)
SHARES = {"article": (0.5, 0.75), "residual": (0.5,)}
RATES = (2e-3, 4e-3)
SPARSE = {"optimizer": partial(torch.optim.SGD, momentum=0.9), "lr": 0.05, "keep_best": False}
LAST = {"article": "fc2", "residual": "fc1"}
PENALTIES: dict[str, tuple[Callable[[str, float], Proximal], tuple[float, ...]]] = {
    "group lasso": (lambda name, strength: GroupLasso(strength, protect=(LAST[name],)), (3e-4, 1e-3, 3e-3)),
    "slimming": (lambda name, strength: Slimming(strength), (0.1, 0.2, 0.4)),
}

digits = data.digits()


def learn(network: nn.Module, epochs: int, seed: int, lr: float = 2e-3, **more: Any) -> nn.Module:
    """Train in place and return the network."""
    cl.train(network, digits, epochs=epochs, seed=seed, **({"lr": lr, "progress": False} | more))
    return network


@cache
def start(name: str, seed: int) -> nn.Module:
    return learn(models.build(name, seed=seed), START[name], seed)


@cache
def penalised(name: str, seed: int, penalty: str, strength: float) -> nn.Module:
    """Train fresh weights with a penalty's proximal step."""
    step = PENALTIES[penalty][0](name, strength).after_step
    return learn(models.build(name, seed=seed), START[name], seed, after_step=step, **SPARSE)


@cache
def sparse(name: str, seed: int) -> nn.Module:
    """Take nine weights of ten from a network, in as many epochs as the start has."""
    network = learn(models.build(name, seed=seed), START[name] - 2, seed)
    network = cl.prune_weights(network, criteria.magnitude, 0.9)
    return learn(network, 2, seed, after_step=hold_zeros(network))


def cut(network: nn.Module, criterion: criteria.Criterion, share: float) -> nn.Module:
    """Cut, and measure the norms anew, if there are any."""
    return remeasure_norms(cl.prune_neurons(network, criterion, share, batches=digits.train), digits.train)


def in_rounds(name: str, seed: int, share: float, rate: float) -> nn.Module:
    """Cut by Taylor in as many rounds as there are epochs, one epoch after each."""
    network = start(name, seed)
    for part in of_the_rest([share * done / FURTHER for done in range(1, FURTHER + 1)]):
        network = learn(cut(network, criteria.taylor, part), 1, seed, rate)
    return network


def strengths(name: str) -> dict[str, float]:
    """Choose each penalty's strength by the digits that are read right after half is cut."""
    chosen = {}
    for penalty, scorer in (("group lasso", criteria.l2_norm), ("slimming", criteria.norm_scale)):
        if penalty == "slimming" and name == "article":
            continue  # it has no norms
        tried = {s: cut(penalised(name, 0, penalty, s), scorer, 0.5) for s in PENALTIES[penalty][1]}
        right = {s: cl.evaluate(network, digits.validation).correct for s, network in tried.items()}
        chosen[penalty] = max(right, key=right.__getitem__)
        print(name, penalty, right, flush=True)
    return chosen


def rate_of(name: str, share: float) -> dict[float, float]:
    """Try the rates after the cut with two rows; return the mean losses on validation."""
    losses = {}
    for rate in RATES:
        found = [cut(start(name, 0), c, share) for c in (criteria.taylor, criteria.Random(0))]
        ends = [read_out(learn(network, FURTHER, 0, rate), digits.validation, 500)[1] for network in found]
        losses[rate] = round(sum(ends) / len(ends), 4)
    return losses


def smaller(name: str, seed: int, share: float, chosen: dict[str, float]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the cut networks before any further training, one for each row."""
    plain = start(name, seed)
    scorers = ["mean_activation", "apoz", "activation_variance", "mean_gradient", "taylor", "taylor_weights"]
    scorers += ["l1_norm", "l2_norm", "norm_scale"] if name == "residual" else ["l1_norm", "l2_norm"]
    yield "random", cut(plain, criteria.Random(seed), share)
    for scorer in scorers:
        yield scorer, cut(plain, getattr(criteria, scorer), share)
    for penalty, strength in chosen.items():
        scorer = criteria.norm_scale if penalty == "slimming" else criteria.l2_norm
        yield (
            f"{scorer.__name__} after {penalty}",
            cut(penalised(name, seed, penalty, strength), scorer, share),
        )
    yield "live_inputs after weight pruning", cut(sparse(name, seed), criteria.live_inputs, share)


def built_as(network: nn.Module) -> tuple[str, dict[str, Any]]:
    """Return the name and keyword arguments that build a network of this shape."""
    found = models.builder_of(network)
    assert found is not None
    return found


def right(network: nn.Module) -> dict[str, int]:
    return {split: cl.evaluate(network, getattr(digits, split)).correct for split in ("validation", "test")}


def compared(name: str, share: float, rate: float, chosen: dict[str, float]) -> dict[str, list[dict]]:
    """Return the rows of one network at one share."""
    rows: dict[str, list[dict]] = {}

    def note(row: str, seed: int, network: nn.Module, before: dict[str, int] | None = None) -> None:
        rows.setdefault(row, []).append({"before": before, "after": right(network)})
        print(f"{name} {share} {row} {seed}: {rows[row][-1]}", flush=True)

    for seed in SEEDS:
        note(
            "whole",
            seed,
            learn(copy.deepcopy(start(name, seed)), FURTHER, seed, rate),
            right(start(name, seed)),
        )
        fresh = models.build(*built_as(cut(start(name, seed), criteria.Random(0), share)), seed=seed)
        note("from scratch", seed, learn(fresh, START[name] + FURTHER, seed))
        note("taylor in rounds", seed, in_rounds(name, seed, share, rate))
        for row, network in smaller(name, seed, share, chosen):
            before = right(network)
            note(row, seed, learn(network, FURTHER, seed, rate), before)
    return rows


def run(name: str) -> dict:
    """Return the record of one network."""
    chosen, found = strengths(name), {}
    for share in SHARES[name]:
        losses = rate_of(name, share)
        rate = min(losses, key=losses.__getitem__)
        rows = compared(name, share, rate, chosen)
        found[f"{share:g}"] = {
            "rates": {f"{r:g}": loss for r, loss in losses.items()},
            "rate": rate,
            "rows": rows,
        }
    return {"strengths": chosen, "shares": found}


def main() -> None:
    torch.set_num_threads(1)
    sizes = {"validation": len(digits.validation), "test": len(digits.test)}
    record: dict[str, Any] = sizes | {"epochs": {"start": START, "further": FURTHER}, "networks": {}}
    for name in ("article", "residual"):
        record["networks"][name] = run(name)
        RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
