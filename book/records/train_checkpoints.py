"""Train the four reference checkpoints that the package ships, and record what they can do.

Run from the root of the repository: python book/records/train_checkpoints.py [--replace]

Everything is fixed: seeds, recipe, one thread. Recipes were compared on validation, and the rule that keeps
the epoch of lowest validation loss also on 10,000 further MNIST training images. The test split is read at
the end, for the record. With COMPRESSLAB_DATA set, MNIST's whole test set judges too.

All chapters rest on the shipped files, and another chip adds in another order. So the files stay: without a
word the four train once more, and the record notes what they read this time, and whether their bytes are
those that are shipped. With --replace they are shipped themselves. Some ten minutes of one core.
"""

import hashlib
import json
import sys
import time

import torch
from judges import second_judge
from runs import WORK

from compresslab import checkpoints, data, models, training
from compresslab.storage import save
from compresslab.teaching import records

RECORD = records.FOLDER / "checkpoints.json"
RECIPES = {  # the rest is train's default: Adam, cosine, batches of 64, random affine, lowest validation loss
    "article": {"epochs": 40, "lr": 2e-3},
    "lenet_300_100": {"epochs": 150, "lr": 1e-3, "batch_size": 32},
    "lenet5": {"epochs": 40, "lr": 2e-3},
    "residual": {"epochs": 25, "lr": 4e-3},
}


def main(*asked: str) -> None:
    torch.set_num_threads(1)
    replace = "--replace" in asked
    before = {} if replace else records.load(RECORD.stem)
    found, sums = {}, {}
    for name, recipe in RECIPES.items():
        model, start = models.build(name, seed=0), time.perf_counter()
        history = training.train(model, data.digits(), seed=0, **recipe)
        print(f"{name}: {history}, {time.perf_counter() - start:.0f} s")
        path = (checkpoints.FOLDER if replace else WORK) / f"{name}.clab"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(model, path)
        sums[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        made = {"recipe": recipe, "epoch": history.kept, **judge(model)}
        same = not replace and path.read_bytes() == (checkpoints.FOLDER / path.name).read_bytes()
        found[name] = made if replace else before[name] | {"again": made | {"same bytes": same}}
    if replace:
        checkpoints.CHECKSUMS.write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
    RECORD.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def judge(model: torch.nn.Module) -> dict[str, dict[str, int]]:
    """Return right answers on validation and test, and on MNIST's whole test set where it is at hand."""
    digits = data.digits()
    splits = {"digits validation": digits.validation, "digits test": digits.test}
    if (mnist := second_judge()) is not None:
        splits["mnist test"] = mnist
    found = {name: training.evaluate(model, split) for name, split in splits.items()}
    print("\n".join(f"  {name}: {accuracy}" for name, accuracy in found.items()))
    return {name: {"correct": one.correct, "total": one.total} for name, one in found.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
