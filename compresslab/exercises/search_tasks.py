"""The functions that chapter 20 asks for: a step's price, the step that comes first, a budget spent."""

from collections.abc import Sequence

from compresslab.exercises.task import Task

Table = Sequence[Sequence[float]]  # for each layer a number for each option


def _price(lost: float, more_lost: float, cost: float, less: float) -> float:
    return (more_lost - lost) / (cost - less)


PRICE = Task(
    _price,
    lambda: [
        (0.0, 2.0, 800, 400),
        (2.0, 8.0, 400, 200),
        (1.0, 1.5, 50, 10),
        (0.0, 3.0, 600, 150),
        (0.5, 0.5, 90, 30),
    ],
    "What is lost more, divided by what is saved.",
    [
        (lambda a, b, c, d: b / (c - d), "What was lost before is not lost again: take the difference."),
        (lambda a, b, c, d: (b - a) / d, "Divide by what is saved, not by what is left."),
        (lambda a, b, c, d: (b - a) / c, "Divide by what is saved, not by what it cost."),
        (lambda a, b, c, d: (a - b) / (c - d), "What is lost more is positive, and so is what is saved."),
        (lambda a, b, c, d: (b - a) * (c - d), "Loss for each byte is a quotient."),
    ],
    within=1e-9,
)


def _steps(now: Sequence[int], losses: Table, costs: Table) -> list[tuple[float, int, int]]:
    return [
        (
            _price(losses[layer][at], losses[layer][option], costs[layer][at], costs[layer][option]),
            layer,
            option,
        )
        for layer, at in enumerate(now)
        for option in range(len(costs[layer]))
        if costs[layer][option] < costs[layer][at]
    ]


def _first(now: Sequence[int], losses: Table, costs: Table) -> tuple[int, int]:
    return min(_steps(now, losses, costs))[1:]


_LOSSES, _COSTS = [[0.0, 2.0, 8.0], [0.0, 1.0, 1.2]], [[800, 400, 200], [100, 50, 25]]
_OTHER = [[0.0, 3.0, 12.0], [0.0, 1.0, 9.0], [0.0, 0.1, 0.2]], [[600, 300, 150], [400, 200, 100], [10, 5, 2]]
FIRST_STEP = Task(
    _first,
    lambda: [
        ([0, 0], _LOSSES, _COSTS),
        ([1, 0], _LOSSES, _COSTS),
        ([1, 2], _LOSSES, _COSTS),
        ([1, 0], [[0.0, 5.0, 5.5], [0.0, 2.0, 6.0]], [[100, 50, 25], [100, 50, 25]]),
        ([0, 0, 0], *_OTHER),
        ([0, 1, 0], *_OTHER),
        ([1, 1, 0], *_OTHER),
    ],
    "Look at every cheaper option of every layer, and take the least loss for each byte saved.",
    [
        (lambda n, x, c: max(_steps(n, x, c))[1:], "That is the dearest step; the cheapest comes first."),
        (lambda n, x, c: min(_steps(n, x, c))[1], "Return the layer and its new option."),
        (lambda n, x, c: min(_steps(n, x, c))[:0:-1], "The layer comes first, then its option."),
        (
            lambda n, x, c: min((x[i][o] - x[i][n[i]], i, o) for _, i, o in _steps(n, x, c))[1:],
            "That is the least loss; divide it by what the step saves.",
        ),
        (
            lambda n, x, c: min(step for step in _steps(n, x, c) if step[2] == n[step[1]] + 1)[1:],
            "A step may skip an option: try all that are cheaper.",
        ),
        (
            lambda n, x, c: min((x[i][o] / (c[i][n[i]] - c[i][o]), i, o) for _, i, o in _steps(n, x, c))[1:],
            "A layer that has lost something already loses only the difference.",
        ),
    ],
)


def _spend(losses: Table, costs: Table, budget: float, over: bool = False) -> list[int]:
    now = [0] * len(costs)
    while sum(cost[at] for cost, at in zip(costs, now, strict=True)) > budget:
        layer, option = _first(now, losses, costs)
        following = [*now[:layer], option, *now[layer + 1 :]]
        if over and sum(cost[at] for cost, at in zip(costs, following, strict=True)) <= budget:
            break
        now = following
    return now


def _to_the_end(losses: Table, costs: Table, budget: float) -> list[int]:
    return _spend(losses, costs, sum(map(min, costs)))


def _paid(losses: Table, costs: Table, budget: float) -> list[float]:
    return [cost[at] for cost, at in zip(costs, _spend(losses, costs, budget), strict=True)]


SPENT = Task(
    _spend,
    lambda: [
        (_LOSSES, _COSTS, 1000),
        (_LOSSES, _COSTS, 600),
        (_LOSSES, _COSTS, 450),
        (_LOSSES, _COSTS, 225),
        (*_OTHER, 800),
        (*_OTHER, 400),
    ],
    "Start with all at option 0, and step while the costs are above the budget.",
    [
        (lambda x, c, b: _spend(x, c, b, over=True), "The last step is missing: that is above the budget."),
        (_to_the_end, "Stop as soon as the budget is kept."),
        (lambda x, c, b: sum(_paid(x, c, b)), "Return the options, not a sum."),
        (_paid, "Return options, not costs."),
        (lambda x, c, b: [0] * len(c), "That spends nothing; step while it is too dear."),
    ],
)
