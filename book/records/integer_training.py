"""Train the article's network through the weights and activations that integers will have, for chapter 08.

Run from the root of the repository: python book/records/integer_training.py

Weights and activations have the same bits, 2 or 4. A method gets the shipped checkpoint and one epoch: one
trains through rounded weights, the other through rounded activations too; at 4 bits the latter alone. Both
are then frozen, calibrated and run in integers, and so is the checkpoint itself, untrained. Each chooses its
rate by the loss of the integer network on validation, with seed 0, over a grid that grows until the best is
inside it. A rate below LOWEST leaves the checkpoint as it was: a natural bound. The test split, and MNIST's
own, are read for the record and choose nothing. There were three seeds; the last two were added when MNIST's
images had been read, and one of the three networks had scattered too far to say anything. Six minutes of one
core.
"""

import json
from contextlib import nullcontext

import torch
from judges import right
from runs import Runs, tuned
from torch import nn

import compresslab as cl
from compresslab import checkpoints, data
from compresslab.integers import rounded_activations
from compresslab.teaching import records
from compresslab.training import read_out

RECORD = records.FOLDER / "integer_training.json"
EPOCHS = 1
RATES = {2: (1e-3, 2e-3, 4e-3), 4: (1.25e-4, 2.5e-4, 5e-4)}
LOWEST = 6e-5
SEEDS = (0, 1, 2, 3, 4)
IMAGES = 256  # to calibrate on
WEIGHTS, BOTH = "weights", "weights and activations"
METHODS = {2: (WEIGHTS, BOTH), 4: (BOTH,)}


def main() -> None:
    torch.set_num_threads(1)
    digits, model, runs, record = data.digits(), checkpoints.load("article"), Runs(RECORD.stem), {}
    for bits, methods in METHODS.items():
        floats = cl.quantize(model, scheme(bits))
        rows: dict[str, dict] = {"not trained": runs.of((bits, "not trained"), judged, floats, bits, digits)}
        for name in methods:

            def found(rate: float, seed: int = 0, bits: int = bits, name: str = name) -> dict:
                return runs.of((bits, name, rate, seed), run, model, digits, name, bits, rate, seed)

            best, tried = tuned(lambda rate: found(rate)["validation loss"], RATES[bits], lowest=LOWEST)
            rates = {f"{rate:g}": found(rate) for rate in tried}
            rows[name] = {
                "chosen": best,
                "rates at seed 0": rates,
                "seeds": [found(best, seed) for seed in SEEDS],
            }
        record[str(bits)] = rows
    written = {"epochs": EPOCHS, "images": IMAGES, "lowest rate": LOWEST, "bits": record}
    RECORD.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def scheme(bits: int) -> cl.Symmetric:
    return cl.Symmetric(bits, cl.PerChannel())


def run(model: nn.Module, digits: data.ImageData, name: str, bits: int, rate: float, seed: int) -> dict:
    """Train once and return what validation and test say of the integer network."""
    student = cl.fake_quantize(model, scheme(bits))
    with rounded_activations(student, bits) if name == BOTH else nullcontext():
        cl.train(student, digits, epochs=EPOCHS, lr=rate, seed=seed, progress=False)
    return {"seed": seed} | judged(cl.quantize(student), bits, digits)


def judged(frozen: nn.Module, bits: int, digits: data.ImageData) -> dict:
    integers = cl.quantize_activations(frozen, [digits.train.images[:IMAGES]], bits=bits)
    return {
        "validation loss": round(read_out(integers, digits.validation, 500)[1], 4),
    } | right(integers, digits)


if __name__ == "__main__":
    main()
