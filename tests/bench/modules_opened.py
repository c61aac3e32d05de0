"""Which modules does a reader open who follows one call? Those of which a function runs; marks at the end.

Everything is imported and called once before, so that imports and what is computed once do not count.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

import compresslab as cl
from compresslab import criteria, models

PACKAGE = Path(cl.__file__).parent


def opened(action: Callable[[], object]) -> list[str]:
    """Run an action, and list the modules of the package of which some function ran."""
    action()
    files: set[str] = set()

    def see(frame, event, argument):
        if event == "call" and frame.f_code.co_name != "<module>":
            files.add(frame.f_code.co_filename)

    sys.setprofile(see)
    try:
        action()
    finally:
        sys.setprofile(None)
    inside = (Path(name) for name in files if Path(name).is_relative_to(PACKAGE))
    return sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in inside)


def digits() -> cl.data.ImageData:
    """Make a data set of noise, so that reading the real one does not count."""
    images = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    split = cl.data.Split(images, torch.arange(64) % 10)
    return cl.data.ImageData("noise", split, split, split)


def main() -> int:
    """Print each list with its mark."""
    model, noise = models.article(), digits()
    small = cl.quantize(model, cl.Symmetric(4))
    file = Path(tempfile.mkdtemp()) / "model.clab"
    actions = {
        "quantize and save": (17, lambda: cl.save(cl.quantize(model, cl.Symmetric(4)), file)),
        "prune_neurons": (14, lambda: cl.prune_neurons(model, criteria.taylor, 0.5, batches=noise.train)),
        "measure what is quantized": (21, lambda: cl.measure(small, noise, repeats=1)),
    }
    above = 0
    for name, (mark, action) in actions.items():
        found = opened(action)
        above += len(found) > mark
        print(f"{name}: {len(found)} modules, the mark is {mark}", *found, sep="\n  ")
    return int(above > 0)


if __name__ == "__main__":
    sys.exit(main())
