"""Which parameters of which layers are weights, what each is called, and which of them a mapping means.

A weight has two or more axes and stands in a layer: it is what ``"*"`` covers in every verb. Biases and norms
are none, and neither is a bare parameter of a module that holds layers (a class token, say); a report counts
them all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import Tensor, nn

from compresslab.errors import CompressionError, one_of

V = TypeVar("V")

_NAMED: tuple[tuple[Any, tuple[str, ...]], ...] = (
    ((nn.Linear, nn.modules.conv._ConvNd, nn.Bilinear, nn.Embedding, nn.EmbeddingBag), ("weight",)),
    (nn.MultiheadAttention, ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")),
    (nn.RNNCellBase, ("weight_ih", "weight_hh")),
)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True, eq=False)
class Weight:
    """Name one weight of a model, and where it is.

    Args:
        names: what mappings and messages call it, more than one where its layer stands in several places: the
            layer's name, followed by that of a parameter not called ``weight``: ``lstm.weight_ih_l0``.
        layer: the module that computes with it.
        parameter: the layer's attribute.
        axis: of its output channels, 1 in a transposed convolution.
    """

    names: tuple[str, ...]
    layer: nn.Module
    parameter: str
    axis: int = 0

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def value(self) -> Tensor:
        """What the layer multiplies by: a parameter, or what is decoded or computed anew at every call."""
        return getattr(self.layer, self.parameter)

    @property
    def is_codes(self) -> bool:
        return self.parameter in getattr(self.layer, "quantized_weights", ())

    def refuse_computed(self) -> None:
        """Refuse a weight that is neither a parameter nor codes, with what makes it one."""
        if self.parameter not in self.layer._parameters and not self.is_codes:
            raise CompressionError(
                f"The weight of layer {self.name!r:.80} is computed at every call, so a change to it would "
                "be lost; make it a plain parameter first: freeze_gates(model), or torch.nn.utils."
                f"parametrize.remove_parametrizations(layer, {self.parameter!r}), remove_weight_norm or "
                "prune.remove."
            )


def channel_axis(layer: nn.Module) -> int:
    """Say which axis of a layer's weights counts its output channels."""
    return int(isinstance(layer, nn.modules.conv._ConvTransposeNd))


def layer_weights(model: nn.Module) -> list[Weight]:
    """List the weights of a model, each once for its layer, in the order of the modules.

    Tensors that two layers share are listed for both.

    >>> net = nn.Sequential(nn.Embedding(9, 4), nn.GRU(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    >>> [weight.name for weight in layer_weights(net)]
    ['0', '1.weight_ih_l0', '1.weight_hh_l0', '3']
    """
    places: dict[nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if "parametrizations" not in path.split("."):
            places.setdefault(module, []).append(path)
    found = []
    for layer, paths in places.items():
        for parameter in _in_layer(layer):
            tail = () if parameter == "weight" else (parameter,)
            names = (".".join((*((path,) if path else ()), *tail)) for path in paths)
            found.append(Weight(tuple(names), layer, parameter, channel_axis(layer)))
    return found


def _in_layer(layer: nn.Module) -> Iterator[str]:
    """Yield the weights of one layer: those that torch's layers are known for, and all that look like one."""
    if isinstance(layer, nn.RNNBase):
        names = tuple(name for name in layer._flat_weights_names if name.startswith("weight"))
    else:
        names = next((names for kind, names in _NAMED if isinstance(layer, kind)), ())
    known = [name for name in names if getattr(layer, name, None) is not None]
    yield from known
    holds_layers = any(name != "parametrizations" for name, _ in layer.named_children())
    if isinstance(layer, _NORMS) or (holds_layers and not known):
        return
    behind = {name + suffix for name in known for suffix in ("_orig", "_g", "_v")}  # left by torch's helpers
    others = (getattr(layer, held, ()) for held in ("_parameters", "parametrizations", "quantized_weights"))
    for name in dict.fromkeys(name for held in others for name in held if name not in behind.union(known)):
        value = getattr(layer, name)
        shape = () if value is None or nn.parameter.is_lazy(value) else value.shape
        if sum(side > 1 for side in shape) > 1:
            yield name


def assigned(weights: Sequence[Weight], wanted: Mapping[Any, V], what: str = "layer") -> dict[Weight, V]:
    """Give each weight what a mapping has for it; a weight that no key means is left out.

    A key is a weight's name; the name of a module, for all inside it; a pattern such as ``"encoder.*"``; a
    type of layer; or ``"*"`` for all others. The first of these counts; of two alike the longer name, then
    the earlier key.

    Raises:
        CompressionError: a key means none of the weights.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(4, 4), nn.Linear(4, 2))
    >>> chosen = assigned(layer_weights(net), {nn.Linear: 4, "2": 8})
    >>> [(weight.name, bits) for weight, bits in chosen.items()]
    [('1', 4), ('2', 8)]
    """
    found: dict[Weight, V] = {}
    used: set[Any] = {"*"}
    for weight in weights:
        ranks = {key: rank for key in wanted if (rank := _rank(key, weight)) is not None}
        used |= ranks.keys()
        if ranks:
            found[weight] = wanted[min(ranks, key=ranks.__getitem__)]
    for key in wanted:
        if key not in used:
            if isinstance(key, type):
                raise CompressionError(
                    f"There is no {what} of type {key.__name__}; name one, or '*' for all."
                )
            one_of(key, ["*", *(name for weight in weights for name in weight.names)], what)
    return found


def _rank(key: Any, weight: Weight) -> tuple[int, int] | None:
    """Say how closely a key means a weight; lower is closer, None is not at all."""
    if isinstance(key, type):
        return (3, 0) if isinstance(weight.layer, key) else None
    if not isinstance(key, str):
        return None
    if key in weight.names:
        return 0, 0
    if key == "*":
        return 4, 0
    if key and any(name.startswith(f"{key}.") for name in weight.names):
        return 1, -len(key)
    return (2, 0) if any(fnmatchcase(name, key) for name in weight.names) else None
