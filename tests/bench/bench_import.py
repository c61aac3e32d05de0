"""Importing compresslab against importing torch alone, each in fresh interpreters, taking turns.

    python tests/bench/bench_import.py

Shown are medians with the quartiles' distance; exits with 1 if compresslab takes over 1.15 times as long.
"""

import statistics
import subprocess
import sys
import time

RUNS, MOST = 15, 1.15


def seconds(module: str) -> float:
    """Take the time of the import itself, counted inside a fresh interpreter."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def milliseconds(times: list[float]) -> str:
    low, median, high = statistics.quantiles(times, n=4)
    return f"{1000 * median:6.0f} ± {1000 * (high - low):4.0f} ms"


def main() -> int:
    times: dict[str, list[float]] = {"torch": [], "compresslab": []}
    start = time.perf_counter()
    for run in range(RUNS + 1):
        for module, record in times.items():
            taken = seconds(module)
            if run:  # the first only fills the disk's cache
                record.append(taken)
    ratio = statistics.median(times["compresslab"]) / statistics.median(times["torch"])
    print(f"{RUNS} imports each in {time.perf_counter() - start:.0f} s, median ± interquartile range")
    for module, record in times.items():
        print(f"import {module:12} {milliseconds(record)}")
    print(f"ratio {ratio:.3f} (mark {MOST})")
    return 0 if ratio <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
