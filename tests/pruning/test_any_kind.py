"""Layers, inputs and tasks of every kind: no weight is left out in silence, and scores are explicit sums."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from compresslab import CompressionError, criteria, prune_neurons, prune_weights
from compresslab.models.inputs import call
from compresslab.pruning.patterns import Blocks, NofM
from compresslab.surgery.graph import graph_of
from compresslab.training.weights import weights_of


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


WORDS, MAPS = drawn(3, 5, 4), drawn(3, 4, 6)
KINDS = {
    "Conv1d": nn.Conv1d(4, 6, 3),
    "Conv3d": nn.Conv3d(2, 3, 2),
    "ConvTranspose1d": nn.ConvTranspose1d(4, 6, 3),
    "ConvTranspose2d": nn.ConvTranspose2d(2, 3, 2, groups=1),
    "Embedding": nn.Embedding(7, 4),
    "MultiheadAttention": nn.MultiheadAttention(4, 2),
    "LSTM": nn.LSTM(4, 3, num_layers=2, bidirectional=True),
    "GRU": nn.GRU(4, 3),
    "GRUCell": nn.GRUCell(4, 3),
    "Bilinear": nn.Bilinear(3, 2, 4),
}


def matrices(layer):
    """Every parameter with two axes or more: what must not be left out."""
    return {name: p for name, p in layer.named_parameters() if p.dim() > 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("criterion", [criteria.magnitude, criteria.Random(2)])
def test_the_share_covers_the_weights_of_every_kind_of_layer(kind, criterion):
    layer = KINDS[kind]
    pruned = prune_weights(nn.Sequential(layer), criterion, 0.75)[0]
    weights = matrices(pruned)
    assert sum(int((w == 0).sum()) for w in weights.values()) == round(
        0.75 * sum(w.numel() for w in weights.values())
    )
    for name, parameter in layer.named_parameters():
        stay = pruned.get_parameter(name) != 0 if name in weights else ...
        assert torch.equal(pruned.get_parameter(name)[stay], parameter[stay])
    if criterion is criteria.magnitude:
        order = torch.cat([w.detach().abs().flatten() for w in matrices(layer).values()]).sort().values
        least = order[round(0.75 * len(order))]
        assert all(((w.abs() >= least) | (w == 0)).all() for w in weights.values())


@pytest.mark.parametrize("pattern", [NofM(1, 2), Blocks(1, 18)])
def test_a_row_of_a_transposed_convolution_is_all_of_one_output(pattern):
    """Its weight has inputs first; the same weights in a convolution have outputs first."""
    back, there = nn.ConvTranspose2d(2, 5, 3), nn.Conv2d(2, 5, 3)
    there.weight.data = back.weight.data.transpose(0, 1).clone()
    share = None if isinstance(pattern, NofM) else 0.4
    pruned = [
        prune_weights(layer, criteria.magnitude, share, pattern=pattern).weight for layer in (back, there)
    ]
    assert torch.equal(pruned[0].transpose(0, 1), pruned[1])
    assert (pruned[1] == 0).any()


def test_a_neuron_of_a_transposed_convolution_has_the_mean_of_its_own_weights():
    """Two inputs and two outputs: a weight read the wrong way round would fit as well."""
    model = nn.Sequential(nn.ConvTranspose2d(2, 2, 1), nn.Conv2d(2, 2, 1))
    model[0].weight.data[:] = torch.tensor([[1.0, 0.1], [5.0, 0.1]])[..., None, None]
    small = prune_neurons(model, criteria.magnitude, 0.5, example=torch.zeros(1, 2, 3, 3))
    assert small[0].weight.flatten().tolist() == [1, 5]


def test_patterns_and_types_name_layers():
    def net():
        return nn.Sequential(
            nn.Sequential(nn.Conv1d(2, 4, 1), nn.Conv1d(4, 4, 1)), nn.Flatten(), nn.Linear(24, 5)
        )

    parts = {"0.*": 0.5, nn.Linear: 0.2}
    pruned = prune_weights(net(), criteria.magnitude, parts)
    assert [int((w == 0).sum()) for w in weights_of(pruned).values()] == [4, 8, 24]
    kept = prune_weights(net(), criteria.magnitude, 0.5, protect=(nn.Conv1d,))
    assert [int((w == 0).sum()) for w in weights_of(kept).values()] == [0, 0, 60]
    small = prune_neurons(
        net(), criteria.l2_norm, {"0.1": 0.25, nn.Conv1d: 0.5}, example=torch.zeros(1, 2, 6)
    )
    assert (small[0][0].out_channels, small[0][1].out_channels) == (2, 3)
    small = prune_neurons(net(), criteria.l2_norm, 0.5, protect=("0.0",), example=torch.zeros(1, 2, 6))
    assert (small[0][0].out_channels, small[0][1].out_channels) == (4, 2)
    with pytest.raises(CompressionError, match="encoder"):
        prune_weights(net(), criteria.magnitude, {"encoder.*": 0.5})


@pytest.mark.parametrize("per_layer", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_every_layer_keeps_a_multiple_rounded_up_or_all(share, per_layer):
    model = nn.Sequential(nn.Linear(3, 20), nn.Linear(20, 16), nn.Linear(16, 5), nn.Linear(5, 2))
    how = {"per_layer": per_layer, "minimum": 1, "example": torch.zeros(2, 3)}
    free, rounded = (prune_neurons(model, criteria.l2_norm, share, multiple=m, **how) for m in (None, 8))
    for before, plain, found in zip(model[:3], free[:3], rounded[:3], strict=True):
        up = -(-plain.out_features // 8) * 8
        assert found.out_features == min(up, before.out_features)
    rows = rounded[0].weight.tolist()
    assert all(row in rows for row in free[0].weight.tolist())  # what stays without rounding stays with it


# --- the scores that look at inputs


def test_activation_scores_of_attention_are_explicit_sums():
    """Set all of a weight to 0 and one place to 1: what then comes out is what that place read."""
    layer = nn.MultiheadAttention(4, 2, batch_first=True).double()
    query, key, value = drawn(3, 5, 4), drawn(3, 6, 4) * 2, drawn(3, 6, 4) * 3
    scores = criteria.activation(layer, [((query, key, value), None)])
    norms = torch.cat([x.flatten(0, 1).norm(dim=0).expand(4, 4) for x in (query, key, value)])
    assert torch.allclose(scores["in_proj_weight"], layer.in_proj_weight.abs() * norms, rtol=1e-12)
    weight = layer.out_proj.weight.detach().clone()
    layer.out_proj.bias.data.zero_()
    for place in range(16):
        layer.out_proj.weight.data.zero_().view(-1)[place] = 1
        norm = layer(query, key, value)[0].norm()
        assert torch.isclose(scores["out_proj"].view(-1)[place], weight.view(-1)[place].abs() * norm)


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_hook_of_attention_is_called_once_for_each_batch(hook):
    """What its last layer reads is found by running a twin, which calls nobody's hooks."""
    calls, layer = [], nn.MultiheadAttention(4, 2, batch_first=True)
    getattr(layer, hook)(lambda *seen: calls.append(len(seen)))
    criteria.activation(layer, [((drawn(3, 5, 4).float(),) * 3, None)] * 2)
    assert len(calls) == 2


@pytest.mark.parametrize("kind", ["Conv1d", "ConvTranspose1d"])
def test_activation_scores_in_one_dimension_are_explicit_sums(kind):
    layer = getattr(nn, kind)(4, 6, 3, stride=2, padding=1, groups=2, bias=False).double()
    scores, weight = criteria.activation(layer, MAPS)[""], layer.weight.detach().clone()
    for place in range(0, weight.numel(), 5):
        layer.weight.data.zero_().view(-1)[place] = 1
        assert torch.isclose(scores.view(-1)[place], weight.view(-1)[place].abs() * layer(MAPS).norm())


def test_activation_scores_of_a_table_count_its_tokens():
    tokens = torch.tensor([[0, 2, 2], [2, 1, 0]])
    layer = nn.Embedding(4, 3).double()
    scores = criteria.activation(layer, tokens)[""]
    counts = torch.tensor([2.0, 1.0, 3.0, 0.0], dtype=torch.float64)
    assert torch.allclose(scores, layer.weight.abs() * counts.sqrt()[:, None])


class Mixed(nn.Module):
    """A layer that runs, one that nothing needs, one whose weight a function reads, and a recurrent one."""

    def __init__(self):
        super().__init__()
        self.first, self.spare, self.hidden = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.gru = nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        return self.gru(functional.linear(self.first(x), self.hidden.weight))[0]


def test_what_nothing_depends_on_scores_zero_and_what_cannot_be_seen_is_named():
    model = Mixed().double()
    scores = criteria.activation(model, WORDS)
    assert set(scores) == {"first", "spare"}
    assert (scores["spare"] == 0).all()
    assert (scores["first"] > 0).all()
    with pytest.raises(CompressionError, match=r"no scores for layer 'hidden'.*protect=\('hidden',\)"):
        prune_weights(model, criteria.activation, 0.5, batches=WORDS)
    kept = ("hidden", "gru.*")
    pruned = prune_weights(model, criteria.activation, 0.5, batches=WORDS, protect=kept)
    assert (pruned.spare.weight == 0).all()


# --- inputs and tasks


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(12, 2)

    def forward(self, left, *, right):
        return {"found": self.head(torch.tanh(torch.cat([self.left(left), self.right(right)], 1)))}


def squares(model, inputs, targets):
    return (call(model, inputs)["found"] - targets).square().mean()


INPUTS, TARGETS = {"left": drawn(9, 4), "right": drawn(9, 3)}, drawn(9, 2)
SEEING = [criteria.mean_activation, criteria.apoz, criteria.activation_variance]
LEARNING = [criteria.taylor, criteria.mean_gradient, criteria.taylor_weights]


def by_parts(sizes):
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    return [
        ({k: v[a : a + n] for k, v in INPUTS.items()}, TARGETS[a : a + n])
        for a, n in zip(starts, sizes, strict=True)
    ]


@pytest.mark.parametrize("criterion", [*SEEING, *LEARNING, criteria.gradient, criteria.activation])
def test_criteria_look_at_inputs_by_keyword_and_ask_any_loss(criterion):
    model = Two().double().eval()
    how = {"objective": squares} if criterion in [*LEARNING, criteria.gradient] else {}
    whole, cut = (criterion(model, by_parts(sizes), **how) for sizes in ([9], [4, 5]))
    assert {"left", "right"} <= set(whole)
    assert all(torch.allclose(whole[n], cut[n], rtol=1e-9, atol=1e-14) for n in whole)  # doubles, summed anew
    given = prune_neurons(model, criterion, 0.5, batches=by_parts([4, 5]), objective=squares)
    assert [layer.out_features for layer in (given.left, given.right)] == [3, 3]
    assert call(given, INPUTS)["found"].shape == (9, 2)


def test_taylor_asks_the_loss_that_it_is_given():
    """The slope in a factor on one neuron, by differences: 1e-12 of curvature, 1e-10 of rounding are left."""
    model, step = Two().double().eval(), 1e-6
    scores = criteria.taylor(model, by_parts([9]), objective=squares)["left"]
    for neuron in range(6):
        losses = []
        for factor in (1 + step, 1 - step):
            hook = model.left.register_forward_hook(
                lambda _m, _i, out, f=factor, n=neuron: out * (1 + (f - 1) * (torch.arange(6) == n).double())
            )
            both = torch.tanh(torch.cat([model.left(INPUTS["left"]), model.right(INPUTS["right"])], 1))
            losses.append((model.head(both) - TARGETS).square().mean(1))
            hook.remove()
        expected = ((losses[0] - losses[1]) / (2 * step)).abs().mean()
        assert scores[neuron].item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-8)


def test_a_network_of_two_inputs_is_cut_to_a_budget_by_its_example_alone():
    model, free = Two().double(), graph_of(Two(), INPUTS).free
    assert [group.neurons for group in free] == [6, 6]
    small = prune_neurons(model, criteria.l2_norm, max_bytes=600, example=INPUTS)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
