"""The functions that chapter 21 asks for: bytes that move, a roof, and the least time of a network."""

from collections.abc import Sequence

from compresslab.exercises.task import Task

# of each layer: the products of one image, the weights, and the numbers that one image brings in and out
Layers = Sequence[tuple[float, float, float]]


def _moved(weights: float, activations: float, batch: int, width: float) -> float:
    return width * (weights + batch * activations)


MOVED = Task(
    _moved,
    lambda: [
        (313_600, 3236, 1, 4),
        (313_600, 3236, 64, 4),
        (313_600, 3236, 64, 1),
        (288, 25_872, 8, 2),
        (1000, 110, 3, 0.5),
    ],
    "Weights are read once for all images; each image has activations of its own.",
    [
        (lambda w, a, n, s: s * n * (w + a), "The weights are read once, not once for each image."),
        (lambda w, a, n, s: s * (w + a), "Each image has activations of its own."),
        (lambda w, a, n, s: w + n * a, "Those are numbers; how many bytes has each?"),
        (lambda w, a, n, s: s * w, "The activations are read and written, too."),
        (lambda w, a, n, s: s * n * a, "The weights are read, too."),
        (lambda w, a, n, s: s * w + n * a, "The activations have as many bytes each as the weights."),
    ],
    within=1e-6,
)


def _roof(intensity: float, peak: float, bandwidth: float) -> float:
    return min(peak, intensity * bandwidth)


ROOF = Task(
    _roof,
    lambda: [
        (0.25, 100.0, 10.0),
        (0.05, 100.0, 10.0),
        (4.0, 100.0, 10.0),
        (10.0, 100.0, 10.0),
        (64.0, 100.0, 10.0),
        (50.0, 800.0, 10.0),
    ],
    "A machine multiplies no faster than its peak, and no faster than its numbers arrive.",
    [
        (lambda i, p, b: max(p, i * b), "The smaller of the two limits holds."),
        (lambda i, p, b: p, "With few products for a byte it waits for bytes."),
        (lambda i, p, b: i * b, "With many products for a byte it multiplies no faster than its peak."),
        (lambda i, p, b: min(p, b / i), "Products for a byte times bytes a second are products a second."),
        (lambda i, p, b: min(p, b), "Bytes a second are no products a second: the intensity leads over."),
        (lambda i, p, b: min(i * p, b), "The intensity belongs to the bandwidth."),
    ],
    within=1e-9,
)


def _each(
    layers: Layers, batch: int, width: float, peak: float, bandwidth: float
) -> list[tuple[float, float]]:
    """Return for each layer the seconds of its products and of its bytes."""
    return [
        (batch * macs / peak, _moved(weights, activations, batch, width) / bandwidth)
        for macs, weights, activations in layers
    ]


def _least(layers: Layers, batch: int, width: float, peak: float, bandwidth: float) -> float:
    return sum(map(max, _each(layers, batch, width, peak, bandwidth)))


_ARTICLE = [
    (225_792, 288, 25_872),
    (3_612_672, 18_432, 18_816),
    (313_600, 313_600, 3236),
    (1000, 1000, 110),
]
LEAST = Task(
    _least,
    lambda: [
        (_ARTICLE, 1, 4, 1e5, 1e4),
        (_ARTICLE, 64, 4, 1e5, 1e4),
        (_ARTICLE, 64, 1, 8e5, 1e4),
        (_ARTICLE[2:], 8, 2, 4e5, 1e4),
        (_ARTICLE[:1], 1, 4, 1e5, 1e4),
    ],
    "For each layer the longer of the two times; then their sum, since layers run one after the other.",
    [
        (
            lambda *given: max(sum(one) for one in zip(*_each(*given), strict=True)),
            "Take the longer time for each layer, and sum then: no layer works while another waits.",
        ),
        (
            lambda *given: sum(map(sum, _each(*given))),
            "A layer computes while it reads: take the longer time.",
        ),
        (lambda *given: sum(map(min, _each(*given))), "The longer of the two times counts."),
        (lambda *given: sum(one for one, _ in _each(*given)), "The bytes take their time, too."),
        (lambda *given: sum(one for _, one in _each(*given)), "The products take their time, too."),
        (lambda *given: max(map(max, _each(*given))), "Layers run one after the other: sum their times."),
        (
            lambda layers, batch, *given: batch * _least(layers, 1, *given),
            "The weights are read once for the whole batch.",
        ),
    ],
    within=1e-9,
)
