"""Spend a budget by hand: always take the step that loses least for what it saves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from compresslab.errors import CompressionError

Parts = Mapping[str, float]


@dataclass(frozen=True)
class Knob:
    """Hold what one layer bears: for each option what is lost with it alone, and what it does to costs.

    Args:
        name: of the knob, for example ``"fc1 scheme"``.
        losses: of each option, alone; the first option does nothing and loses nothing.
        factors: for each option what the costs of parts are multiplied by; a part that is not named stays.

    >>> Knob("fc1", (0.0, 0.2), ({}, {"fc1": 0.25}))
    Knob(name='fc1', losses=(0.0, 0.2), factors=({}, {'fc1': 0.25}))
    """

    name: str
    losses: tuple[float, ...]
    factors: tuple[Parts, ...] = field(hash=False)

    def __post_init__(self) -> None:
        if len(self.losses) != len(self.factors) or not self.losses:
            raise CompressionError(
                f"The knob {self.name!r:.80} has {len(self.losses)} losses and {len(self.factors)} factors; "
                "give one of each for every option."
            )


def greedy_path(parts: Parts, knobs: Sequence[Knob]) -> list[dict[str, int]]:
    """Turn one knob at a time, from nothing done to all that saves: plans of falling cost.

    A step takes one knob from its option to any other that is cheaper. The one with the least loss for what
    it saves comes first; where steps lose nothing, the one that saves most. Losses of several knobs are
    taken to add up and factors to multiply, which is nearly so while they are small. So the first plan of
    the path that keeps to a budget is a start, and not the best there is.

    Args:
        parts: what each part of the network costs at the start, in one unit.
        knobs: what can be turned.

    Returns:
        The option of every knob, after each step; the first has all at 0.

    Chapter: 20.

    >>> fc1 = Knob("fc1", (0.0, 0.1, 0.9), ({}, {"fc1": 0.5}, {"fc1": 0.25}))
    >>> fc2 = Knob("fc2", (0.0, 0.3), ({}, {"fc2": 0.5}))
    >>> greedy_path({"fc1": 800.0, "fc2": 100.0}, [fc1, fc2])[1:]
    [{'fc1': 1, 'fc2': 0}, {'fc1': 2, 'fc2': 0}, {'fc1': 2, 'fc2': 1}]
    """
    now = {knob.name: 0 for knob in knobs}
    costs, path = dict(parts), [dict(now)]
    while steps := list(_steps(costs, knobs, now)):
        _, _, knob, option = min(steps, key=lambda step: step[:2])
        costs |= _changed(costs, knob, now[knob.name], option)
        now[knob.name] = option
        path.append(dict(now))
    return path


def _steps(
    costs: Parts, knobs: Sequence[Knob], now: Mapping[str, int]
) -> Iterator[tuple[float, float, Knob, int]]:
    """Yield every step that saves: its loss for each unit saved, minus what it saves, knob, option."""
    for knob in knobs:
        at = now[knob.name]
        for option, loss in enumerate(knob.losses):
            after = _changed(costs, knob, at, option)
            saved = sum(costs[part] - cost for part, cost in after.items())
            if saved > 1e-9 * sum(costs.values()):
                yield max(0.0, loss - knob.losses[at]) / saved, -saved, knob, option


def _changed(costs: Parts, knob: Knob, at: int, option: int) -> dict[str, float]:
    """Return the costs of the parts that change when a knob is turned."""
    before, after = knob.factors[at], knob.factors[option]
    names = [part for part in {**before, **after} if part in costs]
    return {part: costs[part] / before.get(part, 1.0) * after.get(part, 1.0) for part in names}
