"""What stands around the package and the book: installation, table of contents, the README's example."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import compresslab

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


def test_the_pins_install_on_the_oldest_and_the_newest_python_that_is_promised():
    """Debian 12 has Python 3.11.2: a release that asks for 3.11.5 stops the first command of the README."""
    pinned = pins()
    installed = {canonicalize_name(one.name): one for one in metadata.distributions() if one.name}
    here = {name: one for name, one in installed.items() if pinned.get(name) == one.version}
    assert len(here) > len(pinned) / 2
    asked = {name: SpecifierSet(one.metadata.get("Requires-Python") or "") for name, one in here.items()}
    assert not {name: str(one) for name, one in asked.items() if "3.11.0" not in one or "3.13.0" not in one}


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


ROOMS = sorted(path.parent for path in (ROOT / "compresslab").glob("*/__init__.py"))
rooms = pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)


def modules(room: Path) -> list[str]:
    names = (path.stem for path in room.glob("*.py") if path.name != "__init__.py")
    return sorted(f"compresslab.{room.name}.{name}" for name in names)


@rooms
def test_the_api_page_of_a_room_shows_each_of_its_modules(room):
    page = (ROOT / "book" / "api" / f"{room.name}.md").read_text(encoding="utf-8")
    assert re.findall(r"automodule:: (\S+)", page) == modules(room)
    assert [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")] == [
        name.split(".")[-1] for name in modules(room)
    ]


@rooms
def test_picture_page_map_and_door_of_a_room_ask_the_same_question(room):
    door = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    question = door.split("?")[0] + "?"
    for name in (f"book/api/{room.name}.md", "book/_static/rooms.svg", "README.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert room.name in text
        assert question in text, name


def test_the_evening_on_the_api_page_is_the_packages_own():
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    for room, names in compresslab.EVENING.items():
        assert f"- {room}: " + ", ".join(f"`{name.split('.')[-1]}`" for name in names) in page


def test_the_changelog_names_a_new_place_for_every_old_module():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `compresslab\.([\w.]+)` \| `compresslab\.([\w.]+)`", text, re.MULTILINE)
    assert len(rows) == len(dict(rows)) == 69
    for _, new in rows:
        assert (ROOT / "compresslab" / f"{new.replace('.', '/')}.py").is_file(), new
