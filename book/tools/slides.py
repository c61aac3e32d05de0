"""Write a chapter's slides from its own text: promise, headings, figures, predictions; the answers are notes.

reveal.js shows them, from npm by `vendor.py`; S opens the notes, F fills the screen, ?print-pdf is for paper.
"""

import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import minutes
import vendor
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from outline import Figure, Outline, Part, Prediction, outline

CLOSING = ("Exercises", "Recap")
ROWS = 9  # of a table that a slide shows
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="reveal/reset.css">
<link rel="stylesheet" href="reveal/reveal.css">
<link rel="stylesheet" href="slides.css">
<div class="reveal"><div class="slides">
{slides}
</div></div>
<script src="reveal/reveal.js"></script>
<script src="reveal/notes.js"></script>
<script>
  window.MathJax = {{ startup: {{ typeset: true }} }};
  const show = {{ width: 1280, height: 720, margin: 0.02, center: false, hash: true, transition: "none" }};
  Reveal.initialize({{ ...show, plugins: [RevealNotes] }});
</script>
<script src="mathjax/tex-chtml.js" async></script>
"""


def formula(content: str, options: dict) -> str:
    signs = ("\\[", "\\]") if options.get("display_mode") else ("\\(", "\\)")
    return signs[0] + html.escape(content) + signs[1]


MARKDOWN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=formula)


def rendered(text: str) -> str:
    """Return Markdown as HTML; a link's words stay, since its target is not beside the slides."""
    plain = re.sub(r"(?<!!)\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return MARKDOWN.render(plain).strip()


def slide(heading: str, body: str, notes: str = "") -> str:
    said = f'\n<aside class="notes">{notes}</aside>' if notes else ""
    title = f"<h2>{rendered(heading).removeprefix('<p>').removesuffix('</p>')}</h2>\n" if heading else ""
    return f"<section>\n{title}{body}{said}\n</section>"


def listed(items: list[str], kind: str = "ul") -> str:
    rows = "".join(f"<li>{rendered(one).removeprefix('<p>').removesuffix('</p>')}</li>" for one in items)
    return f"<{kind}>{rows}</{kind}>"


def of_chapter(found: Outline, time: str) -> Iterator[str]:
    """Yield the slides of a chapter."""
    title = rendered(found.title).removeprefix("<p>").removesuffix("</p>")
    yield f"<section>\n<h1>{title}</h1>\n{rendered(found.promise)}\n</section>"
    yield slide("After this chapter you can", listed(found.goals) + rendered(time))
    for part in found.parts:
        if part.title not in CLOSING:
            yield from of_part(part)
    if found.exercises:
        names = [f"**{number}** {title}" for number, title, _ in found.exercises]
        yield slide("Exercises", listed(names))
    if found.recall:
        yield slide("Without looking", listed(found.recall, "ol"))


def of_part(part: Part) -> Iterator[str]:
    if part.about:
        yield slide(part.title, rendered(part.about))
    for one in part.shown:
        if isinstance(one, Prediction):
            yield prediction(part.title, one)
        elif isinstance(one, Figure):
            below = f"<figcaption>{rendered(one.caption)}</figcaption>" if one.caption else ""
            picture = f'<img src="{one.source}" alt="{html.escape(one.alt or one.caption)}">'
            yield slide(part.title, f"<figure>{picture}{below}</figure>")
        elif one.count("<tr") <= ROWS:
            yield slide(part.title, one)


def prediction(title: str, asked: Prediction) -> str:
    long = len(asked.question.split()) + sum(len(choice.split()) for choice, _ in asked.choices) > 60
    choices = "".join(f"<div>{rendered(choice)}</div>" for choice, _ in asked.choices)
    body = f'{rendered(asked.question)}<div class="choices">{choices}</div>'
    answers = "".join(rendered(f"**{choice}** {feedback}") for choice, feedback in asked.choices)
    return slide(title, f'<div class="small">{body}</div>' if long else body, answers)


def write(texts: list[Path], folder: Path) -> list[Path]:
    """Write the decks of some chapters, and beside them what shows them.

    Raises:
        FileNotFoundError: reveal.js was not fetched.
    """
    if not (vendor.VENDOR / "reveal").is_dir():
        raise FileNotFoundError(
            f"{vendor.VENDOR}/reveal is missing: install npm and run book/tools/vendor.py"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("reveal", "mathjax"):
        shutil.copytree(vendor.VENDOR / name, folder / name, dirs_exist_ok=True)
    shutil.copy(Path(__file__).with_name("slides.css"), folder)
    decks = []
    for text in texts:
        found = outline(text)
        slides = "\n".join(of_chapter(found, minutes.head(text)))
        decks.append(folder / f"{text.stem}.html")
        decks[-1].write_text(PAGE.format(title=html.escape(found.title), slides=slides), encoding="utf-8")
    return decks
