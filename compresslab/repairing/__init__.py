"""What can be mended without training? A few images, or none, say which codes, weights and biases to take."""

from compresslab.repairing.columns import column_by_column
from compresslab.repairing.equalizing import equalize
from compresslab.repairing.mending import correct_biases, mend
from compresslab.repairing.reconstructing import more_of, reconstruct
from compresslab.repairing.rounding import AdaptiveRounding, ColumnByColumn
from compresslab.repairing.without_data import quantize_without_data

# fmt: off
__all__ = [
    "AdaptiveRounding", "ColumnByColumn", "column_by_column", "correct_biases", "equalize", "mend",
    "more_of", "quantize_without_data", "reconstruct",
]
# fmt: on
