"""A search of 60 trials on the article's network, in its whole space: seconds of one core.

    python tests/bench/bench_search.py

Exits with 1 if it takes over 10 minutes of processor time, or a trial is missing.
"""

import sys
import time

import torch

import compresslab as cl
from compresslab import checkpoints, data
from compresslab.searching import Budget

TRIALS, MOST = 60, 600.0


def main() -> int:
    torch.set_num_threads(1)
    model, digits = checkpoints.load("article"), data.digits()
    start, since = time.process_time(), time.perf_counter()
    found = cl.search(model, digits, Budget(loss=0.01), trials=TRIALS)
    took = time.process_time() - start
    print(found)
    print(f"{took:.0f} s of one core ({time.perf_counter() - since:.0f} s by the clock), mark {MOST:.0f} s")
    return 0 if took <= MOST and len(found.trials) == TRIALS else 1


if __name__ == "__main__":
    sys.exit(main())
