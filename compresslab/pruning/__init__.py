"""What goes? Criteria score, selection finds the least, and weights or neurons are removed."""

from compresslab.pruning import criteria
from compresslab.pruning.criteria import magnitude
from compresslab.pruning.neuron_criteria import taylor
from compresslab.pruning.neurons import comparable, prune_neurons
from compresslab.pruning.patterns import Blocks, NofM, cubic, of_the_rest
from compresslab.pruning.scanning import sensitivity
from compresslab.pruning.selection import count_of, smallest
from compresslab.pruning.weights import HeldZeros, hold_zeros, prune_weights, rewind

# fmt: off
__all__ = [
    "Blocks", "HeldZeros", "NofM", "comparable", "count_of", "criteria", "cubic", "hold_zeros", "magnitude",
    "of_the_rest", "prune_neurons", "prune_weights", "rewind", "sensitivity", "smallest", "taylor",
]
# fmt: on
