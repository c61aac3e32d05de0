"""Laws of the figures: each shows the numbers it was given, names its axes and says its finding."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from references import contrast

from compresslab import Asymmetric, Binary, KMeans, PowerOfTwo, Symmetric, Ternary, models, plots
from compresslab.errors import CompressionError
from compresslab.measuring.report import measure
from compresslab.teaching.figure import Drawing
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
    curve = History(loss=(1.0, 0.5), validation=(0.5, 0.9), validation_loss=(1.2, 0.6), kept=2)
    return {
        "staircases": plots.staircases(SIX, weight, alt=ALT),
        "one staircase": plots.staircases(SIX[0], weight, alt=ALT),
        "histogram": plots.histogram(weight, KMeans(2).quantize(weight).levels, alt=ALT),
        "sweep": plots.sweep([2, 3, 4], {"a": tens, "b": tens[::-1]}, alt=ALT, reference=Accuracy(97, 100)),
        "bytes": plots.bytes_bars(reports, alt=ALT),
        "curves": plots.training_curves({"a": curve}, alt=ALT),
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
        bundle, shown = drawing._repr_mimebundle_()
        assert bundle["text/plain"] == f"Figure: {ALT}"
        image = Image.open(io.BytesIO(bundle["image/png"]))
        assert image.format == "PNG"
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255), "white to its corner"
        assert shown["image/png"]["width"] < image.width < 2 * shown["image/png"]["width"], "sharp, not huge"
        assert image.text["Letters"] == f"{drawing.smallest_letter:.1f} pixels on a phone"


def test_letters_can_be_read_on_a_phone_and_lie_inside(drawings):
    for name, drawing in drawings.items():
        assert drawing.smallest_letter >= 11, name
        assert not drawing.is_cut, name


def test_a_figure_without_room_for_its_words_says_that_they_are_cut():
    drawing = Drawing(ALT, columns=2, height=1)
    for axes in drawing.grid.flat:
        axes.set(title="one\ntwo\nthree", xlabel="four\nfive")
    assert drawing.is_cut
    assert Image.open(io.BytesIO(drawing.png())).text["Letters"].endswith(", cut")


def test_the_size_of_letters_is_that_of_the_smallest_where_the_figure_is_narrowest():
    drawing = Drawing(ALT, width=5)
    plain = drawing.smallest_letter
    assert plain == pytest.approx(10 / 72 * 336 / 5)
    drawing.ax.set_title("$10^{-3}$", fontsize=8)
    assert drawing.smallest_letter == pytest.approx(0.7 * 0.8 * plain)
    drawing.ax.set_title("")
    assert drawing.smallest_letter == plain


def test_names_stand_above_the_lines_in_as_many_columns_as_there_is_room_for():
    for names, columns in ((["a", "b", "c"], 3), (["activation variance"] * 2, 2), (["x" * 40, "y"], 1)):
        drawing = Drawing(ALT)
        height = drawing.get_figheight()
        for number, name in enumerate(names):
            drawing.ax.plot([0, 1], label=f"{name[:-1]}{number}")
        drawing.name_lines()
        drawing.draw_without_rendering()
        (legend,) = drawing.legends
        assert legend._ncols == columns
        assert drawing.get_figheight() > height
        lowest = legend.get_window_extent().y0
        assert lowest >= drawing.ax.get_window_extent().y1, "it covers nothing"


def test_drawing_twice_gives_the_same_bytes(weight):
    first, second = (plots.staircases(SIX, weight, alt=ALT).png() for _ in range(2))
    assert first == second
    assert b"Matplotlib" not in first


def test_no_figure_is_left_open_for_the_notebook_to_show_twice(drawings):
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_the_first_colours_stand_out_from_white():
    assert all(contrast(colour, "#FFFFFF") >= 3 for colour in COLOURS[:3])


def test_staircases_show_one_panel_for_each_scheme(drawings):
    titles = [axes.get_title(loc="right") for axes in drawings["staircases"].grid.flat]
    assert titles[::2] == ["Symmetric, 3 bits", "Binary, always 1 bit", "PowerOfTwo, 3 bits"]
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
    texts = [text.get_text() for text in drawings["trade"].legends[0].get_texts()]
    assert texts == [report.name for report in reports]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.sweep([2, 3, 4], {"a": [Accuracy(1, 2)] * 2}, alt=ALT), "2 accuracies for 3 values"),
        (lambda: plots.heat_map([0.1, 0.2], {"a": [Accuracy(1, 2)]}, alt=ALT), "1 accuracies for 2 values"),
        (lambda: plots.heat_map([0.1], {}, alt=ALT), "0 rows"),
        (lambda: plots.staircases([], torch.ones(3), alt=ALT), "at least one"),
        (lambda: plots.histogram(torch.ones(3), alt=""), "alt="),
        (lambda: plots.histogram(torch.ones(3), alt="  "), "alt="),
    ],
)
def test_what_cannot_be_drawn_or_said_is_refused(draw, message):
    with pytest.raises(CompressionError, match=message):
        draw()
