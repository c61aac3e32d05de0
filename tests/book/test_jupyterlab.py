"""Notebooks in JupyterLab: no raw directive, every answer closed, every solution folded.

`make test` opens three as committed, and one as participants get it; `make proof` opens all of the latter.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import handouts
import nbformat
import pytest
from built import RAW, needs_browser
from plain import CHAPTERS

pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytest.importorskip("jupyterlab", reason="pip install jupyterlab")

ROOT = Path(__file__).resolve().parents[2]
THREE = ["02_symmetric", "07_training_through_quantization", "18_deep_compression"]
UNMADE = [  # directives that nobody made plain: seen as fences, as a block of code, as a name in braces
    ":::{note}\nRead this.\n:::",
    "```{predict} What comes?\nNothing\n: Right.\n```",
    "As {doc}`04_two_and_three_values` says.",
]
# A role is drawn as its name in braces with code behind it.
ROLES = r"""() => [...document.querySelectorAll('.jp-MarkdownOutput code')]
    .filter(one => /\{[a-z:-]+\}$/.test(one.previousSibling?.textContent ?? '')).length"""
GIVEN = [text for text in sorted(CHAPTERS.glob("*.md")) if os.environ.get("PROOF") or text.stem == THREE[0]]

pytestmark = [
    pytest.mark.browser,
    needs_browser,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """Serve notebooks on this machine alone, with nothing of the user's own settings."""
    place = tmp_path_factory.mktemp("lab")
    settings = place / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    draw_all = {"windowingMode": "none"}  # also the cells below the window's edge
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps(draw_all))
    (place / "books").mkdir()
    for name in THREE:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", place / "books")
    for text in GIVEN:
        (place / "books" / f"given_{text.name}").with_suffix(".ipynb").write_text(
            handouts.participant(text), encoding="utf-8"
        )
    for number, source in enumerate(UNMADE):
        raw = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(source)])
        nbformat.write(raw, place / "books" / f"raw_{number}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={place / 'books'}",
        "--allow-root",
    ]
    home = {
        "HOME": str(place),
        "JUPYTER_CONFIG_DIR": str(place),
        "JUPYTERLAB_SETTINGS_DIR": str(place / "settings"),
    }
    log = (place / "log").open("w")
    running = subprocess.Popen(command, env=os.environ | home, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urlopen(f"{address}/api?token={token}", timeout=5).read()
                break
            except OSError:
                assert running.poll() is None, (place / "log").read_text()
                time.sleep(0.5)
        # a workspace for each, or the second would restore the first beside it
        yield f"{address}/lab/workspaces/{{0}}/tree/{{0}}.ipynb?token={token}"
    finally:
        running.terminate()
        running.wait(30)
        log.close()


@contextmanager
def window_on(browser, address: str, cells: list[dict]) -> Iterator:
    """Open a notebook, wait until all its prose is drawn, and see that nothing is asked of other machines."""
    window = browser.new_page(viewport={"width": 1280, "height": 900})
    wanted = []

    def only_this_machine(route) -> None:
        if re.match(r"(http://127\.0\.0\.1:|data:|blob:)", route.request.url):
            route.continue_()
        else:
            wanted.append(route.request.url)
            route.abort()

    window.route("**/*", only_this_machine)
    window.goto(address, timeout=120_000)
    prose = sum(cell["cell_type"] == "markdown" for cell in cells)
    # each comes empty, and is filled then
    drawn = """n => { const all = [...document.querySelectorAll('.jp-MarkdownCell .jp-MarkdownOutput')];
        return all.length === n && all.every(one => one.childElementCount > 0); }"""
    window.wait_for_function(drawn, arg=prose, timeout=120_000)
    if any("$" in "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"):
        window.wait_for_function(
            "() => document.querySelector('.jp-MarkdownOutput mjx-container')", timeout=60_000
        )
    yield window
    assert not wanted
    window.close()


@pytest.fixture(scope="module", params=THREE)
def opened(request, browser, server):
    """Return a committed notebook's page, and its cells."""
    path = ROOT / "notebooks" / f"{request.param}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    with window_on(browser, server.format(request.param), cells) as window:
        yield window, cells


def no_directive_is_seen(window) -> None:
    assert not RAW.findall("\n".join(window.locator(".jp-MarkdownOutput").all_inner_texts()))
    assert window.locator('.jp-MarkdownOutput code[class*="{"], .jp-MarkdownOutput mjx-merror').count() == 0
    assert window.evaluate(ROLES) == 0


@pytest.mark.parametrize("number", range(len(UNMADE)))
def test_a_raw_directive_would_be_seen(browser, server, number):
    cells = [{"cell_type": "markdown", "source": UNMADE[number]}]
    with window_on(browser, server.format(f"raw_{number}"), cells) as window, pytest.raises(AssertionError):
        no_directive_is_seen(window)


@pytest.mark.parametrize("text", GIVEN, ids=lambda path: path.stem)
def test_participants_see_questions_and_no_output(browser, server, text):
    cells = json.loads(handouts.participant(text))["cells"]
    with window_on(browser, server.format(f"given_{text.stem}"), cells) as window:
        no_directive_is_seen(window)
        assert (
            window.locator(".jp-MarkdownOutput details, .jp-OutputArea-output .jp-RenderedText").count() == 0
        )
        choices = "p:has(strong:text-is('Predict.')) ~ ul > li"
        asked = sum("**Predict.**" in "".join(cell["source"]) for cell in cells)
        assert window.locator(f".jp-MarkdownOutput {choices}").count() >= 2 * asked
        folded = sum(cell["metadata"].get("jupyter", {}).get("source_hidden", False) for cell in cells)
        assert window.locator(".jp-CodeCell .jp-InputPlaceholder").count() == folded
        last = window.locator(".jp-MarkdownOutput").last
        last.scroll_into_view_if_needed()
        assert window.evaluate("document.documentElement.scrollWidth") <= 1280


def test_no_raw_directive_is_seen(opened):
    no_directive_is_seen(opened[0])


def test_answers_are_closed_until_the_reader_opens_one_by_keyboard(opened):
    window, cells = opened
    blocks = window.locator(".jp-MarkdownOutput details")
    assert blocks.count() == sum("".join(cell["source"]).count("<details>") for cell in cells) >= 5
    assert window.locator(".jp-MarkdownOutput details[open]").count() == 0
    first = blocks.first
    answer = first.locator("p").first
    assert first.locator("summary").is_visible()
    assert not answer.is_visible()
    first.locator("summary").focus()
    window.keyboard.press("Enter")
    assert answer.is_visible()


def test_solutions_are_folded(opened):
    window, cells = opened
    for key, placeholder in (
        ("source_hidden", ".jp-InputPlaceholder"),
        ("outputs_hidden", ".jp-OutputPlaceholder"),
    ):
        hidden = sum(cell["metadata"].get("jupyter", {}).get(key, False) for cell in cells)
        assert window.locator(f".jp-CodeCell {placeholder}").count() == hidden >= 3, key


def test_links_inside_the_notebook_lead_to_a_heading(opened):
    window, _ = opened
    links = """() => [...document.querySelectorAll('.jp-MarkdownOutput a:not(.jp-InternalAnchorLink)')]
        .map(a => a.getAttribute('href')).filter(href => href && href.startsWith('#'))"""
    for link in window.evaluate(links):
        wanted = "id => !!document.querySelector(`[data-jupyter-id='${CSS.escape(id)}'], #${CSS.escape(id)}`)"
        assert window.evaluate(wanted, re.sub("^#", "", link)), link
