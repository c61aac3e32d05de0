"""The built pages in a real browser, with no network: they work, they move by keyboard, they are readable."""

from collections.abc import Iterator

import pytest
from built import CHOSEN, IN_A_BROWSER, PAGES

pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")


pytestmark = IN_A_BROWSER
each = pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")

# What the theme itself brings, named so that nothing of ours hides behind it.
OF_THE_THEME = {
    "label-content-name-mismatch",  # the search button's shortcut is not in its name
    "region",  # the skip link and the search dialog lie outside the landmarks
}
OF_THE_BIBLIOGRAPHY = {"aria-allowed-role", "aria-deprecated-role", "aria-required-children"}


class Visit:
    """One page in one window, with everything it asked of the network and complained about."""

    def __init__(self, browser, page, width: int = 1280, scheme: str = "light") -> None:
        self.window = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.wanted: list[str] = []
        self.complaints: list[str] = []
        self.window.route("**/*", self._only_files)
        self.window.on("console", self._listen)
        self.window.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.window.goto(page.as_uri())
        self.window.wait_for_load_state("load")
        self._wait_for_drawings()

    def _only_files(self, route) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            self.wanted.append(route.request.url)
            route.abort()

    def _listen(self, message) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _wait_for_drawings(self) -> None:
        """Wait until each formula and each interactive figure that the page announces is drawn.

        Both come when they are near, or when the page is printed: so it is told that it will be.
        """
        self.window.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        self.window.wait_for_function(
            """() => [...document.querySelectorAll('.math')].every(m => m.querySelector('mjx-container'))
                && [...document.querySelectorAll('script[type$="widget-view+json"]')].every(
                    s => s.parentElement.querySelector('.jupyter-widgets'))""",
            timeout=20_000,
        )
        self.window.wait_for_timeout(100)  # what opened for the printer has its width now

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.window.close()


@each
def test_a_page_needs_no_network_and_raises_no_error(browser, page):
    with Visit(browser, page) as visit:
        assert visit.wanted == []
        assert visit.complaints == []


@each
def test_a_page_fits_a_phone(browser, page):
    with Visit(browser, page, width=390) as visit:
        assert visit.window.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize(
    ("page", "scheme"),
    [*((page, "light") for page in PAGES), *((page, "dark") for page in CHOSEN)],
    ids=lambda one: one if isinstance(one, str) else f"{one.parent.name}/{one.stem}",
)
def test_a_page_is_accessible(browser, page, scheme):
    with Visit(browser, page, scheme=scheme) as visit:
        allowed = OF_THE_THEME | (OF_THE_BIBLIOGRAPHY if page.stem == "bibliography" else set())
        violations = axe.Axe().run(visit.window).response["violations"]
        found = {rule["id"]: [node["html"][:200] for node in rule["nodes"][:3]] for rule in violations}
        assert not {rule: nodes for rule, nodes in found.items() if rule not in allowed}


VISIBLE = """control => {
    const output = control.closest('.cell_output') ?? document.body;
    return [...output.querySelectorAll('svg, img, .widget-html-content')]
        .filter(node => node.checkVisibility() && !node.querySelector('svg, img'))
        .map(node => node.outerHTML).join('');
}"""


ARROWS = ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft")
CONTROLS = ".jupyter-widgets .noUi-handle, .jupyter-widgets select, .widget-toggle-buttons"


def stations(control) -> Iterator[str]:
    """Move a control by keyboard from value to value and yield what its figure shows at each."""
    yield control.evaluate(VISIBLE)
    buttons = control.query_selector_all("button")
    for target, key in [(button, "Enter") for button in buttons] or [(control, key) for key in ARROWS]:
        target.focus()
        target.press(key)
        control.evaluate("() => new Promise(done => setTimeout(done, 100))")
        yield control.evaluate(VISIBLE)


NAME = """c => c.getAttribute('aria-label') || c.labels?.[0]?.textContent
    || c.matches('.widget-toggle-buttons') && c.querySelector('.widget-label')?.textContent || ''"""


drawn = pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "widget-view+json" in page.read_text(encoding="utf-8")],
    ids=lambda page: page.stem,
)
LABELS = """() => {
    document.querySelectorAll('details').forEach(fold => fold.open = true);
    return [...document.querySelectorAll('.jupyter-widgets .widget-label')]
        .filter(label => label.textContent.trim() && label.checkVisibility())
        .map(label => ({text: label.textContent, cut: label.scrollWidth > label.clientWidth}));
}"""


@drawn
@pytest.mark.parametrize("width", [390, 1280])
def test_no_label_of_a_control_is_cut(browser, page, width):
    with Visit(browser, page, width=width) as visit:
        labels = visit.window.evaluate(LABELS)
        assert labels, "the page announces an interactive figure and shows none"
        assert not [label["text"] for label in labels if label["cut"]]


@drawn
def test_every_control_has_a_name_and_moves_its_figure_by_keyboard(browser, page):
    with Visit(browser, page) as visit:
        controls = visit.window.query_selector_all(CONTROLS)
        assert controls, "the page announces an interactive figure and shows none"
        for control in controls:
            name = control.evaluate(NAME)
            assert name.strip(), "a control without an accessible name"
            assert len(set(stations(control))) >= 2, f"{name}: the figure did not change"
        assert visit.complaints == []
