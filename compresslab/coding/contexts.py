"""Say where in a matrix an uncommon number is likely, from what has been read before.

Pruning leaves no noise behind: in a first layer, the weights of neighbouring pixels live or die together,
some inputs matter more than others, and so do some neurons. A matrix is read column by column, all rows at
once, so that each row is a lane and one step of numpy serves them all. Before each step, every lane learns
one of ``CONTEXTS`` contexts:

- a pattern of three neighbours in its row, if one of them is uncommon: the column to the left, the one a
  stride back, and the one after that. With the stride of an image's width these are left, above and above
  right; in other layers the stride is whatever repeats best;
- otherwise a class of how many uncommon numbers are to be expected from this row and the columns nearby.

All of it is integer arithmetic, the same on any machine.

Source: neighbours as contexts are those of JBIG (ITU-T T.82, 1993), which codes pictures of two colours.
"""

import numpy as np
from jaxtyping import Bool, UInt8

_PATTERNS = 7  # of three neighbours, at least one of them uncommon
_CLASSES = 9  # of expected density: below 1/256, below 1/128, ... , 1/2 and more
CONTEXTS = _CLASSES + _PATTERNS
_STRIDES = range(2, 256)  # a byte; a stride of 1 would look at itself
_SAMPLE = 1 << 20  # numbers that the search for a stride looks at

Busy = Bool[np.ndarray, " lanes"]


class Neighbourhood:
    """Give the contexts of one step after the other, from the steps before it.

    Args:
        lanes: how many numbers a step has.
        stride: how many steps back the neighbours above are, 2 to 255.
    """

    def __init__(self, lanes: int, stride: int) -> None:
        self._near = 1, stride, stride - 1  # how many steps back the three neighbours are
        self._steps = [np.zeros(lanes, dtype=bool)] * stride  # as if the matrix began with empty columns
        self._in_steps = [0] * stride  # how many uncommon numbers each step has
        self._in_lanes = np.zeros(lanes, dtype=np.int64)
        self._in_all = 0

    def contexts(self) -> UInt8[np.ndarray, " lanes"]:
        """Return the contexts of the next step."""
        left, above, right = (self._steps[-steps] for steps in self._near)
        pattern = left.view(np.uint8) | above.view(np.uint8) << 1 | right.view(np.uint8) << 2
        return np.where(pattern, pattern + np.uint8(_CLASSES - 1), self._classes())

    def add(self, busy: Busy) -> None:
        """Take note of a step: which of its numbers are uncommon."""
        self._steps.append(busy)
        self._in_steps.append(int(np.count_nonzero(busy)))
        self._in_lanes += busy
        self._in_all += self._in_steps[-1]

    def _classes(self) -> UInt8[np.ndarray, " lanes"]:
        """Class the density to be expected: the columns', times how much busier the row is than others.

        One imagined number in each row, and a quarter of one in the columns, keep beginnings moderate.
        """
        left, above, right = (self._in_steps[-steps] for steps in self._near)
        near = 2 * left + above + right
        # density = (near + 1) / (4 lanes) * (in_lane + 1) / ((in_all + lanes) / lanes), without a division
        expected = (self._in_lanes + 1) * ((near + 1) << _CLASSES)
        bounds = 4 * (self._in_all + len(self._in_lanes)) << np.arange(1, _CLASSES)
        return np.searchsorted(bounds, expected, side="right").astype(np.uint8)


def find_stride(busy: Bool[np.ndarray, "steps lanes"]) -> int:
    """Find how many steps apart uncommon numbers meet most often: the width of an image, or of a kernel.

    >>> columns = np.arange(784) % 28 % 9 == 0  # the columns 0, 9, 18 and 27 of an image of 28 by 28 pixels
    >>> find_stride(np.repeat(columns[:, None], 5, axis=1))
    28
    """
    packed = np.packbits(busy[:, : max(64, _SAMPLE // len(busy))], axis=1)
    meetings = [
        int(np.bitwise_count(packed[stride:] & packed[:-stride]).sum(dtype=np.int64)) for stride in _STRIDES
    ]
    return _STRIDES[int(np.argmax(meetings))]
