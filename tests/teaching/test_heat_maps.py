"""The heat map says every number in its cell, readable on its colour."""

import pytest
from references import contrast

from compresslab import plots
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
    assert "accuracy" in drawing.ax.get_title()
    assert drawing._repr_mimebundle_()[0]["text/plain"] == "Figure: The first layer breaks first."


def test_every_number_stands_out_from_its_cell():
    """WCAG's 4.5 to 1, over the whole colour map."""
    row = tuple(Accuracy(n, 100) for n in range(0, 101, 4))
    drawing = plots.heat_map([n / 100 for n in range(0, 101, 4)], {"all": row}, alt="All colours.")
    image = drawing.ax.images[0]
    for text, accuracy in zip(drawing.ax.texts, row, strict=True):
        cell = image.cmap(image.norm(100 * accuracy.value))[:3]
        assert contrast(text.get_color(), cell) >= 4.5


def test_equal_accuracies_make_a_map_too():
    plots.heat_map([0.5], {"fc1": [Accuracy(5, 10)]}, alt="One cell.").png()
