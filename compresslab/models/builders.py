"""Build the book's networks, by function or by the name that a file holds."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from compresslab.errors import CompressionError, one_of
from compresslab.models.architectures import Article, LeNet5, LeNet300, Network, Residual, weight_shape
from compresslab.models.widths import ArticleConfig, Config, LeNet5Config, LeNet300Config, ResidualConfig

N = TypeVar("N", bound=Network)


def article(
    conv1: int = 32, conv2: int = 64, fc1: int = 100, classes: int = 10, *, seed: int = 0, device: str = "cpu"
) -> Article:
    """Build the article's network with fresh weights drawn from the seed.

    >>> article()
    article: 333,526 parameters
      conv1    Conv2d     32 x 1 x 3 x 3       320
      relu1    ReLU
      pool1    MaxPool2d
      conv2    Conv2d     64 x 32 x 3 x 3   18,496
      relu2    ReLU
      pool2    MaxPool2d
      flatten  Flatten
      fc1      Linear     100 x 3136       313,700
      relu3    ReLU
      fc2      Linear     10 x 100           1,010
    """
    return _fresh(Article, ArticleConfig(conv1, conv2, fc1, classes), seed, device)


def lenet_300_100(
    fc1: int = 300,
    fc2: int = 100,
    classes: int = 10,
    cosines: int | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> LeNet300:
    """Build LeNet-300-100, 266,610 parameters, with fresh weights drawn from the seed.

    With ``cosines`` its first layer reads that many lowest cosine coefficients in each direction (1 to 28),
    which are computed from the 28 x 28 pixels, and not the pixels themselves.

    Source: LeCun, Bottou, Bengio, Haffner 1998, section III.C (fully connected, two hidden layers).

    >>> lenet_300_100(60, 40, cosines=12)
    lenet_300_100: 11,550 parameters
      cosines  Cosines
      flatten  Flatten
      fc1      Linear   60 x 144  8,700
      relu1    ReLU
      fc2      Linear   40 x 60   2,440
      relu2    ReLU
      fc3      Linear   10 x 40     410
    """
    return _fresh(LeNet300, LeNet300Config(fc1, fc2, classes, cosines), seed, device)


def lenet5(
    conv1: int = 20, conv2: int = 50, fc1: int = 500, classes: int = 10, *, seed: int = 0, device: str = "cpu"
) -> LeNet5:
    """Build the LeNet-5 that papers on compression use, 431,080 parameters, with fresh weights.

    Source: the Caffe framework's LeNet example, after LeCun, Bottou, Bengio, Haffner 1998.
    """
    return _fresh(LeNet5, LeNet5Config(conv1, conv2, fc1, classes), seed, device)


def residual(
    widths: Sequence[int] = (16, 32, 64),
    inner: Sequence[int] = (16, 32, 64),
    channels: int = 1,
    classes: int = 10,
    norm: bool = True,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> Residual:
    """Build the small residual network, 77,754 parameters, with fresh weights drawn from the seed.

    Source: He, Zhang, Ren, Sun, CVPR 2016, section 4.2 in small, arXiv:1512.03385.
    """
    return _fresh(Residual, ResidualConfig(widths, inner, channels, classes, norm), seed, device)


BUILDERS: dict[str, Callable[..., Network]] = {
    "article": article,
    "lenet_300_100": lenet_300_100,
    "lenet5": lenet5,
    "residual": residual,
}


def build(name: str, kwargs: Mapping[str, Any] | None = None, seed: int = 0, device: str = "cpu") -> Network:
    """Build a network from the table by its name.

    Why: a file holds a name and widths, never code. ``device="meta"`` allocates nothing, so that a
    stranger's widths can be looked at before they cost memory.

    Raises:
        CompressionError: the name is unknown, a keyword is unknown, or a width is out of bounds.
    """
    builder = BUILDERS[one_of(name, BUILDERS, "network")]
    kwargs = {} if kwargs is None else kwargs
    known = sorted(set(inspect.signature(builder).parameters) - {"seed", "device"})
    if not isinstance(kwargs, Mapping) or not set(kwargs) <= set(known):
        raise CompressionError(f"{name} takes the keywords {', '.join(known)}; found {kwargs!r:.200}.")
    return builder(**kwargs, seed=seed, device=device)


def builder_of(model: nn.Module) -> tuple[str, dict[str, Any]] | None:
    """Return the name and keyword arguments that build this network again, or None.

    Quantized layers and cut widths are fine; a network whose modules are no longer those of its
    builder is not in the table any more.

    >>> builder_of(article(conv2=48))
    ('article', {'conv1': 32, 'conv2': 48, 'fc1': 100, 'classes': 10})
    """
    if not isinstance(model, Network) or model.name not in BUILDERS:
        return None
    try:
        kwargs = model.config.to_dict()
        twin = build(model.name, kwargs, device="meta")
    except (AttributeError, CompressionError):
        return None
    return (model.name, kwargs) if _same_modules(model, twin) else None


def _same_modules(model: nn.Module, twin: nn.Module) -> bool:
    """Compare a network with a fresh one, module by module."""
    ours, theirs = dict(model.named_modules()), dict(twin.named_modules())
    return ours.keys() == theirs.keys() and all(_alike(ours[name], theirs[name]) for name in ours)


def _alike(module: nn.Module, twin: nn.Module) -> bool:
    """Compare a layer with weights by what it computes (it may be quantized), any other by its kind."""
    if isinstance(twin, nn.Conv2d | nn.Linear):
        kind = getattr(module, "float_class", type(module))  # a subclass may compute something else
        return kind is type(twin) and _computes(module) == _computes(twin)
    return _kind(module) == _kind(twin)


def _computes(layer: nn.Module) -> tuple[Any, ...]:
    settings = ("stride", "padding", "dilation", "groups")
    bias = getattr(layer, "bias", None) is not None
    return weight_shape(layer), bias, *(getattr(layer, name, None) for name in settings)


def _kind(module: nn.Module) -> tuple[Any, ...]:
    own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    return type(module), module.extra_repr(), {name for name, _ in own}


def _fresh(kind: type[N], config: Config, seed: int, device: str) -> N:
    """Build on the meta device, where torch draws nothing, then draw every weight ourselves."""
    with torch.device("meta"):
        model = kind(config)  # type: ignore[call-arg]
    if torch.device(device).type == "meta":
        return model
    model.to_empty(device=device)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        _initialise(module, generator)
    return model


@torch.no_grad()
def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw weights and biases uniformly within 1 / sqrt(inputs of one neuron), torch's own law.

    Source: He, Zhang, Ren, Sun, ICCV 2015, arXiv:1502.01852, with torch's slope of sqrt(5).
    """
    if isinstance(module, nn.BatchNorm2d):
        module.reset_parameters()  # ones and zeros: nothing random
    if not isinstance(module, nn.Conv2d | nn.Linear):
        return
    bound = 1 / math.sqrt(module.weight[0].numel())
    for parameter in module.parameters():
        drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
        parameter.copy_(drawn)
