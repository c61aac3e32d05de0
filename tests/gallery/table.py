"""What the package does with each network of the gallery; the table on the page "Your own network" is this.

Run from the root of the repository: python tests/gallery/table.py
It takes each network the whole way and writes what came out into book/your_own_network.md. A cell gives a
figure that was counted, or "refused" with the words of the error. Nothing in it depends on the machine.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # when it is run as a program
sys.path.insert(0, str(Path(__file__).resolve().parent))

from networks import CASES, Case

import compresslab as cl
from compresslab import criteria
from compresslab.errors import CompressionError
from compresslab.measuring.costs import count_macs
from compresslab.models import call, layer_weights
from compresslab.surgery.graph import graph_of

PAGE = Path(__file__).resolve().parents[2] / "book" / "your_own_network.md"
BEGIN, END = "<!-- gallery -->\n", "<!-- end of gallery -->\n"
COLUMNS = ("measure", "8 bits", "half the weights", "half the neurons", "train", "file")


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %"


def measured(case: Case) -> str:
    report = cl.measure(case.model(), case.batches(2), metric=case.metric, latency=False)
    return f"{report.parameters:,} parameters, {report.macs:,} MACs"


def quantized(case: Case) -> str:
    weights = layer_weights(cl.quantize(case.model(), cl.Symmetric(8)))
    codes = sum(weight.value.numel() for weight in weights if weight.is_codes)
    return f"{percent(codes, sum(weight.value.numel() for weight in weights))} of the weights are codes"


def pruned(case: Case) -> str:
    small = cl.prune_weights(case.model(), criteria.magnitude, 0.5)
    once = {weight.value.data_ptr(): weight.value for weight in layer_weights(small)}.values()
    return f"{percent(sum(int((w == 0).sum()) for w in once), sum(w.numel() for w in once))} zeros"


def cut(case: Case) -> str:
    model, inputs = case.model(), case.batches(1)[0][0]
    small = cl.prune_neurons(model, criteria.l2_norm, 0.5, example=inputs)
    before, after = count_macs(model, inputs), count_macs(small, inputs)
    graph = graph_of(model, inputs)
    neurons, free = (sum(g.neurons for g in groups) for groups in (graph.groups, graph.free))
    return f"{percent(after, before)} of the MACs are left; {free} of {neurons} neurons are free"


def trained(case: Case) -> str:
    model = case.model()
    history = cl.train(
        model, case.batches(1), validation=case.batches(2), epochs=2, objective=case.objective,
        metric=case.metric, progress=False,
    )  # fmt: skip
    return f"{len(history.loss)} epochs by {case.metric.name}"


def filed(case: Case) -> str:
    """Save a network of codes, load it into a fresh one: the answers are the same to the bit."""
    small, fresh = cl.quantize(case.model(), cl.Symmetric(8)), case.build()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.clab"
        cl.save(small, path)
        size, again = path.stat().st_size, cl.load(path, into=fresh)
    for inputs, _ in case.batches(3):
        assert equal(answers(small, inputs), answers(again, inputs)), "the file answers differently"
    return f"{size:,} bytes"


def answers(model: nn.Module, inputs: object) -> object:
    with torch.no_grad():
        return call(model.eval(), inputs)


def equal(left: object, right: object) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    return torch.equal(left, right)


STEPS: dict[str, Callable[[Case], str]] = dict(
    zip(COLUMNS, (measured, quantized, pruned, cut, trained, filed), strict=True)
)


@cache
def cell(name: str, column: str) -> str:
    """Take one network one step, and write down what came out."""
    try:
        return STEPS[column](CASES[name])
    except CompressionError as refusal:
        return f"refused: {' '.join(str(refusal).split())}"


def table() -> str:
    """Return the whole table as Markdown."""
    head = f"| Network | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}\n"
    return head + "".join(
        f"| {name} | {' | '.join(cell(name, column) for column in COLUMNS)} |\n" for name in CASES
    )


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
