"""What stands around the package and the book: installation, table of contents, the README's example."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_requirement_is_pinned_to_a_version_it_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), requirement


def test_the_pins_hold_on_any_machine():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@|\+", text), "an address or the tag of one build"


def test_the_table_of_contents_names_every_chapter_and_nothing_else():
    toc = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
    entries = re.findall(r"(?:file|root):\s*(\S+)", toc)
    assert len(entries) == len(set(entries))
    for entry in entries:
        assert any((ROOT / f"{entry}{suffix}").is_file() for suffix in ("", ".md", ".ipynb")), entry
    chapters = [f"notebooks/{path.stem}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    assert [entry for entry in entries if entry.startswith("notebooks/")] == chapters


def test_the_example_of_the_readme_runs(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "digits" in done.stdout or "article" in done.stdout


def test_the_site_is_built_with_the_same_words_everywhere():
    arguments = "build . --toc book/_toc.yml --all -W -n --keep-going"
    for name in ("Makefile", "README.md"):
        assert arguments in (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_is_readable_and_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
