"""What this edition is: its version, its date, how to cite it, and under which licences its parts stand.

As a Sphinx extension it writes this at the foot of each page, and into the page that says how to cite.
Run as a script with a tag such as v0.1.0, it says whether that version is ready to be released, and writes
what changed in it into the file that is named behind the tag.
"""

import os
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
FOOT = (
    '<p class="edition">{title}, version {version}{dated}. <a href="{up}book/cite.html">How to cite</a>. '
    "Code: MIT licence. Prose and figures: CC BY 4.0. "
    '<a href="{up}book/cite.html#licences">Data and trained networks</a>.'
    '<span class="downloads"></span></p>'
)


def version() -> str:
    """Return the version, which pyproject.toml alone says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def date() -> str:
    """Return the day of this edition: what SOURCE_DATE_EPOCH says, or of the last commit, or "".

    It is not the day of the build, so that two builds of one state are the same.
    """
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        return datetime.fromtimestamp(int(epoch), UTC).date().isoformat()
    asked = ["git", "log", "-1", "--format=%cs"]
    try:
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def citation() -> dict:
    """Return what CITATION.cff says."""
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def cited() -> str:
    """Return the sentence by which this edition is cited."""
    what = citation()
    authors = " and ".join(author["name"] for author in what["authors"])
    year = date()[:4] or "no date"
    return f"{authors} ({year}). {what['title']}. Version {version()}{dated()}."


def dated() -> str:
    return f", {date()}" if date() else ""


def bibtex() -> str:
    """Return the same as an entry for BibTeX."""
    what = citation()
    fields = {
        "author": " and ".join("{" + author["name"] + "}" for author in what["authors"]),
        "title": "{" + what["title"] + "}",
        "year": date()[:4],
        "note": f"Version {version()}{dated()}",
    }
    lines = "".join(f"  {name} = {{{text}}},\n" for name, text in fields.items() if text)
    return f"@misc{{compresslab,\n{lines}}}"


def foot(page: str, title: str) -> str:
    """Return what stands at the foot of a page.

    >>> 'href="../book/cite.html"' in foot("notebooks/00_tour", "Small networks")
    True
    """
    return FOOT.format(title=title, version=version(), dated=dated(), up="../" * page.count("/"))


def changes() -> tuple[str, str]:
    """Return what CHANGELOG.md says of this version: its day, or what stands there instead, and its lines."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## {re.escape(version())}, (.*)\n((?:(?!## ).*\n?)*)"
    found = re.search(heading, text, re.MULTILINE)
    return (found[1], found[2].strip() + "\n") if found else ("missing", "")


def unready(tag: str) -> list[str]:
    """Return what keeps a tag from being released; nothing where all is well."""
    told = []
    if tag != f"v{version()}":
        told.append(f"the tag is {tag}, and pyproject.toml says {version()}")
    if str(citation()["version"]) != version():
        told.append(f"CITATION.cff says {citation()['version']}")
    heading, _ = changes()
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", heading):
        told.append(f"the section of {version()} in CHANGELOG.md bears no date: {heading}")
    elif str(citation().get("date-released", "no day")) != heading:
        told.append(
            f"CITATION.cff says {citation().get('date-released', 'no day')}, and CHANGELOG.md {heading}"
        )
    return told


def add_foot(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    context["theme_extra_footer"] = foot(pagename, app.config.html_title)


def fill(app, docname: str, source: list[str]) -> None:
    if docname == "book/cite":
        source[0] = source[0].replace("SENTENCE", cited()).replace("ENTRY", bibtex())


def setup(app) -> dict:
    app.connect("html-page-context", add_foot)
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    if faults := unready(sys.argv[1]):
        sys.exit("not ready: " + "; ".join(faults))
    if len(sys.argv) > 2:
        (target := Path(sys.argv[2])).parent.mkdir(exist_ok=True)
        target.write_text(changes()[1], encoding="utf-8")
    print(f"{cited()} Ready to be released.")
