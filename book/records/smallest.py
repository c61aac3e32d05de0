import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import Any

import torch
from runs import WORK, Runs, tuned
from torch import Tensor, nn
from torch.nn import functional

import compresslab as cl
from compresslab import checkpoints, criteria, data, models
from compresslab.estimating import CodeLength, grids_of, train_codes
from compresslab.training import Batch, SoftTargets, Split

KEPT = WORK / "smallest"
BATCH = 128
ADAM = partial(torch.optim.Adam, betas=(0.9, 0.99), fused=True)


class Pool:
    """Hold copies of every image, distorted each in its own way, and what the teacher says of them.

    Why: a teacher that is fifty times the student costs most of the time; it answers each image once.
    """

    def __init__(self, split: Split, copies: int, seed: int = 0) -> None:
        self.labels, generator = split.labels, torch.Generator().manual_seed(seed)
        self.images = torch.empty(copies, *split.images.shape, dtype=torch.uint8)
        self.answers = torch.zeros(copies, len(split), 10)
        for number, copied in enumerate(self.images):
            for part in torch.arange(len(split)).split(500):
                seen = split.images[part]
                seen = data.random_affine(seen, generator) if number else seen
                copied[part] = (seen * 255).round().clamp(0, 255).byte()

    def ask(self, teacher: nn.Module) -> None:
        """Note what the teacher says of every copy."""
        with torch.no_grad():
            for copied, answers in zip(self.images, self.answers, strict=True):
                for part in torch.arange(len(copied)).split(500):
                    answers[part] = teacher(copied[part].float() / 255)


@dataclass
class Lesson:
    """Go through the images of a pool once an epoch, each in a copy drawn anew; and judge the answers."""

    pool: Pool
    generator: torch.Generator
    soft: SoftTargets | None
    copies: int
    clean: float = 0.0

    def __iter__(self) -> Iterator[Batch]:
        pool = self.pool
        for which in torch.randperm(len(pool.labels), generator=self.generator).split(BATCH)[:-1]:
            drawn = torch.randint(self.copies, which.shape, generator=self.generator)
            drawn[torch.rand(which.shape, generator=self.generator) < self.clean] = 0
            images = pool.images[drawn, which].float() / 255
            yield Batch(images, (pool.labels[which], pool.answers[drawn, which]))

    def __call__(self, model: nn.Module, images: Tensor, targets: Any) -> Tensor:
        labels, taught = targets
        answers = model(images)
        hard = functional.cross_entropy(answers, labels)
        return hard if self.soft is None else self.soft.mixed(self.soft.of(answers, taught), hard)


class Budget:
    """A penalty whose price follows the bits: dearer while there are too many, cheaper below the budget.

    The budget itself falls from what there is to what is asked in the first 40 % of the steps; in the last
    30 % the price stays.
    """

    def __init__(self, bits: float, steps: int, price: float = 1e-6, priced: bool = True) -> None:
        self.asked, self.steps, self.price, self.step, self.first = bits, steps, price, 0, 0.0
        self.priced, self.allowed = priced, math.inf
        self.bits, self.length = 0.0, CodeLength(1.0)

    def __call__(self, model: nn.Module) -> Tensor:
        if self.step % 25 == 0:
            self.lengths = self.length.lengths_of(model)
        bits = self.length.bits(model, self.lengths)
        self.bits = bits.item()
        self.first = self.first or self.bits
        fallen = min(1.0, self.step / (0.4 * self.steps))
        self.allowed = self.first ** (1 - fallen) * self.asked**fallen
        if self.step < 0.7 * self.steps:
            self.price *= math.exp(0.01 * max(-0.3, min(0.3, self.bits / self.allowed - 1)))
        self.step += 1
        return self.price * bits if self.priced else 0 * bits


@dataclass(frozen=True)
class Point:
    """Say how one network comes to its bytes.

    Args:
        network: its builder.
        widths: of its hidden layers after each cut, the last ones being those of the file.
        floats: epochs after each cut.
        codes: epochs with codes and their price.
        budget: estimated bytes, asked of training.
        limit: bytes of the file, and the share of right answers that is asked, for the record.
    """

    data: str
    network: str
    widths: tuple[tuple[int, ...], ...]
    floats: tuple[int, ...]
    codes: int
    budget: int
    limit: tuple[int, float]


LENET5 = ((10, 20, 80), (6, 12, 40), (4, 10, 24), (4, 8, 16))
AFTER = {"digits": (60, 100, 150, 150), "mnist": (6, 8)}
POINTS = {
    "digits 660": Point("digits", "lenet5", LENET5, AFTER["digits"], 300, 680, (660, 0.97)),
    "digits 950": Point("digits", "lenet5", LENET5[:3], AFTER["digits"][:3], 250, 1030, (950, 0.976)),
    "digits 1400": Point("digits", "lenet5", LENET5[:2], AFTER["digits"][:2], 200, 1500, (1400, 0.982)),
    "digits 500": Point("digits", "lenet5", LENET5, AFTER["digits"], 400, 520, (500, 0.97)),
    "lenet5 1520": Point("mnist", "lenet5", LENET5[:2], AFTER["mnist"], 30, 1650, (1520, 0.992)),
    "lenet5 3030": Point("mnist", "lenet5", LENET5[:1], AFTER["mnist"][:1], 30, 3200, (3030, 0.9935)),
}
PERCEPTRON = Point("mnist", "lenet_300_100", ((300, 100), (60, 40)), (8, 10), 60, 2150, (2000, 0.9836))
POINTS["perceptron 2000"] = PERCEPTRON
COPIES = {"digits": 60, "mnist": 10}
SOFT, CLEAN = SoftTargets(2.0, 0.8), 0.3
RATE_FLOATS, RATE_CODES = 3e-3, 2e-3
SEEDS = (0, 1, 2)


@cache
def images(name: str) -> data.ImageData:
    return getattr(data, name)()


@cache
def teacher(name: str) -> nn.Module:
    """Return who teaches: of the digits the shipped checkpoint, of MNIST a LeNet-5 of this script."""
    if name == "digits":
        return checkpoints.load("lenet5")
    path, model = KEPT / f"{name}_teacher.clab", models.lenet5(seed=0)
    if path.exists():
        return cl.load(path)
    learn(model, Lesson(untaught(name), generator(0), None, COPIES[name]), 8, 2e-3)
    cl.save(model, path)
    return model


@cache
def untaught(name: str) -> Pool:
    return Pool(images(name).train, COPIES[name])


@cache
def pool(name: str) -> Pool:
    found, path = untaught(name), KEPT / f"{name}_answers.pt"
    if path.exists():
        found.answers = torch.load(path)
    else:
        found.ask(teacher(name))
        torch.save(found.answers, path)
    return found


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lesson(name: str, seed: int) -> Lesson:
    return Lesson(pool(name), generator(seed), SOFT, COPIES[name], CLEAN)


def start(point: Point, seed: int) -> nn.Module:
    """Return the network in floats, cut in steps from its teacher and taught after each."""
    widths, floats = point.widths[-1], point.floats[-1]
    path = KEPT / f"{point.data}_{point.network}_{'-'.join(map(str, widths))}_{seed}.clab"
    if path.exists():
        return cl.load(path)
    if len(point.widths) > 1:
        larger = start(replace(point, widths=point.widths[:-1], floats=point.floats[:-1]), seed)
    elif point.network == "lenet5":
        larger = teacher(point.data)
    else:
        model = models.lenet_300_100(*widths, cosines=12, seed=seed)
        learn(model, lesson(point.data, seed), floats, RATE_FLOATS)
        cl.save(model, path)
        return model
    shown = pool(point.data)
    drawn = torch.randperm(len(shown.labels), generator=generator(seed))[:3000].split(500)
    seen = [Split(shown.images[1, part].float() / 255, shown.labels[part]) for part in drawn]
    hidden = ("conv1", "conv2", "fc1") if point.network == "lenet5" else ("fc1", "fc2")
    shares = {
        layer: 1 - keep / getattr(larger.config, layer) for layer, keep in zip(hidden, widths, strict=True)
    }
    model = cl.prune_neurons(larger, criteria.taylor, shares, batches=seen)
    learn(model, lesson(point.data, seed), floats, RATE_FLOATS)
    cl.save(model, path)
    return model


def run(name: str, seed: int) -> dict:
    """Train a point's codes and keep what training ended with."""
    point = POINTS[name]
    net = train_codes(start(point, seed))
    taught = lesson(point.data, seed + 100)
    penalty = Budget(8 * point.budget, point.codes * (len(taught.pool.labels) // BATCH))
    learn(net, taught, point.codes, RATE_CODES, penalty)
    torch.save(net.state_dict(), KEPT / f"{name}_{seed}.pt")
    right = cl.evaluate(net, images(point.data).validation)
    return {
        "validation": [right.correct, right.total],
        "estimate": round(CodeLength(1.0).bits(net).item() / 8),
        "price": penalty.price,
    }


def learn(
    model: nn.Module, lesson: Lesson, epochs: int, lr: float, penalty: Any = None, after_step: Any = None
) -> None:
    cl.train(
        model, lesson, epochs=epochs, lr=lr, optimizer=ADAM, objective=lesson, penalty=penalty,
        after_step=after_step, progress=False,
    )  # fmt: skip


# --- what each part adds, on the digits: the same network, the same budget of bits

ABLATED = {"conv1": 4, "conv2": 10, "fc1": 24}
FIRST, SECOND, ASKED = 60, 120, 850  # epochs in floats, epochs with codes, estimated bytes
PARTS = ("rate", "distillation", "augmentation")
RATES = (1e-3, 2e-3, 4e-3)


class Zeros:
    """Keep to the same budget by zeros alone: the smallest weights of all layers go while it is exceeded."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.gone, self.masks = budget, 0.0, []

    def __call__(self, model: nn.Module, lr: float) -> None:
        early = self.budget.step % 25 == 0 and self.budget.step < 0.7 * self.budget.steps
        if early or not self.masks:
            if self.budget.bits > self.budget.allowed:
                self.gone += 0.015 * (1 - self.gone)
            sizes = [(floats / floats.std()).abs() for _, floats in grids_of(model) if floats.dim() > 1]
            least = torch.cat([size.flatten() for size in sizes]).quantile(self.gone)
            self.masks = [size > least for size in sizes]
        weights = (floats for _, floats in grids_of(model) if floats.dim() > 1)
        for floats, mask in zip(weights, self.masks, strict=True):
            floats.mul_(mask)


def part_lesson(parts: tuple[bool, ...], seed: int) -> Lesson:
    _, distilled, augmented = parts
    soft, copies = SOFT if distilled else None, COPIES["digits"] if augmented else 1
    return Lesson(pool("digits"), generator(seed), soft, copies, CLEAN)


def ablated(parts: tuple[bool, ...], rate: float, seed: int, judge: bool) -> dict:
    """Train one row of the ablation."""
    path = KEPT / f"ablation_{parts[1]:d}{parts[2]:d}_{seed}.clab"
    if path.exists():
        model = cl.load(path)
    else:
        model = models.lenet5(**ABLATED, seed=seed)
        learn(model, part_lesson(parts, seed), FIRST, RATE_FLOATS)
        cl.save(model, path)
    net, taught = train_codes(model), part_lesson(parts, seed + 100)
    budget = Budget(8 * ASKED, SECOND * (len(taught.pool.labels) // BATCH), priced=parts[0])
    learn(net, taught, SECOND, rate, budget, None if parts[0] else Zeros(budget))
    _, loss = cl.training.read_out(net, images("digits").validation, 500, cl.training.Classification())
    found = {
        "validation loss": round(loss, 5),
        "validation": cl.evaluate(net, images("digits").validation).correct,
        "estimate": round(CodeLength(1.0).bits(net).item() / 8),
    }
    if judge:
        name = "".join(str(int(part)) for part in parts)
        torch.save(net.state_dict(), KEPT / f"ablation_{name}_{seed}.pt")
        found |= {name: cl.evaluate(net, images(name).test).correct for name in ("digits", "mnist")}
    return found


def ablation(runs: Runs) -> dict:
    """Tune the learning rate of every row at seed 0 by validation's loss, then run every seed."""
    found = {}
    for parts in product((True, False), repeat=len(PARTS)):
        on = ", ".join(name for name, there in zip(PARTS, parts, strict=True) if there) or "none"

        def loss(rate: float, parts: tuple = parts, on: str = on) -> float:
            return runs.of(("ablation", on, rate, 0), ablated, parts, rate, 0, False)["validation loss"]

        best, tried = tuned(loss, RATES)
        seeds = [
            runs.of(("ablation", on, best, seed, "judged"), ablated, parts, best, seed, True)
            for seed in SEEDS
        ]
        found[on] = {"rate": best, "tried": tried, "seeds": seeds}
    return found


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    KEPT.mkdir(parents=True, exist_ok=True)
    runs = Runs("smallest", "".join(names[:1]).replace(" ", ""))
    if names == ["ablation"]:
        ablation(runs)
    for name, point in POINTS.items():
        if not names or name.startswith(tuple(names)):
            for seed in SEEDS:
                runs.of((name, seed, point.budget, point.codes), run, name, seed)


if __name__ == "__main__":
    main(sys.argv[1:])
