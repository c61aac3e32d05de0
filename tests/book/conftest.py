"""The browser of the tests that open pages, and the site over http."""

from collections.abc import Iterator

import pytest
from built import CHROMIUM
from serving import serving


@pytest.fixture(scope="module")
def browser() -> Iterator:
    if CHROMIUM is None:
        pytest.skip("no Chromium: install the system's package (chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def address() -> Iterator[str]:
    with serving() as found:
        yield found
