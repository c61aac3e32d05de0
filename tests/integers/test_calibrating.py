"""How much memory calibration takes: the ranges of activations are kept, never the activations.

This file is also the program that the test starts, so that nothing else counts.
"""

import json
import subprocess
import sys

import pytest
import torch
from memory import needs_proc, peak
from samples import HELPERS

ADDED = 100_000_000  # bytes; all activations of these images together are 560 million


def main():
    from torchvision.models import resnet18

    from compresslab import quantize_activations

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, images = resnet18().eval(), torch.rand(128, 3, 96, 96)
    with torch.no_grad():
        model(images[:16])  # what a forward pass takes is not calibration's
    before = peak()[0]
    quantize_activations(model, images)
    print(json.dumps(peak()[0] - before))


@needs_proc
@pytest.mark.slow
def test_calibrating_resnet18_adds_a_hundred_megabytes_at_most():
    command = [sys.executable, __file__]
    given_back = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what was freed does not count: glibc keeps some of it
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=HELPERS | given_back)
    assert json.loads(done.stdout.splitlines()[-1]) < ADDED


if __name__ == "__main__":
    main()
