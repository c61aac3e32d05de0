"""Remake the worked solution of the capstone, step by step: fewer than 950 bytes that read digits.

Run from the root of the repository: python book/records/capstone.py [seed ...] [--final]

Three times neurons go by the Taylor criterion, and what is left learns from the shipped LeNet-5. Then weights
and biases train as small integers while every bit has a price, which is adjusted until the codes keep to a
budget, and a coder that mixes writes them. Each step is measured in bytes and on validation; what was tried
stands in the record, and so do files of settings that were given up after they had read the test.

A seed takes some five minutes of one core. A step that is done stands in
build/records and is not made again. Only with --final, once all seeds are there, are the test digits and the
test images of MNIST read, which must lie under COMPRESSLAB_DATA, the files put into the package and the
record written.

The seeds are fresh: chapter 23 went the same way with other ones, and has read the test digits with those.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from runs import WORK, Runs
from smallest import (
    BATCH,
    POINTS,
    RATE_FLOATS,
    Budget,
    codings,
    generator,
    images,
    judged,
    learn,
    lesson,
    pool,
    teachers,
)
from smallest import KEPT as SHARED
from torch import nn

import compresslab as cl
from compresslab import criteria
from compresslab.quantization import train_codes
from compresslab.teaching import records

RECORD = records.FOLDER / "capstone.json"
FILES, KEPT = RECORD.with_suffix(""), WORK / "capstone"
TAUGHT = POINTS["digits 950"]  # who teaches, and how digits are distorted
LAYERS = ("conv1", "conv2", "fc1")
CUTS = (((10, 20, 80), 60), ((6, 12, 40), 100), ((4, 10, 24), 150))  # neurons that stay, epochs after it
CODES, RATE, PRICE = 300, 4e-3, 3e-5  # epochs, learning rate, and what a bit costs at first
BUDGET = 915  # estimated bytes of the codes; three files ended between 868 and 954
SEEDS = (12, 13, 14)


def cut(model: nn.Module, widths: tuple[int, ...], seed: int) -> nn.Module:
    """Return a copy with so many neurons in its hidden layers, those that the loss misses least gone."""
    drawn = torch.randperm(len(images("digits").train), generator=generator(seed))[:3000].split(500)
    seen = [images("digits").train[part] for part in drawn]
    shares = {n: 1 - keep / getattr(model.config, n) for n, keep in zip(LAYERS, widths, strict=True)}
    return cl.prune_neurons(model, criteria.taylor, shares, batches=seen)


def shrink(step: int, seed: int) -> dict:
    """Cut what the step before has left, teach what is left, and keep it."""
    widths, epochs = CUTS[step]
    model = cut(cl.load(floats_of(step - 1, seed)) if step else teachers("digits", 1)[0], widths, seed)
    alone = seen_on_validation(model)
    learn(model, lesson(TAUGHT, seed), epochs, RATE_FLOATS)
    cl.save(model, floats_of(step, seed))
    return seen_on_validation(model) | {"before": alone, "bytes": floats_of(step, seed).stat().st_size}


def code(seed: int, budget: int, epochs: int) -> dict:
    """Train the last network as codes that pay for their bits, and write the file."""
    net = train_codes(cl.load(floats_of(len(CUTS) - 1, seed)))
    steps = epochs * (len(images("digits").train) // BATCH)
    penalty = Budget(8 * budget, steps, PRICE, exact=True)
    learn(net, lesson(TAUGHT, seed + 100), epochs, RATE, penalty)
    small = cl.quantize(net)
    cl.save(small, coded(seed, budget, epochs), coding="mixing")
    size = coded(seed, budget, epochs).stat().st_size
    return seen_on_validation(small) | {"price": penalty.price, "bytes": size, "codings": codings(small)}


def floats_of(step: int, seed: int) -> Path:
    """Return where chapter 23's script looks for such a network, too."""
    widths = "-".join(map(str, CUTS[step][0]))
    return SHARED / f"digits_{TAUGHT.teachers}_lenet5_{widths}_{seed}.clab"


def coded(seed: int, budget: int = BUDGET, epochs: int = CODES) -> Path:
    return KEPT / f"codes_{budget}_{epochs}_{seed}.clab"


def seen_on_validation(model: nn.Module) -> dict:
    """Return right answers and mean loss on the 500 digits that choose."""
    choose, judge = images("digits").validation, cl.training.Classification()
    _, loss = cl.training.read_out(model, choose, 500, judge)
    return {"validation": cl.evaluate(model, choose).correct, "loss": round(loss, 4)}


def timed(make: Callable[..., dict], *asked: Any) -> dict:
    """Return what a step found and the seconds of one core that it took."""
    begun = time.process_time()
    return make(*asked) | {"seconds": round(time.process_time() - begun)}


def answers() -> dict:
    """Let the teacher answer sixty distorted copies of every digit, once for all seeds."""
    pool("digits", TAUGHT.teachers)
    return {}


def cut_key(step: int, seed: int) -> tuple:
    widths, epochs = CUTS[step]
    return *widths, seed, epochs, TAUGHT.teachers


def key_of(seed: int) -> tuple:
    return "codes", seed, BUDGET, CODES, RATE


def make(runs: Runs, seed: int) -> None:
    """Take every step of a seed that was not taken yet."""
    for step in range(len(CUTS)):
        runs.of(cut_key(step, seed), timed, shrink, step, seed)
    runs.of(key_of(seed), timed, code, seed, BUDGET, CODES)


def settings() -> dict:
    return {"epochs": CODES, "rate": RATE, "price": PRICE, "budget": BUDGET, "teachers": TAUGHT.teachers}


def earlier(before: dict) -> list[dict]:
    """Return all settings whose files read the test before those of now, the last of them from the record."""
    if before["codes"] == settings():
        return before["earlier"]
    for run in before["seeds"]:
        (FILES / f"{run['seed']}.clab").unlink(missing_ok=True)
        (FILES / f"floats_{run['seed']}.clab").unlink(missing_ok=True)
    return [*before.get("earlier", []), {key: before[key] for key in ("cuts", "codes", "seeds", "tried")}]


def write_record(runs: Runs) -> None:
    """Put the files into the package, load each again, and read the test digits with it."""
    FILES.mkdir(exist_ok=True)
    given_up, rows = earlier(records.load(RECORD.stem)), []
    for seed in SEEDS:
        file = FILES / f"{seed}.clab"
        file.write_bytes(coded(seed).read_bytes())
        cuts = [{"neurons": CUTS[step][0]} | runs.found[cut_key(step, seed)] for step in range(len(CUTS))]
        rows.append({"seed": seed, "cuts": cuts, "codes": runs.found[key_of(seed)] | judged(cl.load(file))})
    # from here the notebook goes on by itself
    (FILES / f"floats_{SEEDS[0]}.clab").write_bytes(floats_of(len(CUTS) - 1, SEEDS[0]).read_bytes())
    codes = [(key, one) for key, one in runs.found.items() if key[0] == "codes"]
    tried = [[*key[1:], one["bytes"], one["validation"], one["loss"]] for key, one in codes]
    shipped = seen_on_validation(teachers("digits", 1)[0])
    record = {
        "cuts": CUTS,
        "codes": settings(),
        "teacher": shipped | {"answers": runs.found["answers",]},
        "seeds": rows,
        "tried": sorted(tried),
        "tried cuts": [
            [*key, one["validation"], one["loss"]]
            for key, one in runs.found.items()
            if len(key) == 6 and key[-1] != TAUGHT.teachers
        ],
        "earlier": given_up,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main(asked: list[str]) -> None:
    torch.set_num_threads(1)
    for folder in (KEPT, SHARED):
        folder.mkdir(parents=True, exist_ok=True)
    runs = Runs(RECORD.stem)
    runs.of(("answers",), timed, answers)
    for seed in [int(one) for one in asked if one != "--final"] or SEEDS:
        make(runs, seed)
    if "--final" in asked:
        write_record(runs)


if __name__ == "__main__":
    main(sys.argv[1:])
