"""The law of cutting on what engineers bring: attention, recurrence, several inputs, what has no rule."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from compresslab.errors import CompressionError
from compresslab.models.tracing import step_by_step
from compresslab.pruning import criteria
from compresslab.surgery.cutting import cut
from compresslab.surgery.graph import graph_of
from tests.drawn import Coded, redrawn
from tests.ignoring import law, some_gone


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def ready(model):
    return redrawn(model, 5).double().eval()


WORDS = drawn(3, 7, 6)  # sequences of 7 vectors


def between(layer, code=lambda net, x: net.layer(x), width=8):
    """A pair of layers, what is asked about, and another pair, over sequences."""
    parts = {"first": nn.Linear(6, 10), "second": nn.Linear(10, 8), "layer": layer}
    parts |= {"third": nn.Linear(width, 12), "last": nn.Linear(12, 3)}

    def forward(net, x):
        x = code(net, net.second(torch.tanh(net.first(x))))
        return net.last(torch.tanh(net.third(x)))

    return Coded(forward, **parts)


def transformer(**how):
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **how)


class Attention(nn.Module):
    """Attention as it is written by hand, one projection for all three."""

    def __init__(self, mix, by_width=True):
        super().__init__()
        self.project, self.mix, self.out, self.by_width = nn.Linear(8, 24), mix, nn.Linear(8, 8), by_width

    def forward(self, x):
        batch, length, width = x.shape if self.by_width else (x.size(0), x.size(1), 8)
        parts = self.project(x).reshape(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        mixed = self.mix(query, key, value)
        return x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))


def by_products(query, key, value):
    return functional.softmax(query @ key.transpose(-2, -1) / 2, -1) @ value


def by_sums(query, key, value):
    shares = torch.einsum("bhqd,bhkd->bhqk", query, key).softmax(-1)
    return torch.einsum("bhqk,bhkd->bhqd", shares, value)


def read(net, x):
    return net.layer(x)[0]


# the layer, how it is called, what it gives; the layers that are cut beside ``first`` and ``third``
SEQUENCES = {
    "transformer": (transformer(), None, 8, {"layer.linear1"}),
    "norm first, gelu": (transformer(norm_first=True, activation="gelu"), None, 8, {"layer.linear1"}),
    "stack": (
        nn.TransformerEncoder(transformer(), 2),
        None,
        8,
        {f"layer.layers.{i}.linear1" for i in (0, 1)},
    ),
    "attention": (nn.MultiheadAttention(8, 2, batch_first=True), lambda n, x: n.layer(x, x, x)[0], 8, set()),
    "by hand": (Attention(by_products), None, 8, set()),
    "by hand, fused": (Attention(functional.scaled_dot_product_attention), None, 8, set()),
    "by hand, in sums": (Attention(by_sums), None, 8, set()),
    "by hand, widths in the code": (Attention(by_products, False), None, 8, {"second", "layer.out"}),
    "lstm": (nn.LSTM(8, 5, bidirectional=True, batch_first=True), read, 10, set()),
    "gru": (nn.GRU(8, 5, batch_first=True), read, 5, set()),
    "repeated": (nn.Linear(8, 8), lambda net, x: net.layer(net.layer(x)), 8, set()),
    "along": (nn.Linear(7, 7), lambda net, x: net.layer(x.transpose(1, 2)).transpose(1, 2), 8, set()),
    "bilinear": (nn.Bilinear(8, 8, 6), lambda net, x: net.layer(x, x), 6, set()),
    "gate": (nn.GLU(), None, 4, {"second"}),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_law_around_what_reads_sequences(name):
    layer, code, width, also = SEQUENCES[name]
    model = ready(between(layer, code or (lambda net, x: net.layer(x)), width))
    free = {layer for group in graph_of(model, WORDS).free for layer in group.layers}
    assert free == {"first", "third"} | also
    law(model, WORDS, 1e-9, far=1e-6)


def doubled():
    return nn.Upsample(scale_factor=2)


MAPS = {
    "pixel shuffle": nn.PixelShuffle(2),
    "pixel unshuffle": nn.Sequential(doubled(), nn.PixelUnshuffle(2)),
    "channel shuffle": nn.ChannelShuffle(4),
    "unflatten": nn.Sequential(nn.Unflatten(1, (2, 4)), nn.Flatten(1, 2)),
    "gate": nn.GLU(1),
    "local response": nn.LocalResponseNorm(3),
    "fold": nn.Sequential(nn.Flatten(2), nn.Fold(3, 2)),
    "transposed in groups": nn.ConvTranspose2d(8, 4, 1, groups=2),
    "softmax of places": nn.Softmax2d(),
}
FOLLOWED = {"pixel shuffle", "pixel unshuffle", "gate"}


@pytest.mark.parametrize("name", MAPS)
def test_the_law_around_what_reads_maps(name):
    images, middle = drawn(4, 2, 2, 2), MAPS[name]
    shape = middle.double()(torch.zeros(1, 8, 2, 2, dtype=torch.float64)).shape
    layers = [nn.Conv2d(2, 6, 1), nn.Tanh(), nn.Conv2d(6, 8, 1), middle]
    model = ready(nn.Sequential(*layers, nn.Conv2d(shape[1], 6, 1), nn.Tanh(), nn.Conv2d(6, 3, 1)))
    free = {layer for group in graph_of(model, images).free for layer in group.layers}
    assert free == {"0", "4"} | ({"2"} if name in FOLLOWED else set())
    law(model, images, 1e-9, far=1e-6)


class Squeezed(nn.Module):
    """Channels weighted by what each says on average, shaped as its first author's code shapes it."""

    def __init__(self):
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(2, 8, 1), nn.Linear(8, 4), nn.Linear(4, 8)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.conv(x)
        batch, channels, _, _ = x.size()
        means = functional.adaptive_avg_pool2d(x, 1).view(batch, channels)
        gates = self.up(self.down(means).relu()).sigmoid().view(batch, channels, 1, 1)
        return self.last(x * gates.expand_as(x))


def test_a_number_of_channels_that_shapes_others_ties_them():
    graph = graph_of(ready(Squeezed()), drawn(3, 2, 4, 4))
    assert [group.layers for group in graph.free] == [("conv", "up"), ("down",)]
    law(ready(Squeezed()), drawn(3, 2, 4, 4), 1e-9, far=1e-6)


class Two(nn.Module):
    """Two inputs, of which the second is an option, and an answer under a name."""

    def __init__(self):
        super().__init__()
        self.image, self.facts, self.head = nn.Conv2d(1, 6, 3), nn.Linear(5, 8), nn.Linear(14, 3)

    def forward(self, image, scale=None, *, facts):
        seen = self.image(image).mean((2, 3))
        if scale is not None:
            seen = seen * scale
        return {"answer": self.head(torch.cat([seen, torch.relu(self.facts(facts))], 1))}


IMAGE, FACTS = drawn(3, 1, 5, 5), drawn(3, 5)


@pytest.mark.parametrize(
    "inputs",
    [
        {"facts": FACTS, "image": IMAGE},
        {"facts": FACTS, "image": IMAGE, "scale": None},
        {"facts": FACTS, "image": IMAGE, "scale": 2.0},
        {"facts": FACTS, "image": IMAGE, "scale": drawn(3, 1)},
    ],
)
def test_the_law_with_inputs_by_keyword(inputs):
    graph = graph_of(ready(Two()), inputs)
    assert [group.layers for group in graph.free] == [("image",), ("facts",)]
    law(ready(Two()), inputs, 1e-9, far=1e-6)


def test_the_law_with_inputs_in_order():
    """Torch's decoder layer reads two sequences of different lengths; its mask has an axis of its own."""
    model, memory = ready(nn.TransformerDecoderLayer(6, 2, 16, batch_first=True)), drawn(3, 5, 6)
    for inputs in ((WORDS, memory), [WORDS, memory], {"memory": memory, "tgt": WORDS}):
        assert [group.layers for group in graph_of(model, inputs).free] == [("linear1",)]
        small = law(model, inputs, 1e-9, far=1e-6)
        assert small.linear2.in_features == 8


PADDED = torch.arange(7).expand(3, 7) > torch.tensor([[6], [4], [2]])  # true where a sequence has ended
LATER = torch.ones(7, 7).triu(1).bool()
MASKS = {
    "padding": {"padding": PADDED},
    "of booleans": {"mask": LATER},
    "of floats": {"mask": nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64)},
    "both": {"mask": LATER, "padding": PADDED},
    "as long as the batch": {"x": drawn(7, 7, 6), "mask": LATER},
    "none": {},
}


class Masked(nn.Module):
    """Torch's encoder, told which places to leave out."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.stack = nn.TransformerEncoder(transformer(), 2)

    def forward(self, x, mask=None, padding=None):
        return self.last(self.stack(self.first(x), mask=mask, src_key_padding_mask=padding))


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_no_hindrance(name):
    """Torch's layers look at the values of their masks, to run faster; tracing does not ask for that."""
    model, inputs = ready(Masked()), {"x": WORDS} | MASKS[name]
    graph = graph_of(model, inputs)
    assert [group.layers for group in graph.free] == [(f"stack.layers.{i}.linear1",) for i in (0, 1)]
    with step_by_step():  # the judge's hooks cannot read the nested tensors of torch's own shortcut
        law(model, inputs, 1e-9, far=1e-6)
    for criterion in (criteria.activation, criteria.mean_activation):
        if len(inputs["x"]) == 7:  # one example of this batch cannot be told from one row of its mask
            break
        scores = criterion(model, [inputs])
        assert all(float(scores[f"stack.layers.{i}.linear1"].sum()) > 0 for i in (0, 1))


def test_a_mask_that_the_code_makes_is_no_hindrance():
    code = lambda net, x: net.layer(x, src_mask=torch.zeros(7, 7, dtype=torch.bool))  # noqa: E731
    model = ready(between(transformer(), code))
    graph = graph_of(model, WORDS)
    assert {layer for group in graph.free for layer in group.layers} == {"first", "third", "layer.linear1"}
    law(model, WORDS, 1e-9, far=1e-6)


def test_tracing_leaves_torch_s_fast_paths_as_they_were():
    from torch.backends import mha
    from torch.nn.modules import transformer as module

    def asked():
        inside = (module._get_seq_len, module._detect_is_causal_mask)
        return mha.get_fastpath_enabled(), *inside, functional._none_or_dtype, functional._canonical_mask

    before = asked()
    graph_of(ready(between(transformer())), WORDS)
    with pytest.raises(CompressionError):
        graph_of(ready(between(transformer(), lambda net, x: net.layer(x) if x.sum() > 0 else x)), WORDS)
    assert asked() == before


def test_tokens_go_in_and_a_table_that_is_also_the_last_layer_is_held():
    table = nn.Embedding(11, 6)
    code = lambda net, x: net.head(net.narrow(torch.tanh(net.wide(net.table(x)))))  # noqa: E731
    model = Coded(code, table=table, wide=nn.Linear(6, 10), narrow=nn.Linear(10, 6), head=nn.Linear(6, 11))
    model.head.weight = table.weight
    tokens = torch.arange(12).view(3, 4) % 11
    graph = graph_of(ready(model), tokens)
    assert [group.layers for group in graph.free] == [("wide",)]
    assert "head.weight is shared" in {group.layers: group.held for group in graph.groups}["narrow",]
    small = cut(model, graph, some_gone(graph, 0.5), tokens)
    assert small.head.weight is small.table.weight
    law(model, tokens, 1e-9, far=1e-6)
