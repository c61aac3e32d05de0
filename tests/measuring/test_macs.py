"""Multiplications are those that torch's own counter finds, halved, in networks of every kind."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compresslab import Symmetric, models
from compresslab.measuring.costs import count_macs
from compresslab.models.inputs import call
from compresslab.quantization.quantizing import quantize
from tests.samples import same


class Attention(nn.Module):
    """Write attention by hand, by matmul, einsum or torch's own function."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.inside = how, nn.Linear(12, 36)

    def forward(self, x):
        q, k, v = self.inside(x).view(*x.shape[:2], 3, 3, 4).permute(2, 0, 3, 1, 4)
        if self.how == "torch":
            return functional.scaled_dot_product_attention(q, k, v)
        if self.how == "einsum":
            weights = torch.einsum("bhqd,bhkd->bhqk", q, k).softmax(-1)
            return torch.einsum("bhqk,bhkd->bhqd", weights, v)
        return (q @ k.transpose(-2, -1)).softmax(-1) @ v


class Words(nn.Module):
    """A language model with a tied embedding and a recurrent layer."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.embedding, self.recurrent, self.out = (
            nn.Embedding(20, 8),
            recurrent,
            nn.Linear(8, 20, bias=False),
        )
        self.out.weight = self.embedding.weight

    def forward(self, words):
        return self.out(self.recurrent(self.embedding(words))[0])


class Named(nn.Module):
    """Two inputs by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Conv1d(2, 3, 2)

    def forward(self, *, left, right):
        return self.left(left), self.right(right)


PHOTO, SOUND, TEXT = torch.rand(1, 3, 33, 35), torch.rand(1, 4, 50), torch.randint(20, (1, 6))
NETWORKS = {
    "article": (models.article(4, 6, 12), torch.rand(1, 1, 28, 28)),
    "residual": (models.residual(), torch.rand(1, 1, 28, 28)),
    "quantized": (quantize(models.article(4, 6, 12), Symmetric(4)), torch.rand(1, 1, 28, 28)),
    "1-D, depthwise": (nn.Sequential(nn.Conv1d(4, 4, 5, groups=4), nn.ReLU(), nn.Conv1d(4, 8, 1)), SOUND),
    "3-D": (nn.Conv3d(2, 4, 3, stride=2, padding=1, groups=2), torch.rand(1, 2, 7, 8, 9)),
    "transposed 1-D": (nn.ConvTranspose1d(4, 6, 4, stride=3, groups=2, output_padding=1), SOUND),
    "transposed 2-D": (nn.ConvTranspose2d(3, 5, 3, stride=2, padding=1, dilation=2), PHOTO),
    "transposed 3-D": (nn.ConvTranspose3d(2, 4, 2), torch.rand(1, 2, 4, 5, 6)),
    "LSTM": (nn.LSTM(4, 5, 2, bidirectional=True, batch_first=True), torch.rand(1, 7, 4)),
    "LSTM, projected": (nn.LSTM(4, 6, proj_size=3), torch.rand(7, 1, 4)),
    "LSTM cell": (nn.LSTMCell(4, 5), torch.rand(1, 4)),
    "GRU": (Words(nn.GRU(8, 8, batch_first=True)), TEXT),
    "RNN": (Words(nn.RNN(8, 8, batch_first=True)), TEXT),
    "multi-head": (
        nn.MultiheadAttention(8, 2, kdim=6, vdim=4),
        (torch.rand(5, 1, 8), torch.rand(3, 1, 6), torch.rand(3, 1, 4)),
    ),
    "encoder": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        torch.rand(1, 5, 8),
    ),
    **{f"attention by {how}": (Attention(how), torch.rand(1, 5, 12)) for how in ("hand", "einsum", "torch")},
    "keywords": (Named(), {"left": torch.rand(1, 4), "right": torch.rand(1, 2, 5)}),
    "mobilenet": (torchvision.models.mobilenet_v2(weights=None, num_classes=10, width_mult=0.25), PHOTO),
}
every = pytest.mark.parametrize(("model", "inputs"), NETWORKS.values(), ids=NETWORKS)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # torch's switch of kernels speaks of other machines
@every
def test_macs_are_half_the_operations_that_torchs_counter_finds(model, inputs):
    """It looks while torch keeps a gradient, so that no recurrent or attention layer hides in one kernel."""
    model = copy.deepcopy(model).eval().requires_grad_()
    simple = sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False)
    with FlopCounterMode(display=False) as judge, simple[0], simple[1]:
        call(model, inputs)
    assert judge.get_total_flops() == 2 * count_macs(model, inputs) > 0


@every
def test_counting_moves_no_statistic_and_no_mode_and_counts_the_same_in_training(model, inputs):
    model = copy.deepcopy(model).train()
    before, modes = copy.deepcopy(model), [module.training for module in model.modules()]
    counted = count_macs(model, inputs)
    assert same(model, before)
    assert [module.training for module in model.modules()] == modes
    assert count_macs(model.requires_grad_(False).eval(), inputs) == counted


def test_products_with_vectors_count_too():
    class Vectors(nn.Module):
        def forward(self, x):
            return torch.mv(x, x[0]) @ x[:, 0] + torch.addmv(x[:, 0], x, x[0]).sum()

    assert count_macs(Vectors(), torch.rand(3, 3)) == 9 + 3 + 9
