"""Nothing points to an address that is not ours: one setting names ours, and while it is empty, none."""

import re
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import address
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "_build" / "html").rglob("*.html"))
# what would fetch or launch the package, or lead to its repository
OURS = re.compile(
    r"(github|gitlab)\.(com|io)[/:][\w.-]+/[\w.-]*compresslab|[\w-]+\.(github|gitlab)\.io/[\w.-]*compresslab"
    r"|compresslab[^\n]{0,3}@ ?git\+https?://(?!example\.org)|pip install [^\n]*git\+"
)
CLOUDS = re.compile(r"mybinder\.org|colab\.research\.google")
ASKED = {
    "book/tools/address.py",
    "book/tools/notebooks.py",
    "tests/book/test_address.py",
}  # they know the forms


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_repository_or_a_cloud_beside_the_setting():
    public = address.public_address()
    found = {}
    for name in set(tracked()) - ASKED:
        text = (ROOT / name).read_bytes().decode("utf-8", errors="ignore")
        if public:
            text = text.replace(public, "")
        if strange := [match[0] for match in (*OURS.finditer(text), *CLOUDS.finditer(text))]:
            found[name] = strange
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "https://github.com/compresslab/compresslab",
        "git@github.com:somebody/compresslab.git",
        "https://somebody.github.io/compresslab",
        "%pip install git+https://example.org/a",
        "compresslab @ git+https://codeberg.org/a/b",
    ],
)
def test_the_search_sees_an_address(line):
    assert OURS.search(line)


def test_metadata_name_the_setting_or_nothing():
    public = address.public_address()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project.get("urls", {}) == ({"Repository": public} if public else {})
    assert citation.get("repository-code", "") == public
    assert "url" not in citation


def test_the_configuration_itself_names_no_address():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert not {"repository", "launch_buttons"} & set(config), "book/tools/address.py writes these options"
    assert not [key for key in config["html"] if key.endswith("_button")]


def test_no_address_no_button():
    options = address.buttons("")
    assert options["repository_url"] == ""
    assert options["launch_buttons"] == {}
    assert not any(value for key, value in options.items() if key.startswith("use_"))


def test_an_address_brings_its_buttons():
    options = address.buttons("https://github.com/somebody/somewhere")
    assert options["repository_url"] == "https://github.com/somebody/somewhere"
    assert options["use_repository_button"]
    assert options["use_issues_button"]
    assert {"binderhub_url", "colab_url"} < set(options["launch_buttons"])
    elsewhere = address.buttons("https://example.org/some/where")  # the clouds fetch from GitHub alone
    assert elsewhere["launch_buttons"] == {}


def test_a_link_elsewhere_shows_title_words_and_picture_only_with_an_address():
    assert address.social("", "Small networks", "A book.") == ""
    shown = address.social("https://example.org/a/b", "<em>1 &amp; 2</em>", 'Made "small".')
    assert re.findall(r'property="og:(\w+)" content="([^"]*)"', shown) == [
        ("type", "website"),
        ("title", "1 &amp; 2"),
        ("description", "Made &quot;small&quot;."),
        ("image", "https://example.org/a/b/raw/main/book/_static/card.png"),
    ]
    assert (ROOT / address.CARD).is_file()


@pytest.mark.parametrize("public", ["", "https://example.org/a/b"])
def test_every_page_takes_these_over(monkeypatch, public):
    monkeypatch.setattr(address, "public_address", lambda: public)
    context = {"title": "Pruning", "metatags": "<meta>"}
    words = SimpleNamespace(myst_html_meta={"description": "A book."}, project="Small networks")
    address.add_social(SimpleNamespace(config=words), "page", "page.html", context, None)
    assert context["metatags"].startswith("<meta>")
    assert ('property="og:title" content="Pruning"' in context["metatags"]) == bool(public)


@pytest.mark.site
@pytest.mark.skipif(not PAGES, reason="no built site: run `make book` first")
def test_the_built_pages_have_those_buttons_only_with_an_address():
    public = address.public_address()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        buttons = re.findall(
            r'class="[^"]*(?:source-repository-button|source-issues-button|launch-)[^"]*"', text
        )
        if page.parent.name == "notebooks":
            assert bool(buttons) == bool(public), page.name
        assert ("og:image" in text) == bool(public), page.name
        if not public:
            assert not buttons, page.name
            assert "executablebooks/jupyter-book" not in text, f"{page.name}: a default of Jupyter Book"
            assert not OURS.search(text), page.name
            assert not CLOUDS.search(text), page.name
