"""The widths of the book's networks, checked: a file from a stranger may name them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from compresslab.errors import CompressionError, whole

LARGEST_WIDTH = 4096  # a bound for files from strangers, far above every network of the book


@dataclass(frozen=True)
class Config:
    """Hold the widths of one network; equal configurations build equal shapes.

    Raises:
        CompressionError: a width is not an int between 1 and ``LARGEST_WIDTH``.
    """

    def __post_init__(self) -> None:
        for field in fields(self):
            value, what = getattr(self, field.name), f"{field.name} of a network"
            if value is None and field.default is None:
                continue
            if field.type in (int, int | None):
                whole(value, what, 1, LARGEST_WIDTH)
            elif field.type is bool and not isinstance(value, bool):
                raise CompressionError(f"{value!r:.80} was asked for {what}; write True or False.")
            elif field.type is not bool:  # JSON hands over lists
                if not isinstance(value, list | tuple) or not 1 <= len(value) <= 8:
                    raise CompressionError(f"{value!r:.80} was asked for {what}; list 1 to 8, one per block.")
                widths = tuple(whole(width, what, 1, LARGEST_WIDTH) for width in value)
                object.__setattr__(self, field.name, widths)

    def to_dict(self) -> dict[str, Any]:
        """Return the keyword arguments as JSON knows them; what is None is left out, as in older files."""
        found = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class ArticleConfig(Config):
    """Widths of the article's network."""

    conv1: int
    conv2: int
    fc1: int
    classes: int


@dataclass(frozen=True)
class LeNet5Config(ArticleConfig):
    """Widths of LeNet-5, whose layers have the same names."""


@dataclass(frozen=True)
class LeNet300Config(Config):
    """Widths of LeNet-300-100; the cosine coefficients in each direction that it sees instead of pixels."""

    fc1: int
    fc2: int
    classes: int
    cosines: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cosines is not None:
            whole(self.cosines, "cosines of a network", 1, 28)


@dataclass(frozen=True)
class ResidualConfig(Config):
    """Widths of the residual network: one block per entry.

    ``widths`` are the channels between the blocks (the additions tie them together), ``inner`` those
    inside each block, free to differ. ``norm=False`` is the shape after the norms were folded into
    the convolutions: biases there, nothing to normalise.
    """

    widths: Sequence[int]
    inner: Sequence[int]
    channels: int
    classes: int
    norm: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if (inner := len(self.inner)) != (blocks := len(self.widths)):
            raise CompressionError(f"{inner} inner widths were asked for {blocks} blocks; give one for each.")
