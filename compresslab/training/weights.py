"""The weights that can be pruned or penalised, in floats."""

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from compresslab.errors import CompressionError, one_of
from compresslab.models.parameters import Weight, assigned, layer_weights
from compresslab.quantization.fake import float_weight


def weights_in(model: nn.Module, protect: Collection[Any] = ()) -> dict[Weight, Tensor]:
    """Return the weights of all layers in floats and where they stand, to read or to change.

    Which parameters of which layers are weights, ``models.parameters`` says; biases and norms are left out:
    they are few, and each is worth more than a weight. A weight that two layers share stands there once. Of a
    layer that trains through quantization it is the float weight.

    Args:
        protect: names of layers to leave out, patterns such as ``"encoder.*"``, or types of layers.

    Raises:
        CompressionError: the network has none, ``protect`` names none, or a weight is computed anew at every
            call, so that a change would be lost.
    """
    weights = [weight for weight in layer_weights(model) if not weight.is_codes]
    if not weights:
        raise CompressionError(
            f"{type(model).__name__:.80} has no linear or convolution layer in floats, nor another with "
            "weights; prune and penalise before quantize."
        )
    check_collection(protect)
    left_out = assigned(weights, dict.fromkeys(protect, True), "layer to protect")
    found, seen = {}, set()
    for weight in weights:
        value = stored(weight)
        if not isinstance(value, nn.Parameter):
            weight.refuse_computed()
        if weight not in left_out and id(value) not in seen:
            found[weight] = value
        seen.add(id(value))
    return found


def stored(weight: Weight) -> Tensor:
    """Return the tensor behind a weight: of a layer that trains through quantization, the floats."""
    return float_weight(weight.layer) if weight.parameter == "weight" else weight.value


def weights_of(model: nn.Module, protect: Collection[Any] = ()) -> dict[str, Tensor]:
    """Return what ``weights_in`` finds by name: that of the layer, and of a parameter not called ``weight``.

    >>> list(weights_of(nn.Sequential(nn.Linear(2, 3), nn.GRU(3, 3), nn.Linear(3, 2)), protect=["2"]))
    ['0', '1.weight_ih_l0', '1.weight_hh_l0']
    """
    return {weight.name: value for weight, value in weights_in(model, protect).items()}


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
    check_collection(protect)
    for name in protect:
        one_of(name, names, "layer to protect")


def check_collection(protect: Any) -> None:
    """Refuse one name where a collection of names is asked for.

    Raises:
        CompressionError: it is a text, or no collection.
    """
    if isinstance(protect, str) or not isinstance(protect, Collection):
        raise CompressionError(f"protect={protect!r} is no tuple of names; write (name,), or () for none.")
