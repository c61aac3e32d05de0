"""Let the site read a chapter in its own form, with the stored outputs, and link each chapter a page names.

What is committed in notebooks/ is plain Markdown, for every viewer; a page's download button gives that. The
site needs more: labels that other pages refer to, numbers that Sphinx counts, the bibliography. So the same
generator makes its form from the same text while Sphinx reads the page; no second file lies anywhere.
"""

import re
from pathlib import Path

import nbformat
from forms import Site, linked
from plain import files

import notebooks

CHAPTERS_NAMED = re.compile(r"\b[Cc]hapters?:? \d\d(?:(?:,| and| or| to|, and|, or) \d\d)*(?!\d|[.,]\d)")


def for_the_site(text: Path) -> str:
    """Return the notebook of a chapter as the site reads it.

    Raises:
        ValueError: the committed notebook is older than the text's code.
    """
    notebook = notebooks.generate(text, Site)
    stored = nbformat.read(notebooks.NOTEBOOKS / f"{text.stem}.ipynb", as_version=4)
    if not notebooks.keep_outputs(notebook, stored):
        raise ValueError(
            f"{text.stem}: its code has changed since it ran; run: make notebooks ONLY={text.stem[:2]}"
        )
    notebook.metadata = stored.metadata
    return nbformat.writes(notebook)


def read(app, docname: str, source: list[str]) -> None:
    folder, _, name = docname.rpartition("/")
    if folder == "notebooks":
        source[0] = for_the_site(notebooks.CHAPTERS / f"{name}.md")
    elif re.fullmatch("book(/api)?", folder):
        source[0] = linked(source[0], name, "../" * (1 + folder.count("/")) + "notebooks/")


def link_docstring(app, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Link the chapters that a docstring names, also behind "Chapter:"."""

    def link(number: re.Match) -> str:
        file = files().get(number[0])
        return f":doc:`{number[0]} </notebooks/{file.removesuffix('.ipynb')}>`" if file else number[0]

    for place, line in enumerate(lines):
        lines[place] = CHAPTERS_NAMED.sub(lambda found: re.sub(r"\d\d", link, found[0]), line)


def setup(app) -> dict:
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", link_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
