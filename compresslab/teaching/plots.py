"""One drawing function for each kind of figure of the book, in colours that all eyes can tell apart.

Every figure takes ``alt``, one sentence that says what it shows. It becomes the figure's text in a terminal
and beside the stored image; on the built page it comes from the cell's metadata, which must repeat it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from compresslab.errors import CompressionError
from compresslab.quantization.scheme import Scheme
from compresslab.teaching.figure import Drawing, check_lengths, styled
from compresslab.teaching.heat_maps import heat_map
from compresslab.teaching.palette import BLUE, COLOURS, FADED, GREEN, ORANGE, PURPLE, SKY, VERMILION
from compresslab.teaching.staircases import staircase as staircase_of

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILION",
    "bytes_bars",
    "error_by_magnitude",
    "heat_map",
    "histogram",
    "staircases",
    "sweep",
    "trade_off",
    "training_curves",
]

if TYPE_CHECKING:
    from compresslab.measuring.report import Report
    from compresslab.training.accuracy import Accuracy
    from compresslab.training.loop import History


def staircases(schemes: Scheme | Sequence[Scheme], weight: Float[Tensor, " ..."], *, alt: str) -> Drawing:
    """Draw which level each weight becomes, one panel for each scheme.

    Args:
        schemes: one or several; each must leave the weight one row.
        weight: a layer's weights, or a ramp such as ``torch.linspace(-1, 1, 2001)``.
        alt: what the figure shows, as a finding.

    Chapter: 02.
    """
    listed = _listed(schemes)
    if not listed:
        raise CompressionError("Staircases of no scheme were asked; give at least one.")
    columns = min(2, len(listed))  # two beside each other can still be read on a phone
    rows = -(-len(listed) // columns)
    drawing = Drawing(alt, rows, columns, height=2.2 * rows + 0.2)
    for axes, scheme in zip(drawing.grid.flat, listed, strict=False):
        stairs = staircase_of(scheme, weight.flatten())
        ends = stairs.edges[0], stairs.edges[-1]
        stroke = ends[0] + 0.03 * (ends[1] - ends[0])
        axes.plot(ends, ends, color=FADED, linestyle="--", linewidth=1)
        axes.stairs(stairs.values, stairs.edges, baseline=None, color=BLUE, linewidth=1.8)
        axes.hlines(sorted(set(stairs.levels)), ends[0], stroke, color=VERMILION, linewidth=1.2)
        axes.set(xlabel="weight", ylabel="decoded weight")
        axes.set_title(stairs.name, loc="right", fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    for axes in drawing.grid.flat[len(listed) :]:
        axes.set_visible(False)
    return drawing


def histogram(
    weight: Float[Tensor, " ..."], levels: Sequence[float] | Tensor = (), *, alt: str, bins: int = 80
) -> Drawing:
    """Draw how the weights are spread, and the levels they may take.

    Args:
        weight: any weights.
        levels: values to mark, for example ``code.levels[0]``.
        alt: what the figure shows, as a finding.
        bins: number of bars.
    """
    drawing = Drawing(alt)
    counts, edges = torch.histogram(weight.detach().float().cpu().flatten(), bins=bins)
    drawing.ax.stairs(counts.tolist(), edges.tolist(), fill=True, color=SKY)
    marked = sorted(set(torch.as_tensor(levels).flatten().tolist()))
    if marked:
        whole_height = drawing.ax.get_xaxis_transform()
        drawing.ax.vlines(marked, 0, 1, transform=whole_height, color=VERMILION, linewidth=1)
        drawing.ax.set_title(f"{len(marked)} levels")
    drawing.ax.set(xlabel="weight", ylabel="number of weights", ylim=(0, None))
    drawing.ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    return drawing


def sweep(
    x: Sequence[float],
    series: Mapping[str, Sequence[Accuracy]],
    *,
    alt: str,
    xlabel: str = "bits per weight",
    reference: Accuracy | None = None,
    reference_name: str = "float32",
) -> Drawing:
    """Draw accuracy, with its 95 % intervals, over what was varied.

    Args:
        x: the values that were tried, each the same distance from the next where they are whole numbers.
        series: for each line its name and one accuracy per value.
        alt: what the figure shows, as a finding.
        xlabel: what was varied, with its unit.
        reference: an accuracy to draw across, with its interval.
        reference_name: what that is.
    """
    check_lengths(series, x, "line")
    drawing = Drawing(alt)
    if reference is not None:
        drawing.ax.axhspan(100 * reference.low, 100 * reference.high, color=FADED, alpha=0.35, linewidth=0)
        dashed: dict[str, Any] = {"color": "#555555", "linestyle": "--", "linewidth": 1}
        drawing.ax.axhline(100 * reference.value, label=reference_name, **dashed)
    for (name, accuracies), style in styled(series.items()):
        drawing.ax.errorbar(x, *_intervals(accuracies), capsize=3, label=name, **style)
    drawing.ax.set(xlabel=xlabel, ylabel="accuracy (%)")
    if all(float(value).is_integer() for value in x):
        drawing.ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    if len(series) + (reference is not None) > 1:
        drawing.name_lines()
    return drawing


def bytes_bars(reports: Sequence[Report], *, alt: str) -> Drawing:
    """Draw of what parts each file consists, one bar for each report.

    Args:
        reports: from ``measure``, in the order from top to bottom.
        alt: what the figure shows, as a finding.
    """
    drawing, places = Drawing(alt, height=0.75 + 0.5 * len(reports)), range(len(reports))
    parts = list(dict.fromkeys(part for report in reports for part in report.parts))
    left = [0] * len(reports)
    for part, colour in zip(parts, COLOURS, strict=False):
        sizes = [report.parts.get(part, 0) for report in reports]
        if any(sizes):
            style: dict[str, Any] = {"color": colour, "edgecolor": "white", "linewidth": 0.5, "height": 0.5}
            drawing.ax.barh(places, sizes, left=left, label=part, **style)
        left = [start + size for start, size in zip(left, sizes, strict=True)]
    for place, (report, total) in enumerate(zip(reports, left, strict=True)):
        drawing.ax.text(0, place - 0.3, report.name)
        drawing.ax.text(total, place, f" {total:,}", va="center")
    drawing.ax.set(xlabel="bytes on disk", xlim=(0, 1.3 * max(left)), ylim=(len(reports) - 0.7, -0.8))
    drawing.ax.set_yticks([])
    drawing.ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    drawing.name_lines()
    return drawing


def training_curves(histories: Mapping[str, History], *, alt: str) -> Drawing:
    """Draw the losses (on validation dashed) and the validation accuracy of every epoch.

    Args:
        histories: for each training its name and what ``train`` returned.
        alt: what the figure shows, as a finding.
    """
    drawing = Drawing(alt, rows=2, height=4.4)
    loss, accuracy = drawing.grid[:, 0]
    for (name, history), style in styled(histories.items()):
        epochs = range(1, len(history.loss) + 1)
        marks: dict[str, Any] = {"markevery": max(1, len(history.loss) // 8), "markersize": 4, "label": name}
        loss.plot(epochs, history.loss, **style, **marks)
        loss.plot(epochs, history.validation_loss, color=style["color"], linestyle="--", linewidth=1)
        accuracy.plot(epochs, [100 * share for share in history.validation], **style, **marks)
    loss.set(xlabel="epoch", ylabel="loss (validation dashed)", yscale="log")
    accuracy.set(xlabel="epoch", ylabel="validation accuracy (%)")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter(NullFormatter())
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(histories) > 1:
        drawing.name_lines()
    return drawing


def error_by_magnitude(
    schemes: Scheme | Sequence[Scheme], weight: Float[Tensor, " ..."], *, alt: str, relative: bool = False
) -> Drawing:
    """Draw how far a decoded weight is from the weight, over the weight's magnitude.

    Args:
        schemes: one or several, each with a line.
        weight: any weights.
        alt: what the figure shows, as a finding.
        relative: divide the error by the magnitude, in percent.
    """
    listed, drawing = _listed(schemes), Drawing(alt)
    magnitude = weight.detach().float().abs().flatten()
    edges = torch.linspace(0, magnitude.max().item(), 41)
    place = torch.bucketize(magnitude, edges[1:-1])
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    for scheme, style in styled(listed):
        error = (scheme.quantize(weight).dequantize() - weight).detach().abs().flatten().double()
        if relative:
            error = 100 * error / magnitude.clamp(min=1e-12)
        sums = torch.zeros(40, dtype=torch.float64).index_add_(0, place, error)
        means = (sums / torch.bincount(place, minlength=40)).tolist()
        name = f"{type(scheme).__name__}, {scheme.bits} bits"
        drawing.ax.plot(middles, means, markersize=3, label=name, **style)
    drawing.ax.set(xlabel="magnitude of the weight", ylabel=f"mean error{' (%)' if relative else ''}")
    drawing.ax.set_ylim(0, 105 if relative else None)
    if len(listed) > 1:
        drawing.name_lines()
    return drawing


def trade_off(reports: Sequence[Report], *, alt: str) -> Drawing:
    """Draw accuracy, with its 95 % interval, over the bytes of the file; up and to the left is better.

    Args:
        reports: from ``measure``.
        alt: what the figure shows, as a finding.
    """
    drawing = Drawing(alt, height=3.0)
    for report, style in styled(reports):
        values, ends = _intervals([report.counted])
        point: dict[str, Any] = {"capsize": 3, "linestyle": "", "label": report.name}
        drawing.ax.errorbar([report.bytes_on_disk], values, ends, **point, **style)
    drawing.ax.set(xlabel="bytes on disk", ylabel="test accuracy (%)", xscale="log")
    drawing.ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    drawing.ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    drawing.ax.xaxis.set_minor_formatter(NullFormatter())
    drawing.name_lines()
    return drawing


def _listed(schemes: Scheme | Sequence[Scheme]) -> list[Scheme]:
    return [schemes] if isinstance(schemes, Scheme) else list(schemes)


def _intervals(accuracies: Sequence[Accuracy]) -> tuple[list[float], list[list[float]]]:
    """Return accuracies in percent, and how far their intervals reach below and above."""
    below = [100 * (accuracy.value - accuracy.low) for accuracy in accuracies]
    above = [100 * (accuracy.high - accuracy.value) for accuracy in accuracies]
    return [100 * accuracy.value for accuracy in accuracies], [below, above]
