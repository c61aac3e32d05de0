"""A file runs as its network does, its 8 bits answer alike, and no byte of it is left uncounted."""

import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from samples import network

import compresslab as cl
from compresslab import checkpoints, data
from compresslab.deploying import bytes_of_onnx, export_onnx, open_onnx, quantize_onnx
from compresslab.errors import CompressionError


@pytest.fixture(scope="module")
def digits():
    return data.digits()


@pytest.fixture(scope="module")
def files(tmp_path_factory, digits):
    """Return the article's network in floats, static 8 bits and dynamic 8 bits, as files."""
    folder = tmp_path_factory.mktemp("files")
    model = checkpoints.load("article")
    found = SimpleNamespace(model=model, **{name: folder / name for name in ("floats", "static", "dynamic")})
    export_onnx(model, found.floats)
    quantize_onnx(found.floats, found.static, digits.train.images[:256])
    quantize_onnx(found.floats, found.dynamic, None)
    return found


def kinds(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("count", [1, 7])
def test_a_file_that_is_opened_answers_as_its_network(files, digits, count):
    images = digits.test.images[:count]
    found = open_onnx(files.floats)(images)
    assert found.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(found, files.model(images), rtol=1e-4, atol=2e-5)  # sums in other orders


def test_eight_bits_answer_alike_on_995_of_1000_digits(files, digits):
    images = digits.test.images
    expected = open_onnx(files.floats)(images).argmax(1)
    for path in (files.static, files.dynamic):
        assert (open_onnx(path)(images).argmax(1) == expected).sum() >= 995


def test_static_weights_have_a_scale_for_each_channel_and_activations_no_sign(files):
    held = {one.name: one for one in onnx.load(files.static).graph.initializer}
    nodes = onnx.load(files.static).graph.node
    assert kinds(files.static)["Conv"] == 2, "layers stay layers, between pairs"
    weights = [node for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] in held]
    matrices = [node for node in weights if len(held[node.input[0]].dims) > 1]
    assert {held[node.input[0]].data_type for node in matrices} == {onnx.TensorProto.INT8}
    channels = [np.prod(held[node.input[1]].dims) for node in matrices]
    assert sorted(channels) == [10, 32, 64, 100]
    codes = [node for node in nodes if node.op_type == "QuantizeLinear"]
    assert {held[node.input[2]].data_type for node in codes} == {onnx.TensorProto.UINT8}


def test_the_ranges_are_those_of_the_images(files, tmp_path, digits):
    """Images half as bright show half the range to whatever reads them."""
    quantize_onnx(files.floats, tmp_path / "dark", digits.train.images[:64] / 2)

    def first(path):
        held = {one.name: one for one in onnx.load(path).graph.initializer}
        (node, *_) = (node for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear")
        return onnx.numpy_helper.to_array(held[node.input[1]])

    assert first(tmp_path / "dark") == pytest.approx(first(files.static) / 2)
    assert first(files.static) == pytest.approx(1 / 255)


def test_dynamic_looks_for_ranges_in_every_run(files):
    assert kinds(files.dynamic)["DynamicQuantizeLinear"] == 4
    assert not kinds(files.static)["DynamicQuantizeLinear"]


def test_weights_in_a_second_file_are_counted(tmp_path):
    model = network()
    example = torch.zeros(2, 1, 28, 28)
    torch.onnx.export(model, (example,), tmp_path / "model.onnx", dynamo=True, verbose=False)
    written = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert len(written) == 2, "torch's own habit"
    assert bytes_of_onnx(tmp_path / "model.onnx") == sum(written.values())
    export_onnx(model, tmp_path / "one.onnx")
    assert bytes_of_onnx(tmp_path / "one.onnx") == (tmp_path / "one.onnx").stat().st_size


def test_what_cannot_be_run_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(CompressionError, match=r"ONNX Runtime cannot run .*text\.onnx"):
        open_onnx(tmp_path / "text.onnx")


def test_without_the_extra_two_sentences_say_what_to_install(files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    for call in (lambda: open_onnx(files.floats), lambda: quantize_onnx(files.floats, tmp_path / "q", None)):
        with pytest.raises(CompressionError) as caught:
            call()
        assert "needs onnxruntime" in str(caught.value)
        assert str(caught.value).endswith("compresslab[deploy].")
        assert str(caught.value).count(". ") == 1
    assert not [*tmp_path.iterdir()]


def test_a_cut_network_runs_with_fewer_channels(tmp_path, digits):
    half = cl.prune_neurons(checkpoints.load("article"), cl.criteria.l2_norm, 0.5)
    export_onnx(half, tmp_path / "half")
    found = open_onnx(tmp_path / "half")(digits.test.images).argmax(1)
    assert torch.equal(found, half(digits.test.images).argmax(1))
