"""Write codes of 4 bits two to a byte, in a model of ONNX that torch has exported with a byte for each."""

import re
from typing import Any

import numpy as np
import onnx
import onnxscript  # noqa: F401 - torch exports through it, and names it late
from onnx import TensorProto, numpy_helper

from compresslab.deploying.decoding import NARROW

# the names that a Decoder gives; a network's own tensors of a byte keep their width
_CODES = re.compile(rf"_decoder\.(codes|zero_point)_\d+_{NARROW}$")
_NARROW = {TensorProto.INT8: TensorProto.INT4, TensorProto.UINT8: TensorProto.UINT4}


def packed(model: Any) -> bytes:
    """Give the codes that are narrow their type, and return the bytes of the file.

    Args:
        model: an ``onnx.ModelProto``.
    """
    for tensor in model.graph.initializer:
        if _CODES.search(tensor.name) and tensor.data_type in _NARROW:
            codes = numpy_helper.to_array(tensor).astype(np.uint8).reshape(-1) & 15
            pairs = np.pad(codes, (0, codes.size % 2)).reshape(-1, 2)
            tensor.data_type = _NARROW[tensor.data_type]
            tensor.raw_data = (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()
    del model.graph.value_info[:]  # they name the types of before
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # where in whose files each operation was written
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim[:1]:
            if size.dim_param:
                size.dim_param = "batch"
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
