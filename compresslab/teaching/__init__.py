"""How is it shown? Claims, source, figures, widgets, and what ships with the book.

Its names load when first used: whoever wants a checkpoint does not wait for matplotlib. A chapter takes
``check`` from here, too, though it stands in the room above, which answers for exercises.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compresslab.exercises.checking import check, check_function
    from compresslab.teaching import checkpoints, plots, records, setting, widgets
    from compresslab.teaching.checkpoints import load
    from compresslab.teaching.figure import Drawing
    from compresslab.teaching.frame import Panel
    from compresslab.teaching.graphs import graph_drawing
    from compresslab.teaching.palette import BLUE, GREEN, ORANGE, SKY, VERMILION
    from compresslab.teaching.progress import remember
    from compresslab.teaching.scoring import score
    from compresslab.teaching.showing import ClaimError, claim, show_source, shown
    from compresslab.teaching.staircases import staircase
    from compresslab.teaching.widgets import Control, explorer

# fmt: off
__all__ = [
    "BLUE", "GREEN", "ORANGE", "SKY", "VERMILION", "ClaimError", "Control", "Drawing", "Panel", "check",
    "check_function", "checkpoints", "claim", "explorer", "graph_drawing", "load", "plots", "records",
    "remember", "score", "setting", "show_source", "shown", "staircase", "widgets",
]
# fmt: on

_HOMES = {
    "checkpoints": ("load",),
    "figure": ("Drawing",),
    "frame": ("Panel",),
    "graphs": ("graph_drawing",),
    "palette": ("BLUE", "GREEN", "ORANGE", "SKY", "VERMILION"),
    "progress": ("remember",),
    "scoring": ("score",),
    "showing": ("ClaimError", "claim", "show_source", "shown"),
    "staircases": ("staircase",),
    "widgets": ("Control", "explorer"),
}
_HOME_OF = {name: f"teaching.{home}" for home, names in _HOMES.items() for name in names}
_HOME_OF |= dict.fromkeys(("check", "check_function"), "exercises.checking")


def __getattr__(name: str):
    """Load a name from its module, or a module, when it is first used."""
    if name in _HOME_OF:
        return getattr(import_module(f"compresslab.{_HOME_OF[name]}"), name)
    if name in __all__:
        return import_module(f"compresslab.teaching.{name}")
    raise AttributeError(f"module 'compresslab.teaching' has no attribute {name!r}")
