"""What a network holds, multiplies and takes: bytes in memory, MACs, milliseconds."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from compresslab.integers.layers import IntegerLayer
from compresslab.models.inputs import Inputs, answers_of, call, each_tensor, fitted, rows_of
from compresslab.models.tracing import device_of, evaluating, step_by_step
from compresslab.quantization.layers import QuantizedLayer

# Which argument of a product holds the rows whose length each output sums over.
_PRODUCTS = {
    "mm": 0,
    "bmm": 0,
    "mv": 0,
    "dot": 0,
    "_int_mm": 0,
    "addmm": 1,
    "baddbmm": 1,
    "addbmm": 1,
    "addmv": 1,
}
_WARM_UP, _FEWEST, _ENOUGH_MS = 2, 5, 1000


@dataclass(frozen=True)
class Timing:
    """How long one batch takes: the median and the quartiles of the repeats, in milliseconds."""

    batch: int
    repeats: int
    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float


@dataclass(frozen=True, repr=False)
class Latency:
    """The timings of one network on this machine, in its state at that moment: never compared to the letter.

    Args:
        threads: the number of threads torch used.
        timings: one Timing per batch size.
    """

    threads: int
    timings: tuple[Timing, ...]

    def __repr__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        lines = [f"Latency on {threads}: median (quartiles) after a warm-up"]
        for timing in self.timings:
            quartiles = f"{timing.lower_quartile_ms:.3f} to {timing.upper_quartile_ms:.3f} ms"
            runs = f"{timing.repeats} runs"
            lines.append(f"  batch of {timing.batch:>2}: {timing.median_ms:.3f} ms ({quartiles}), {runs}")
        return "\n".join(lines)


def bytes_in_memory(model: nn.Module) -> int:
    """Count the bytes of every parameter and buffer, shared ones once; a code takes a whole byte here.

    >>> bytes_in_memory(nn.Linear(10, 5))
    220
    """
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def count_macs(model: nn.Module, inputs: Inputs) -> int:
    """Count multiplications with addition in one run, by watching every operation of torch while it goes on.

    Convolutions of any dimension, transposed ones too, and matrix products count, wherever they stand: in
    linear, recurrent or attention layers, or in the forward method itself. What runs twice counts twice, and
    zeros count: a dense kernel multiplies by them like by any other weight. Biases, norms, activations,
    bilinear layers and all else that works number by number are left out.

    >>> count_macs(nn.Conv2d(1, 2, 3, padding=1), torch.zeros(1, 1, 28, 28))
    14112
    """
    with evaluating(model), _one_by_one(), Counting() as seen:
        answers_of(model, inputs)
    return seen.macs


class Counting(TorchDispatchMode):
    """See every operation that torch carries out, and count in those that sum products."""

    macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name == "convolution":
            inputs, weight, transposed = args[0], args[1], args[6]
            self.macs += (inputs if transposed else output).numel() * weight.shape[1:].numel()
        elif name in _PRODUCTS:
            self.macs += output.numel() * args[_PRODUCTS[name]].shape[-1]
        elif name.startswith("_scaled_dot_product"):  # queries by keys, then what they weigh of the values
            query, key, value = args[:3]
            self.macs += query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        return output


@contextmanager
def _one_by_one() -> Iterator[None]:
    """Let torch run recurrent and attention layers by single operations, not by one that hides them."""
    mkldnn = torch.backends.mkldnn.set_flags(False)  # the values before; its ``flags`` warns of others
    try:
        with step_by_step(), torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch.backends.mkldnn.set_flags(mkldnn[0])


def time_batches(
    model: nn.Module, inputs: Inputs, *, batches: Sequence[int] = (1, 64), repeats: int = 30
) -> Latency:
    """Time the network on batches of the given sizes.

    Args:
        model: the network, in evaluation mode.
        inputs: where the batches come from, repeated where they are too few; used as they are where their
            tensors do not agree on how many examples there are.
        batches: sizes.
        repeats: timed runs per size at most; once a second has gone by, five are enough.
    """
    inputs, rows = fitted(inputs, model), rows_of(inputs)

    def repeated(size: int) -> Inputs:
        places = torch.arange(size) % rows[0]
        return inputs if len(set(rows)) > 1 else each_tensor(inputs, lambda t: t[places.to(t.device)])

    with torch.inference_mode():
        timings = [_time(model, repeated(size), size, repeats) for size in batches]
    return Latency(torch.get_num_threads(), tuple(timings))


def _time(model: nn.Module, batch: Inputs, size: int, repeats: int) -> Timing:
    for _ in range(_WARM_UP):
        call(model, batch)
    times: list[float] = []
    while len(times) < repeats and (len(times) < _FEWEST or sum(times) < _ENOUGH_MS):
        times.append(_milliseconds(model, batch))
    low, median, high = torch.tensor(times).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    return Timing(size, len(times), median, low, high)


def _milliseconds(model: nn.Module, batch: Inputs) -> float:
    start = time.perf_counter()
    call(model, batch)
    if device_of(model).type == "cuda":
        torch.cuda.synchronize()  # a kernel is only put into a queue
    return 1000 * (time.perf_counter() - start)


def stored_weights(model: nn.Module) -> Iterator[Tensor]:
    """Yield every weight and bias once: quantized weights decoded, those of integer layers as their codes."""
    seen: set[int] = set()
    for module in model.modules():
        if isinstance(module, QuantizedLayer):
            yield from (code.dequantize() for code in module.quantized_weights.values())
        elif isinstance(module, IntegerLayer):
            yield from (module.get_buffer("codes"), module.get_buffer("bias"))
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter


def count_codes(model: nn.Module) -> int:
    """Count the weights that are held as codes."""
    held = (module for module in model.modules() if isinstance(module, QuantizedLayer | IntegerLayer))
    buffers = (pair for module in held for pair in module.named_buffers(recurse=False))
    return sum(buffer.numel() for name, buffer in buffers if name.endswith("codes"))
