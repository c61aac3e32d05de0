"""What a change of the package's shape must leave alone: bytes, weights, masks, public names.

`python tests/test_yardstick.py` freezes them anew; do so only for a change that is meant to change them.
Networks and images are in float64 where a mask depends on sums, so that no chip's rounding can flip a bit.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from torch import nn

import compresslab as cl
from compresslab import checkpoints, criteria, data
from compresslab.storage.container import encode
from compresslab.teaching import records

GOLDEN = Path(__file__).with_name("golden") / "yardstick.json"
NETWORKS = ("article", "lenet_300_100", "lenet5", "residual")
SCHEMES = {
    "Symmetric": cl.Symmetric(4, cl.PerChannel()),
    "Asymmetric": cl.Asymmetric(3, cl.PerGroup(50)),
    "Binary": cl.Binary(cl.PerChannel()),
    "Ternary": cl.Ternary(),
    "PowerOfTwo": cl.PowerOfTwo(4, cl.PerChannel()),
    "KMeans": cl.KMeans(4),
}
WEIGHT_CRITERIA = {
    "magnitude": (criteria.magnitude, {}),
    "magnitude per layer": (criteria.magnitude, {"per_layer": True}),
    "gradient": (criteria.gradient, {}),
    "activation": (criteria.activation, {}),
    "random": (criteria.Random(3), {}),
}
NEURON_CRITERIA = ("mean_activation", "apoz", "activation_variance", "mean_gradient", "taylor")


def digest(model: nn.Module, zeros: bool = False) -> str:
    """Return a digest of the names, shapes and values of a network, or of where its values are zero."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        name = name.replace(
            ".weight_", "."
        )  # codes and scales had no prefix when the golden file was written
        found.update(f"{name}{tuple(value.shape)}".encode())
        found.update((value != 0 if zeros else value).numpy().tobytes())
    return found.hexdigest()[:16]


def frozen() -> Iterator[tuple[str, object]]:
    """Yield everything that is held, by name."""
    digits = data.digits().train[:256]
    images = data.Split(digits.images.double(), digits.labels)
    for network in NETWORKS:
        model = checkpoints.load(network)
        for name, scheme in SCHEMES.items():
            plain, _ = encode(cl.quantize(model, scheme), plain=True)
            yield f"bytes, {network}, {name}", hashlib.sha256(plain).hexdigest()[:16]
        model = model.double()
        for name, (criterion, how) in WEIGHT_CRITERIA.items():
            pruned = cl.prune_weights(model, criterion, 0.7, batches=images, **how)
            yield f"weights, {network}, {name}", digest(pruned, zeros=True)
        for name in NEURON_CRITERIA:
            cut = cl.prune_neurons(model, getattr(criteria, name), 0.5, batches=images)
            yield f"neurons, {network}, {name}", digest(cut)
    for path in sorted((records.FOLDER / "deep_compression").glob("*.clab")):
        model = cl.load(path)
        yield f"record, {path.stem}", digest(model)
    yield "public names", sorted(cl.__all__)


def test_nothing_has_moved():
    golden, found = json.loads(GOLDEN.read_text(encoding="utf-8")), dict(frozen())
    assert set(found) == set(golden)
    assert not {name: value for name, value in found.items() if value != golden[name]}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(dict(frozen()), indent=1) + "\n", encoding="utf-8")
