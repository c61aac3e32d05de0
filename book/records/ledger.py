"""Collect from the chapters what each made of the article's network, and what a network's milliseconds are.

Run from the root of the repository, after the notebooks were made: python book/records/ledger.py
The pages book/ledger.md and book/timings.md show the two tables. Every figure is taken from a table that a
chapter shows, so page and chapter cannot differ; tests/book/test_ledger.py holds them together.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from compresslab.teaching import records

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

# chapter, its row, and what the page calls it
ROWS = (
    ("01", "floats", "floats"),
    ("02", "symmetric, 8 bits", "symmetric, 8 bits, per tensor"),
    ("03", "4 bits, per channel", "symmetric, 4 bits, per channel"),
    ("03", "4 bits, asymmetric, per channel", "asymmetric, 4 bits, per channel"),
    ("04", "ternary, per channel", "ternary, per channel, untrained"),
    ("04", "binary, per channel", "binary, per channel, untrained"),
    ("05", "powers of two, 4 bits", "powers of two, 4 bits, per tensor"),
    ("06", "codebook, 4 bits", "codebook, 4 bits, per tensor"),
    ("06", "codebook, 2 bits", "codebook, 2 bits, per tensor"),
    ("07", "2 bits, trained", "2 bits, per channel, trained"),
    ("07", "ternary, trained", "ternary, per channel, trained"),
    ("07", "binary, trained", "binary, per channel, trained"),
    ("08", "integers only", "integers only, 8 bits"),
    ("09", "90 % zeros, left out", "90 % zeros, untrained"),
    ("13", "half", "half of the neurons cut, trained on"),
    ("13", "three quarters", "three quarters of the neurons cut, trained on"),
    ("17", "quarter of the neurons, features", "quarter of the neurons, taught by features"),
    ("18", "deep compression", "pruned, clustered and coded"),
    ("19", "2 bits, repaired", "2 bits, per channel, repaired from 64 images"),
    ("20", "bits by search", "bits for each layer by search, untrained"),
    ("20", "bits and neurons, repaired", "neurons cut, bits by search, repaired from 256 images"),
    ("20", "everything, trained", "neurons cut, codebooks, by search, trained"),
    ("21", "half, integers only", "half of the neurons, integers only, 8 bits"),
    ("22", "worked solution", "LeNet-5 of 4, 10 and 24 neurons, the capstone's four steps"),
    ("23", "one price for every bit", "LeNet-5 of 4, 8 and 16 neurons, a price for every bit"),
)
# network, chapter, and the row in which its time for 64 images stands
CLOCKS = (
    ("article", "01", "batch of 64"),
    ("article", "08", "floats"),
    ("article", "09", "dense"),
    ("article", "12", "whole"),
    ("article", "13", "uncut"),
    ("article, 90 % zeros in place", "09", "90 % zeros"),
    ("article, 90 % zeros in place", "12", "as many zeros"),
    ("article, half of its neurons", "12", "half the neurons"),
    ("article, half of its neurons", "13", "half"),
    ("lenet_300_100", "11", "dense"),
    ("residual", "15", "dense"),
)


def shown(chapter: str, clock: bool) -> Iterator[list[str]]:
    """Yield the lines that a chapter's cells have shown, the clocks' or the others'."""
    (path,) = NOTEBOOKS.glob(f"{chapter}_*.ipynb")
    for cell in nbformat.read(path, as_version=4).cells:
        if clock == ("clock" in cell.metadata.get("tags", [])):
            for output in cell.get("outputs", []):
                yield (output.get("text") or output.get("data", {}).get("text/plain", "")).splitlines()


def tables(chapter: str, clock: bool = False) -> Iterator[dict[str, str]]:
    """Yield the rows of a chapter's comparisons: each cell by the head of its column."""
    for lines in shown(chapter, clock):
        head = next((n for n, line in enumerate(lines) if line.startswith("network  ")), len(lines))
        for line in lines[head + 1 :]:
            cells = re.split(r" {2,}", line.replace("to  ", "to "))  # a padded end of an interval
            yield dict(zip(re.split(r" {2,}", lines[head]), cells, strict=False))


def row_of(chapter: str, name: str) -> tuple[str, str, str]:
    """Return bytes, accuracy and interval of a chapter's row; they are the same wherever the row stands."""
    found = {
        (row["bytes on disk"], *re.findall(r"\d+\.\d", row["accuracy (95 % interval)"]))
        for row in tables(chapter)
        if row["network"] == name and "bytes on disk" in row
    }
    if len(found) != 1:
        raise LookupError(f"chapter {chapter}: asked for one row {name!r}, found {sorted(found)}")
    size, right, low, high = found.pop()
    return size, right, f"{low} to {high}"


def ledger() -> list[list[str]]:
    """Return the rows of the ledger's page."""
    floats = int(row_of("01", "floats")[0].replace(",", ""))
    made = [["Chapter", "Network", "Bytes", "Times smaller", "Accuracy, %", "95 % interval"]]
    for chapter, name, label in ROWS:
        size, *accuracy = row_of(chapter, name)
        made.append([chapter, label, size, f"{floats / int(size.replace(',', '')):.1f}", *accuracy])
    return made


def milliseconds(chapter: str, name: str) -> float:
    """Return what a clock of a chapter shows for 64 images."""
    for row in tables(chapter, clock=True):
        if row["network"] == name and "ms at 64" in row:
            return float(row["ms at 64"])
    lines = [line for lines in shown(chapter, clock=True) for line in lines]
    (found,) = [line for line in lines if re.match(rf" *{re.escape(name)}[: ]", line)]
    return float(re.findall(r"([\d.]+) ms", found)[0])


def latencies() -> list[list[str]]:
    """Return the rows of the table of times."""
    rows = [[name, chapter, f"{milliseconds(chapter, row):.1f}"] for name, chapter, row in CLOCKS]
    return [["Network", "Chapter", "Milliseconds for 64 images"], *rows]


def main() -> None:
    for name, rows in {"ledger.csv": ledger(), "latency.csv": latencies()}.items():
        with (records.FOLDER / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
