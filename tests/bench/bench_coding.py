"""Huffman and range coding of 10 million 4-bit codes, each way, against their entropy; zstd and zlib beside.

    python tests/bench/bench_coding.py

The codes are those of normal weights. All coders see the same codes on one thread, writing and reading in
turns, and processor time is counted. zstd and zlib get one code per byte, which suits them best, and run
once. Shown are medians, and the size in parts of what the codes' entropy asks for. Exits with 1 if a speed is
below its mark, or the range-coded size more than 0.1 % above the entropy.
"""

import statistics
import sys
import zlib
from collections.abc import Callable

import numpy as np
import zstandard
from timing import interleaved

from compresslab.coding import huffman, ranges
from compresslab.coding.bits import pack, unpack

SHAPE, COUNT, BITS, RUNS = (1000, 10_000), 10_000_000, 4, 7
WASTE = 1.001
MARKS = {"huffman": (20.0, 20.0), "ranges": (100.0, 30.0)}  # million codes a second in, out

Coder = tuple[Callable[[], bytes], Callable[[bytes], np.ndarray]]


def normal_codes() -> np.ndarray:
    """Make the codes of normal weights, quantized with a step of half their spread."""
    weights = np.random.default_rng(0).normal(scale=2.0, size=SHAPE)
    return (np.clip(np.rint(weights), -7, 7) + 7).astype(np.uint8)


def coders(codes: np.ndarray) -> dict[str, Coder]:
    flat, alphabet = codes.reshape(-1), 1 << BITS
    contexts = ranges.CONTEXTS
    return {
        "packed": (lambda: pack(flat, BITS), lambda data: unpack(data, BITS, COUNT)),
        "huffman": (
            lambda: huffman.encode(flat, alphabet),
            lambda data: huffman.decode(data, COUNT, alphabet),
        ),
        "ranges": (lambda: ranges.encode(codes, alphabet), lambda data: ranges.decode(data, SHAPE, alphabet)),
        "with contexts": (
            lambda: ranges.encode(codes, alphabet, contexts),
            lambda data: ranges.decode(data, SHAPE, alphabet, contexts),
        ),
        "zstd, level 3": (
            lambda: zstandard.compress(flat.tobytes(), 3),
            lambda data: np.frombuffer(zstandard.decompress(data), np.uint8),
        ),
        "zlib, level 6": (
            lambda: zlib.compress(flat.tobytes(), 6),
            lambda data: np.frombuffer(zlib.decompress(data), np.uint8),
        ),
    }


def entropy_bytes(codes: np.ndarray) -> float:
    shares = np.bincount(codes.reshape(-1)) / COUNT
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum() * COUNT / 8)


def measure(name: str, coder: Coder, codes: np.ndarray, bound: float) -> bool:
    """Print a row and say whether its marks are met."""
    write, read = coder
    data = write()
    if not np.array_equal(read(data).reshape(SHAPE), codes):
        raise SystemExit(f"{name} does not read back what it wrote")
    times = interleaved(RUNS if name in MARKS else 1, write, lambda: read(data))
    speeds = [COUNT / 1e6 / statistics.median(record) for record in times]
    wanted = MARKS.get(name, (0.0, 0.0))
    mark = f"   marks {wanted[0]:.0f} and {wanted[1]:.0f}" if name in MARKS else ""
    print(f"{name:14} {speeds[0]:7.0f} {speeds[1]:7.0f} {len(data):12,} {len(data) / bound:9.5f}{mark}")
    small = name != "ranges" or len(data) <= WASTE * bound
    return small and all(speed >= least for speed, least in zip(speeds, wanted, strict=True))


def main() -> int:
    codes = normal_codes()
    bound = entropy_bytes(codes)
    print(f"{COUNT:,} codes of {BITS} bits, one thread, median of {RUNS} runs; entropy {bound:,.0f} bytes")
    print("million codes/s    in     out        bytes   / entropy")
    met = [measure(name, coder, codes, bound) for name, coder in coders(codes).items()]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
