"""Collect the figures that the questions, the guide and the cheat sheet quote, each from what found it.

Run from the root of the repository, after the notebooks were made: python book/records/quoted.py

A page writes a figure as a name in double braces, and book/tools/quoting.py puts the figure there when the
site is built. So no page holds a figure that somebody typed. A figure comes from a cell's output, from a
record, or from a table that tests write; its source is named beside it, and a test asks for a link to that
source near each place where the figure is quoted.
"""

import csv
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import fmean

import guide
import ledger
from guide import column

from compresslab.measuring import Holm, PairedDifference, verdict
from compresslab.teaching import records

BOOK = Path(__file__).resolve().parents[1]
FILE = BOOK / "quoted.csv"
COLLECTED: dict[str, tuple[str, Callable[[], str]]] = {}


def one(source: str, name: str, figure: Callable[[], str]) -> None:
    """Take a figure under a name, and where it was found: a chapter, a record, or a page of the book."""
    assert name not in COLLECTED, name
    COLLECTED[name] = source, figure


# -- where figures stand ------------------------------------------------------------------------------------


@cache
def tables(chapter: str) -> tuple[dict[str, str], ...]:
    return tuple(ledger.tables(chapter))


def row(chapter: str, name: str, key: str) -> str:
    """Return a cell of a comparison that a chapter shows."""
    found = {shown[key] for shown in tables(chapter) if shown["network"] == name and key in shown}
    if len(found) != 1:
        raise LookupError(f"chapter {chapter}: asked for one {key!r} of {name!r}, found {sorted(found)}")
    return found.pop()


@cache
def lines(chapter: str) -> tuple[str, ...]:
    """Return the lines that a chapter's cells have shown, all but the clocks'."""
    return tuple(line for output in ledger.shown(chapter, clock=False) for line in output)


def printed(chapter: str, pattern: str) -> str:
    """Return what a line of a chapter's outputs says, where it matches; all such lines must say the same."""
    found = {match[1] for line in lines(chapter) if (match := re.search(pattern, line))}
    if len(found) != 1:
        raise LookupError(f"chapter {chapter}: asked for one {pattern!r}, found {sorted(found)}")
    return found.pop()


def right(chapter: str, pattern: str) -> str:
    return f"{printed(chapter, pattern)} %"


def clock(chapter: str, name: str) -> str:
    return f"{ledger.milliseconds(chapter, name):.1f}"


def times(chapter: str, name: str) -> str:
    return row(chapter, name, "smaller").removesuffix("\u00d7")


def at_its_best(share: str, name: str, split: str = "test") -> list[int]:
    found = records.load("neuron_criteria")["networks"]["article"]["shares"][share]["rows"][name]
    return found["rates"][f"{found['chosen']:g}"][split]


def gallery() -> list[dict[str, str]]:
    """Return the rows of the table on the page of your own network."""
    text = (BOOK / "your_own_network.md").read_text(encoding="utf-8")
    lines = text.split("<!-- gallery -->\n")[1].split("<!-- end of gallery -->")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(head, cells, strict=True)) for cells in rows]


def ordered() -> dict[str, PairedDifference]:
    """Return each order of the three steps against the first one, in images of 10,000."""
    rows = {name: column(found["seeds"], "mnist") for name, found in records.load("order")["rows"].items()}
    first = rows.pop("prune, distil, quantize")
    return {name: PairedDifference(right, first, "images of 10,000") for name, right in rows.items()}


def corrected(found: dict[str, PairedDifference], name: str) -> str:
    """Return one of several differences that are read together, and whether it shows among them."""
    adjusted = Holm([difference.p_value for difference in found.values()]).adjusted
    return f"{found[name]}: {verdict(adjusted[list(found).index(name)])}"


# -- the article's three ------------------------------------------------------------------------------------

one("01", "parameters", lambda: row("01", "floats", "not zero").split(" of ")[1])
one("01", "bytes_of_floats", lambda: row("01", "floats", "bytes on disk"))
one("02", "smaller_at_8", lambda: times("02", "symmetric, 8 bits"))
one("13", "parameters_of_half", lambda: row("13", "half", "not zero").split(" of ")[1])
one("13", "smaller_by_half", lambda: times("13", "half"))
one("09", "nine_tenths_by_chance", lambda: right("09", r"^chance +([\d.]+) %$"))
one("09", "nine_tenths_by_size", lambda: right("09", r"^all +([\d.]+) %$"))


def nine_tenths() -> dict[str, PairedDifference]:
    """Return the four comparisons of chapter 09: two networks, each without 90 and 95 % of its weights."""
    networks = records.load("weight_pruning")["networks"]
    return {
        f"{name}, {share}": PairedDifference(
            column(found["rows"][share], "mnist"),
            column(found["rows"]["control"], "mnist"),
            "images of 10,000",
        )
        for name, found in networks.items()
        for share in ("90 %", "95 %")
    }


one("weight_pruning", "nine_tenths_trained", lambda: corrected(nine_tenths(), "article, 90 %"))

# -- what users ask -----------------------------------------------------------------------------------------

one("09", "bytes_of_zeros_plain", lambda: row("09", "90 % zeros, plain file", "bytes on disk"))
one("09", "bytes_of_zeros_left_out", lambda: row("09", "90 % zeros, left out", "bytes on disk"))
one("09", "torchs_own_state", lambda: printed("09", r"^([\d.]+) times the state$"))
one("09", "ms_dense", lambda: clock("09", "dense"))
one("09", "ms_of_zeros", lambda: clock("09", "90 % zeros"))
one("13", "ms_of_half", lambda: clock("13", "half"))
one("13", "ms_uncut", lambda: clock("13", "uncut"))
one("08", "macs_of_floats", lambda: row("08", "floats", "MACs"))
one("08", "macs_of_codes", lambda: row("08", "8 bits, decoded", "MACs"))
one("08", "ms_of_integers", lambda: clock("08", "integers only"))
one("08", "ms_beside_integers", lambda: clock("08", "floats"))


def took(neurons: str, numbers: str) -> str:
    """Return the milliseconds of the article's network in ONNX Runtime, for 64 images."""
    asked = {"network": "article", "neurons": neurons, "numbers": numbers, "runs in": "ONNX Runtime"}
    (found,) = (row for row in records.load("speed")["rows"] if asked.items() <= row.items())
    return f"{found['ms at 64'][0]:.1f}"


one("speed", "ms_in_runtime", lambda: took("all", "float32"))
one("speed", "ms_int8_in_runtime", lambda: took("all", "int8"))
one("speed", "ms_dynamic_in_runtime", lambda: took("all", "int8 dynamic"))
one("speed", "ms_half_in_runtime", lambda: took("half", "float32"))
one("speed", "ms_half_int8_in_runtime", lambda: took("half", "int8"))
one("09", "fc1_at_90", lambda: right("09", r"^fc1 +([\d.]+) %$"))
one("09", "conv1_at_90", lambda: right("09", r"^conv1 +([\d.]+) %$"))
one("09", "all_pruned_alike", lambda: right("09", r"^all pruned +([\d.]+) %"))
one("09", "ends_whole", lambda: right("09", r"ends whole +([\d.]+) %$"))
one("order", "all_at_once", lambda: corrected(ordered(), "all at once"))
one("order", "quantize_first", lambda: corrected(ordered(), "quantize, distil, prune"))
one("order", "prune_last", lambda: corrected(ordered(), "distil, quantize, prune"))


def little(way: str, size: str) -> str:
    found = records.load("little_data")["kinds"]["codes"][way][size]
    return f"{fmean(found['test'] if way == 'distilled' else found):.0f}"


one("little_data", "images_none", lambda: f"{records.load('little_data')['kinds']['codes']['0']}")
one("little_data", "images_8_repaired", lambda: little("repaired", "8"))
one("little_data", "images_64_repaired", lambda: little("repaired", "64"))
one("little_data", "images_64_distilled", lambda: little("distilled", "64"))
one("little_data", "images_all_distilled", lambda: little("distilled", "3500"))
one("little_data", "images_float", lambda: f"{records.load('little_data')['float']}")


def bytes_of_channels() -> str:
    """Say what the scales for each channel add to the file."""
    sizes = [row("03", f"4 bits, per {name}", "bytes on disk") for name in ("channel", "tensor")]
    channel, tensor = (int(size.replace(",", "")) for size in sizes)
    return f"{channel - tensor:,}"


one("03", "bytes_of_channels", bytes_of_channels)


one("03", "file_per_tensor", lambda: row("03", "4 bits, per tensor", "bytes on disk"))
one("03", "loss_per_tensor", lambda: row("03", "4 bits, per tensor", "against the first"))
one("03", "loss_per_channel", lambda: row("03", "4 bits, per channel", "against the first"))
one("03", "loud_channel_per_tensor", lambda: loud()[1])
one("03", "loud_channel_per_channel", lambda: loud()[2])


def loud() -> list[str]:
    """Return what the network with a loud channel reads: in floats, per tensor, per channel."""
    found = [match[1] for line in lines("03") if (match := re.match(r"Accuracy\(([\d.]+ %)", line))]
    if len(found) != 3:
        raise LookupError(f"chapter 03: asked for the three networks with a loud channel, found {found}")
    return found


def cut_or_fresh(share: str, split: str = "test") -> dict[str, PairedDifference]:
    """Return what each way to cut that chapter 16 corrects for reads more than the shape from scratch."""
    others = ("whole", "from scratch", "taylor after an untuned start")
    found = records.load("neuron_criteria")["networks"]["article"]["shares"][share]["rows"]
    unit = {"test": "images of 1,000", "mnist": "images of 10,000"}[split]
    fresh = at_its_best(share, "from scratch", split)
    return {
        row: PairedDifference(at_its_best(share, row, split), fresh, unit)
        for row in found
        if row not in others
    }


one("neuron_criteria", "ways_to_cut", lambda: f"{len(cut_or_fresh('0.5'))}")
for split, suffix in (("test", ""), ("mnist", "_on_mnist")):
    for share, part in {"0.5": "half", "0.75": "quarter"}.items():
        one(
            "neuron_criteria",
            f"cut_or_fresh_{part}{suffix}",
            lambda share=share, split=split: corrected(cut_or_fresh(share, split), "taylor"),
        )
one("your_own_network", "networks_of_gallery", lambda: f"{len(gallery())}")
one(
    "your_own_network",
    "gallery_in_codes",
    lambda: f"{sum(r['8 bits'].startswith('100.0 %') for r in gallery())}",
)
one(
    "your_own_network",
    "gallery_cut",
    lambda: f"{sum(not r['half the neurons'].startswith('refused') for r in gallery())}",
)
one(
    "your_own_network",
    "gallery_refused",
    lambda: ", ".join(r["Network"] for r in gallery() if r["half the neurons"].startswith("refused")),
)
one("your_own_network", "gallery_files", lambda: f"{sum(r['file'].endswith(' bytes') for r in gallery())}")


# -- kinds of networks, and the smallest file ---------------------------------------------------------------


def kinds_lost(row: str, worst: bool) -> tuple[str, str]:
    """Return the kind that loses most by a method, or least, and how many points."""
    losses = {kind: loss.mean for (kind, name), loss in guide.of_kinds().items() if name == row}
    kind = (max if worst else min)(losses, key=losses.__getitem__)
    return kind, guide.points(guide.of_kinds()[kind, row])


GONE = "three quarters of the weights gone"
one("kinds", "kinds", lambda: f"{len(records.load('kinds')['kinds'])}")
one("kinds", "kinds_rows", lambda: f"{len(guide.of_kinds())}")
one("kinds", "kinds_alone", lambda: f"{sum(d.p_value < 0.05 for d in guide.of_kinds().values())}")
one("kinds", "kinds_shown", lambda: f"{sum(Holm([d.p_value for d in guide.of_kinds().values()]).shows)}")
one("kinds", "kinds_worst", lambda: kinds_lost(GONE, worst=True)[0])
one("kinds", "kinds_most", lambda: kinds_lost(GONE, worst=True)[1])
one("kinds", "kinds_best", lambda: kinds_lost(GONE, worst=False)[0])
one("kinds", "kinds_least", lambda: kinds_lost(GONE, worst=False)[1])


def held(kind: str) -> tuple[int, int, str]:
    """Return how many neurons of a kind are held, of how many, and why; the last layer's are not counted."""
    found = records.load("kinds")["kinds"][kind]
    ((_, count, why),) = found["held"]
    return count, count + found["free"], why


for shown in ("transformer", "GRU"):
    one("kinds", f"held_of_{shown.lower()}", lambda kind=shown: f"{held(kind)[0]}")
    one("kinds", f"neurons_of_{shown.lower()}", lambda kind=shown: f"{held(kind)[1]}")
    one("kinds", f"why_{shown.lower()}", lambda kind=shown: held(kind)[2])


def smallest(key: str) -> str:
    """Return a cell of the ledger's row with the fewest bytes."""
    with records.path("ledger.csv").open(encoding="utf-8", newline="") as file:
        return min(csv.DictReader(file), key=lambda shown: int(shown["Bytes"].replace(",", "")))[key]


one("ledger", "smallest_bytes", lambda: smallest("Bytes"))
one("ledger", "smallest_right", lambda: smallest("Accuracy, %"))


def collected() -> Iterator[list[str]]:
    """Yield the rows of the file of figures."""
    yield ["name", "figure", "source"]
    for name, (source, figure) in COLLECTED.items():
        yield [name, figure(), source]


def main() -> None:
    with FILE.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(collected())


if __name__ == "__main__":
    main()
