"""The four networks that the book makes small."""

import math
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from compresslab.models.widths import ArticleConfig, Config, LeNet5Config, LeNet300Config, ResidualConfig

Images = Float[Tensor, "images channels height width"]
Logits = Float[Tensor, "images classes"]


class Network(nn.Module):
    """What the book's networks share: a name, a configuration, a readable table of layers."""

    name: ClassVar[str]

    @property
    def config(self) -> Config:
        """Read the configuration from the layers, so that it stays true when neurons were cut."""
        raise NotImplementedError

    def __repr__(self) -> str:
        leaves = [(name, m) for name, m in self.named_modules() if name and not list(m.children())]
        sizes = [_size(module) for _, module in leaves]
        texts = [(size, f"{count:,}" if count else "") for size, count in sizes]
        table = [(name, type(m).__name__, *text) for (name, m), text in zip(leaves, texts, strict=True)]
        wide = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [f"  {n:{wide[0]}}  {k:{wide[1]}}  {s:{wide[2]}}  {c:>{wide[3]}}" for n, k, s, c in table]
        title = f"{self.name}: {sum(count for _, count in sizes):,} parameters"
        return "\n".join([title, *(line.rstrip() for line in lines)])


class Article(Network):
    """The source article's network with its padding repaired, so that 7 x 7 is true."""

    name = "article"

    def __init__(self, config: ArticleConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, config.conv1, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(config.conv1, config.conv2, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(config.conv2 * 7 * 7, config.fc1)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(config.fc1, config.classes)

    def forward(self, images: Images) -> Logits:
        maps = self.pool1(self.relu1(self.conv1(images)))
        maps = self.pool2(self.relu2(self.conv2(maps)))
        return self.fc2(self.relu3(self.fc1(self.flatten(maps))))

    @property
    def config(self) -> ArticleConfig:
        return ArticleConfig(*map(_outputs, (self.conv1, self.conv2, self.fc1, self.fc2)))


@cache
def cosine_waves(count: int) -> Float[np.ndarray, "count 28"]:
    """List the lowest waves of the orthonormal cosine transform (DCT-II) of 28 pixels.

    >>> float(abs(cosine_waves(28) @ cosine_waves(28).T - np.eye(28)).max()) < 1e-6
    True
    """
    waves = [[math.cos(math.pi * (2 * x + 1) * k / 56) for x in range(28)] for k in range(count)]
    return np.array(
        [[math.sqrt((2 - (k == 0)) / 28) * x for x in wave] for k, wave in enumerate(waves)], "f4"
    )


class Cosines(nn.Module):
    """Turn images of 28 x 28 into their lowest cosine coefficients, ``side`` in each direction.

    It has no parameters. A linear layer behind it is one on the pixels whose weights are smooth, stored as
    few coefficients.

    Source: Ahmed, Natarajan, Rao, IEEE Transactions on Computers C-23, 1974; as a form of weights: Koutnik,
    Gomez, Schmidhuber, GECCO 2010.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Images) -> Float[Tensor, "images channels side side"]:
        waves = torch.from_numpy(cosine_waves(self.side)).to(images)
        return torch.matmul(torch.matmul(waves, images), waves.T)

    def extra_repr(self) -> str:
        return f"side={self.side}"


class LeNet300(Network):
    """Two hidden layers of 300 and 100 neurons on the 784 pixels, or on the lowest cosine coefficients."""

    name = "lenet_300_100"

    def __init__(self, config: LeNet300Config) -> None:
        super().__init__()
        if config.cosines is not None:
            self.cosines = Cosines(config.cosines)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear((config.cosines or 28) ** 2, config.fc1)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(config.fc1, config.fc2)
        self.relu2 = nn.ReLU()
        self.fc3 = nn.Linear(config.fc2, config.classes)

    def forward(self, images: Images) -> Logits:
        seen = self.cosines(images) if hasattr(self, "cosines") else images
        hidden = self.relu1(self.fc1(self.flatten(seen)))
        return self.fc3(self.relu2(self.fc2(hidden)))

    @property
    def config(self) -> LeNet300Config:
        first: Any = getattr(self, "cosines", None)
        widths = map(_outputs, (self.fc1, self.fc2, self.fc3))
        return LeNet300Config(*widths, cosines=first and first.side)


class LeNet5(Network):
    """The LeNet-5 of the compression literature, 20-50-500-10, with one ReLU only, as in Caffe."""

    name = "lenet5"

    def __init__(self, config: LeNet5Config) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, config.conv1, 5)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(config.conv1, config.conv2, 5)
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(config.conv2 * 4 * 4, config.fc1)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(config.fc1, config.classes)

    def forward(self, images: Images) -> Logits:
        maps = self.pool2(self.conv2(self.pool1(self.conv1(images))))
        return self.fc2(self.relu1(self.fc1(self.flatten(maps))))

    @property
    def config(self) -> LeNet5Config:
        return LeNet5Config(*map(_outputs, (self.conv1, self.conv2, self.fc1, self.fc2)))


class Add(nn.Module):
    """Add two tensors; a module, so that hooks and graphs can name the place where branches meet."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.add(left, right)


class Block(nn.Module):
    """Two normed convolutions beside a shortcut; a stride of 2 puts a 1 x 1 convolution on the shortcut."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.conv1, self.norm1 = _normed(inputs, inner, 3, stride, norm)
        self.relu1 = nn.ReLU()
        self.conv2, self.norm2 = _normed(inner, outputs, 3, 1, norm)
        self.shortcut, self.norm3 = nn.Identity(), nn.Identity()
        if stride != 1:
            self.shortcut, self.norm3 = _normed(inputs, outputs, 1, stride, norm)
        self.add = Add()
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.relu1(self.norm1(self.conv1(maps)))
        return self.relu2(self.add(self.norm2(self.conv2(inner)), self.norm3(self.shortcut(maps))))


class Residual(Network):
    """A small residual network: a stem, blocks that halve the maps from the second on, one linear layer."""

    name = "residual"

    def __init__(self, config: ResidualConfig) -> None:
        super().__init__()
        self.conv1, self.norm1 = _normed(config.channels, config.widths[0], 3, 1, config.norm)
        self.relu1 = nn.ReLU()
        inputs = (config.widths[0], *config.widths)
        # the last of the inputs is that of the linear layer
        sizes = zip(inputs[:-1], config.inner, config.widths, strict=True)
        blocks = [Block(*size, 1 if i == 0 else 2, config.norm) for i, size in enumerate(sizes)]
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(config.widths[-1], config.classes)

    def forward(self, images: Images) -> Logits:
        maps = self.blocks(self.relu1(self.norm1(self.conv1(images))))
        return self.fc1(self.flatten(self.pool(maps)))

    @property
    def config(self) -> ResidualConfig:
        blocks: Any = self.blocks
        return ResidualConfig(
            widths=tuple(_outputs(block.conv2) for block in blocks),
            inner=tuple(_outputs(block.conv1) for block in blocks),
            channels=weight_shape(self.conv1)[1],
            classes=_outputs(self.fc1),
            norm=isinstance(self.norm1, nn.BatchNorm2d),
        )


def _normed(inputs: int, outputs: int, side: int, stride: int, norm: bool) -> tuple[nn.Module, nn.Module]:
    """Return a convolution that keeps the map (or halves it), and its norm."""
    convolution = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=not norm)
    return convolution, nn.BatchNorm2d(outputs) if norm else nn.Identity()


def weight_shape(layer: Any) -> tuple[int, ...]:
    """Return a layer's weight shape without decoding a quantized one."""
    held = getattr(layer, "quantized", None)
    return tuple((layer.weight if held is None else held).shape)


def _outputs(layer: nn.Module) -> int:
    return weight_shape(layer)[0]


def _size(layer: nn.Module) -> tuple[str, int]:
    """Return a layer's weight shape as text, and its number of weights and biases."""
    if not hasattr(layer, "weight"):
        return "", sum(p.numel() for p in layer.parameters())
    shape, bias = weight_shape(layer), getattr(layer, "bias", None)
    return " x ".join(map(str, shape)), math.prod(shape) + (0 if bias is None else bias.numel())
