"""A layer that holds codes computes what it would with the decoded weights, and is otherwise what it was."""

import copy
import io
import pickle

import pytest
import torch
from samples import state
from torch import nn
from torch.nn import functional as F

from compresslab.models.parameters import layer_weights
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.layers import QuantizedLayer, hold_codes, quantized_like, replace
from compresslab.quantization.quantizing import quantize
from compresslab.quantization.schemes import Binary, KMeans, PowerOfTwo, Ternary
from compresslab.quantization.uniform import Asymmetric, Symmetric

SCHEMES = [Symmetric(4), Asymmetric(3), Binary(), Ternary(), PowerOfTwo(4), KMeans(2)]
CHANNELS = Symmetric(4, PerChannel())


class Threefold(nn.Linear):
    """A layer of the user's: three times its parent's answer."""

    def forward(self, x):
        return 3 * super().forward(x)


class Standardised(nn.Conv2d):
    """A layer of the user's, with a scale of its own: its weight has mean 0 in every channel."""

    def __init__(self, *sizes) -> None:
        super().__init__(*sizes)
        self.scale = nn.Parameter(torch.full((self.out_channels, 1, 1, 1), 0.5))

    def forward(self, x):
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(x, self.scale * weight, self.bias)


class Kernel(nn.Module):
    """A layer that is none of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(6, 4))

    def forward(self, x):
        return x @ self.kernel


class Attention(nn.MultiheadAttention):
    """Call torch's with one input, and return its answer alone."""

    def forward(self, x):
        return super().forward(x, x[:, :3], x[:, :3], need_weights=False)[0]


class Recurrent(nn.Sequential):
    """Return the answer alone, of a layer that also returns its state."""

    def forward(self, x):
        return super().forward(x)[0]


LAYERS = {
    "linear": (nn.Linear(6, 4), (5, 6)),
    "linear without bias": (nn.Linear(6, 4, bias=False), (2, 5, 6)),
    "strided": (nn.Conv2d(4, 6, 3, stride=(1, 2), padding=(0, 1)), (2, 4, 9, 9)),
    "dilated": (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (2, 4, 9, 9)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, bias=False), (2, 4, 9, 9)),
    "reflecting": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 9, 9)),
    "one axis": (nn.Conv1d(4, 6, 3), (2, 4, 9)),
    "three axes": (nn.Conv3d(4, 6, 2), (2, 4, 5, 5, 5)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 5, 5)),
    "transposed in groups": (nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 5)),
    "embedding": (nn.Embedding(9, 4, padding_idx=0), None),
    "bag": (nn.EmbeddingBag(9, 4), None),
    "attention": (Attention(8, 2, batch_first=True), (2, 5, 8)),
    "attention of three": (Attention(8, 2, kdim=8, vdim=8, add_bias_kv=True, batch_first=True), (2, 5, 8)),
    "LSTM": (Recurrent(nn.LSTM(6, 4, 2, bidirectional=True, proj_size=2)), (5, 2, 6)),
    "GRU": (Recurrent(nn.GRU(6, 4)), (5, 2, 6)),
    "cell": (nn.GRUCell(6, 4), (5, 6)),
    "threefold": (Threefold(6, 4), (5, 6)),
    "standardised": (Standardised(4, 6, 3), (2, 4, 9, 9)),
    "own": (Kernel(), (5, 6)),
}
every_layer = pytest.mark.parametrize("name", LAYERS)
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: type(scheme).__name__)


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def sample(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Give a model of one layer with weights from a seed, and something to feed it."""
    layer, shape = LAYERS[name]
    model, generator = nn.Sequential(copy.deepcopy(layer)).eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    words = torch.randint(9, (2, 5), generator=generator)
    return model, words if shape is None else inputs(*shape)


def decoded(model: nn.Module, scheme) -> nn.Module:
    """Put decoded weights into a float model, by hand; a transposed convolution has its outputs second."""
    result = copy.deepcopy(model)
    for weight in layer_weights(result):
        rows = weight.value.detach().transpose(0, weight.axis)
        value = scheme.quantize(rows).dequantize().transpose(0, weight.axis).contiguous()
        setattr(weight.layer, weight.parameter, nn.Parameter(value))
    return result.requires_grad_(False)  # torch's attention takes another way for what has a gradient


@every_layer
@pytest.mark.parametrize("scheme", [CHANNELS, KMeans(2)], ids=repr)
def test_any_layer_computes_with_the_decoded_weights(name, scheme):
    model, x = sample(name)
    small = quantize(model, scheme).requires_grad_(False)
    assert all(weight.is_codes for weight in layer_weights(small))
    assert not torch.equal(small(x), model(x)), "something was rounded"
    assert torch.equal(small(x), decoded(model, scheme)(x))


@every_scheme
def test_with_every_scheme(scheme):
    model, x = sample("strided")
    assert torch.equal(quantize(model, scheme)(x), decoded(model, scheme)(x))


@every_layer
def test_it_stays_a_layer_of_its_kind_with_its_settings(name):
    model, _ = sample(name)
    small = quantize(model, CHANNELS)
    for (path, old), new in zip(model.named_modules(), small.modules(), strict=True):
        assert isinstance(new, type(old)), path
        coded = {name: value for name, value in vars(old).items() if name[0] != "_" and name != "coded"}
        assert {name: vars(new)[name] for name in coded} == coded
    assert {w.name for w in layer_weights(small)} == {w.name for w in layer_weights(model)}


@every_layer
def test_copies_and_files_of_torch_carry_the_whole_layer(name):
    model, x = sample(name)
    small = quantize(model, CHANNELS)
    twin, again = copy.deepcopy(small), pickle.loads(pickle.dumps(small))
    file = io.BytesIO()
    torch.save(small.state_dict(), file)
    file.seek(0)
    other = quantize(decoded(model, Binary()), CHANNELS)
    other.load_state_dict(torch.load(file, weights_only=True))
    for one in (twin, again, other):
        assert torch.equal(one(x), small(x))
        assert state(one) == state(small)
        held = {t.data_ptr() for t in small.state_dict().values()}
        assert not held & {t.data_ptr() for t in one.state_dict().values()}


@every_layer
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_layer_has_the_precision_that_it_is_given_before_or_after_and_keeps_its_scales(name, dtype):
    model, x = sample(name)
    x = x.to(dtype) if x.is_floating_point() else x
    before, after = quantize(copy.deepcopy(model).to(dtype), CHANNELS), quantize(model, CHANNELS).to(dtype)
    assert before(x).dtype == after(x).dtype == dtype
    exact = after.to(torch.float32).state_dict()
    assert all(
        torch.equal(exact[key], value)
        for key, value in quantize(model, CHANNELS).state_dict().items()
        if key.endswith(("_codes", "_scale"))
    )


def test_it_holds_one_byte_for_each_weight_and_the_parameters():
    small = quantize(nn.Linear(100, 10), CHANNELS)
    held = {name: value.numel() * value.element_size() for name, value in small.state_dict().items()}
    assert held == {"bias": 40, "weight_codes": 1000, "weight_scale": 40}
    lstm, x = sample("LSTM")
    lstm = quantize(lstm, CHANNELS)
    lstm(x)
    assert not [
        value
        for value in vars(lstm[0][0]).values()
        if isinstance(value, list) and any(isinstance(one, torch.Tensor) for one in value)
    ], "no decoded weight is kept"


def test_the_bias_can_be_trained_and_the_layer_says_what_it_is():
    layer = quantized_like(nn.Linear(6, 4), CHANNELS.quantize(torch.ones(4, 6)))
    layer(inputs(2, 6)).sum().backward()
    assert layer.bias.grad.tolist() == [2.0] * 4
    assert repr(layer).startswith(
        "QuantizedLinear(in_features=6, out_features=4, bias=True, Symmetric(bits=4"
    )
    assert "weight_hh_l0: Symmetric(bits=4" in repr(quantize(nn.GRU(2, 2), CHANNELS))


def test_hold_codes_works_in_place_and_knows_the_codes_of_every_weight():
    layer = nn.LSTMCell(3, 4)
    code = CHANNELS.quantize(layer.weight_ih)
    hold_codes(layer, "weight_ih", code)
    assert isinstance(layer, QuantizedLayer)
    assert list(layer.quantized_weights) == ["weight_ih"]
    assert layer.quantized.codes is code.codes
    assert torch.equal(layer.weight_ih, code.dequantize())
    assert "weight_hh" in dict(layer.named_parameters())


def test_quantized_like_leaves_the_layer_as_it_was():
    layer = nn.Linear(6, 4)
    twin = quantized_like(layer, CHANNELS.quantize(layer.weight))
    assert type(layer) is nn.Linear
    assert torch.equal(twin(inputs(5, 6)), F.linear(inputs(5, 6), twin.weight, layer.bias))
    assert twin.bias is not layer.bias


def test_replace_finds_dotted_names_and_keeps_the_mode():
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 4)), nn.Linear(4, 2))
    model[0].eval()
    replace(model, "0.0", nn.Identity())
    replace(model, "1", nn.Identity())
    assert [type(m) for m in (model[0][0], model[1])] == [nn.Identity, nn.Identity]
    assert (model[0][0].training, model[1].training) == (False, True)
