"""What a state dict alone does not say comes back too: ties of tensors, and the grids of integer networks."""

import copy
import struct

import pytest
import torch
from samples import images, network, put_together, quantized, same, stranger, take_apart
from torch import nn

from compresslab.errors import CompressionError, FormatError
from compresslab.integers.network import quantize_activations
from compresslab.quantization.granularity import PerChannel
from compresslab.quantization.layers import quantized_like
from compresslab.quantization.quantizing import quantize
from compresslab.quantization.uniform import Symmetric
from compresslab.storage.container import contents, decode, encode
from compresslab.storage.header import HEADER_COST


class Tied(nn.Module):
    """A language model's ends: one table reads the words in and out; one norm stands in two places."""

    def __init__(self, seed=0, tie=True):
        super().__init__()
        torch.manual_seed(seed)
        self.words, self.out = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
        self.norm = nn.LayerNorm(5)
        self.again = self.norm if tie else nn.LayerNorm(5)
        if tie:
            self.out.weight = self.words.weight

    def forward(self, words):
        return self.out(self.again(self.norm(self.words(words)).relu()))


WORDS = torch.arange(7)[None]


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("tie", [True, False])
def test_a_tie_takes_one_copy_and_is_kept(plain, tie):
    """Also where the module that is given has none: what the file calls one tensor becomes one."""
    data, parts = encode(Tied(), plain=plain)
    again = decode(data, into=Tied(1, tie))
    assert again.out.weight is again.words.weight
    assert again.again.bias is again.norm.bias
    assert torch.equal(again(WORDS), Tied()(WORDS))
    assert parts["weights"] + parts["biases"] == 4 * (7 * 5 + 2 * 5)
    assert sum(parts.values()) == len(data)
    assert [e.same for e in contents(data)] == [None, 0, None, None, 2, 3]
    assert encode(again, plain=plain)[0] == data


def test_a_layer_of_codes_in_two_places_is_written_once():
    layer = nn.Linear(4, 4)
    twin = quantized_like(layer, Symmetric(4).quantize(layer.weight))
    model = nn.Sequential(twin, nn.ReLU(), twin).eval()
    data, parts = encode(model, plain=True)
    assert parts["codes"] == 8
    again = decode(data, into=nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)))
    assert same(again, model)
    assert again[2].weight_codes is again[0].weight_codes
    assert again[2].bias is again[0].bias


def test_a_tie_of_the_module_that_the_file_has_not_is_refused():
    before = (into := Tied()).out.weight
    with pytest.raises(
        CompressionError, match=r"words.weight and out.weight are one tensor in the module, two in"
    ):
        decode(encode(Tied(tie=False))[0], into=into)
    assert into.out.weight is before is into.words.weight


def integers(name="residual", bits=None, between=8):
    model = network(name) if bits is None else quantized(network(name), Symmetric(bits, PerChannel()))
    return quantize_activations(model, [images()], bits=between)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    ("name", "bits", "between"),
    [
        ("article", None, 8),
        ("lenet_300_100", 3, 8),
        ("lenet5", 4, 4),
        ("residual", None, 8),
        ("residual", None, 3),
    ],
)
def test_an_integer_network_of_the_book_comes_back_without_being_given(name, bits, between, plain):
    model = integers(name, bits, between)
    data, parts = encode(model, plain=plain)
    again = decode(data)
    inputs = 3 * images() - 1  # some beyond the grids' ends
    assert torch.equal(again(inputs), model(inputs))
    assert encode(again, plain=plain)[0] == data == encode(copy.deepcopy(again), plain=plain)[0]
    assert sum(parts.values()) == len(data)
    if bits and plain:
        codes = sum(value.numel() for key, value in model.state_dict().items() if key.endswith("codes"))
        assert parts["codes"] <= codes * bits / 8 + 3


@pytest.mark.parametrize("plain", [True, False])
def test_an_integer_layer_of_zeros_comes_back(plain):
    """Its codes would fit one bit, and no grid has so few."""
    model = network()
    nn.init.zeros_(model.conv2.weight)
    model = quantize_activations(model, [images()])
    assert not model.conv2.codes.any()
    assert torch.equal(decode(encode(model, plain=plain)[0])(images()), model(images()))


def test_what_a_conversion_takes_counts_for_the_limit_to_the_byte():
    """Before the codes are there, floats of the network and copies of them are: 20 bytes for each number."""
    data, _ = encode(integers("article"))
    entries, (length,) = contents(data), struct.unpack_from("<I", data, 6)
    beside = HEADER_COST * length + max(entry.bytes_to_read for entry in entries)
    needed = beside + sum(entry.bytes_in_memory + 20 * entry.count for entry in entries)
    with pytest.raises(FormatError, match=f"needs {needed:,} bytes, more than the limit"):
        decode(data, max_bytes=needed - 1)
    assert torch.equal(decode(data, max_bytes=needed)(images()), integers("article")(images()))


def test_another_integer_network_needs_the_one_that_was_converted():
    def made(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 3, 5), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 24 * 24, 4)).eval()

    model = quantize_activations(made(0), [images()])
    data, _ = encode(model)
    with pytest.raises(CompressionError, match="build that module, in floats"):
        decode(data)
    into = made(1)
    before = copy.deepcopy(into)
    assert torch.equal(decode(data, into=into)(images()), model(images()))
    assert same(into, before)
    with pytest.raises(CompressionError, match=r"has no tensor|in the file"):
        decode(data, into=network("lenet5"))


LIES = {
    "is no grid: a scale of -1": ("quantize_input.grid", [-1.0, 0.0]),
    "a zero point of 4, 3 bits": ("add.left", [1.0, 4.0, 3.0]),
    "a zero point of 0, 9 bits": ("add.right", [1.0, 0.0, 9.0]),
    "a zero point of 0, 2.5 bits": ("add.target", [1.0, 0.0, 2.5]),
    "is no grid: a scale of nan": ("add.left", [float("nan"), 0.0]),
    "a zero point of 0.5": ("relu1.grid", [1.0, 0.5]),
    "a zero point of 128": ("fc1.source", [1.0, 128.0]),
    "shifts by 0 to": ("conv1.shift", [0, 5, 5]),
}


@pytest.mark.parametrize("message", LIES)
def test_numbers_that_no_conversion_gives_are_refused(message):
    name, wrong = LIES[message]
    header, payload = take_apart(encode(integers(between=8 if len(wrong) < 3 else 4), plain=True)[0])
    entries, start = contents(put_together(header, payload)), 0
    for entry in entries:
        if entry.name == name:
            value = torch.tensor(wrong, dtype=entry.dtype)
            new = value.numpy().tobytes()
            payload = payload[:start] + new + payload[start + len(new) :]
        start += entry.bytes_in_file
    with pytest.raises(FormatError, match=message):
        decode(put_together(header, payload))


KINDS = {
    "1-D": (nn.Conv1d(2, 3, 3), (1, 2, 9)),
    "3-D": (nn.Conv3d(1, 2, 2), (1, 1, 4, 4, 4)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3), (1, 2, 5, 5)),
    "recurrent": (nn.LSTM(4, 3, bidirectional=True), (5, 1, 4)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_every_kind_come_back_with_their_codes(kind):
    layer, shape = KINDS[kind]
    model = quantize(nn.Sequential(copy.deepcopy(layer)), Symmetric(4, PerChannel())).eval()
    inputs = torch.rand(shape)
    again = decode(encode(model)[0], into=nn.Sequential(copy.deepcopy(layer)))
    assert same(again, model)
    wanted, found = model(inputs), again(inputs)
    assert all(map(torch.equal, *([x] if torch.is_tensor(x) else x[:1] for x in (wanted, found))))


class Heads(nn.Module):
    """What it reads no one can guess."""

    def __init__(self, width=6, buffer=False):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.up, self.down = nn.Embedding(9, 4), nn.Linear(4, width), nn.Linear(width, 2)
        if buffer:
            self.register_buffer("gain", torch.ones(width), persistent=False)

    def forward(self, words):
        hidden = self.up(self.words(words))
        return self.down(hidden * self.gain if "gain" in self._buffers else hidden)


def test_other_widths_are_tried_on_what_the_module_reads_or_refused():
    data, words = encode(Heads(3))[0], torch.arange(9)[None]
    into = Heads(6)
    before = copy.deepcopy(into)
    with pytest.raises(CompressionError, match="example=inputs"):
        decode(data, into=into)
    assert same(into, before)
    assert torch.equal(into(words), before(words))
    again = decode(data, into=into, example=words)
    assert torch.equal(again(words), Heads(3).eval()(words))


def test_layers_that_cannot_run_together_leave_the_module_as_it_was():
    broken = Heads(3)
    broken.down = nn.Linear(5, 2)
    into = Heads(6)
    before = copy.deepcopy(into)
    with pytest.raises(CompressionError, match="do not fit each other"):
        decode(encode(broken)[0], into=into, example=torch.arange(9)[None])
    assert same(into, before)


def test_a_buffer_that_no_file_holds_keeps_a_cut_network_out():
    into = Heads(6, buffer=True)
    before = copy.deepcopy(into)
    with pytest.raises(CompressionError, match="do not fit each other"):
        decode(encode(Heads(3, buffer=True))[0], into=into, example=torch.arange(9)[None])
    assert same(into, before)
    assert into.up.out_features == 6


def test_a_layer_that_a_plain_list_also_holds_is_the_one_that_is_filled():
    class Listed(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.layers = nn.ModuleList(stranger(seed))
            self.steps = [*self.layers]

        def forward(self, x):
            for step in self.steps:
                x = step(x)
            return x

    for model in (Listed(0).eval(), quantize(Listed(0), Symmetric(4)).eval()):
        again = decode(encode(model)[0], into=Listed(1))
        assert torch.equal(again(images()), model(images()))
