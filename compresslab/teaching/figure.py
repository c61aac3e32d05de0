"""A figure that says in words what it shows."""

import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import cycle
from typing import Any, TypeVar

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from compresslab.errors import CompressionError
from compresslab.teaching.palette import COLOURS, MARKERS

T = TypeVar("T")


class Drawing(Figure):
    """A figure on white, readable on a light and on a dark page, that says in words what it shows."""

    def __init__(
        self, alt: str, rows: int = 1, columns: int = 1, width: float = 6.4, height: float = 3.6
    ) -> None:
        if not alt or not alt.strip():
            raise CompressionError(
                "A figure without a text was asked; give alt='what it shows, as a finding'."
            )
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)  # inches of white around, for dark pages
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

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"image/png": self.png(), "text/plain": repr(self)}

    def png(self, dpi: int = 110) -> bytes:
        """Return the figure as PNG, without a date or a version in it."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        return buffer.getvalue()


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
