"""A scale in one byte: an eighth of a power of two, and the same float32 on every machine."""

import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from compresslab.errors import CompressionError

LOWEST, HIGHEST = -200, 53  # eighths: from 2**-25 to 2**6.625


@cache
def steps() -> Mapping[float, int]:
    """Return ``2 ** (k / 8)``, rounded to float32, for each k that a byte can hold.

    Three integer square roots make an eighth root, so nothing depends on a machine's way to round.

    >>> steps()[0.25], steps()[2**-0.5 + 2**-26.5]  # the latter as float32 has it
    (-16, -4)
    """
    found = {}
    for k in range(LOWEST, HIGHEST + 1):
        whole, part = divmod(k, 8)
        root = math.isqrt(
            math.isqrt(math.isqrt(1 << 8 * 24 + part))
        )  # 2 ** (24 + part / 8), without the rest
        found[math.ldexp((root + 1) >> 1, whole - 23)] = k
    return MappingProxyType(found)


def nearest_step(scale: float) -> float:
    """Return the step that is nearest to a scale in ratio; a file holds it in one byte.

    Raises:
        CompressionError: the scale is not positive and finite.

    Chapter: 23.

    >>> nearest_step(0.1), nearest_step(0.25)
    (0.10511205345392227, 0.25)
    """
    if not 0 < scale < math.inf:
        raise CompressionError(
            f"A step was asked for a scale of {scale!r:.80}; it must be positive and finite."
        )
    return list(steps())[max(LOWEST, min(HIGHEST, round(8 * math.log2(scale)))) - LOWEST]
