"""What a chapter computes does not depend on how many threads its machine offers."""

import os
import subprocess
import sys

import pytest

TOUR = """
import hashlib, torch
from dataclasses import replace
import compresslab as cl
from compresslab import checkpoints, data
{first}
student = cl.fake_quantize(checkpoints.load("article"), cl.Symmetric(2, cl.PerChannel()))
digits = data.digits()
digits = replace(digits, train=digits.train[:400], validation=digits.validation[:50])  # seven steps
cl.train(student, digits, epochs=1, lr=1e-3, progress=False)
found = b"".join(tensor.detach().numpy().tobytes() for tensor in student.state_dict().values())
print(torch.get_num_threads(), hashlib.sha256(found).hexdigest())
"""
FIRST = "from compresslab.teaching import setting; setting.use_one_thread()"


def tour(first: str, threads: str) -> list[str]:
    """Train as chapter 00 does, for a few steps; return the threads used and a sum of all weights' bytes."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-c", TOUR.format(first=first)],
        env=os.environ | dict.fromkeys(names, threads),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_the_tour_trains_the_same_weights_whatever_threads_are_offered():
    one, two = (tour(FIRST, threads) for threads in ("1", "2"))
    assert one == two
    assert one[0] == "1"


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="wants two cores")
def test_without_the_setting_the_machine_decides():
    assert tour("", "2")[0] == "2"
