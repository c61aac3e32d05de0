"""The verb that spends a budget: layers are tried alone, a greedy plan is laid, trials refine it."""

import hashlib
import math
import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from compresslab.errors import CompressionError, whole
from compresslab.measuring.tables import html_table, text_table
from compresslab.models.checking import check_model
from compresslab.models.inputs import each_tensor
from compresslab.searching.budgets import Budget, Space
from compresslab.searching.greedy import Knob, greedy_path
from compresslab.searching.knobs import Knobs
from compresslab.searching.plans import Plan, Train
from compresslab.searching.studies import Choice, Study, turned
from compresslab.searching.trials import Judge, Trial, judging, trade_off
from compresslab.training.batching import Batches, ImageData
from compresslab.training.metrics import Classification, Metric, Objective

_NEAR = 0.1  # a budget that the greedy plan misses by less may still be met


@dataclass(frozen=True, repr=False)
class Search:
    """Hold what ``search`` found; ``found.plan`` is the answer, ``found.plan.apply(model, data)`` makes it.

    Args:
        budget: what was asked.
        given: the network as it was, measured like a trial.
        greedy: the start, from sensitivities alone.
        best: what was chosen, by validation alone.
        trials: all that were made, the greedy one among them, in the order of the study.
        knobs: what each layer bears alone, as the greedy start saw it.
        metric: what validation was judged by.

    Chapter: 20.
    """

    budget: Budget
    given: Trial
    greedy: Trial
    best: Trial
    trials: tuple[Trial, ...]
    knobs: tuple[Knob, ...]
    metric: Metric

    @property
    def plan(self) -> Plan:
        """The plan of the best trial."""
        return self.best.plan

    @property
    def curve(self) -> tuple[Trial, ...]:
        """The trials that no other beats in both bytes and metric, from the smallest file to the largest."""
        return trade_off(self.trials, higher=self.metric.higher)

    @property
    def _caption(self) -> str:
        fit = sum(trial.fits for trial in self.trials)
        return f"a search under {self.budget}: {len(self.trials)} trials, {fit} within it; on validation"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        kinds = {"as given": self.given, "greedy": self.greedy, "best": self.best}
        timed = self.best.latency_ms is not None
        header = ["network", "bytes", self.metric.name, "MACs", *(["ms"] if timed else [])]
        rows = [
            [
                name,
                f"{trial.bytes:,}",
                self.metric.show(trial.value),
                f"{trial.macs:,}",
                *([f"{trial.latency_ms:.3f}"] if timed else []),
            ]
            for name, trial in kinds.items()
        ]
        return header, rows

    def __repr__(self) -> str:
        header, rows = self._table()
        return f"{self._caption}\n{text_table(header, rows, right=range(1, len(header)))}"

    def _repr_html_(self) -> str:
        header, rows = self._table()
        return html_table(self._caption, header, rows, right=range(1, len(header)))


def search(
    model: nn.Module,
    data: ImageData | Batches,
    budget: Budget,
    *,
    space: Space = Space(),
    trials: int = 60,
    train: Train | None = None,
    repair: Batches | None = None,
    study: str | Path | None = None,
    name: str = "compresslab",
    metric: Metric = Classification(),
    objective: Objective | None = None,
    plain: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Search:
    """Find for every layer the scheme, the bits and the shares that spend a budget best.

    Each option of each layer is tried alone. From what it loses and saves a greedy plan follows. Then Optuna
    refines it: its sampler draws plans near the good ones, and each is carried out and measured. All is
    chosen on validation; the test split is not looked at.

    Args:
        model: a trained network in floats. It is not changed.
        data: a data set: validation judges, training images say which neurons go. Or any iterable of (inputs,
            targets), which then does both.
        budget: what the small network may cost and lose.
        space: what may be done to a layer; for a large network name few options, since each is tried alone.
        trials: plans that are carried out, the greedy one among them.
        train: trains a plan's network in place in every trial, as in ``Plan.apply``.
        repair: in the place of training, training images by which every trial's network is mended, as in
            ``Plan.apply``; the greedy start is, too, and only options alone are not.
        study: a path for a journal file, or the URL of a database such as PostgreSQL: a search that was
            stopped goes on there, and several processes (with a database several machines) share its trials.
        name: of the study, where a database holds several.
        metric: of a task that is no classification.
        objective: the loss of such a task, for neurons.
        plain: count the bytes of plain files, which are quicker to write.
        seed: of what is drawn.
        progress: show a bar, on a terminal only.

    Returns:
        A Search: the plan, the greedy start beside it, all trials and their curve.

    Raises:
        CompressionError: the budget cannot be met, there is nothing to judge by, nothing in the network that
            the space can treat, or the study belongs to another search.

    Source: Akiba, Sano, Yanase, Ohta, Koyama, Optuna, KDD 2019 (arXiv:1907.10902); Bergstra, Bardenet,
    Bengio, Kegl, NIPS 2011 (the sampler).
    Chapter: 20.
    """
    check_model(model)
    whole(trials, "the trials of a search")
    if not isinstance(budget, Budget):
        raise CompressionError(
            f"{budget!r:.80} was given for a budget; write Budget(bytes=90_000), for example."
        )
    judge = judging(model, data, budget, train, repair, metric, objective, plain)
    given = judge.trial(-1, "given", Plan({}))
    knobs = Knobs(model, space, judge.example)
    felt = knobs.felt(judge.bare, judge.felt, given.cost, progress)
    greedy = _start(judge, knobs, greedy_path(knobs.parts(_priced(budget)), felt))
    chance = random.Random(seed)
    first = [greedy, *(turned(greedy, knobs.sizes, chance) for _ in range(trials // 4))]

    def tried(choice: Choice) -> tuple[float, dict[str, Any]]:
        trial = judge.trial(-1, "refined", knobs.plan(choice))
        kept = {name: getattr(trial, name) for name in _KEPT}
        return judge.objective_of(trial, given), kept

    with tqdm(total=trials, unit="trial", disable=None if progress else True) as bar:
        studied = Study(study, name, _mark(judge, knobs), knobs.sizes, seed)
        bar.update(sum(1 for _ in studied.found))
        studied.explore(tried, trials, first, lambda: bar.update())
    made = tuple(
        Trial(number, "greedy" if choice == greedy else "refined", knobs.plan(choice), **_figures(kept))
        for number, choice, kept in studied.found
    )
    if not any(trial.fits for trial in made):
        closest = min((trial.excess for trial in made), default=math.inf)
        found = studied.error if closest == math.inf else f"the closest is {100 * closest:.3g} % over"
        raise CompressionError(
            f"None of {len(made)} trials keeps to {budget}: {found!s:.200}; raise a limit or the trials."
        )
    best = min((trial for trial in made if trial.fits), key=judge.order)
    start = next((trial for trial in made if trial.origin == "greedy"), best)
    return Search(budget, given, start, best, made, felt, metric)


_KEPT = ("bytes", "macs", "latency_ms", "value", "cost", "excess")


def _figures(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kept[name] for name in _KEPT}


def _priced(budget: Budget) -> tuple[str, ...]:
    """Say which costs the greedy start looks at; milliseconds it takes for multiplications."""
    works = budget.macs is not None or budget.latency_ms is not None
    return ("bytes",) * (budget.bytes is not None or not works) + ("macs",) * works


def _start(judge: Judge, knobs: Knobs, path: Sequence[Choice]) -> Choice:
    """Return the first plan of a path that is cheap enough, or a later one where the loss allows it."""
    made: dict[int, Trial] = {}

    def at(place: int) -> Trial:
        if place not in made:
            made[place] = judge.trial(-1, "greedy", knobs.plan(path[place]), trained=False)
        return made[place]

    def dear(place: int) -> bool:
        return judge.budget.excess(_costs(at(place)), -math.inf) > 0

    places, limit = range(len(path)), judge.budget.loss
    cheap = bisect_left(places, True, key=lambda place: not dear(place))
    if cheap == len(path):
        over = judge.budget.excess(_costs(at(cheap - 1)), -math.inf)
        if over > _NEAR:
            raise CompressionError(
                f"{judge.budget} cannot be met: the harshest plan here has {at(cheap - 1).bytes:,} bytes "
                f"and {at(cheap - 1).macs:,} MACs, {100 * over:.0f} % over; raise it or widen the space."
            )
        cheap -= 1
    if limit is None:
        return path[cheap]
    lossy = bisect_left(places, True, key=lambda place: judge.lost(at(place).value) > limit + 1e-9)
    return path[max(cheap, lossy - 1)]


def _costs(trial: Trial) -> dict[str, float]:
    return {"bytes": trial.bytes, "macs": trial.macs, "latency_ms": trial.latency_ms or 0.0}


def _mark(judge: Judge, knobs: Knobs) -> str:
    """Return a fingerprint of what is searched: the network, what judges it, the budget, the choices."""
    found = hashlib.sha256(f"{judge.budget}{judge.metric}{judge.plain}{judge.train is None}".encode())
    found.update(repr(knobs.options).encode())

    def add(tensor: Tensor) -> None:
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())

    for tensor in judge.model.state_dict().values():
        each_tensor(tensor, add)
    for part in (*judge.seen, *(judge.repair or [])):
        each_tensor(part.inputs, add)
        each_tensor(part.targets, add)
    return found.hexdigest()[:16]
