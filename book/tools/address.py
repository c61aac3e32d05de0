"""Where the project is public: the one setting `public_address` in _config.yml, empty while it is nowhere.

Everything that would point there asks here: the buttons of the pages (as a Sphinx extension), the first cell
of every notebook (book/tools/notebooks.py), and the tests, which hold pyproject.toml and CITATION.cff to it.
"""

import html
import re
from pathlib import Path
from urllib.parse import urlsplit

import yaml

CARD = "book/_static/card.png"  # drawn by book/tools/card.py
CONFIG = Path(__file__).resolve().parent.parent.parent / "_config.yml"
LAUNCH = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}


def public_address() -> str:
    """Return the address of the public repository, without a slash at its end; "" while there is none."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return (config["sphinx"]["config"]["public_address"] or "").rstrip("/")


def buttons(address: str) -> dict:
    """Return the theme's options for the buttons that lead to an address; without one, none leads anywhere.

    Jupyter Book's own defaults name its own repository, so each option is written, also to switch it off.
    Binder and Colab are asked only for what GitHub serves.
    """
    there = bool(address)
    return {
        "repository_url": address,
        "repository_branch": "main",
        "path_to_docs": "",
        "use_repository_button": there,
        "use_issues_button": there,
        "use_edit_page_button": False,
        "launch_buttons": LAUNCH if urlsplit(address).hostname == "github.com" else {},
    }


def social(address: str, title: str, description: str) -> str:
    """Return what tells other sites how to show a link to a page; "" while there is no public address.

    They fetch the picture by a whole address, so it comes from the repository, whatever serves the pages.

    >>> social("", "Small networks", "A book.")
    ''
    """
    says = {
        "og:type": "website",
        "og:title": re.sub(r"<[^>]*>", "", title),
        "og:description": description,
        "og:image": f"{address}/raw/main/{CARD}",
    }
    tags = (f'<meta property="{key}" content="{html.escape(html.unescape(says[key]))}">' for key in says)
    return "\n".join(tags) if address else ""


def add_social(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    description = app.config.myst_html_meta["description"]
    tags = social(public_address(), context.get("title") or app.config.project, description)
    context["metatags"] = context.get("metatags", "") + tags


def switch(app, config) -> None:
    config.html_theme_options = {**config.html_theme_options, **buttons(public_address())}


def setup(app) -> dict:
    app.add_config_value("public_address", "", "html")
    app.connect("config-inited", switch)
    app.connect("html-page-context", add_social)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
