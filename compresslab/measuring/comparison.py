"""The book's one table: several reports side by side, and whether their difference is more than chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from compresslab.errors import CompressionError
from compresslab.measuring.report import Report, judged
from compresslab.measuring.statistics import LEVEL, UNSEEN, Holm, McNemar, verdict
from compresslab.measuring.tables import html_table, text_table
from compresslab.training.accuracy import Accuracy

TIMES = "\N{MULTIPLICATION SIGN}"
_NONE = "\N{EN DASH}"  # the first is not held against itself
_VERDICT = len("does not show, p = 0.000")  # one width, so that a stored table differs in its words only


@dataclass(frozen=True, repr=False)
class Comparison:
    """Several reports on the same test images; the first is what the others are held against.

    Args:
        reports: at least one.
        latency: whether the table shows the median latency; such a cell must not be compared by tests.
    """

    reports: tuple[Report, ...]
    latency: bool = False

    @property
    def ratios(self) -> tuple[float, ...]:
        """Return how many times smaller each file is than the first."""
        return tuple(self.reports[0].bytes_on_disk / report.bytes_on_disk for report in self.reports)

    @property
    def tests(self) -> tuple[McNemar, ...]:
        """Return McNemar's test of each report against the first, on the test images."""
        if not isinstance(self.reports[0].accuracy, Accuracy):
            return ()  # there are no right and wrong answers to count
        return _against_the_first([report.answers for report in self.reports])

    @property
    def p_values(self) -> tuple[float, ...]:
        """Return McNemar's p-value of each report after the first, corrected by Holm if several."""
        return _corrected(self.tests)

    @property
    def second_p_values(self) -> tuple[float, ...]:
        """Return the same on the images of the second judge; nothing where there was none."""
        judges = [report.second for report in self.reports]
        answers = [
            r.single(one) for r, one in zip(self.reports, judges, strict=True) if isinstance(one, Accuracy)
        ]
        return _corrected(_against_the_first(answers)) if answers else ()

    def _in_words(self, p_values: tuple[float, ...]) -> list[str]:
        words = [verdict(p).replace(UNSEEN, "does not show") for p in p_values]
        padded = [f"{word:{_VERDICT}}" for word in (_NONE, *words)]
        return padded + [padded[0]] * (len(self.reports) - len(padded))  # a metric without a test

    def _columns(self) -> Iterator[tuple[str, list[str], bool]]:
        """Yield head, cells and whether they are flush right; first what a phone has room for."""
        reports, (metric, _) = self.reports, judged(self.reports[0].accuracy)
        yield "network", [report.name for report in reports], False
        yield "bytes on disk", [f"{report.bytes_on_disk:,}" for report in reports], True
        head = "accuracy (95 % interval)" if metric == "accuracy" else metric
        yield head, [judged(report.accuracy)[1] for report in reports], False
        yield "against the first", self._in_words(self.p_values), False
        if second := reports[0].second:
            found = [judged(report.second)[1] for report in reports if report.second]
            yield f"on {second.total:,} others", found, False
            yield "against the first", self._in_words(self.second_p_values), False
        for batch in reports[0].latency_ms if self.latency else ():
            yield f"ms at {batch}", [f"{report.latency_ms[batch]:.2f}" for report in reports], True
        yield "smaller", [f"{ratio:.1f}{TIMES}" for ratio in self.ratios], True
        yield "not zero", [f"{report.nonzeros:,} of {report.parameters:,}" for report in reports], True
        yield "MACs", [f"{report.macs:,}" for report in reports], True

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[int]]:
        """Return the heads, the rows, and which columns are flush right."""
        heads, columns, right = zip(*self._columns(), strict=True)
        return heads, list(zip(*columns, strict=True)), [n for n, flush in enumerate(right) if flush]

    @property
    def _caption(self) -> str:
        first = self.reports[0]
        threads = f"; threads: {first.latency.threads}" if self.latency and first.latency else ""
        return f"Measured on the same {first.accuracy.total:,} test images of {first.data}{threads}"

    @property
    def _note(self) -> str:
        count = len(self.p_values)
        if not count:
            return ""
        corrected = f", corrected by Holm for {count} comparisons" if count > 1 else ""
        return f"p: McNemar's exact two-sided test{corrected}; above {LEVEL} a difference {UNSEEN}."

    def __repr__(self) -> str:
        heads, rows, right = self._table()
        return "\n".join(filter(None, (self._caption, text_table(heads, rows, right=right), self._note)))

    def _repr_html_(self) -> str:
        heads, rows, right = self._table()
        return html_table(self._caption, heads, rows, right=right, note=self._note)


def _against_the_first(answers: list[Tensor]) -> tuple[McNemar, ...]:
    first = answers[0]
    return tuple(McNemar(int((first & ~one).sum()), int((~first & one).sum())) for one in answers)


def _corrected(tests: tuple[McNemar, ...]) -> tuple[float, ...]:
    alone = [test.p_value for test in tests[1:]]
    return Holm(alone).adjusted if alone else ()


def compare(*reports: Report, latency: bool = False) -> Comparison:
    """Set reports side by side; sizes are held against the first, answers too.

    Args:
        reports: what ``measure`` returned, all on the same test images.
        latency: whether to show the medians of the timings; they differ from run to run.

    Returns:
        A Comparison, which shows the table at the end of a cell.

    Raises:
        CompressionError: no report was given, something else was, the test images or those of the second
            judge differ, or timings are asked that were not measured.

    Chapter: 01.
    """
    if not reports:
        raise CompressionError(
            "A comparison of nothing was asked; give at least one report of measure(model, data)."
        )
    for report in reports:
        if not isinstance(report, Report):
            raise CompressionError(
                f"A {type(report).__name__} was to be compared; give what measure(model, data) returned."
            )
        if (report.fingerprint, judged(report.accuracy)[0]) != (
            reports[0].fingerprint,
            judged(reports[0].accuracy)[0],
        ):
            raise CompressionError(
                f"{report.name!r} was measured on other images ({report.data}, {report.accuracy.total}) than "
                f"{reports[0].name!r} ({reports[0].data}, {reports[0].accuracy.total}); measure both alike."
            )
        judges = [each.second.total if each.second else 0 for each in (reports[0], report)]
        if judges[0] != judges[1]:
            raise CompressionError(
                f"A second judge had {judges[1]:,} images for {report.name!r} and {judges[0]:,} for "
                f"{reports[0].name!r}; measure both with the same judge, or with none."
            )
        if latency:
            _ = report.latency_ms  # refuses here, by name, what was measured without it
    return Comparison(reports, latency)
