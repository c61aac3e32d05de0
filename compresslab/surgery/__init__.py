"""What goes together, and how is it cut? Neurons are followed through a network; tensors get shorter."""

from compresslab.surgery.cutting import cut, refit, shortened
from compresslab.surgery.dead import drop_dead
from compresslab.surgery.graph import Graph, Group, example_of, graph_of
from compresslab.surgery.norms import remeasure_norms
from compresslab.surgery.readers import ignoring
from compresslab.surgery.units import components
from compresslab.surgery.walk import kind, title

# fmt: off
__all__ = [
    "Graph", "Group", "components", "cut", "drop_dead", "example_of", "graph_of", "ignoring", "kind",
    "refit", "remeasure_norms", "shortened", "title",
]
# fmt: on
