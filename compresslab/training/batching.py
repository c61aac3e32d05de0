"""Images in memory: a split, a data set, batches of it, and what a criterion looks at of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from compresslab.errors import CompressionError, DataError
from compresslab.models.tracing import device_of

Images = Float[Tensor, "images channels height width"]
Labels = Int[Tensor, "images"]


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Hold images (float32 in [0, 1]: pixel / 255, not standardised) and their labels (int64).

    >>> split = Split(torch.zeros(3, 1, 28, 28), torch.tensor([0, 1, 1]))
    >>> split
    Split(3 images of 1 x 28 x 28; per class 1 to 2)
    >>> split[:2]
    Split(2 images of 1 x 28 x 28; per class 1)
    """

    images: Images
    labels: Labels

    def __post_init__(self) -> None:
        if self.images.dim() != 4 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"asked for images (images, channels, height, width) with one label each, found shapes "
                f"{tuple(self.images.shape)} and {tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, which: slice | Tensor) -> Split:
        """Return the chosen images as a split: ``split[:100]``, ``split[mask]``, ``split[indices]``."""
        return Split(self.images[which], self.labels[which])

    def to(self, device: Any) -> Split:
        """Return the split on a device."""
        return Split(self.images.to(device), self.labels.to(device))

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.images.shape[1:]))
        counts = torch.bincount(self.labels.cpu())
        counts = counts[counts > 0]
        per_class = "" if not len(counts) else f"; per class {int(counts.min()):,}"
        if len(counts) and counts.min() < counts.max():
            per_class += f" to {int(counts.max()):,}"
        return f"Split({len(self):,} images of {shape}{per_class})"


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """Hold a data set in three splits: learn on train, choose on validation, report on test."""

    name: str
    train: Split
    validation: Split
    test: Split

    def __repr__(self) -> str:
        parts = (f"  {part:10}  {getattr(self, part)!r}" for part in ("train", "validation", "test"))
        return "\n".join([f"{self.name}: learn on train, choose on validation, report on test", *parts])


def batches(split: Split, size: int, generator: torch.Generator | None = None) -> Iterator[Split]:
    """Cut a split into batches of ``size`` images; the last one may be shorter.

    Args:
        generator: shuffles; without one the order stays as stored.
    """
    if size < 1:
        raise DataError(f"asked for batches of {size} images; a batch needs at least one")
    if generator is None:
        yield from (split[start : start + size] for start in range(0, len(split), size))
    else:
        order = torch.randperm(len(split), generator=generator).to(split.labels.device)
        yield from (split[part] for part in order.split(size) if len(part))


def random_affine(
    images: Images,
    generator: torch.Generator,
    degrees: float = 15.0,
    translate: float = 0.08,
    scale: float = 0.15,
    shear: float = 15.0,
) -> Images:
    """Turn, move, resize and slant every image a little, each by its own draw.

    Why: 3,500 digits are few; a slightly turned 7 is still a 7. The whole batch is one call, cheaper
    than the network that reads it. What comes in from outside is black.

    Args:
        generator: draws uniformly, on the CPU.
        degrees: largest rotation.
        translate: largest shift, as a share of the side.
        scale: largest change of size, as a share.
        shear: largest slant in degrees.
    """
    limits = torch.tensor([math.radians(degrees), math.radians(shear), scale, 2 * translate, 2 * translate])
    draws = (2 * torch.rand(len(images), 5, generator=generator) - 1) * limits
    angle, slant, size, right, down = draws.unbind(1)
    cos, sin, tan, size = angle.cos(), angle.sin(), slant.tan(), 1 + size
    rows = [cos, cos * tan - sin, right, sin, sin * tan + cos, down]  # rotation times slant, and the shift
    shrink = torch.stack([size, size, torch.ones_like(size)] * 2, 1)
    theta = (torch.stack(rows, 1) / shrink).view(-1, 2, 3).to(images)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


Batches = Split | Tensor | Iterable[Split | Tensor]
Held = list[Split | Tensor]
Part = TypeVar("Part", Split, Tensor, Split | Tensor)


def each(batches: Batches | None, criterion: str) -> Iterator[Split | Tensor]:
    """Go through the batches, in which there must be images.

    Raises:
        CompressionError: there are none; it names the criterion that asks.
    """
    several = [batches] if isinstance(batches, Split | Tensor) else batches or ()
    images = 0
    for batch in several:
        images += len(batch)
        if len(batch):
            yield batch
    if not images:
        raise CompressionError(
            f"The criterion {criterion!r} needs to see images, but none were given; pass, for example, "
            "batches=digits.train[:500]."
        )


def labelled(batches: Batches | None, model: nn.Module, criterion: str) -> Iterator[Split]:
    """Go through the batches on the model's device; all must have labels."""
    for batch in each(batches, criterion):
        if not isinstance(batch, Split):
            raise CompressionError(
                f"The criterion {criterion!r} needs labels, but a batch is a {type(batch).__name__}; "
                "pass a Split, for example batches=digits.train[:500]."
            )
        yield batch.to(device_of(model))


def held(batches: Batches | None) -> Held:
    """Return the batches in a list, so that they can be gone through twice."""
    return [batches] if isinstance(batches, Split | Tensor) else list(batches or ())


def images_of(batch: Split | Tensor) -> Tensor:
    """Return the images of a batch, with labels or without."""
    return batch.images if isinstance(batch, Split) else batch


def small(parts: Iterable[Part], size: int) -> Iterator[Part]:
    """Cut batches that are larger than ``size``: memory follows the largest."""
    for part in parts:
        for start in range(0, len(part), size):
            yield part[start : start + size]


def first_images(batches: Held) -> Tensor | None:
    """Return the first image of the first batch that has one, as a batch of one."""
    return next((images_of(batch)[:1] for batch in batches if len(batch)), None)
