"""What a file may make the one take who loads it: bytes, and work."""

from compresslab.errors import FormatError, whole

MAX_BYTES = 256_000_000
WORK, WORK_OF_BYTE = 500_000, 5  # microseconds that reading a file may take, and more for each of its bytes


def check_limit(needed: int, max_bytes: int) -> None:
    if needed > whole(max_bytes, "max_bytes", 0):
        raise FormatError(
            f"The file needs {needed:,} bytes, more than the limit of {max_bytes:,}. "
            "If you trust it, raise the limit: load(path, max_bytes=...)."
        )


def check_work(work: float, size: int, max_bytes: int) -> None:
    """Refuse a file that takes more microseconds than its size allows."""
    if work > (most := most_work(size, max_bytes)):
        raise FormatError(
            f"The file takes {work / 1e6:.1f} s to be read, more than the {most / 1e6:.1f} that its "
            f"{size:,} bytes allow. If you trust it, raise the limit: load(path, max_bytes=...)."
        )


def most_work(size: int, max_bytes: int) -> float:
    """Return how many microseconds a file may take; who allows more bytes allows more work."""
    return (WORK + WORK_OF_BYTE * size) * max(1, max_bytes / MAX_BYTES)
