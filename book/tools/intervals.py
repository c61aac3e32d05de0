"""Draw tables of losses with their intervals: one row a method, its words above its line or beside it.

Run from the root of the repository, after book/records/guide.py: python book/tools/intervals.py
The drawings are committed, and take the page's text colour; a test draws them again and compares.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from pictures import GREY, STATIC, dot, drawing, line, text

from compresslab.teaching import BLUE, GREEN, records

LEFT, RIGHT = 8, 348
NUMBER = re.compile(r"-?\d+\.\d")


@dataclass(frozen=True)
class Axis:
    """A scale of points from ``low`` to ``high``; what lies beyond is drawn as an arrow at its end."""

    low: float
    high: float
    left: float = LEFT

    def at(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return self.left + (inside - self.low) / (self.high - self.low) * (RIGHT - self.left)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def scale(self, bottom: float, step: int) -> Iterator[str]:
        """Yield the ticks with their numbers."""
        yield line([(self.left, bottom), (RIGHT, bottom)], width=1)
        for value in range(int(self.low), int(self.high) + 1, step):
            yield line([(self.at(value), bottom), (self.at(value), bottom + 4)], width=1)
            yield text(self.at(value), bottom + 19, f"{value:g}".replace("-", "\u2212"), "middle")

    def interval(self, y: float, loss: str, colour: str) -> Iterator[str]:
        """Yield a mean with its interval, from the words of a table, and a mark at no loss.

        Ends beyond the scale get an arrow.
        """
        mean, *ends = (float(number) for number in NUMBER.findall(loss))
        low, high = ends or (mean, mean)
        yield line([(self.at(0), y - 7), (self.at(0), y + 7)], GREY)
        yield line([(self.at(low), y), (self.at(high), y)], colour, 3)
        for end, way in ((low, 1), (high, -1)):
            if not self.holds(end):
                x = self.at(end)
                yield line([(x + 6 * way, y - 4), (x, y), (x + 6 * way, y + 4)], colour)
        if self.holds(mean):
            yield dot(self.at(mean), y, colour, 5)
        else:
            yield text(self.at(mean) - 12, y - 6, f"{mean:.1f}", "end")


def table(name: str) -> list[dict[str, str]]:
    with records.path(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


GONE = re.compile("cut|gone|wide|pruned|scratch|fresh")


def colour_of(method: str) -> str:
    """Green where neurons or weights are gone, as in the plot of the ledger."""
    return GREEN if GONE.search(method) else BLUE


def guide() -> str:
    """Draw the loss of every method of the guide, by what it needs."""
    rows, axis, y = table("guide.csv"), Axis(-2, 4, left=16), 4.0  # half a number stands left of the axis
    shown: list[str] = []
    for need, group in groupby(rows, key=lambda row: row["You have"]):
        y += 18
        shown += [text(LEFT, y, f"{need[0].upper()}{need[1:]}", font_weight="600")]
        for row in group:
            name = row["Method"].removesuffix("-300-100")
            says = f"{name}: {row['Times smaller']} times smaller"
            shown += [text(LEFT, y + 20, says.removesuffix(" smaller") if len(says) > 47 else says)]
            shown += axis.interval(y + 30, row["Loss, points"], colour_of(row["Method"]))
            y += 36
        y += 6
    parts = [*axis.scale(y, 1), *shown]
    parts += [text((LEFT + RIGHT) / 2, y + 38, "points lost, with the 95 % interval over runs", "middle")]
    says = (
        f"{len(rows)} methods, each with the points that it loses and the interval, by what it needs: "
        + "; ".join(f"{row['Method']}, {row['Loss, points']}" for row in rows)
        + "."
    )
    return drawing(360, int(y) + 46, says, parts)


SHORT = {
    "8 bits": "8 bits",
    "4 bits": "4 bits",
    "three quarters of the weights gone": "weights",
    "half of the neurons gone": "neurons",
    "cut shape, fresh": "from scratch",
}


def kinds() -> str:
    """Draw what the same methods lose of six kinds of networks."""
    rows, axis, y = table("kinds.csv"), Axis(-4, 16, left=96), 4.0
    shown: list[str] = []
    for kind, group in groupby(rows, key=lambda row: row["Kind"]):
        y += 18
        shown += [text(LEFT, y, f"{kind[0].upper()}{kind[1:]}", font_weight="600")]
        for row in group:
            y += 20
            shown += [text(LEFT, y, SHORT[row["Method"]])]
            shown += axis.interval(y - 4, row["Loss, points"], colour_of(row["Method"]))
        y += 8
    parts = [
        *axis.scale(y, 4),
        *shown,
        text(RIGHT, y + 38, "points lost, 95 % interval over seeds", "end"),
    ]
    says = "What each method loses of each kind of network, in points: " + "; ".join(
        f"{row['Kind']}, {row['Method']}, {row['Loss, points']}" for row in rows
    )
    return drawing(360, int(y) + 46, f"{says}.", parts)


DRAWN = {"guide.svg": guide, "kinds.svg": kinds}


def main() -> None:
    for name, draw in DRAWN.items():
        (STATIC / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
