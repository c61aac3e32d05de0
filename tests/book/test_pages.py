"""The built site, read as files: every link and anchor leads somewhere, every picture says what it shows."""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from built import PAGES, SITE

from tests.bench.rooms import ROOMS

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(not PAGES, reason="no built site: run `make book` first"),
]
each = pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")


class Reader(HTMLParser):
    """Collect what the tests ask of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.files: list[str] = []
        self.ids: set[str] = set()
        self.images: list[dict] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.ids |= {found[key] for key in ("id", "name") if key in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "img":
            self.images.append(found)
        if tag in ("script", "link", "img"):
            self.files += [found[key] for key in ("src", "href") if key in found]


@cache
def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader


def target(page: Path, link: str) -> tuple[Path, str] | None:
    """Return the file and the anchor that a link means; None for what leaves the site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or link.startswith("data:"):
        return None
    return (page.parent / unquote(parts.path)).resolve() if parts.path else page, unquote(parts.fragment)


@each
def test_every_link_and_anchor_leads_somewhere(page):
    broken = []
    for link in read(page).links:
        if (place := target(page, link)) is None:
            continue
        path, anchor = place
        if not path.is_file() or (anchor and path.suffix == ".html" and anchor not in read(path).ids):
            broken.append(link)
    assert not broken


@each
def test_every_file_a_page_loads_is_there(page):
    places = [target(page, file) for file in read(page).files]
    assert not [place[0].name for place in places if place and not place[0].is_file()]


@each
def test_every_image_has_alt_text(page):
    bare = [image["src"][:80] for image in read(page).images if not image.get("alt", "").strip()]
    assert not bare


@each
def test_no_alt_text_is_a_file_name(page):
    alts = [image.get("alt", "") for image in read(page).images]
    assert not [alt for alt in alts if re.search(r"\.(png|svg)$", alt)]


@each
def test_no_page_shows_a_path_of_the_machine_that_built_it(page):
    text = page.read_text(encoding="utf-8")
    assert str(SITE.parents[1]) not in text
    assert str(Path.home()) + "/" not in text


def test_no_api_page_is_heavy():
    pages = [page for page in PAGES if page.parent.name == "api"]
    assert {page.stem for page in pages} == {*ROOMS}
    assert not {page.stem: page.stat().st_size for page in pages if page.stat().st_size >= 200_000}
