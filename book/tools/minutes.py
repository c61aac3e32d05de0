"""Estimate how long a chapter takes from its words, its code and its predictions, and write it into its head.

    minutes = words / 150 + lines of visible code / 5 + 1.5 * predictions

Adults read English prose silently at 238 words a minute (Brysbaert 2019, a review of 190 studies, doi
10.1016/j.jml.2019.104047), and slower in a second language; 150 leaves time for formulas, figures and tables.
Twelve seconds for a line of code and a minute and a half to choose, run and compare are our choice: nobody
was timed. Folded code and solutions count nothing. An exercise takes the minutes that its own text says.

Run as a script it prints each chapter's estimate; with `--write` it sets the line **Time:** of the heads.
"""

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
from plain import CHAPTERS, Directive, blocks

WORDS, LINES, PREDICTION = 150, 5, 1.5  # words and lines in a minute; minutes for a prediction
PROSE = 238  # words in a minute of those who read the prose and only run the code
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
HEAD = re.compile(r"^\*\*Time:\*\* .*$", re.MULTILINE)
EXERCISE = re.compile(r"\b(\d+) minutes\b")


@dataclass
class Section:
    """What stands between two headings of the second level.

    Args:
        title: the heading; the chapter's own, before the first.
        words: of the prose that is not folded, questions and choices included.
        lines: of the code in sight, without empty ones.
        predictions: how often a reader has to choose.
        exercises: the minutes that each exercise says, by its name such as "02-1".
    """

    title: str
    words: int = 0
    lines: int = 0
    predictions: int = 0
    exercises: dict[str, int] = field(default_factory=dict)

    @property
    def minutes(self) -> float:
        """The estimate without exercises."""
        return self.words / WORDS + self.lines / LINES + PREDICTION * self.predictions


def sections(text: Path) -> list[Section]:
    """Return the sections of a chapter's text in their order.

    Raises:
        ValueError: an exercise does not say how many minutes it takes.
    """
    found, inside, practice = [Section("")], False, False  # inside a solution, below an exercise
    for cell in jupytext.read(text, fmt="md:myst").cells:
        if cell.cell_type == "code":
            if not (inside or practice or FOLDED & set(cell.metadata.get("tags", []))):
                found[-1].lines += sum(bool(line.strip()) for line in cell.source.splitlines())
            continue
        for block in blocks(cell.source):
            if isinstance(block, str):
                for part in re.split(r"(?m)^(?=##? )", block):
                    if title := re.match(r"(##?) (.+)", part):
                        practice = False
                        if title[1] == "##":
                            found.append(Section(title[2]))
                        else:
                            found[-1].title = title[2]
                    found[-1].words += 0 if inside or practice else len(part.split())
            elif block.name in ("solution-start", "solution-end"):
                inside = block.name == "solution-start"
            elif block.name == "exercise":
                practice = True
                found[-1].exercises |= exercise(block, text)
            elif not inside:
                found[-1].words += len(f"{block.argument} {block.body}".split())
                found[-1].predictions += block.name == "predict"
    return found


def exercise(block: Directive, text: Path) -> dict[str, int]:
    said = EXERCISE.search(block.body)
    if said is None:
        raise ValueError(f"{text.name}: {block.options['label']} does not say how many minutes it takes")
    return {block.options["label"].removeprefix("ex-"): int(said[1])}


def rounded(minutes: float) -> int:
    """Round up to five minutes: an estimate is not better than that."""
    return 5 * math.ceil(minutes / 5)


def reading(text: Path) -> int:
    """Return the minutes of a chapter without its exercises."""
    return rounded(sum(section.minutes for section in sections(text)))


def practising(text: Path) -> int:
    """Return the minutes of a chapter's exercises."""
    return sum(sum(section.exercises.values()) for section in sections(text))


def running(text: Path) -> int:
    """Return the minutes in which the prose is read and the code only run."""
    return rounded(sum(section.words for section in sections(text)) / PROSE)


def head(text: Path) -> str:
    """Return the line that a chapter's head shows."""
    alone, more = reading(text), practising(text)
    if more:
        return f"**Time:** {alone} minutes, {alone + more} with exercises."
    return f"**Time:** {running(text)} minutes, {alone} with its code."


def write(text: Path, line: Callable[[Path], str] = head) -> bool:
    """Set the line in a chapter's head; say whether it changed. Files keep their own ends of lines.

    Raises:
        ValueError: the head has no such line.
    """
    source = text.read_text(encoding="utf-8")
    if not HEAD.search(source):
        raise ValueError(f"{text.name}: its head has no line that begins with **Time:**")
    written = HEAD.sub(lambda _: line(text), source, count=1)
    if written != source:
        text.write_text(written, encoding="utf-8")
    return written != source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="set the line in each chapter's head")
    options = parser.parse_args()
    for text in sorted(CHAPTERS.glob("*.md")):
        if not options.write:
            print(f"{text.stem:35} {reading(text):3} + {practising(text):3}")
        elif write(text):
            print(f"{text.name}: {head(text)}")


if __name__ == "__main__":
    main()
