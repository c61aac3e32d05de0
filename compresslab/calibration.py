"""The images that a criterion looks at: one batch or several, with labels or without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.evaluation import device_of
from compresslab.images import Split

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
