"""Search under a budget for chapter 20: bits alone, everything without training, with repair, with training.

Run from the root of the repository: python book/records/search.py [bits] [everything] [repaired] ["repaired
closely"] [trained] [record]

Without a word it does all and writes the record; several processes may each do one kind before that. The word
record does so too, but makes nothing again that stands in the record.
Four kinds, without training, are of the shipped network, and the seeds are the search's: bits alone,
everything, and neurons and bits with the repair of chapter 19 in every trial, twice; the same repair is given
to the uniform plans that it is set beside: one width for all layers, alone and with one share of neurons cut
from all of them. The second time only as much may be lost on validation as 2 bits for all, repaired, lose
there. The fifth, with training, is of three trainings of the article's network by the recipe of chapter 18.
Every choice reads validation; the test split, and MNIST's own, are read once, for the record, with the images
that a plan and a uniform one answer differently. The plans that the searches with training chose are trained
for about as many epochs as chapter 18 trains.

An interrupted run goes on where it was: what is finished stands in build/records, and every search keeps its
trials in a journal there. It takes half an hour of one core.
"""

import json
import sys
import time
from functools import cache
from typing import Any

import torch
from deep_compression import RECIPES, train_dense
from judges import judges, right
from runs import WORK, Runs
from torch import nn

import compresslab as cl
from compresslab import checkpoints, data
from compresslab.repairing import reconstruct
from compresslab.searching import Budget, LayerPlan, Plan, Search, Space
from compresslab.storage import encode
from compresslab.teaching import records

RECORD = records.FOLDER / "search.json"
FILES = RECORD.with_suffix("")
SEEDS = (0, 1, 2)
LOSS = 0.01  # of accuracy on validation, for the searches without training
CLOSE = 0.002  # one image of 500: what 2 bits for all, repaired, lose there
BYTES = 8_700  # for the searches with training: less than any file of chapter 18 has
WIDTHS = (8, 6, 5, 4, 3, 2)
TRIALS = {"bits": 60, "everything": 20, "repaired": 10, "repaired closely": 10, "trained": 6}
SEEN = 256  # training images that a repair reads
CUTS = (0.25, 0.5, 0.75)  # shares of neurons, for the searches with repair and for uniform plans
SHORT, LONG, RATE = 1, 20, 2e-3  # epochs of a trial and of the plan that was chosen; twice each
BOOKS = {bits: cl.KMeans(bits, keep_zero=True) for bits in (4, 3, 2)}
GRIDS = dict(zip(WIDTHS, Space.of_bits(*WIDTHS).schemes, strict=True))
SPACES = {
    "bits": Space.of_bits(*WIDTHS),
    "everything": Space(
        (BOOKS[4], GRIDS[3], BOOKS[3], GRIDS[2], BOOKS[2]), (0.5, 0.7, 0.8, 0.9), (0.25, 0.5)
    ),
    "repaired": Space((GRIDS[4], GRIDS[3], GRIDS[2]), (), CUTS),
    "repaired closely": Space((GRIDS[4], GRIDS[3], GRIDS[2]), (), CUTS),
    "trained": Space((BOOKS[4], BOOKS[3]), (0.9,), (0.5, 0.75)),
}


def dense(images: data.ImageData, seed: int) -> nn.Module:
    """Train the float network of chapter 18, or read it."""
    file = WORK / f"search_floats_{seed}.clab"
    if not file.exists():
        recipe = next(one for one in RECIPES["digits"] if one.network == "article")
        cl.save(train_dense(images, recipe, seed), file, plain=True)
    return cl.load(file)


def network(kind: str, images: data.ImageData, seed: int) -> nn.Module:
    """Return what is searched: the shipped network, or one of the three trainings."""
    return dense(images, seed) if kind == "trained" else checkpoints.load("article")


def judged(model: nn.Module, images: data.ImageData) -> dict[str, int]:
    """Count what a network costs and reads; the test split, and MNIST's own, are read here."""
    sizes = {"bytes": len(encode(model)[0]), "plain": len(encode(model, plain=True)[0])}
    return sizes | right(model, images)


def uniform(model: nn.Module, images: data.ImageData) -> dict[str, Any]:
    """Give every layer the same bits, for each width."""
    return {str(bits): judged(cl.quantize(model, scheme), images) for bits, scheme in GRIDS.items()}


def repaired_uniform(model: nn.Module, images: data.ImageData) -> dict[str, Any]:
    """Give every layer the same bits, for each width, and choose the codes as the searched ones are."""
    seen = images.train.images[:SEEN]
    return {str(bits): judged(reconstruct(model, GRIDS[bits], seen), images) for bits in (4, 3, 2)}


def evenly(share: float, bits: int) -> Plan:
    """Cut the same share from every layer that has neurons to lose, and give all layers the same bits."""
    layers = {name: LayerPlan(GRIDS[bits], neurons=share) for name in ("conv1", "conv2", "fc1")}
    return Plan(layers | {"fc2": LayerPlan(GRIDS[bits])})


def repaired_evenly(model: nn.Module, images: data.ImageData) -> dict[str, Any]:
    """Do the same to every layer, by all choices that the searches with repair have."""
    seen = images.train.images[:SEEN]
    return {
        f"{share:g}": {
            str(bits): judged(evenly(share, bits).apply(model, images, repair=seen), images)
            for bits in (4, 3, 2)
        }
        for share in CUTS
    }


def least_within(grid: dict[str, Any], hits: int) -> str:
    """Return the smallest uniform plan of a grid that reads as many of validation, by its share and bits."""
    plans = {(share, bits): one for share, row in grid.items() for bits, one in row.items()}
    return ", ".join(min((one["bytes"], key) for key, one in plans.items() if one["validation"] >= hits)[1])


def seen_by(kind: str, images: data.ImageData) -> torch.Tensor | None:
    """Return the images by which a kind repairs."""
    return images.train.images[:SEEN] if kind.startswith("repaired") else None


def teach(images: data.ImageData, epochs: int) -> Any:
    def train(model: nn.Module, after_step: Any) -> None:
        model.to(memory_format=torch.channels_last)  # only for speed
        cl.train(model, images, epochs=epochs, lr=RATE, after_step=after_step, progress=False)

    return train


def searched(images: data.ImageData, kind: str, seed: int) -> dict[str, Any]:
    """Search, and judge the greedy start and what was chosen."""
    model = network(kind, images, seed)
    trained, since = kind == "trained", time.perf_counter()
    seen = seen_by(kind, images)
    found = cl.search(
        model,
        images,
        Budget(bytes=BYTES) if trained else Budget(loss=CLOSE if kind == "repaired closely" else LOSS),
        space=SPACES[kind],
        trials=TRIALS[kind],
        train=teach(images, SHORT) if trained else None,
        repair=seen,
        study=WORK / f"search_{kind.replace(' ', '_')}_{seed}.journal",
        plain="bits" in kind,  # bytes as chapter 03 counts them, else as chapter 18
        seed=seed,
        progress=False,
    )
    print(f"{kind} {seed}: {len(found.trials)} trials, {time.perf_counter() - since:.0f} s", flush=True)
    last = teach(images, LONG) if trained else None
    made = {"greedy": found.greedy.plan.apply(model, images, train=last, repair=seen)}
    same = found.plan == found.greedy.plan
    made["best"] = made["greedy"] if same else found.plan.apply(model, images, train=last, repair=seen)
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


def carried_out(kind: str, plan: str) -> nn.Module:
    """Do again what a search without training has chosen."""
    model, images = checkpoints.load("article"), data.digits()
    return Plan.from_json(plan).apply(model, images, repair=seen_by(kind, images))


@cache
def read(kind: str, plan: str) -> dict[str, torch.Tensor]:
    """Say for each judge which images are read: by what was chosen, or by a uniform plan of that name."""
    model, images = checkpoints.load("article"), data.digits()
    if kind == "uniform":
        seen = seen_by("repaired", images)
        made = cl.quantize(model, GRIDS[3]) if plan == "3 bits" else reconstruct(model, GRIDS[2], seen)
    elif kind == "even":
        share, bits = plan.split(", ")
        made = evenly(float(share), int(bits)).apply(model, images, repair=seen_by("repaired", images))
    else:
        made = carried_out(kind, plan)
    return {judge: cl.evaluate(made, split).hits for judge, split in judges(images).items()}


def apart(kind: str, plan: Any, even: str | None = None) -> dict[str, Any]:
    """Count the images that only the plan reads, and those that only a uniform plan reads, for each judge.

    The uniform plans are the smallest within the loss that was allowed: as they are, and repaired; or the one
    that cuts neurons, too, by its share and bits.
    """
    counts: dict[str, Any] = {}
    named = [("uniform", "3 bits"), ("uniform", "2 bits, repaired")] if even is None else [("even", even)]
    for uniform_kind, name in named:
        both = read(kind, json.dumps(plan)), read(uniform_kind, name)
        pairs = {judge: (ours, both[1][judge]) for judge, ours in both[0].items()}
        counts[name] = {
            judge: [int((ours & ~theirs).sum()), int((theirs & ~ours).sum())]
            for judge, (ours, theirs) in pairs.items()
        }
    return counts


def stand_already(runs: Runs) -> None:
    """Take from the record what it holds."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    singles = {name: f"shipped {name}" for name in ("repaired uniform", "repaired evenly")}
    singles |= {name: f"shipped {name}" for name in ("floats", "uniform")}
    several = {kind: kind for kind in (*SPACES, "chapter 18")}
    several |= {name: f"fresh {name}" for name in ("floats", "uniform")}
    for key, name in singles.items():
        if name in record:
            runs.found.setdefault((key, "shipped"), record[name])
    for key, name in several.items():
        for seed, found in zip(SEEDS, record.get(name, []), strict=False):
            runs.found.setdefault((key, seed), found)
    for name in ("apart", "apart evenly"):
        for kind, found in record.get(name, {}).items():
            for seed, counts in zip(SEEDS, found, strict=True):
                runs.found.setdefault((name, kind, seed), counts)


def main(kinds: list[str]) -> None:
    torch.set_num_threads(1)
    images, runs = data.digits(), Runs("search", "_".join(["", *kinds]))
    if kinds == ["record"]:
        stand_already(runs)
        kinds = []
    for kind in kinds or SPACES:  # the quick ones first
        for seed in SEEDS:
            runs.of((kind, seed), searched, images, kind, seed)
    if kinds:
        return
    for name, make in (("floats", judged), ("uniform", uniform)):
        runs.of((name, "shipped"), make, checkpoints.load("article"), images)
        for seed in SEEDS:
            runs.of((name, seed), lambda *asked, make=make: make(dense(*asked), asked[0]), images, seed)
    runs.of(("repaired uniform", "shipped"), repaired_uniform, checkpoints.load("article"), images)
    untrained = [kind for kind in SPACES if kind != "trained"]
    for kind in untrained:
        for seed in SEEDS:
            plan = runs.found[kind, seed]["best"]["plan"]
            runs.of(("apart", kind, seed), apart, kind, plan)
    grid = runs.of(("repaired evenly", "shipped"), repaired_evenly, checkpoints.load("article"), images)
    whole, repaired = (
        runs.found["floats", "shipped"]["validation"],
        {"repaired": LOSS, "repaired closely": CLOSE},
    )
    for kind, loss in repaired.items():
        even = least_within(grid, whole - round(loss * len(images.validation.labels)))
        for seed in SEEDS:
            plan = runs.found[kind, seed]["best"]["plan"]
            runs.of(("apart evenly", kind, seed), apart, kind, plan, even)
    plan = runs.found["repaired closely", SEEDS[0]]["best"]["plan"]
    cl.save(carried_out("repaired closely", json.dumps(plan)), FILES / "article_repaired.clab")
    for seed in SEEDS:
        file = records.path(f"deep_compression/digits_article_{seed}.clab")
        runs.of(("chapter 18", seed), judged, cl.load(file), images)
    found = {kind: [runs.found[kind, seed] for seed in SEEDS] for kind in (*SPACES, "chapter 18")}
    found["apart"] = {kind: [runs.found["apart", kind, seed] for seed in SEEDS] for kind in untrained}
    found["apart evenly"] = {
        kind: [runs.found["apart evenly", kind, seed] for seed in SEEDS] for kind in repaired
    }
    found["shipped repaired evenly"] = runs.found["repaired evenly", "shipped"]
    found["shipped repaired uniform"] = runs.found["repaired uniform", "shipped"]
    for name in ("floats", "uniform"):
        found[f"shipped {name}"] = runs.found[name, "shipped"]
        found[f"fresh {name}"] = [runs.found[name, seed] for seed in SEEDS]
    setting = {
        "seeds": SEEDS,
        "loss": LOSS,
        "close": CLOSE,
        "bytes": BYTES,
        "repaired": SEEN,
        "trials": TRIALS,
        "epochs": {"trial": 2 * SHORT, "chosen": 2 * LONG},
        "lr": RATE,
    }
    RECORD.write_text(json.dumps({"setting": setting, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
