"""How long a thing takes a reader: in a process of its own, where the tests' hook executes no annotations."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIMED = """
import sys, time
sys.path[:0] = {paths}
{before}
begin = time.process_time()
{timed}
print(time.process_time() - begin)
"""


def seconds(before, timed, *arguments):
    """Seconds of the processor that ``timed`` takes; ``sys.argv[1:]`` are the arguments."""
    code = TIMED.format(before=before, timed=timed, paths=[str(ROOT), str(ROOT / "tests")])
    ran = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return float(ran.stdout)
