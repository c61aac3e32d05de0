"""What a network costs and what it still can: every figure is measured, none computed by formula."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.measuring.costs import (
    Latency,
    bytes_in_memory,
    count_codes,
    count_macs,
    stored_weights,
    time_batches,
)
from compresslab.measuring.tables import html_table, percent_interval, text_table
from compresslab.models.builders import builder_of
from compresslab.models.checking import check_model
from compresslab.models.inputs import each_tensor
from compresslab.models.tracing import evaluating
from compresslab.storage.container import encode
from compresslab.training.accuracy import Accuracy, Score, evaluate
from compresslab.training.batching import Batches, ImageData, Part, held, parts_of, small
from compresslab.training.metrics import Classification, Metric


@dataclass(frozen=True, repr=False)
class Report:
    """What ``measure`` found; the last line of a cell shows it, without the timings.

    Args:
        name: how the tables call this network.
        data: the data set whose test split was used, or what else was.
        parameters: number of weights and biases; scales and codebooks are not counted.
        nonzeros: how many of them are not zero once decoded.
        bytes_on_disk: length of the file that ``save`` writes.
        parts: the same bytes by part of the file; they add up to ``bytes_on_disk``.
        bytes_in_memory: bytes of all parameters and buffers as the network holds them.
        macs: multiplications with addition for one example, as ``count_macs`` counts them.
        accuracy: on the test split, with its Wilson interval; of another task the Score of its metric.
        latency: None where it was not measured.
        fingerprint: of the test inputs and targets; two reports are comparable where it is equal.
        codes: how many of the parameters are held as codes.
        second: the same on what a second judge holds, None where there was none.
    """

    name: str
    data: str
    parameters: int
    nonzeros: int
    bytes_on_disk: int
    parts: Mapping[str, int] = field(hash=False)
    bytes_in_memory: int
    macs: int
    accuracy: Accuracy | Score
    latency: Latency | None = field(compare=False)
    fingerprint: int
    codes: int = 0
    second: Accuracy | Score | None = None

    @property
    def answers(self) -> Bool[Tensor, " images"]:
        """For each test image, whether the answer was right."""
        return self.single(self.counted)

    @property
    def counted(self) -> Accuracy:
        """Return the accuracy, where it is what was measured.

        Raises:
            CompressionError: another metric was.
        """
        if isinstance(self.accuracy, Accuracy):
            return self.accuracy
        raise CompressionError(
            f"The accuracy of {self.name!r} was asked, but its {self.accuracy.metric.name} was measured."
        )

    def single(self, accuracy: Accuracy) -> Bool[Tensor, " images"]:
        """Return the single answers behind an accuracy of this report."""
        if accuracy.hits is None:
            raise CompressionError(f"Single answers of {self.name!r} were asked; only counts are held.")
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
        names = (
            "name",
            "data",
            "parameters",
            "nonzeros",
            "bytes_on_disk",
            "bytes_in_memory",
            "macs",
            "codes",
        )
        judge = {"second": _counts(self.second)} if self.second else {}
        found = {**_counts(self.accuracy), **judge}
        return {**{name: getattr(self, name) for name in names}, "parts": dict(self.parts), **found}

    def _lines(self) -> list[tuple[str, str]]:
        judges = [judged(self.accuracy)]
        if self.second:
            name, value = judged(self.second)
            judges.append((f"{name} on {self.second.total:,} others", value))
        return [
            ("parameters", f"{self.parameters:,}"),
            ("not zero", f"{self.nonzeros:,}"),
            *([("held as codes", f"{self.codes:,}")] if self.codes else []),
            ("bytes on disk", f"{self.bytes_on_disk:,}"),
            *((f"  in {part}", f"{size:,}") for part, size in self.parts.items() if size),
            ("bytes in memory", f"{self.bytes_in_memory:,}"),
            ("MACs per image", f"{self.macs:,}"),
            *judges,
        ]

    @property
    def _caption(self) -> str:
        kind = "images" if isinstance(self.accuracy, Accuracy) else "examples"
        return f"{self.name}, measured on the {self.accuracy.total:,} test {kind} of {self.data}"

    def __repr__(self) -> str:
        return f"{self._caption}\n{text_table(('', ''), self._lines())}"

    def _repr_html_(self) -> str:
        return html_table(self._caption, ("quantity", "value"), self._lines())


def measure(
    model: nn.Module,
    data: ImageData | Batches,
    name: str | None = None,
    *,
    plain: bool = False,
    coding: str | None = None,
    latency: bool = True,
    repeats: int = 30,
    batch_size: int = 500,
    metric: Metric = Classification(),
    judge: Batches | None = None,
) -> Report:
    """Measure size, work, latency and accuracy of a network on the test split.

    Bytes come from encoding the network as ``save`` would: header, scales and biases are in them.
    Choose nothing by this report: the test split is for reading off, validation for choosing.

    Args:
        model: any network that ``save`` can write, on any device; it comes back in the mode it had.
        data: a data set with ``name`` and ``test``, as ``data.digits()`` returns it; or a split, a DataLoader
            that does not shuffle, or any other iterable of (inputs, targets).
        name: how the tables shall call it; by default the builder's name, else the class's.
        plain, coding: count the bytes of the file that ``save`` writes with the same words.
        latency: whether to time batches of 1 and 64 examples (on whatever threads torch is set to).
        repeats: timed runs per batch size at most; a slow network gets fewer.
        batch_size: examples per pass; memory, not the result, depends on it.
        metric: of a task that is no classification.
        judge: further images that chose nothing either, for example ``data.mnist().test``: a test split that
            was read often is an honest judge no longer.

    Raises:
        CompressionError: there is nothing to measure on, or the network cannot read it or answer each.

    Chapter: 01.
    """
    check_model(model)
    seen, called = (data.test, data.name) if isinstance(data, ImageData) else (data, type(data).__name__)
    seen = held(seen) if isinstance(seen, Iterator) else seen  # it is gone through twice
    first = next((part for part in parts_of(seen) if len(part)), None)
    if first is None:
        raise CompressionError(
            f"A report on {called} was asked, but it has no test examples; give a data set, for example "
            "data.digits(), or batches of (inputs, targets)."
        )
    one = next(iter(small([first], 1)))  # or the whole batch, where that cannot be said
    sizes = (1, 64) if len(one) == 1 else (len(one),)
    marks = _Fingerprint()
    with evaluating(model):
        found = evaluate(model, marks.over(seen), batch_size, metric=metric)
        payload, parts = encode(model, plain=plain, coding=coding)
        if sum(parts.values()) != len(payload):
            raise CompressionError(
                f"The parts {parts} of the file do not add up to its {len(payload)} bytes."
            )
        return Report(
            name=name or _name_of(model),
            data=called,
            parameters=sum(weight.numel() for weight in stored_weights(model)),
            nonzeros=sum(int(torch.count_nonzero(weight)) for weight in stored_weights(model)),
            bytes_on_disk=len(payload),
            parts=dict(parts),
            bytes_in_memory=bytes_in_memory(model),
            macs=count_macs(model, one.inputs) // len(one),
            accuracy=found,
            latency=time_batches(model, first.inputs, batches=sizes, repeats=repeats) if latency else None,
            fingerprint=marks.inputs << 32 | marks.targets,
            codes=count_codes(model),
            second=None if judge is None else evaluate(model, judge, batch_size, metric=metric),
        )


class _Fingerprint:
    """Take the marks of data while it goes by, whatever batches it comes in."""

    inputs = targets = 0

    def over(self, data: Batches) -> Iterator[Part]:
        for part in parts_of(data):
            for name in ("inputs", "targets"):
                each_tensor(getattr(part, name), lambda tensor, name=name: self._add(name, tensor))
            yield part

    def _add(self, name: str, tensor: Tensor) -> None:
        raw = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        setattr(self, name, zlib.crc32(raw.tobytes(), getattr(self, name)))


def _counts(found: Accuracy | Score) -> dict[str, Any]:
    if isinstance(found, Accuracy):
        return {"correct": found.correct, "total": found.total}
    return {"metric": found.metric.name, "value": found.value, "total": found.total}


def judged(found: Accuracy | Score) -> tuple[str, str]:
    """Return the name of a metric and its value, as tables show them."""
    if isinstance(found, Accuracy):
        return "accuracy", percent_interval(found.value, found.low, found.high)
    return found.metric.name, found.metric.show(found.value)


def _name_of(model: nn.Module) -> str:
    built = builder_of(model)
    return built[0] if built else type(model).__name__
