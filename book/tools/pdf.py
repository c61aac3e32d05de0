"""Print the whole book from the built pages: one PDF with contents, page numbers and every answer open.

The pages become one document, so that a link between chapters stays a link and the pages are counted through.
Chromium prints it twice: the first print tells on which page each chapter begins, the second has it in the
contents. A figure that would not fit a sheet, and Chinese terms without a font, are said instead of printed.
"""

import html
import os
import re
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urldefrag

import yaml
from bs4 import BeautifulSoup, Tag
from chromium import CHROMIUM, UNDRIVABLE
from edition import ROOT, cited, dated, version
from parcel import SITE, named, offer

TOC = ROOT / "book" / "_toc.yml"
SHEET, MARGIN = (210, 297), 16  # mm, A4
WIDTH, HEIGHT = ((side - 2 * MARGIN) / 25.4 * 96 for side in SHEET)  # CSS pixels between the margins
UNPRINTED = "script, .headerlink, .copybtn, .prev-next-footer, .sd-summary-state-marker, .footer-article"
POINTING = ("id", "for", "headers", "name", "aria-labelledby", "aria-describedby")
STYLE = """
body { font-size: 10pt; line-height: 1.4; background: #fff; display: block; }
article { max-width: none !important; }
section.page { break-before: page; }
h1, h2, h3, h4, dt { break-after: avoid; }
body :not(#none) { box-shadow: none !important; } /* a shadow would be printed as a picture of its cell */
img, svg { max-width: 100%; max-height: 235mm; break-inside: avoid; }
pre, code { white-space: pre-wrap !important; overflow-wrap: anywhere; font-size: 8pt; }
table { max-width: 100%; font-size: 8pt; overflow-wrap: anywhere; }
details { break-inside: auto; }
details > summary { break-after: avoid; list-style: none; }
details[open] > summary .expanded { display: none !important; }
details[open] > summary .collapsed { display: inline !important; }
.sd-card:not(details) { break-inside: avoid; }
.cell_output, .cell_output div { overflow: visible !important; max-height: none !important; }
:lang(zh) {
  font-family: "Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif;
}
nav.printed ol { list-style: none; padding: 0; }
nav.printed a { display: flex; gap: 1em; color: inherit; text-decoration: none; }
nav.printed a span:first-child { flex: 1; }
nav.printed h3 { font-size: 10pt; margin: 0.8em 0 0.2em; }
"""
FOOT = '<div style="font-size: 8px; width: 100%; text-align: center"><span class="pageNumber"></span></div>'
# Draw each Chinese character, and one that no font has: the same picture means that it is missing.
MISSING = """characters => {
    const paper = new OffscreenCanvas(64, 64), pen = paper.getContext('2d', {willReadFrequently: true});
    pen.font = '40px "Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif';
    const drawn = letter => {
        pen.clearRect(0, 0, 64, 64);
        pen.fillText(letter, 4, 48);
        return pen.getImageData(0, 0, 64, 64).data.join();
    };
    const none = drawn('\\u{F0000}');
    return [...characters].filter(letter => drawn(letter) === none).join('');
}"""
CUT = """([width, height]) => [...document.querySelectorAll('img, svg')].map(figure => {
    const box = figure.getBoundingClientRect(), page = figure.closest('section.page');
    return {page: page ? page.id : '', width: box.width, height: box.height, right: box.right};
}).filter(box => box.height > height || box.right > width + 1)"""
NUMBER = """numbers => Object.entries(numbers).forEach(([name, number]) => {
    document.querySelector(`nav.printed a[href="#${name}"] span:last-child`).textContent = number;
})"""
CHINESE = re.compile(r"[\u4e00-\u9fff]")
INSTALL = "Debian and Ubuntu: apt-get install fonts-noto-cjk; Fedora: dnf install google-noto-sans-cjk-fonts"


def parts() -> list[tuple[str, list[str]]]:
    """Return the parts of the table of contents, each with its caption and its documents."""
    toc = yaml.safe_load(TOC.read_text(encoding="utf-8"))
    told = [(part["caption"], [entry["file"] for entry in part["chapters"]]) for part in toc["parts"]]
    return [("", [toc["root"]]), *told]


def slug(document: str) -> str:
    """Return what all anchors of a document begin with.

    >>> slug("book/api/models")
    'book-api-models'
    """
    return document.replace("/", "-")


def led(target: str, document: str, documents: set[str], site: Path, place: Path) -> str:
    """Return where a link or picture of a document leads inside the whole, whose file lies in ``place``."""
    if re.match(r"[a-z]+:", target):
        return target
    path, fragment = urldefrag(target)
    there = Path(os.path.normpath(site / Path(document).parent / unquote(path))) if path else None
    name = there.relative_to(site).with_suffix("").as_posix() if there else document
    if name in documents:
        return f"#{slug(name)}--{fragment}" if fragment else f"#{slug(name)}"
    return os.path.relpath(there, place).replace(os.sep, "/") if there else target


def chapter(document: str, documents: set[str], site: Path, place: Path) -> Tag:
    """Return the text of a page, all of it open, with its anchors and links made for the whole."""
    if not (built := site / f"{document}.html").is_file():
        sys.exit(f"asked for the page {document}, not found under {site}; build the pages with: make book")
    page = BeautifulSoup(built.read_text(encoding="utf-8"), "html.parser")
    article = page.find("article", class_="bd-article")
    for one in article.select(UNPRINTED):
        one.decompose()
    for one in article.find_all("details"):
        one["open"] = ""
    for one in article.find_all(True):
        for name, value in list(one.attrs.items()):
            if not isinstance(value, str):
                continue
            if name in POINTING:
                one[name] = " ".join(f"{slug(document)}--{word}" for word in value.split())
            elif name in ("href", "src", "xlink:href"):
                one[name] = led(value, document, documents, site, place)
            elif "url(#" in value:
                one[name] = value.replace("url(#", f"url(#{slug(document)}--")
    article.name = "section"
    article["class"], article["id"] = ["page", "bd-article"], slug(document)
    return article


def contents(chosen: list[tuple[str, list[str]]], titles: dict[str, str]) -> str:
    """Return the first sheets: what the book is, and a place for the page on which each chapter begins."""
    lines = []
    for caption, documents in chosen:
        lines.append(f"<h3>{html.escape(caption)}</h3>" if caption else "")
        rows = (
            f'<li><a href="#{slug(one)}"><span>{html.escape(titles[one])}</span><span>000</span></a></li>'
            for one in documents
        )
        lines.append(f"<ol>{''.join(rows)}</ol>")
    about = (
        f"<p>Version {version()}{dated()}.</p><p>{html.escape(cited())}</p>"
        "<p>Code: MIT licence. Prose and figures: CC BY 4.0. Every answer stands open in this print: "
        "cover what follows a question with a sheet of paper.</p>"
    )
    return f'<nav class="printed"><h2>Small networks</h2>{about}<h2>Contents</h2>{"".join(lines)}</nav>'


def whole(chosen: list[tuple[str, list[str]]], site: Path, place: Path) -> tuple[str, dict[str, str]]:
    """Return the document with a gap for its contents, and the title of each chapter."""
    order = [one for _, documents in chosen for one in documents]
    every = {one for _, documents in parts() for one in documents}
    chapters = {one: chapter(one, every & set(order), site, place) for one in order}
    titles = {one: text.find("h1").get_text(" ", strip=True) for one, text in chapters.items()}
    first = BeautifulSoup((site / f"{order[0]}.html").read_text(encoding="utf-8"), "html.parser")
    heads = [
        led(link["href"], order[0], set(), site, place) for link in first.select('link[rel="stylesheet"]')
    ]
    styles = "".join(f'<link rel="stylesheet" href="{address}">' for address in heads)
    maths = next(iter((site / "_static").glob("vendor/mathjax/tex-chtml.js")), None)
    formulas = (
        '<script>MathJax = {options: {processHtmlClass: "tex2jax_process|mathjax_process|math|output_area"}}'
        f'</script><script src="{os.path.relpath(maths, place)}"></script>'
        if maths
        else ""
    )
    text = "".join(str(one) for one in chapters.values())
    return (
        f'<!doctype html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>Small networks</title>{styles}<style>{STYLE}</style>{formulas}</head>"
        f'<body class="tex2jax_ignore mathjax_ignore">CONTENTS{text}</body></html>'
    ), titles


def started(target: Path, titles: dict[str, str]) -> dict[str, int]:
    """Return the page, counted from 1, on which each chapter of a printed book begins."""
    import pypdfium2

    with pypdfium2.PdfDocument(target) as pdf:
        marks = [mark for mark in pdf.get_toc() if mark.level == 0 and mark.get_dest() is not None]
        pages = [mark.get_dest().get_index() + 1 for mark in marks]
    return dict(zip(titles, pages[2:], strict=True))  # before them: the book's title, and "Contents"


def make(target: Path, documents: list[str] | None = None, site: Path = SITE) -> dict[str, int]:
    """Print the book, or some of its documents; return on which page each begins.

    Args:
        target: the PDF to write.
        documents: such as "notebooks/03_asymmetric"; None for all, in the order of the table of contents.
        site: the built pages.
    """
    from playwright.sync_api import sync_playwright

    if UNDRIVABLE:
        sys.exit(f"a PDF is printed by Chromium: {UNDRIVABLE}")
    chosen = [
        (part, [one for one in inside if documents is None or one in documents]) for part, inside in parts()
    ]
    with tempfile.TemporaryDirectory(dir=site.parent) as folder, sync_playwright() as play:
        text, titles = whole([one for one in chosen if one[1]], site, Path(folder))
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": round(WIDTH), "height": round(HEIGHT)})
        page.set_default_timeout(600_000)
        if missing := page.evaluate(MISSING, "".join(sorted(set(CHINESE.findall(text))))):
            sys.exit(f"no font here has the characters {missing:.20}; install one. {INSTALL}")
        told = contents([one for one in chosen if one[1]], titles)
        (Path(folder) / "book.html").write_text(text.replace("CONTENTS", told, 1), encoding="utf-8")
        page.goto((Path(folder) / "book.html").as_uri())
        page.emulate_media(media="print")
        page.evaluate("async () => { await document.fonts.ready; await window.MathJax?.startup?.promise; }")
        if cut := page.evaluate(CUT, [WIDTH, HEIGHT]):
            sys.exit(f"{len(cut)} figures do not fit a sheet: {cut[:3]}")
        sides = dict.fromkeys(("top", "bottom", "left", "right"), f"{MARGIN}mm")
        paper = {"format": "A4", "margin": sides, "print_background": True, "outline": True, "tagged": True}
        feet = {"display_header_footer": True, "header_template": "<p></p>", "footer_template": FOOT}
        page.pdf(path=target, **paper, **feet)
        numbers = started(target, titles)
        page.evaluate(NUMBER, {slug(document): number for document, number in numbers.items()})
        page.pdf(path=target, **paper, **feet)
        if started(target, titles) != numbers:
            sys.exit("the numbers in the contents moved the chapters: report this as a fault")
        browser.close()
    return numbers


def main() -> None:
    target = SITE / named(".pdf")
    numbers = make(target)
    offer()
    print(f"{target.relative_to(ROOT)}: {len(numbers)} chapters, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
