"""Execute notebooks in place and store them in one normal form.

A notebook that ran twice is the same file twice: no timestamps, no versions, one kernel name,
and widget ids that are counted instead of drawn at random. `--record` also writes what it took.
"""

import argparse
import csv
import os
import platform
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

RECORDS = Path(__file__).resolve().parent.parent / "records"
SHOWN = ["torch", "torchvision", "numpy", "matplotlib", "ipywidgets", "mlxtend", "jupyter-book", "nbval"]
NOISE = {"execution", "collapsed", "scrolled", "ExecuteTime", "vscode", "jp-MarkdownHeadingCollapsed"}


def normalise(notebook: nbformat.NotebookNode) -> str:
    """Return the text of a notebook without anything that differs from run to run."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    if "widgets" in notebook.metadata:
        metadata["widgets"] = notebook.metadata["widgets"]
    notebook.metadata = nbformat.from_dict(metadata)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        for key in NOISE & set(cell.metadata):
            del cell.metadata[key]
    # read once more: the keys are sorted only after their new names are known
    return nbformat.writes(nbformat.reads(count_ids(notebook), as_version=4)) + "\n"


def count_ids(notebook: nbformat.NotebookNode) -> str:
    """Number the widget models that were not given a name, in the order in which they were made."""
    mime = "application/vnd.jupyter.widget-state+json"
    models = notebook.metadata.get("widgets", {}).get(mime, {}).get("state", {})
    drawn = [name for name in models if re.fullmatch(r"[0-9a-f]{32}", name)]
    numbers = {name: f"model-{number:03d}" for number, name in enumerate(drawn)}
    whole = r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"
    return re.sub(whole, lambda found: numbers.get(found[0], found[0]), nbformat.writes(notebook))


def execute(path: Path, timeout: int) -> float:
    """Run one notebook in its own folder, write it back and return the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)
    start = time.perf_counter()
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    seconds = time.perf_counter() - start
    path.write_text(normalise(notebook), encoding="utf-8")
    return seconds


def write_table(name: str, rows: list[tuple]) -> None:
    RECORDS.mkdir(exist_ok=True)
    with (RECORDS / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def record(times: dict[str, float]) -> None:
    """Write the tables that the book's page of timings shows."""
    rows = [(f"``{name}``", f"{seconds:.0f}") for name, seconds in times.items()]
    total = ("all", f"{sum(times.values()):.0f}")
    write_table("timings.csv", [("Notebook", "Seconds"), *rows, total])
    machine = [("Python", platform.python_version()), ("System", platform.system())]
    machine.append(("Cores", str(os.cpu_count())))
    write_table("versions.csv", [("What", "Version"), *machine, *((name, version(name)) for name in SHOWN)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--record", action="store_true", help="write the tables of times and versions")
    parser.add_argument("--timeout", type=int, default=120, help="seconds for one cell")
    options = parser.parse_args()
    times, failed = {}, False
    for path in options.notebooks:
        try:
            times[path.stem] = execute(path, options.timeout)
        except CellExecutionError as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = True
        else:
            print(f"{path}: {times[path.stem]:.0f} s, {path.stat().st_size / 1000:.0f} kB")
    if failed:
        sys.exit(1)
    if options.record and times:
        record(times)


if __name__ == "__main__":
    main()
