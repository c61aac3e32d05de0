"""Where the built site lies, its pages, the browser that opens them, and what no reader should see."""

import os
import re
from pathlib import Path

import pytest
from chromium import UNDRIVABLE

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"
PAGES = sorted(page for folder in ("book", "notebooks") for page in (SITE / folder).rglob("*.html"))
# `make test` opens some pages of each kind in every way that readers do; `make proof` sets PROOF: all.
SAMPLE = ("03_asymmetric", "18_deep_compression", "preface", "ledger", "glossary", "quantization")
CHOSEN = [page for page in PAGES if os.environ.get("PROOF") or page.stem in SAMPLE]
# directive syntax, raw
RAW = re.compile(
    r"^ *(?:`{3,}|:{3,})\{.*|^:{3,}.*|^:[a-z-]+: .*|^\([\w-]+\)=.*"  # blocks, options, labels
    r"|\{[a-z:]+\}`.*|\$\$ *\([\w-]+\) *$|\]\{[.#].*",  # roles, numbered equations, attributes
    re.MULTILINE,
)
OFFLINE = (SITE / "_static" / "vendor" / "versions.txt").is_file()
needs_browser = pytest.mark.skipif(UNDRIVABLE != "", reason=UNDRIVABLE)
IN_A_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(not PAGES, reason="no built site: run `make book` first"),
    needs_browser,
    pytest.mark.skipif(not OFFLINE, reason="the site was built without npm: install npm, then `make book`"),
]


def run_each(texts: list[Path]) -> list:
    """Return chapters as parameters: two are run by default, and `make slow` sets LONG for the others."""
    return [
        pytest.param(text, id=text.stem, marks=[] if text.stem[:2] in ("00", "02") else pytest.mark.long)
        for text in texts
    ]
