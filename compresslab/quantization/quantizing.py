"""Verbs that quantize a whole model: a new model out, the argument untouched."""

import copy
from collections.abc import Mapping

from torch import nn
from torch.nn.utils import parametrize

from compresslab.errors import CompressionError, one_of
from compresslab.quantization.fake import FakeQuantize, LearnedCodebook, fake_quantizer, float_weight
from compresslab.quantization.layers import QuantizedLayer, quantized_like, replace
from compresslab.quantization.scheme import QuantizedTensor, Scheme
from compresslab.quantization.schemes import KMeans

Schemes = Scheme | Mapping[str, Scheme | None]


def quantize(model: nn.Module, schemes: Schemes | None = None) -> nn.Module:
    """Quantize the weights of linear and convolution layers; biases and norms stay in floats.

    Args:
        model: a network in floats, or one that was trained through ``fake_quantize``; a layer that
            was trained through the scheme it gets now keeps the codes that training used.
        schemes: one scheme for every layer, or a mapping from layer names to schemes, in which
            ``"*"`` stands for every layer not named and None leaves a layer in floats. Leave it out
            to freeze a fake-quantized model with the schemes it was trained with.

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
    result = copy.deepcopy(model)
    made: dict[tuple[nn.Module, Scheme], QuantizedLayer] = {}
    for name, scheme in _assign(result, schemes).items():
        layer = result.get_submodule(name)
        if isinstance(layer, QuantizedLayer):  # replaced under another name of its parent
            continue
        if (layer, scheme) not in made:  # a layer in two places stays one layer
            made[layer, scheme] = quantized_like(layer, _quantized(name, scheme, layer))
        if not name:  # the model is the layer
            return made[layer, scheme].train(layer.training)
        replace(result, name, made[layer, scheme])
    return result


def fake_quantize(model: nn.Module, schemes: Schemes, learned_step: bool = False) -> nn.Module:
    """Prepare a model for training through quantization.

    Its layers compute with decoded weights, while the optimizer moves the float weights behind
    them. Train the result, then freeze it with ``quantize(result)``.

    Args:
        model: a network in floats.
        schemes: as in ``quantize``.
        learned_step: let the optimizer move the scales too (Symmetric), or the centroids instead of the
            weights, each weight bound to the centroid it starts at (KMeans).

    Returns:
        A new model with torch parametrizations on its weights.

    Raises:
        CompressionError: as in ``quantize``, a learned step was asked of another scheme, or the weight
            is parametrized already.

    Chapter: 07; a learned codebook: 18.
    """
    result = copy.deepcopy(model)
    prepared: set[nn.Module] = set()
    for name, scheme in _assign(result, schemes).items():
        layer = result.get_submodule(name)
        if layer in prepared:  # one layer in two places
            continue
        if parametrize.is_parametrized(layer, "weight"):
            raise CompressionError(
                f"The weight of layer {name!r} is parametrized already, by "
                f"{fake_quantizer(layer) or 'something else'}; start from the float model."
            )
        _quantized(name, scheme, layer)  # refuse now what the first training step would refuse
        weight = float_weight(layer)
        if learned_step and isinstance(scheme, KMeans):
            fake: FakeQuantize = LearnedCodebook(scheme, weight)
        else:
            fake = FakeQuantize(scheme, weight, learned_step)
        parametrize.register_parametrization(layer, "weight", fake)
        prepared.add(layer)
    return result


def _quantized(name: str, scheme: Scheme, layer: nn.Module) -> QuantizedTensor:
    """Quantize a layer's weight, with the learned step where it was trained through this scheme."""
    fake, weight = fake_quantizer(layer), float_weight(layer)
    try:
        return fake.freeze(weight) if fake is not None and fake.scheme == scheme else scheme.quantize(weight)
    except CompressionError as error:
        raise CompressionError(f"Layer {name!r}: {error}") from None


def _assign(model: nn.Module, schemes: Schemes | None) -> dict[str, Scheme]:
    """Decide which layer gets which scheme."""
    everywhere = model.named_modules(remove_duplicate=False)  # a layer in two places has two names
    layers = {name: module for name, module in everywhere if isinstance(module, nn.Linear | nn.Conv2d)}
    if schemes is None:
        trained = {name: fake.scheme for name, layer in layers.items() if (fake := fake_quantizer(layer))}
        if not trained:
            raise CompressionError(
                "No scheme was given and the model was not trained through one; "
                "give a scheme, for example quantize(model, Symmetric(8))."
            )
        return trained
    wanted = dict(schemes) if isinstance(schemes, Mapping) else {"*": schemes}
    _check_wanted(model, layers, wanted)
    chosen = {name: wanted.get(name, wanted.get("*")) for name in layers}
    if not any(chosen.values()):
        raise CompressionError(
            f"{wanted} gives no layer a scheme; name one of {', '.join(layers)}, or '*' for all others."
        )
    return {name: scheme for name, scheme in chosen.items() if scheme is not None}


def _check_wanted(model: nn.Module, layers: Mapping[str, nn.Module], wanted: Mapping[str, object]) -> None:
    done = [name for name, module in model.named_modules() if isinstance(module, QuantizedLayer)]
    for name, scheme in wanted.items():
        if scheme is not None and not isinstance(scheme, Scheme):
            raise CompressionError(
                f"For {name!r} a scheme was expected, found {scheme!r}; write it with its parentheses, "
                "for example Symmetric(8), or None to leave the layer in floats."
            )
        if name in done:
            raise CompressionError(f"Layer {name!r} is quantized already; start from the float model.")
        one_of(name, ["*", *layers], "layer")
    if not layers:
        state = "are quantized already" if done else "do not exist"
        raise CompressionError(f"The linear and convolution layers of this {type(model).__name__} {state}.")
