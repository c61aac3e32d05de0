"""Verbs that quantize a whole model: a new model out, the argument untouched."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from compresslab.errors import CompressionError
from compresslab.models.checking import copy_of
from compresslab.models.parameters import Weight, assigned, layer_weights
from compresslab.quantization.fake import FakeQuantize, LearnedCodebook, fake_quantizer, float_weight
from compresslab.quantization.layers import hold_codes
from compresslab.quantization.scheme import QuantizedTensor, Scheme
from compresslab.quantization.schemes import KMeans

Schemes = Scheme | Mapping[Any, Scheme | None]


def quantize(model: nn.Module, schemes: Schemes | None = None, *, biases: Scheme | None = None) -> nn.Module:
    """Quantize the weights of all layers; norms and bare parameters stay in floats, and biases unless asked.

    A layer stays what it was, with its forward method and hooks, and decodes when it computes. Weights that
    are one tensor stay one. A channel is one of a layer's outputs, in a transposed convolution too.

    Args:
        model: a network in floats, or one that was trained through ``fake_quantize``; a layer that
            was trained through the scheme it gets now keeps the codes that training used.
        schemes: one scheme for every layer, or a mapping to schemes from layers' names, names of modules that
            hold layers, patterns such as ``"encoder.*"``, types of layers, and ``"*"`` for all others; None
            leaves a layer in floats. Leave it out to freeze a fake-quantized model with the schemes it was
            trained with, biases too.
        biases: a scheme for the bias of every layer that gets codes; None leaves them in floats.

    Returns:
        A new model that holds codes.

    Raises:
        CompressionError: a name is not a layer, a weight cannot be quantized, or nothing was asked.

    Chapter: 02.

    >>> import torch
    >>> from compresslab import Symmetric
    >>> quantize(nn.Sequential(nn.Linear(4, 2)), {"0": Symmetric(4)})[0].quantized.bits
    4
    """
    result = copy_of(model)
    made: dict[tuple[int, Scheme], QuantizedTensor] = {}
    plan = []
    for weight, scheme in _with_biases(_assign(result, schemes), biases).items():
        floats = float_weight(weight.layer, weight.parameter)
        tied = id(floats), scheme  # weights that are one tensor stay one
        made[tied] = code = made.get(tied) or _quantized(weight, scheme)
        plan.append((weight, code))
    for weight, code in plan:
        hold_codes(weight.layer, weight.parameter, code)
    return result


def fake_quantize(
    model: nn.Module, schemes: Schemes, learned_step: bool = False, *, biases: Scheme | None = None
) -> nn.Module:
    """Prepare a model for training through quantization.

    Its layers compute with decoded weights, while the optimizer moves the float weights behind
    them. Train the result, then freeze it with ``quantize(result)``.

    Args:
        model: a network in floats.
        schemes, biases: as in ``quantize``.
        learned_step: let the optimizer move the scales too (Symmetric), or the centroids instead of the
            weights, each weight bound to the centroid it starts at (KMeans).

    Returns:
        A new model with torch parametrizations on its weights.

    Raises:
        CompressionError: as in ``quantize``, a learned step was asked of another scheme, or the weight
            is parametrized already.

    Chapter: 07; a learned codebook: 18.
    """
    result = copy_of(model)
    made: dict[int, FakeQuantize] = {}
    for weight, scheme in _with_biases(_assign(result, schemes), biases).items():
        layer, name = weight.layer, weight.parameter
        if (trained := fake_quantizer(layer, name)) is not None:
            raise CompressionError(
                f"The weight of layer {weight.name!r:.80} is parametrized already, by {trained!s:.120}; "
                "start from the float model."
            )
        _quantized(weight, scheme)  # refuse now what the first training step would refuse
        floats = getattr(layer, name)
        if id(floats) not in made:  # weights that are one tensor train as one
            if learned_step and isinstance(scheme, KMeans):
                made[id(floats)] = LearnedCodebook(scheme, floats, weight.axis)
            else:
                made[id(floats)] = FakeQuantize(scheme, floats, learned_step, weight.axis)
        parametrize.register_parametrization(layer, name, made[id(floats)])
    return result


def _quantized(weight: Weight, scheme: Scheme) -> QuantizedTensor:
    """Quantize a weight, with the learned step where it was trained through this scheme."""
    fake = fake_quantizer(weight.layer, weight.parameter)
    floats = float_weight(weight.layer, weight.parameter)
    try:
        if fake is not None and fake.scheme == scheme:
            return fake.freeze(floats)
        return scheme.quantize(floats.transpose(0, weight.axis))
    except CompressionError as error:
        raise CompressionError(f"Layer {weight.name!r:.80}: {error}") from None


def _assign(model: nn.Module, schemes: Schemes | None) -> dict[Weight, Scheme]:
    """Decide which weight gets which scheme."""
    weights = layer_weights(model)
    left = [weight for weight in weights if not weight.is_codes]
    if schemes is None:
        trained = {
            weight: fake.scheme for weight in left if (fake := fake_quantizer(weight.layer, weight.parameter))
        }
        if not trained:
            raise CompressionError(
                "No scheme was given and the model was not trained through one; "
                "give a scheme, for example quantize(model, Symmetric(8))."
            )
        return trained
    wanted = dict(schemes) if isinstance(schemes, Mapping) else {"*": schemes}
    _check_wanted(model, weights, wanted)
    chosen = {weight: scheme for weight, scheme in assigned(left, wanted).items() if scheme is not None}
    if not chosen:
        raise CompressionError(
            f"{wanted!s:.120} gives no layer a scheme; name one of "
            f"{', '.join(weight.name for weight in left):.200}, or '*' for all others."
        )
    for weight in chosen:
        if fake_quantizer(weight.layer, weight.parameter) is None:
            weight.refuse_computed()
    _check_ties(left, chosen)
    return chosen


def _with_biases(chosen: Mapping[Weight, Scheme], scheme: Scheme | None) -> dict[Weight, Scheme]:
    """Put the biases beside their layers' weights: those that get a scheme, or were trained through one."""
    found = dict(chosen)
    for weight in chosen:
        layer = weight.layer
        if weight.parameter != "weight" or getattr(layer, "bias", None) is None:
            continue
        trained = fake_quantizer(layer, "bias")
        if (own := scheme or (trained and trained.scheme)) is not None:
            found[Weight(tuple(f"{name}.bias" for name in weight.names), layer, "bias")] = own
    return found


def _check_ties(left: Sequence[Weight], chosen: Mapping[Weight, Scheme]) -> None:
    """Refuse two answers for weights that are one tensor."""
    first: dict[int, Weight] = {}
    for weight in left:
        other = first.setdefault(id(float_weight(weight.layer, weight.parameter)), weight)
        if chosen.get(weight) != chosen.get(other):
            raise CompressionError(
                f"Layers {other.name!r:.80} and {weight.name!r:.80} share one weight, and were given "
                f"{chosen.get(other)} and {chosen.get(weight)}; give them one scheme."
            )


def _check_wanted(model: nn.Module, weights: Sequence[Weight], wanted: Mapping[Any, object]) -> None:
    done = {name for weight in weights if weight.is_codes for name in weight.names}
    for name, scheme in wanted.items():
        if scheme is not None and not isinstance(scheme, Scheme):
            raise CompressionError(
                f"For {name!r:.80} a scheme was expected, found {scheme!r:.80}; write it with its "
                "parentheses, for example Symmetric(8), or None to leave the layer in floats."
            )
        if name in done:
            raise CompressionError(f"Layer {name!r:.80} is quantized already; start from the float model.")
    if all(weight.is_codes for weight in weights):
        state = "are quantized already" if done else "do not exist"
        raise CompressionError(f"The layers with weights of this {type(model).__name__} {state}.")
