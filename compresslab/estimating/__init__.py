"""What will a code cost, before it is written? Bits of rounded weights, and steps that train with them."""

from compresslab.estimating.lengths import CodeLength, Lengths, grids_of
from compresslab.estimating.steps import EighthSteps, train_codes

__all__ = ["CodeLength", "EighthSteps", "Lengths", "grids_of", "train_codes"]
