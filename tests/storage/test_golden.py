"""What was written once stays readable, and is written again to the byte.

Files of golden/ are never changed. ``python tests/storage/test_golden.py`` adds those that are missing.
"""

import pytest
import torch
from samples import GOLDEN, Kinds, by_hand, counted, same, tiny

from compresslab import models
from compresslab.coding.planes import CODERS
from compresslab.quantization.granularity import PerChannel, PerGroup, PerTensor
from compresslab.quantization.layers import quantized_like, replace
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Asymmetric, Symmetric
from compresslab.storage.container import decode, encode


def with_codes(model, schemes):
    """Give layers codes and parameters that come from plain counting."""
    for name, scheme in schemes.items():
        layer = model.get_submodule(name)
        replace(model, name, quantized_like(layer, by_hand(tuple(layer.weight.shape), scheme)))
    return model


def small():
    return counted(models.lenet5(conv1=2, conv2=4, fc1=20, classes=4))


def quantized():
    schemes = {
        "conv1": Symmetric(3, PerChannel()),
        "blocks.0.conv1": Asymmetric(5, PerGroup(4)),
        "blocks.0.conv2": Binary(PerTensor()),
        "blocks.1.conv1": Ternary(PerChannel()),
        "blocks.1.conv2": PowerOfTwo(4, PerTensor()),
        "fc1": KMeans(2, PerChannel()),
    }
    return with_codes(counted(models.residual(widths=(2, 3), inner=(1, 2), classes=2)), schemes)


def sparse_floats():
    model = small()
    model.fc1.weight.data.view(-1)[torch.arange(20 * 64) % 11 != 0] = 0
    return model


def sparse_codes():
    model = with_codes(small(), {"conv2": Symmetric(3, PerChannel()), "fc2": KMeans(2), "fc1": Symmetric(4)})
    model.fc1.weight_codes[torch.arange(20 * 64).reshape(20, 64) % 7 != 0] = 0
    return model


def integers():
    """A network of codes alone, of which nine in ten are zero."""
    model = tiny("lenet5", classes=4)
    for name, buffer in model.named_buffers():
        if name.endswith("codes"):
            codes = torch.arange(buffer.numel()) * 7 % 15 - 7
            buffer.copy_(torch.where(torch.arange(buffer.numel()) % 9 == 0, codes, 0).reshape(buffer.shape))
    model.fc2.bias_codes[0] = 100
    model.fc1.bias_scale.fill_(0.3)
    return decode(encode(model, coding="mixing")[0])  # with the fewest bits for each scheme


FILES = {
    "v1_dense": (lambda: counted(models.lenet5(conv1=1, conv2=2, fc1=3, classes=2)), {"plain": True}),
    "v1_quantized": (quantized, {"plain": True}),
    "v1_kinds": (Kinds, {"plain": True}),
    **{f"v1_sparse_floats_{name}": (sparse_floats, {"coders": ["packed", name]}) for name in CODERS},
    **{f"v1_sparse_codes_{name}": (sparse_codes, {"coders": ["packed", name]}) for name in CODERS},
    "v1_integers_mixed": (integers, {"coding": "mixing"}),
}


def test_every_golden_file_is_held():
    assert {path.stem for path in GOLDEN.glob("*.clab")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_golden_files_are_read_and_written_to_the_byte(name):
    make, how = FILES[name]
    golden = (GOLDEN / f"{name}.clab").read_bytes()
    assert same(decode(golden, into=Kinds(fill=False) if name == "v1_kinds" else None), make())
    assert encode(make(), **how)[0] == golden


if __name__ == "__main__":
    for file, (build, written) in FILES.items():
        if not (path := GOLDEN / f"{file}.clab").exists():
            path.write_bytes(encode(build(), **written)[0])
