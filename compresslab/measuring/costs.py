"""What a network holds, multiplies and takes: bytes in memory, MACs, milliseconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from compresslab.quantization.integer import IntegerLayer
from compresslab.quantization.layers import QuantizedLayer

_MULTIPLYING = (nn.Conv2d, nn.Linear, QuantizedLayer, IntegerLayer)
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


def count_macs(model: nn.Module, image: Float[Tensor, "1 channels height width"]) -> int:
    """Count multiplications with addition for one image, by watching the layers while it passes.

    A layer that runs twice counts twice. Zeros count too: a dense kernel multiplies by them like by any other
    weight. Biases, norms, activations and whatever a forward method computes without a layer are left out.

    >>> count_macs(nn.Conv2d(1, 2, 3, padding=1), torch.zeros(1, 1, 28, 28))
    14112
    """
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * _weight_shape(module)[1:].numel()

    hooks = [
        module.register_forward_hook(add) for module in model.modules() if isinstance(module, _MULTIPLYING)
    ]
    try:
        with torch.inference_mode():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def time_batches(
    model: nn.Module, images: Tensor, *, batches: Sequence[int] = (1, 64), repeats: int = 30
) -> Latency:
    """Time the network on batches of the given sizes.

    Args:
        model: the network, in evaluation mode.
        images: where the batches come from, repeated where they are too few.
        batches: sizes.
        repeats: timed runs per size at most; once a second has gone by, five are enough.
    """
    with torch.inference_mode():
        timings = [_time(model, images[torch.arange(size) % len(images)], repeats) for size in batches]
    return Latency(torch.get_num_threads(), tuple(timings))


def _time(model: nn.Module, batch: Tensor, repeats: int) -> Timing:
    for _ in range(_WARM_UP):
        model(batch)
    times: list[float] = []
    while len(times) < repeats and (len(times) < _FEWEST or sum(times) < _ENOUGH_MS):
        times.append(_milliseconds(model, batch))
    low, median, high = torch.tensor(times).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    return Timing(len(batch), len(times), median, low, high)


def _milliseconds(model: nn.Module, batch: Tensor) -> float:
    start = time.perf_counter()
    model(batch)
    return 1000 * (time.perf_counter() - start)


def _weight_shape(module: nn.Module) -> torch.Size:
    if isinstance(module, QuantizedLayer):
        return torch.Size(module.quantized.shape)
    if isinstance(module, IntegerLayer):
        return module.get_buffer("codes").shape
    return cast(nn.Linear, module).weight.shape


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
