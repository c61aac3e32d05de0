"""Let a page show its text before it asks for anything heavy.

The theme brings its icons twice, as a font and as a script of half a megabyte that holds up the first line:
the font stays. MathJax and the widget manager weigh more than all else on a page, so book.js asks for them
when the first formula or interactive figure comes near. Until then, without scripts, and on paper, the first
frame of an interactive figure stands there as a picture. It is done to the pages that Sphinx has written.
"""

import json
import re
from pathlib import Path

ICONS = re.compile(r'\s*<script src="[^"]*/fontawesome\.js[^"]*"></script>')
LATER = re.compile(
    r'<script (?:defer="defer" )?src="([^"]*/vendor/(mathjax|widgets)/(?:tex-chtml|embed)\.js[^"]*)"'
    "></script>"
)
# They wait for the text to be there anyway. The search page calls them at once, and keeps its order.
PATIENT = re.compile(
    r'<script (src="[^"]*_static/(?:clipboard\.min|copybutton|design-tabs|doctools|scripts/sphinx-book-theme|'
    r'sphinx_highlight|togglebutton)\.js[^"]*"></script>)'
)
STATE = re.compile(r'<script type="application/vnd\.jupyter\.widget-state\+json">(.*?)</script>', re.DOTALL)
VIEW = re.compile(r'<script type="application/vnd\.jupyter\.widget-view\+json">(.*?)</script>', re.DOTALL)
NEVER_ASKED = ("scripts/fontawesome.js*", "**/*.map", "vendor/fontawesome/**/*.ttf")


def first_frame(models: dict, name: str) -> str:
    """Return the picture that a widget shows first; an empty text where there is none.

    >>> stack = {"state": {"children": ["IPY_MODEL_a", "IPY_MODEL_b"], "selected_index": 1}}
    >>> frames = {"a": {"state": {"value": "<svg>1"}}, "b": {"state": {"value": "<svg>2"}}}
    >>> first_frame({"stack": stack, **frames}, "stack")
    '<svg>2'
    """
    state = models[name]["state"]
    if "<svg" in str(state.get("value", "")):
        return state["value"]
    children = [child.removeprefix("IPY_MODEL_") for child in state.get("children", ())]
    if state.get("selected_index") is not None:
        children = [children[state["selected_index"]]]
    return next(filter(None, (first_frame(models, child) for child in children)), "")


def lighter(page: str) -> str:
    """Return a page without what it does not need, and with what it needs late marked as such."""
    page = ICONS.sub("", page)
    page = LATER.sub(lambda found: f'<meta name="later-{found[2]}" content="{found[1]}">', page)
    if "searchtools.js" not in page:
        page = PATIENT.sub(r"<script defer \1", page)
    if state := STATE.search(page):
        models = json.loads(state[1])["state"]

        def with_frame(view: re.Match) -> str:
            frame = first_frame(models, json.loads(view[1])["model_id"])
            return view[0] + (f'<div class="first-frame">{frame}</div>' if frame else "")

        page = VIEW.sub(with_frame, page)
    return page


def finish(app, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        before = path.read_text(encoding="utf-8")
        if 'class="first-frame"' not in before and (after := lighter(before)) != before:
            path.write_text(after, encoding="utf-8")
    for pattern in NEVER_ASKED:
        for path in (Path(app.outdir) / "_static").glob(pattern):
            path.unlink()


def setup(app) -> dict:
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
