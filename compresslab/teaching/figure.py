"""A figure that says in words what it shows."""

import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import cycle
from typing import Any, TypeVar

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from compresslab.errors import CompressionError
from compresslab.teaching.palette import COLOURS, MARKERS

T = TypeVar("T")

WIDTH = 4.2  # inches; so matplotlib's own letters of 10 points stay readable where the figure is narrowest
PHONE = 336  # pixels that a figure has in a folded answer on a page 390 pixels wide
SHOWN, STORED = 128, 170  # pixels of an inch where there is room; dots of an inch, twice what a phone shows
_SCRIPT = re.compile(r"\$[^$]*[\^_]")  # matplotlib sets an exponent or index at 0.7 of its base


class Drawing(Figure):
    """A figure on white, readable on a phone and on a wide page, that says in words what it shows."""

    def __init__(
        self, alt: str, rows: int = 1, columns: int = 1, width: float = WIDTH, height: float = 2.8
    ) -> None:
        if not alt or not alt.strip():
            raise CompressionError(
                "A figure without a text was asked; give alt='what it shows, as a finding'."
            )
        layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05)  # inches
        super().__init__(figsize=(width, height), layout=layout, facecolor="white")
        FigureCanvasAgg(self)
        self.alt = alt.strip()
        self.grid = self.subplots(rows, columns, squeeze=False)
        for axes in self.grid.flat:
            axes.spines[["top", "right"]].set_visible(False)

    @property
    def ax(self) -> Axes:
        """The first axes."""
        return self.grid[0, 0]

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"

    @property
    def smallest_letter(self) -> float:
        """The size of the smallest letters on a phone, in pixels; infinite where there are none."""
        self.draw_without_rendering()  # the numbers along the axes are not there before
        texts = [text for text in self.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
        points = (
            float(text.get_fontsize()) * (0.7 if _SCRIPT.search(text.get_text()) else 1) for text in texts
        )
        return min(points, default=float("inf")) / 72 * min(PHONE / self.get_figwidth(), SHOWN)

    @property
    def is_cut(self) -> bool:
        """Whether something reaches beyond the edge of the figure, which has no room for it."""
        self.draw_without_rendering()
        drawn, slack = self.get_tightbbox(), 0.01  # inches
        low, high = min(drawn.x0, drawn.y0), (drawn.x1 - self.get_figwidth(), drawn.y1 - self.get_figheight())
        return bool(low < -slack or max(high) > slack)

    def name_lines(self) -> None:
        """Name all lines above the axes, where they cover nothing; the figure grows by the names' height."""
        named: dict[str, Any] = {}
        for axes in self.grid.flat:
            handles, names = axes.get_legend_handles_labels()
            named |= dict(zip(names, handles, strict=True))
        longest = max(map(len, named), default=0)
        columns = max(1, min(len(named), int(self.get_figwidth() / (0.47 + 0.078 * longest))))
        self.set_figheight(self.get_figheight() + 0.2 * -(-len(named) // columns))
        tight: dict[str, Any] = {"frameon": False, "borderpad": 0, "handlelength": 1.6, "columnspacing": 1}
        self.legend(named.values(), named, loc="outside upper left", ncols=columns, **tight)

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        shown = {"image/png": {"width": round(SHOWN * self.get_figwidth())}}
        return {"image/png": self.png(), "text/plain": repr(self)}, shown

    def png(self) -> bytes:
        """Return the figure as PNG, without a date or a version, and with the size of its letters in it."""
        drawn, stored, words = io.BytesIO(), io.BytesIO(), PngInfo()
        words.add_text("Letters", f"{self.smallest_letter:.1f} pixels on a phone{', cut' * self.is_cut}")
        self.savefig(drawn, format="png", dpi=STORED)
        exact = Image.open(drawn).convert("RGB")
        few = exact.quantize(256, dither=Image.Dither.NONE)  # colours: a third of the bytes, to the same eye
        few.save(stored, "PNG", optimize=True, pnginfo=words)
        return stored.getvalue()


def check_lengths(series: Mapping[str, Collection[Any]], x: Collection[Any], what: str) -> None:
    """Refuse a line, or a row, that has not one value for each of ``x``."""
    for name, values in series.items():
        if len(values) != len(x):
            raise CompressionError(
                f"The {what} {name!r} has {len(values)} accuracies for {len(x)} values; give one for each."
            )


def styled(things: Iterable[T]) -> Iterator[tuple[T, dict[str, Any]]]:
    """Give each line its colour and its marker; they begin anew where there are too many lines."""
    styles = ({"color": colour, "marker": marker} for colour, marker in zip(COLOURS, MARKERS, strict=True))
    return zip(things, cycle(styles), strict=False)
