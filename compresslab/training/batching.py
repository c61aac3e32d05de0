"""What is learned and looked at: a split of images, a data set, batches of any task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from compresslab.errors import CompressionError, DataError
from compresslab.models.inputs import each_tensor, fitted, rows_of

Images = Float[Tensor, "images channels height width"]
Labels = Int[Tensor, "images"]
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


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

    @property
    def inputs(self) -> Images:
        """The images, as a network of any task calls what it reads."""
        return self.images

    @property
    def targets(self) -> Labels:
        """The labels, as any task calls what should come out."""
        return self.labels

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
    """Hold a data set in three splits: learn on train, choose on validation, report on test.

    Args:
        augmentation: what ``train`` does to images that are learned, unless it is told otherwise.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    augmentation: Augmentation | None = None

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


@dataclass(frozen=True, eq=False)
class Batch:
    """Hold some examples of any task: what goes into a network, and what should come out.

    Args:
        inputs: one tensor, a tuple of several in order, or a mapping of several by keyword.
        targets: what the objective and the metric compare with; None where nobody said.

    >>> len(Batch((torch.zeros(8, 3), torch.zeros(8, 5)))[:2])
    2
    """

    inputs: Any
    targets: Any = None

    def __len__(self) -> int:
        """Return how many examples these are: as many as there are targets, or rows of the first input."""
        rows = rows_of(self.targets) or rows_of(self.inputs)
        return rows[0] if rows else 0

    def __getitem__(self, which: slice) -> Batch:
        return Batch(*(each_tensor(part, lambda t: t[which]) for part in (self.inputs, self.targets)))


Part = Split | Batch
Batches = Part | Tensor | Mapping[str, Any] | Iterable[Any]


def parts_of(batches: Any) -> Iterator[Part]:
    """Go through data of any kind, batch by batch.

    Args:
        batches: a Split, a tensor or a mapping of inputs; or a DataLoader or any other iterable of these and
            of pairs (inputs, targets), of which several inputs are a tuple or a mapping.

    Raises:
        CompressionError: it is, or gives, something else.
    """
    if isinstance(batches, ImageData):
        raise CompressionError(
            f"A whole data set, {batches.name!r:.80}, was given; say which split of it: .train to learn from "
            "or to look at, .validation to choose, .test to report."
        )
    if isinstance(batches, Split | Batch | Tensor | Mapping):
        yield _part(batches)
    elif hasattr(batches, "__getitem__") and isinstance(batches, torch.utils.data.Dataset):
        raise CompressionError(
            f"A {type(batches).__name__:.80} gives single examples; give batches: "
            "torch.utils.data.DataLoader(it, batch_size=64)."
        )
    elif batches is not None:
        if not isinstance(batches, Iterable):
            raise CompressionError(
                f"A {type(batches).__name__:.80} was given as data; give a Split, a DataLoader or a list of "
                "(inputs, targets)."
            )
        yield from map(_part, batches)


def _part(item: Any) -> Part:
    if isinstance(item, Split | Batch):
        return item
    pair = item if isinstance(item, tuple | list) else (item,)
    if len(pair) in (1, 2) and rows_of(pair[0]):
        return Batch(*pair)
    kind = f"{len(pair)} parts" if len(pair) > 2 else f"a {type(pair[0] if pair else item).__name__:.80}"
    raise CompressionError(
        f"A batch of {kind} was given; give (inputs, targets), where inputs are a tensor, such as "
        "torch.from_numpy makes, and several are a tuple or a mapping."
    )


def on(part: Part, model: nn.Module) -> Batch:
    """Bring a part to the device of a model, and its floats to the model's precision."""
    return Batch(fitted(part.inputs, model), fitted(part.targets, model))


def each(batches: Batches | None, criterion: str) -> Iterator[Part]:
    """Go through the batches, in which there must be images.

    Raises:
        CompressionError: there are none; it names the criterion that asks.
    """
    images = 0
    for part in parts_of(batches):
        images += len(part)
        if len(part):
            yield part
    if not images:
        raise CompressionError(
            f"The criterion {criterion!r} needs to see images, but none were given; pass, for example, "
            "batches=digits.train[:500]."
        )


def labelled(batches: Batches | None, model: nn.Module, criterion: str) -> Iterator[Batch]:
    """Go through the batches where the model is; all must have labels."""
    for part in each(batches, criterion):
        if part.targets is None:
            raise CompressionError(
                f"The criterion {criterion!r} needs labels, but a batch has inputs alone; pass a Split, for "
                "example batches=digits.train[:500], or pairs (inputs, targets)."
            )
        yield on(part, model)


def held(batches: Batches | None) -> list[Part]:
    """Return the batches in a list, so that they can be gone through twice."""
    return list(parts_of(batches))


def small(parts: Iterable[Part], size: int) -> Iterator[Part]:
    """Cut batches that are larger than ``size``: memory follows the largest.

    One whose tensors do not all have the examples on their first axis stays whole.
    """
    for part in parts:
        whole = len({*rows_of(part.inputs), *rows_of(part.targets)}) > 1
        for start in range(0, len(part), max(1, len(part)) if whole else size):
            yield part if whole else part[start : start + size]


def first_images(batches: Iterable[Part]) -> Any:
    """Return the inputs of the first example in a batch, as a batch of one; None where there is none."""
    return next((next(iter(small([part], 1))).inputs for part in batches if len(part)), None)
