"""Networks drawn by Hypothesis: chains, additions, concatenation, groups, norms, pooling, flatten.

And ``Coded``, for networks that a test writes down in one line.
"""

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

ACTIVATIONS = [nn.ReLU(), nn.Tanh(), nn.Identity(), nn.SiLU()]


class Coded(nn.Module):
    """Layers and parameters under names, and a function of the network and its images that uses them."""

    def __init__(self, code, **parts):
        super().__init__()
        self.code = code
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.code(self, x)


class Drawn(nn.Module):
    """Runs a plan: each step makes a new tensor from tensors made before."""

    def __init__(self, steps, layers, end, head):
        super().__init__()
        self.steps, self.layers, self.end, self.head = steps, nn.ModuleDict(layers), end, head

    def forward(self, images):
        made = [images]
        for what, name, sources in self.steps:
            made.append(self.run(what, name, [made[source] for source in sources]))
        return self.head(ENDS[self.end](made[-1]))

    def run(self, what, name, inputs):
        first, last = inputs[0], inputs[-1]
        if what == "layer":
            return self.layers[name](first)
        if what == "add":
            return functional.relu(first + last)
        if what == "times":
            return first * torch.sigmoid(last.mean((2, 3), keepdim=True))
        if what == "shuffle":
            b, c, h, w = first.shape
            return first.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, -1, h, w)
        if what == "halves":
            left, right = first.chunk(2, dim=1)
            return left - right
        return torch.cat(inputs, 1)


ENDS = {
    "flatten": lambda maps: torch.flatten(maps, 1),
    "view": lambda maps: maps.view(maps.size(0), -1),
    "pool": lambda maps: functional.adaptive_avg_pool2d(maps, 1).flatten(1),
    "mean": lambda maps: functional.max_pool2d(maps, 2).mean([2, 3]),
}


def layer(draw, inputs):
    """Draw a convolution with or without a norm and an activation, and its width."""
    kind = draw(st.sampled_from(["full", "full", "full", "depthwise", "groups", "transposed"]))
    width, side = draw(st.integers(1, 6)), draw(st.sampled_from([1, 3]))
    settings = {"kernel_size": side, "padding": side // 2, "bias": draw(st.booleans())}
    if kind == "depthwise":
        width = inputs * draw(st.integers(1, 2))
        module = nn.Conv2d(inputs, width, groups=inputs, **settings)
    elif kind == "groups" and inputs % 2 == 0:
        width *= 2
        module = nn.Conv2d(inputs, width, groups=2, **settings)
    elif kind == "transposed":
        module = nn.ConvTranspose2d(inputs, width, **settings)
    else:
        module = nn.Conv2d(inputs, width, **settings)
    norm = draw(st.sampled_from(["batch", "batch", "none", "group", "instance", "all", "slopes"]))
    norms = {
        "batch": nn.BatchNorm2d(width),
        "none": nn.Identity(),
        "group": nn.GroupNorm(width // 2 if width % 2 == 0 else width, width),
        "instance": nn.InstanceNorm2d(width, affine=True, track_running_stats=draw(st.booleans())),
        "all": nn.GroupNorm(1, width),
        "slopes": nn.PReLU(width),
    }
    return nn.Sequential(module, norms[norm], draw(st.sampled_from(ACTIVATIONS))), width


@st.composite
def networks(draw):
    """Draw a network in doubles for images of 2 channels, 4 x 4."""
    widths, steps, layers = [2], [], {}
    for number in range(draw(st.integers(2, 8))):
        source = draw(st.integers(max(0, len(widths) - 3), len(widths) - 1))
        twins = [i for i, width in enumerate(widths) if width == widths[source] and i != source]
        what = draw(st.sampled_from(["layer", "layer", "layer", "add", "cat", "times", "shuffle", "halves"]))
        sources = (source,)
        if what in ("add", "times") and twins:
            sources, width = (source, draw(st.sampled_from(twins))), widths[source]
        elif what == "cat":
            sources = (source, draw(st.integers(0, len(widths) - 1)))
            width = widths[sources[0]] + widths[sources[1]]
        elif what in ("shuffle", "halves") and widths[source] % 2 == 0:
            width = widths[source] // (2 if what == "halves" else 1)
        else:
            what = "layer"
            layers[f"l{number}"], width = layer(draw, widths[source])
        steps.append((what, f"l{number}", sources))
        widths.append(width)
    end = draw(st.sampled_from([*ENDS]))
    features = widths[-1] * (16 if end in ("flatten", "view") else 1)
    hidden = draw(st.integers(2, 6))
    norm = draw(st.sampled_from([nn.Identity(), nn.LayerNorm(hidden), nn.BatchNorm1d(hidden)]))
    head = nn.Sequential(nn.Linear(features, hidden), norm, nn.ReLU(), nn.Dropout(), nn.Linear(hidden, 3))
    model = Drawn(steps, layers, end, head)
    return redrawn(model, draw(st.integers(0, 1000))).double()


def redrawn(model, seed):
    """Draw all parameters again, from a seed, so that nothing is 0 or 1 by custom."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, 0.7, generator=generator)
    return model
