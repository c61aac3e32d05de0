"""The picture shows every layer once, in the colour and with the number of its group."""

from itertools import pairwise

import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch
from references import contrast
from torch import nn

from compresslab import models
from compresslab.errors import CompressionError
from compresslab.surgery.graph import graph_of
from compresslab.teaching.graphs import graph_drawing
from compresslab.teaching.palette import FADED


def boxes(drawing):
    """For each box of a layer its number, name, place, colour and the colour of its text."""
    patches = [patch for patch in drawing.ax.patches if isinstance(patch, FancyBboxPatch)]
    texts = [text for text in drawing.ax.texts if ": " in text.get_text()]
    found = {}
    for text, patch in zip(texts, patches, strict=True):
        number, name = text.get_text().split(": ")
        found[name] = (int(number), text.get_position(), to_hex(patch.get_facecolor()), text.get_color())
    return found


@pytest.fixture(scope="module")
def graph():
    return graph_of(models.residual())


def test_every_layer_has_the_number_and_colour_of_its_group(graph):
    found, colours = boxes(graph_drawing(graph, alt="The residual network.")), {}
    assert set(found) == set(graph.units.layers)
    for number, group in enumerate(graph.groups):
        for layer in group.layers:
            assert found[layer][0] == number
            assert colours.setdefault(number, found[layer][2]) == found[layer][2]
    assert colours[6] == FADED.lower()
    assert len(set(colours.values())) == 7


def test_branches_stand_side_by_side_and_nothing_overlaps(graph):
    drawing = graph_drawing(graph, alt="The residual network.")
    places = {name: place for name, (_, place, _, _) in boxes(drawing).items()}
    assert places["blocks.1.shortcut"][0] > places["blocks.1.conv1"][0] == places["fc1"][0] == 0
    assert places["conv1"][1] < places["blocks.0.conv1"][1] < places["blocks.2.conv2"][1] < places["fc1"][1]
    for column in {x for x, _ in places.values()}:
        rows = sorted(y for x, y in places.values() if x == column)
        assert all(below - above > 1 for above, below in pairwise(rows))


def test_names_stand_out_from_their_boxes(graph):
    """WCAG's 4.5 to 1."""
    for _, _, box, ink in boxes(graph_drawing(graph, alt="The residual network.")).values():
        assert contrast(box, ink) >= 4.5


class Skip(nn.Module):
    """An addition of what stands right above, and a concatenation of three branches."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = (nn.Linear(4, 4) for _ in range(3))
        self.last = nn.Linear(12, 2)

    def forward(self, x):
        x = self.stem(x)
        return self.last(torch.cat([x + self.one(x), self.two(x), x], 1))


def test_a_line_goes_around_what_it_passes():
    drawing = graph_drawing(graph_of(Skip(), torch.zeros(2, 4)), alt="A skip.")
    found = boxes(drawing)
    assert {x for x, _ in (place for _, place, _, _ in found.values())} == {0, 6.4}
    assert found["stem"][0] == found["one"][0] != found["two"][0]
    for line in drawing.ax.lines:
        (x, *_), rows = line.get_xdata(), line.get_ydata()
        if len(set(line.get_xdata())) == 1:  # straight down: nothing stands between
            inside = [y for _, (at, y), _, _ in found.values() if at == x and rows[0] < y < rows[-1]]
            assert not inside


def test_too_many_operations_are_refused():
    deep = nn.Sequential(*(nn.ReLU() for _ in range(100)), nn.Linear(2, 2))
    with pytest.raises(CompressionError, match="103 operations, 100 can be drawn"):
        graph_drawing(graph_of(deep, torch.zeros(1, 2)), alt="Deep.")
