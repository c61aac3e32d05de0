"""Write the chapters for a class: what participants get, without answers, and what the instructor reads.

What stands on the command line names chapters by number, as for `notebooks.py`; nothing names all.
"""

import sys

import forms
import nbformat

import notebooks

BUILT = notebooks.ROOT / "_build"


def main() -> None:
    for text in notebooks.texts(sys.argv[1:]):
        stored = nbformat.read(notebooks.NOTEBOOKS / f"{text.stem}.ipynb", as_version=4)
        for form, folder in ((forms.Participant, "participants"), (forms.Instructor, "instructor")):
            notebook = notebooks.generate(text, form)
            if form is forms.Instructor:
                notebooks.keep_outputs(notebook, stored)
            (BUILT / folder).mkdir(parents=True, exist_ok=True)
            path = BUILT / folder / f"{text.stem}.ipynb"
            path.write_text(notebooks.normalise(notebook), encoding="utf-8")
    print(f"{BUILT}/participants, {BUILT}/instructor")


if __name__ == "__main__":
    main()
