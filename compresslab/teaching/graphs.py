"""A picture of a network's graph: what flows where, and which layers are cut together."""

from itertools import count

from matplotlib.patches import Circle, FancyBboxPatch
from torch import fx

from compresslab.errors import CompressionError
from compresslab.surgery.graph import Graph
from compresslab.surgery.walk import kind, title
from compresslab.teaching.figure import Drawing
from compresslab.teaching.palette import BLUE, FADED, GREEN, ORANGE, PURPLE, SKY, VERMILION

Places = dict[fx.Node, tuple[float, float]]

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
_MOST = 100  # operations; beyond that no page shows the picture in a readable size
_INCH = 0.266  # of a unit; below, everything is in units
_PITCH, _BOX, _JOIN = 6.4, (5.9, 1.0), 0.4


def graph_drawing(graph: Graph, *, alt: str) -> Drawing:
    """Draw the operations from top to bottom, branches side by side, and each group in its own colour.

    A box is a layer with the number of its group, a circle is an operation that joins branches, a dot is
    anything else. A line has the colour of the group whose neurons flow along it. What is held is grey.

    Args:
        graph: from ``graph_of``, of at most 100 operations.
        alt: what the figure shows, as a finding.

    Returns:
        A drawing as high as the network is deep.

    Raises:
        CompressionError: there are too many operations.

    Chapter: 15.

    >>> from compresslab import models
    >>> from compresslab.surgery.graph import graph_of
    >>> graph_drawing(graph_of(models.article()), alt="Each hidden layer is a group of its own.")
    Figure: Each hidden layer is a group of its own.
    """
    nodes = [node for node in graph.nodes if node.op != "get_attr"]
    if len(nodes) > _MOST:
        raise CompressionError(
            f"{graph.name} has {len(nodes)} operations, {_MOST} can be drawn; print the graph instead."
        )
    places = _places(graph, nodes)
    right, bottom = (max(place[axis] for place in places.values()) for axis in (0, 1))
    drawing = Drawing(alt, width=_INCH * (right + 9) + 0.1, height=_INCH * (bottom + 1) + 0.1)
    drawing.ax.set_axis_off()
    drawing.ax.set(xlim=(-5.3, right + 3.7), ylim=(bottom + 0.5, -0.5), aspect="equal")
    for node in nodes:
        for user in node.users:
            drawing.ax.plot(*_line(node, user, places), color=_colour(graph, node), linewidth=2.2, zorder=1)
    for node in nodes:
        _draw(drawing, graph, node, places[node])
    return drawing


def _places(graph: Graph, nodes: list[fx.Node]) -> Places:
    """Put every node below all that it reads, in the column of one of them if that is still free."""
    places: Places = {}
    tips: dict[float, fx.Node] = {}  # the last node of each column
    for node in nodes:
        before = [parent for parent in node.all_input_nodes if parent in places]
        below = max((places[parent][1] + _half(graph, parent) for parent in before), default=0.0)
        columns = [places[parent][0] for parent in before if tips[places[parent][0]] is parent]
        spare = (c for c in count(0.0, _PITCH) if c not in tips or all(u in places for u in tips[c].users))
        column = min(columns) if columns else next(spare)
        places[node], tips[column] = (column, below + _half(graph, node) + 0.3 * bool(before)), node
    return places


def _line(node: fx.Node, user: fx.Node, places: Places) -> tuple[list[float], list[float]]:
    """Go straight down, or to the side where the other column is, or around what stands between."""
    (x, y), (to_x, to_y) = places[node], places[user]
    if any(column == x == to_x and y < row < to_y for column, row in places.values()):
        aside = x + _PITCH / 2
        return [x, aside, aside, x], [y, y, to_y, to_y]
    return [x, max(x, to_x), to_x], [y, y if to_x > x else to_y, to_y]


def _number(graph: Graph, node: fx.Node) -> int | None:
    """Return the group whose neurons a value holds; None where they are several or none."""
    channels = graph.walks[0].channels(node)
    roots = set() if channels is None else set(graph.roots[channels.units].tolist())
    found = [number for number, group in enumerate(graph.groups) if roots & set(group.roots.tolist())]
    return found[0] if len(found) == 1 else None


def _colour(graph: Graph, node: fx.Node) -> str:
    number = _number(graph, node)
    return FADED if number is None or graph.groups[number].held else _COLOURS[number % len(_COLOURS)]


def _half(graph: Graph, node: fx.Node) -> float:
    """Return half of the height that a node takes."""
    if node in graph.walks[0].opened.values():
        return _BOX[1] / 2
    return _JOIN if len(node.all_input_nodes) > 1 else 0.25


def _draw(drawing: Drawing, graph: Graph, node: fx.Node, place: tuple[float, float]) -> None:
    (x, y), colour, name = place, _colour(graph, node), kind(graph.walks[0], node)
    centred = {"ha": "center", "va": "center", "fontsize": 10}
    if node in graph.walks[0].opened.values():
        low, width, height = (x - _BOX[0] / 2 + 0.15, y - _BOX[1] / 2 + 0.15), _BOX[0] - 0.3, _BOX[1] - 0.3
        box = FancyBboxPatch(low, width, height, "round,pad=0.15", color=colour, zorder=2)
        ink = "white" if colour == BLUE else "black"  # stands out at 5 to 1 or more
        label = f"{_number(graph, node)}: {title(node)}"
        drawing.ax.text(x, y, label, color=ink, **centred)
    elif len(node.all_input_nodes) > 1:
        box = Circle((x, y), _JOIN, facecolor="white", edgecolor=colour, linewidth=2, zorder=2)
        drawing.ax.text(x, y, "+" if name == "add" else name, **centred)
    else:
        box = Circle((x, y), 0.15, facecolor=colour, edgecolor="white", zorder=2)
        word = node.name if node.op in ("placeholder", "output") else name
        side = -0.4 if x == 0 else 0.4  # lines leave the first column to the right
        text = drawing.ax.text(x + side, y, word, va="center", color="#404040")
        text.set_horizontalalignment("right" if side < 0 else "left")
    drawing.ax.add_patch(box)
