"""List every record with its question, its runs and a result, and the smallest files beside published ones.

Run from the root of the repository, after the notebooks were made: python book/records/overview.py

The page book/records.md shows the three tables. A question is the first sentence of the script that made the
record, a time is what that script says; a result is computed from the record. Published figures are those of
the papers, as published.csv holds them; chapter 23 draws the same.
"""

import ast
import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import guide
import quoted

from compresslab.measuring import Holm, McNemar, PairedDifference, verdict
from compresslab.teaching import records

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """What a row of the page says that no script says.

    Args:
        chapter: that reads the record, or a page of the book.
        seeds: how many, of the record.
        tuned: what validation chose.
        result: a line, of the record.
        script: its name, where it is not the record's.
    """

    chapter: str
    seeds: Callable[[dict], int]
    tuned: str
    result: Callable[[dict], str]
    script: str = ""


def alone(difference: PairedDifference) -> str:
    """Write one difference that is read by itself."""
    return f"{difference}: {verdict(difference.p_value)}"


def in_guide(record: str, method: str) -> str:
    """Return what the guide's table says of a method: its loss in points, among all rows of that table."""
    (said,) = (row for row in guide.table() if row[0] == method and f"/{record}.json" in row[-1])
    loss, word = said[4].rsplit(", ", 1)
    return f"{method}: loses {loss} points against {said[5]}: {word}"


def capstone(record: dict) -> str:
    size, right = (fmean(run["codes"][key] for run in record["seeds"]) for key in ("bytes", "digits"))
    return f"LeNet-5, step by step: {size:,.0f} bytes, {right / 10:.1f} % of the test digits, in the mean"


def checkpoints(record: dict) -> str:
    read = {
        name: [one["digits test"]["correct"] for one in (run, run["again"])] for name, run in record.items()
    }
    listed = ", ".join(f"{name} {shipped:,} and {again:,}" for name, (shipped, again) in read.items())
    return f"test digits read, as shipped and trained again: {listed}"


def deep_compression(record: dict) -> str:
    runs = record["mnist"]["lenet5"]["seeds"]
    wrong = fmean(10_000 - run["test"]["clustered"] for run in runs)
    size = fmean(run["file"]["clustered"] for run in runs)
    return f"LeNet-5, whole MNIST: {size:,.0f} bytes, {wrong / 100:.2f} % errors, in the mean"


def distillation(record: dict) -> str:
    rows = record["students"]["small"]
    soft, hard = (guide.column(rows[row]["seeds"], "mnist") for row in ("soft targets", "hard labels"))
    return f"soft targets against hard labels: {alone(PairedDifference(soft, hard, 'images of 10,000'))}"


def drawing(record: dict) -> str:
    found = record["networks"]
    return "; ".join(f"{name.replace('_', ' ')} {one['bytes']:,} bytes" for name, one in found.items())


def integer_training(record: dict) -> str:
    two = record["bits"]["2"]
    both, weights = (
        guide.column(two[way]["seeds"], "mnist") for way in ("weights and activations", "weights")
    )
    return f"2 bits, activations trained, too: {alone(PairedDifference(both, weights, 'images of 10,000'))}"


def kinds(record: dict) -> str:
    losses = guide.of_kinds().values()
    return f"{sum(Holm([loss.p_value for loss in losses]).shows)} of {len(losses)} losses show by Holm"


def moving_zeros(record: dict) -> str:
    grown, held = (guide.column(record["rows"][row]["seeds"], "mnist") for row in MOVED)
    return f"RigL against held zeros: {alone(PairedDifference(grown, held, 'images of 10,000'))}"


def search(record: dict) -> str:
    plan, even = record["repaired closely"][0]["best"], record["shipped repaired uniform"]["2"]
    ours, theirs = record["apart"]["repaired closely"][0]["2 bits, repaired"]["mnist"]
    found = verdict(McNemar(ours, theirs).p_value)
    cut = record["shipped repaired evenly"]["0.5"]["3"]["bytes"]
    repaired = f"{plan['bytes']:,} bytes against {even['bytes']:,} with 2 bits for all, both repaired"
    lead = f"{repaired}: {ours - theirs} images of 10,000, by McNemar's test {found}"
    lead = f"{lead}; half cut from every layer, 3 bits: {cut:,} bytes"
    return f"{lead}; trained: {in_guide('search', 'neurons cut, codebooks, by search')}"


def penalties(record: dict) -> str:
    share, methods = list(record["pruned"].items())[-1]
    first, second = (guide.column(methods[way]["seeds"], "mnist") for way in ("L1, step", "in rounds"))
    difference = PairedDifference(first, second, "images of 10,000")
    return f"L1 by its step against rounds, {100 * float(share):g} % zeros: {alone(difference)}"


def slimming(record: dict) -> str:
    sides = record["SGD, step"]["seeds"], record["without a price"]
    priced, free = ([run["mnist"][0] for run in runs] for runs in sides)
    return (
        f"a price against none, before any cut: {alone(PairedDifference(priced, free, 'images of 10,000'))}"
    )


def smallest(record: dict) -> str:
    point = record["points"]["digits 660"]
    (size, right), (new_size, new_right) = (
        [fmean(run[key] for run in point[kind]) for key in ("bytes", "digits")] for kind in ("seeds", "fresh")
    )
    return (
        f"LeNet-5 of 3,500 images: {size:,.0f} bytes, {right / 10:.1f} % of the test digits, in the mean; "
        f"fresh seeds, read once: {new_size:,.0f} bytes, {new_right / 10:.1f} %"
    )


def speed(record: dict) -> str:
    return record["marks"][0]


def of_guide(method: str) -> Callable[[dict], str]:
    return lambda record: in_guide(next(name for name in ROWS if records.load(name) == record), method)


MOVED = "fresh, RigL", "fresh, places held"
ROWS = {
    "capstone": Row("22", lambda r: len(r["seeds"]), "price, epochs", capstone),
    "checkpoints": Row("01", lambda r: 1, "the epoch", checkpoints, "train_checkpoints"),
    "deep_compression": Row(
        "18", lambda r: len(r["mnist"]["lenet5"]["seeds"]), "the share of zeros", deep_compression
    ),
    "distillation": Row("17", lambda r: r["seeds"], "rate and one setting of each row", distillation),
    "drawing": Row("draw", lambda r: 1, "nothing", drawing),
    "integer_training": Row(
        "08", lambda r: len(r["bits"]["2"]["weights"]["seeds"]), "rate", integer_training
    ),
    "kinds": Row("questions", lambda r: len(r["seeds"]), "rate", kinds),
    "little_data": Row(
        "19",
        lambda r: len(r["kinds"]["codes"]["repaired"]["64"]),
        "rate and distortion of distillation",
        of_guide("2 bits, repaired"),
    ),
    "moving_zeros": Row("09", lambda r: len(r["rows"][MOVED[0]]["seeds"]), "rate", moving_zeros),
    "neuron_criteria": Row(
        "16", lambda r: len(r["seeds"]), "rate, strength of penalties", of_guide("half of the neurons cut")
    ),
    "order": Row(
        "20",
        lambda r: r["seeds"],
        "rate",
        lambda r: f"all at once: {quoted.corrected(quoted.ordered(), 'all at once')}",
    ),
    "penalties": Row("10", lambda r: len(r["dense"]["seeds"]), "strength, rate", penalties),
    "search": Row("20", lambda r: len(r["setting"]["seeds"]), "the plan", search),
    "slimming": Row("14", lambda r: len(r["SGD, step"]["seeds"]), "strength, rate", slimming),
    "smallest": Row(
        "23", lambda r: len(r["points"]["digits 660"]["seeds"]), "budget, epochs, rate", smallest
    ),
    "speed": Row("21", lambda r: 1, "nothing", speed),
    "training_through_quantization": Row(
        "07",
        lambda r: len(r["methods"]["floats"]["seeds"]),
        "rate",
        of_guide("2 bits, learned step, trained"),
    ),
    "weight_pruning": Row(
        "09",
        lambda r: len(r["seeds"]),
        "rate, largest share",
        of_guide("90 % of the weights gone, LeNet-300-100"),
    ),
}


# -- the tables ----------------------------------------------------------------------------------------------


def said_by(script: str) -> str:
    """Return the docstring of a script of this folder, as one line."""
    text = ast.get_docstring(ast.parse((HERE / f"{script}.py").read_text(encoding="utf-8"))) or ""
    return " ".join(text.split())


def question(script: str) -> str:
    """Return what a script is for: its first sentence, two where that is a question, without the chapter."""
    (asked,) = re.findall(r"^(?:[^.?]*\? )?(?:[^.?]|\.\w)*?[.?](?= Run )", said_by(script))
    return re.sub(r",? for chapter \d\d", "", asked)


def time_of(script: str) -> str:
    """Return how long a script says that it takes."""
    said = said_by(script).replace(f"{script}.py", "")
    found = re.findall(r"[^.,;]*\b(?:minutes|hours?)\b[^.;]*", said)
    return re.sub(r"^ *(?:It|The whole) takes ", "", found[-1]).strip().lower() if found else "not noted"


def link(words: str, page: str) -> str:
    (found,) = [*quoted.BOOK.glob(f"chapters/{page}_*.md"), *quoted.BOOK.glob(f"{page}.md")]
    return f"{{doc}}`{words} <{'../notebooks/' if page.isdigit() else ''}{found.stem}>`"


def of_records() -> Iterator[list[str]]:
    yield ["Record", "Question", "Runs", "Validation chose", "Time", "A result"]
    for name, row in ROWS.items():
        script, record = row.script or name, records.load(name)
        words = f"chapter {row.chapter}" if row.chapter.isdigit() else row.chapter
        file = f"{{download}}`{name} <../compresslab/teaching/recorded/{name}.json>`"
        yield [
            f"{file}, {link(words, row.chapter)}",
            question(script),
            f"{row.seeds(record)}",
            row.tuned,
            time_of(script),
            row.result(record),
        ]


TABLES = {  # of other tables of the folder: who writes it, and the page that shows it
    "choices.csv": ("records/guide.py", "guide"),
    "drawing.csv": ("records/drawing.py", "draw"),
    "guide.csv": ("records/guide.py", "guide"),
    "hub.csv": ("records/kernels.py", "hub"),
    "kernels.csv": ("records/kernels.py", "hub"),
    "kinds.csv": ("records/guide.py", "questions"),
    "latency.csv": ("records/ledger.py", "timings"),
    "ledger.csv": ("records/ledger.py", "ledger"),
    "published.csv": ("people, from the papers", "23"),
    "sizes.csv": ("records/sizes.py", "README"),
    "times.csv": ("records/guide.py", "guide"),
    "timings.csv": ("tools/notebooks.py", "timings"),
    "versions.csv": ("tools/notebooks.py", "timings"),
}


def of_tables() -> Iterator[list[str]]:
    yield ["Table", "Written by", "Shown in"]
    for name, (writer, page) in TABLES.items():
        writer = f"`book/{writer}`" if writer.endswith(".py") else writer
        shown = page if page == "README" else link(f"chapter {page}" if page.isdigit() else page, page)
        yield [f"`{name}`", writer, shown]


def published() -> list[dict[str, str]]:
    with records.path("published.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ours(name: str, point: dict, run: dict, images: int) -> tuple[str, float, list[str]]:
    """Return network, bytes and the further cells of a file of chapter 23, read from the file itself."""
    network = "LeNet-5" if point["recipe"]["network"] == "lenet5" else "LeNet-300-100"
    whole = point["recipe"]["data"] == "mnist"
    path = records.path(f"smallest/{'mnist_' * whole}{name.replace(' ', '_')}_{run['seed']}.clab")
    held = path.read_bytes()
    cells = [
        f"{name}, seed {run['seed']}",
        f"{images:,} images",
        f"{len(held):,}",
        f"{100 - run['mnist'] / 100:.2f}",
        "" if whole else f"{run['digits']} of 1,000",
        f"`{hashlib.sha256(held).hexdigest()[:16]}`",
    ]
    return network, len(held), cells


def of_files() -> Iterator[list[str]]:
    """Yield our smallest files and the published ones, by network and bytes."""
    yield ["Network", "File", "Learned from", "Bytes", "MNIST errors, %", "Digits, right", "SHA-256 begins"]
    record, rows = records.load("smallest"), []
    for one in published():
        cited = f"{one['Method']} {{cite}}`{one['Key']}`"
        size = 1000 * float(one["Kilobytes"])
        rows.append((one["Network"], size, [cited, "", f"{size:,.0f}", one["Errors"], "", ""]))
    for name, point in (record["points"] | record["goals"]).items():
        images = record["images"][point["recipe"]["data"]]["train"]
        rows += [ours(name, point, run, images) for run in point["seeds"]]
    for network, _, cells in sorted(rows, key=lambda row: row[:2]):
        yield [network, *cells]


WRITTEN = {"overview.csv": of_records, "smallest.csv": of_files, "tables.csv": of_tables}


def main() -> None:
    for name, rows in WRITTEN.items():
        with (records.FOLDER / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows())


if __name__ == "__main__":
    main()
