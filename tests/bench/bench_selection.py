"""Choose the 90 million smallest of 100 million scores against torch, ratios in one run.

    python tests/bench/bench_selection.py

Each way runs in a process of its own, on one thread, one after the other, on the same scores; processor
time is counted, the least of its runs. Peak extra memory is how far the process grew above what it held
before, scores or weights included there. Ours and topk are given the scores; global_unstructured and
prune_weights are given ten layers and make the scores from their weights. Exits with 1 below a mark. Needs
4 GB and about a minute.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import prune

from compresslab import criteria, prune_weights
from compresslab.pruning.selection import smallest

LAYERS, SIDE = 10, (2500, 4000)
TOTAL = LAYERS * SIDE[0] * SIDE[1]
COUNT = 9 * TOTAL // 10
RUNS = {"smallest": 5, "prune_weights": 3, "topk": 2, "global_unstructured": 1}
FASTER = {"topk": 8.0, "global_unstructured": 30.0}
MEMORY = 0.5


def network() -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Linear(SIDE[1], SIDE[0], bias=False, device="meta") for _ in range(LAYERS)]
    for layer in layers:
        layer.weight = nn.Parameter(torch.randn(SIDE, generator=generator), requires_grad=False)
    return nn.Sequential(*layers)


def by_torch(model: nn.Sequential) -> None:
    layers = [(layer, "weight") for layer in model]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=COUNT)


def ways() -> dict[str, Callable[[], Callable[[], object]]]:
    """Return for each way what makes its input and gives the call to time."""

    def scores() -> list[torch.Tensor]:
        return [layer.weight.abs() for layer in network()]

    def ours() -> Callable[[], object]:
        values = scores()
        return lambda: smallest(values, COUNT)

    def topk() -> Callable[[], object]:
        values = torch.cat([score.flatten() for score in scores()])
        return lambda: torch.topk(values, COUNT, largest=False, sorted=False)

    def verb() -> Callable[[], object]:
        model = network()
        return lambda: prune_weights(model, criteria.magnitude, COUNT / TOTAL)

    def unstructured() -> Callable[[], object]:
        model = network()
        return lambda: by_torch(model)

    return {"smallest": ours, "prune_weights": verb, "topk": topk, "global_unstructured": unstructured}


def held() -> int:
    """Return the bytes this process holds now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(name: str) -> dict[str, float]:
    """Time one way in this process."""
    torch.set_num_threads(1)
    call = ways()[name]()
    room = torch.empty(0)
    before, reached = held(), peak()
    if reached > before:  # making the input took more: fill up to there, so that growth shows
        room = torch.ones((reached - before) // 4)
        before = held()
    seconds = []
    for _ in range(RUNS[name]):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    del room
    return {"seconds": min(seconds), "bytes": max(0, peak() - before)}


def check() -> None:
    """See that ours marks the values that topk finds, on a part; of equal ones topk may take others."""
    scores = network()[0].weight.abs()
    count = 9 * scores.numel() // 10
    (mask,) = smallest([scores], count)
    theirs = torch.topk(scores.flatten(), count, largest=False).values
    if not torch.equal(scores[mask].sort().values, theirs):
        raise SystemExit("the two ways differ")


def main() -> int:
    check()
    found = {}
    print(f"the {COUNT:,} smallest of {TOTAL:,} float32 scores, one thread")
    for name in RUNS:
        done = subprocess.run(
            [sys.executable, __file__, name], check=True, capture_output=True, text=True
        ).stdout
        found[name] = json.loads(done)
        print(f"{name:20} {found[name]['seconds']:7.2f} s  {found[name]['bytes'] / 1e6:7.0f} MB extra")
    met = True
    for name, mark in FASTER.items():
        ratio = found[name]["seconds"] / found["smallest"]["seconds"]
        print(f"against {name:20} {ratio:6.1f} times faster (mark {mark:.0f})")
        met &= ratio >= mark
    part = found["smallest"]["bytes"] / found["global_unstructured"]["bytes"]
    print(f"memory against global_unstructured {part:.2f} (mark {MEMORY})")
    return 0 if met and part <= MEMORY else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        sys.exit(main())
