"""Write the chapters for a class: what participants get, without answers, and what the instructor reads.

What stands on the command line names chapters by number, as for `notebooks.py`; nothing names all.
`--learner` writes the participant's notebooks into the folder learning, and never over one that lies there;
JupyterLab, opened on that folder, sees nothing outside it, so the solved chapters lie in a folder inside.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import forms
import nbformat

import notebooks
from compresslab.teaching import progress

BUILT = notebooks.ROOT / "_build"
LEARNING = notebooks.ROOT / "learning"
SOLVED = "solutions"


def participant(text: Path) -> str:
    """Return the text of a chapter's notebook without answers."""
    return notebooks.normalise(notebooks.generate(text, forms.Participant))


def instructor(text: Path) -> str:
    """Return the text of a chapter's notebook with all outputs and solutions, and nothing folded."""
    notebook = notebooks.generate(text, forms.Instructor)
    stored = nbformat.read(notebooks.NOTEBOOKS / f"{text.stem}.ipynb", as_version=4)
    notebooks.keep_outputs(notebook, stored)
    return notebooks.normalise(notebook)


def solved(text: Path) -> str:
    """Return the text of a chapter's committed notebook; its links lead to the learner's own chapters."""
    stored = (notebooks.NOTEBOOKS / f"{text.stem}.ipynb").read_text(encoding="utf-8")
    return re.sub(r"\]\((?=\d\d_\w+\.ipynb)", "](../", stored)


def learner(text: Path) -> str:
    """Return the same for who learns alone: its head leads to the solved chapter."""
    notebook = notebooks.generate(text, forms.Participant)
    link = f"[here]({SOLVED}/{text.stem}_solved.ipynb)"
    said = f"**Answers:** the same chapter with outputs and solutions is {link}.\nChoose and try first."
    notebook.cells[0].source += f"\n{said}"
    return notebooks.normalise(notebook)


def begin(chapters: list[str], folder: Path = LEARNING) -> list[str]:
    """Give a learner the notebooks that the folder lacks; return their names.

    A notebook appears whole or not at all: a half-written one would count as the learner's own next time.
    """
    if not folder.exists():
        folder.mkdir()
        progress.start(folder)  # once: who deletes that file wants none
    made = []
    for text in notebooks.texts(chapters):
        name = f"{text.stem}.ipynb"
        if lay(folder / name, learner, text):
            made.append(name)
            print(f"made {name}", flush=True)
        lay(folder / SOLVED / f"{text.stem}_solved.ipynb", solved, text)  # two tabs of one name mislead
    return made


def lay(path: Path, form: Callable[[Path], str], text: Path) -> bool:
    """Write a chapter in a form where nothing lies yet; say whether it was written."""
    if path.exists():
        return False
    path.parent.mkdir(exist_ok=True)
    whole = path.with_suffix(".part")
    whole.write_text(form(text), encoding="utf-8")
    whole.replace(path)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="numbers such as 03, or nothing for all")
    parser.add_argument("--learner", action="store_true", help="only what the folder learning lacks")
    options = parser.parse_args()
    if options.learner:
        begin(options.chapters)
        print(f"Yours: {LEARNING}. To begin one anew, delete it; solved chapters are in its folder {SOLVED}.")
        return
    for form, folder in ((participant, BUILT / "participants"), (instructor, BUILT / "instructor")):
        folder.mkdir(parents=True, exist_ok=True)
        for text in notebooks.texts(options.chapters):
            (folder / f"{text.stem}.ipynb").write_text(form(text), encoding="utf-8")
        print(folder)


if __name__ == "__main__":
    main()
