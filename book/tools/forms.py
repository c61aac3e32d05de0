"""Write one chapter's text as four notebooks: committed, for the site, for participants, for the instructor.

The committed notebook is plain Markdown, for every viewer: an exercise is a heading, and what a reader
unfolds is a <details> block. The site's keeps the directives: they give labels, numbers, the bibliography.
The participant's leaves out what gives an answer away; the instructor's folds nothing.
"""

import re
from collections.abc import Iterator

import nbformat
from claims import without_claims
from plain import Directive, blocks, inline, prose

from compresslab.exercises.answers import questions
from compresslab.exercises.tasks import TASKS

HIDDEN = {  # what the site's tags say, in JupyterLab's words
    "hide-input": {"source_hidden": True},
    "hide-output": {"outputs_hidden": True},
    "hide-cell": {"source_hidden": True, "outputs_hidden": True},
}
CHOICE = re.compile(r"^(?P<choice>\S.*)\n: +(?P<feedback>.*(?:\n  +.*)*)$", re.MULTILINE)
EXPLAIN = "**Explain.** "
CAPTION = re.compile(r"^\*Figure\. .*\*$", re.MULTILINE)  # it states what the figure shows
ABOUT_CLAIMS = re.compile(r"(?im)^(?!- ).*\b(?:a|the|these|first|second|last) (?:\*\*)?claims?\b.*\n?")
SHOW, HIDE = "Choose first, then open: code and output", "Hide code and output"
NOTES = ("admonition", "note", "tip", "seealso", "warning")
HOLDS_PROSE = (*NOTES, "dropdown", "exercise", "solution-start", "figure", "list-table", "glossary")


class Plain:
    """The committed notebook: no directive, and everything to unfold is folded.

    Args:
        file: the notebook's name, such as "02_symmetric.ipynb", from which links start.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.solution = self.predicted = False  # whether the next cell belongs to one

    def notebook(self, source: nbformat.NotebookNode) -> nbformat.NotebookNode:
        """Return the chapter in this form; cells of which nothing is left are left out."""
        cells = [self.cell(nbformat.from_dict(cell)) for cell in source.cells]
        return nbformat.from_dict({**source, "cells": [cell for cell in cells if cell.source.strip()]})

    def cell(self, cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
        if cell.cell_type == "code":
            self.code(cell)
        else:
            cell.source = "\n\n".join(filter(None, self.markdown(cell.source)))
        return cell

    def markdown(self, source: str) -> Iterator[str]:
        self.predicted = self.predicted and not source.startswith("#")  # a heading ends what it was about
        for block in blocks(source):
            if isinstance(block, Directive):
                yield self.directive(block)
            elif text := prose(block, self.file):
                yield self.text(text)

    def text(self, text: str) -> str:
        if self.solution:
            return self.unfold("Solution in words", text)
        if self.predicted and text.startswith(EXPLAIN):
            self.predicted = False
            explained, rest = explanation(text)
            return f"{self.unfold('Explanation', explained)}{rest}"
        return text

    def directive(self, block: Directive) -> str:
        """Return a directive as plain Markdown.

        Raises:
            ValueError: the directive has no plain form yet.
        """
        title, body = (prose(text, self.file) for text in (block.argument, block.body))
        if block.name == "predict":
            return self.prediction(body)
        if block.name == "exercise":
            return f"### Exercise {numbered(block.options['label'])} · {title}\n\n{body}"
        if block.name == "solution-start":
            self.solution = True
            return self.solution_of(numbered(block.argument), body)
        if block.name == "solution-end":
            self.solution = False
            return ""
        if block.name == "dropdown":
            return self.unfold(title, body)
        if block.name in NOTES:
            lines = f"**{title or block.name.capitalize()}**\n\n{body}".split("\n")
            return "\n".join(f"> {line}".rstrip() for line in lines)
        if block.name in ("figure", "image"):
            return f"![{block.options['alt']}]({block.argument})" + (f"\n\n*{body}*" if body else "")
        raise ValueError(
            f"{self.file}: the directive {block.name} has no plain form; give it one in forms.py"
        )

    def prediction(self, body: str) -> str:
        """Return a question and, below it, each choice with the feedback that it opens to."""
        self.predicted = True
        question = CHOICE.split(body, maxsplit=1)[0].strip("\n")
        choices = [self.unfold(found["choice"], found["feedback"]) for found in CHOICE.finditer(body)]
        return "\n\n".join([f"**Predict.** {question}", *choices])

    def solution_of(self, number: str, words: str) -> str:
        title = f"#### Solution of exercise {number}\n\nFolded: open it when you have tried."
        return f"{title}\n\n{self.unfold('Solution in words', words)}" if words else title

    def unfold(self, summary: str, body: str) -> str:
        """Return a block that a reader opens; the empty lines let its inside be Markdown."""
        shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", summary.replace("<", "&lt;"))
        return f"<details>\n<summary>{shown}</summary>\n\n{body}\n\n</details>"

    def code(self, cell: nbformat.NotebookNode) -> None:
        """Hide parts of a code cell in JupyterLab and in Colab as its tags hide them on the site."""
        tags = [*cell.metadata.get("tags", []), *(["hide-cell"] if self.solution or self.predicted else [])]
        hidden = {key: True for tag in tags for key in HIDDEN.get(tag, {})}
        if hidden:
            cell.metadata["jupyter"] = hidden
        if "source_hidden" in hidden:
            cell.metadata["cellView"] = "form"  # what Colab writes for "hide code"


class Participant(Plain):
    """The questions alone: no output, no answer, no solution, no claim and no text of a figure.

    A cell in sight that only claimed something shows what it looked at: who runs it sees a result.
    """

    def solution_of(self, number: str, words: str) -> str:
        return ""

    def text(self, text: str) -> str:
        if self.solution:
            return ""
        text = explanation(text)[1] if text.startswith(EXPLAIN) else text
        return ABOUT_CLAIMS.sub("", CAPTION.sub("", text)).strip("\n")

    def unfold(self, summary: str, body: str) -> str:
        return f"- {summary}"

    def code(self, cell: nbformat.NotebookNode) -> None:
        self.predicted = False  # who has chosen wants to run it
        super().code(cell)
        cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("mystnb", None)
        folded = "source_hidden" in cell.metadata.get("jupyter", {})
        cell.source = "" if self.solution else without_claims(cell.source, told=not folded)


class Instructor(Plain):
    """All of it, and nothing folded."""

    def solution_of(self, number: str, words: str) -> str:
        listed = mistakes(number)
        typical = f"Typical mistakes, and what the check says:\n\n{listed}" if listed else ""
        return "\n\n".join(filter(None, [f"#### Solution of exercise {number}", typical, words]))

    def text(self, text: str) -> str:
        return text

    def unfold(self, summary: str, body: str) -> str:
        return f"**{summary}**\n\n{body}"

    def code(self, cell: nbformat.NotebookNode) -> None:
        cell.metadata.pop("jupyter", None)


class Site(Plain):
    """The pages' notebook: directives stay, predictions become blocks to unfold, chapters become links."""

    def markdown(self, source: str) -> Iterator[str]:
        self.predicted = self.predicted and not source.startswith("#")  # a heading ends what it was about
        for block in blocks(source):
            if isinstance(block, str):
                text = self.text(block.strip("\n"))
            else:
                text = self.prediction(block.body) if block.name == "predict" else block.raw
            yield linked(text, self.file).strip("\n")

    def unfold(self, summary: str, body: str) -> str:
        return f"::::::{{dropdown}} {summary}\n{body}\n::::::"  # a name behind backticks may hold none

    def code(self, cell: nbformat.NotebookNode) -> None:
        if self.predicted:
            tags = dict.fromkeys([*cell.metadata.get("tags", []), "hide-cell"])
            shown = {"code_prompt_show": SHOW, "code_prompt_hide": HIDE}
            cell.metadata |= {"tags": list(tags), "mystnb": cell.metadata.get("mystnb", {}) | shown}


def linked(source: str, file: str, folder: str = "") -> str:
    """Link the chapters that a text names by their numbers, also inside a directive that holds prose.

    Args:
        source: text in the site's form.
        file: the page it stands on; a chapter gets no link to itself.
        folder: the way from the page to the notebooks.
    """

    def link(block: str | Directive) -> str:
        if isinstance(block, str):
            return inline(block, file, None, folder)
        first, newline, rest = block.raw.partition("\n")
        return first + newline + linked(rest, file, folder) if block.name in HOLDS_PROSE else block.raw

    return "\n".join(link(block) for block in blocks(source))


def explanation(text: str) -> tuple[str, str]:
    """Cut what explains an outcome from what follows it: a heading or the next prediction."""
    explained = re.split(r"\n+(?=#|\*\*Predict)", text, maxsplit=1)[0]
    return explained.removeprefix(EXPLAIN), text.removeprefix(explained)


def mistakes(number: str) -> str:
    """Return the typical mistakes of an exercise such as "2.1" as a list, each with what the check says."""
    chapter, place = number.split(".")
    name = f"{int(chapter):02}-{place}"
    known = [one for key, one in {**questions(), **TASKS}.items() if re.fullmatch(f"{name}[a-z]?", key)]
    found = [mistake for one in known for mistake in one.mistakes]  # those of the steps, too
    return "\n".join(
        f"- {'' if callable(wrong) else f'`{wrong!r}`: '}{sentence}" for wrong, sentence in found
    )


def numbered(label: str) -> str:
    """Return the number of an exercise as the site counts it: ex-02-1 is 2.1."""
    _, chapter, place = label.split("-")
    return f"{int(chapter)}.{place}"
