"""The browser of the tests that open pages, and the site over http."""

from collections.abc import Iterator

import pytest
from chromium import CHROMIUM, UNDRIVABLE
from serving import serving


@pytest.fixture(scope="module")
def browser() -> Iterator:
    if UNDRIVABLE:
        pytest.skip(UNDRIVABLE)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def address() -> Iterator[str]:
    with serving() as found:
        yield found
