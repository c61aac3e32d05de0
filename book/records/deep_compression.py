"""Prune, cluster and code LeNet-300-100, LeNet-5 and the article's network, for chapter 18.

Run from the root of the repository: python book/records/deep_compression.py [digits] [mnist]

Without a word it does both; for ``mnist`` the whole MNIST must lie under COMPRESSLAB_DATA. Every step uses
the package's own verbs. Rising shares are tried with all seeds, until the small networks lose more than the
margin on validation, in the mean, against their own float networks; the largest share that passed is chosen.
The test split, and MNIST's own, are read for the record and choose nothing. The small files go to the folder
of the record. Finished runs stand in build/records, so an interrupted run goes on where it was, and several
processes can share the work by networks, as in ``mnist lenet5``. Some two hours of one core, most of them
for MNIST.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import torch
from judges import right
from runs import WORK, Runs
from torch import nn

import compresslab as cl
from compresslab import criteria, data, models
from compresslab.pruning import HeldZeros, cubic, hold_zeros
from compresslab.storage import encode
from compresslab.teaching import records

RECORD = records.FOLDER / "deep_compression.json"
FILES, KEPT = RECORD.with_suffix(""), WORK / RECORD.stem
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Recipe:
    """Say how one network is trained and made small; epochs are passes over the training split.

    Args:
        dense: epochs of the float network.
        rounds: rounds of pruning along the cubic schedule.
        each: epochs after each round, zeros held.
        after: epochs after the last round.
        codebook: epochs in which only centroids, biases and norms learn.
        bits: of a weight's code.
        shares: of weights that go, in rising order, tried on validation.
        margin: of accuracy on validation that may be lost in the mean.
        batch_size: images per step.
    """

    network: str
    dense: int
    rounds: int
    each: int
    after: int
    codebook: int
    shares: tuple[float, ...]
    margin: float
    bits: int = 4
    batch_size: int = 128
    lr: float = 2e-3


RECIPES = {
    "digits": (
        Recipe("lenet_300_100", 60, 8, 4, 30, 6, (0.92, 0.94, 0.96), margin=0.01, batch_size=64),
        Recipe("article", 20, 6, 1, 10, 3, (0.96, 0.97, 0.98), margin=0.01, batch_size=64),
    ),
    "mnist": (
        Recipe("lenet_300_100", 40, 10, 2, 20, 5, (0.92, 0.94), margin=0.007),
        Recipe("lenet5", 15, 6, 1, 5, 2, (0.95, 0.97), margin=0.002),
    ),
}


def train_dense(images: data.ImageData, recipe: Recipe, seed: int) -> nn.Module:
    """Train the float network."""
    model = models.BUILDERS[recipe.network](seed=seed)
    _train(model, images, recipe, seed, recipe.dense)
    return model


def prune(dense: nn.Module, images: data.ImageData, recipe: Recipe, share: float, seed: int) -> nn.Module:
    """Prune in rounds and train on after each, the zeros held."""
    model = dense
    epochs = [recipe.each] * (recipe.rounds - 1) + [recipe.after]
    for level, passes in zip(cubic(share, recipe.rounds), epochs, strict=True):
        model = cl.prune_weights(model, criteria.magnitude, level)
        _train(model, images, recipe, seed, passes, after_step=hold_zeros(model))
    return model


def cluster(pruned: nn.Module, images: data.ImageData, recipe: Recipe, seed: int) -> nn.Module:
    """Share the weights' values and let the shared values learn."""
    student = cl.fake_quantize(pruned, cl.KMeans(recipe.bits, keep_zero=True), learned_step=True)
    _train(student, images, recipe, seed, recipe.codebook, rate=0.1)
    return cl.quantize(student)


def _train(
    model: nn.Module,
    images: data.ImageData,
    recipe: Recipe,
    seed: int,
    epochs: int,
    rate: float = 1.0,
    after_step: HeldZeros | None = None,
) -> None:
    cl.train(
        model,
        images,
        epochs=epochs,
        batch_size=recipe.batch_size,
        lr=rate * recipe.lr,
        after_step=after_step,
        seed=seed,
        progress=False,
    )


def dense_of(images: data.ImageData, recipe: Recipe, name: str, seed: int) -> nn.Module:
    """Train the float network, or read it where an earlier call has trained it."""
    file = KEPT / f"{name}_{recipe.network}_floats_{seed}.clab"
    if not file.exists():
        cl.save(train_dense(images, recipe, seed), file, plain=True)
    return cl.load(file)


def small_of(name: str, recipe: Recipe, share: float, seed: int) -> Path:
    """Return where the file of a small network is kept."""
    return KEPT / f"{name}_{recipe.network}_{share:g}_{seed}.clab"


def run(images: data.ImageData, recipe: Recipe, name: str, share: float, seed: int) -> dict:
    """Make one small network, measure it after every step, and keep its file."""
    dense = dense_of(images, recipe, name, seed)
    pruned = prune(dense, images, recipe, share, seed)
    small = cluster(pruned, images, recipe, seed)
    steps = {"floats": dense, "pruned": pruned, "clustered": small}
    reports = {
        name: cl.measure(model, images, name, plain=model is dense, latency=False)
        for name, model in steps.items()
    }
    counts = {name: right(model, images) for name, model in steps.items()}
    found = {
        "share": share,
        "seed": seed,
        **{judge: {name: one[judge] for name, one in counts.items()} for judge in counts["floats"]},
        "parts": {name: dict(report.parts) for name, report in reports.items()},
        "file": {name: report.bytes_on_disk for name, report in reports.items()},
        "by coder": {
            "fixed bits": len(encode(small, coders=["packed"])[0]),
            "huffman": len(encode(small, coders=["packed", "huffman"])[0]),
            "all": len(encode(small)[0]),
        },
        "mcnemar": cl.compare(reports["floats"], reports["clustered"]).tests[1].p_value,
    }
    cl.save(small, small_of(name, recipe, share, seed))
    return found


def lost(found: dict) -> int:
    """Return how many images of validation the float network reads and the small one does not, net."""
    return found["validation"]["floats"] - found["validation"]["clustered"]


def record(name: str, images: data.ImageData, recipe: Recipe, runs: Runs) -> dict:
    """Choose the share by the mean of all seeds, and copy the files that were made with it."""
    tried, chosen, allowed = list[dict](), list[dict](), recipe.margin * len(images.validation)
    for share in recipe.shares:
        made = [
            runs.of((name, recipe.network, share, seed), run, images, recipe, name, share, seed)
            for seed in SEEDS
        ]
        tried += made
        if fmean(map(lost, made)) > allowed:
            break
        chosen = made
    if not chosen:
        raise SystemExit(
            f"{name}, {recipe.network}: {recipe.shares[0]} loses too much; begin with a smaller share"
        )
    for found in chosen:
        file = small_of(name, recipe, found["share"], found["seed"])
        (FILES / f"{name}_{recipe.network}_{found['seed']}.clab").write_bytes(file.read_bytes())
    return {"recipe": asdict(recipe), "tried": tried, "seeds": chosen}


def main(asked: list[str]) -> None:
    torch.set_num_threads(1)
    FILES.mkdir(exist_ok=True)
    KEPT.mkdir(parents=True, exist_ok=True)
    found = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    networks = [word for word in asked if word not in RECIPES]
    runs = Runs(RECORD.stem, "".join(f"_{network}" for network in networks))
    for name in [word for word in asked if word in RECIPES] or RECIPES:
        images = getattr(data, name)()
        recipes = [one for one in RECIPES[name] if not networks or one.network in networks]
        made = {one.network: record(name, images, one, runs) for one in recipes}
        if not networks:
            found[name] = made
            RECORD.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
