"""The weights that can be pruned or penalised: those of linear and convolution layers, in floats."""

from collections.abc import Collection

from torch import Tensor, nn

from compresslab.errors import CompressionError, one_of
from compresslab.quantization.fake import float_weight
from compresslab.quantization.layers import QuantizedLayer


def weights_of(model: nn.Module, protect: Collection[str] = ()) -> dict[str, Tensor]:
    """Return the weights of all linear and convolution layers by layer name, to read or to change.

    Biases and norms are left out: they are few, and each is worth more than a weight. A weight that two
    layers share stands there once. Of a layer that trains through quantization it is the float weight.

    Args:
        model: a network in floats.
        protect: names of layers to leave out.

    Raises:
        CompressionError: no such layer, a protected name that is none, or a weight that is computed anew
            at every call, so that a change would be lost.

    >>> list(weights_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), protect=["2"]))
    ['0']
    """
    kinds = (nn.Linear, nn.Conv2d)
    parts = ((name, part) for name, part in model.named_modules() if isinstance(part, kinds))
    layers = {name: part for name, part in parts if not isinstance(part, QuantizedLayer)}
    if not layers:
        raise CompressionError(
            f"{type(model).__name__} has no linear or convolution layer in floats; "
            "prune and penalise before quantize."
        )
    check_protected(layers, protect)
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, layer in layers.items():
        weight = float_weight(layer)
        if not isinstance(weight, nn.Parameter):
            raise CompressionError(
                f"The weight of layer {name!r} is computed at every call, so a change to it would be lost; "
                "make it permanent first (freeze_gates, torch.nn.utils.prune.remove)."
            )
        if name not in protect and id(weight) not in seen:
            found[name] = weight
        seen.add(id(weight))
    return found


def norm_scales(model: nn.Module, protect: Collection[str] = ()) -> dict[str, Tensor]:
    """Return the scales of all batch norms by norm name, to read or to change.

    Args:
        model: a network with batch norms.
        protect: names of norms to leave out.

    Raises:
        CompressionError: no such norm, or a protected name that is none.
    """
    kinds = nn.modules.batchnorm._BatchNorm
    norms = {name: part for name, part in model.named_modules() if isinstance(part, kinds) and part.affine}
    if not norms:
        raise CompressionError(
            f"{type(model).__name__} has no batch norm with scales; use a network that has, such as "
            "models.residual()."
        )
    check_protected(norms, protect)
    return {name: norm.weight for name, norm in norms.items() if name not in protect}


def check_protected(names: Collection[str], protect: Collection[str]) -> None:
    """Refuse names to protect that are not among those that there are.

    Raises:
        CompressionError: such a name, or what is no collection of names.
    """
    if isinstance(protect, str) or not isinstance(protect, Collection):
        raise CompressionError(f"protect={protect!r} is no tuple of names; write (name,), or () for none.")
    for name in protect:
        one_of(name, names, "layer to protect")
