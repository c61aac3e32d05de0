"""Repeat the long experiments; those that have finished, and have not changed since, are not made again.

Run from the root of the repository: python book/records/repeat.py [--list] [script ...]

An experiment is a script of this folder that says where its record goes. It comes after those that it imports
or whose files it reads. What has finished stands in finished.json beside this script, with the seconds of it
and digests of the scripts and of the record: if one of them differs, the script runs, and takes from its
finished runs in build/records what it can. The file goes with the code, so that one repetition of all may
take several sittings, and a reader sees what was repeated. Delete it and build/records to begin anew. With
names only these run; --list says what would run, and how long each takes, as its docstring tells.
"""

import argparse
import ast
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path

from compresslab.teaching import records

HERE = Path(__file__).parent
FINISHED = HERE / "finished.json"
FIRST, LAST = "train_checkpoints", ("drawing", "speed", "kernels")  # LAST: they look at what the others made
ARGUMENTS = {
    "neuron_criteria": ("article",),
    "capstone": ("--final",),
}  # its network; all seeds are read at last
LINUX = ("kernels",)  # reads what the system of Linux tells of processes
COUNTS = {
    "half an": 0.5,
    "a quarter of an": 0.25,
    "a": 1,
    "an": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "eight": 8,
}
COUNTS |= {"ten": 10, "twenty": 20, "forty": 40}
MINUTES = {"hour": 60, "minute": 1}


class Experiment:
    """A script, what it needs, and how far it is.

    Args:
        path: of the script.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.text = path, path.stem, path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)

    @cached_property
    def record(self) -> Path | None:
        """Return the file that it writes, if it is an experiment."""
        found = re.search(r'^(?:RECORD|TABLE) = records\.FOLDER / "([^"]+)"', self.text, re.MULTILINE)
        return records.FOLDER / found[1] if found else None

    @cached_property
    def uses(self) -> set[str]:
        """Return the scripts of its folder that it imports, or whose files it names."""
        nodes = list(ast.walk(self.tree))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        names |= set(re.findall(r'"(\w+)/', self.text))
        return {name for name in names - {self.name} if (self.path.parent / f"{name}.py").exists()}

    @property
    def minutes(self) -> float:
        """Return how long it takes on one core, as its docstring says it last."""
        said = " ".join((ast.get_docstring(self.tree) or "").lower().split())
        told = re.findall(rf"\b({'|'.join(sorted(COUNTS, key=len, reverse=True))}) (hour|minute)s?\b", said)
        if not told:
            raise LookupError(f"{self.path.name} does not say in words how many minutes or hours it takes")
        count, unit = told[-1]
        return COUNTS[count] * MINUTES[unit]

    def digests(self) -> dict[str, str]:
        """Return a digest of the script with all that it imports from its folder, and one of the record."""
        texts, waiting = {}, [self.name]
        while waiting:
            name = waiting.pop()
            if name not in texts:
                one = Experiment(self.path.with_name(f"{name}.py"))
                texts[name] = one.text
                waiting += one.uses
        written = self.record and self.record.exists() and self.record.read_bytes()
        joined = "".join(texts[name] for name in sorted(texts)).encode()
        return {
            "scripts": hashlib.sha256(joined).hexdigest(),
            "record": hashlib.sha256(written or b"").hexdigest(),
        }


def experiments(folder: Path = HERE) -> list[Experiment]:
    """Return all experiments, each after what it uses."""
    found = {path.stem: Experiment(path) for path in sorted(folder.glob("*.py"))}
    found = {name: one for name, one in found.items() if one.record and one.path != Path(__file__)}
    before = {name: one.uses & set(found) | ({FIRST} & set(found) - {name}) for name, one in found.items()}
    for name in set(LAST) & set(found):
        before[name] |= set(found) - set(LAST)
    before[FIRST] = set()
    return [found[name] for name in TopologicalSorter(before).static_order() if name in found]


class Finished:
    """What has finished, in a file: of each script its digests then, and the seconds of all its runs."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def has(self, one: Experiment) -> bool:
        known = self.known.get(one.name, {})
        return known.get("done", False) and known["digests"] == one.digests()

    def run(self, one: Experiment) -> float:
        """Run a script, and return the seconds that it took, with those of runs that were interrupted."""
        known = self.known.get(one.name, {})
        before = 0.0 if known.get("done", True) else known["seconds"]
        begun, done = time.perf_counter(), False
        try:
            command = [sys.executable, str(one.path), *ARGUMENTS.get(one.name, ())]
            done = subprocess.run(command, check=False).returncode == 0
        finally:
            seconds = before + time.perf_counter() - begun
            self.known[one.name] = {"done": done, "seconds": round(seconds, 1), "digests": one.digests()}
            self.file.write_text(json.dumps(self.known, indent=1) + "\n", encoding="utf-8")
        if not done:
            raise SystemExit(f"{one.name} ended with an error; the next run goes on there")
        return seconds


def repeat(listed: Iterable[Experiment], finished: Finished, only_list: bool = False) -> None:
    """Run what has not finished, one after the other, and say what each took."""
    left, whole = 0.0, 0.0
    for one in listed:
        if one.name in LINUX and sys.platform != "linux":
            print(f"{one.name:32}{'-':>12}, needs Linux", flush=True)
            continue
        whole += one.minutes
        if finished.has(one):
            print(
                f"{one.name:32}{clock(finished.known[one.name]['seconds']):>12}, finished before", flush=True
            )
            continue
        left += one.minutes
        said = f"{one.name:32}{clock(60 * one.minutes):>12}, says its docstring"
        print(said if only_list else f"{one.name} ...", flush=True)
        if not only_list:
            print(f"{one.name:32}{clock(finished.run(one)):>12}", flush=True)
    said = f"by the docstrings {clock(60 * whole)} of one core"
    print(f"all: {said}, of which {clock(60 * left)} {'are left' if only_list else 'were left'}")


def clock(seconds: float) -> str:
    """Write a time.

    >>> clock(42), clock(600), clock(9000)
    ('42 s', '10 min', '2 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def main(*asked: str) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="say what would run")
    parser.add_argument("scripts", nargs="*", help="only these")
    given, listed = parser.parse_args(asked), experiments()
    if unknown := set(given.scripts) - {one.name for one in listed}:
        raise SystemExit(
            f"no experiment: {', '.join(sorted(unknown))}; there are {[one.name for one in listed]}"
        )
    chosen = [one for one in listed if not given.scripts or one.name in given.scripts]
    repeat(chosen, Finished(FINISHED), given.list)


if __name__ == "__main__":
    main(*sys.argv[1:])
