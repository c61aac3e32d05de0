"""What a search tries: a plan is carried out, measured, and set beside the others."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from compresslab.errors import CompressionError
from compresslab.measuring.costs import count_macs, time_batches
from compresslab.models.inputs import fitted
from compresslab.models.tracing import evaluating
from compresslab.searching.budgets import Budget
from compresslab.searching.plans import Plan, Train, looked_at
from compresslab.storage.container import encode
from compresslab.training.accuracy import read_out
from compresslab.training.batching import ImageData, Part, first_images, held
from compresslab.training.metrics import Metric, Objective

_BATCH = 500  # examples per pass


@dataclass(frozen=True)
class Trial:
    """Hold one plan and what came of it, on validation.

    Args:
        number: in the study; -1 of what is no trial of it.
        origin: ``"given"`` for the network as it was, ``"greedy"``, or ``"refined"``.
        plan: what was done.
        bytes: of the file.
        macs: for one example.
        latency_ms: of the float network that it runs as; None where no budget asks for it.
        value: of the metric on validation, the accuracy unless another was given.
        cost: the cross entropy beside the accuracy, else the metric.
        excess: by how much it is over the budget; 0.0 where it keeps to it.
    """

    number: int
    origin: str
    plan: Plan = field(repr=False)
    bytes: int
    macs: int
    latency_ms: float | None = field(compare=False)
    value: float
    cost: float
    excess: float

    @property
    def fits(self) -> bool:
        """Whether it keeps to the budget."""
        return self.excess == 0.0


def trade_off(trials: Sequence[Trial], higher: bool = True) -> tuple[Trial, ...]:
    """Return the trials that no other beats in bytes and metric; of equals the earlier."""
    sign = 1 if higher else -1
    ordered = sorted(trials, key=lambda trial: (trial.bytes, -sign * trial.value, trial.number))
    found: list[Any] = []
    for trial in ordered:
        if not found or sign * trial.value > sign * found[-1].value:
            found.append(trial)
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Judge:
    """Carry plans out and measure them, always in the same way."""

    model: nn.Module
    seen: list[Part]
    batches: Any
    budget: Budget
    train: Train | None
    repair: list[Part] | None
    metric: Metric
    objective: Objective | None
    plain: bool
    example: Any
    reference: float

    def made(self, plan: Plan, trained: bool = True) -> nn.Module:
        """Carry a plan out; what is repaired in trials is repaired without training, too."""
        train = self.train if trained else None
        how = {"train": train, "repair": self.repair, "objective": self.objective}
        return plan.apply(self.model, self.batches, **how)

    def bare(self, plan: Plan) -> nn.Module:
        """Carry a plan out with neither training nor repair."""
        return plan.apply(self.model, self.batches, objective=self.objective)

    def felt(self, small: nn.Module) -> float:
        """Return the cost on validation, which tells more than the metric of some hundred examples."""
        return read_out(small, self.seen, _BATCH, self.metric)[1]

    def trial(self, number: int, origin: str, plan: Plan, trained: bool = True) -> Trial:
        """Carry a plan out and measure all of it."""
        small = self.made(plan, trained)
        costs = self.costs(plan, small)
        value, cost = read_out(small, self.seen, _BATCH, self.metric)
        excess = self.budget.excess(costs, self.lost(value))
        if not math.isfinite(cost):
            excess = math.inf
        size, macs = int(costs["bytes"]), int(costs["macs"])
        return Trial(number, origin, plan, size, macs, costs.get("latency_ms"), value, cost, excess)

    def costs(self, plan: Plan, small: nn.Module) -> dict[str, float]:
        """Measure what a budget can limit."""
        found: dict[str, float] = {"bytes": len(encode(small, plain=self.plain)[0])}
        found["macs"] = count_macs(small, fitted(self.example, small))
        if self.budget.latency_ms is not None:
            runs = self.bare(plan.of_neurons)
            with evaluating(runs):
                timed = time_batches(runs, self.example, batches=(1,))
            found["latency_ms"] = timed.timings[0].median_ms
        return found

    def lost(self, value: float) -> float:
        """Return what the metric lost against the network given."""
        return self.reference - value if self.metric.higher else value - self.reference

    def objective_of(self, trial: Trial, given: Trial) -> float:
        """Return one number for all that counts: those within the budget first, then by ``order``."""
        if not trial.fits:
            return 2.0 + min(trial.excess, 1e6)
        if self.budget.loss is not None:
            return trial.bytes / given.bytes
        lost = self.lost(trial.value)
        return lost / (1 + abs(lost)) + 1e-6 * trial.bytes / given.bytes

    def order(self, trial: Trial) -> tuple[float, float]:
        """Return what is made small: the file under a budget of loss, else the loss and then the file."""
        lost = self.lost(trial.value)
        return (trial.bytes, lost) if self.budget.loss is not None else (lost, trial.bytes)


def judging(
    model: nn.Module,
    data: Any,
    budget: Budget,
    train: Any,
    repair: Any,
    metric: Metric,
    objective: Any,
    plain: bool,
) -> Judge:
    """Take in what a search judges by.

    Raises:
        CompressionError: there is nothing, or the networks shall be both trained and repaired.
    """
    if train is not None and repair is not None:
        raise CompressionError("Both train and repair were given; a search takes one of them.")
    if data is None:
        raise CompressionError("A search without data was asked; give a data set, whose validation judges.")
    seen = held(data.validation if isinstance(data, ImageData) else data)
    batches = looked_at(data) if isinstance(data, ImageData) else seen
    example = first_images(seen)
    if example is None:
        raise CompressionError(
            "A search was asked with data without examples; give a data set, or batches of (inputs, targets)."
        )
    reference, _ = read_out(model, seen, _BATCH, metric)
    mended = held(repair) or None
    return Judge(model, seen, batches, budget, train, mended, metric, objective, plain, example, reference)
