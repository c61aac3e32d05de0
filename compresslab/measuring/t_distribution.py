"""Student's t distribution: how far a mean of few values strays, in units of its estimated error."""

from __future__ import annotations

import math

from compresslab.errors import CompressionError, fraction, whole


def t_share(t: float, freedom: int) -> float:
    """Return which share of Student's t distribution lies between -t and t.

    Two degrees of freedom more add one term, so whole degrees need neither a table nor an integral.

    Args:
        t: how many standard errors, at least 0.
        freedom: degrees of freedom; of n differences they are n - 1.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 1972, 26.7.3 and 26.7.4.

    >>> round(t_share(2.776, freedom=4), 4)
    0.95
    """
    angle = math.atan(t / math.sqrt(whole(freedom, "the degrees of freedom")))
    sine, cosine = math.sin(angle), math.cos(angle)
    share, factor = (2 * angle / math.pi, 2 / math.pi) if freedom % 2 else (sine, 1 / 2)
    for more in range(4 - freedom % 2, freedom + 1, 2):
        share += factor * sine * cosine ** (more - 2)
        factor *= (more - 1) / more
    return min(1.0, share)  # despite rounding


def t_quantile(confidence: float, freedom: int) -> float:
    """Return the t with the asked share of Student's distribution between -t and t.

    Args:
        confidence: that share, for example 0.95.
        freedom: degrees of freedom.

    Raises:
        CompressionError: the confidence is not between 0 and 1; all of the distribution ends nowhere.

    >>> [round(t_quantile(0.95, freedom), 3) for freedom in (1, 2, 4, 9)]
    [12.706, 4.303, 2.776, 2.262]
    """
    if not 0 < fraction(confidence, "a confidence") < 1:
        raise CompressionError(f"{confidence} was asked for a confidence; give one between 0 and 1.")
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(freedom): it has two ends
    while low < (middle := (low + high) / 2) < high:
        inside = t_share(math.sqrt(freedom) * math.tan(middle), freedom) < confidence
        low, high = (middle, high) if inside else (low, middle)
    return math.sqrt(freedom) * math.tan(low)
