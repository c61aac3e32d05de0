"""Teach three small networks by hard, smoothed and soft labels and by hidden layers, for chapter 17.

Run from the root of the repository: python book/records/distillation.py [student ...]

Three students of one shape: a network with a quarter of the article's neurons in every layer, from fresh
weights; the article's network with three quarters of its neurons cut; and the same in ternary codes. Their
teacher is the shipped checkpoint. Five rows for each student, all with its epochs, its seeds and the same
images: hard labels; the same without augmentation; label smoothing; soft targets; and hard labels beside a
matched hidden layer. Three more rows, of the first student, have the settings of its soft targets: the same
without augmentation; with a teacher of its own kind (what the row of hard labels gave with the same seed);
and with a teacher that was taught every 7 as a 1. A fourth one is a control: label smoothing without
augmentation.

The five rows and that control are tuned alike, by the cross entropy on validation, the mean of all seeds:
first the learning rate, then one setting of its own (of hard labels it is weight decay), each over a grid
that grows until the best is inside it or at a natural bound. The setting with the least loss of all that were
tried is chosen. One seed is too few to choose by: when it was, two chips chose rates four times apart. The
test split, and MNIST's own, are read for the record and choose nothing.

Finished runs stand in build/records, so an interrupted run goes on where it was. With students, only their
settings are tried, so that processes can share the work. It takes an hour of one core.
"""

import copy
import hashlib
import json
import sys
from collections.abc import Callable
from functools import cache
from itertools import product
from statistics import fmean
from typing import Any

import torch
from judges import right
from runs import Runs, tuned
from torch import Tensor, nn

import compresslab as cl
from compresslab import checkpoints, criteria, data, models
from compresslab.teaching import records
from compresslab.training import Features, LabelSmoothing, Split

RECORD = records.FOLDER / "distillation.json"
SEEDS = (0, 1, 2, 3, 4)
EPOCHS = {"small": 6, "cut": 3, "ternary": 3}
RATES = {"small": (4e-3, 8e-3, 16e-3), "cut": (2e-3, 4e-3, 8e-3), "ternary": (2e-3, 4e-3, 8e-3)}
LOWEST_RATE = 6e-5  # below it a network is as it was
WEIGHT = 0.9  # of soft targets
DECAY = ("weight decay", 0.0, (1e-5, 1e-4, 1e-3), 10, 1e-6)
SOFT = ("temperature", 4.0, (2.0, 4.0, 8.0), 2, 1.0)
# of each row: what its setting is called, the first one, the grid, its factor and a natural bound below
ROWS: dict[str, tuple[str, float, tuple[float, ...], float, float]] = {
    "hard labels": DECAY,
    "hard labels, no augmentation": DECAY,
    "label smoothing": ("share", 0.1, (0.05, 0.1, 0.2), 2, 0.01),
    "soft targets": SOFT,
    "features": ("strength", 0.1, (0.03, 0.1, 0.3), 3, 0.001),
}
OWN, WRONG = "its own kind", "every 7 a 1"  # other teachers
MORE = ("soft targets, no augmentation", OWN, WRONG)
PLAIN_SMOOTHING = "label smoothing, no augmentation"  # the control of the first of them, tuned like every row
TEACHING = 3  # epochs of the teacher with wrong labels

digits = data.digits()


class Remembered(nn.Module):
    """A teacher that answers an image it has seen from memory: rows with one seed see the same images."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher, self.fc1, self.seen = teacher, nn.Identity(), {}

    def forward(self, images: Tensor) -> Tensor:
        key = hashlib.sha1(images.contiguous().numpy().tobytes()).digest()
        if key not in self.seen:
            hidden: list[Tensor] = []
            with self.teacher.get_submodule("fc1").register_forward_hook(
                lambda *said: hidden.append(said[-1])
            ):
                self.seen[key] = self.teacher(images), hidden[0]
        answer, hidden_answer = self.seen[key]
        self.fc1(hidden_answer)
        return answer


def fast(network: nn.Module) -> nn.Module:
    """Order the axes in memory as convolutions like them; this is only for speed."""
    return network.to(memory_format=torch.channels_last)


@cache
def shipped() -> nn.Module:
    return fast(checkpoints.load("article"))


@cache
def cut() -> nn.Module:
    return fast(cl.prune_neurons(shipped(), criteria.taylor, 0.75, batches=digits.train))


def fresh(student: str, seed: int) -> nn.Module:
    if student == "small":
        return fast(models.article(conv1=8, conv2=16, fc1=25, seed=seed))
    if student == "cut":
        return copy.deepcopy(cut())
    return cl.fake_quantize(cut(), cl.Ternary(cl.PerChannel()))


@cache
def taught_wrong() -> nn.Module:
    """Return a network of the teacher's shape that learned every 7 as a 1, without a look at validation."""
    labels = digits.train.labels.clone()
    labels[labels == 7] = 1
    teacher = fast(models.article(seed=0))
    learned = Split(digits.train.images, labels)
    cl.train(teacher, learned, epochs=TEACHING, augment=digits.augmentation, seed=0, progress=False)
    return teacher


@cache
def teacher_of(row: str, seed: int, chosen: tuple[float, float]) -> nn.Module:
    """Return who teaches a row; a student's own kind is what its row of hard labels gave with this seed."""
    if row == OWN:
        return Remembered(trained("small", "hard labels", *chosen, seed))
    return Remembered(taught_wrong() if row == WRONG else shipped())


def trained(
    student: str, row: str, rate: float, setting: float, seed: int, chosen: tuple[float, float] = (0, 0)
) -> nn.Module:
    """Return the student after its epochs, as its row asks."""
    network = fresh(student, seed)
    how: dict[str, Any] = {"epochs": EPOCHS[student], "lr": rate, "seed": seed, "progress": False}
    how["augment"] = False if row.endswith("no augmentation") else None
    if row.startswith("hard labels"):
        cl.train(network, digits, penalty=cl.penalties.L2(setting) if setting else None, **how)
    elif row.startswith("label smoothing"):
        cl.train(network, digits, objective=LabelSmoothing(setting), **how)
    elif row == "features":
        matched = Features({"fc1": "fc1"}, strength=setting)
        cl.distill(network, teacher_of("", seed, (0, 0)), digits, weight=0.0, features=matched, **how)
    else:
        other = row if row in (OWN, WRONG) else ""
        teacher = teacher_of(other, seed, chosen if other == OWN else (0, 0))
        cl.distill(network, teacher, digits, temperature=setting, weight=WEIGHT, **how)
    return cl.quantize(network) if student == "ternary" else network


def run(student: str, row: str, rate: float, setting: float, seed: int, chosen: Any, judge: bool) -> dict:
    """Train once and return what validation says, and at the end the other judges."""
    network = trained(student, row, rate, setting, seed, chosen)
    return judged(network, judge) | {"seed": seed}


def judged(network: nn.Module, every: bool) -> dict:
    _, loss = cl.training.read_out(network, digits.validation, 500, cl.training.Classification())
    found = {"validation loss": round(loss, 5)}
    if not every:
        return found | {"validation": cl.evaluate(network, digits.validation).correct}
    given, taught = (cl.evaluate(one, digits).predictions for one in (network, shipped()))
    return found | {"as teacher": int((given == taught).sum())} | right(network, digits)


def row_of(runs: Runs, student: str, row: str, asked: tuple) -> dict:
    """Tune a row by all seeds, and let the other judges read what was best."""
    name, first, grid, factor, lowest = asked
    tried: dict[tuple[float, float], float] = {}

    def loss(rate: float, setting: float) -> float:
        here = student, row, rate, setting
        found = [runs.of((*here, seed), run, *here, seed, (0, 0), False) for seed in SEEDS]
        tried[rate, setting] = round(fmean(one["validation loss"] for one in found), 5)
        return tried[rate, setting]

    rate, _ = tuned(lambda rate: loss(rate, first), RATES[student], lowest=LOWEST_RATE)
    tuned(lambda setting: loss(rate, setting), grid, factor, lowest)
    best = min(tried, key=tried.__getitem__)
    listed = [{"rate": r, name: s, "validation loss": value} for (r, s), value in sorted(tried.items())]
    return {"rate": best[0], name: best[1], "tried": listed, "seeds": seeds_of(runs, student, row, *best)}


def seeds_of(
    runs: Runs, student: str, row: str, rate: float, setting: float, chosen: tuple[float, float] = (0, 0)
) -> list[dict]:
    """Run a setting with every seed.

    Args:
        chosen: rate and weight decay of hard labels, for a teacher of a student's own kind.
    """
    asked = student, row, rate, setting
    return [runs.of((*asked, seed, "judged"), run, *asked, seed, chosen, True) for seed in SEEDS]


def main(*asked: str) -> None:
    torch.set_num_threads(1)
    runs, found = Runs(RECORD.stem, "".join(f"_{student}" for student in asked)), {}
    if asked:
        for student, (row, how) in product(asked, ROWS.items()):
            row_of(runs, student, row, how)
        return
    for student in EPOCHS:
        found[student] = {row: row_of(runs, student, row, asked) for row, asked in ROWS.items()}
    hard = found["small"]["hard labels"]
    chosen = hard["rate"], hard["weight decay"]
    soft = found["small"]["soft targets"]["rate"], found["small"]["soft targets"]["temperature"]
    more = {row: {"seeds": seeds_of(runs, "small", row, *soft, chosen)} for row in MORE}
    more[PLAIN_SMOOTHING] = row_of(runs, "small", PLAIN_SMOOTHING, ROWS["label smoothing"])
    teachers: dict[str, Callable[[], nn.Module]] = {"shipped": shipped, WRONG: taught_wrong}
    record = {
        "images": {part: len(getattr(digits, part)) for part in ("train", "validation", "test")},
        "seeds": len(SEEDS),
        "epochs": EPOCHS | {"wrong teacher": TEACHING},
        "weight": WEIGHT,
        "teachers": {
            name: runs.of(("teacher", name), lambda make=make: judged(make(), True))
            for name, make in teachers.items()
        },
        "starts": {name: runs.of(("start", name), start, name) for name in ("cut", "ternary")},
        "students": found,
        "more rows": more,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def start(student: str) -> dict:
    """Return what a student reads before it is trained."""
    network = fresh(student, 0)
    return judged(cl.quantize(network) if student == "ternary" else network, True)


if __name__ == "__main__":
    main(*sys.argv[1:])
