"""Eleven networks that no chapter trains, each with inputs, targets and its task: what an engineer may bring.

All are small, with fresh weights from a seed: what is asked of them is not that they are good, but that every
verb treats them rightly or says why it does not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import mobilenet_v2

from compresslab.models import call
from compresslab.training import metrics

MANY = 24  # samples of each network's data


class UNet(nn.Module):
    """Halve the image, double it again, and put what was before beside what came back."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.last = nn.Conv2d(8 + 6, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        wide = self.down(images)
        return self.last(torch.cat([wide, self.up(self.deep(wide))], 1))


class Segmentation(nn.Module):
    """Name the class of every pixel by convolutions with holes."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.relu(self.first(images))
        hidden = functional.relu(self.norm(self.wide(hidden)) + hidden)
        return self.last(hidden)


class Encoder(nn.Module):
    """Read a sequence of vectors by torch's own transformer layers."""

    def __init__(self, width: int = 16, classes: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(6, width)
        self.layers = nn.ModuleList(
            [nn.TransformerEncoderLayer(width, 4, 32, dropout=0.0, batch_first=True) for _ in range(2)]
        )
        self.head = nn.Linear(width, classes)

    def forward(self, sequence: Tensor) -> Tensor:
        hidden = self.embed(sequence)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.head(hidden.mean(1))


class HandWritten(nn.Module):
    """Read a sequence by attention as many write it: one projection, cut into heads by ``view``."""

    def __init__(self, width: int = 16, heads: int = 4, classes: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Linear(6, width)
        self.project = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 32), nn.Linear(32, width)
        self.head = nn.Linear(width, classes)

    def forward(self, sequence: Tensor) -> Tensor:
        hidden = self.embed(sequence)
        batch, length, width = hidden.shape
        parts = self.project(hidden).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        hidden = hidden + self.mix(mixed.transpose(1, 2).reshape(batch, length, width))
        hidden = hidden + self.narrow(functional.gelu(self.wide(self.norm(hidden))))
        return self.head(hidden.mean(1))


class Keyword(nn.Module):
    """Hear a word: 1-D convolutions, one filter a channel, then across the channels."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv1d(10, 16, 5, padding=2)
        self.depthwise = nn.Conv1d(16, 16, 3, padding=1, groups=16)
        self.pointwise = nn.Conv1d(16, 24, 1)
        self.norm = nn.BatchNorm1d(24)
        self.head = nn.Linear(24, classes)

    def forward(self, sound: Tensor) -> Tensor:
        hidden = functional.relu(self.first(sound))
        hidden = functional.relu(self.norm(self.pointwise(self.depthwise(hidden))))
        return self.head(hidden.mean(-1))


class Bidirectional(nn.Module):
    """Read a sequence from both ends."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 12)
        self.lstm = nn.LSTM(12, 10, num_layers=2, bidirectional=True, batch_first=True)
        self.hidden = nn.Linear(20, 16)
        self.head = nn.Linear(16, classes)

    def forward(self, sequence: Tensor) -> Tensor:
        read, _ = self.lstm(functional.relu(self.embed(sequence)))
        return self.head(functional.relu(self.hidden(read[:, -1])))


class Language(nn.Module):
    """Guess the next token; the table of tokens is also the last layer."""

    def __init__(self, tokens: int = 30, width: int = 12) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, tokens, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        read, _ = self.gru(self.embed(tokens))
        return self.head(read)


class Mixer(nn.Module):
    """Mix along the patches, then along the channels."""

    def __init__(self, patches: int = 16, width: int = 12, classes: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 7, stride=7)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.along = nn.Sequential(nn.Linear(patches, 20), nn.GELU(), nn.Linear(20, patches))
        self.across = nn.Sequential(nn.Linear(width, 24), nn.GELU(), nn.Linear(24, width))
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.patch(images).flatten(2).transpose(1, 2)
        hidden = hidden + self.along(self.norms[0](hidden).transpose(1, 2)).transpose(1, 2)
        hidden = hidden + self.across(self.norms[1](hidden))
        return self.head(hidden.mean(1))


class Named(nn.Module):
    """Take two inputs by name, and answer in a dictionary."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 16)
        )
        self.facts = nn.Linear(5, 8)
        self.head = nn.Linear(24, classes)

    def forward(self, *, image: Tensor, facts: Tensor) -> dict[str, Tensor]:
        both = torch.cat([functional.relu(self.image(image)), functional.relu(self.facts(facts))], 1)
        return {"logits": self.head(both)}


def regression() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 1))


def mobile() -> nn.Module:
    return mobilenet_v2(weights=None, num_classes=10, width_mult=0.25)


# -- what each is asked to do -------------------------------------------------------------------------------

Objective = Callable[[nn.Module, Any, Any], Tensor]


def classified(model: nn.Module, inputs: Any, targets: Tensor) -> Tensor:
    return functional.cross_entropy(call(model, inputs), targets)


def named(model: nn.Module, inputs: Any, targets: Tensor) -> Tensor:
    return functional.cross_entropy(call(model, inputs)["logits"], targets)


def next_token(model: nn.Module, inputs: Any, targets: Tensor) -> Tensor:
    return functional.cross_entropy(call(model, inputs).transpose(1, 2), targets)


def squared(model: nn.Module, inputs: Any, targets: Tensor) -> Tensor:
    return functional.mse_loss(call(model, inputs), targets)


@dataclass(frozen=True)
class Case:
    """A network, how its inputs and targets are drawn, and its task."""

    build: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], Any]
    targets: Callable[[torch.Generator], Tensor]
    objective: Objective = classified
    metric: metrics.Metric = field(default_factory=metrics.Classification)

    def model(self) -> nn.Module:
        """Build it with weights from a seed; norms have seen something, so they are not fresh."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.build()
            for inputs, _ in self.batches(1) * 3:
                call(model.train(), inputs)
        return model.eval()

    def batches(self, seed: int) -> list[tuple[Any, Tensor]]:
        """Draw two batches."""
        chance = torch.Generator().manual_seed(seed)
        return [(self.inputs(chance), self.targets(chance)) for _ in range(2)]


def normal(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda chance: torch.randn(MANY // 2, *shape, generator=chance)


def whole(below: int, *shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda chance: torch.randint(below, (MANY // 2, *shape), generator=chance)


def both(chance: torch.Generator) -> dict[str, Tensor]:
    return {"image": normal(1, 14, 14)(chance), "facts": normal(5)(chance)}


AREAS = metrics.IntersectionOverUnion()
CASES = {
    "U-Net with concatenation": Case(UNet, normal(1, 16, 16), whole(3, 16, 16), metric=AREAS),
    "segmentation with dilation": Case(Segmentation, normal(3, 16, 16), whole(3, 16, 16), metric=AREAS),
    "transformer encoder": Case(Encoder, normal(9, 6), whole(4)),
    "attention by hand": Case(HandWritten, normal(9, 6), whole(4)),
    "1-D keyword network": Case(Keyword, normal(10, 40), whole(5)),
    "bidirectional LSTM": Case(Bidirectional, normal(9, 6), whole(4)),
    "GRU language model, tied": Case(
        Language, whole(30, 7), whole(30, 7), next_token, metrics.TokenAccuracy()
    ),
    "MLP-Mixer": Case(Mixer, normal(1, 28, 28), whole(4)),
    "mobilenet_v2": Case(mobile, normal(3, 32, 32), whole(10)),
    "two inputs by name, answers by name": Case(
        Named, both, whole(3), named, metrics.Classification(key="logits")
    ),
    "regression": Case(regression, normal(8), normal(1), squared, metrics.MeanSquaredError()),
}
