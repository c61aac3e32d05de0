"""Where the built site lies, and its pages."""

from pathlib import Path

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"
PAGES = sorted(page for folder in ("book", "notebooks") for page in (SITE / folder).rglob("*.html"))
