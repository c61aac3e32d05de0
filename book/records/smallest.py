"""Train LeNets whose files take some hundred bytes, and ask what each part adds, for chapter 23.

Run from the root of the repository: python book/records/smallest.py [digits] [lenet5] [perceptron]
[ablation] [record]

With words it makes only the runs whose names begin so; several processes can share the work like this.
Without a word it makes what is missing, writes every file, loads it again, reads the test split once, and
writes the record. The word record does so with the runs that stand in build/records, and leaves all else in
the record as it is. The whole MNIST must lie under COMPRESSLAB_DATA.

Teachers answer every image of a pool of distorted copies. The neurons of one are cut in steps by the Taylor
criterion, and the network learns from the pool after each cut. Then it trains as codes: weights and biases
are small integers times steps of one byte, and every bit has a price that is adjusted until the estimated
length of the codes keeps to a budget. The networks for the digits see the 3,500 training digits alone;
their teachers are shipped checkpoints.

The ablation takes one part away at a time, from one network of fresh weights: the price (the smallest
weights become zeros instead, until the same budget is kept), the teacher, the distorted copies, and all
three. Every row has the same epochs and the same budget, and its learning rate is tuned by the loss on
validation at seed 0.

Validation chooses; the test split is read for the record. Finished runs stand in build/records, so an
interrupted run goes on where it was. It takes some four hours of one core.
"""

import json
import math
import sys
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import judges
import torch
from runs import WORK, Runs, tuned
from torch import Tensor, nn
from torch.nn import functional

import compresslab as cl
from compresslab import checkpoints, criteria, data, models
from compresslab.quantization import CodeLength, Lengths, grids_of, train_codes
from compresslab.storage import encode
from compresslab.teaching import records
from compresslab.training import Batch, SoftTargets, Split

RECORD = records.FOLDER / "smallest.json"
FILES, KEPT = RECORD.with_suffix(""), WORK / "smallest"
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
                    images = copied[part].float() / 255
                    answers[part] = teacher(images.to(memory_format=torch.channels_last))


class Together(nn.Module):
    """Answer with the mean of several networks' answers, before the softmax."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members]).mean(0)


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
            images = images.to(memory_format=torch.channels_last)  # pooling takes half the time
            yield Batch(images, (pool.labels[which], pool.answers[drawn, which]))

    def __call__(self, model: nn.Module, images: Tensor, targets: Any) -> Tensor:
        labels, taught = targets
        answers = model(images)
        hard = functional.cross_entropy(answers, labels)
        return hard if self.soft is None else self.soft.mixed(self.soft.of(answers, taught), hard)


class AllBits:
    """Add the bits of all tensors as ``Lengths.bits`` does, in one row, with far fewer operations."""

    def __init__(self, model: nn.Module, lengths: list[Lengths]) -> None:
        self.grids, self.floats = zip(*grids_of(model), strict=True)
        sizes = [floats.numel() for floats in self.floats]
        self.tensor = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        self.pull = torch.cat([one.pull.flatten() for one in lengths])
        self.further = torch.stack([one.further for one in lengths])[self.tensor]
        self.nonzero = torch.stack([one.nonzero.sum() for one in lengths]).sum()

    def __call__(self) -> Tensor:
        smooth = torch.exp2(torch.stack([grid.exponent for grid in self.grids]))
        exact = torch.exp2((8 * torch.stack([grid.exponent for grid in self.grids]).detach()).round() / 8)
        length = exact + (smooth - smooth.detach())
        floats = torch.cat([floats.flatten() for floats in self.floats])
        steps = (floats * (1 / length).index_select(0, self.tensor)).clamp(*self.grids[0].scheme.code_range)
        held = steps.detach()
        slope = torch.where(held.abs() < 1, self.pull, self.further)
        return self.nonzero - slope.sum() + (slope * held.sign() * steps).sum()


class Budget:
    """A penalty whose price follows the bits: dearer while there are too many, cheaper below the budget.

    Its bits are those between the codes, where the floats are: more than those of the codes. The budget falls
    from what there is to what is asked in the first 40 % of the steps; in the last 30 % the price stays.
    An exact budget is one of the codes' bits, which are counted now and then, and the price moves longer.
    Files still end some per cent away from it: late in training a low price brings no code back.
    """

    def __init__(
        self, bits: float, steps: int, price: float = 1e-6, priced: bool = True, exact: bool = False
    ) -> None:
        self.asked, self.steps, self.price, self.step, self.first = bits, steps, price, 0, 0.0
        self.priced, self.allowed, self.exact, self.rounded = priced, math.inf, exact, 1.0
        self.bits, self.length = 0.0, CodeLength(1.0)

    def __call__(self, model: nn.Module) -> Tensor:
        if self.step % 25 == 0:
            lengths = self.length.lengths_of(model)
            self.together = AllBits(model, lengths)
        bits = self.together()
        if self.exact and self.step % 25 == 0:
            self.rounded = self.length.bits(model, lengths).item() / bits.item()
        self.bits = bits.item() * self.rounded
        self.first = self.first or self.bits
        fallen = min(1.0, self.step / (0.4 * self.steps))
        self.allowed = self.first ** (1 - fallen) * self.asked**fallen
        if self.step < (0.95 if self.exact else 0.7) * self.steps:
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
        rate: the learning rate of the codes.
        price: of a bit, to begin with.
        teachers: how many teach together: of the digits those that the package ships, of MNIST LeNet-5 that
            this script trains, but three of them are the files of "lenet5 3030".
        exact: is the budget one of the codes as they are written?
    """

    data: str
    network: str
    widths: tuple[tuple[int, ...], ...]
    floats: tuple[int, ...]
    codes: int
    budget: int
    rate: float
    price: float
    teachers: int = 1
    exact: bool = False


LENET5 = ((10, 20, 80), (6, 12, 40), (4, 10, 24), (4, 8, 16))
AFTER = {"digits": (60, 100, 150, 150), "mnist": (6,)}
POINTS = {
    "digits 660": Point("digits", "lenet5", LENET5, AFTER["digits"], 450, 680, 4e-3, 5e-5),
    "digits 950": Point("digits", "lenet5", LENET5[:3], AFTER["digits"][:3], 200, 1050, 4e-3, 3e-5),
    "digits 1400": Point(
        "digits", "lenet5", LENET5[:2], AFTER["digits"][:2], 400, 1390, 4e-3, 1e-5, 3, exact=True
    ),
    "digits 500": Point("digits", "lenet5", LENET5, AFTER["digits"], 450, 557, 4e-3, 1e-4),
    "lenet5 800": Point("mnist", "lenet5", LENET5[1:3], (5, 5), 40, 880, 2e-3, 2e-5, 3),
    "lenet5 1520": Point("mnist", "lenet5", ((6, 12, 40),), (5,), 90, 1760, 2e-3, 1e-5, 3),
    "lenet5 3030": Point("mnist", "lenet5", LENET5[:1], AFTER["mnist"], 40, 3900, 2e-3, 1e-6, 2),
    "perceptron 2000": Point(
        "mnist", "lenet_300_100", ((300, 100), (60, 40)), (8, 20), 150, 2100, 3e-3, 1e-5
    ),
}
GOALS = ("digits 500", "lenet5 800")  # further down, tried with one seed each
COPIES = {"digits": 60, "mnist": 10}
TEACHING = 8  # epochs of a teacher that this script trains
SHIPPED = ("lenet5", "article", "residual")  # who may teach the digits
TEACHING_FILES, THREE_FILES = "lenet5 3030", ("mnist", 3)  # files that teach, in the place of three LeNet-5
SOFT, CLEAN = SoftTargets(2.0, 0.8), 0.3
RATE_FLOATS = 3e-3
SEEDS = (0, 1, 2)
# Where a setting was given up after its files had read the test split, the next one has fresh seeds.
SEEDS_OF = {"digits 1400": (21, 22, 23), "lenet5 1520": (13, 14, 15), **dict.fromkeys(GOALS, (0,))}
FRESH = {"digits 660": (3, 4, 5)}  # beside those that were read first


@cache
def images(name: str) -> data.ImageData:
    return getattr(data, name)()


@cache
def teachers(name: str, count: int) -> tuple[nn.Module, ...]:
    """Return who teaches together; pruning begins from the first."""
    if name == "digits":
        return tuple(checkpoints.load(shipped) for shipped in SHIPPED[:count])
    if (name, count) == THREE_FILES:
        return tuple(in_floats(cl.load(path_of(TEACHING_FILES, seed))) for seed in SEEDS)
    return tuple(trained_teacher(name, seed) for seed in range(count))


def in_floats(small: nn.Module) -> nn.Module:
    """Return the network of a file with floats that are equal to what its codes stand for."""
    model = models.lenet5(*asdict(small.config).values())
    values = {
        f"{layer}.{name}": tensor.dequantize()
        for layer, held in small.named_children()
        for name, tensor in getattr(held, "quantized_weights", {}).items()
    }
    model.load_state_dict(values)
    return model


def trained_teacher(name: str, seed: int) -> nn.Module:
    path, model = KEPT / f"{name}_teacher_{seed}.clab", models.lenet5(seed=seed)
    if path.exists():
        return cl.load(path)
    # a third of the time where the chip multiplies such numbers; a cache would hold on to the first weights
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        learn(model, Lesson(untaught(name), generator(seed), None, COPIES[name]), TEACHING, 2e-3)
    cl.save(model, path)
    return model


@cache
def untaught(name: str) -> Pool:
    return Pool(images(name).train, COPIES[name])


@cache
def pool(name: str, count: int) -> Pool:
    found, path = copy(untaught(name)), KEPT / f"{name}_{count}_answers.pt"
    if path.exists():
        found.answers = torch.load(path)
    else:
        found.answers = torch.zeros_like(found.answers)
        found.ask(Together(teachers(name, count)))
        torch.save(found.answers, path)
    return found


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lesson(point: Point, seed: int) -> Lesson:
    return Lesson(pool(point.data, point.teachers), generator(seed), SOFT, COPIES[point.data], CLEAN)


def start(point: Point, seed: int) -> nn.Module:
    """Return the network in floats, cut in steps from its teacher and taught after each."""
    widths, floats = point.widths[-1], point.floats[-1]
    path = KEPT / f"{point.data}_{point.teachers}_{point.network}_{'-'.join(map(str, widths))}_{seed}.clab"
    if path.exists():
        return cl.load(path)
    if len(point.widths) > 1:
        larger = start(replace(point, widths=point.widths[:-1], floats=point.floats[:-1]), seed)
    elif point.network == "lenet5":
        larger = teachers(point.data, point.teachers)[0]
    else:
        model = models.lenet_300_100(*widths, cosines=12, seed=seed)
        learn(model, lesson(point, seed), floats, RATE_FLOATS)
        cl.save(model, path)
        return model
    shown = pool(point.data, point.teachers)
    drawn = torch.randperm(len(shown.labels), generator=generator(seed))[:3000].split(500)
    seen = [Split(shown.images[1, part].float() / 255, shown.labels[part]) for part in drawn]
    hidden = ("conv1", "conv2", "fc1") if point.network == "lenet5" else ("fc1", "fc2")
    shares = {
        layer: 1 - keep / getattr(larger.config, layer) for layer, keep in zip(hidden, widths, strict=True)
    }
    model = cl.prune_neurons(larger, criteria.taylor, shares, batches=seen)
    learn(model, lesson(point, seed), floats, RATE_FLOATS)
    cl.save(model, path)
    return model


def run(name: str, seed: int) -> dict:
    """Train a point's codes and keep what training ended with."""
    point = POINTS[name]
    net = train_codes(start(point, seed))
    taught = lesson(point, seed + 100)
    steps = point.codes * (len(taught.pool.labels) // BATCH)
    penalty = Budget(8 * point.budget, steps, point.price, exact=point.exact)
    learn(net, taught, point.codes, point.rate, penalty)
    torch.save(net.state_dict(), KEPT / f"{name}_{seed}.pt")
    chosen_by = images(point.data).validation
    right = cl.evaluate(net, chosen_by)
    _, loss = cl.training.read_out(net, chosen_by, 500, cl.training.Classification())
    return {
        "validation": [right.correct, right.total],
        "validation loss": round(loss, 5),
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
FIRST, SECOND, ASKED = 40, 80, 850  # epochs in floats, epochs with codes, estimated bytes
PARTS = ("rate", "distillation", "augmentation")
ROWS = {"all": (True,) * 3} | {
    f"without {name}": tuple(other != name for other in PARTS) for name in PARTS
} | {"none": (False,) * 3}  # fmt: skip
RATES = (2e-3, 4e-3, 8e-3)


class Zeros:
    """Keep to the same budget by zeros alone: the smallest weights of all layers go while it is exceeded."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.gone, self.masks = budget, 0.0, []

    def __call__(self, model: nn.Module, lr: float) -> None:
        early = self.budget.step % 25 == 0 and self.budget.step < 0.7 * self.budget.steps
        if early or not self.masks:
            if self.budget.bits > self.budget.allowed:
                self.gone += 0.05 * (1 - self.gone)
            sizes = [(floats / floats.std()).abs() for _, floats in grids_of(model) if floats.dim() > 1]
            least = torch.cat([size.flatten() for size in sizes]).quantile(self.gone)
            self.masks = [size > least for size in sizes]
        weights = (floats for _, floats in grids_of(model) if floats.dim() > 1)
        for floats, mask in zip(weights, self.masks, strict=True):
            floats.mul_(mask)


def part_lesson(parts: tuple[bool, ...], seed: int) -> Lesson:
    _, distilled, augmented = parts
    soft, copies = SOFT if distilled else None, COPIES["digits"] if augmented else 1
    return Lesson(pool("digits", 1), generator(seed), soft, copies, CLEAN)


def ablated(row: str, rate: float, seed: int) -> dict:
    """Train one row of the ablation and keep what training ended with."""
    parts = ROWS[row]
    path = KEPT / f"ablation_{parts[1]:d}{parts[2]:d}_{seed}.clab"
    if path.exists():
        model = cl.load(path)
    else:
        model = models.lenet5(**ABLATED, seed=seed)
        learn(model, part_lesson(parts, seed), FIRST, RATE_FLOATS)
        cl.save(model, path)
    net, taught = train_codes(model), part_lesson(parts, seed + 100)
    budget = Budget(8 * ASKED, SECOND * (len(taught.pool.labels) // BATCH), 2e-5, priced=parts[0])
    learn(net, taught, SECOND, rate, budget, None if parts[0] else Zeros(budget))
    small = cl.quantize(net)
    cl.save(small, KEPT / f"ablation {row} {rate} {seed}.clab", coding="mixing")
    _, loss = cl.training.read_out(small, images("digits").validation, 500, cl.training.Classification())
    return {
        "validation loss": round(loss, 5),
        "validation": cl.evaluate(small, images("digits").validation).correct,
        "bytes": len(encode(small, coding="mixing")[0]),
    }


def ablation(runs: Runs) -> dict:
    """Tune the learning rate of every row at seed 0 by validation's loss, then run every seed and judge."""
    found = {}
    for row in ROWS:

        def made(rate: float, seed: int = 0, row: str = row) -> dict:
            return runs.of(("ablation", row, rate, seed), ablated, row, rate, seed)

        best, tried = tuned(lambda rate, made=made: made(rate)["validation loss"], RATES)
        found[row] = {"rate": best, "tried": tried, "seeds": []}
        for seed in SEEDS:
            small = cl.load(KEPT / f"ablation {row} {best} {seed}.clab") if made(best, seed) else None
            found[row]["seeds"].append(made(best, seed) | judged(small) | {"seed": seed})
    return found


# --- the record


def codings(small: nn.Module) -> dict[str, int]:
    """Return the bytes of one network in four files."""
    return {
        "fixed bits": len(encode(small, coders=["packed"])[0]),
        "huffman": len(encode(small, coders=["packed", "huffman"])[0]),
        "all of chapter 18": len(encode(small)[0]),
        "mixing": len(encode(small, coding="mixing")[0]),
    }


def judged(small: nn.Module) -> dict:
    """Read both test splits, and write the network in all files.

    Networks that learned the whole MNIST have seen the 1,000 digits; there these only tell whether a file
    came back as it was.
    """
    right = {name: cl.evaluate(small, images(name).test).correct for name in COPIES}
    return right | {"codings": codings(small)}


def filed(name: str, seed: int, found: dict, folder: Path = FILES) -> dict:
    """Write the file, unless the one that is there is of this run; load it, and judge what was loaded."""
    point, path = POINTS[name], path_of(name, seed, folder)
    choose = images(point.data).validation
    if not path.exists() or cl.evaluate(cl.load(path), choose).correct != found["validation"][0]:
        net = train_codes(start(point, seed))
        net.load_state_dict(torch.load(KEPT / f"{name}_{seed}.pt"))
        cl.save(cl.quantize(net), path, coding="mixing")
    small = cl.load(path)
    if (right := cl.evaluate(small, choose).correct) != found["validation"][0]:
        raise ValueError(f"{path.name} reads {right} of validation, training ended with {found}")
    estimate = round(sum(float(Lengths.of(codes).bits(codes)) for codes in codes_of(small)) / 8)
    return {"seed": seed, "bytes": path.stat().st_size, **found, "estimate": estimate, **judged(small)}


def codes_of(small: nn.Module) -> list[Tensor]:
    held = (getattr(layer, "quantized_weights", {}) for layer in small.modules())
    return [codes.codes.float() for each in held for codes in each.values()]


def key_of(name: str, seed: int) -> tuple:
    point = POINTS[name]
    widths = "-".join(map(str, point.widths[-1]))
    return name, seed, point.budget, point.codes, point.rate, point.price, point.teachers, widths


def write_record(runs: Runs) -> None:
    """Write files and record of all of which there are runs here; the rest stays as it was recorded."""
    before = records.load(RECORD.stem) if RECORD.exists() else {"points": {}, "teachers": []}
    parts = ("train", "validation", "test")
    known = before["points"] | before.get("goals", {})
    points = {name: pointed(name, runs, known.get(name)) for name in POINTS}
    points = {name: point for name, point in points.items() if point}
    parted = any(key[0] == "ablation" for key in runs.found)
    made = [name for name in POINTS if any(key_of(name, seed) in runs.found for seed in all_seeds(name))]
    record = {
        "images": {name: {part: len(getattr(images(name), part)) for part in parts} for name in COPIES},
        "teachers": all_teachers(made, before["teachers"]),
        "points": {name: point for name, point in points.items() if name not in GOALS},
        "goals": {name: points[name] for name in GOALS if name in points},
        "ablation": {"epochs": [FIRST, SECOND], "estimate": ASKED, "rows": ablation(runs)}
        if parted
        else before["ablation"],
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def pointed(name: str, runs: Runs, before: dict | None) -> dict | None:
    """Judge the runs of a point. Those of a setting before it stay, without their files, as "earlier"."""
    held = {seed: runs.found.get(key_of(name, seed)) for seed in all_seeds(name)}
    recipe, read = recipe_of(name), {key: one for key, one in runs.found.items() if key[0] == name}
    if not any(held.values()):
        return before and before | {"tried": all_tried(before["tried"], read)}
    before = before or {"recipe": recipe, "seeds": [], "tried": []}
    earlier, seeds, fresh = before.get("earlier", []), before["seeds"], before.get("fresh", [])
    if before["recipe"] != recipe:
        earlier = [*earlier, {"recipe": before["recipe"], "seeds": [*seeds, *fresh]}]
        for run in seeds:
            path_of(name, run["seed"]).unlink(missing_ok=True)
        seeds, fresh = [], []
    made = {seed: one for seed, one in held.items() if one}
    if set(made) & set(seeds_of(name)):
        seeds = [filed(name, seed, made[seed]) for seed in seeds_of(name) if seed in made]
    if set(made) & set(FRESH.get(name, ())):
        fresh = [filed(name, seed, made[seed], KEPT) for seed in FRESH[name] if seed in made]
    found = {"recipe": recipe, "seeds": seeds, "fresh": fresh, "earlier": earlier}
    return {key: value for key, value in found.items() if value} | {"tried": all_tried(before["tried"], read)}


def all_tried(before: list[list], read: dict[tuple, dict]) -> list[list]:
    """Return every setting that was tried, with the validation images that were read."""
    tried = {tuple(one) for one in before} | {(*key[1:], one["validation"][0]) for key, one in read.items()}
    return sorted(map(list, tried))


def seeds_of(name: str) -> tuple[int, ...]:
    return SEEDS_OF.get(name, SEEDS)


def all_seeds(name: str) -> tuple[int, ...]:
    return *seeds_of(name), *FRESH.get(name, ())


def path_of(name: str, seed: int, folder: Path = FILES) -> Path:
    whole = "mnist_" * (POINTS[name].data == "mnist")  # its network may have learned the test digits
    return folder / f"{whole}{name.replace(' ', '_')}_{seed}.clab"


def all_teachers(made: Iterable[str], before: list[dict]) -> list[dict]:
    """Judge the teachers of the points that were made here; all others stay as recorded."""
    now = sorted({(POINTS[name].data, POINTS[name].teachers) for name in made})
    kept = [one for one in before if (one["data"], one["teachers"]) not in now]
    return kept + [judged_teachers(*who) for who in now]


def recipe_of(name: str) -> dict:
    """Return a recipe as a record holds it: without what is so in most."""
    recipe = json.loads(json.dumps(asdict(POINTS[name])))
    return {what: value for what, value in recipe.items() if value is not False}


def judged_teachers(name: str, count: int) -> dict:
    """Return what the teachers read together, and the bytes of their files."""
    if (name, count) == THREE_FILES:
        size = sum(path_of(TEACHING_FILES, seed).stat().st_size for seed in SEEDS)
    else:
        size = sum(len(encode(teacher)[0]) for teacher in teachers(name, count))
    together = Together(teachers(name, count))
    return {"data": name, "teachers": count, "bytes": size, **judges.right(together, images(name))}


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    KEPT.mkdir(parents=True, exist_ok=True)
    FILES.mkdir(exist_ok=True)
    runs = Runs(RECORD.stem, "_".join(names).replace(" ", "_"))
    if "ablation" in names:
        ablation(runs)
    for name in POINTS:
        if not names or name.startswith(tuple(names)):
            for seed in all_seeds(name):
                runs.of(key_of(name, seed), run, name, seed)
    if not names:
        ablation(runs)
    if names in ([], ["record"]):
        write_record(runs)


if __name__ == "__main__":
    main(sys.argv[1:])
