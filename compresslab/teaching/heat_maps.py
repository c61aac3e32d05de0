"""A table of accuracies as coloured cells, each with its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.colors import Normalize

from compresslab.errors import CompressionError
from compresslab.teaching.figure import WIDTH, Drawing, check_lengths

if TYPE_CHECKING:
    from compresslab.training.accuracy import Accuracy

_MAP = colormaps["cividis"]  # dark to light in brightness too, and alike to all eyes


def heat_map(
    x: Sequence[float],
    series: Mapping[str, Sequence[Accuracy]],
    *,
    alt: str,
    xlabel: str = "weights set to zero in this layer alone (%)",
    ylabel: str = "layer",
) -> Drawing:
    """Draw one row of cells for each line of ``plots.sweep``: accuracy by colour and in percent.

    Args:
        x: the shares that were tried, from 0.0 to 1.0.
        series: for each row its name and one accuracy per share, as ``sensitivity`` returns them.
        alt: what the figure shows, as a finding.
        xlabel: what was varied, with its unit.
        ylabel: what the rows are.

    Raises:
        CompressionError: there is no row or no share, or a row of another length.

    Chapter: 09.
    """
    if not len(x) or not series:
        raise CompressionError(
            f"A heat map of {len(series)} rows and {len(x)} columns was asked; give some of each."
        )
    check_lengths(series, x, "row")
    drawing = Drawing(alt, width=max(WIDTH, 1.2 + 0.45 * len(x)), height=1.1 + 0.4 * len(series))
    percents = [[100 * accuracy.value for accuracy in row] for row in series.values()]
    shade = Normalize(min(map(min, percents)), max(map(max, percents)))
    drawing.ax.imshow(percents, cmap=_MAP, norm=shade, aspect="auto")
    for row, line in enumerate(percents):
        for column, value in enumerate(line):
            ink = "black" if _luminance(shade(value)) > 0.179 else "white"  # where both stand out alike
            drawing.ax.text(column, row, f"{value:.1f}", ha="center", va="center", color=ink)
    drawing.ax.set_xticks(range(len(x)), [f"{100 * share:.3g}" for share in x])
    drawing.ax.set_yticks(range(len(series)), list(series))
    drawing.ax.set(xlabel=xlabel, ylabel=ylabel)
    drawing.ax.set_title("accuracy (%)", fontsize=10)
    drawing.ax.tick_params(length=0)
    return drawing


def _luminance(shade: float) -> float:
    """Return the relative luminance of a shade of the map as WCAG 2.1 defines it, 0 black and 1 white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _MAP(shade)[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
