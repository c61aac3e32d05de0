"""Figures that answer to a control, on the static page as in JupyterLab, with no Python behind them.

All frames are drawn beforehand; a link in the browser joins each control to the choice of the frame. Every
widget carries a name derived from the figure's, so that the stored notebook is the same after every run.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ipywidgets as ipw
import torch
from ipywidgets.widgets.widget import _instances
from ipywidgets.widgets.widget_description import DescriptionStyle
from ipywidgets.widgets.widget_link import Link
from ipywidgets.widgets.widget_string import HTMLStyle
from jaxtyping import Float
from torch import Tensor

from compresslab.errors import CompressionError
from compresslab.teaching.frame import LIMIT, Panel
from compresslab.teaching.staircases import scheme_named, staircase

MOST_FRAMES = 24


@dataclass(frozen=True)
class Control:
    """One thing a reader may vary.

    Args:
        label: what it is called beside the control.
        options: the values that ``frame`` gets, in the order shown; their text is ``str(option)``.
        kind: "slider" for a row of numbers, "dropdown" for names, "buttons" for two or three choices.
        start: the option shown first, counted from 0.
    """

    label: str
    options: Sequence[Any]
    kind: Literal["slider", "dropdown", "buttons"] = "slider"
    start: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS or not 0 <= self.start < len(self.options):
            raise CompressionError(
                f"A {self.kind!r} control {self.label!r} that starts at {self.start} of {len(self.options)} "
                f"options was asked; the kinds are {', '.join(_KINDS)}; the start must be one of the options."
            )


class Explorer(ipw.VBox):
    """The controls and, below them, the frame they choose; what it holds keeps the links alive."""

    frames: int = 0
    labels: Sequence[str] = ()
    links: Sequence[ipw.Widget] = ()

    def __repr__(self) -> str:
        return f"Interactive figure with {self.frames} frames: choose {' and '.join(self.labels)}."


def explorer(key: str, controls: Sequence[Control], frame: Callable[..., str]) -> Explorer:
    """Join controls to drawings made beforehand, one for each combination of their options.

    Args:
        key: the figure's name, used once on a page.
        controls: at most three; their options multiply.
        frame: called with one option of each control; returns SVG that holds its own description. Where it
            returns the same drawing whatever a control says, the drawing is stored once.

    Returns:
        A widget to end a cell with.

    Raises:
        CompressionError: too many frames, a frame too large, or nothing to choose from.

    >>> explorer("doc", [Control("Bits", (2, 4))], "<svg>{}</svg>".format)
    Interactive figure with 2 frames: choose Bits.
    """
    if not controls or not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", key):
        raise CompressionError(
            f"The figure {key!r} was asked with {len(controls)} controls; give one or more, and a name of "
            "small letters and digits, with single hyphens between them."
        )
    drawn = _drawings(key, controls, frame)
    _close_earlier(key)
    room = f"{max(len(control.label) for control in controls) + 1}ch"  # one width, so that the controls align
    knobs = [_knob(f"{key}--{number}", control, room) for number, control in enumerate(controls)]
    links: list[ipw.Widget] = []
    figure = _stack(f"{key}--frame", drawn, controls, knobs, links)
    made = Explorer([*knobs, figure], model_id=f"{key}--figure", layout=_layout(f"{key}--figure"))
    made.frames, made.links = len(list(_leaves(drawn))), links
    made.labels = [control.label for control in controls]
    return made


def staircase_explorer(
    weight: Float[Tensor, " ..."],
    bits: Sequence[int] = (2, 3, 4),
    schemes: Sequence[str] = ("Symmetric", "Asymmetric", "Binary", "Ternary", "PowerOfTwo", "KMeans"),
    key: str = "staircase",
) -> Explorer:
    """Let the reader choose scheme and bits, and see which level each weight becomes.

    Args:
        weight: the weights of one layer; they are treated as a single row.
        bits: the numbers of bits to choose from; Binary and Ternary have their own.
        schemes: names of schemes.
        key: the figure's name, used once on a page.

    Chapter: 02.
    """
    low, high = (bound.item() for bound in torch.aminmax(weight.detach()))
    ends = (low - 0.02 * (high - low), high + 0.02 * (high - low))
    counts, edges = torch.histogram(weight.detach().float().cpu().flatten(), bins=48)

    def frame(name: str, width: int) -> str:
        stairs = staircase(scheme_named(name, width), weight.flatten())
        used, all_levels = len(set(stairs.values)), len(set(stairs.levels))
        title = f"{stairs.name}: {all_levels} levels, error {stairs.rms_error:.2g}"
        bottom, top = min(ends[0], *stairs.levels), max(ends[1], *stairs.levels)
        panel = Panel(ends, (bottom, top), "weight", "decoded weight", title)
        panel.bars(edges.tolist(), counts.tolist()).diagonal()
        panel.stairs(stairs.edges, stairs.values).marks(sorted(set(stairs.levels)))
        return panel.svg(f"Staircase of {title} (root mean square). The weights use {used} of the levels.")

    choices = Control("Scheme", tuple(schemes), "dropdown"), Control("Bits", tuple(bits), start=len(bits) - 1)
    return explorer(key, choices, frame)


_Tree = str | list[Any]  # a drawing, or one tree for each option of the next control


def _drawings(key: str, controls: Sequence[Control], frame: Callable[..., str]) -> _Tree:
    def draw(chosen: tuple[Any, ...], left: Sequence[Control]) -> _Tree:
        if not left:
            return frame(*chosen)
        below = [draw((*chosen, option), left[1:]) for option in left[0].options]
        same = chosen and isinstance(below[0], str) and all(tree == below[0] for tree in below)
        return below[0] if same else below

    drawn = draw((), controls)
    leaves = list(_leaves(drawn))
    longest = max(len(leaf.encode()) for leaf in leaves)
    if len(leaves) > MOST_FRAMES or longest > LIMIT:
        raise CompressionError(
            f"The figure {key!r} would hold {len(leaves)} frames of up to {longest:,} bytes; "
            f"{MOST_FRAMES} of {LIMIT:,} are allowed, or the page grows heavy. Offer fewer options."
        )
    return drawn


def _leaves(tree: _Tree) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    else:
        for branch in tree:
            yield from _leaves(branch)


def _stack(
    name: str, tree: _Tree, controls: Sequence[Control], knobs: Sequence[Any], links: list[ipw.Widget]
) -> ipw.Widget:
    """Nest one Stack in another, each linked to its control; a link joins only one pair of widgets."""
    if isinstance(tree, str):
        return ipw.HTML(tree, model_id=name, layout=_layout(name), style=HTMLStyle(model_id=f"{name}-style"))
    children = [
        _stack(f"{name}-{number}", branch, controls[1:], knobs[1:], links)
        for number, branch in enumerate(tree)
    ]
    stack = ipw.Stack(
        children, selected_index=controls[0].start, model_id=f"{name}-stack", layout=_layout(f"{name}-stack")
    )
    links.append(Link((knobs[0], "index"), (stack, "selected_index"), model_id=f"{name}-link"))
    return stack


def _knob(name: str, control: Control, room: str) -> Any:
    make, style = _KINDS[control.kind]
    return make(
        options=[(str(option), number) for number, option in enumerate(control.options)],
        index=control.start,
        description=control.label,
        model_id=f"{name}-control",
        layout=_layout(f"{name}-control", width=None),
        style=style(model_id=f"{name}-control-style", description_width=room),
    )


def _layout(name: str, width: str | None = "100%") -> ipw.Layout:
    return ipw.Layout(model_id=f"{name}-layout", width=width, max_width="100%")


def _close_earlier(key: str) -> None:
    """Close what an earlier run of the cell made: it would close its namesake when it is collected."""
    for name in [name for name in _instances if name.startswith(f"{key}--")]:
        _instances[name].close()


_KINDS: dict[str, tuple[Any, Any]] = {
    "slider": (ipw.SelectionSlider, ipw.SliderStyle),
    "dropdown": (ipw.Dropdown, DescriptionStyle),
    "buttons": (ipw.ToggleButtons, ipw.ToggleButtonsStyle),
}
