"""Saving an 8-bit ResNet-18, and a layer of a hundred million codes: seconds, and memory beyond the model.

    python tests/bench/bench_saving.py

Processor time of one thread; the peak of resident memory in parts of the codes (a byte each). Linux
only, as it reads /proc. Exits with 1 if a mark is missed: 6 s for the network, 20 s and 1.5 times the codes
for 4 bits. A layer of 8 bits is shown without a mark for memory: its file alone takes nine tenths of it.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from torch import nn

import compresslab as cl
from compresslab.quantization.layers import quantized_like
from compresslab.quantization.scheme import QuantizedTensor

SIDE = 10_000


def layer_of_codes(bits: int) -> nn.Module:
    """Make a layer whose codes are those of normal weights, without ever holding the weights."""
    generator, top = torch.Generator().manual_seed(0), 2 ** (bits - 1) - 1
    codes = torch.empty((SIDE, SIDE), dtype=torch.int8)
    for rows in codes.split(500):
        drawn = torch.randn(rows.shape, generator=generator) * (top / 4)
        rows.copy_(drawn.round_().clamp_(-top, top))
    with torch.device("meta"):
        layer = nn.Linear(SIDE, SIDE, bias=False)
    code = QuantizedTensor(cl.Symmetric(bits), codes, {"scale": torch.tensor([0.1])})
    return nn.Sequential(quantized_like(layer, code)).eval()


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def measure(model: nn.Module, path: Path) -> tuple[float, int]:
    """Return the seconds that saving takes, and how far memory rises meanwhile."""
    cl.save(nn.Sequential(nn.Linear(3, 3)), path)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts anew
    start = time.process_time()
    cl.save(model, path)
    return time.process_time() - start, resident("VmHWM") - before


def main() -> int:
    torch.set_num_threads(1)
    met = True
    network = cl.quantize(torchvision.models.resnet18(), cl.Symmetric(8, cl.PerChannel()))
    cases = [("ResNet-18, 8 bits", network, 6.0, None, 11_678_912)]
    cases += [
        (f"{SIDE**2:,} codes of {bits} bits", bits, 20.0, most, SIDE**2)
        for bits, most in ((4, 1.5), (8, None))
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, model, seconds, most, count in cases:
            took, rise = measure(
                layer_of_codes(model) if isinstance(model, int) else model, Path(folder) / "m.clab"
            )
            mark = f"marks {seconds:.0f} s" + (f", {most} times" if most else "")
            print(f"{name:34} {took:6.1f} s   {rise / count:5.2f} times the codes   {mark}")
            met &= took <= seconds and (most is None or rise <= most * count)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
