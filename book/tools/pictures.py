"""Draw the pictures of the home page and of the ledger from what the records and the checkpoints say.

Run from the root of the repository: python book/tools/pictures.py
The drawings are committed; a test draws them again and compares. Those that stand in the page itself take its
text colour, and so follow its theme. A card is an image of its own: it uses colours that both themes carry.
"""

import csv
import html
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean

import torch

import compresslab as cl
from compresslab import checkpoints, criteria, data, training
from compresslab.teaching import BLUE, GREEN, ORANGE, SKY, VERMILION, records

STATIC = Path(__file__).parents[1] / "_static"
SMALLEST = records.path("smallest/digits_660_0.clab")
CHAPTERS = Path(__file__).parents[1] / "chapters"
GREY = "#8a8a8a"  # at least 3 to 1 against white and against the dark page
PRUNED = "09"  # the first chapter whose networks have lost weights or neurons


def ledger() -> list[dict[str, str]]:
    with records.path("ledger.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def size_of(row: dict[str, str]) -> int:
    return int(row["Bytes"].replace(",", ""))


def floats_and_smallest() -> tuple[dict[str, str], dict[str, str]]:
    """Return the rows that the home page and the plot name."""
    return ledger()[0], min(ledger(), key=size_of)


def text(x: float, y: float, words: str, anchor: str = "start", **style: str) -> str:
    more = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in style.items())
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{more}>{html.escape(words)}</text>'


def line(points: Iterable[tuple[float, float]], colour: str = "currentColor", width: float = 2) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>'


def box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def dot(x: float, y: float, colour: str, radius: float = 4) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>'


def drawing(width: int, height: int, says: str, parts: Iterable[str], role: str = "img") -> str:
    """Put parts into a picture that is read by its text colour, and by who does not see it."""
    label = html.escape(says, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="{role}" '
        f'aria-label="{label}" fill="currentColor" font-size="13" '
        f'style="width: 100%; max-width: {width * 3 // 2}px; height: auto; margin-bottom: 1rem">'
        f"{''.join(parts)}</svg>\n"
    )


# -- the page of the ledger ---------------------------------------------------------------------------------


def page_of(chapter: str) -> str:
    """Return the page of a chapter, as seen from a page of the folder book."""
    (found,) = CHAPTERS.glob(f"{chapter}_*.md")
    return f"../notebooks/{found.stem}.html"


def ledger_plot() -> str:
    """Draw bytes against accuracy, on a scale of factors; each point is a link to its chapter."""
    rows = ledger()
    left, right, top, bottom, low = 44, 348, 16, 262, 94.0
    sizes = [size_of(row) for row in rows]
    first, last = 2.5, math.log10(max(sizes)) + 0.1

    def across(size: float) -> float:
        return left + (math.log10(size) - first) / (last - first) * (right - left)

    def down(percent: float) -> float:
        return bottom - (max(percent, low) - low) / (99.5 - low) * (bottom - top)

    parts = [line([(left, top), (left, bottom), (right, bottom)], width=1)]
    for percent in range(int(low), 100):
        parts += [line([(left - 4, down(percent)), (left, down(percent))], width=1)]
        parts += [text(left - 7, down(percent) + 4, f"{percent}", "end")]
    for size, words in ((1_000, "1 kB"), (10_000, "10 kB"), (100_000, "100 kB"), (1_000_000, "1 MB")):
        parts += [line([(across(size), bottom), (across(size), bottom + 4)], width=1)]
        parts += [text(across(size), bottom + 19, words, "middle")]
    parts += [text((left + right) / 2, bottom + 38, "bytes of the file, on a scale of factors", "middle")]
    parts += [text(left + 8, top + 2, "% of 1,000 test digits read rightly")]
    for row, size in zip(rows, sizes, strict=True):
        right_share = float(row["Accuracy, %"])
        says = f"Chapter {row['Chapter']}, {row['Network']}: {row['Bytes']} bytes, {right_share} %"
        place = across(size), down(right_share)
        mark = dot(*place, GREEN if row["Chapter"] >= PRUNED else BLUE, 5)
        if right_share < low:  # an arrow: the point lies below the frame
            mark = (
                line([(place[0], bottom - 22), (place[0], bottom - 6)], VERMILION)
                + dot(place[0], bottom - 4, VERMILION, 5)
                + text(place[0] + 10, bottom - 8, f"{right_share} %")
            )
        parts += [
            f'<a href="{page_of(row["Chapter"])}" aria-label="{html.escape(says, quote=True)}">'
            f"<title>{html.escape(says)}</title>{mark}</a>"
        ]
    floats, small = floats_and_smallest()
    for row, size in ((floats, size_of(floats)), (small, size_of(small))):
        anchor = "end" if size > 100_000 else "start"
        shift = -8 if anchor == "end" else 8
        place = across(size) + shift, down(float(row["Accuracy, %"])) + 24
        parts += [text(*place, f"{row['Bytes']} bytes", anchor)]
    says = (
        f"{len(rows)} networks, bytes against accuracy: from {floats['Bytes']} bytes at "
        f"{floats['Accuracy, %']} percent to {small['Bytes']} bytes at {small['Accuracy, %']} percent."
    )
    return drawing(360, 304, says, parts, role="group")  # it holds links


# -- the home page ------------------------------------------------------------------------------------------


def home() -> str:
    """Draw the two files as squares by their bytes, and the digits that the smaller one reads."""
    (floats, small), side = floats_and_smallest(), 150.0
    shrunk = side * math.sqrt(size_of(small) / size_of(floats))
    parts = [box(4, 4, side, side, SKY), box(204, 4 + side - shrunk, shrunk, shrunk, VERMILION)]
    parts += [text(12, 28, "before", fill="#000000"), text(204, side - shrunk - 4, "after")]
    for x, row in ((4, floats), (204, small)):
        parts += [text(x, side + 24, f"{row['Bytes']} bytes", font_weight="600")]
        parts += [text(x, side + 42, f"reads {row['Accuracy, %']} %")]
    says = (
        f"Two squares, drawn by their bytes: {floats['Bytes']} bytes read {floats['Accuracy, %']} percent of "
        f"the digits, {small['Bytes']} bytes read {small['Accuracy, %']} percent."
    )
    return drawing(330, 200, says, parts)


def some_digits() -> str:
    """Draw test digits as they are, with what the smallest file answers; one is misread."""
    digits = data.digits()
    found = cl.evaluate(cl.load(SMALLEST), digits)
    assert found.hits is not None
    assert found.predictions is not None
    rightly = [int(i) for i in found.hits.nonzero().flatten()]
    classes = {int(digits.test.labels[i]): i for i in reversed(rightly)}
    wrong = int((~found.hits).nonzero()[0])
    chosen = [*(classes[c] for c in sorted(classes)), wrong]
    parts = []
    for place, index in enumerate(chosen):
        x, y = 4 + place % 6 * 56, 4 + place // 6 * 80
        rows = digits.test.images[index, 0, 2:26, 2:26]
        pixels = (rows > 0.4).nonzero().tolist()
        path = "".join(f"M{x + 2 * c} {y + 2 * r}h2v2h-2z" for r, c in pixels)
        parts += [f'<path d="{path}"/>']
        answer = int(found.predictions[index])
        colour = "currentColor" if index != wrong else VERMILION
        parts += [text(x + 24, y + 66, f"{answer}", "middle", fill=colour, font_weight="600")]
    label, answer = int(digits.test.labels[wrong]), int(found.predictions[wrong])
    says = f"Eleven digits and what the smallest file answers: ten right, and a {label} read as {answer}."
    return drawing(340, 160, says, parts)


# -- a card for each chapter: 160 x 90 ----------------------------------------------------------------------


def bars(heights: Sequence[float], faded: Callable[[int], bool] = lambda _: False, colour: str = BLUE) -> str:
    width, most = 140 / len(heights), max(heights)
    return "".join(
        box(10 + i * width, 80 - 70 * h / most, 0.8 * width, 70 * h / most, GREY if faded(i) else colour)
        for i, h in enumerate(heights)
    )


def stairs(levels: Sequence[float], low: float = -1, high: float = 1) -> str:
    """Draw the nearest level of every value."""
    points = []
    for value in (low + (high - low) * i / 280 for i in range(281)):
        nearest = min(levels, key=lambda level: abs(level - value))
        points += [(10 + 140 * (value - low) / (high - low), 45 - 35 * nearest / max(abs(low), abs(high)))]
    return line([(10, 45 - 35 * low / high), (150, 10)], GREY, 1) + line(points, BLUE)


def cells(shown: Sequence[Sequence[bool]], colour: str = BLUE) -> str:
    """Draw a matrix of places, those that are true in colour."""
    wide, high, paths = 140 / len(shown[0]), 70 / len(shown), {True: "", False: ""}
    for r, row in enumerate(shown):
        for c, value in enumerate(row):
            corner = f"M{10 + c * wide:.0f} {10 + r * high:.0f}"
            paths[bool(value)] += f"{corner}h{wide - 1:.0f}v{high - 1:.0f}h{1 - wide:.0f}z"
    return (
        f'<path d="{paths[False]}" fill="{GREY}" fill-opacity=".3"/><path d="{paths[True]}" fill="{colour}"/>'
    )


def interval(y: float, row: dict[str, str]) -> str:
    """Draw an accuracy with its interval, from 94 to 100 percent."""
    percents = (*row["95 % interval"].split(" to "), row["Accuracy, %"])
    low, high, middle = (10 + 140 * (float(percent) - 94) / 6 for percent in percents)
    return line([(10, y), (150, y)], GREY, 1) + line([(low, y), (high, y)], BLUE, 3) + dot(middle, y, BLUE, 5)


def on_axis(levels: Sequence[float], heights: Sequence[float]) -> str:
    """Draw a histogram of weights with marks where the levels are, both in shares of the range."""
    marks = "".join(line([(80 + 70 * x, 80), (80 + 70 * x, 88)], VERMILION, 3) for x in levels)
    return bars(heights, colour=SKY) + marks


def cards() -> dict[str, str]:
    """Return a small picture for each chapter, of its own matter."""
    model = checkpoints.load("article")
    weight = model.get_parameter("fc1.weight").detach()
    flat = weight.flatten()
    edge = float(flat.abs().quantile(0.999))
    histogram = flat.histc(36, -edge, edge).sqrt().tolist()
    book = (cl.KMeans(bits=3).quantize(weight).dequantize().unique() / edge).clamp(-1, 1).tolist()
    mean = float(flat.abs().mean()) / edge
    codes = (
        cl.Symmetric(8).quantize(model.get_parameter("conv1.weight").detach()).codes.flatten()[:15].tolist()
    )
    block = criteria.magnitude(model)["fc1"][:14, :28]
    kept = (block >= block.flatten().quantile(0.9)).tolist()
    pairs = [[bool(v) for v in row] for row in _two_of_four(block[:7, :16])]
    norms = criteria.l2_norm(model)["conv2"].sort(descending=True).values[:32].tolist()
    shown = [row for row in ledger() if float(row["Accuracy, %"]) < 97.6][-4:]
    sizes = [p.numel() for name, p in model.named_parameters() if name.endswith("weight")]
    steps = [size_of(row) for row in ledger() if row["Chapter"] in ("01", "09", "18")]
    tour = next(size_of(row) for row in ledger() if row["Chapter"] == "07")
    accuracy = {(r["Chapter"], r["Network"]): float(r["Accuracy, %"]) for r in ledger()}
    untrained = accuracy["04", "binary, per channel, untrained"]
    trained = accuracy["07", "binary, per channel, trained"]
    image, label = data.digits().train.images[:1], data.digits().train.labels[0]
    with torch.no_grad():
        warm = training.SoftTargets(4.0).soften(model(image))[0].tolist()
    little = records.load("little_data")["kinds"]["codes"]
    few = [(little["0"] - 900) / 100, *((fmean(found) - 900) / 100 for found in little["repaired"].values())]
    plan = records.load("search")["bits"][0]["best"]["plan"]["layers"].values()
    widths = [layer["scheme"]["bits"] for layer in plan]
    coded = torch.cat(
        [one.quantized.codes.flatten() for one in cl.load(SMALLEST).children() if hasattr(one, "quantized")]
    )
    counts = [math.sqrt(int((coded == code).sum())) for code in range(-6, 7)]
    curve = [(10 + 140 * i / 40, 14 + 62 * ((i - 20) / 20) ** 2) for i in range(41)]
    (x, y), slope = curve[12], 62 * 2 * (-8 / 20) / (140 / 2)
    tangent = [(x + step, y + slope * step) for step in (-40, 40)]
    soft = [(i / 20 - 1, math.copysign(max(abs(i / 20 - 1) - 0.35, 0), i / 20 - 1)) for i in range(41)]
    under = (36, 74, BLUE), (92, 52, BLUE), (130, 34, VERMILION)  # a roof
    fork = [(20, 45), (60, 18), (100, 18), (140, 45)], [(20, 45), (60, 72), (100, 72), (140, 45)]
    capstone = records.load("capstone")
    run = capstone["seeds"][0]
    each = [one for cut in run["cuts"] for one in (cut["before"], cut)]
    heights = [one["validation"] / 250 - 1 for one in (capstone["teacher"], *each, run["codes"])]
    way = [(12 + 136 * i / (len(heights) - 1), 80 - 65 * height) for i, height in enumerate(heights)]
    return {
        "00": bars([math.sqrt(s) for s in (steps[0], tour)], lambda i: i == 0),
        "01": bars([math.sqrt(s) for s in sizes]),
        "02": stairs([k / 3 for k in range(-3, 4)]),
        "03": stairs([-0.35 + k * 0.27 for k in range(6)]),
        "04": on_axis([-mean, 0, mean], histogram),
        "05": on_axis([s * 2.0**-k for s in (-1, 1) for k in range(5)], histogram),
        "06": on_axis(book, histogram),
        "07": bars([untrained - 60, trained - 60], lambda i: i == 0),
        "08": "".join(
            text(
                24 + i % 5 * 29, 26 + i // 5 * 26, f"{code:d}", "middle", fill=BLUE if code < 0 else VERMILION
            )
            for i, code in enumerate(codes)
        ),
        "09": cells(kept),
        "10": line([(10, 80), (150, 10)], GREY, 1)
        + line([(80 + 70 * x, 45 - 35 * y) for x, y in soft], BLUE),
        "11": cells(pairs, GREEN),
        "12": bars(norms, lambda i: i >= len(norms) // 2, GREEN),
        "13": line(curve, GREY) + line(tangent, VERMILION) + dot(*curve[12], BLUE, 5),
        "14": bars([max(h, 0.02) for h in norms[:14]] + [0.03] * 14, lambda i: i >= 14, GREEN),
        "15": "".join(line(way, GREY) for way in fork)
        + "".join(dot(x, y, BLUE if x in (20, 140) else ORANGE, 8) for way in fork for x, y in way),
        "16": "".join(interval(18 + 18 * place, row) for place, row in enumerate(shown)),
        "17": bars(warm, lambda i: i == int(label), ORANGE),
        "18": bars([math.sqrt(s) for s in steps], lambda i: i < len(steps) - 1, GREEN),
        "19": bars(few, lambda i: i == 0),
        "20": bars(widths, lambda i: widths[i] == min(widths), ORANGE),
        "21": line([(10, 80), (64, 44), (150, 44)], BLUE, 3)
        + line([(64, 44), (112, 12), (150, 12)], VERMILION, 3)
        + "".join(dot(*one) for one in under),
        "22": line(way, BLUE) + "".join(dot(x, y, BLUE, 4) for x, y in way),
        "23": bars(counts, lambda i: i == len(counts) // 2, ORANGE),
    }


def _two_of_four(block):
    """Mark the two largest of every four in a row."""
    groups = block.unflatten(1, (-1, 4))
    return (groups >= groups.sort(-1, descending=True).values[..., 1:2]).flatten(1)


def everything() -> dict[str, str]:
    """Return every picture by its path under book/_static."""
    drawn = {"ledger.svg": ledger_plot(), "home.svg": home(), "digits.svg": some_digits()}
    for chapter, parts in cards().items():
        drawn[f"cards/{chapter}.svg"] = drawing(160, 90, f"Sketch of chapter {chapter}", [parts])
    return drawn


def main() -> None:
    (STATIC / "cards").mkdir(exist_ok=True)
    for name, svg in everything().items():
        (STATIC / name).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
