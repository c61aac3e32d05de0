"""How much memory a process has needed so far.

`resource.getrusage` would count the peak of the process that started it, too: Linux hands it on through exec.
"""

from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")

needs_proc = pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read from /proc")


def peak():
    """Peak of resident and of address space so far, in bytes."""
    fields = dict(line.split(":") for line in STATUS.read_text().splitlines())
    return [1024 * int(fields[name].split()[0]) for name in ("VmHWM", "VmPeak")]
