"""The heat map says every number in its cell, readable on its colour."""

import pytest
from matplotlib.colors import to_rgb

from compresslab import plots
from compresslab.errors import CompressionError
from compresslab.training.accuracy import Accuracy

SERIES = {
    "conv1": tuple(Accuracy(n, 200) for n in (190, 150, 21)),
    "fc1": tuple(Accuracy(n, 200) for n in (195, 193, 100)),
}
SHARES = (0.5, 0.9, 0.95)


@pytest.fixture(scope="module")
def drawing():
    return plots.heat_map(SHARES, SERIES, alt="The first layer breaks first.")


def test_every_cell_says_its_accuracy(drawing):
    texts = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in drawing.ax.texts}
    for row, line in enumerate(SERIES.values()):
        for column, accuracy in enumerate(line):
            assert texts[row, column] == f"{100 * accuracy.value:.1f}"


def test_axes_and_colours_are_named(drawing):
    assert [label.get_text() for label in drawing.ax.get_xticklabels()] == ["50", "90", "95"]
    assert [label.get_text() for label in drawing.ax.get_yticklabels()] == ["conv1", "fc1"]
    assert drawing.ax.get_xlabel()
    assert drawing.ax.get_ylabel()
    assert "accuracy" in drawing.axes[1].get_ylabel()
    assert drawing._repr_mimebundle_()["text/plain"] == "Figure: The first layer breaks first."


def luminance(colour):
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))


def test_every_number_stands_out_from_its_cell():
    """WCAG's 4.5 to 1, over the whole colour map."""
    row = tuple(Accuracy(n, 100) for n in range(0, 101, 4))
    drawing = plots.heat_map([n / 100 for n in range(0, 101, 4)], {"all": row}, alt="All colours.")
    image = drawing.ax.images[0]
    for text, accuracy in zip(drawing.ax.texts, row, strict=True):
        cell = image.cmap(image.norm(100 * accuracy.value))[:3]
        bright, dark = sorted((luminance(text.get_color()), luminance(cell)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_equal_accuracies_make_a_map_too():
    plots.heat_map([0.5], {"fc1": [Accuracy(5, 10)]}, alt="One cell.").png()


def test_rows_of_another_length_and_empty_maps_are_refused():
    with pytest.raises(CompressionError, match="1 accuracies for 2 values"):
        plots.heat_map([0.1, 0.2], {"fc1": [Accuracy(1, 2)]}, alt="x")
    with pytest.raises(CompressionError, match="0 rows"):
        plots.heat_map([0.1], {}, alt="x")
