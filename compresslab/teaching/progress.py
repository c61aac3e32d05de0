"""What a learner has solved, kept in one file beside the notebooks; nothing is sent anywhere.

    python -m compresslab progress [FOLDER] [--start]

A check that is passed adds the exercise to the file where one lies, and never makes one. So whoever deletes
it is left alone, and ``--start`` begins anew. ``make learn`` puts an empty file into the folder it makes.
"""

import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from itertools import groupby
from pathlib import Path

FILE, BOOK = (
    "progress.json",
    "Small networks",
)  # the file says whose it is: another one of that name is let be


def start(folder: Path) -> Path:
    """Lay an empty file into a folder, where none lies; return its path."""
    path = folder / FILE
    if not path.exists():
        _write(path, {})
    return path


def solved(folder: Path) -> dict[str, str] | None:
    """Return the day on which each exercise was first passed; None where no file of ours lies.

    >>> solved(Path("nowhere")) is None
    True
    """
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return dict(told["solved"]) if told["book"] == BOOK else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def remember(name: str, folder: Path = Path()) -> None:
    """Add an exercise that was passed, where there is a file; what keeps it from being written stays unsaid.

    Args:
        name: such as "02-1".
        folder: where the file lies; a notebook runs in its own.
    """
    had = solved(folder)
    if had is not None and name not in had:
        with suppress(OSError):  # a folder that is only to be read costs the tick, not the answer
            _write(folder / FILE, had | {name: date.today().isoformat()})


def table(names: Iterable[str], had: Iterable[str]) -> str:
    """Return a line for each chapter: what is solved of its exercises, and what is open.

    Args:
        names: of all checks, such as "02-1"; "02-3a" is a step of "02-3".
        had: of those that were passed.

    >>> print(table(["02-1", "02-2", "02-3a", "02-3"], ["02-1", "02-3a"]))
    1 of 3 exercises solved.
    02  solved 2.1, open 2.2 2.3
    """
    passed = set(had)
    whole = sorted({name for name in names if re.fullmatch(r"\d\d-\d+", name)})
    lines = [f"{sum(name in passed for name in whole)} of {len(whole)} exercises solved."]
    for chapter, group in groupby(whole, key=lambda name: name[:2]):
        told: dict[str, list[str]] = {"solved": [], "open": []}
        for name in group:
            told["solved" if name in passed else "open"].append(f"{int(chapter)}.{name[3:]}")
        parts = [f"{word} {' '.join(numbers)}" for word, numbers in told.items() if numbers]
        lines.append(f"{chapter}  {', '.join(parts)}")
    return "\n".join(lines)


def tell(names: Iterable[str], folder: Path, begin: bool = False) -> int:
    """Print what is solved; return 1 where there is no file, or none could be begun."""
    try:
        path = start(folder) if begin else folder / FILE
    except OSError as error:
        print(f"No file could be begun in {folder}: {error.strerror}. Give a folder that you may write to.")
        return 1
    had = solved(folder)
    if had is None:
        print(f"{path} is not there, or is not ours.")
        print(f"To begin one: python -m compresslab progress {folder} --start")
        return 1
    print(f"{path}; delete it, and nothing is kept.\n{table(names, had)}")
    return 0


def _write(path: Path, found: dict[str, str]) -> None:
    whole = path.with_name(f".{path.name}.{os.getpid()}")  # a kernel that is killed leaves the old file
    whole.write_text(json.dumps({"book": BOOK, "solved": found}, indent=1) + "\n", encoding="utf-8")
    whole.replace(path)
