"""The staircase of a scheme: which level each weight of a row becomes."""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from compresslab.errors import CompressionError
from compresslab.quantization.scheme import Scheme
from compresslab.quantization.schemes import scheme_from_dict


@dataclass(frozen=True)
class Staircase:
    """What a scheme does to the weights of one row, ready to be drawn.

    Args:
        scheme: the scheme.
        edges: weights at which the decoded value changes, with the smallest and the largest at the ends.
        values: the decoded value between two neighbouring edges.
        levels: all levels of the row, used or not.
        rms_error: root mean square of weight minus decoded weight.
    """

    scheme: Scheme
    edges: tuple[float, ...]
    values: tuple[float, ...]
    levels: tuple[float, ...]
    rms_error: float

    @property
    def name(self) -> str:
        """The scheme's name with its bits, and whether those are fixed."""
        bits = f"{self.scheme.bits} bit{'s' if self.scheme.bits != 1 else ''}"
        return f"{type(self.scheme).__name__}, {bits if takes_bits(self.scheme) else f'always {bits}'}"


def staircase(scheme: Scheme, weight: Float[Tensor, " ..."]) -> Staircase:
    """Find the steps by watching which value each given weight becomes.

    It asks nothing of the scheme but to quantize, so it shows what the code does, not what a formula says. An
    edge lies halfway between the two neighbouring weights on its sides: give many weights.

    Args:
        scheme: any scheme; its granularity must leave one row.
        weight: the weights to fit and to watch.

    Raises:
        CompressionError: the granularity makes several rows, each of which would have its own staircase.

    >>> from compresslab import Symmetric
    >>> staircase(Symmetric(bits=2), torch.tensor([-1.0, -0.75, -0.25, 0.0, 0.25, 0.75, 1.0]))
    ... # doctest: +ELLIPSIS
    Staircase(scheme=Symmetric(...), edges=(-1.0, -0.5, 0.5, 1.0), values=(-1.0, 0.0, 1.0), ...
    """
    code = scheme.quantize(weight)
    if len(code.levels) != 1:
        raise CompressionError(
            f"A staircase of {scheme} was asked, but the weight has {len(code.levels)} rows with one each; "
            "use PerTensor(), or one row of the weight."
        )
    ordered, order = weight.detach().float().flatten().sort()
    decoded = code.dequantize().flatten()[order]
    last = torch.nonzero(decoded[1:] != decoded[:-1]).flatten()
    edges = torch.cat([ordered[:1], (ordered[last] + ordered[last + 1]) / 2, ordered[-1:]])
    values = torch.cat([decoded[last], decoded[-1:]])
    error = (decoded - ordered).double().square().mean().sqrt().item()
    return Staircase(
        scheme, tuple(edges.tolist()), tuple(values.tolist()), tuple(code.levels[0].tolist()), error
    )


def takes_bits(scheme: Scheme) -> bool:
    """Say whether the number of bits of a scheme can be chosen."""
    return any(field.name == "bits" and field.init for field in fields(scheme))  # type: ignore[arg-type]


def scheme_named(name: str, bits: int) -> Scheme:
    """Build a scheme for one row, of that many bits where they can be chosen.

    Raises:
        CompressionError: the name is none of the six.

    >>> scheme_named("PowerOfTwo", 3).bits, scheme_named("Ternary", 3).bits
    (3, 2)
    """
    scheme = scheme_from_dict({"name": name})
    return replace(scheme, bits=bits) if takes_bits(scheme) else scheme  # type: ignore[type-var]
