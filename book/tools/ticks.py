"""Write the table of the page "Your progress": each chapter and its exercises, with boxes to tick.

Sphinx puts it into the page while it reads it, so that no second list of chapters lies anywhere.
`book/_static/progress.js` keeps the ticks in the reader's browser.
"""

import html
from pathlib import Path

import minutes
import routes
from plain import CHAPTERS

PAGE, MARK = "book/progress", "TABLE-OF-TICKS"
ROW = """\
<tr><th scope="row"><a href="../notebooks/{name}.html">{title}</a></th>
<td><label><input type="checkbox" name="{number}" aria-label="Chapter {number} read">read</label></td>
<td>{exercises}</td></tr>"""
BOX = (
    '<label><input type="checkbox" name="{name}" aria-label="Exercise {shown} solved">'
    '<span class="number">{shown}</span></label>'
)
TABLE = """\
<table id="progress-table">
<thead>
<tr><th scope="col">Chapter</th><th scope="col">Read</th><th scope="col">Exercises solved</th></tr>
</thead>
<tbody>
{rows}
</tbody></table>"""


def row(text: Path) -> str:
    """Return the row of a chapter."""
    number = text.stem[:2]
    names = {name: f"{int(number)}.{name[3:]}" for name in routes.exercises(number)}
    boxes = " ".join(BOX.format(name=name, shown=shown) for name, shown in names.items())
    title = html.escape(minutes.sections(text)[0].title.replace("`", ""))
    return ROW.format(name=text.stem, number=number, title=title, exercises=boxes)


def table() -> str:
    """Return the whole table."""
    return TABLE.format(rows="\n".join(map(row, sorted(CHAPTERS.glob("*.md")))))


def read(app, docname: str, source: list[str]) -> None:
    if docname == PAGE:
        source[0] = source[0].replace(MARK, table())


def setup(app) -> dict:
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
