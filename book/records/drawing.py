"""Train five of the six networks of the page "Draw a digit", and record what they can do.

Run from the root of the repository: python book/records/drawing.py

The article's network with a quarter of its neurons, the widths at which chapter 20 found its smallest files:
what the page sends is then little beside the runtime that reads it. The shipped checkpoint is cut to it by
Taylor and teaches what is left, on training digits that are turned, scaled and shifted anew in every epoch.
From these floats come 4 bits and integers of 8 bits (both as they are), ternary weights and half the neurons
(both taught by the checkpoint, too). One seed and one recipe: the page shows networks and compares no
methods. The sixth file is the smallest of the other records that keeps the challenge's rules. It takes five
minutes of one core.
"""

import csv
import json
from collections.abc import Iterator

import torch
from torch import nn

import compresslab as cl
from compresslab import checkpoints, criteria, data
from compresslab.storage import save
from compresslab.teaching import records
from compresslab.teaching.scoring import BAR, score

RECORD = records.FOLDER / "drawing.json"
FILES = RECORD.with_suffix("")
CUT = {"floats": 0.75, "half": 0.5}  # of the neurons: of the checkpoint's, of the floats'
FLOATS = {"epochs": 40, "lr": 4e-3}  # after the checkpoint was cut
AFTER = {"epochs": 20, "lr": 4e-3}  # after ternary weights were asked for, or neurons cut again
NAMES = {
    "four_bits": "4 bits",
    "integers": "8 bits, integers",
    "half": "half the neurons",
    "smallest": "smallest at 97 %",
}  # on the page


def trained(digits: data.ImageData) -> Iterator[tuple[str, nn.Module]]:
    """Yield the five networks, each with the name of its file."""
    teacher, seen = checkpoints.load("article"), digits.train[:500]
    floats = cl.prune_neurons(teacher, criteria.taylor, CUT["floats"], batches=seen)
    cl.distill(floats, teacher, digits, seed=0, **FLOATS)
    yield "floats", floats
    yield "four_bits", cl.quantize(floats, cl.Symmetric(4, cl.PerChannel()))
    yield "integers", cl.quantize_activations(floats, seen.images)
    pupil = cl.fake_quantize(floats, cl.Ternary(cl.PerChannel()))
    cl.distill(pupil, teacher, digits, seed=0, **AFTER)
    yield "ternary", cl.quantize(pupil)
    half = cl.prune_neurons(floats, criteria.taylor, CUT["half"], batches=seen)
    cl.distill(half, teacher, digits, seed=0, **AFTER)
    yield "half", half


def smallest() -> str:
    """Return which recorded file of digits, not of MNIST, takes the fewest bytes at the challenge's bar."""
    files = [name for name in records.files() if name.endswith(".clab")]
    files = [name for name in files if "mnist" not in name and not name.startswith("drawing/")]
    files.sort(key=lambda name: records.path(name).stat().st_size)
    return next(name for name in files if score(records.path(name), final=True).accuracy.value >= BAR)


def main() -> None:
    torch.set_num_threads(1)
    digits, found = data.digits(), {}
    FILES.mkdir(exist_ok=True)
    for name, network in trained(digits):
        save(network, FILES / f"{name}.clab")
        found[name] = {"file": f"drawing/{name}.clab"}
    found["smallest"] = {"file": smallest()}
    for one in found.values():
        path = records.path(one["file"])
        network = cl.load(path)
        right = {
            split: cl.evaluate(network, getattr(digits, split)).correct for split in ("validation", "test")
        }
        one |= {"bytes": path.stat().st_size, **right}
        print(one)
    recipe = {"cut": CUT, "floats": FLOATS, "after": AFTER, "seed": 0}
    RECORD.write_text(json.dumps({"recipe": recipe, "networks": found}, indent=2) + "\n", encoding="utf-8")
    with RECORD.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(table(found))


def table(found: dict[str, dict]) -> list[list[str]]:
    """Return the rows that the page shows."""
    rows = [[NAMES.get(name, name), f"{one['bytes']:,}", f"{one['test']:,}"] for name, one in found.items()]
    return [["Network", "Bytes", "Right of 1,000 test digits"], *rows]


if __name__ == "__main__":
    main()
