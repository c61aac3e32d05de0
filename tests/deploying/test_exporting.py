"""What is exported answers as the network does in another runtime, and its codes are integers in the file."""

import copy
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from samples import SCHEMES, network
from torch import nn

import compresslab as cl
from compresslab import checkpoints, data
from compresslab.deploying import export_onnx
from compresslab.errors import CompressionError
from compresslab.integers.network import quantize_activations
from compresslab.models.inputs import answers_of
from compresslab.quantization.clipping import MinMax, Percentile
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.quantizing import quantize
from compresslab.quantization.uniform import Symmetric

sys.path.insert(0, str(Path(__file__).parents[1] / "gallery"))
from networks import CASES

NETWORKS = ("article", "lenet_300_100", "lenet5", "residual")
# Both compute in float32 and sum in another order; the largest sums here have a thousand terms of up to 4.
NEAR = {"rtol": 1e-4, "atol": 2e-5}
NARROW, WIDE = ({getattr(onnx.TensorProto, f"{sign}INT{bits}") for sign in ("", "U")} for bits in (4, 8))


def images(count=7, seed=0):
    return torch.rand((count, 1, 28, 28), generator=torch.Generator().manual_seed(seed))


def run(path, inputs):
    """Run a file in ONNX Runtime, and return its first answer."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    if isinstance(inputs, dict):
        given = {name: inputs[name] for name in names}
    else:
        given = dict(zip(names, inputs if isinstance(inputs, tuple) else (inputs,), strict=True))
    return session.run(None, {name: tensor.numpy() for name, tensor in given.items()})[0]


def first(answers):
    """Return the first tensor of what a network answers."""
    while not isinstance(answers, torch.Tensor):
        answers = next(iter(answers.values() if isinstance(answers, dict) else answers))
    return answers


@torch.no_grad()
def told(model, inputs):
    """Return what the package's own network answers."""
    return first(answers_of(model, inputs)).numpy()


def tensors_of(path):
    return {one.name: one for one in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_float_network_answers_the_same_for_any_length_of_batch(name, tmp_path):
    model, path = network(name), tmp_path / "model.onnx"
    export_onnx(model, path)
    for count in (1, 7):
        np.testing.assert_allclose(run(path, images(count)), told(model, images(count)), **NEAR)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"], "all weights stand in the one file"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_trained_network_reads_every_test_digit_as_in_torch(name, tmp_path):
    digits, model, path = data.digits().test.images, checkpoints.load(name), tmp_path / "model.onnx"
    export_onnx(model, path)
    assert (run(path, digits).argmax(1) == told(model, digits).argmax(1)).all()


class Many(nn.Module):
    """A convolution and a linear layer for each scheme, side by side."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.maps = nn.ModuleList(nn.Conv2d(1, 3, 5, 4) for _ in SCHEMES)
        self.rows = nn.ModuleList(nn.Linear(3 * 36, 4) for _ in SCHEMES)

    def forward(self, x):
        pairs = zip(self.maps, self.rows, strict=True)
        return torch.stack([rows(maps(x).flatten(1)) for maps, rows in pairs], dim=1)


def test_codes_of_every_scheme_are_decoded_by_whoever_reads_the_file(tmp_path):
    wanted = {f"{kind}.{at}": scheme for at, scheme in enumerate(SCHEMES) for kind in ("maps", "rows")}
    model, path = quantize(Many().eval(), wanted), tmp_path / "model.onnx"
    export_onnx(model, path, images())
    found, expected, held = run(path, images()), told(model, images()), tensors_of(path)
    for at, scheme in enumerate(SCHEMES):
        np.testing.assert_allclose(found[:, at], expected[:, at], **NEAR, err_msg=str(scheme))
        for kind in ("maps", "rows"):
            codes = [one for key, one in held.items() if key.startswith(f"{kind}.{at}.") and ".codes_" in key]
            assert (
                sum(np.prod(one.dims) for one in codes)
                == model.get_submodule(f"{kind}.{at}").quantized.codes.numel()
            )
            assert {one.data_type for one in codes} <= {*(NARROW if scheme.bits <= 4 else WIDE)}, scheme


@pytest.mark.parametrize("name", NETWORKS)
def test_four_bits_save_what_the_weights_save(name, tmp_path):
    model, sizes = checkpoints.load(name), {}
    for kind, net in {"float": model, "codes": quantize(model, Symmetric(4, PerChannel()))}.items():
        export_onnx(net, tmp_path / kind)
        sizes[kind] = (tmp_path / kind).stat().st_size
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    saved = sum(layer.weight.numel() for layer in layers) * (4 - 0.5)
    scales = 4 * sum(len(layer.weight) for layer in layers)
    words = 1_000 * len(layers)  # an operation more for each, its names and shapes
    assert saved - scales - words <= sizes["float"] - sizes["codes"] <= saved


@pytest.mark.parametrize(("name", "bits"), [*((name, 8) for name in NETWORKS), ("article", 3)])
def test_an_integer_network_answers_alike_on_the_test_digits(name, bits, tmp_path):
    """995 of 1,000: the runtime rounds halves to even and works out its factors in float32.

    With 3 bits most values are cut off at an end of their grid, which the file must say.
    """
    digits, path = data.digits(), tmp_path / "model.onnx"
    clip = MinMax() if bits == 8 else Percentile(90.0)
    model = quantize_activations(checkpoints.load(name), digits.train.images[:256], clip, bits)
    export_onnx(model, path)
    found, expected = run(path, digits.test.images).argmax(1), model(digits.test.images).argmax(1)
    assert (found == expected.numpy()).mean() >= 0.995
    held = tensors_of(path)
    floats = [one for one in held.values() if one.data_type == onnx.TensorProto.FLOAT]
    widest = 500 if name.startswith("lenet") else 100
    assert max(np.prod(one.dims) for one in floats) <= widest, "scales, one for each channel; no weights"
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert "Conv" in kinds or name == "lenet_300_100"


class Kinds(nn.Module):
    """Every step that an integer network may hold, with padding on one side and a ceiling."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 4, 3, padding="same"), nn.ReLU6(), nn.AvgPool2d(3, 2, 1)),
            *(nn.Conv2d(4, 8, (2, 4), stride=2, groups=2, padding="valid"), nn.ReLU()),
            *(nn.Conv2d(8, 8, 2, padding="same", dilation=2), nn.MaxPool2d(2)),
        )
        self.again, self.last = nn.Conv2d(8, 8, 1), nn.Linear(8, 3)

    def forward(self, x):
        x = self.body(x)
        return self.last((x + self.again(x)).mean(dim=(2, 3)))


@pytest.mark.parametrize("bits", [8, 4])
def test_every_step_of_an_integer_network_is_exported(bits, tmp_path):
    model, path = quantize_activations(Kinds(), images(64), bits=bits), tmp_path / "model.onnx"
    export_onnx(model, path, example=images(1))
    found, expected = run(path, images(16, 1)), told(model, images(16, 1))
    step = np.abs(expected).max() / (2 ** (bits - 1) - 1)
    # after eight roundings that fall on the other side at most now and then: a step or two
    assert np.abs(found - expected).max() <= 2 * step
    one_axis = nn.Sequential(nn.Conv1d(1, 4, 5, stride=3), nn.AvgPool1d(4), nn.Flatten(), nn.Linear(8, 2))
    signal = images(32)[:, 0].flatten(1)[:, None, :28]
    model = quantize_activations(one_axis, signal)
    export_onnx(model, path, example=signal)
    np.testing.assert_allclose(
        run(path, signal), model(signal).numpy(), atol=2 * float(model(signal).abs().max()) / 127
    )


def some_of(inputs, count):
    """Return the first samples of what a network reads."""
    if isinstance(inputs, dict):
        return {name: tensor[:count] for name, tensor in inputs.items()}
    return tuple(one[:count] for one in inputs) if isinstance(inputs, tuple) else inputs[:count]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_network_of_the_gallery_answers_the_same(name, tmp_path):
    """In floats, and cut (where it has what can go) in codes of 4 bits; for any length of batch."""
    model, inputs = CASES[name].model(), CASES[name].batches(1)[0][0]
    thin = model
    if name != "GRU language model, tied":
        thin = cl.prune_neurons(model, cl.criteria.l2_norm, 0.5, example=inputs)
    for net in (model, quantize(thin, Symmetric(4, PerChannel()))):
        export_onnx(net, tmp_path / "model.onnx", example=inputs)
        for given in (inputs, some_of(inputs, 5)):
            np.testing.assert_allclose(run(tmp_path / "model.onnx", given), told(net, given), **NEAR)


def test_a_cut_network_is_exported_as_it_is(tmp_path):
    model = cl.prune_neurons(network("residual"), cl.criteria.Random(), 0.5)
    for name, net in {"whole": network("residual"), "cut": model}.items():
        export_onnx(net, tmp_path / name)
        np.testing.assert_allclose(run(tmp_path / name, images()), told(net, images()), **NEAR)
    last = next(name for name, layer in model.named_modules() if isinstance(layer, nn.Linear))
    assert [*tensors_of(tmp_path / "cut")[f"{last}.weight"].dims] == [*model.get_submodule(last).weight.shape]


def test_the_network_stays_as_it_was_and_the_file_is_the_same_twice(tmp_path):
    model = quantize(network().train(), Symmetric(4))
    before, kinds = copy.deepcopy(model.state_dict()), [type(one) for one in model.modules()]
    export_onnx(model, tmp_path / "first.onnx")
    export_onnx(model, tmp_path / "second.onnx")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    assert model.training
    assert [type(one) for one in model.modules()] == kinds
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_file_tells_nothing_of_the_machine_that_wrote_it(tmp_path):
    export_onnx(network(), tmp_path / "model.onnx")
    written = (tmp_path / "model.onnx").read_bytes()
    assert str(Path(cl.__file__).parent).encode() not in written
    assert b"site-packages" not in written


class Deciding(nn.Module):
    def forward(self, x):
        return x if float(x.sum()) > 0 else -x


REFUSED = {
    "trains": (lambda: cl.fake_quantize(network(), Symmetric(4)), None, "still trains through quantization"),
    "unknown inputs": (lambda: nn.Linear(3, 2), None, "give an example"),
    "decides by values": (Deciding, torch.ones(2, 3), "torch cannot export Deciding"),
    "no module": (lambda: "model", None, "str"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_and_the_old_file_stays(case, tmp_path):
    make, example, words = REFUSED[case]
    (tmp_path / "model.onnx").write_bytes(b"old")
    with pytest.raises(CompressionError, match=words) as caught:
        export_onnx(make(), tmp_path / "model.onnx", example)
    assert len(str(caught.value)) <= 500
    assert (tmp_path / "model.onnx").read_bytes() == b"old"


def test_without_the_extra_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "compresslab.deploying.packing", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CompressionError, match=r"pip install 'compresslab\[deploy\]'"):
        export_onnx(network(), tmp_path / "model.onnx")
    assert not [*tmp_path.iterdir()]
