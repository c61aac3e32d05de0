"""Saving an 8-bit ResNet-18, and a layer of a hundred million codes: seconds, and memory beyond the model.

    python tests/bench/bench_saving.py

Processor time of one thread; the peak of resident memory in parts of the codes (a byte each), each case in a
process of its own. Linux only, as it reads /proc. Exits with 1 if a mark is missed: 6 s for the network, 20 s
and 1.5 times the codes for the layer: of 4 bits, of 8, and of 8 where no coder can gain anything.
"""

import ctypes
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import nn

import compresslab as cl
from compresslab.quantization.layers import quantized_like
from compresslab.quantization.scheme import QuantizedTensor

SIDE = 10_000


def resnet() -> nn.Module:
    return cl.quantize(torchvision.models.resnet18(), cl.Symmetric(8, cl.PerChannel()))


def layer_of_codes(bits: int, normal: bool = True) -> nn.Module:
    """Make a layer of normal or of even codes, without ever holding the weights."""
    generator, top = torch.Generator().manual_seed(0), 2 ** (bits - 1) - 1
    codes = torch.empty((SIDE, SIDE), dtype=torch.int8)
    for rows in codes.split(500):
        if normal:
            drawn = torch.randn(rows.shape, generator=generator) * (top / 4)
            rows.copy_(drawn.round_().clamp_(-top, top))
        else:
            rows.random_(-top, top + 1, generator=generator)
    with torch.device("meta"):
        layer = nn.Linear(SIDE, SIDE, bias=False)
    code = QuantizedTensor(cl.Symmetric(bits), codes, {"scale": torch.tensor([0.1])})
    return nn.Sequential(quantized_like(layer, code)).eval()


# What is saved, how many seconds it may take, and how much memory for each of how many codes.
CASES: dict[str, tuple[Callable[[], nn.Module], float, float | None, int]] = {
    "ResNet-18, 8 bits": (resnet, 6.0, None, 11_678_912),
    f"{SIDE**2:,} codes of 4 bits": (lambda: layer_of_codes(4), 20.0, 1.5, SIDE**2),
    f"{SIDE**2:,} codes of 8 bits": (lambda: layer_of_codes(8), 20.0, 1.5, SIDE**2),
    f"{SIDE**2:,} codes of 8 bits, even": (lambda: layer_of_codes(8, normal=False), 20.0, 1.5, SIDE**2),
}


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def measure(model: nn.Module, path: Path) -> tuple[float, int]:
    """Return the seconds that saving takes, and how far memory rises meanwhile."""
    cl.save(nn.Sequential(nn.Linear(3, 3)), path)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else what was freed before would hide what is needed now
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts anew
    start = time.process_time()
    cl.save(model, path)
    return time.process_time() - start, resident("VmHWM") - before


def report(name: str) -> bool:
    """Measure one case, print a line, and say whether its marks are met."""
    torch.set_num_threads(1)
    make, seconds, most, count = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        took, rise = measure(make(), Path(folder) / "m.clab")
    mark = f"marks {seconds:.0f} s" + (f", {most} times" if most else "")
    print(f"{name:36} {took:6.1f} s   {rise / count:5.2f} times the codes   {mark}")
    return took <= seconds and (most is None or rise <= most * count)


def main() -> int:
    return max(subprocess.run([sys.executable, __file__, name], check=False).returncode for name in CASES)


if __name__ == "__main__":
    sys.exit(not report(sys.argv[1]) if len(sys.argv) > 1 else main())
