"""Weights that share their values, while the values learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compresslab.layers import FakeQuantize
from compresslab.quantized import QuantizedTensor
from compresslab.quantizers import KMeans


class LearnedCodebook(FakeQuantize):
    """Bind every weight to the centroid it starts at, and let the centroids learn.

    The gradient of a centroid is the sum of the gradients of its weights; autograd finds it by itself,
    since decoding is a look-up. The float weights behind stay as they were. With ``keep_zero`` the
    centroid 0 does not move, so a pruned weight stays pruned.

    Args:
        scheme: gives the first centroids, and the codes, which never change.
        weight: the weight to start from.

    Source: Han, Mao, Dally, Deep Compression, 2016, section 3.3, equation 3 (arXiv:1510.00149).
    Chapter: 18.
    """

    codes: Tensor
    moves: Tensor

    def __init__(self, scheme: KMeans, weight: Tensor) -> None:
        super().__init__(scheme, weight)
        first = scheme.quantize(weight.detach())
        self.centroids = nn.Parameter(first.parameters["centroids"].clone())
        self.register_buffer("codes", first.codes)
        fixed = (self.centroids == 0) & scheme.keep_zero
        self.register_buffer("moves", ~fixed)

    def forward(self, weight: Tensor) -> Tensor:
        centroids = torch.where(self.moves, self.centroids, self.centroids.detach())
        shared = QuantizedTensor(self.scheme, self.codes, {"centroids": centroids})
        return shared.dequantize().to(weight.dtype)

    def freeze(self, weight: Tensor) -> QuantizedTensor:
        """Give the codes and centroids that training has been using, the centroids in order again."""
        ordered = self.centroids.detach().sort(dim=1).values
        return self.scheme.quantize(self(weight), {"centroids": ordered})

    def extra_repr(self) -> str:
        return f"{self.scheme}, learned codebook"
