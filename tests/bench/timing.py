"""Time functions against each other fairly: in turns, in processor time, after a warm-up."""

import time
from collections.abc import Callable


def interleaved(runs: int, *functions: Callable[[], object]) -> list[list[float]]:
    """Time each function ``runs`` times, taking turns, after one warm-up each."""
    times: list[list[float]] = [[] for _ in functions]
    for run in range(runs + 1):
        for function, record in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            if run:
                record.append(time.process_time() - start)
    return times
