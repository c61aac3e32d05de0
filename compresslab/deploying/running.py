"""Run a file of ONNX elsewhere than in torch, let that runtime bring it to 8 bits, and count its bytes."""

import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compresslab.errors import CompressionError
from compresslab.storage.files import target_of, write_whole

_IMAGES = 64  # that calibration reads at once


def open_onnx(path: str | Path, threads: int = 1) -> Callable[[Tensor], Tensor]:
    """Open a file in ONNX Runtime, and return the network in it as a function.

    Args:
        path: of a file whose network reads one tensor, for example one that ``export_onnx`` wrote.
        threads: that compute.

    Returns:
        From a tensor, its first axis the batch, to the network's first answer.

    Raises:
        CompressionError: ONNX Runtime is not installed, or cannot read the file.

    Source: ONNX Runtime (https://onnxruntime.ai).
    Chapter: 21.
    """
    runtime = _import("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    try:
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of the runtime's own many kinds
        raise CompressionError(f"ONNX Runtime cannot run {str(path)!r:.100}: {error!s:.300}") from error
    name = session.get_inputs()[0].name
    return lambda inputs: torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])


class _Reader:
    """Hand images out batch by batch, in the words of ONNX Runtime's tool."""

    def __init__(self, name: str, images: Tensor) -> None:
        self.batches = iter([{name: part.numpy()} for part in images.split(_IMAGES)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


def quantize_onnx(source: str | Path, path: str | Path, images: Tensor | None) -> None:
    """Bring a file in floats to 8 bits by ONNX Runtime's tool: weights per channel, activations unsigned.

    With images it is static: a pair of QuantizeLinear and DequantizeLinear stands around every layer, with
    the ranges that the images show, and runtimes make integer arithmetic of it. Without, it is dynamic: the
    range of what a layer reads is looked for in every run.

    Args:
        source: a file in floats.
        path: of the new file, replaced whole or not at all.
        images: from the training split, for the ranges.

    Raises:
        CompressionError: ONNX Runtime or ``onnx`` is not installed.

    Source: Jacob et al., CVPR 2018 (arXiv:1712.05877), section 2.
    Chapter: 21.
    """
    tool = _import("onnxruntime.quantization")
    prepare = _import("onnxruntime.quantization.shape_inference").quant_pre_process
    name = _import("onnx").load(source).graph.input[0].name
    target = target_of(path)
    weights = {"per_channel": True, "weight_type": tool.QuantType.QInt8}
    pairs = {"quant_format": tool.QuantFormat.QDQ, "activation_type": tool.QuantType.QUInt8}
    with tempfile.TemporaryDirectory() as folder:
        ready, made = (str(Path(folder) / name) for name in ("ready.onnx", "made.onnx"))
        prepare(str(source), ready)
        if images is None:
            tool.quantize_dynamic(ready, made, **weights)
        else:
            tool.quantize_static(ready, made, _Reader(name, images), **pairs, **weights)
        write_whole(target, [Path(made).read_bytes()])


def bytes_of_onnx(path: str | Path) -> int:
    """Count the bytes of a file of ONNX and of the files beside it in which its weights lie.

    Raises:
        CompressionError: ``onnx`` is not installed.

    Chapter: 21.
    """
    held = _import("onnx").load(path, load_external_data=False).graph.initializer
    others = {entry.value for one in held for entry in one.external_data if entry.key == "location"}
    return sum(one.stat().st_size for one in (Path(path), *(Path(path).parent / name for name in others)))


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise CompressionError(
            f"Running exported files needs {error.name}, which is not installed here. "
            "Install the package with its extra: compresslab[deploy]."
        ) from None
