"""The six schemes: two uniform grids from ``uniform``, two and three values, powers of two, codebooks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from compresslab.errors import CompressionError
from compresslab.quantization.granularity import Granularity, PerTensor
from compresslab.quantization.kmeans import kmeans_centroids
from compresslab.quantization.scheme import Layout, Parameters, Scheme
from compresslab.quantization.uniform import Asymmetric, Symmetric
from compresslab.quantization.values import from_json


@dataclass(frozen=True)
class Binary(Scheme):
    """Keep the sign of each weight and one magnitude for each row: ``-scale, +scale``.

    ``scale = mean |w|`` is the least-squares choice. Zero counts as positive; a row of zeros has
    scale 0 and decodes to zeros.

    Source: Rastegari et al., XNOR-Net, 2016, equation 6 (arXiv:1603.05279).
    Chapter: 04.

    >>> Binary().quantize(torch.tensor([0.5, -0.1, 0.3])).dequantize()
    tensor([ 0.3000, -0.3000,  0.3000])
    """

    granularity: Granularity = PerTensor()
    bits: int = field(default=1, init=False, repr=False)

    def fit(self, rows: Float[Tensor, "rows columns"]) -> dict[str, Tensor]:
        return {"scale": rows.abs().mean(dim=1, dtype=torch.float64).float()}

    def levels(self, parameters: Parameters) -> Float[Tensor, "rows levels"]:
        return parameters["scale"][:, None] * torch.tensor([-1.0, 1.0], device=parameters["scale"].device)

    def encode(self, rows: Float[Tensor, "rows columns"], parameters: Parameters) -> Tensor:
        return (rows >= 0).to(self.code_dtype)


@dataclass(frozen=True)
class Ternary(Scheme):
    """Set small weights to zero and keep the sign of the rest: ``-scale, 0, +scale``.

    A weight is small where ``|w| <= factor * mean |w|`` of its row; ``scale`` is the mean magnitude
    of the others. The threshold decides, not the nearest level. It is not stored, since decoding does
    not need it: other values encoded with the same scale get the threshold of their own rows. A row
    of zeros has scale 1.

    Args:
        granularity: which weights share a scale and a threshold.
        factor: the threshold in units of the row's mean magnitude, between 0 and 1.

    Source: Li, Zhang, Liu, Ternary Weight Networks, 2016, equations 4 to 6 (arXiv:1605.04711).
    Chapter: 04.

    >>> Ternary().quantize(torch.tensor([0.9, -0.7, 0.1, -0.2])).dequantize()
    tensor([ 0.8000, -0.8000,  0.0000,  0.0000])
    """

    granularity: Granularity = PerTensor()
    factor: float = 0.7
    bits: int = field(default=2, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.factor, float) or not 0 < self.factor < 1:
            raise CompressionError(
                f"Ternary was asked for a factor of {self.factor!r:.80}; it must lie between 0 and 1, "
                "or a row of equal weights would vanish."
            )

    @property
    def code_range(self) -> tuple[int, int]:
        return 0, 2

    def _large(self, rows: Float[Tensor, "rows columns"]) -> Tensor:
        magnitude = rows.abs().double()  # float64: the mean of huge rows and of tiny ones must survive
        return magnitude > self.factor * magnitude.mean(dim=1, keepdim=True)

    def fit(self, rows: Float[Tensor, "rows columns"]) -> dict[str, Tensor]:
        large = self._large(rows)
        total = (rows.abs().double() * large).sum(dim=1)
        return {"scale": torch.where(total == 0, 1.0, total / large.sum(dim=1).clamp(min=1)).float()}

    def levels(self, parameters: Parameters) -> Float[Tensor, "rows levels"]:
        return parameters["scale"][:, None] * torch.tensor(
            [-1.0, 0.0, 1.0], device=parameters["scale"].device
        )

    def encode(self, rows: Float[Tensor, "rows columns"], parameters: Parameters) -> Tensor:
        return (1 + rows.sign() * self._large(rows)).to(self.code_dtype)


@dataclass(frozen=True)
class PowerOfTwo(Scheme):
    """Take the levels from zero and the signed powers of two below a top one.

    A multiplication by such a level is a shift. The spacing grows with the weight, so the error is
    relative: fine near zero, coarse at the top. The top is the power nearest the row's extreme, the
    upper one in a tie, and 1 for a row of zeros. Powers too small for float32 are zero.

    Args:
        bits: width of a code, 2 to 8: zero and ``2**(bits - 1) - 1`` powers of each sign.
        granularity: which weights share a top exponent.

    Source: Miyashita, Lee, Murmann, 2016 (arXiv:1603.01025).
    Chapter: 05.

    >>> code = PowerOfTwo(bits=3).quantize(torch.tensor([0.9, -0.3, 0.2, 0.01]))
    >>> code.levels[0, 4:]
    tensor([0.2500, 0.5000, 1.0000])
    >>> code.dequantize()
    tensor([ 1.0000, -0.2500,  0.2500,  0.0000])
    """

    bits: int = 4
    granularity: Granularity = PerTensor()
    lowest_bits: ClassVar[int] = 2

    @property
    def code_range(self) -> tuple[int, int]:
        return 0, 2**self.bits - 2

    def row_layout(self) -> Layout:
        return {"top_exponent": ((), torch.int16)}

    def fit(self, rows: Float[Tensor, "rows columns"]) -> dict[str, Tensor]:
        fraction, exponent = torch.frexp(torch.linalg.vector_norm(rows, torch.inf, dim=1))
        # fraction lies in [0.5, 1): below 0.75 the power under it is nearer. A row of zeros gives 0.
        top = torch.where((fraction > 0) & (fraction < 0.75), exponent - 1, exponent)
        return {"top_exponent": top.to(torch.int16)}

    def levels(self, parameters: Parameters) -> Float[Tensor, "rows levels"]:
        top = parameters["top_exponent"].int()
        below = torch.arange(2 ** (self.bits - 1) - 2, -1, -1, device=top.device, dtype=torch.int32)
        exponents = top[:, None] - below
        powers = torch.ldexp(torch.ones(exponents.shape, device=top.device), exponents)
        return torch.cat([-powers.flip(1), torch.zeros_like(powers[:, :1]), powers], dim=1)


@dataclass(frozen=True)
class KMeans(Scheme):
    """Put the levels where the weights are: the centroids of one-dimensional k-means.

    Args:
        bits: width of a code, 1 to 8; a row stores ``2**bits`` centroids, with repetitions at the
            end where it has fewer distinct weights.
        granularity: which weights share a codebook.
        keep_zero: reserve one centroid of each row for exactly 0 and fit the others to the weights that
            are not 0, so that a pruned weight stays one.

    Source: Han, Mao, Dally, Deep Compression, 2016, section 3 (arXiv:1510.00149).
    Chapter: 06.

    >>> KMeans(bits=1).quantize(torch.tensor([0.1, 0.2, 0.9, 1.0])).levels
    tensor([[0.1500, 0.9500]])
    """

    bits: int = 4
    granularity: Granularity = PerTensor()
    keep_zero: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.keep_zero, bool):
            raise CompressionError(f"KMeans was given keep_zero={self.keep_zero!r:.80}; write True or False.")

    def row_layout(self) -> Layout:
        return {"centroids": ((2**self.bits,), torch.float32)}

    def fit(self, rows: Float[Tensor, "rows columns"]) -> dict[str, Tensor]:
        find = self._beside_zero if self.keep_zero else kmeans_centroids
        centroids = [torch.from_numpy(find(row, 2**self.bits)) for row in rows.cpu().numpy()]
        return {"centroids": torch.stack(centroids).float().to(rows.device)}

    @staticmethod
    def _beside_zero(row: np.ndarray, clusters: int) -> np.ndarray:
        kept = row[row != 0]
        found = kmeans_centroids(kept, clusters - 1) if len(kept) else np.zeros(clusters - 1)
        return np.sort(np.append(found, 0.0))

    def levels(self, parameters: Parameters) -> Float[Tensor, "rows levels"]:
        return parameters["centroids"]


SCHEMES: Mapping[str, type[Scheme]] = MappingProxyType(
    {cls.__name__: cls for cls in (Symmetric, Asymmetric, Binary, Ternary, PowerOfTwo, KMeans)}
)


def scheme_from_dict(values: Any) -> Scheme:
    """Read back what ``scheme.to_dict()`` wrote, from anywhere.

    >>> scheme_from_dict(Ternary(factor=0.5).to_dict())
    Ternary(granularity=PerTensor(), factor=0.5)
    """
    return from_json(SCHEMES.values(), values, "scheme")
