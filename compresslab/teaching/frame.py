"""Small SVG drawings in the text colour of the page, to be read in a light and in a dark theme."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compresslab.errors import CompressionError
from compresslab.teaching.palette import BLUE, VERMILION

LIMIT = 5_000  # bytes of one frame; a figure of two dozen stays near 100 kB
LONGEST_TITLE = 48  # letters that the width of the axes holds, bold, in the wider fonts of readers
DIGIT = 9.6  # widest a digit gets, in units of the drawing: 0.64 of a size of 15


@dataclass
class Panel:
    """Axes to draw on, in the coordinates of the data; ``svg()`` gives the picture.

    Args:
        x: smallest and largest value of the horizontal axis.
        y: smallest and largest value of the vertical axis.
        x_label: name and unit of the horizontal axis.
        y_label: name and unit of the vertical axis.
        title: one line above; it should say what is seen.
        names: of the places 0, 1, 2 ... on the horizontal axis, in place of numbers.
        width: of the drawing, in its own units; it shrinks to the page.
        height: of the drawing.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    title: str
    names: Sequence[str] = ()
    width: int = 480
    height: int = 340
    _parts: list[str] = field(default_factory=list)

    def _across(self, x: float) -> str:
        return _short(56 + (x - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - 68))

    def _down(self, y: float) -> str:
        return _short(self.height - 48 - (y - self.y[0]) / (self.y[1] - self.y[0]) * (self.height - 84))

    def _draw(self, path: str, style: str) -> Panel:
        self._parts.append(f'<path d="{path}" {style}/>')
        return self

    def line(self, points: Iterable[tuple[float, float]], style: str = "") -> Panel:
        """Draw straight lines from point to point."""
        path = "L".join(f"{self._across(x)} {self._down(y)}" for x, y in points)
        return self._draw(f"M{path}", style or f'fill="none" stroke="{BLUE}" stroke-width="2.5"')

    def stairs(self, edges: Sequence[float], values: Sequence[float]) -> Panel:
        """Draw one level line between every two edges, and the risers, as one path."""
        path = self._steps(edges, values, values[0])
        return self._draw(path, f'fill="none" stroke="{BLUE}" stroke-width="2.5"')

    def _steps(self, edges: Sequence[float], values: Sequence[float], start: float) -> str:
        pairs = zip(values, edges[1:], strict=True)
        steps = "".join(f"V{self._down(value)}H{self._across(edge)}" for value, edge in pairs)
        return f"M{self._across(edges[0])} {self._down(start)}{steps}"

    def bars(self, edges: Sequence[float], heights: Sequence[float], share: float = 0.9) -> Panel:
        """Draw a histogram in the background, its highest bar over a share of the panel."""
        base, top = self.y
        scale = share * (top - base) / max(max(heights), 1e-30)
        path = self._steps(edges, [base + height * scale for height in heights], base)
        return self._draw(f"{path}V{self._down(base)}z", 'fill="currentColor" fill-opacity=".16"')

    def stack(self, place: float, parts: Iterable[tuple[str, float]], half: float = 0.35) -> Panel:
        """Draw a bar at a place from parts of a colour and a height each, the first at the bottom."""
        left, right, bottom = self._across(place - half), self._across(place + half), 0.0
        for colour, height in parts:
            path = f"M{left} {self._down(bottom)}V{self._down(bottom + height)}H{right}V{self._down(bottom)}z"
            self._draw(path, f'fill="{colour}"')
            bottom += height
        return self

    def write(self, x: float, y: float, text: str, colour: str = "currentColor") -> Panel:
        """Write a word, its middle at x and its foot at y."""
        where = f'x="{self._across(x)}" y="{self._down(y)}" text-anchor="middle" fill="{colour}"'
        self._parts.append(_text(text, where))
        return self

    def marks(self, values: Iterable[float]) -> Panel:
        """Mark values on the vertical axis by short strokes."""
        path = "".join(f"M56 {self._down(value)}h9" for value in values)
        return self._draw(path, f'fill="none" stroke="{VERMILION}" stroke-width="2"')

    def diagonal(self) -> Panel:
        """Draw where both axes agree, dashed."""
        low, high = max(self.x[0], self.y[0]), min(self.x[1], self.y[1])
        dashed = 'fill="none" stroke="currentColor" stroke-opacity=".55" stroke-dasharray="4 4"'
        return self.line([(low, low), (high, high)], dashed)

    def _frame(self) -> str:
        bottom, right = self.height - 48, self.width - 12
        below = f'x="{(56 + right) / 2:g}" y="{self.height - 8}" text-anchor="middle"'
        beside = f'transform="translate(14 {(36 + bottom) / 2:g})rotate(-90)" text-anchor="middle"'
        return (
            f'<path d="M56 36V{bottom}H{right}" fill="none" stroke="currentColor"/>'
            + _text(self.title, 'x="56" y="22" font-weight="600"')
            + _text(self.x_label, below)
            + _text(self.y_label, beside)
            + "".join(self._tick(value, text) for value, text in self._places())
            + "".join(self._level(value) for value in ticks(*self.y))
        )

    def _places(self) -> Iterable[tuple[float, str]]:
        return enumerate(self.names) if self.names else ((value, _number(value)) for value in ticks(*self.x))

    def _tick(self, value: float, text: str) -> str:
        x, y = self._across(value), self.height - 48
        stroke = f'<path d="M{x} {y}v5" stroke="currentColor"/>'
        inside = _short(min(float(x), self.width - DIGIT * len(text) / 2)) if not self.names else x
        return stroke + _text(text, f'x="{inside}" y="{y + 19}" text-anchor="middle"')

    def _level(self, value: float) -> str:
        y = float(self._down(value))
        stroke = f'<path d="M51 {y:g}h5" stroke="currentColor"/>'
        return stroke + _text(_number(value), f'x="48" y="{y + 5:g}" text-anchor="end"')

    def svg(self, description: str) -> str:
        """Return the drawing with a description for those who do not see it.

        Raises:
            CompressionError: it is longer than a frame may be, or its title than the drawing is wide.
        """
        if len(self.title) > LONGEST_TITLE:
            raise CompressionError(
                f"The title {self.title!r} has {len(self.title)} letters, {LONGEST_TITLE} fit; "
                "say it shorter, and the rest in the caption."
            )
        label = html.escape(description, quote=True)
        text = (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{label}" font-size="15" '
            f'style="width: 100%; max-width: {self.width * 4 // 3}px; height: auto" '
            f'fill="currentColor" xmlns="http://www.w3.org/2000/svg"><title>{label}</title>'
            f"{''.join(self._parts)}{self._frame()}</svg>"
        )
        if len(text.encode()) > LIMIT:
            raise CompressionError(
                f"The frame {self.title!r} has {len(text.encode()):,} bytes, {LIMIT:,} are allowed; "
                "draw fewer points, or one path in place of many."
            )
        return text


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Choose round numbers inside a range, at most so many.

    >>> ticks(-0.31, 0.42)
    [-0.2, 0.0, 0.2, 0.4]
    """
    span = high - low
    steps = (size * 10.0**power for power in range(-12, 13) for size in (1, 2, 5))
    step = min((step for step in steps if span / step <= most - 1), default=span)
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [round(number * step, 12) + 0.0 for number in numbers]


def _text(text: str, where: str) -> str:
    return f"<text {where}>{html.escape(text)}</text>"


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _short(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
