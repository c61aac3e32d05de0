"""Decode codes by operations of ONNX, so that the file holds integers and its reader makes the weights."""

from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from compresslab.models.parameters import channel_axis
from compresslab.quantization.granularity import PerGroup
from compresslab.quantization.layers import QuantizedLayer
from compresslab.quantization.scheme import Parameters, QuantizedTensor, with_parameters
from compresslab.quantization.uniform import Asymmetric, Symmetric

OPSET = 21  # the first that has codes of 4 bits
NARROW_BITS, NARROW = 4, "narrow"  # codes of so many bits are written two to a byte; their names say so

Levels = Float[Tensor, "rows levels"]


def operation(name: str, inputs: tuple[Tensor, ...], like: Tensor, dtype: torch.dtype, **attributes: Any):
    """Put an operation of ONNX into what torch exports; outside of an export it gives no values.

    Args:
        like: a tensor of the shape that comes out.
    """
    return torch.onnx.ops.symbolic(name, inputs, attributes, dtype=dtype, shape=like.shape, version=OPSET)


class Decoder(nn.Module):
    """Hold a quantized weight as blocks of rows, and decode it where torch exports.

    Codes of a grid go through DequantizeLinear. Others are looked up: in one table that every row scales,
    if the levels allow that, else in the table of the row.
    """

    def __init__(self, weight: QuantizedTensor) -> None:
        super().__init__()
        self.granularity, self.shape = weight.scheme.granularity, weight.shape
        narrow = NARROW if weight.bits <= NARROW_BITS else "wide"
        self.grid = isinstance(weight.scheme, Symmetric | Asymmetric)
        pairs = with_parameters(self.granularity.split(weight.codes), weight.parameters)
        self.blocks: list[dict[str, str]] = []
        for place, (rows, parameters) in enumerate(pairs):
            tables = parameters if self.grid else _tables(weight.scheme.levels(parameters))
            if self.grid and not isinstance(self.granularity, PerGroup):  # as the layer reads them
                rows = rows.reshape(self.shape)
                tables = {key: value if len(value) > 1 else value[0] for key, value in tables.items()}
            values = {"codes": rows.contiguous(), **tables}
            names = {
                key: f"{key}_{place}_{narrow if key in ('codes', 'zero_point') else 'wide'}" for key in values
            }
            for key, name in names.items():
                self.register_buffer(name, values[key])
            self.blocks.append(names)

    def forward(self) -> Float[Tensor, "..."]:
        decoded = (self._decoded({k: self.get_buffer(n) for k, n in names.items()}) for names in self.blocks)
        return self.granularity.join(list(decoded), self.shape)

    def _decoded(self, held: Parameters) -> Float[Tensor, "..."]:
        codes = held["codes"]
        if self.grid:
            given = tuple(held[key] for key in ("codes", "scale", "zero_point") if key in held)
            return operation("DequantizeLinear", given, codes, torch.float32, axis=0)
        one = torch.ones(())  # a number of 4 bits becomes an index by way of floats: runtimes cast no others
        places = operation("DequantizeLinear", (codes, one), codes, torch.float32).long()
        if "scale" not in held:
            return held["levels"].gather(1, places)
        return held["levels"][0][places] * held["scale"][:, None]


def _tables(levels: Levels) -> dict[str, Tensor]:
    """Split the levels of all rows into one table and a scale for each row, where that gives them exactly."""
    scale = levels.abs().amax(dim=1)
    largest = int(scale.argmax())
    table = levels[largest] / scale[largest].clamp(min=torch.finfo(torch.float32).tiny)
    if len(levels) > 1 and torch.equal(table * scale[:, None], levels):
        return {"levels": table[None], "scale": scale}
    return {"levels": levels}


class _Decoding(QuantizedLayer):
    """A quantized layer whose weights are decoded by operations of ONNX."""

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__.get("coded", ()):
            return super().__getattr__(name)
        _, dtype = self.__dict__["coded"][name]
        return self.get_submodule(f"{name}_decoder")().transpose(0, channel_axis(self)).to(dtype)


def decode_in_onnx(layer: Any) -> None:
    """Let a quantized layer decode its weights by operations of ONNX, in place."""
    for name, weight in layer.quantized_weights.items():
        layer.add_module(f"{name}_decoder", Decoder(weight))
        for key in ("codes", *weight.parameters):
            delattr(layer, f"{name}_{key}")
    kind = type(layer)
    layer.__class__ = type(kind.__name__, (_Decoding, kind), {})


def quantized_on(value: Tensor, scale: float, zero_point: int) -> Tensor:
    """Round values to a grid of 256 levels and decode them: what a runtime recognises as 8-bit arithmetic."""
    grid = torch.tensor(scale), torch.tensor(zero_point, dtype=torch.uint8)
    codes = operation("QuantizeLinear", (value, *grid), value, torch.uint8)
    return operation("DequantizeLinear", (codes, *grid), value, torch.float32)


def bias_of(codes: Integer[Tensor, " channels"], steps: Float[Tensor, " channels"]) -> Tensor:
    """Decode a bias that is counted in steps."""
    return operation("DequantizeLinear", (codes, steps), codes, torch.float32, axis=0)
