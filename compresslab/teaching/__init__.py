"""How is it shown and checked? Exercises, figures, widgets, and what ships with the book.

Its names load when first used: whoever wants a checkpoint does not wait for matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compresslab.teaching import checkpoints, exercises, plots, records, setting, widgets
    from compresslab.teaching.exercises import check, check_function, claim, show_source
    from compresslab.teaching.figure import Drawing
    from compresslab.teaching.frame import Panel
    from compresslab.teaching.graphs import graph_drawing
    from compresslab.teaching.palette import BLUE, GREEN, ORANGE, SKY, VERMILION
    from compresslab.teaching.staircases import staircase
    from compresslab.teaching.widgets import Control, explorer

# fmt: off
__all__ = [
    "BLUE", "GREEN", "ORANGE", "SKY", "VERMILION", "Control", "Drawing", "Panel", "check", "check_function",
    "checkpoints", "claim", "exercises", "explorer", "graph_drawing", "plots", "records", "setting",
    "show_source", "staircase", "widgets",
]
# fmt: on

_HOMES = {
    "exercises": ("check", "check_function", "claim", "show_source"),
    "figure": ("Drawing",),
    "frame": ("Panel",),
    "graphs": ("graph_drawing",),
    "palette": ("BLUE", "GREEN", "ORANGE", "SKY", "VERMILION"),
    "staircases": ("staircase",),
    "widgets": ("Control", "explorer"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str):
    """Load a name from its module, or a module, when it is first used."""
    if name in _HOME_OF:
        return getattr(import_module(f"compresslab.teaching.{_HOME_OF[name]}"), name)
    if name in __all__:
        return import_module(f"compresslab.teaching.{name}")
    raise AttributeError(f"module 'compresslab.teaching' has no attribute {name!r}")
