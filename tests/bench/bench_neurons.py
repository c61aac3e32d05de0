"""Score, follow and cut neurons: ratios in one run, on one thread.

    python tests/bench/bench_neurons.py

Scoring the 5,000 digits on the article's network is held against a plain forward pass in the same batches;
graph and cut of resnet50 against Torch-Pruning doing the same, which needs ``pip install torch-pruning``; the
article's network with a quarter of its hidden neurons against the whole one, at batch 64. Processor time, the
median of the runs taken in turns. Exits with 1 below a mark. Takes two minutes.
"""

import copy
import sys
from functools import partial
from statistics import median

import torch
import torchvision
from timing import interleaved

from compresslab import criteria, data, models, prune_neurons
from compresslab.surgery.cutting import cut
from compresslab.surgery.graph import graph_of
from compresslab.training.batching import Split

AT_ONCE, SIDE = 64, 64
MARKS = {"activation": 0.8, "Taylor": 0.2, "resnet50": 3.0, "a quarter": 3.0}


def digits() -> Split:
    sets = data.digits()
    parts = (sets.train, sets.validation, sets.test)
    return Split(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


@torch.no_grad()
def forward(model: torch.nn.Module, images: torch.Tensor) -> None:
    for part in images.split(AT_ONCE):
        model(part)


def ours(model: torch.nn.Module, image: torch.Tensor) -> None:
    """Find the groups and cut the smaller half of each."""
    prune_neurons(model, criteria.l1_norm, 0.5, example=image)


def graph_and_cut(model: torch.nn.Module, image: torch.Tensor) -> None:
    """Do so without a criterion: every second neuron goes."""
    graph = graph_of(model, image)
    gone = [torch.arange(group.neurons) % 2 == (group.held is not None) * 2 + 1 for group in graph.groups]
    cut(model, graph, gone, image)


def theirs(model: torch.nn.Module, image: torch.Tensor) -> None:
    import torch_pruning

    model = copy.deepcopy(model)  # it prunes in place
    norm = torch_pruning.importance.MagnitudeImportance(p=1)
    torch_pruning.pruner.MagnitudePruner(
        model, image, importance=norm, pruning_ratio=0.5, ignored_layers=[model.fc]
    ).step()


def main() -> int:
    torch.set_num_threads(1)
    images, net = digits(), models.article().eval()
    ways = [
        partial(forward, net, images.images),
        partial(criteria.mean_activation, net, images),
        partial(criteria.taylor, net, images),
    ]
    plain, seen, learned = map(median, interleaved(5, *ways))
    ratios = {"activation": plain / seen, "Taylor": plain / learned}
    quarter = prune_neurons(net, criteria.l2_norm, 0.75)
    batch = images.images[:64]
    with torch.no_grad():
        whole, thin = map(median, interleaved(30, partial(net, batch), partial(quarter, batch)))
    ratios["a quarter"] = whole / thin
    try:
        import torch_pruning  # noqa: F401
    except ImportError:
        print("torch-pruning is not installed; resnet50 is left out")
    else:
        large, image = torchvision.models.resnet50(weights=None).eval(), torch.zeros(1, 3, SIDE, SIDE)
        ways = [partial(way, large, image) for way in (theirs, graph_and_cut, ours)]
        other, plain_cut, verb = map(median, interleaved(5, *ways))
        ratios["resnet50"] = other / plain_cut
        print(
            f"resnet50: Torch-Pruning {1000 * other:.0f} ms, graph and cut {1000 * plain_cut:.0f} ms, ",
            end="",
        )
        print(f"prune_neurons {1000 * verb:.0f} ms")
    for name, ratio in ratios.items():
        print(f"{name:10} {ratio:6.2f} times as fast, mark {MARKS[name]}")
    return int(any(ratio < MARKS[name] for name, ratio in ratios.items()))


if __name__ == "__main__":
    sys.exit(main())
