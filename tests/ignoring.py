"""The network in which every reader ignores the neurons that are cut, made without the package's graph.

The rows of the neurons that go are filled with NaN. What follows from them is NaN by the laws of arithmetic,
through norms, activations, pooling, additions, concatenation and flatten, wherever the channels move to; a
layer that reads channels sees zeros where they are NaN. So this finds by itself where each neuron is read.
"""

import copy

import torch
from torch import nn

from compresslab.models.inputs import call
from compresslab.surgery.cutting import cut
from compresslab.surgery.graph import graph_of

READERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


def rows_gone(graph, gone):
    """For each layer a mask over its outputs, from masks over the neurons of each group."""
    pairs = zip(graph.groups, gone, strict=True)
    roots = {root for group, mask in pairs for root in group.roots[mask.numpy()]}
    return {
        layer: torch.tensor([int(graph.roots[unit]) in roots for unit in units])
        for layer, units in graph.units.layers.items()
    }


def ignoring(model, rows):
    """A copy in which the marked rows of each layer are ignored by whatever reads them."""
    twin = copy.deepcopy(model).eval()
    for name, module in twin.named_modules():
        if name in rows:
            _fill(module, rows[name])
        if isinstance(module, READERS) and getattr(module, "groups", 1) == 1:
            module.register_forward_pre_hook(_read_zeros)
        if isinstance(module, nn.LayerNorm) or getattr(module, "num_groups", 0) == 1:
            module.register_forward_hook(_normalise_the_rest)
    return twin


def _fill(module, marked):
    with torch.no_grad():
        axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
        module.weight.transpose(0, axis)[marked] = torch.nan
        if module.bias is not None:
            module.bias[marked] = torch.nan


def _channels(values, axis):
    """Which channels are NaN; they must be so everywhere or nowhere."""
    nan = values.isnan().movedim(axis, 0).flatten(1)
    assert torch.equal(nan.any(1), nan.all(1)), "a channel is NaN in part"
    return nan.any(1)


def _read_zeros(module, inputs):
    _channels(inputs[0], -1 if isinstance(module, nn.Linear) else 1)
    return (inputs[0].nan_to_num(nan=0.0),)


def _normalise_the_rest(module, inputs, output):
    x = inputs[0]
    axis = 1 if isinstance(module, nn.GroupNorm) or "2d" in type(module).__name__ else x.dim() - 1
    gone = _channels(x, axis)
    if not gone.any():
        return output
    rest = x.movedim(axis, -1)[..., ~gone]
    dims = tuple(range(1, x.dim())) if isinstance(module, nn.GroupNorm) else -1
    variance, mean = torch.var_mean(rest, dims, correction=0, keepdim=True)
    result = torch.full_like(x, torch.nan).movedim(axis, -1).clone()
    result[..., ~gone] = (rest - mean) / (variance + module.eps).sqrt()
    if module.weight is not None:
        result = result * module.weight + module.bias
    return result.movedim(-1, axis)


def some_gone(graph, share, seed=0):
    """Masks that mark this share of every group that can be cut, drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    masks = []
    for group in graph.groups:
        count = 0 if group.held else min(round(share * group.neurons), group.neurons - 1)
        mask = torch.zeros(group.neurons, dtype=torch.bool)
        mask[torch.randperm(group.neurons, generator=generator)[:count]] = True
        masks.append(mask)
    return masks


def calibrated(model, images):
    """Give norms statistics of what passes, and scales and shifts that are not the fresh ones; evaluate."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
            module.momentum = 0.5
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, 0, 0.2, generator=generator)
    model.train()
    with torch.no_grad():
        for part in images.split(len(images) // 2):
            model(part)
    return model.eval()


def answers(model, inputs):
    """What a network says, of a dictionary its first entry."""
    with torch.no_grad():
        found = call(model, inputs)
    return next(iter(found.values())) if isinstance(found, dict) else found


def difference(left, right):
    """The largest difference of two outputs, relative to the size of the second."""
    assert left.shape == right.shape
    return float((left - right).abs().max() / right.abs().max())


def law(model, images, near, share=0.5, seed=0, far=0.0):
    """Cut this share of every group; hold the result against the network that ignores it.

    ``near`` bounds how far they may be apart, ``far`` how little the cut may change at least.
    """
    graph = graph_of(model, images)
    gone = some_gone(graph, share, seed)
    small = cut(model, graph, gone, images)
    expected = answers(ignoring(model, rows_gone(graph, gone)), images)
    assert not expected.isnan().any()
    assert difference(answers(small, images), expected) < near
    assert difference(answers(model, images), expected) >= far, "the cut changed nothing"
    return small
