"""Searches that are killed and shared: nothing is lost, and nothing is made twice.

This file is also the program that the tests start: ``python test_studies.py kill|share WHERE TRIALS``.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

import pytest

from compresslab.searching.studies import Study

SIZES = {"a": 4, "b": 6, "c": 5}
FIRST = [{"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 3, "c": 4}]
KILLS = 20


def value_of(choice):
    return float((choice["a"] - 2) ** 2 + (choice["b"] - 4) ** 2 + (choice["c"] - 1) ** 2)


def opened(where):
    return Study(where, "test", "mark", SIZES, seed=1)


def work(where, trials, pause, seen=None):
    """Make trials that take a while; say which process made each."""

    def judge(choice):
        time.sleep(pause)
        return value_of(choice), {"process": os.getpid()}

    opened(where).explore(judge, trials, FIRST)


def found_at(where):
    return {number: (tuple(choice.values()), kept) for number, choice, kept in opened(where).found}


def kill(where, trials):
    """Kill one worker after another, at any moment, and look at what is there after each."""
    states, waits = [], [0.03 + 0.37 * ((7 * number) % KILLS) / KILLS for number in range(KILLS)]
    for wait in waits:
        process = get_context("fork").Process(target=work, args=(where, trials, 0.02))
        process.start()
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        states.append((process.exitcode, found_at(where)))
    work(where, trials, 0.0)
    return {"exits": [code for code, _ in states], "states": [found for _, found in states]}


def share(where, trials):
    """Let two processes work at one study."""
    opened(where)  # tables of a database are made once
    both = [get_context("fork").Process(target=work, args=(where, trials, 0.05)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    return {"exits": [process.exitcode for process in both], "states": []}


def run(task, where, trials):
    """Run a task in a fresh interpreter, which may fork."""
    command = [sys.executable, __file__, task, str(where), str(trials)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check_shared(told, trials):
    found = {int(number): one for number, one in told["found"].items()}
    assert told["exits"] == [0, 0]
    assert len(found) == trials
    assert max(Counter(tuple(choice) for choice, _ in found.values()).values()) == 1
    made = Counter(kept["process"] for _, kept in found.values())
    assert len(made) == 2, "one process made everything"
    assert {tuple(first.values()) for first in FIRST} <= {tuple(choice) for choice, _ in found.values()}
    for choice, kept in found.values():
        assert kept["objective"] == value_of(dict(zip(SIZES, choice, strict=True)))


@pytest.mark.slow
def test_a_search_that_is_killed_twenty_times_loses_nothing(tmp_path):
    told = run("kill", tmp_path / "study.journal", 40)
    assert -signal.SIGKILL in told["exits"]
    final = told["found"]
    assert len(final) == 40
    grown = [len(state) for state in told["states"]]
    assert grown == sorted(grown)
    for state in told["states"]:
        assert all(final[number] == one for number, one in state.items())
    choices = [tuple(choice) for choice, _ in final.values()]
    assert len(set(choices)) == 40
    assert {tuple(first.values()) for first in FIRST} <= set(choices)


def test_two_processes_share_a_journal_and_no_trial_is_lost_or_doubled(tmp_path):
    check_shared(run("share", tmp_path / "study.journal", 24), 24)


@contextmanager
def postgres():
    """Start a server of our own in a temporary folder, and stop it."""
    programs = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
    initdb = shutil.which("initdb") or (programs and shutil.which(programs / "initdb"))
    if not initdb:
        pytest.skip("there is no PostgreSQL server here; install postgresql to test a study of many machines")
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed: pip install psycopg[binary]")
    programs = Path(initdb).resolve().parent
    user = [] if os.geteuid() else ["runuser", "-u", "postgres", "--"]  # a server refuses to be root's
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        if user:
            shutil.chown(folder, "postgres")
        at, cluster = Path(folder), Path(folder) / "data"
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        run_one = {"check": True, "capture_output": True, "cwd": folder, "timeout": 120}
        subprocess.run([*user, programs / "initdb", "-D", cluster, "-U", "tester", "-A", "trust"], **run_one)
        options = f"-p {port} -k {at} -c listen_addresses=127.0.0.1 -c fsync=off"
        start = [programs / "pg_ctl", "-D", cluster, "-w", "-l", at / "log", "-o", options, "start"]
        subprocess.run([*user, *start], **(run_one | {"capture_output": False, "stdout": subprocess.DEVNULL}))
        try:
            yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*user, programs / "pg_ctl", "-D", cluster, "-m", "immediate", "stop"], **run_one)


def test_two_processes_share_a_database_and_no_trial_is_lost_or_doubled():
    with postgres() as url:
        check_shared(run("share", url, 24), 24)


def test_a_choice_that_another_process_is_just_making_is_not_made_twice(tmp_path):
    file, made = tmp_path / "study.journal", []
    slow = opened(file)._study.ask()  # numbered, not chosen: a process between two writes to the storage

    def choose():
        time.sleep(0.3)
        for knob, option in FIRST[0].items():
            slow.set_user_attr("worker", [socket.gethostname(), os.getppid()])
            slow.suggest_int(knob, option, option)

    def judge(choice):
        made.append(choice)
        return value_of(choice), {}

    other = Thread(target=choose)
    other.start()
    opened(file).explore(judge, 4, FIRST)
    other.join()
    assert len(made) == 3
    assert FIRST[0] not in made
    assert FIRST[1] in made


def test_a_line_that_a_kill_cut_off_is_no_end(tmp_path):
    file = tmp_path / "study.journal"
    work(file, 3, 0.0)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code":4,"worker')
    before = found_at(file)
    assert file.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in file.read_bytes().splitlines())
    work(file, 5, 0.0)
    after = found_at(file)
    assert len(after) == 5
    assert all(after[number] == one for number, one in before.items())


def test_the_first_choices_are_made_first_and_a_stopped_one_is_taken_up_again(tmp_path):
    made = []

    def judge(choice):
        made.append(tuple(choice.values()))
        if len(made) == 2:
            raise KeyboardInterrupt
        return value_of(choice), {}

    study = opened(tmp_path / "study.journal")
    with pytest.raises(KeyboardInterrupt):
        study.explore(judge, 4, FIRST)
    study.explore(judge, 4, FIRST)
    first = [tuple(choice.values()) for choice in FIRST]
    assert made[:2] == first
    assert made.count(first[1]) == 2
    assert len(list(study.found)) == 4


def test_a_small_space_ends_when_all_of_it_was_tried():
    study = Study(None, "test", "mark", {"a": 2, "b": 2, "c": 1}, seed=0)
    study.explore(lambda choice: (float(sum(choice.values())), {}), 50, [])
    assert sorted(tuple(choice.values()) for _, choice, _ in study.found) == [
        (0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0),
    ]  # fmt: skip


if __name__ == "__main__":
    import optuna  # noqa: F401 - the workers that are forked have it

    task, where, trials = sys.argv[1:]
    told = {"kill": kill, "share": share}[task](where, int(trials))
    print(json.dumps({**told, "found": found_at(where)}))
