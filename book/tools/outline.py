"""Read from a chapter's text what slides and handouts show: promise, sections, predictions and figures."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
import nbformat
from forms import CAPTION, CHOICE, EXPLAIN
from plain import Directive, blocks, prose

import notebooks

PROMISE = re.compile(r"(?ms)^\*\*Promise\.\*\* (.+?)(?:\n\n|\Z)")
GOALS = re.compile(r"(?m)^- (.+(?:\n  .+)*)$")
ABOUT = 60  # words of a section that a slide shows
UNSHOWN = ("|", "- ", "#", "!", ">", "(", "1. ", "<", "*Figure")  # how lines begin that it does not
WHOLE = re.compile(r"[.?!][)\"*]*$|\$\$$")  # the end of a sentence, or a formula


@dataclass
class Prediction:
    """A question with its choices, each with what is said to who chose it, and the figure that answers it."""

    question: str
    choices: list[tuple[str, str]]


@dataclass
class Figure:
    """A picture of a chapter: a data address, and the sentence below it."""

    source: str
    caption: str = ""
    alt: str = ""


@dataclass
class Part:
    """A section: its heading, how it begins, and in their order its predictions, figures and tables."""

    title: str
    about: str = ""
    shown: list[Prediction | Figure | str] = field(default_factory=list)


@dataclass
class Outline:
    """A chapter in short; all text is Markdown without directives."""

    title: str
    promise: str
    goals: list[str]
    parts: list[Part]
    exercises: list[tuple[str, str, str]]  # number, title, what is asked
    recall: list[str]


def outline(text: Path) -> Outline:
    """Read a chapter's text, with the figures and tables of its stored notebook."""
    file = f"{text.stem}.ipynb"
    source = jupytext.read(text, fmt="md:myst").cells
    stored = nbformat.read(notebooks.NOTEBOOKS / file, as_version=4).cells
    outputs = iter(
        [cell.outputs for cell in stored if cell.cell_type == "code"][1:]
    )  # the first finds the package
    head = prose(source[0].source, file)
    (title,) = re.findall(r"(?m)^# (.+)$", head)
    found = Outline(title, PROMISE.search(head)[1], GOALS.findall(head), [], [], [])
    solution = False
    for cell in source:
        if cell.cell_type == "code":
            shown = list(pictures(next(outputs), cell.metadata))
            if found.parts and not solution:
                found.parts[-1].shown += shown
            continue
        for block in blocks(cell.source):
            if isinstance(block, str):
                if not solution:
                    read(prose(block, file), found)
            elif block.name in ("solution-start", "solution-end"):
                solution = block.name == "solution-start"
            else:
                keep(block, file, found)
    return found


def read(text: str, found: Outline) -> None:
    """Take headings, first sentences and captions from prose."""
    for piece in re.split(r"(?m)^(?=## )", text):
        heading = re.match(r"## (.+)\n?", piece)
        if heading:
            found.parts.append(Part(heading[1]))
        if not found.parts:
            continue
        part, body = found.parts[-1], piece[heading.end() :] if heading else piece
        for caption in CAPTION.findall(body.replace(EXPLAIN, "")):
            figures = [one for one in part.shown if isinstance(one, Figure) and not one.caption]
            if figures:
                figures[-1].caption = caption.removeprefix("*Figure. ").removesuffix("*")
        if not (part.about or part.shown or body.lstrip().startswith((EXPLAIN.strip(), "*Figure."))):
            part.about = beginning(body)


def beginning(text: str) -> str:
    """Return the first whole sentences of a text with their formulas, at most some words.

    Nothing of tables, lists and code, nor a sentence that points below, where a slide has nothing.
    """
    text = re.sub(r"(?ms)^(`{3,}).*?^\1$", "", text)
    text = re.sub(r"(?ms)^\$\$(.*?)\$\$$", lambda found: f"$${' '.join(found[1].split())}$$", text)
    kept, words = [], 0
    for line in filter(None, text.split("\n")):
        if line.startswith(UNSHOWN) or re.search(r"\b[Bb]elow\b", line):
            if kept:
                break
        elif line.startswith("$$"):
            kept += ["", line, ""] if kept else []
        else:
            words += len(line.split())
            if words > ABOUT:
                break
            kept.append(line)
    while kept and not WHOLE.search(kept[-1]):
        kept.pop()
    return "\n".join(kept)


def keep(block: Directive, file: str, found: Outline) -> None:
    """Take a prediction, an exercise or a recall question from a directive."""
    body = prose(block.body, file)
    if block.name == "predict":
        question = CHOICE.split(body, maxsplit=1)[0].strip("\n")
        choices = [(one["choice"], one["feedback"]) for one in CHOICE.finditer(body)]
        found.parts[-1].shown.append(Prediction(question, choices))
    elif block.name == "exercise":
        _, chapter, place = block.options["label"].split("-")
        found.exercises.append((f"{int(chapter)}.{place}", prose(block.argument, file), body))
    elif block.name == "dropdown" and found.parts and found.parts[-1].title == "Recap":
        found.recall.append(prose(block.argument, file))


def pictures(outputs: list, metadata: dict) -> Iterator[Figure | str]:
    """Yield the pictures of a cell as data addresses, and its tables as HTML."""
    alt = metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    for output in outputs:
        data = output.get("data", {})
        if svg := data.get("image/svg+xml"):
            packed = base64.b64encode("".join(svg).encode()).decode()
            yield Figure(f"data:image/svg+xml;base64,{packed}", alt=alt)
        elif png := data.get("image/png"):
            yield Figure(f"data:image/png;base64,{''.join(png.split())}", alt=alt)
        elif "<table" in (table := data.get("text/html", "")) and "<svg" not in table:
            yield table
