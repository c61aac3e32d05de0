"""Compress with 1 to 3,500 images, by training and without, for chapter 19.

Run from the root of the repository: python book/records/little_data.py

LeNet-300-100 from the shipped checkpoint loses bytes in three ways: 2 bits a channel, nine tenths of the
weights gone, and half of its hidden neurons gone. From 0 images all three stay as they are (nearest codes;
by magnitude; by the norm of rows). From n images each is repaired by least squares, with more images made
of them; and each is trained by distillation, the float network being the teacher: the same images, distorted
anew in every step, no labels.

The repair has its default damping and no look at any other image. Distillation (codes: through the grid,
with learned scales) runs 400 steps of at most 64 images. How its images are distorted (a little, as
everywhere in the book, or as widely as the repair's) and its learning rate are chosen on validation at draw
0, for each kind and number of images, over a grid of rates that grows until the best is inside. So it has
500 images more to choose by. For the article's network and LeNet-5 the record holds the codes alone, with 8,
64 and 512 images.

Draws of images are by seed. Finished runs stand in build/records, so an interrupted run goes on where it
was. It takes half an hour of one core.
"""

import copy
import json

import torch
from judges import judges, right
from runs import Runs, tuned
from torch import Tensor, nn

import compresslab as cl
from compresslab import checkpoints, criteria, data
from compresslab.pruning import hold_zeros
from compresslab.quantization import LeastSquares
from compresslab.repairing import ColumnByColumn, mend, more_of, reconstruct
from compresslab.teaching import records

RECORD = records.FOLDER / "little_data.json"
SIZES, DRAWS = (1, 8, 64, 512, 3500), 5
STEPS, BATCH, SEEN = 400, 64, 500  # SEEN: images that a repair reads at least, made of those that are given
RATES, LOWEST_RATE = (3e-4, 1e-3, 3e-3), 1e-5  # below it a network is as it was
DISTORTED = {"a little": (), "widely": (180.0, 0.15, 0.4, 45.0)}  # for random_affine; the second is more_of's
DEFAULTS = {"codes": 0.3, "weights": 0.1, "neurons": 0.1}
SCHEME = cl.Symmetric(2, cl.PerChannel(), LeastSquares())
OTHERS, OTHER_SIZES = ("article", "lenet5"), (8, 64, 512)

digits = data.digits()
net = checkpoints.load("lenet_300_100")


def halved(network: nn.Module) -> nn.Module:
    """Zero the rows and biases of the half of each hidden layer that has the smallest rows."""
    result = copy.deepcopy(network)
    with torch.no_grad():
        for name in ("fc1", "fc2"):
            layer = result.get_submodule(name)
            weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
            gone = weight.norm(dim=1).argsort(stable=True)[: len(weight) // 2]
            weight[gone], bias[gone] = 0, 0
    return result


def start(kind: str) -> nn.Module:
    """Return what there is without an image."""
    if kind == "codes":
        return cl.quantize(net, SCHEME)
    return halved(net) if kind == "neurons" else cl.prune_weights(net, criteria.magnitude, 0.9)


def drawn(size: int, draw: int) -> tuple[Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(draw)
    return digits.train.images[torch.randperm(len(digits.train), generator=generator)[:size]], generator


def repaired(kind: str, size: int, draw: int, damping: float, network: nn.Module = net) -> nn.Module:
    images, generator = drawn(size, draw)
    seen = more_of(images, max(0, -(-SEEN // size) - 1), generator)
    if kind == "codes":
        return reconstruct(network, SCHEME, seen, rounding=ColumnByColumn(damping))
    return mend(start(kind), net, seen, damping)


def distilled(kind: str, size: int, draw: int, rate: float, distorted: str) -> nn.Module:
    images, generator = drawn(size, draw)
    student = cl.fake_quantize(net, SCHEME, learned_step=True) if kind == "codes" else start(kind)
    batches = [images[torch.randint(size, (min(size, BATCH),), generator=generator)] for _ in range(STEPS)]
    seen = [data.random_affine(batch, generator, *DISTORTED[distorted]) for batch in batches]
    held = None if kind == "codes" else hold_zeros(student)
    cl.distill(student, net, seen, epochs=1, weight=1.0, after_step=held, lr=rate, seed=draw, progress=False)
    return cl.quantize(student) if kind == "codes" else student


def of_judges(readings: list[dict[str, int]]) -> dict[str, list[int]]:
    """Turn what several networks read into a list for each judge."""
    return {judge: [one[judge] for one in readings] for judge in judges(digits)}


def repaired_row(runs: Runs, kind: str, size: int) -> dict[str, list[int]]:
    """Return what each draw reads; of all images there is one draw."""
    draws = range(DRAWS if size < len(digits.train) else 1)
    return of_judges(
        [
            runs.of(
                (kind, "repaired", size, draw, DEFAULTS[kind]),
                lambda draw=draw: right(repaired(kind, size, draw, DEFAULTS[kind]), digits),
            )
            for draw in draws
        ]
    )


def distilled_row(runs: Runs, kind: str, size: int) -> dict:
    """Run every draw, as validation chose at draw 0."""

    def run(distorted: str, rate: float, draw: int) -> dict:
        def made() -> dict:
            try:
                return right(distilled(kind, size, draw, rate, distorted), digits)
            except cl.CompressionError:  # the rate drove a learned scale below zero: such a run reads nothing
                return {"validation": 0} | dict.fromkeys(judges(digits), 0)

        way = "distilled" if distorted == "a little" else f"distilled, {distorted}"
        return runs.of((kind, way, size, draw, rate), made)

    tried: dict[tuple[str, float], int] = {}
    for distorted in DISTORTED:
        _, losses = tuned(lambda r, d=distorted: -float(run(d, r, 0)["validation"]), RATES, 3, LOWEST_RATE)
        tried |= {(distorted, rate): round(-loss) for rate, loss in losses.items()}
    best = max(tried, key=tried.__getitem__)
    return {
        "distorted": best[0],
        "rate": best[1],
        "tried": [[*setting, right] for setting, right in tried.items()],
        **of_judges([run(best[0], best[1], draw) for draw in range(DRAWS)]),
    }


def kind_of(runs: Runs, kind: str, judge: str) -> dict:
    """Say what a kind reads without an image and repaired, by one judge."""
    without = runs.of((kind, "nothing"), lambda: right(start(kind), digits))
    return {
        "0": without[judge],
        "repaired": {str(size): repaired_row(runs, kind, size)[judge] for size in SIZES},
    }


def codes_of(runs: Runs, name: str, judge: str) -> dict:
    """Read the codes of another network, nearest and repaired without a choice, by one judge."""
    other = checkpoints.load(name)

    def made(size: int, draw: int) -> dict[str, int]:
        return right(repaired("codes", size, draw, 0.3, other), digits)

    found = {
        "float": runs.of((name,), lambda: right(other, digits))[judge],
        "nearest": runs.of((name, 0), lambda: right(cl.quantize(other, SCHEME), digits))[judge],
    }
    return found | {
        str(size): [runs.of((name, size, draw), made, size, draw)[judge] for draw in range(DRAWS)]
        for size in OTHER_SIZES
    }


def read(runs: Runs, judge: str) -> dict:
    """Say what all networks read without training, by one judge."""
    return {
        "float": runs.of(("float",), lambda: right(net, digits))[judge],
        "kinds": {kind: kind_of(runs, kind, judge) for kind in DEFAULTS},
        "networks": {name: codes_of(runs, name, judge) for name in OTHERS},
    }


def main() -> None:
    torch.set_num_threads(1)
    runs = Runs(RECORD.stem)
    by = {judge: read(runs, judge) for judge in judges(digits)}  # the quick ones first
    record = {
        "images": {part: len(getattr(digits, part)) for part in ("validation", "test")},
        "lowest rate": LOWEST_RATE,
        "steps": STEPS,
        **by.pop("test"),
        **by,
    }
    for kind, found in record["kinds"].items():
        found["distilled"] = {str(size): distilled_row(runs, kind, size) for size in SIZES}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
