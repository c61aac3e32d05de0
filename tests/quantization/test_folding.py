"""A network with folded norms is the same function, up to rounding; what cannot be folded stays as it is."""

import pytest
import torch
from samples import images, network
from torch import nn

from compresslab import models
from compresslab.quantization.folding import fold_norms
from compresslab.quantization.layers import quantized_like
from compresslab.quantization.uniform import Symmetric


def statistics(model: nn.Module, seed: int) -> nn.Module:
    """Give every norm random statistics, weights and shifts."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.1, 3, generator=generator)
            if module.affine:
                nn.init.normal_(module.weight, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return model.eval()


def pair(seed: int = 0, **settings) -> nn.Sequential:
    torch.manual_seed(seed)
    affine = settings.pop("affine", True)
    conv = nn.Conv2d(4, 6, 3, **settings)
    return statistics(nn.Sequential(conv, nn.BatchNorm2d(6, affine=affine)), seed)


def pixels(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "settings", [{}, {"bias": False}, {"groups": 2}, {"stride": 2, "padding": 1}, {"affine": False}], ids=str
)
def test_each_output_agrees_within_the_rounding_of_its_own_sum(settings, seed):
    model, x = pair(seed, **settings), pixels(2, 4, 8, 8)
    folded = fold_norms(model)
    with torch.no_grad():
        difference = (folded(x) - model(x)).abs()
        conv, norm = model
        factor = (norm.running_var + norm.eps).rsqrt()
        shift = norm.running_mean.abs() * factor
        if norm.affine:
            factor, shift = factor * norm.weight.abs(), shift * norm.weight.abs() + norm.bias.abs()
        absolute = nn.Conv2d(4, 6, 3, **{k: v for k, v in settings.items() if k != "affine"})
        absolute.weight.copy_(conv.weight.abs())
        if conv.bias is not None:
            absolute.bias.copy_(conv.bias.abs())
        magnitude = absolute(x.abs()) * factor[:, None, None] + shift[:, None, None]
    # Both sides sum n products with at most n + 1 roundings and a few more for the norm, each 2**-24 of the
    # sum of magnitudes.
    roundings = 2 * (conv.weight[0].numel() + 8)
    assert (difference <= roundings * 2.0**-24 * magnitude).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_network_agrees_in_float64_to_float64_rounding(seed):
    model = statistics(network("residual", seed).double(), seed)
    x = images().double()
    with torch.no_grad():
        expected, found = model(x), fold_norms(model)(x)
    # Seven layers of at most 45 products, each sum off by under 100 roundings of 2**-53, magnified by norms
    # whose factors stay below 10: far below 1e-10, which a folding that is wrong anywhere exceeds by far.
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    assert expected.std() > 0.1 * expected.abs().mean(), "the network has not collapsed to its biases"


def test_every_norm_of_the_residual_network_is_folded():
    model = statistics(network("residual"), 0)
    folded = fold_norms(model)
    assert not norms(folded)
    assert models.builder_of(folded)[1]["norm"] is False, "the folded network is one of the book's own"


def test_a_training_model_folds_as_in_evaluation():
    model = pair().train()
    assert torch.equal(fold_norms(model)(pixels(1, 4, 8, 8)), fold_norms(model.eval())(pixels(1, 4, 8, 8)))


class ReadTwice(nn.Module):
    """The norm and a sum both read the convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.other = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


class RunsTwice(ReadTwice):
    """The convolution runs twice, each time into a norm of its own."""

    def forward(self, x):
        return self.norm(self.conv(x)) + self.other(self.conv(x))


@pytest.mark.parametrize("wiring", [ReadTwice, RunsTwice])
def test_a_convolution_that_others_need_as_it_is_keeps_its_norm(wiring):
    model, x = statistics(wiring(), 0), pixels(2, 4, 5, 5)
    folded = fold_norms(model)
    assert len(norms(folded)) == 2
    assert torch.equal(folded(x), model(x))


def test_a_shared_norm_is_folded_into_neither():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    model = statistics(nn.Sequential(nn.Conv2d(4, 4, 1), norm, nn.Conv2d(4, 4, 1), norm), 0)
    x = pixels(2, 4, 5, 5)
    assert torch.equal(fold_norms(model)(x), model(x))


@pytest.mark.parametrize("first", [nn.ReLU(), nn.ConvTranspose2d(4, 4, 1)], ids=lambda m: type(m).__name__)
def test_a_norm_behind_anything_else_stays(first):
    assert len(norms(fold_norms(nn.Sequential(first, nn.BatchNorm2d(4))))) == 1


def test_a_norm_behind_a_quantized_convolution_stays():
    model = pair()
    model[0] = quantized_like(model[0], Symmetric(8).quantize(model[0].weight))
    assert len(norms(fold_norms(model))) == 1
