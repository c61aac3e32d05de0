"""How pages look where readers differ: on a slow line, without scripts, on a phone, in the dark, on paper.

`make test` opens some pages of each kind, `make proof` all.
"""

import pytest
from built import CHOSEN, IN_A_BROWSER, SITE
from serving import Compressing

pytest.importorskip("playwright.sync_api", reason="pip install playwright")

DRAWN = [page for page in CHOSEN if "widget-view+json" in page.read_text(encoding="utf-8")]

pytestmark = IN_A_BROWSER
each = pytest.mark.parametrize("page", CHOSEN, ids=lambda page: f"{page.parent.name}/{page.stem}")

SLOW = {"offline": False, "latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000}
FIRST_PAINT, FIRST_BYTES = 10_000, 700_000  # ms; bytes as sent, compressed
SMALLEST = 11  # px of a letter on a phone
WIDTH = "document.documentElement.scrollWidth"


@pytest.mark.parametrize(
    "page", [page for page in CHOSEN if page.parent.name == "notebooks"], ids=lambda p: p.stem
)
def test_a_slow_line_shows_a_chapter_soon_and_sends_nothing_heavy_unasked(browser, address, page):
    window = browser.new_page(viewport={"width": 390, "height": 700})
    try:
        line = window.context.new_cdp_session(window)
        line.send("Network.enable")
        line.send("Network.emulateNetworkConditions", SLOW)
        window.goto(f"{address}/notebooks/{page.name}", timeout=60_000)
        painted = window.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        asked = window.evaluate("performance.getEntriesByType('resource').map(r => r.name)")
    finally:
        window.close()
    assert painted < FIRST_PAINT
    assert not [name for name in asked if "vendor/mathjax" in name or "vendor/widgets" in name]
    assert Compressing.sent < FIRST_BYTES


@each
@pytest.mark.parametrize("width", [390, 1280])
def test_without_scripts_a_page_fits_and_its_figures_stand_there(browser, page, width):
    context = browser.new_context(java_script_enabled=False, viewport={"width": width, "height": 900})
    try:
        window = context.new_page()
        window.goto(page.as_uri())
        assert window.evaluate(WIDTH) <= width
        if page in DRAWN:
            frames = window.locator(".first-frame svg")
            assert frames.count() == page.read_text(encoding="utf-8").count("widget-view+json")
            assert all(frame.bounding_box() for frame in frames.all() if frame.is_visible())
    finally:
        context.close()


@each
def test_no_code_is_cut_where_there_is_room(browser, page):
    window = browser.new_page(viewport={"width": 1280, "height": 900})
    try:
        window.goto(page.as_uri())
        cut = window.evaluate(
            """() => {
                document.querySelectorAll('details').forEach(one => one.open = true);
                return [...document.querySelectorAll('div.cell_input pre, div.cell_output pre')]
                    .filter(one => one.scrollWidth > one.clientWidth + 1)
                    .map(one => one.innerText.slice(0, 60))
            }"""
        )
        assert not cut
    finally:
        window.close()


CUT_OR_PRESSED = """() => [...document.querySelectorAll('pre, button, .toggle-button')]
    .filter(one => one.checkVisibility() && one.closest('article'))
    .filter(one => one.tagName !== 'PRE' || one.scrollWidth > one.clientWidth)
    .filter(one => !one.closest('.jupyter-widgets'))
    .map(one => one.outerHTML.slice(0, 80))"""


@each
def test_on_paper_everything_is_open_and_nothing_is_cut(browser, page):
    window = browser.new_page(viewport={"width": 700, "height": 1000})
    try:
        window.goto(page.as_uri())
        window.emulate_media(media="print")
        # on a busy machine the styles of paper come some frames later
        window.evaluate("new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn, 200)))")
        closed = window.evaluate(
            """() => [...document.querySelectorAll('details > :not(summary)')]
                .filter(one => one.textContent.trim() && !one.checkVisibility({contentVisibilityAuto: true}))
                .map(one => one.textContent.slice(0, 60))"""
        )
        assert not closed
        assert not window.evaluate(CUT_OR_PRESSED)
        assert window.evaluate(WIDTH) <= 700
    finally:
        window.close()


LETTERS = """() => [...document.querySelectorAll('svg text')].map(text => {
    const scale = text.getScreenCTM(), drawing = text.ownerSVGElement.getBoundingClientRect();
    const box = text.getBoundingClientRect();
    const size = parseFloat(getComputedStyle(text).fontSize) * (scale ? Math.hypot(scale.a, scale.b) : 0);
    return {size: drawing.width ? size : 99,
        beyond: drawing.width ? Math.max(box.right - drawing.right, drawing.left - box.left) : 0,
        text: text.textContent};
})"""


@each
def test_the_letters_of_a_drawing_can_be_read_on_a_phone(browser, page):
    """In the text of an SVG; what is a picture of points is measured in tests/book/test_notebooks.py."""
    window = browser.new_page(viewport={"width": 390, "height": 900})
    try:
        window.goto(page.as_uri())
        letters = window.evaluate(LETTERS)
    finally:
        window.close()
    assert not [one for one in letters if one["size"] < SMALLEST], "too small"
    assert not [one for one in letters if one["beyond"] > 1], "outside the drawing"


TABLES = """() => {
    document.querySelectorAll('details').forEach(fold => fold.open = true);
    return [...document.querySelectorAll('.cell_output div[role=group] > table')]
        .filter(table => table.textContent.includes('bytes on disk') && table.tHead.rows[0].cells.length > 3)
        .map(table => ({
            hidden: table.parentElement.scrollWidth - table.parentElement.clientWidth,
            heads: [...table.tHead.rows[0].cells].slice(0, 3).map(head => head.textContent.split(' ')[0]),
            third: table.tHead.rows[0].cells[2].getBoundingClientRect().right}));
}"""


@each
@pytest.mark.parametrize("width", [390, 1280])
def test_a_comparison_shows_what_matters_first_and_all_of_it_where_there_is_room(browser, page, width):
    window = browser.new_page(viewport={"width": width, "height": 900})
    try:
        window.goto(page.as_uri())
        for table in window.evaluate(TABLES):
            assert table["heads"][:2] == ["network", "bytes"]
            assert table["third"] <= width, "accuracy, or another metric, is out of sight"
            assert width < 1280 or table["hidden"] <= 0, "it scrolls"
    finally:
        window.close()


def test_the_leaderboard_fits_a_phone_with_its_digests(browser):
    window = browser.new_page(viewport={"width": 390, "height": 900})
    try:
        window.goto((SITE / "book" / "challenge.html").as_uri())
        last = "document.querySelector('table.board tr:nth-child(1) td:last-child')"
        assert window.evaluate(f"{last}.textContent.trim().length") == 16, "the whole digest"
        assert window.evaluate("document.querySelector('table.board').getBoundingClientRect().right") <= 390
    finally:
        window.close()


FIGURES = """() => [...document.querySelectorAll('.cell_output img')].map(figure => {
    const style = getComputedStyle(figure);
    return {turned: style.filter.includes('invert') && style.mixBlendMode === 'screen',
        card: style.backgroundColor === 'rgb(255, 255, 255)', shades: figure.classList.contains('shades')};
})"""


@each
def test_in_the_dark_a_figure_is_light_on_dark_and_a_map_of_shades_stays_as_it_is(browser, page):
    window = browser.new_page(viewport={"width": 390, "height": 900}, color_scheme="dark")
    try:
        window.goto(page.as_uri())
        for figure in window.evaluate(FIGURES):
            assert figure["turned"] != figure["shades"]
            assert figure["card"] == figure["shades"]
    finally:
        window.close()
