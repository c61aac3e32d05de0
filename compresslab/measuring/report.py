"""What a network costs and what it still can: every figure is measured, none computed by formula."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.measuring.costs import Latency, bytes_in_memory, count_macs, stored_weights, time_batches
from compresslab.measuring.tables import html_table, percent_interval, text_table
from compresslab.models.builders import builder_of
from compresslab.models.tracing import evaluating
from compresslab.storage.container import encode
from compresslab.training.accuracy import Accuracy, evaluate
from compresslab.training.batching import ImageData, Split


@dataclass(frozen=True, repr=False)
class Report:
    """What ``measure`` found; the last line of a cell shows it, without the timings.

    Args:
        name: how the tables call this network.
        data: the data set whose test split was used.
        parameters: number of weights and biases; scales and codebooks are not counted.
        nonzeros: how many of them are not zero once decoded.
        bytes_on_disk: length of the file that ``save`` writes.
        parts: the same bytes by part of the file; they add up to ``bytes_on_disk``.
        bytes_in_memory: bytes of all parameters and buffers as the network holds them.
        macs: multiplications with addition for one image, in convolutions and linear layers.
        accuracy: on the test split, with its Wilson interval.
        latency: None where it was not measured.
        fingerprint: of the test images and labels; two reports are comparable where it is equal.
        second: accuracy on the images of a second judge, None where there was none.
    """

    name: str
    data: str
    parameters: int
    nonzeros: int
    bytes_on_disk: int
    parts: Mapping[str, int] = field(hash=False)
    bytes_in_memory: int
    macs: int
    accuracy: Accuracy
    latency: Latency | None = field(compare=False)
    fingerprint: int
    second: Accuracy | None = None

    @property
    def answers(self) -> Bool[Tensor, " images"]:
        """For each test image, whether the answer was right."""
        return self.single(self.accuracy)

    def single(self, accuracy: Accuracy) -> Bool[Tensor, " images"]:
        """Return the single answers behind an accuracy of this report."""
        if accuracy.hits is None:
            raise CompressionError(
                f"The single answers of {self.name!r} were asked, but only counts are held."
            )
        return accuracy.hits

    @property
    def latency_ms(self) -> dict[int, float]:
        """Return the median latency in milliseconds by batch size.

        Raises:
            CompressionError: the report was made with ``latency=False``.
        """
        if self.latency is None:
            raise CompressionError(
                f"The latency of {self.name!r} was asked, but it was not measured; measure with latency=True."
            )
        return {timing.batch: timing.median_ms for timing in self.latency.timings}

    def to_dict(self) -> dict[str, Any]:
        """Write the figures as JSON-able values for a record: all but the timings and the single answers."""
        names = ("name", "data", "parameters", "nonzeros", "bytes_on_disk", "bytes_in_memory", "macs")
        counts = {"correct": self.accuracy.correct, "total": self.accuracy.total}
        judge = self.second and {"second": {"correct": self.second.correct, "total": self.second.total}}
        return {
            **{name: getattr(self, name) for name in names},
            "parts": dict(self.parts),
            **counts,
            **(judge or {}),
        }

    def _lines(self) -> list[tuple[str, str]]:
        judges = {"accuracy": self.accuracy}
        if self.second:
            judges[f"accuracy on {self.second.total:,} others"] = self.second
        return [
            ("parameters", f"{self.parameters:,}"),
            ("not zero", f"{self.nonzeros:,}"),
            ("bytes on disk", f"{self.bytes_on_disk:,}"),
            *((f"  in {part}", f"{size:,}") for part, size in self.parts.items() if size),
            ("bytes in memory", f"{self.bytes_in_memory:,}"),
            ("MACs per image", f"{self.macs:,}"),
            *((name, percent_interval(found.value, found.low, found.high)) for name, found in judges.items()),
        ]

    @property
    def _caption(self) -> str:
        return f"{self.name}, measured on the {self.accuracy.total:,} test images of {self.data}"

    def __repr__(self) -> str:
        return f"{self._caption}\n{text_table(('', ''), self._lines())}"

    def _repr_html_(self) -> str:
        return html_table(self._caption, ("quantity", "value"), self._lines())


def measure(
    model: nn.Module,
    data: ImageData,
    name: str | None = None,
    *,
    plain: bool = False,
    latency: bool = True,
    repeats: int = 30,
    judge: Split | None = None,
) -> Report:
    """Measure size, work, latency and accuracy of a network on the test split.

    Bytes come from encoding the network as ``save`` would: header, scales and biases are in them.
    Choose nothing by this report: the test split is for reading off, validation for choosing.

    Args:
        model: any network that ``save`` can write; it comes back in the mode it had.
        data: a data set with ``name`` and ``test``, as ``data.digits()`` returns it.
        name: how the tables shall call it; by default the builder's name, else the class's.
        plain: count the bytes of a plain file, as ``save`` writes it with the same word.
        latency: whether to time batches of 1 and 64 images (on whatever threads torch is set to).
        repeats: timed runs per batch size at most; a slow network gets fewer.
        judge: further images that chose nothing either, for example ``data.mnist().test``: a test split that
            was read often is an honest judge no longer.

    Returns:
        A Report.

    Raises:
        CompressionError: there is no test split, or the network cannot read its images or answer each.

    Chapter: 01.
    """
    images, labels = _test_split(data)
    with evaluating(model):
        _check_answers(model, images, labels, data.name)
        payload, parts = encode(model, plain=plain)
        if sum(parts.values()) != len(payload):
            raise CompressionError(
                f"The parts {parts} of the file do not add up to its {len(payload)} bytes."
            )
        accuracy = evaluate(model, data.test)
        return Report(
            name=name or _name_of(model),
            data=data.name,
            parameters=sum(weight.numel() for weight in stored_weights(model)),
            nonzeros=sum(int(torch.count_nonzero(weight)) for weight in stored_weights(model)),
            bytes_on_disk=len(payload),
            parts=dict(parts),
            bytes_in_memory=bytes_in_memory(model),
            macs=count_macs(model, images[:1]),
            accuracy=accuracy,
            latency=time_batches(model, images, repeats=repeats) if latency else None,
            fingerprint=zlib.crc32(labels.numpy().tobytes(), zlib.crc32(images.numpy().tobytes())),
            second=None if judge is None else evaluate(model, judge),
        )


def _test_split(data: ImageData) -> tuple[Tensor, Tensor]:
    split = getattr(data, "test", None)
    if split is None or not hasattr(data, "name") or len(split.images) == 0:
        raise CompressionError(
            f"A report on {type(data).__name__} was asked, but it has no name and test images; "
            "give a whole data set, for example data.digits()."
        )
    return split.images, split.labels


def _check_answers(model: nn.Module, images: Tensor, labels: Tensor, data: str) -> None:
    """Refuse a network that cannot read the images, or that silently answers too few of them."""
    few = images[:8]
    try:
        with torch.inference_mode():
            logits = model(few)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise CompressionError(
            f"{type(model).__name__} was to be measured on {data}, but fails on its images of shape "
            f"{tuple(images.shape[1:])}: {error}. Measure it on images of the shape it was built for."
        ) from error
    classes = int(labels.max()) + 1
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[0] != len(few) or shape[1] < classes:
        raise CompressionError(
            f"{type(model).__name__} was to answer {len(few)} images of {data} with {classes} or more values "
            f"each, but gave {shape}. Check the reshaping before its linear layers, and its classes."
        )


def _name_of(model: nn.Module) -> str:
    built = builder_of(model)
    return built[0] if built else type(model).__name__
