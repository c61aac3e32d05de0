"""Write the ledger: the article's network after each chapter, measured, one row each.

Run from the root of the repository: python book/records/ledger.py
The page book/ledger.md shows the table. Trained rows take the learning rates that
training_through_quantization.py, weight_pruning.py and neuron_criteria.py chose on validation, and the first
seed.
Up to chapter 08 the files are plain, with codes side by side; later ones are written as ``save`` likes.
"""

import csv
from collections.abc import Iterator

import torch
from torch import nn

import compresslab as cl
from compresslab import checkpoints, data
from compresslab.pruning import cubic, hold_zeros
from compresslab.teaching import records

TRAINED = records.load("training_through_quantization")
PRUNED = records.load("weight_pruning")
CUT = records.load("neuron_criteria")
ROWS = cl.PerChannel()


def networks(model: nn.Module, digits: data.ImageData) -> Iterator[tuple[str, str, nn.Module]]:
    """Yield chapter, what was done, and the network."""
    yield "01", "floats", model
    yield "02", "symmetric, 8 bits, per tensor", cl.quantize(model, cl.Symmetric(8))
    yield "03", "symmetric, 4 bits, per channel", cl.quantize(model, cl.Symmetric(4, ROWS))
    yield "03", "asymmetric, 4 bits, per channel", cl.quantize(model, cl.Asymmetric(4, ROWS))
    yield "04", "ternary, per channel, untrained", cl.quantize(model, cl.Ternary(ROWS))
    yield "04", "binary, per channel, untrained", cl.quantize(model, cl.Binary(ROWS))
    yield "05", "powers of two, 4 bits, per channel", cl.quantize(model, cl.PowerOfTwo(4, ROWS))
    yield "06", "codebook, 4 bits, per tensor", cl.quantize(model, cl.KMeans(4))
    yield "06", "codebook, 2 bits, per tensor", cl.quantize(model, cl.KMeans(2))
    for name, scheme in {
        "2 bits": cl.Symmetric(2, ROWS),
        "ternary": cl.Ternary(ROWS),
        "binary": cl.Binary(ROWS),
    }.items():
        student = cl.fake_quantize(model, scheme)
        rate = TRAINED["methods"][name]["chosen"]
        cl.train(student, digits, epochs=TRAINED["epochs"], lr=rate, progress=False)
        yield "07", f"{name}, per channel, trained", cl.quantize(student)
    yield "08", "integers only, 8 bits", cl.quantize_activations(model, [digits.train.images[:256]])
    yield "09", "90 % zeros, trained on", pruned(model, digits)
    for share, name in ((0.5, "half"), (0.75, "three quarters")):
        small = cl.prune_neurons(model, cl.criteria.taylor, share, batches=digits.train)
        rate = CUT["networks"]["article"]["shares"][f"{share:g}"]["rate"]
        cl.train(small, digits, epochs=CUT["epochs"]["further"], lr=rate, progress=False)
        yield "13", f"{name} of the neurons cut, trained on", small
    yield "18", "pruned, clustered and coded", cl.load(records.path("deep_compression/digits_article_0.clab"))


def pruned(model: nn.Module, digits: data.ImageData) -> nn.Module:
    """Prune in rounds as weight_pruning.py does, from the shipped network."""
    record = PRUNED["networks"]["article"]
    recipe, rate = record["recipe"], record["chosen rates"]["pruned"]
    for level in cubic(0.9, recipe["rounds"]):
        model = cl.prune_weights(model, cl.criteria.magnitude, level)
        epochs = recipe["after"] if level == 0.9 else recipe["each"]
        cl.train(model, digits, epochs=epochs, lr=rate, after_step=hold_zeros(model), progress=False)
    return model


def main() -> None:
    torch.set_num_threads(1)
    digits = data.digits()
    made = networks(checkpoints.load("article"), digits)
    reports = [
        (chapter, cl.measure(network, digits, name, plain=chapter < "09", latency=False))
        for chapter, name, network in made
    ]
    first = reports[0][1].bytes_on_disk
    with (records.FOLDER / "ledger.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Chapter", "Network", "Bytes", "Times smaller", "Accuracy, %", "95 % interval"])
        for chapter, report in reports:
            size, right = report.bytes_on_disk, report.accuracy
            found = [f"{100 * right.value:.1f}", f"{100 * right.low:.1f} to {100 * right.high:.1f}"]
            writer.writerow([chapter, report.name, f"{size:,}", f"{first / size:.1f}", *found])


if __name__ == "__main__":
    main()
