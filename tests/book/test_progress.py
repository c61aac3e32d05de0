"""The page of ticks: kept in the reader's browser, in the form of the notebooks' file, and sent nowhere."""

import json
import re

import pytest
import routes
import ticks
from built import IN_A_BROWSER, PAGES, SITE
from plain import CHAPTERS

from compresslab.teaching import progress

PAGE = SITE / "book" / "progress.html"
SOLVED = {"02-1": "2026-11-28", "03-2": "2026-11-27"}


def named(page: str) -> list[str]:
    return re.findall(r'<input type="checkbox" name="([\d-]+)"', page)


def test_every_chapter_and_every_exercise_has_a_box():
    wanted = []
    for text in sorted(CHAPTERS.glob("*.md")):
        wanted += [text.stem[:2], *routes.exercises(text.stem[:2])]
    assert named(ticks.table()) == wanted


def test_the_page_and_the_notebooks_write_one_form(tmp_path):
    script = (CHAPTERS.parent / "_static" / "progress.js").read_text(encoding="utf-8")
    assert f'const BOOK = "{progress.BOOK}";' in script
    assert f'link.download = "{progress.FILE}";' in script
    assert json.loads(progress.start(tmp_path).read_text()) == {"book": progress.BOOK, "solved": {}}


@pytest.mark.site
@pytest.mark.skipif(not PAGES, reason="no built site: run `make book` first")
def test_every_box_stands_on_the_built_page():
    assert named(PAGE.read_text(encoding="utf-8")) == named(ticks.table())


@pytest.fixture
def window(browser):
    """Return a window of a browser of its own, which has kept nothing yet."""
    context = browser.new_context(viewport={"width": 390, "height": 800}, accept_downloads=True)
    wanted = []
    context.on("request", lambda request: wanted.append(request.url))
    yield context.new_page()
    context.close()
    assert not [url for url in wanted if not url.startswith(("file:", "data:", "blob:"))]


def said(window) -> str:
    return window.locator("#progress-status").inner_text()


def in_a_browser(test):
    for mark in IN_A_BROWSER:
        test = mark(test)
    return test


@in_a_browser
def test_ticks_are_there_on_the_next_visit_until_all_is_forgotten(window):
    window.goto(PAGE.as_uri())
    assert not window.locator("#progress-without").is_visible()
    window.get_by_label("Chapter 02 read").check()
    window.get_by_label("Exercise 2.1 solved").check()
    window.get_by_label("Exercise 2.2 solved").check()
    window.get_by_label("Exercise 2.2 solved").uncheck()
    assert said(window).startswith("1 of ")
    again = window.context.new_page()
    again.goto(PAGE.as_uri())
    assert again.get_by_label("Exercise 2.1 solved").is_checked()
    assert not again.get_by_label("Exercise 2.2 solved").is_checked()
    assert ", 1 of " in said(again)
    again.locator("#progress-forget").click()
    window.wait_for_function("() => !document.querySelector('#progress-table input:checked')")
    window.reload()
    assert window.locator("#progress-table input:checked").count() == 0
    assert window.evaluate("localStorage.getItem('small-networks-progress')") is None


@in_a_browser
def test_the_file_of_the_notebooks_is_added_and_saved_again(window, tmp_path):
    file = progress.start(tmp_path)
    file.write_text(json.dumps({"book": progress.BOOK, "solved": SOLVED}))
    window.goto(PAGE.as_uri())
    window.get_by_label("Exercise 2.2 solved").check()
    window.locator("#progress-load").set_input_files(file)
    window.wait_for_function("() => document.querySelectorAll('#progress-table input:checked').length === 3")
    window.reload()
    with window.expect_download() as download:
        window.locator("#progress-save").click()
    download.value.save_as(file)
    found = progress.solved(tmp_path)
    assert found is not None
    assert SOLVED.items() < found.items()
    assert set(found) - set(SOLVED) == {"02-2"}


@in_a_browser
@pytest.mark.parametrize("text", ["", "[]", "null", '{"book": "Other", "solved": {"02-1": ""}}'])
def test_a_file_of_something_else_is_refused_and_costs_no_tick(window, tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    window.goto(PAGE.as_uri())
    window.get_by_label("Exercise 2.2 solved").check()
    window.locator("#progress-load").set_input_files(tmp_path / "other.json")
    refused = "() => document.querySelector('#progress-status').textContent.includes('holds no ticks')"
    window.wait_for_function(refused)
    assert window.locator("#progress-table input:checked").count() == 1


@in_a_browser
def test_a_browser_that_keeps_nothing_says_so(window):
    window.add_init_script("Object.defineProperty(window, 'localStorage', {get() {throw new Error('no')}})")
    window.goto(PAGE.as_uri())
    window.get_by_label("Exercise 2.2 solved").check()
    assert "This browser keeps nothing" in said(window)


@in_a_browser
def test_without_scripts_the_page_says_what_to_do(browser):
    context = browser.new_context(java_script_enabled=False)
    window = context.new_page()
    window.goto(PAGE.as_uri())
    assert window.locator("#progress-without").is_visible()
    assert not window.locator("#progress-tools").is_visible()
    assert window.locator("#progress-table input").count() > 60
    context.close()
