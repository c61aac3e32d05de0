"""Collect from the records what each method keeps, costs and loses, for the page of the decision guide.

Run from the root of the repository: python book/records/guide.py

A row is a method as an experiment of this book measured it: what it needs, how many times smaller the file
is, which share of the multiplications is left, and the expected loss, with the interval of the paired
difference over the seeds of the record. The loss is against the control of that experiment, in points. A
rule makes the choices: of all rows that need no more than there is, and whose interval stays below the loss
that is allowed, the one whose file is the most times smaller, and the one with the least of its work.

Times come from the record of chapter 21: one network in many runtimes, in one run. Its loss has no interval,
so the rule takes it as it was read.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import ledger

from compresslab import models, prune_neurons
from compresslab.measuring import Holm, PairedDifference
from compresslab.measuring.costs import count_macs
from compresslab.pruning import criteria
from compresslab.storage import encode
from compresslab.surgery.graph import example_of
from compresslab.teaching import records

IMAGES = 10_000  # test images of MNIST: they chose nothing
NEEDS = ("no images", "64 images", "training")  # each has what the one before it has
ALLOWED = (0.5, 1.0, 4.0)  # points
GOALS = ("fewest bytes", "fewest multiplications")
BATCHES = {"least time, 64 images at once": 64, "least time, one image": 1}
ARTICLE, LENET, LENET5 = "article", "lenet_300_100", "lenet5"
NAMES = {LENET: "LeNet-300-100", LENET5: "LeNet-5"}


@dataclass(frozen=True)
class Option:
    """One method as it was measured.

    Args:
        smaller: how many times fewer bytes the file has.
        work: share of the multiplications that is left.
        right: images read rightly, one number for each seed or draw; ``control`` the same of its control.
        chapter: that shows it; ``record`` holds the runs.
    """

    need: str
    network: str
    method: str
    smaller: float
    work: float
    right: Sequence[int]
    control: Sequence[int]
    against: str
    chapter: str
    record: str

    @cached_property
    def loss(self) -> PairedDifference:
        """Return what the control reads more, in points."""
        return PairedDifference(
            [100 * one / IMAGES for one in self.control], [100 * one / IMAGES for one in self.right]
        )

    @property
    def name(self) -> str:
        """Return the method, and the network where it is not the article's."""
        return self.method if self.network == ARTICLE else f"{self.method}, {NAMES[self.network]}"

    @property
    def most(self) -> float:
        """Return the upper end of the interval of the loss, as the table prints it."""
        return round(self.loss.interval()[1], 1)


@cache
def whole(network: str) -> tuple[int, int]:
    """Return the bytes and the multiplications of a network in floats."""
    return costs(models.build(network))


def costs(model) -> tuple[int, int]:
    return len(encode(model)[0]), count_macs(model, example_of(model, None))


@cache
def without(network: str, share: float) -> tuple[float, float]:
    """Return how many times smaller a network is without a share of its neurons, and what work is left."""
    size, macs = costs(prune_neurons(models.build(network), criteria.l2_norm, share))
    return whole(network)[0] / size, macs / whole(network)[1]


def filed(sizes: Iterable[int], network: str = ARTICLE) -> float:
    listed = list(sizes)
    return whole(network)[0] * len(listed) / sum(listed)


def shown(chapter: str, row: str, network: str = ARTICLE) -> float:
    """Return how many times smaller the file of a chapter's row is."""
    return filed([int(ledger.row_of(chapter, row)[0].replace(",", ""))], network)


def column(runs: Iterable[dict], key: str) -> list[int]:
    return [run[key] for run in runs]


def of_bits() -> list[Option]:
    """Codes of equally many bits for all weights, without training, of three trainings."""
    found = records.load("search")
    floats, rows = column(found["fresh floats"], "mnist"), found["fresh uniform"]
    return [
        Option(
            "no images", ARTICLE, f"{bits} bits", filed(row[bits]["bytes"] for row in rows), 1.0,
            [row[bits]["mnist"] for row in rows], floats, "the floats", "20", "search",
        )
        for bits in ("8", "4", "3", "2")
    ]  # fmt: skip


def of_little_data() -> list[Option]:
    found = records.load("little_data")["mnist"]
    codes, neurons = found["networks"][ARTICLE], found["kinds"]["neurons"]["repaired"]["64"]
    sure = [codes["float"]] * len(codes["64"]), [found["float"]] * len(neurons)
    return [
        Option(
            "64 images", ARTICLE, "2 bits, repaired", shown("19", "2 bits, repaired"), 1.0,
            codes["64"], sure[0], "the floats", "19", "little_data",
        ),
        Option(
            "64 images", LENET, "half of the neurons cut, repaired", *without(LENET, 0.5),
            neurons, sure[1], "the floats", "19", "little_data",
        ),
    ]  # fmt: skip


def of_training() -> list[Option]:
    """Codes with training through them, against floats that were trained as long."""
    found = records.load("training_through_quantization")["methods"]
    floats = column(found["floats"]["seeds"], "mnist")
    rows = {
        "2 bits, learned step": "2 bits, trained",
        "ternary": "ternary, trained",
        "binary": "binary, trained",
    }
    return [
        Option(
            "training", ARTICLE, f"{row}, trained", shown("07", name), 1.0,
            column(found[row]["seeds"], "mnist"), floats, "floats, as long", "07",
            "training_through_quantization",
        )
        for row, name in rows.items()
    ]  # fmt: skip


def of_weights() -> list[Option]:
    found = records.load("weight_pruning")["networks"][LENET]["rows"]
    return [
        Option(
            "training", LENET, "90 % of the weights gone", shown("09", "90 % zeros, trained", LENET), 1.0,
            column(found["90 %"], "mnist"), column(found["control"], "mnist"),
            "whole, as long", "09", "weight_pruning",
        )
    ]  # fmt: skip


def of_neurons() -> list[Option]:
    """Half and three quarters of the neurons; the same shape from fresh weights stands beside both."""
    made = []
    for share, words, narrow in (
        ("0.5", "half", "half as wide"),
        ("0.75", "three quarters", "a quarter as wide"),
    ):
        rows = records.load("neuron_criteria")["networks"][ARTICLE]["shares"][share]["rows"]
        read = {row: found["rates"][f"{found['chosen']:g}"]["mnist"] for row, found in rows.items()}
        for row, method in (
            ("taylor", f"{words} of the neurons cut"),
            ("from scratch", f"{narrow}, from scratch"),
        ):
            made.append(
                Option(
                    "training", ARTICLE, method, *without(ARTICLE, float(share)), read[row], read["whole"],
                    "whole, as long", "16", "neuron_criteria",
                )
            )  # fmt: skip
    return made


def of_everything() -> list[Option]:
    """Deep Compression, and what the search found with training, against the floats they began with."""
    runs = records.load("deep_compression")["digits"][ARTICLE]["seeds"]
    found = records.load("search")
    best = [run["best"] for run in found["trained"]]
    return [
        Option(
            "training", ARTICLE, "pruned, clustered, coded", filed(run["file"]["clustered"] for run in runs),
            1.0, [run["mnist"]["clustered"] for run in runs], [run["mnist"]["floats"] for run in runs],
            "its start", "18", "deep_compression",
        ),
        Option(
            "training", ARTICLE, "neurons cut, codebooks, by search", filed(column(best, "bytes")),
            without(ARTICLE, 0.75)[1], column(best, "mnist"), column(found["fresh floats"], "mnist"),
            "its start", "20", "search",
        ),
    ]  # fmt: skip


def of_hundreds_of_bytes() -> list[Option]:
    """LeNets cut and trained as codes with a price on every bit; where fresh seeds were read, these alone."""
    found, made = records.load("smallest"), []
    teachers = {one["teachers"]: one for one in found["teachers"] if one["data"] == "digits"}
    for words in ("660", "950", "1400"):
        point = found["points"][f"digits {words}"]
        runs, widths = point.get("fresh", point["seeds"]), point["recipe"]["widths"][-1]
        teacher = teachers[point["recipe"]["teachers"]]
        size = round(sum(column(runs, "bytes")) / len(runs))
        narrow = models.build(LENET5, dict(zip(("conv1", "conv2", "fc1"), widths, strict=True)))
        made.append(
            Option(
                "training", LENET5, f"cut, priced codes, {size:,} bytes",
                filed(column(runs, "bytes"), LENET5), costs(narrow)[1] / whole(LENET5)[1],
                column(runs, "mnist"), len(runs) * [teacher["mnist"]],
                "its teacher", "23", "smallest",
            )
        )  # fmt: skip
    return made


@cache
def options() -> tuple[Option, ...]:
    """Return all rows: by what they need, then by their bytes."""
    parts = (
        of_bits(), of_little_data(), of_training(), of_weights(), of_neurons(), of_everything(),
        of_hundreds_of_bytes(),
    )  # fmt: skip
    found = [option for part in parts for option in part]
    return tuple(sorted(found, key=lambda one: (NEEDS.index(one.need), one.smaller)))


def chosen(need: str, allowed: float, work: bool) -> Option | None:
    """Apply the rule: the fewest bytes, or the fewest multiplications; None where no row stays below."""
    fit = [
        one
        for one in options()
        if NEEDS.index(one.need) <= NEEDS.index(need) and one.most <= allowed and (one.work < 1 or not work)
    ]
    return min(fit, key=lambda one: (one.work, -one.smaller) if work else -one.smaller, default=None)


def points(loss: PairedDifference) -> str:
    """Write a loss with its interval; where all seeds lose the same, there is none."""
    mean, low, high = (x if math.isinf(x) else round(x, 1) + 0.0 for x in (loss.mean, *loss.interval()))
    return f"{mean:.1f}" if math.isinf(low) else f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def seen(shows: bool) -> str:
    return "shows" if shows else "does not show"


def see(chapter: str, record: str) -> str:
    """Link a row to its chapter and to its record, as the page reads it."""
    (page,) = ledger.NOTEBOOKS.glob(f"{chapter}_*.ipynb")
    link = f"{{download}}`record <../compresslab/teaching/recorded/{record}.json>`"
    return f"{{doc}}`chapter {chapter} <../notebooks/{page.stem}>`, {link}"


def table() -> list[list[str]]:
    """Return the rows of the guide's table."""
    words = Holm([one.loss.p_value for one in options()]).shows
    rows = [
        [
            one.name, one.need, f"{one.smaller:.1f}", f"{100 * one.work:.0f}",
            f"{points(one.loss)}, {seen(shows)}", f"{one.against}, {one.loss.n} runs",
            see(one.chapter, one.record),
        ]
        for one, shows in zip(options(), words, strict=True)
    ]  # fmt: skip
    return [["Method", "You have", "Times smaller", "Work left, %", "Loss, points", "Against", "See"], *rows]


def said(option: Option, goal: str) -> str:
    """Name a choice and what it gains."""
    gain = (
        f"{option.smaller:.1f} times smaller"
        if goal == GOALS[0]
        else f"{100 * option.work:.0f} % of the work"
    )
    return f"{option.name}: {gain}"


def choices() -> list[list[str]]:
    """Return the rule's choices: a row for each goal and need, a column for each loss that is allowed."""
    head = ["Goal", "You have", *(f"Loss at most {allowed:g}" for allowed in ALLOWED)]
    rows = []
    for goal in GOALS:
        for need in NEEDS:
            cells = [goal, need]
            for allowed in ALLOWED:
                best = chosen(need, allowed, goal != GOALS[0])
                cells.append("none measured" if best is None else said(best, goal))
            rows.append(cells)
    for goal, batch in BATCHES.items():
        for need in NEEDS:
            cells = [goal, need]
            for allowed in ALLOWED:
                best = quickest(need, allowed, batch)
                cells.append(
                    "none measured" if best is None else f"{best.name}: {best.faster(batch):.1f} times faster"
                )
            rows.append(cells)
    return [head, *rows]


# -- by the clock -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timed:
    """A row of the record of chapter 21: the article's network, its numbers, and what runs it."""

    row: dict

    @property
    def need(self) -> str:
        """Return what it takes: half of the neurons were trained on, int8 asks images for its ranges."""
        if self.row["neurons"] == "half":
            return "training"
        return "64 images" if self.row["numbers"].startswith("int8") else "no images"

    @property
    def name(self) -> str:
        neurons = {"all": "all neurons", "half": "half of the neurons"}[self.row["neurons"]]
        numbers = self.row["numbers"].replace("int8 of chapter 08", "integers alone")
        return f"{neurons}, {numbers}, {self.row['runs in']}"

    @property
    def loss(self) -> float:
        """Return the points that the floats in torch read more."""
        return (eager()["right"] - self.row["right"]) / 10

    def faster(self, batch: int) -> float:
        return eager()[f"ms at {batch}"][0] / self.row[f"ms at {batch}"][0]

    def told(self, batch: int) -> str:
        return f"{self.faster(batch):.1f}"


@cache
def clocked() -> tuple[Timed, ...]:
    """Return the rows of the article's network that the machine could run."""
    rows = records.load("speed")["rows"]
    return tuple(Timed(row) for row in rows if row["network"] == ARTICLE and "missing" not in row)


def eager() -> dict:
    """Return the row that all are compared with: floats in torch."""
    return clocked()[0].row


def quickest(need: str, allowed: float, batch: int) -> Timed | None:
    """Return the fastest row that needs no more and lost no more; None where none beats the floats."""
    fit = [
        one
        for one in clocked()
        if NEEDS.index(one.need) <= NEEDS.index(need) and one.loss <= allowed and one.faster(batch) > 1
    ]
    return max(fit, key=lambda one: one.faster(batch), default=None)


def times() -> list[list[str]]:
    """Return the rows of the table of times: what is faster than floats in torch, for 64 images or one."""
    rows = [
        [
            one.name, one.need, *map(one.told, BATCHES.values()),
            f"{one.loss + 0.0:.1f}", see("21", "speed"),
        ]
        for one in sorted(clocked(), key=lambda one: (NEEDS.index(one.need), one.faster(64)))
        if max(map(one.faster, BATCHES.values())) > 1
    ]  # fmt: skip
    return [
        ["Way", "You have", "Times faster, 64 images", "Times faster, one image", "Loss, points", "See"],
        *rows,
    ]


@cache
def of_kinds() -> dict[tuple[str, str], PairedDifference]:
    """Return what each method loses of each kind of network, in points of its own figure."""
    losses = {}
    for kind, found in records.load("kinds")["kinds"].items():
        for row, control in KINDS.items():
            rows = found["rows"]
            losses[kind, row] = PairedDifference(rows[control]["test"], rows[row]["test"])
    return losses


KINDS = {  # of each row its control
    "8 bits": "start",
    "4 bits": "start",
    "three quarters of the weights gone": "whole, trained on",
    "half of the neurons gone": "whole, trained on",
    "cut shape, fresh": "whole, trained on",
}


def kinds() -> list[list[str]]:
    """Return the rows of the table of kinds."""
    record, losses = records.load("kinds")["kinds"], of_kinds()
    shown = Holm([loss.p_value for loss in losses.values()]).shows
    rows = []
    for ((kind, row), loss), shows in zip(losses.items(), shown, strict=True):
        start, found = record[kind]["rows"]["start"], record[kind]["rows"][row]
        smaller, work = sum(start["bytes"]) / sum(found["bytes"]), sum(found["macs"]) / sum(start["macs"])
        rows += [[kind, row, f"{smaller:.1f}", f"{100 * work:.0f}", f"{points(loss)}, {seen(shows)}"]]
    return [["Kind", "Method", "Times smaller", "Work left, %", "Loss, points"], *rows]


def main() -> None:
    tables = {"guide.csv": table(), "choices.csv": choices(), "times.csv": times(), "kinds.csv": kinds()}
    for name, rows in tables.items():
        with (records.FOLDER / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
