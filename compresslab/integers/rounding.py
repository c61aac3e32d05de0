"""Activations that are rounded while a network trains, as integers will round them later."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from compresslab.errors import CompressionError, whole
from compresslab.integers.layers import Grid
from compresslab.quantization.clipping import Clip, MinMax
from compresslab.quantization.fake import straight_through

_RELU = (nn.ReLU, nn.ReLU6)


@contextmanager
def rounded_activations(model: nn.Module, bits: int, clip: Clip = MinMax()) -> Iterator[nn.Module]:
    """Round what the ReLU layers of a network give to codes and back, as long as the block runs.

    The grid is fitted anew in each pass, to the batch that comes. The gradient passes straight through the
    rounding, and is zero for what the grid cuts off.

    Args:
        model: a network with ReLU or ReLU6 layers; weights may train through ``fake_quantize`` at the same
            time. It is given back as it was, without the rounding.
        bits: width of a code, 2 to 8.
        clip: where the grid of an activation ends.

    Raises:
        CompressionError: no such width, or no such layer: ReLU that a forward method calls as a function
            cannot be reached.

    Source: Jacob et al., 2018, section 3 (arXiv:1712.05877), who average the ends over many batches.
    Chapter: 08.

    >>> relu = nn.ReLU()
    >>> with rounded_activations(relu, bits=2):
    ...     relu(torch.tensor([-1.0, 0.0, 0.4, 3.0]))
    tensor([0., 0., 0., 3.])
    """
    whole(bits, "the bits of an activation", 2, 8)
    layers = [layer for layer in model.modules() if isinstance(layer, _RELU)]
    if not layers:
        raise CompressionError(
            f"A {type(model).__name__:.80} without a ReLU layer was given; no activation can be rounded. "
            "Use layers, nn.ReLU, in the place of functions."
        )

    def hook(layer: nn.Module, inputs: Any, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return _rounded(x, Grid.of(x.detach(), clip, bits))

    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(hook))
        yield model


def _rounded(x: Float[Tensor, "..."], grid: Grid) -> Float[Tensor, "..."]:
    place = x * (1 / grid.scale) + grid.zero_point
    code = place.round().clamp(*grid.ends)
    inside = torch.where(code == place.round(), place, place.detach())
    return grid.scale * (straight_through(code, inside) - grid.zero_point)
