"""Laws of the figures: each shows the numbers it was given, names its axes and says its finding."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from compresslab import Asymmetric, Binary, KMeans, PowerOfTwo, Symmetric, Ternary, models, plots
from compresslab.errors import CompressionError
from compresslab.measuring.report import measure
from compresslab.teaching.palette import COLOURS
from compresslab.training.accuracy import Accuracy
from compresslab.training.batching import ImageData, Split
from compresslab.training.loop import History

ALT = "The steps are even."
SIX = [Symmetric(3), Asymmetric(3), Binary(), Ternary(), PowerOfTwo(3), KMeans(3)]


@pytest.fixture(scope="module")
def weight():
    return torch.randn(3_000, generator=torch.Generator().manual_seed(5)) * 0.1


@pytest.fixture(scope="module")
def reports():
    split = Split(
        torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(1)), torch.arange(30) % 10
    )
    data = ImageData("noise", split, split, split)
    return [measure(models.article(n, n, n), data, f"width {n}", latency=False) for n in (2, 4, 8)]


@pytest.fixture(scope="module")
def drawings(weight, reports):
    tens = [Accuracy(n, 100) for n in (30, 80, 95)]
    return {
        "staircases": plots.staircases(SIX, weight, alt=ALT),
        "one staircase": plots.staircases(SIX[0], weight, alt=ALT),
        "histogram": plots.histogram(weight, KMeans(2).quantize(weight).levels, alt=ALT),
        "sweep": plots.sweep([2, 3, 4], {"a": tens, "b": tens[::-1]}, alt=ALT, reference=Accuracy(97, 100)),
        "bytes": plots.bytes_bars(reports, alt=ALT),
        "curves": plots.training_curves(
            {"a": History(loss=(1.0, 0.5), validation=(0.5, 0.9), validation_loss=(1.2, 0.6), kept=2)},
            alt=ALT,
        ),
        "error": plots.error_by_magnitude(SIX, weight, alt=ALT),
        "relative": plots.error_by_magnitude(PowerOfTwo(4), weight, alt=ALT, relative=True),
        "trade": plots.trade_off(reports, alt=ALT),
    }


def test_every_axis_has_a_name(drawings):
    for name, drawing in drawings.items():
        for axes in drawing.grid.flat:
            assert axes.get_xlabel(), name
            assert axes.get_ylabel() or name == "bytes", name  # its bars are named one by one


def test_every_figure_says_its_finding_and_is_a_png(drawings):
    for drawing in drawings.values():
        bundle = drawing._repr_mimebundle_()
        assert bundle["text/plain"] == f"Figure: {ALT}"
        assert Image.open(io.BytesIO(bundle["image/png"])).format == "PNG"


def test_drawing_twice_gives_the_same_bytes(weight):
    first, second = (plots.staircases(SIX, weight, alt=ALT).png() for _ in range(2))
    assert first == second
    assert b"Matplotlib" not in first


def test_no_figure_is_left_open_for_the_notebook_to_show_twice(drawings):
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


@pytest.mark.parametrize("alt", ["", "  "])
def test_a_figure_without_words_is_refused(alt, weight):
    with pytest.raises(CompressionError, match="alt="):
        plots.histogram(weight, alt=alt)


def test_the_corner_of_every_figure_is_white(drawings):
    for drawing in drawings.values():
        assert Image.open(io.BytesIO(drawing.png())).convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def contrast(first, second):
    """Return the contrast ratio of two colours by the formula of WCAG 2.1."""

    def luminance(colour):
        channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_the_first_colours_stand_out_from_white():
    assert all(contrast(colour, "#FFFFFF") >= 3 for colour in COLOURS[:3])


def test_staircases_show_one_panel_for_each_scheme(drawings):
    titles = [axes.get_title() for axes in drawings["staircases"].grid.flat]
    assert titles[0] == "Symmetric, 3 bits"
    assert titles[2] == "Binary, always 1 bit"
    assert len(titles) == 6


def test_a_sweep_draws_wilsons_intervals(drawings):
    container = drawings["sweep"].ax.containers[0]
    assert np.allclose(container.lines[0].get_ydata(), [30, 80, 95])
    (bars,) = container.lines[2]
    ends = [tuple(segment[:, 1]) for segment in bars.get_segments()]
    expected = [(100 * Accuracy(n, 100).low, 100 * Accuracy(n, 100).high) for n in (30, 80, 95)]
    assert np.allclose(ends, expected)


def test_bars_follow_each_other_and_reach_as_far_as_the_file_is_long(drawings, reports):
    for number, report in enumerate(reports):
        bars = [b for b in drawings["bytes"].ax.patches if abs(b.get_y() + b.get_height() / 2 - number) < 0.1]
        starts, widths = [bar.get_x() for bar in bars], [bar.get_width() for bar in bars]
        assert starts == [sum(widths[:place]) for place in range(len(bars))]
        assert sum(widths) == report.bytes_on_disk


def test_a_histogram_counts_every_weight(weight, drawings):
    (bars,) = drawings["histogram"].ax.patches
    assert sum(bars.get_data().values) == len(weight)


def test_the_mean_error_is_that_of_each_bin(weight):
    scheme = Symmetric(3)
    line = plots.error_by_magnitude(scheme, weight, alt=ALT).ax.lines[0]
    values, errors = weight.abs().numpy(), (scheme.quantize(weight).dequantize() - weight).abs().numpy()
    edges = np.linspace(0, values.max(), 41)
    for low, high, found in zip(edges[:20], edges[1:21], line.get_ydata(), strict=False):
        inside = errors[(values > low) & (values <= high)]
        assert found == pytest.approx(inside.mean(), rel=1e-3)  # a weight on an edge may fall to either side


def test_a_trade_off_names_every_report(drawings, reports):
    assert [text.get_text() for text in drawings["trade"].ax.get_legend().get_texts()] == [
        r.name for r in reports
    ]


def test_a_line_with_too_few_values_is_refused():
    with pytest.raises(CompressionError, match="2 accuracies for 3 values"):
        plots.sweep([2, 3, 4], {"a": [Accuracy(1, 2)] * 2}, alt=ALT)


def test_staircases_of_nothing_are_refused(weight):
    with pytest.raises(CompressionError, match="at least one"):
        plots.staircases([], weight, alt=ALT)
