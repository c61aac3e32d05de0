"""What may a network cost, what may it lose, and what may be done to it?"""

import math
from dataclasses import dataclass, fields
from typing import Any

from compresslab.errors import CompressionError, fraction, whole
from compresslab.quantization.clipping import LeastSquares
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.scheme import Scheme
from compresslab.quantization.schemes import KMeans
from compresslab.quantization.uniform import Symmetric

_LIMITS = ("bytes", "macs", "latency_ms")


@dataclass(frozen=True)
class Budget:
    """Say what a small network may cost and lose; what is not given is free.

    With a loss the search looks for the smallest file that keeps to everything. Without one it looks for the
    best network that keeps to the costs, and among equals for the smaller file.

    Args:
        bytes: of the saved file.
        macs: multiplications with addition for one example.
        latency_ms: milliseconds for one example, of the float network that the small one runs as.
        loss: what the metric may lose on validation against the network given; 0.01 is one point of accuracy.

    Raises:
        CompressionError: nothing is limited, or a limit is no positive number.

    Chapter: 20.

    >>> Budget(bytes=90_000, loss=0.01)
    Budget(bytes=90000, loss=0.01)
    """

    bytes: int | None = None
    macs: int | None = None
    latency_ms: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        given = {
            field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None
        }
        if not given:
            raise CompressionError("A budget without a limit was asked; give one, for example bytes=90_000.")
        for name in ("bytes", "macs"):
            if name in given:
                whole(given[name], f"a budget's {name}")
        for name, low in (("latency_ms", "above"), ("loss", "of at least")):
            if name in given and not _positive(given[name], zero=name == "loss"):
                raise CompressionError(
                    f"{given[name]!r:.80} was asked for a budget's {name}; give a number {low} 0."
                )

    def excess(self, costs: dict[str, float], lost: float) -> float:
        """Return by how much a network is over, each limit as a share of itself; 0.0 where it keeps to all.

        >>> Budget(bytes=1000).excess({"bytes": 1500}, lost=0.2)
        0.5
        """
        over = [costs[name] / limit - 1 for name in _LIMITS if (limit := getattr(self, name)) is not None]
        if self.loss is not None:
            beyond = lost - self.loss
            over.append(beyond / max(self.loss, 0.01) if beyond > 1e-9 else 0.0)  # 1e-9: of rounding
        found = sum(max(0.0, one) for one in over)
        return found if math.isfinite(found) else math.inf

    def __repr__(self) -> str:
        given = ((field.name, getattr(self, field.name)) for field in fields(self))
        return f"Budget({', '.join(f'{name}={value!r}' for name, value in given if value is not None)})"


def _positive(value: Any, zero: bool) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and (value > 0 or (zero and value == 0))


def _bits(*widths: int) -> tuple[Scheme, ...]:
    return tuple(Symmetric(bits, PerChannel(), LeastSquares()) for bits in widths)


@dataclass(frozen=True)
class Space:
    """Say what may be done to a layer: one of the schemes, one share of weights, one share of neurons.

    "Nothing" is always a choice too and need not be named.

    Args:
        schemes: from the gentle to the harsh: the search takes neighbours for alike.
        weights: shares of a layer's weights that may go, rising.
        neurons: shares of a group's neurons that may go, rising.

    Raises:
        CompressionError: nothing may be done, or a share is no float from 0.0 to 1.0.

    Chapter: 20.

    >>> Space.of_bits(8, 4)
    Space(3 schemes, 1 share of weights, 1 share of neurons)
    """

    schemes: tuple[Scheme, ...] = (
        *_bits(8, 6, 5, 4),
        KMeans(4, keep_zero=True),
        *_bits(3),
        KMeans(3, keep_zero=True),
        *_bits(2),
        KMeans(2, keep_zero=True),
    )
    weights: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
    neurons: tuple[float, ...] = (0.25, 0.5, 0.75)

    def __post_init__(self) -> None:
        if not (self.schemes or self.weights or self.neurons):
            raise CompressionError("A space with nothing in it was asked; give schemes, weights or neurons.")
        for scheme in self.schemes:
            if not isinstance(scheme, Scheme):
                raise CompressionError(
                    f"{scheme!r:.80} was given for a scheme; write it with its parentheses, Symmetric(8)."
                )
        for share in (*self.weights, *self.neurons):
            fraction(share, "a share of a space")

    @classmethod
    def of_bits(cls, *widths: int) -> "Space":
        """Return the space of mixed precision: a symmetric grid for each channel, and nothing pruned."""
        return cls(_bits(*widths), (), ())

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """Return what each kind of knob can be set to; the first is "nothing"."""
        return {
            "scheme": (None, *self.schemes),
            "weights": tuple(dict.fromkeys((0.0, *self.weights))),
            "neurons": tuple(dict.fromkeys((0.0, *self.neurons))),
        }

    def __repr__(self) -> str:
        counts = {kind: len(options) for kind, options in self.choices.items()}
        shares = (f"{n} share{'s' * (n > 1)} of {kind}" for kind, n in counts.items() if kind != "scheme")
        return f"Space({counts['scheme']} schemes, {', '.join(shares)})"
