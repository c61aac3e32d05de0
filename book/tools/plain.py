"""Read a chapter's text as blocks and references, and write references as words that every viewer shows.

JupyterLab, Colab, VS Code and code hosts know no directive and no role: there an equation bears its number,
and a citation is a link with the names of its authors. `forms.py` writes the blocks.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

import jupytext
from pybtex.database import Entry, parse_file
from pybtex.richtext import Text

BOOK = Path(__file__).resolve().parent.parent
CHAPTERS = BOOK / "chapters"
FENCE = re.compile(r"^(`{3,}|:{3,})\{([\w:-]+)\} *(.*)$")
OPTION = re.compile(r"^:([\w-]+): *(.*)$")
LABEL = re.compile(r"^\(([\w-]+)\)=\n", re.MULTILINE)
EQUATION = re.compile(r"\$\$(?P<formula>(?:(?!\$\$).)+)\$\$ *\((?P<label>[\w-]+)\)", re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
# a role, what stays as it is (code, a formula, a link), or a chapter's number
INLINE = re.compile(
    r"\{(?P<role>[a-z:]+)\}`(?P<text>[^`]+)`"
    r"|(?P<kept>`+[^`]*`+|\$\$.+?\$\$|\$[^$]+\$|\[[^\]]*\]\([^)]*\))"
    r"|(?P<word>\b[Cc]hapters? )(?P<numbers>\d\d(?:(?:,| and| or| to|, and|, or) \d\d\b)*)(?!\d|[.,]\d)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Directive:
    """A fenced block of the text that is more than prose."""

    name: str
    argument: str
    options: dict[str, str]
    body: str
    raw: str


@dataclass(frozen=True)
class Place:
    """Where a label stands: its chapter, the heading above it, and its number where it has one."""

    file: str
    heading: str
    number: str = ""

    def link(self, words: str, file: str) -> str:
        """Return a link that leads there from another file, or from the same one."""
        fragment = quote(re.sub(r"[`*$]", "", self.heading).replace(" ", "-"))
        return f"[{words}]({'' if self.file == file else self.file}#{fragment})"


def blocks(source: str) -> Iterator[str | Directive]:
    """Yield the text of a cell, cut at its directives; a block of code is text."""
    lines, text = source.split("\n"), []
    at = 0
    while at < len(lines):
        opened = FENCE.match(lines[at]) or re.match(r"^(`{3,}|~{3,})", lines[at])
        if opened is None:
            text.append(lines[at])
            at += 1
            continue
        end = next((n for n in range(at + 1, len(lines)) if lines[n].strip() == opened[1]), len(lines) - 1)
        block = lines[at : end + 1]
        if opened.lastindex == 1:
            text += block
        else:
            yield "\n".join(text)
            text, body, options = [], block[1:-1], {}
            while body and (option := OPTION.match(body[0])):
                options[option[1]] = option[2]
                body = body[1:]
            yield Directive(opened[2], opened[3], options, "\n".join(body).strip("\n"), "\n".join(block))
        at = end + 1
    yield "\n".join(text)


@cache
def files() -> dict[str, str]:
    """Return the notebook of every chapter by its two digits."""
    return {path.stem[:2]: f"{path.stem}.ipynb" for path in sorted(CHAPTERS.glob("*.md"))}


@cache
def places() -> dict[str, Place]:
    """Return where each label of each chapter stands; a labelled equation has its chapter's number."""
    found = {}
    for path in sorted(CHAPTERS.glob("*.md")):
        heading, count = "", 0
        cells = jupytext.read(path, fmt="md:myst").cells
        source = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        marks = [*HEADING.finditer(source), *LABEL.finditer(source), *EQUATION.finditer(source)]
        waiting = []
        for mark in sorted(marks, key=lambda mark: mark.start()):
            if mark.re is HEADING:
                heading = mark[1]
                above = [label for label, end in waiting if end == mark.start()]
                found |= {label: Place(f"{path.stem}.ipynb", heading) for label in above}
            elif mark.re is LABEL:
                waiting.append((mark[1], mark.end()))
                found[mark[1]] = Place(f"{path.stem}.ipynb", heading)
            else:
                count += 1
                number = f"{int(path.stem[:2])}.{count}"
                found[mark["label"]] = Place(f"{path.stem}.ipynb", heading, number)
    return found


@cache
def citations() -> dict[str, str]:
    """Return for each key of the bibliography its authors and year, linked where it has an address."""
    return {key: cited(entry) for key, entry in parse_file(BOOK / "references.bib").entries.items()}


def cited(entry: Entry) -> str:
    names = [plain_text(" ".join(person.last_names)) for person in entry.persons["author"]]
    authors = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    words = f"{authors}, {entry.fields['year']}"
    preprint = re.fullmatch(r"arXiv:(\S+)", entry.fields.get("journal", ""))
    url = entry.fields.get("url") or (preprint and f"https://arxiv.org/abs/{preprint[1]}")
    return f"[{words}]({url})" if url else f"{words}, *{plain_text(entry.fields['title'])}*"


def plain_text(latex: str) -> str:
    return Text.from_latex(latex).render_as("text")


def role(name: str, text: str, file: str) -> str:
    """Return the words of a role, linked to what they mean.

    Raises:
        ValueError: the role has no plain form yet.
    """
    titled = re.fullmatch(r"(.+?) *<(.+)>", text, re.DOTALL)
    words, target = (titled[1], titled[2]) if titled else (text, text)
    if name == "cite":
        return "; ".join(citations()[key.strip()] for key in text.split(","))
    if name == "eq":
        return places()[target].link(f"({places()[target].number})", file)
    if name == "ref":
        return places()[target].link(words if titled else places()[target].heading, file)
    if name in ("term", "abbr"):
        return words
    raise ValueError(
        f"{file}: the role {name} of {text!r} has no plain form; give it one in book/tools/plain.py"
    )


def linked(word: str, numbers: str, file: str, folder: str = "") -> str:
    """Return "chapter 03" or "chapters 03 and 05" with a link at each number, but none to its own chapter."""

    def link(number: str, words: str) -> str:
        target = files().get(number)
        return words if target in (None, file) else f"[{words}]({folder}{target})"

    if re.fullmatch(r"\d\d", numbers):
        return link(numbers, f"{word}{numbers}")
    return word + re.sub(r"\d\d", lambda found: link(found[0], found[0]), numbers)


def inline(text: str, file: str, roles: Callable[[str, str, str], str] | None, folder: str = "") -> str:
    """Link every chapter that a text names by its number, and write its roles as words.

    Args:
        text: prose, without a fenced block.
        file: the notebook in which it stands.
        roles: what to write for a role; None leaves it as it is.
        folder: the way from the page to the notebooks.
    """

    def write(found: re.Match) -> str:
        if found["word"]:
            return linked(found["word"], found["numbers"], file, folder)
        return found[0] if found["kept"] or roles is None else roles(found["role"], found["text"], file)

    parts = re.split(
        r"(^#[^\n]*$|^ *(?:`{3,}|~{3,})[^\n]*\n.*?^ *(?:`{3,}|~{3,})$)", text, flags=re.MULTILINE | re.DOTALL
    )
    return "".join(part if number % 2 else INLINE.sub(write, part) for number, part in enumerate(parts))


def prose(text: str, file: str) -> str:
    """Return a text between directives as plain Markdown, without labels and with its equations' numbers."""

    def number(found: re.Match) -> str:
        return f"$${found['formula'].rstrip()} \\tag{{{places()[found['label']].number}}}$$"

    return inline(EQUATION.sub(number, LABEL.sub("", text)), file, role).strip("\n")
