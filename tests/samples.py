"""Small models to save, and the file format written down a second time, without the package."""

import binascii
import json
import math
import os
import struct
import zlib
from pathlib import Path

import torch
from torch import nn

from compresslab import models
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.layers import hold_codes, quantized_like, replace
from compresslab.quantization.scheme import QuantizedTensor
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Asymmetric, Symmetric

GOLDEN = Path(__file__).with_name("golden")
# a test that starts itself as a program finds the helpers beside this file
HELPERS = os.environ | {
    "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(GOLDEN.parent))))
}

GRANULARITIES = [PerTensor(), PerChannel(), PerGroup(7)]  # 7 leaves a short last group in every layer
SCHEMES = [
    scheme
    for g in GRANULARITIES
    for scheme in (
        *(Symmetric(bits, g) for bits in (2, 3, 8)),
        *(Asymmetric(bits, g) for bits in (1, 5, 8)),
        Binary(g),
        Ternary(g),
        *(PowerOfTwo(bits, g) for bits in (2, 6, 8)),
        *(KMeans(bits, g) for bits in (1, 4, 7)),
    )
]

SMALL = {
    "article": {"conv1": 3, "conv2": 4, "fc1": 5, "classes": 3},
    "lenet_300_100": {"fc1": 6, "fc2": 5, "classes": 3},
    "lenet5": {"conv1": 2, "conv2": 3, "fc1": 5, "classes": 3},
    "residual": {"widths": [3, 4], "inner": [2, 5], "channels": 1, "classes": 3, "norm": True},
}


def network(name="article", seed=0):
    """Build a small network of the book; its norms get statistics that are not the fresh ones."""
    model = models.build(name, SMALL[name], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.num_batches_tracked += 7
    return model.eval()


def quantized(model, scheme):
    """Quantize every layer in place, without the package's own verb."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            replace(model, name, quantized_like(layer, scheme.quantize(layer.weight)))
    return model.eval()


def thinned(model, share):
    """Set that share of every weight to zero, the first ones in an order without a pattern."""
    for name, weight in model.named_parameters():
        if name.endswith("weight"):
            order = torch.randperm(weight.numel(), generator=torch.Generator().manual_seed(0))
            weight.data.view(-1)[order[: int(share * weight.numel())]] = 0
    return model


def images():
    return torch.rand((4, 1, 28, 28), generator=torch.Generator().manual_seed(1))


def state(model):
    return {name: (value.dtype, value.shape, raw(value)) for name, value in model.state_dict().items()}


def raw(tensor):
    """The bytes of a tensor: equal bytes also where NaN differs from itself and 0.0 equals -0.0."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same(left, right):
    return state(left) == state(right)


def stranger(seed=0, width=2):
    """A module that the package has never seen."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width * 26 * 26, 3)).eval()


class Kinds(nn.Module):
    """One tensor of every number type, of awkward shapes and values."""

    def __init__(self, fill: bool = True) -> None:
        super().__init__()
        special = [0.0, -0.0, 1.5, -2.25, math.inf, -math.inf, math.nan, 1e-40]
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            values = torch.tensor(special, dtype=torch.float64).to(dtype)
            self.register_parameter(
                f"as_{str(dtype)[6:]}", nn.Parameter(values if fill else torch.zeros_like(values))
            )
        for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
            limits = torch.iinfo(dtype)
            values = torch.tensor([[limits.min, limits.max, 3]], dtype=dtype)
            self.register_buffer(f"as_{str(dtype)[6:]}", values if fill else torch.zeros_like(values))
        self.register_buffer("flags", torch.tensor([fill, False, fill]))
        self.register_buffer("scalar", torch.tensor(5 if fill else 0))
        self.register_buffer("empty", torch.zeros((3, 0, 2)))
        self.register_buffer("strided", torch.arange(6.0).reshape(2, 3).T if fill else torch.zeros(3, 2))


def by_hand(shape, scheme):
    """Codes and parameters from plain counting, so that no fit or random draw can change them."""
    low, high = scheme.code_range
    codes = (torch.arange(math.prod(shape)) * 5 % (high - low + 1) + low).to(scheme.code_dtype).reshape(shape)
    parameters = {}
    for name, (size, dtype) in scheme.parameter_layout(shape).items():
        values = torch.arange(math.prod(size)) % 7
        parameters[name] = (values / 16 if dtype.is_floating_point else values % 2).to(dtype).reshape(size)
    return QuantizedTensor(scheme, codes, parameters)


def counted(model):
    """Give every float of a network a value that is exact in binary."""
    for value in model.state_dict().values():
        value.copy_((torch.arange(value.numel()) % 33 - 16).reshape(value.shape) / 64)
    return model.eval()


def take_apart(data):
    """Read a file by the words of storage/header.py alone: struct, json and zlib."""
    magic, version, length, checksum = struct.unpack("<4sHII", data[:14])
    assert (magic, version) == (b"CLAB", 1)
    assert checksum == zlib.crc32(data[:10] + data[14:])
    return json.loads(data[14 : 14 + length]), data[14 + length :]


def resealed(data):
    """Give the bytes of a changed file, of either form, the checksum that they should have."""
    changed = bytearray(data)
    if changed and changed[0] >> 4 == 0xC:  # the compact form
        changed[1:3] = struct.pack("<H", binascii.crc_hqx(changed[3:], 0xFFFF))
    elif len(changed) >= 14:
        changed[10:14] = struct.pack("<I", zlib.crc32(changed[:10] + changed[14:]))
    return bytes(changed)


def tiny(name="lenet5", bits=4, biases=8, **widths):
    """A network of which all is codes, with steps of eighths of powers of two."""
    made = models.build(name, SMALL[name] | widths).eval()
    for name, value in list(made.named_parameters()):
        layer, _, leaf = name.rpartition(".")
        code = Symmetric(bits if leaf == "weight" else biases).quantize(value.detach())
        step = {"scale": torch.tensor([2.0 ** (len(name) - 12)])}
        hold_codes(made.get_submodule(layer), leaf, QuantizedTensor(code.scheme, code.codes, step))
    return made


def put_together(header, payload, version=1, magic=b"CLAB"):
    """Write a file with a right checksum around any header (text or values) and payload."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    start = struct.pack("<4sHI", magic, version, len(text))
    return start + struct.pack("<I", zlib.crc32(start + text + payload)) + text + payload
