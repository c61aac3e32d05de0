"""Search under a budget for chapter 20: bits alone, everything without training, everything with training.

Run from the root of the repository: python book/records/search.py

Three trainings of the article's network, those of chapter 18. Every choice reads validation; the test split
is read once, for the record. An interrupted run goes on where it was: what is finished stands in
build/records, and every search keeps its trials in a journal there. A smaller budget of trials is given to
the searches that train, since each of their trials costs a hundred times as much.
"""

import json
import time
from typing import Any

import torch
from deep_compression import RECIPES, train_dense
from distillation import second_judge
from runs import WORK, Runs
from torch import nn

import compresslab as cl
from compresslab import data
from compresslab.searching import Budget, Plan, Search, Space
from compresslab.storage import encode
from compresslab.teaching import records

RECORD = records.FOLDER / "search.json"
FILES = RECORD.with_suffix("")
SEEDS = (0, 1, 2)
LOSS = 0.01  # of accuracy on validation, for the searches without training
BYTES = 8_000  # for the searches with training
WIDTHS = (8, 6, 5, 4, 3, 2)
TRIALS, TRAINED_TRIALS = 60, 12
SHORT, LONG, RATE = 1, 15, 2e-3  # epochs of a trial and of the plan that was chosen; twice each
PLAIN = {"bits": True, "everything": False, "trained": False}  # whose bytes a search counts
SPACES = {
    "bits": Space.of_bits(*WIDTHS),
    "everything": Space(),
    "trained": Space(
        tuple(cl.KMeans(bits, keep_zero=True) for bits in (5, 4, 3)),
        (0.8, 0.9, 0.95, 0.97),
        (0.25, 0.5, 0.75),
    ),
}


def dense(images: data.ImageData, seed: int) -> nn.Module:
    """Train the float network of chapter 18, or read it."""
    file = WORK / f"search_floats_{seed}.clab"
    if not file.exists():
        recipe = next(one for one in RECIPES["digits"] if one.network == "article")
        cl.save(train_dense(images, recipe, seed), file, plain=True)
    return cl.load(file)


def judged(model: nn.Module, images: data.ImageData) -> dict[str, int]:
    """Count what a network costs and reads; the test split, and MNIST's own, are read here."""
    judge = second_judge()
    return {
        "bytes": len(encode(model)[0]),
        "plain": len(encode(model, plain=True)[0]),
        "validation": cl.evaluate(model, images.validation).correct,
        "test": cl.evaluate(model, images.test).correct,
    } | ({} if judge is None else {"mnist": cl.evaluate(model, judge).correct})


def uniform(model: nn.Module, images: data.ImageData) -> dict[str, Any]:
    """Give every layer the same bits, for each width."""
    return {
        str(bits): judged(cl.quantize(model, SPACES["bits"].schemes[place]), images)
        for place, bits in enumerate(WIDTHS)
    }


def teach(images: data.ImageData, epochs: int) -> Any:
    def train(model: nn.Module, after_step: Any) -> None:
        model.to(memory_format=torch.channels_last)  # only for speed
        cl.train(model, images, epochs=epochs, lr=RATE, after_step=after_step, progress=False)

    return train


def searched(model: nn.Module, images: data.ImageData, kind: str, seed: int) -> dict[str, Any]:
    """Search, and judge the greedy start and what was chosen."""
    trained, since = kind == "trained", time.perf_counter()
    found = cl.search(
        model,
        images,
        Budget(bytes=BYTES) if trained else Budget(loss=LOSS),
        space=SPACES[kind],
        trials=TRAINED_TRIALS if trained else TRIALS,
        train=teach(images, SHORT) if trained else None,
        study=WORK / f"search_{kind}_{seed}.journal",
        plain=PLAIN[kind],
        seed=seed,
        progress=False,
    )
    print(f"{kind} {seed}: {len(found.trials)} trials, {time.perf_counter() - since:.0f} s", flush=True)
    last = teach(images, LONG) if trained else None
    made = {
        name: one.plan.apply(model, images, train=last)
        for name, one in (("greedy", found.greedy), ("best", found.best))
    }
    if trained:
        FILES.mkdir(exist_ok=True)
        cl.save(made["best"], FILES / f"article_{seed}.clab")
    return told(found) | {
        name: judged(one, images) | {"plan": plan_of(getattr(found, name).plan)} for name, one in made.items()
    }


def told(found: Search) -> dict[str, Any]:
    trials = [(trial.bytes, round(trial.value * 500), trial.fits, trial.origin) for trial in found.trials]
    return {"trials": trials}


def plan_of(plan: Plan) -> Any:
    return json.loads(plan.to_json())


def main() -> None:
    torch.set_num_threads(1)
    images, runs = data.digits(), Runs("search")
    for seed in SEEDS:
        model = dense(images, seed)
        runs.of(("floats", seed), judged, model, images)
        runs.of(("uniform", seed), uniform, model, images)
    for kind in SPACES:  # the quick ones first
        for seed in SEEDS:
            runs.of((kind, seed), searched, dense(images, seed), images, kind, seed)
    found = {kind: [runs.found[kind, seed] for seed in SEEDS] for kind in ("floats", "uniform", *SPACES)}
    setting = {
        "seeds": SEEDS,
        "loss": LOSS,
        "bytes": BYTES,
        "trials": {kind: TRAINED_TRIALS if kind == "trained" else TRIALS for kind in SPACES},
        "epochs": {"trial": 2 * SHORT, "chosen": 2 * LONG},
        "lr": RATE,
    }
    RECORD.write_text(json.dumps({"setting": setting, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
