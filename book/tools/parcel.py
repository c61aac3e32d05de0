"""Pack the built pages into one zip for a room without network, and link what can be taken home.

The foot of each page has an empty place for the PDF, the zip and a workshop's notebooks. It is filled with
those that lie beside the pages, so that no page offers what was not built.
"""

import os
import re
import sys
import zipfile
from pathlib import Path

from edition import ROOT, version

SITE = ROOT / "_build" / "html"
PLACE = re.compile(r'<span class="downloads">.*?</span>', re.DOTALL)
NAMES = {
    ".pdf": "The book as PDF",
    ".zip": "all pages as zip",
    "-workshop.zip": "a workshop's notebooks as zip",
}
EARLY = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can tell


def named(suffix: str) -> str:
    """Return the name of what can be taken home.

    >>> named(".zip").startswith("small-networks-")
    True
    """
    return f"small-networks-{version()}{suffix}"


def pages(site: Path) -> list[Path]:
    """Return the pages, in a stable order."""
    if not (found := sorted(site.rglob("*.html"))):
        sys.exit(f"asked for the built pages under {site}, found none; build them with: make book")
    return found


def offer(site: Path = SITE, names: dict[str, str] = NAMES) -> None:
    """Link from each page what lies beside the pages, with its size; what is gone is no longer linked."""
    there = [(site / named(suffix), words) for suffix, words in names.items()]
    there = [(path, words) for path, words in there if path.is_file()]
    for page in pages(site):
        up = os.path.relpath(site, page.parent).replace(os.sep, "/")
        links = ", ".join(
            f'<a href="{up}/{path.name}">{words}</a> ({path.stat().st_size / 1e6:.0f} MB)'
            for path, words in there
        )
        text = page.read_text(encoding="utf-8")
        filled = PLACE.sub(f'<span class="downloads">{" " + links + "." if links else ""}</span>', text)
        if filled != text:
            page.write_text(filled, encoding="utf-8")


def pack(site: Path = SITE) -> Path:
    """Write all pages and what they need into one zip, the same bytes for the same pages; return its path."""
    target = site / named(".zip")
    target.unlink(missing_ok=True)
    inside = {suffix: words for suffix, words in NAMES.items() if not suffix.endswith(".zip")}
    offer(site, inside)  # no zip lies in the zip
    outside = {site / named(suffix) for suffix in NAMES if suffix not in inside}
    files = [path for path in sorted(site.rglob("*")) if path.is_file() and path not in outside]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files:
            entry = zipfile.ZipInfo(f"{target.stem}/{path.relative_to(site).as_posix()}", EARLY)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    offer(site)
    return target


def main() -> None:
    target = pack()
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.1f} MB; unpack it and open index.html")


if __name__ == "__main__":
    main()
