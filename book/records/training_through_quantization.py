"""Train the article's network through 2-bit, ternary and binary weights, and in floats, for chapter 07.

Run from the root of the repository: python book/records/training_through_quantization.py

Every method gets the same budget: the shipped checkpoint, 2 epochs, the same augmentation, the same seeds.
The learning rate is chosen for each by the loss on validation, with seed 0, over a grid that grows until the
best is inside it; four more seeds then run at the chosen rate. A rate below LOWEST leaves the checkpoint as
it was: a natural bound. The test split, and MNIST's own, are read for the record and choose nothing. Twenty
minutes of one core.
"""

import copy
import json
import math

import torch
from judges import right
from runs import Runs, tuned

import compresslab as cl
from compresslab import checkpoints, data
from compresslab.teaching import records

RECORD = records.FOLDER / "training_through_quantization.json"
EPOCHS = 2
RATES = (4e-3, 2e-3, 1e-3, 5e-4)
LOWEST = 6e-5
SEEDS = (0, 1, 2, 3, 4)
ROWS = cl.PerChannel()
METHODS = {
    "floats": None,
    "2 bits": cl.Symmetric(2, ROWS),
    "2 bits, learned step": cl.Symmetric(2, ROWS),
    "ternary": cl.Ternary(ROWS),
    "binary": cl.Binary(ROWS),
}


def main() -> None:
    torch.set_num_threads(1)
    digits, model, runs, record = data.digits(), checkpoints.load("article"), Runs(RECORD.stem), {}
    for name in METHODS:

        def found(rate: float, seed: int = 0, name: str = name) -> dict:
            return runs.of((name, rate, seed), run, model, digits, name, rate, seed)

        best, tried = tuned(lambda rate: found(rate).get("validation loss", math.inf), RATES, lowest=LOWEST)
        rates = {f"{rate:g}": found(rate) for rate in tried}
        seeds = [found(best, seed) for seed in SEEDS]
        record[name] = {"chosen": best, "rates at seed 0": rates, "seeds": seeds}
    found = {"epochs": EPOCHS, "lowest rate": LOWEST, "methods": record}
    RECORD.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def run(model: torch.nn.Module, digits: data.ImageData, name: str, rate: float, seed: int) -> dict:
    """Train once and return what validation and test say of the frozen network."""
    scheme, learned = METHODS[name], name.endswith("learned step")
    student = copy.deepcopy(model) if scheme is None else cl.fake_quantize(model, scheme, learned)
    try:
        history = cl.train(student, digits, epochs=EPOCHS, lr=rate, seed=seed, progress=False)
        frozen = student if scheme is None else cl.quantize(student)
    except cl.CompressionError as error:  # a learned step that fell below zero
        return {"seed": seed, "failed": str(error)}
    return {
        "seed": seed,
        "validation loss": round(history.validation_loss[history.kept - 1], 4),
    } | right(frozen, digits)


if __name__ == "__main__":
    main()
