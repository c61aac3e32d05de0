"""Do the tests notice when the code is wrong? Change it in one place at a time, and see whether one fails.

    python tests/bench/mutants.py [results.jsonl] [--count 300] [--seed 0] [--workers 2]

First all tests run once, and it is written down which lines each runs. A mutant is run against the tests
that run its statement, in any room; then, if it survives, against all others of its room and those above,
since a test may use what another has computed and kept. All happens in temporary copies. What is in the file
of results is not run again. A survivor that computes the same as the original is entered, by hand and with
its reason, in equivalent_mutants.json; it counts neither way. The exit status is 1 where fewer than 95 % are
noticed.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from py_compile import PycInvalidationMode

import coverage
from rooms import ROOMS

ROOT = Path(__file__).resolve().parents[2]

MUTATED = ("quantization", "surgery", "coding", "storage", "measuring", "pruning")
ABOVE_ALL = ("tests/test_verbs.py", "tests/test_yardstick.py")
MARK = 0.95
MEMORY = 16 << 30  # bytes of addresses; a mutant may ask for all there are
PRELOADED = (
    "torch.fx",
    "torchvision",
    "numpy",
    "scipy.stats",
    "constriction",
    "hypothesis",
    "sklearn",
    "pytest",
)

COMPARISONS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
KINDS = ("comparison", "off by one", "swapped", "dropped", "constant")
PAIRS = ("min max", "amin amax", "minimum maximum", "argmin argmax", "floor ceil", "any all")
SWAPPED = {left: right for pair in PAIRS for left, right in (pair.split(), reversed(pair.split()))}
SHOWN = ("__repr__", "__str__", "extra_repr", "_repr_html_", "_repr_markdown_")


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes from ``start`` to ``stop`` of a file become others."""

    file: str
    number: int
    lines: tuple[int, int]  # of the statement
    line: str
    mutation: str
    start: int
    stop: int
    text: str
    checksum: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays the same when other lines of the file change."""
        return self.file, self.line, self.mutation


@dataclass(frozen=True)
class Known:
    """What the tests do on the code as it is.

    ``seconds``: what each test takes; ``runs``: of each file, by line, the tests that run it.
    """

    seconds: dict[str, float]
    runs: dict[str, dict[str, list[str]]]


class Finder(ast.NodeVisitor):
    """Collect what can be changed in a file."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.source, self.found = file, source, []
        lines = source.splitlines(keepends=True)
        self.lines, self.starts = lines, [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
        self.statement = (1, len(lines))
        self.visit(ast.parse(source))

    def visit(self, node) -> None:
        """Remember the lines of the statement that is being looked through, without those of its body."""
        before = self.statement
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            self.statement = node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
        super().visit(node)
        self.statement = before

    def add(self, node, kind: str, text: str, start: int | None = None, stop: int | None = None) -> None:
        first = self.starts[node.lineno - 1] + node.col_offset if start is None else start
        last = self.starts[node.end_lineno - 1] + node.end_col_offset if stop is None else stop
        old = " ".join(self.source[first:last].decode().split())
        number = self.source.count(b"\n", 0, first) + 1
        line = self.lines[number - 1].decode().strip()
        mutant = Mutant(
            self.file,
            number,
            self.statement,
            line,
            f"{kind}: {old} -> {text}",
            first,
            last,
            text,
            self.checksum,
        )
        twins = sum(one.line == line and one.mutation.startswith(mutant.mutation) for one in self.found)
        self.found.append(replace(mutant, mutation=mutant.mutation + f" ({twins + 1})" * bool(twins)))

    @property
    def checksum(self) -> int:
        return zlib.crc32(self.source)

    def visit_FunctionDef(self, node) -> None:
        if node.name not in SHOWN:
            for child in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
                self.visit(child)

    def visit_AnnAssign(self, node) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node) -> None:
        if not (isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"):
            if not isinstance(node.targets[0], ast.Name | ast.Tuple):
                self.add(node, "dropped", "pass")
            self.generic_visit(node)

    def visit_Raise(self, node) -> None:
        self.add(node, "dropped", "pass")  # and nothing inside: a message is no law

    def visit_AugAssign(self, node) -> None:
        self.add(node, "dropped", "pass")
        self.generic_visit(node)

    def visit_Expr(self, node) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            if isinstance(node.value, ast.Call):
                self.add(node, "dropped", "pass")
            self.generic_visit(node)

    def visit_keyword(self, node) -> None:
        if node.arg != "strict":  # zip's own assertion, which no right code ever meets
            self.visit(node.value)

    def visit_JoinedStr(self, node) -> None:
        """Leave texts alone."""

    def visit_Compare(self, node) -> None:
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            old, new = COMPARISONS[type(op)]
            start = self.starts[left.end_lineno - 1] + left.end_col_offset
            stop = self.starts[right.lineno - 1] + right.col_offset
            place = self.source.find(old.encode(), start, stop)
            if place >= 0:
                self.add(node, "comparison", new, place, place + len(old))
        self.generic_visit(node)

    def visit_Constant(self, node) -> None:
        if isinstance(node.value, bool):
            self.add(node, "constant", str(not node.value))
        elif isinstance(node.value, int):
            self.add(node, "off by one", str(node.value + 1))
            if node.value > 0:
                self.add(node, "off by one", str(node.value - 1))
        elif isinstance(node.value, float):
            self.add(node, "constant", repr(2 * node.value or 1.0))

    def visit_Name(self, node) -> None:
        if node.id in SWAPPED and isinstance(node.ctx, ast.Load):
            self.add(node, "swapped", SWAPPED[node.id])

    def visit_Attribute(self, node) -> None:
        if node.attr in SWAPPED:
            stop = self.starts[node.end_lineno - 1] + node.end_col_offset
            self.add(node, "swapped", SWAPPED[node.attr], stop - len(node.attr), stop)
        self.generic_visit(node)


def drawn(count: int, seed: int) -> list[Mutant]:
    """Draw as many mutants of each kind, of all that there are in these rooms, by a seed."""
    found, chance = [], random.Random(seed)
    for path in sorted(path for room in MUTATED for path in (ROOT / "compresslab" / room).glob("*.py")):
        if path.name != "__init__.py":
            found += Finder(str(path.relative_to(ROOT)), path.read_bytes()).found
    kinds = [[mutant for mutant in found if mutant.mutation.startswith(kind)] for kind in KINDS]
    chosen = [chance.sample(kind, min(len(kind), -(-count // len(KINDS)))) for kind in kinds]
    return [mutant for turn in zip_longest(*chosen) for mutant in turn if mutant is not None][:count]


def copy_to(folder: Path) -> Path:
    """Copy package and tests; compiled files there are valid by what is in a source, not by its time."""
    for name in ("compresslab", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "bench"))
    (folder / "book").symlink_to(ROOT / "book")
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", folder)
    compileall.compile_dir(
        folder / "compresslab", quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH
    )
    return folder


class Quickest:
    """A pytest plugin: run the chosen tests, quickest first; note what each takes and runs."""

    def __init__(self, seconds: dict[str, float], chosen: Callable[[str], bool] | None = None) -> None:
        self.seconds, self.chosen, self.failed, self.took = seconds, chosen, "", {}
        self.watch: coverage.Coverage | None = None

    def pytest_collection_modifyitems(self, items) -> None:
        items[:] = [item for item in items if self.chosen is None or self.chosen(item.nodeid)]
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logstart(self, nodeid) -> None:
        if self.watch is not None:
            self.watch.switch_context(nodeid)

    def pytest_runtest_logreport(self, report) -> None:
        self.took[report.nodeid] = self.took.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.failed = self.failed or f"collecting {report.nodeid}"


def test_paths(room: str) -> tuple[str, ...]:
    return tuple(path for path in (f"tests/{room}", f"compresslab/{room}") if (ROOT / path).exists())


def above(room: str) -> tuple[str, ...]:
    """Return where the tests of a room lie, and those of the rooms above it."""
    return (*(path for other in ROOMS[ROOMS.index(room) :] for path in test_paths(other)), *ABOVE_ALL)


def stages(mutant: Mutant, known: Known) -> Iterator[tuple[tuple[str, ...], Callable[[str], bool]]]:
    """Yield what is run in turn, as files and a choice of tests: those that run the line, then others."""
    first, last = mutant.lines
    runs = known.runs.get(mutant.file, {})
    near = {test for line in range(first, last + 1) for test in runs.get(str(line), ())}
    if near:
        yield tuple(sorted({test.partition("::")[0] for test in near})), near.__contains__
    yield above(mutant.file.split("/")[1]), lambda test: test not in near


def in_copy(folder: Path, paths: tuple[str, ...], plugin: Quickest, *options: str) -> int:
    """Run tests in a copy and return pytest's exit status; for a process of its own."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)
    import pytest

    importlib.import_module("compresslab")  # before the hook that executes annotations: that takes long
    marks = ["-m", "not slow and not site and not browser"]
    return int(pytest.main([*paths, "-q", "--tb=no", f"--rootdir={folder}", *marks, *options], [plugin]))


def forked(folder: Path, action, limit: float | None = None) -> tuple[int, float]:
    """Start an action in a process of its own, silent and bounded; return its number and when to end it."""
    child = os.fork()
    if child:
        return child, time.monotonic() + (limit or 1e9)
    status = 99
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        quiet = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        status = action()
    finally:
        os._exit(status)


def measured(folder: Path) -> Known:
    """Run all tests once on the code as it is, and return how long each takes and which lines it runs."""
    plugin, file = Quickest({}), folder / "known.json"

    def action() -> int:
        plugin.watch = coverage.Coverage(data_file=None, source=[str(folder / "compresslab")])
        plugin.watch.start()
        status = in_copy(folder, above(ROOMS[0]), plugin)
        plugin.watch.stop()
        data, runs = plugin.watch.get_data(), {}
        for name in data.measured_files():
            by_line = data.contexts_by_lineno(name).items()
            lines = {str(line): sorted(filter(None, tests)) for line, tests in by_line}
            runs[str(Path(name).relative_to(folder))] = lines
        file.write_text(json.dumps(asdict(Known(plugin.took, runs))))
        return status

    child, _ = forked(folder, action)
    if os.waitpid(child, 0)[1]:
        raise SystemExit((folder / "output.txt").read_text()[-3000:] + "\nThe tests fail without any mutant.")
    return Known(**json.loads(file.read_text()))


def tried(folder: Path, mutant: Mutant, known: Known) -> int:
    """Run one mutant's tests in this process; write down which test failed."""
    sys.dont_write_bytecode = True
    path = folder / mutant.file
    source = path.read_bytes()
    path.write_bytes(source[: mutant.start] + mutant.text.encode() + source[mutant.stop :])
    for paths, chosen in stages(mutant, known):
        grandchild = os.fork()
        if not grandchild:
            status = 98
            try:
                plugin = Quickest(known.seconds, chosen)
                longest = f"--timeout={30 + 6 * max(known.seconds.values()):.0f}"  # what loops for ever
                status = in_copy(folder, paths, plugin, "-x", "-p", "no:cacheprovider", longest)
                (folder / "verdict.txt").write_text(plugin.failed)
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
        if status not in (0, 5):  # 5: there was nothing to run
            return abs(status)
    return 0


def run(mutants: list[Mutant], known: Known, folders: list[Path], out) -> None:
    """Try all mutants, one in each folder at a time; write each result down as soon as it is known."""
    waiting, free, busy, limit = deque(mutants), deque(folders), {}, 60 + 4 * sum(known.seconds.values())
    originals = {mutant.file: (ROOT / mutant.file).read_bytes() for mutant in mutants}
    try:
        while waiting or busy:
            while waiting and free:
                folder, mutant = free.popleft(), waiting.popleft()
                (folder / "verdict.txt").write_text("import")
                child, end = forked(folder, lambda f=folder, m=mutant: tried(f, m, known), limit)
                busy[child] = folder, mutant, end, time.monotonic()
            time.sleep(0.02)
            for child, (folder, mutant, end, begin) in list(busy.items()):
                done, status = os.waitpid(child, os.WNOHANG)
                late = not done and time.monotonic() > end
                if late:
                    _end(child)
                if done or late:
                    del busy[child]
                    code = 1 if late else os.waitstatus_to_exitcode(status)
                    by = "time" if late else (folder / "verdict.txt").read_text() if code else ""
                    (folder / mutant.file).write_bytes(originals[mutant.file])
                    free.append(folder)
                    _write_down(mutant, "killed" if code else "survived", by, time.monotonic() - begin, out)
    finally:
        for child in busy:
            _end(child)


def _end(child: int) -> None:
    """End a process that this one started, and what it started itself: they are a group of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _write_down(mutant: Mutant, result: str, by: str, seconds: float, out) -> None:
    record = {**asdict(mutant), "result": result, "by": by, "seconds": round(seconds, 1)}
    print(json.dumps(record), file=out, flush=True)
    place = f"{mutant.file}:{mutant.number}"
    print(f"{result:9}{seconds:6.0f} s  {place}  {mutant.mutation:.70}  {by:.70}", flush=True)


def main() -> int:
    """Run what has not been run, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", nargs="?", default=f"{tempfile.gettempdir()}/compresslab_mutants.jsonl")
    for name, value in (("count", 300), ("seed", 0), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    path = Path(asked.results)
    equivalent = {
        (one["file"], one["line"], one["mutation"])
        for one in json.loads(Path(__file__).with_name("equivalent_mutants.json").read_text(encoding="utf-8"))
    }
    mutants = drawn(asked.count, asked.seed)
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    known = {(r["file"], r["start"], r["mutation"], r["checksum"]): r["result"] for r in records}
    judged = [m for m in mutants if m.key not in equivalent]
    left = [m for m in judged if (m.file, m.start, m.mutation, m.checksum) not in known]
    if left:
        os.environ["OMP_NUM_THREADS"] = "1"
        for name in PRELOADED:
            importlib.import_module(name)
        with tempfile.TemporaryDirectory() as parent, path.open("a", encoding="utf-8") as out:
            folders = [copy_to(Path(parent) / str(number)) for number in range(asked.workers)]
            kept = path.with_suffix(".known.json")
            if not kept.exists():
                kept.write_text(json.dumps(asdict(measured(folders[0]))))
            run(left, Known(**json.loads(kept.read_text())), folders, out)
        records = [json.loads(line) for line in path.read_text().splitlines()]
        known = {(r["file"], r["start"], r["mutation"], r["checksum"]): r["result"] for r in records}
    results = Counter(known[m.file, m.start, m.mutation, m.checksum] for m in judged)
    for m in judged:
        if known[m.file, m.start, m.mutation, m.checksum] == "survived":
            print(f"survived: {m.file}:{m.number}: {m.line}\n          {m.mutation}")
    share = results["killed"] / max(1, len(judged))
    others = len(mutants) - len(judged)
    print(f"{results['killed']} killed, {results['survived']} survived, {others} equivalent;")
    print(f"{share:.1%} of the others were noticed, the mark is {MARK:.0%}")
    return int(share < MARK)


if __name__ == "__main__":
    sys.exit(main())
