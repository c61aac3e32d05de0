"""Write a network as an ONNX file, which runtimes on other machines and in browsers read."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compresslab.deploying.decoding import OPSET, decode_in_onnx
from compresslab.deploying.twins import between_grids
from compresslab.errors import CompressionError
from compresslab.models.builders import build
from compresslab.models.checking import check_model, copy_of
from compresslab.models.inputs import Inputs, each_tensor
from compresslab.models.tracing import arguments_of
from compresslab.quantization.fake import fake_quantizer
from compresslab.quantization.layers import QuantizedLayer
from compresslab.storage.files import target_of, write_whole
from compresslab.storage.integers import builder_of_integers, is_integer
from compresslab.surgery.graph import example_of

_MOST_BYTES = 2**31 - 1  # of one ONNX file: its format counts no further


def export_onnx(model: nn.Module, path: str | Path, example: Inputs | None = None) -> None:
    """Write a network as one ONNX file; the first axis of its inputs, the batch, may have any length.

    Weights that are codes stay integers in the file, 4 bits each where they have 4 or fewer, else 8, and its
    reader decodes them. An integer network is written as layers between grids of 8 unsigned bits, which
    runtimes compute in integers; they round halves to even and sums in their own order, so that a few answers
    in a thousand may differ.

    Args:
        model: in floats, cut, quantized, or from ``quantize_activations``. It is not changed.
        path: of the file, replaced whole or not at all.
        example: what the network reads: a tensor, a tuple of arguments, or a mapping by keyword; only shapes
            and types matter. The book's networks need none.

    Raises:
        CompressionError: ``onnx`` and ``onnxscript`` are not installed, a layer still trains through
            quantization, no example is given where one is needed, torch cannot export the network, or the
            file would have 2 GB.

    Source: Bai et al., ONNX, operator set 21, DequantizeLinear (https://onnx.ai).
    Chapter: 21.
    """
    pack = _packing()
    check_model(model)
    target = target_of(path)
    for name, layer in model.named_modules():
        if fake_quantizer(layer) is not None:
            raise CompressionError(
                f"The layer {name!r:.80} still trains through quantization; freeze it first: quantize(model)."
            )
    twin = copy_of(model).cpu().eval()
    if is_integer(twin):
        between_grids(twin)
    for layer in [*twin.modules()]:
        if isinstance(layer, QuantizedLayer):
            decode_in_onnx(layer)
    data = pack(_exported(twin, model, example))
    if len(data) > _MOST_BYTES:
        raise CompressionError(f"An ONNX file holds 2 GB at most; this network needs {len(data):,} bytes.")
    write_whole(target, [data])


def _packing() -> Any:
    try:
        from compresslab.deploying.packing import packed
    except ImportError as error:
        raise CompressionError(
            f"Exporting needs {error.name}; install the extra: pip install 'compresslab[deploy]'."
        ) from None
    return packed


def _exported(twin: nn.Module, model: nn.Module, example: Inputs | None) -> Any:
    """Let torch write the network down as operations."""
    _, made = builder_of_integers(model) if is_integer(model) else ("", {})
    name = made.pop("network", None)  # an integer network reads what the one did of which it was made
    read = example_of(build(name, made) if name else model, example)
    positional, named = arguments_of(each_tensor(read, lambda tensor: _of_two(tensor.detach().cpu())))
    try:
        program = torch.onnx.export(
            twin,
            positional,
            kwargs=named,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=each_tensor(named or positional, _first_axis),
            external_data=False,
            optimize=True,
            verbose=False,
        )
    except Exception as error:  # whatever the network's own code or the exporter raises
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        raise CompressionError(f"torch cannot export {type(model).__name__:.80}: {cause:.300}") from error
    assert program is not None
    return program.model_proto


def _first_axis(tensor: Tensor) -> dict[int, Any]:
    return {0: torch.export.Dim.DYNAMIC} if tensor.dim() else {}


def _of_two(tensor: Tensor) -> Tensor:
    """Show a batch of two: torch takes a batch of one as a fixed number."""
    return tensor if tensor.dim() == 0 or len(tensor) > 1 else tensor.repeat(2, *[1] * (tensor.dim() - 1))
