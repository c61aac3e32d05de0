"""One table, twice: as text for the terminal and as HTML for the page, from the same cells."""

import html
import re
from collections.abc import Collection, Sequence

Row = Sequence[str]

# Where a cell must not break: within a number and its unit, a count and its "of", a p-value.
_WHOLE = re.compile(r"(of [\d,]+|(?:to )?\(?[\d.,]+ %\)?|p (?:=|&lt;) [\d.]+)")


def percent(value: float) -> str:
    """Write a share as a percentage with one digit, always seven characters wide.

    By the fixed form the book's tests recognise every accuracy: it may differ by an image elsewhere.

    >>> percent(0.979), percent(1.0)
    (' 97.9 %', '100.0 %')
    """
    return f"{100 * value:5.1f} %"


def percent_interval(value: float, low: float, high: float) -> str:
    """Write a share with the ends of its interval.

    >>> percent_interval(0.979, 0.968, 0.986)
    ' 97.9 % ( 96.8 % to  98.6 %)'
    """
    return f"{percent(value)} ({percent(low)} to {percent(high)})"


def text_table(header: Row, rows: Sequence[Row], *, right: Collection[int] = ()) -> str:
    """Lay cells out in columns of equal width, the columns in ``right`` flush right.

    >>> print(text_table(("name", "bytes"), [("float", "1,000"), ("4 bits", "130")], right={1}))
    name    bytes
    float   1,000
    4 bits    130
    """
    lines = [header, *rows] if any(header) else list(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def lay_out(line: Row) -> str:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join(lay_out(line) for line in lines)


def html_table(
    caption: str, header: Row, rows: Sequence[Row], *, right: Collection[int] = (), note: str = ""
) -> str:
    """Write the same cells as an HTML table that a screen reader can walk and a phone can scroll.

    No colour is set, so the table takes those of the page, light or dark.
    """
    sides = ["right" if column in right else "left" for column in range(len(header))]
    head = "".join(_cell("th", text, side, 'scope="col"') for text, side in zip(header, sides, strict=True))
    body = "".join(f"<tr>{_html_row(row, sides)}</tr>" for row in rows)
    label = html.escape(caption, quote=True)
    return (
        f'<div role="group" aria-label="{label}" tabindex="0" style="overflow-x: auto">'
        f'<table style="margin: 0; font-size: 0.8125rem">'
        f'<caption style="text-align: left; color: inherit">{label}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + (f'<p style="font-size: 0.8125rem; margin: 0.4em">{html.escape(note)}</p>' if note else "")
        + "</div>"
    )


def _html_row(row: Row, sides: Sequence[str]) -> str:
    first, *others = row
    cells = (_cell("td", text, side) for text, side in zip(others, sides[1:], strict=True))
    return _cell("th", first, sides[0], 'scope="row"') + "".join(cells)


def _cell(tag: str, text: str, side: str, scope: str = "") -> str:
    shown = html.escape(" ".join(text.split())).replace("( ", "(")  # padding is for text only
    shown = _WHOLE.sub(r'<span style="white-space: nowrap">\1</span>', shown)
    start = " ".join(filter(None, (tag, scope)))
    return f'<{start} style="padding: 0.25em 0.3em; text-align: {side}">{shown}</{tag}>'
