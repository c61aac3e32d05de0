"""Three notebooks in JupyterLab: no raw directive, every answer closed, every solution folded."""

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
from pathlib import Path
from urllib.request import urlopen

import pytest
from built import CHROMIUM, RAW

pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytest.importorskip("jupyterlab", reason="pip install jupyterlab")

ROOT = Path(__file__).resolve().parents[2]
THREE = ["02_symmetric", "07_training_through_quantization", "18_deep_compression"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the system's package (chromium)"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """Serve the three on this machine alone, with nothing of the user's own settings."""
    place = tmp_path_factory.mktemp("lab")
    settings = place / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    draw_all = {"windowingMode": "none"}  # also the cells below the window's edge
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps(draw_all))
    (place / "books").mkdir()
    for name in THREE:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", place / "books")
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


@pytest.fixture(scope="module", params=THREE)
def opened(request, browser, server):
    """Return a notebook's page, with all its prose drawn, and its cells."""
    path = ROOT / "notebooks" / f"{request.param}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    window = browser.new_page(viewport={"width": 1280, "height": 900})
    wanted = []

    def only_this_machine(route) -> None:
        if re.match(r"(http://127\.0\.0\.1:|data:|blob:)", route.request.url):
            route.continue_()
        else:
            wanted.append(route.request.url)
            route.abort()

    window.route("**/*", only_this_machine)
    window.goto(server.format(request.param))
    prose = sum(cell["cell_type"] == "markdown" for cell in cells)
    drawn = "n => document.querySelectorAll('.jp-MarkdownCell .jp-MarkdownOutput').length === n"
    window.wait_for_function(drawn, arg=prose, timeout=120_000)
    window.wait_for_function(
        "() => document.querySelector('.jp-MarkdownOutput mjx-container')", timeout=60_000
    )
    yield window, cells
    assert not wanted
    window.close()


def test_no_raw_directive_is_seen(opened):
    window, _ = opened
    assert not RAW.findall("\n".join(window.locator(".jp-MarkdownOutput").all_inner_texts()))
    assert window.locator('.jp-MarkdownOutput code[class*="{"], .jp-MarkdownOutput mjx-merror').count() == 0


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
