"""Build the package's wheel, look inside, and run notebooks alone with nothing but it.

The new environment gets the package from the wheel and all else from the environment that runs this script;
with --install it gets all from pip, as a stranger would, from the wheel that lies in the folder named.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DIST = ROOT / "dist"
TOUR = "00_tour"
BESIDE = {"METADATA", "WHEEL", "RECORD", "top_level.txt", "LICENSE", "LICENSE-text"}
LARGEST = 8_000_000  # bytes; a room of thirty fetches it over one line
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
"""


def build(folder: Path = DIST) -> Path:
    """Build the wheel and return its path; what an earlier build left is not taken in."""
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    for old in folder.glob("compresslab-*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    return found(folder)


def found(folder: Path) -> Path:
    """Return the one wheel in a folder or below it."""
    wheels = sorted(folder.rglob("compresslab-*.whl"))
    if len(wheels) != 1:
        sys.exit(f"asked for one wheel under {folder}, found {len(wheels)}; build it with: make wheel")
    return wheels[0]


def source() -> set[str]:
    """Return the files of the package as they lie in the source."""
    files = (path for path in (ROOT / "compresslab").rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}


def faults(wheel: Path) -> list[str]:
    """Return what a wheel lacks, and what it holds that does not belong there; nothing where all is well."""
    with zipfile.ZipFile(wheel) as archive:
        names = {info.filename for info in archive.infolist() if not info.is_dir()}
    beside = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    held, wanted = names - beside, source()
    told = [f"lacks {name}" for name in sorted(wanted - held)]
    told += [f"holds {name}" for name in sorted(held - wanted)]
    told += [f"lacks {name} beside the package" for name in BESIDE - {Path(name).name for name in beside}]
    if (size := wheel.stat().st_size) > LARGEST:
        told.append(f"has {size:,} bytes, more than {LARGEST:,}")
    return told


def alone() -> dict[str, str]:
    """Return the variables of a shell in which nothing points back to this checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "JUPYTER_PATH")}


def environment(folder: Path, wheel: Path, from_pip: bool) -> Path:
    """Make an environment with the package from the wheel; return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [str(python), "-m", "pip", "install", "--quiet"]
    if from_pip:
        subprocess.run([*install, f"{wheel}[lab]"], env=alone(), check=True)
    else:
        subprocess.run([*install, "--no-deps", str(wheel)], env=alone(), check=True)
        (there,) = folder.rglob("site-packages")
        (there / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def home(python: Path) -> Path:
    """Return the folder from which that Python takes the package."""
    asked = [str(python), "-c", "import compresslab; print(compresslab.__path__[0])"]
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(asked, cwd=place, env=alone(), stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


def run(python: Path, notebook: Path) -> None:
    """Run a notebook to its end, as the only file of a folder."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(notebook, place)
        subprocess.run([str(python), "-c", RUN, notebook.name], cwd=place, env=alone(), check=True)


def written(chapters: list[str], folder: Path) -> list[Path]:
    """Write the participant's notebooks of some chapters into a folder; of all where none is named."""
    import forms  # they need jupytext, which only the environment of `make` has

    import notebooks

    paths = []
    for text in notebooks.texts(chapters):
        paths.append(folder / f"{text.stem}.ipynb")
        made = notebooks.normalise(notebooks.generate(text, forms.Participant))
        paths[-1].write_text(made, encoding="utf-8")
    return paths


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long something took, and how much of that a processor worked for it: the rest is waiting."""
    begin, worked = time.monotonic(), os.times()
    yield
    spent, now = time.monotonic() - begin, os.times()
    processor = now.children_user + now.children_system - worked.children_user - worked.children_system
    print(f"{what}: {spent:.0f} s, {processor:.0f} s of a processor", flush=True)


def attempt(wheel: Path, everything: bool = False, from_pip: bool = False) -> None:
    """Run the tour, or the participant's notebook of every chapter, with the package of a wheel alone."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        with timed("an environment with the wheel"):
            python = environment(folder / "venv", wheel, from_pip)
        with timed("the first import"):
            package = home(python)
        if not package.is_relative_to(folder):
            sys.exit(f"the package came from {package}, not from the wheel")
        stored = [ROOT / "notebooks" / f"{TOUR}.ipynb"]
        for notebook in stored if from_pip else written([] if everything else [TOUR], folder):
            with timed(f"{notebook.stem} with the wheel alone"):
                run(python, notebook)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="run every chapter, not only the tour")
    parser.add_argument(
        "--install", type=Path, metavar="FOLDER", help="try the wheel in this folder, from pip"
    )
    options = parser.parse_args()
    wheel = found(options.install) if options.install else build()
    if told := faults(wheel):
        sys.exit("the wheel " + "; ".join(told))
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes, with every file of the package and no notebook")
    attempt(wheel, options.all, bool(options.install))


if __name__ == "__main__":
    main()
