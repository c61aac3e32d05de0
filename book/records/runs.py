"""What the experiments share: runs that are not repeated after an interruption, and grids without an edge."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

WORK = Path("build/records")
BEGUN = Path(__file__).parent / "begun"  # runs of experiments that are not finished; they go with the code


class Runs:
    """Keep what every finished run found as a line of a file; a run that stands there is not made again.

    Args:
        name: of the file in build/records. Files whose names begin alike are read together, so that processes
            with files of their own can share the work.
        worker: what the name of the own file ends in.
    """

    def __init__(self, name: str, worker: str = "") -> None:
        self.name, self.file, self.found = name, WORK / f"{name}{worker}.jsonl", {}
        WORK.mkdir(parents=True, exist_ok=True)
        self.reread()

    def reread(self) -> None:
        """Take in what other processes have found meanwhile."""
        for file in (*sorted(BEGUN.glob(f"{self.name}*.jsonl")), *sorted(WORK.glob(f"{self.name}*.jsonl"))):
            for line in file.read_text(encoding="utf-8").splitlines():
                key, found = json.loads(line)
                self.found[tuple(key)] = found

    def of(self, key: tuple, make: Callable[..., Any], *asked: Any) -> Any:
        """Return what the run of this key found; if it was not made, make it from what is asked."""
        if key not in self.found:
            self.found[key] = make(*asked)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, self.found[key]]) + "\n")
            print(self.name, *key, self.found[key], flush=True)
        return self.found[key]


def beyond(tried: dict[float, float], factor: float = 2) -> float | None:
    """Return the setting to try next: behind the one with the least loss if that is at an edge, else None.

    >>> beyond({0.1: 3.0, 0.2: 2.0, 0.4: 1.0}), beyond({0.1: 3.0, 0.2: 1.0, 0.4: 2.0})
    (0.8, None)
    """
    edges = {min(tried): min(tried) / factor, max(tried): max(tried) * factor}
    following = edges.get(min(tried, key=tried.__getitem__))
    return following and float(f"{following:.3g}")


def tuned(
    loss: Callable[[float], float], grid: Iterable[float], factor: float = 2, lowest: float = 0.0
) -> tuple[float, dict[float, float]]:
    """Return the setting with the least loss and all that were tried; the grid grows where it is at an edge.

    Args:
        loss: what a run with a setting came to, read on validation.
        grid: the settings to begin with.
        factor: from each further setting to the next.
        lowest: a natural bound, below which nothing is tried.
    """
    tried = {setting: loss(setting) for setting in grid}
    while (following := beyond(tried, factor)) is not None and following >= lowest:
        tried[following] = loss(following)
    return min(tried, key=tried.__getitem__), dict(sorted(tried.items()))
