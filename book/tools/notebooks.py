"""Make the notebooks from the text of the chapters, execute them, and store them in one normal form.

A notebook that ran twice is the same file twice: no timestamps, no versions, one kernel name,
widget ids that are counted instead of drawn at random, and the clocks it showed before.
`--record` reads the clocks anew, and also writes what it took.
"""

import argparse
import csv
import hashlib
import os
import platform
import re
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import jupytext
import nbformat
from address import public_address
from forms import Plain
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from plain import CHAPTERS

from compresslab.teaching import records

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"
SHOWN = ["torch", "torchvision", "numpy", "matplotlib", "ipywidgets", "mlxtend", "jupyter-book", "nbval"]
CLOCK = "clock"  # tag of cells that show times: these are measured anew by --record, on a quiet machine
NOISE = {"execution", "collapsed", "scrolled", "ExecuteTime", "vscode", "jp-MarkdownHeadingCollapsed"}

# A reader may have nothing but the notebook. Then its first cell gets the package, or says how to get it.
FIRST = """\
try:
    from compresslab.teaching import setting
{otherwise}
setting.use_one_thread()  # so that any machine gets the same numbers"""
EXPLAIN = """\
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "This notebook computes with the package compresslab, which is not installed here. "
        "Get the book's folder from where you got the notebook, and run in it: python -m pip install ."
    ) from missing"""
INSTALL = """\
except ModuleNotFoundError:
    import subprocess
    import sys

    pip = [sys.executable, "-m", "pip", "install", "--quiet", "compresslab @ git+{address}"]
    subprocess.run(pip, check=True)
    from compresslab.teaching import setting"""


def first_cell(address: str) -> nbformat.NotebookNode:
    """Return the folded cell with which the code of every notebook begins.

    Args:
        address: where the package can be fetched; "" while it is nowhere.
    """
    otherwise = INSTALL.format(address=address) if address else EXPLAIN
    folded = {"tags": ["hide-input"], "mystnb": {"code_prompt_show": "Set-up: find the package"}}
    return nbformat.v4.new_code_cell(FIRST.format(otherwise=otherwise), metadata=folded)


def generate(text: Path, form: type[Plain] = Plain) -> nbformat.NotebookNode:
    """Return the notebook of a chapter's text, not executed yet.

    A cell's id is made from what stands in it, so that it stays when something else is edited.

    Args:
        text: under book/chapters.
        form: for whom it is; the committed one is the plain one.
    """
    source = jupytext.read(text, fmt="md:myst")
    source.cells.insert(1, first_cell(public_address()))  # behind the title
    notebook = form(f"{text.stem}.ipynb").notebook(source)
    seen: Counter = Counter()
    for cell in notebook.cells:
        source = f"{cell.cell_type}\n{cell.source}"
        seen[source] += 1
        cell.id = hashlib.sha256(f"{seen[source]}\n{source}".encode()).hexdigest()[:8]
    return notebook


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


def execute(notebook: nbformat.NotebookNode, timeout: int) -> float:
    """Run a notebook in an empty folder, where it stands as alone as with a reader; return the seconds."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        ).execute()
    return time.perf_counter() - start


def keep_outputs(notebook: nbformat.NotebookNode, old: nbformat.NotebookNode, tag: str | None = None) -> bool:
    """Take the outputs over from a notebook that ran with the same code; say whether it is the same.

    Args:
        notebook: takes the outputs.
        old: gives them.
        tag: which cells' outputs are taken over; None for all, with the state of the widgets.
    """
    new_code, old_code = ([cell for cell in one.cells if cell.cell_type == "code"] for one in (notebook, old))
    if [cell.source for cell in new_code] != [cell.source for cell in old_code]:
        return False
    for new, ran in zip(new_code, old_code, strict=True):
        if tag is None or tag in new.metadata.get("tags", []):
            new.outputs, new.execution_count = ran.outputs, ran.execution_count
    if tag is None and "widgets" in old.metadata:
        notebook.metadata["widgets"] = old.metadata["widgets"]
    return True


def texts(chapters: list[str]) -> list[Path]:
    """Return the texts of the chapters named by number or file name; of all, when none is named."""
    found = sorted(CHAPTERS.glob("*.md"))
    names = [Path(name).stem for name in chapters]
    if unknown := [name for name in names if not any(path.stem.startswith(name) for path in found)]:
        stand = ", ".join(path.stem for path in found)
        sys.exit(f"asked for {', '.join(unknown)}, found {stand}; name one of these, or its number")
    return [path for path in found if not names or path.stem.startswith(tuple(names))]


def write_table(name: str, rows: list[tuple]) -> None:
    with (records.FOLDER / name).open("w", newline="", encoding="utf-8") as file:
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
    parser.add_argument("chapters", nargs="*", help="numbers such as 03, or nothing for all")
    parser.add_argument("--record", action="store_true", help="write the tables of times and versions")
    parser.add_argument("--prose", action="store_true", help="run only notebooks whose code has changed")
    parser.add_argument("--timeout", type=int, default=120, help="seconds for one cell")
    options = parser.parse_args()
    times, failed = {}, False
    for text in texts(options.chapters):
        notebook, path = generate(text), NOTEBOOKS / f"{text.stem}.ipynb"
        old = nbformat.read(path, as_version=4) if path.is_file() else nbformat.v4.new_notebook()
        kept = options.prose and keep_outputs(notebook, old)
        try:
            times[text.stem] = 0 if kept else execute(notebook, options.timeout)
        except CellExecutionError as error:
            print(f"{text.stem}: {error}", file=sys.stderr)
            failed = True
        else:
            if not options.record:
                keep_outputs(notebook, old, CLOCK)
            path.write_text(normalise(notebook), encoding="utf-8")
            print(f"{path.name}: {times[text.stem]:.0f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)
    if failed:
        sys.exit(1)
    if options.record and not (options.chapters or options.prose):
        record(times)


if __name__ == "__main__":
    main()
