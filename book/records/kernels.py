"""How much memory and processor time a person's notebook needs, and the JupyterLab server beside it.

Run from the root of the repository, on Linux, after the notebooks were made: python book/records/kernels.py
Numbers of chapters on the command line measure those alone. What was measured stays, so the run can be
resumed; delete the table to measure anew. Some twenty minutes of one core. The page book/hub.md shows it, and
what follows for a JupyterHub.
"""

import csv
import math
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import nbformat
from nbclient import NotebookClient

from compresslab.teaching import records

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
TABLE = records.FOLDER / "kernels.csv"
HUB = records.FOLDER / "hub.csv"
HEAD = ("What", "Peak memory, MB", "Processor time, s")
SERVER = "JupyterLab's server"
PEOPLE, FOR_ONE_CORE = (30, 300), 4


def peak(process: int) -> float:
    """Return the most memory that a process held at once, in MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["VmHWM"].split()[0]) * 1024 / 1e6


def seconds(process: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def of_notebook(path: Path) -> tuple[float, float]:
    """Run a notebook in an empty folder; return its kernel's peak memory in MB and processor time."""
    seen = (0.0, 0.0)

    def look(**_) -> None:
        nonlocal seen
        process = client.km.provisioner.pid
        seen = peak(process), seconds(process)

    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            nbformat.read(path, as_version=4),
            timeout=None,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            on_cell_executed=look,
        )
        client.execute()
    return seen


def of_server() -> tuple[float, float]:
    """Start JupyterLab on this machine alone; return its peak memory in MB and its processor time."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port, token = free.getsockname()[1], secrets.token_hex(16)
        free.close()
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
        command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--allow-root"]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(600):
                with suppress(OSError):
                    urlopen(f"http://127.0.0.1:{port}/lab?token={token}", timeout=60).read()
                    break
                time.sleep(0.5)
            return peak(running.pid), seconds(running.pid)
        finally:
            running.terminate()
            running.wait(60)


def measured() -> dict[str, tuple[str, str]]:
    """Return the rows of the table as it stands."""
    if not TABLE.exists():
        return {}
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {row[0].strip("`"): (row[1], row[2]) for row in list(csv.reader(file))[1:]}


def write(rows: dict[str, tuple[str, str]]) -> None:
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEAD)
        table.writerows((name if name == SERVER else f"``{name}``", *rows[name]) for name in sorted(rows))


def half_gigabytes(memory: float) -> float:
    """Return megabytes as gigabytes, rounded up to a half.

    >>> half_gigabytes(1100)
    1.5
    """
    return math.ceil(memory / 500) / 2


def needs(rows: dict[str, tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return what a hub needs for one person, for 30 and for 300, from the measured rows."""
    server = float(rows[SERVER][0])
    largest = max(float(memory) for name, (memory, _) in rows.items() if name != SERVER)
    each = {"Memory guaranteed, GB": half_gigabytes(server + largest)}
    each["Memory limit, GB"] = half_gigabytes(server + 2 * largest)
    table = [("What", "One person", *(f"{people} people" for people in PEOPLE))]
    for what, one in each.items():
        table.append((what, f"{one:g}", *(f"{one * people:g}" for people in PEOPLE)))
    cores = (str(math.ceil(people / FOR_ONE_CORE)) for people in PEOPLE)
    return [*table, ("Cores", f"1 for {FOR_ONE_CORE}", *cores)]


def main() -> None:
    ways: dict[str, Callable[[], tuple[float, float]]] = {SERVER: of_server}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        ways[path.stem] = lambda path=path: of_notebook(path)
    asked = tuple(sys.argv[1:])
    for name, way in ways.items():
        if name in measured() or (asked and not name.startswith((*asked, SERVER))):
            continue
        memory, spent = way()
        write(measured() | {name: (f"{memory:.0f}", f"{spent:.0f}")})
        print(f"{name}: {memory:.0f} MB, {spent:.0f} s", flush=True)
    with HUB.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(needs(measured()))


if __name__ == "__main__":
    main()
