"""Do the tests notice when the code is wrong? Change it in one place at a time, and see whether one fails.

    python tests/bench/mutants.py [--count 300] [--only 3 17] [--quick] [--keep]
                                  [--results build/mutants.jsonl]

First the tests of the rooms run once, and it is written down which lines each runs. Then one process imports
package and tests; for each mutant it forks, makes the change in the running code, and runs the tests that run
the changed statement, the quickest first, until one fails. What only a new import brings is tried in a copy,
in a process for each. What survives is tried again there, against all tests of the rooms; --quick leaves this
out. Each result is written down when it is known: what was killed is not run again, and what survived only
after the tests have changed. A survivor that computes the same as the original is entered, by hand and with
its reason, in equivalent_mutants.json; it counts neither way. The exit status is 1 where fewer than 95 % are
noticed.

Results belong to the tests and packages they came from. So what --keep writes into killers.json is none, only
which test noticed each mutant: that one is tried first from then on, and a run elsewhere takes less long.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from py_compile import PycInvalidationMode

import coverage
from mutating import MUTATED, ROOT, Mutant, drawn
from rooms import ROOMS
from transplanting import CannotError, functions, transplant

ABOVE_ALL = ("tests/test_verbs.py", "tests/test_yardstick.py", "tests/test_rooms.py")
HOUSE = "tests/test_rooms.py::test_every_value_is_frozen"  # looks at classes, and runs no line of them
MARK = 0.95
MEMORY = 16 << 30  # bytes of addresses; a mutant may ask for all there are
LONGEST = 3600  # s, for one mutant in place; what loops is ended earlier, by the time it computes
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
CANNOT, ENDED = 97, 98  # exit statuses that pytest does not use
KILLERS = Path(__file__).with_name("killers.json")


@dataclass
class Known:
    """What the tests do on the code as it is.

    ``seconds``: of computing, that each test takes; ``runs``: of each file, by line, the tests that run it;
    ``sources``: the checksum of each file then.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    runs: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)

    def running(self, mutant: Mutant) -> set[str]:
        """Return the tests that run a mutant's statement, as far as the file is what it was."""
        if self.sources.get(mutant.file) != mutant.checksum:
            return set()
        lines, (first, last) = self.runs[mutant.file], mutant.lines
        return {test for line in range(first, last + 1) for test in lines.get(str(line), ())}

    def near(self, mutant: Mutant) -> set[str]:
        """Return the tests that run a mutant's statement; else those of its file and room."""
        others = (test for tests in self.runs.get(mutant.file, {}).values() for test in tests)
        room = (test for test in self.seconds if room_of(test) == mutant.room)
        return self.running(mutant) or {HOUSE, *others, *room}

    def order(self, first: str) -> Callable:
        """Return the order in which to run tests: the first, then the quickest."""
        return lambda item: (item.nodeid != first, self.seconds.get(item.nodeid, 0.0))


@dataclass
class Results:
    """What came out for each mutant, in a file that grows by a line with each."""

    path: Path
    last: dict[tuple, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                self.last[self._key(**record)] = record

    @staticmethod
    def _key(file, line, mutation, checksum, **others) -> tuple:
        return file, line, mutation, checksum

    def of(self, mutant: Mutant) -> dict:
        return self.last.get(self._key(**asdict(mutant)), {"result": "", "stage": "", "tests": 0})

    def waits(self, mutant: Mutant, stage: str) -> bool:
        """Return whether there is something to run for a mutant."""
        found = self.of(mutant)
        if found["result"] == "killed":
            return False
        return found["tests"] != tests_of(mutant.room) or found["stage"] not in (stage, "all")

    def add(self, mutant: Mutant, result: str, stage: str, by: str, seconds: float) -> None:
        more = {"result": result, "stage": stage, "by": by, "seconds": round(seconds, 1)}
        record = {**asdict(mutant), **more, "tests": tests_of(mutant.room)}
        self.last[self._key(**record)] = record
        with self.path.open("a", encoding="utf-8") as file:
            print(json.dumps(record), file=file)
        place = f"{mutant.file}:{mutant.number}"
        print(f"{result:9}{seconds:6.0f} s  {place}  {mutant.mutation:.70}  {by:.70}", flush=True)


def room_of(path: str) -> str:
    """Return the room of a file of the package, or of a test."""
    return path.split("/")[1]


def tests_of(room: str) -> int:
    """Return the checksum of a room's tests as they are."""
    texts = [path.read_bytes() for path in sorted((ROOT / "tests" / room).glob("*.py"))]
    return zlib.crc32(b"\0".join(texts))


def test_paths(*rooms: str) -> list[str]:
    paths = [f"{parent}/{room}" for room in rooms for parent in ("tests", "compresslab")]
    return [path for path in paths if (ROOT / path).exists()]


def killers() -> dict[str, str]:
    """Return the test that noticed each mutant before, by the mutant's tag."""
    if not KILLERS.exists():
        return {}
    tags = json.loads(KILLERS.read_text(encoding="utf-8"))
    return {tag: test for test, its in tags.items() for tag in its}


def keep(found: dict[Mutant, dict]) -> None:
    """Write down which test noticed each mutant; what is known of others stays."""
    known = killers() | {m.tag: one["by"] for m, one in found.items() if "::" in one.get("by", "")}
    tests = {
        test: sorted(tag for tag, one in known.items() if one == test) for test in sorted({*known.values()})
    }
    KILLERS.write_text(json.dumps(tests, indent=0) + "\n", encoding="utf-8")


def bounded(known: Known, test: str) -> None:
    """End this process where a test computes too long: what loops does; on a busy machine it only waits."""
    longest = 4 + max(known.seconds.values())  # of a test that was not measured
    signal.setitimer(signal.ITIMER_VIRTUAL, 10 + 5 * known.seconds.get(test, longest))


class Watching:
    """A pytest plugin: which test failed first, and what each takes and runs."""

    def __init__(self) -> None:
        self.failed, self.took, self.began = "", {}, 0.0
        self.watch: coverage.Coverage | None = None

    def pytest_runtest_logstart(self, nodeid) -> None:
        self.began = time.process_time()
        if self.watch is not None:
            self.watch.switch_context(nodeid)

    def pytest_runtest_logfinish(self, nodeid) -> None:
        self.took[nodeid] = time.process_time() - self.began

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid
            print(report.nodeid, report.longreprtext, flush=True)

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.failed = self.failed or f"collecting {report.nodeid}"


class Chosen(Watching):
    """A pytest plugin: run the tests that are chosen, the one that is named first and then the quickest."""

    def __init__(self, known: Known, chosen: Callable[[str], bool], first: str) -> None:
        super().__init__()
        self.known, self.order, self.chosen = known, known.order(first), chosen

    def pytest_runtest_logstart(self, nodeid) -> None:
        bounded(self.known, nodeid)
        super().pytest_runtest_logstart(nodeid)

    def pytest_collection_modifyitems(self, items) -> None:
        items[:] = sorted((item for item in items if self.chosen(item.nodeid)), key=self.order)


class InPlace(Watching):
    """A pytest plugin: once all tests are collected, do something else than running them."""

    def __init__(self, work: Callable[[InPlace], None]) -> None:
        super().__init__()
        self.work, self.items = work, []

    def pytest_runtestloop(self, session) -> bool:
        self.items = session.items
        self.work(self)
        return True

    def run(self, tests: list, before: Callable[[str], None] = lambda test: None) -> str:
        """Run tests until one fails, and return its name."""
        for item, following in zip(tests, [*tests[1:], None], strict=True):
            before(item.nodeid)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                break
        return self.failed


def pytest_in(folder: Path, paths: list[str], plugin: Watching, *options: str) -> int:
    """Run tests in a folder and return pytest's exit status; for a process of its own."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)
    import pytest

    importlib.import_module("compresslab")  # before the hook that executes annotations: that takes long
    marks = ["-m", "not slow and not site and not browser", "-p", "no:cacheprovider"]
    return int(pytest.main([*paths, "-q", "--tb=short", f"--rootdir={folder}", *marks, *options], [plugin]))


def forked(output: Path, action: Callable[[], int]) -> int:
    """Do something in a process of its own, silent and bounded, and return its exit status or signal."""
    child = os.fork()
    if not child:
        status = ENDED
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            quiet = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            status = action()
        finally:
            os._exit(status)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # and what it started itself


def in_place(mutants: list[Mutant], known: Path, results: Results, folder: Path) -> int:
    """Try mutants in one process that has imported all, after it has measured what has not been."""

    def work(warm: InPlace) -> None:
        facts = Known(**json.loads(known.read_text())) if known.exists() else Known()
        for room in MUTATED:
            new = [i for i in warm.items if room_of(i.nodeid) == room and i.nodeid not in facts.seconds]
            if new:
                if forked(folder / "output.txt", partial(_measured, warm, new, facts, known)):
                    output = (folder / "output.txt").read_text(errors="replace")
                    print(f"{output[-6000:]}\nTests of {room} fail without any mutant.", file=out, flush=True)
                    warm.failed = room
                    continue
                facts = Known(**json.loads(known.read_text()))
                print(f"measured: {len(new)} tests of {room}", file=out, flush=True)
        if warm.failed:
            return
        for path in sorted((ROOT / "compresslab").glob("*/*.py")):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        functions()
        gc.freeze()
        print(f"{len(mutants)} mutants", file=out, flush=True)
        before = killers()
        for mutant in mutants:
            begin, verdict = time.monotonic(), folder / "verdict.txt"
            verdict.write_text("")
            first = before.get(mutant.tag, "")
            status = forked(folder / "output.txt", partial(_tried, warm, mutant, facts, first, verdict))
            if status == CANNOT:
                continue
            by = verdict.read_text() if status > 0 else "time" if status else ""
            with contextlib.redirect_stdout(out):
                results.add(mutant, "killed" if status else "survived", "near", by, time.monotonic() - begin)

    out, plugin = sys.stdout, InPlace(work)
    options = ("-s", "--timeout=0", f"--basetemp={folder}/run")
    return pytest_in(ROOT, [*test_paths(*MUTATED), HOUSE], plugin, *options) or int(bool(plugin.failed))


def _measured(warm: InPlace, new: list, facts: Known, known: Path) -> int:
    """Run tests as they are, and write down how long each takes and which lines it runs."""
    watch = warm.watch = coverage.Coverage(data_file=None, source=[str(ROOT / "compresslab")])
    watch.start()
    for item, following in zip(new, [*new[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    watch.stop()
    data = watch.get_data()
    for name in data.measured_files():
        file = str(Path(name).relative_to(ROOT))
        lines = facts.runs.setdefault(file, {})
        facts.sources[file] = zlib.crc32(Path(name).read_bytes())
        for line, tests in data.contexts_by_lineno(name).items():
            lines[str(line)] = sorted({*lines.get(str(line), ()), *filter(None, tests)})
    facts.seconds |= warm.took
    if not warm.failed:
        known.write_text(json.dumps(asdict(facts)))
    return bool(warm.failed)


def _tried(warm: InPlace, mutant: Mutant, facts: Known, first: str, verdict: Path) -> int:
    """Make a mutant's change in this process and run the tests near it; write down which one failed."""
    near = {first, *facts.near(mutant)}
    tests = sorted((item for item in warm.items if item.nodeid in near), key=facts.order(first))
    signal.alarm(LONGEST)
    try:
        outside = transplant(mutant)
        if not outside and not facts.running(mutant):  # a function that runs on import, or never
            return CANNOT
    except CannotError:
        return CANNOT
    except Exception as error:  # what is run when the file is imported
        verdict.write_text(f"import: {error!r:.80}")
        return 1

    verdict.write_text(warm.run(tests, partial(bounded, facts)))
    if outside and not warm.failed:  # what was made on import may hold the old value
        return CANNOT
    return int(bool(warm.failed))


def copy_to(folder: Path) -> Path:
    """Copy package and tests; compiled files there are valid by what is in a source, not by its time."""
    for name in ("compresslab", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "bench"))
    shutil.copytree(ROOT / "tests" / "bench", folder / "tests" / "bench")
    for name in ("book", "notebooks"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    compileall.compile_dir(
        folder / "compresslab", quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH
    )
    return folder


def afresh(mutants: list[Mutant], known: Known, results: Results, folder: Path, last: str) -> None:
    """Try mutants in a copy that is imported anew: the tests near each; then, if that is the last stage, all.

    All are those of its room and of those above.
    """
    copy, before = copy_to(folder / "copy"), killers()
    for mutant in mutants:
        path, begin, failed = copy / mutant.file, time.monotonic(), 0
        source, verdict = path.read_bytes(), folder / "verdict.txt"
        path.write_bytes(mutant.applied(source))
        first = before.get(mutant.tag, "")
        near = known.near(mutant) | ({first} if first else set())
        above = [room for room in ROOMS[ROOMS.index(mutant.room) :] if room in MUTATED]
        stages = [
            (sorted({test.partition("::")[0] for test in near}), near.__contains__),
            ([*test_paths(*above), *ABOVE_ALL], lambda test, near=near: test not in near),
        ]
        begun = results.of(mutant)["stage"] == "near" and not results.waits(mutant, "near")
        for paths, chosen in stages[begun : 1 if last == "near" else 2]:
            verdict.write_text("import")
            plugin = Chosen(known, chosen, first)
            action = partial(_in_copy, copy, paths, plugin, verdict)
            failed = forked(folder / "output.txt", action) if paths else 0
            if failed not in (0, 5):  # 5: there was nothing to run
                break
        path.write_bytes(source)
        by = "" if failed in (0, 5) else "time" if failed < 0 else verdict.read_text()
        results.add(mutant, "killed" if by else "survived", last, by, time.monotonic() - begin)


def _in_copy(copy: Path, paths: list[str], plugin: Chosen, verdict: Path) -> int:
    """Run tests in a copy and write down which one failed."""
    sys.dont_write_bytecode = True
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)  # to import and collect; then each test sets its own
    status = pytest_in(copy, paths, plugin, "-x", f"--timeout={LONGEST}")
    verdict.write_text(plugin.failed)
    return status


def main() -> int:
    """Run what has not been run, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "mutants.jsonl")
    parser.add_argument("--quick", action="store_true", help="only the tests near each")
    parser.add_argument(
        "--keep", action="store_true", help="write down which test noticed each, for next time"
    )
    parser.add_argument("--only", type=int, nargs="+", help="places in the fixed order, from 0")
    for name, value in (("count", 300), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    listed = Path(__file__).with_name("equivalent_mutants.json").read_text(encoding="utf-8")
    equivalent = {(one["file"], one["line"], one["mutation"]) for one in json.loads(listed)}
    mutants, results = drawn(asked.count, asked.seed), Results(asked.results)
    mutants = [mutants[place] for place in asked.only] if asked.only else mutants
    judged = [m for m in mutants if m.key not in equivalent]
    known = asked.results.with_suffix(".known.json")
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ENDED))
    for name in PRELOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        near = [m for m in judged if results.waits(m, "near")]
        if near:
            child = _begun(near, known, results, folder)
            try:
                if os.waitpid(child, 0)[1]:
                    return 1
            except BaseException:
                os.kill(child, signal.SIGTERM)  # it ends what it runs
                raise
        results = Results(asked.results)
        last = "near" if asked.quick else "all"
        left = [m for m in judged if results.waits(m, last)]
        if left:
            afresh(left, Known(**json.loads(known.read_text())), results, folder, last)
    if asked.keep:
        keep({m: results.of(m) for m in judged})
    return said(mutants, judged, results)


def _begun(mutants: list[Mutant], known: Path, results: Results, folder: Path) -> int:
    """Start the process that imports all, and return its number."""
    child = os.fork()
    if not child:
        status = ENDED
        try:
            status = in_place(mutants, known, results, folder)
        finally:
            sys.stdout.flush()
            os._exit(status)
    return child


def said(mutants: list[Mutant], judged: list[Mutant], results: Results) -> int:
    """Print what came out, and return the exit status."""
    found = {m: results.of(m) for m in judged}
    counts = Counter((one["result"], one["stage"]) for one in found.values())
    for m, one in found.items():
        if one["result"] == "survived":
            print(f"survived ({one['stage']}): {m.file}:{m.number}: {m.line}\n          {m.mutation}")
    near, all_, left = counts["killed", "near"], counts["killed", "all"], counts["", ""]
    survived = len(judged) - near - all_ - left
    print(f"{near} killed by tests near them, {all_} by others or imported anew, {survived} survived,")
    print(f"{len(mutants) - len(judged)} are equivalent, {left} were not run;")
    share = (near + all_) / max(1, len(judged) - left)
    print(f"{share:.1%} of the others were noticed, the mark is {MARK:.0%}")
    return int(share < MARK or left > 0)


if __name__ == "__main__":
    sys.exit(main())
