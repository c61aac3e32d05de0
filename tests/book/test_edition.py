"""Each page says its edition, how to cite it and its licences; what can be taken home is linked."""

import re
import zipfile

import edition
import parcel
import pytest
from built import PAGES, SITE


def test_one_edition_has_one_sentence_and_one_entry(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    assert edition.date() == "2026-01-01"
    assert edition.cited().endswith(f"Version {edition.version()}, 2026-01-01.")
    entry = edition.bibtex()
    assert entry.count("{") == entry.count("}")
    assert "  year = {2026},\n" in entry
    assert edition.citation()["title"] in entry


def test_without_git_a_page_bears_no_date(monkeypatch, tmp_path):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert edition.date() == ""
    assert f"version {edition.version()}. " in edition.foot("index", "Small networks")


def test_a_tag_is_ready_when_every_file_says_its_version_and_the_day(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text((edition.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tag, changes, cited = f"v{edition.version()}", tmp_path / "CHANGELOG.md", tmp_path / "CITATION.cff"
    cited.write_text(f"version: {tag[1:]}\ndate-released: 2026-12-24\n")
    monkeypatch.setattr(edition, "ROOT", tmp_path)
    changes.write_text(f"## {tag[1:]}, not released yet\n")
    assert "bears no date: not released yet" in " ".join(edition.unready(tag))
    changes.write_text(f"## {tag[1:]}, 2026-12-24\n")
    assert edition.unready(tag) == []
    assert "the tag is v9.9" in " ".join(edition.unready("v9.9"))
    cited.write_text("version: 9.9\ndate-released: 2026-12-24\n")
    assert edition.unready(tag) == ["CITATION.cff says 9.9"]
    cited.write_text(f"version: {tag[1:]}\ndate-released: 2026-12-25\n")
    assert edition.unready(tag) == ["CITATION.cff says 2026-12-25, and CHANGELOG.md 2026-12-24"]
    cited.write_text(f"version: {tag[1:]}\n")
    assert edition.unready(tag) == ["CITATION.cff says no day, and CHANGELOG.md 2026-12-24"]


def test_what_lies_here_is_ready_for_its_tag_or_says_that_it_is_not():
    heading, changed = edition.changes()
    assert changed
    if heading != "not released yet":
        assert edition.unready(f"v{edition.version()}") == []


def test_a_release_tells_what_changed_in_it_and_not_what_changed_before(monkeypatch, tmp_path):
    version = edition.version()
    (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "{version}"')
    (tmp_path / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## 99.0, not released yet\n\n- Next.\n\n## {version}, 2026-12-24\n\n"
        "- One,\n  and its end.\n\n- Two.\n\n## 0.0.1, 2026-01-01\n\n- Old.\n"
    )
    monkeypatch.setattr(edition, "ROOT", tmp_path)
    assert edition.changes() == ("2026-12-24", "- One,\n  and its end.\n\n- Two.\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n")
    assert edition.changes() == ("missing", "")


@pytest.fixture
def site(tmp_path):
    foot = '<p>2026.<span class="downloads"></span></p>'
    for name in ("index.html", "book/preface.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(foot)
    return tmp_path


def test_only_what_was_built_is_linked(site):
    untouched = (site / "index.html").read_text()
    parcel.offer(site)
    assert (site / "index.html").read_text() == untouched
    (site / parcel.named(".pdf")).write_bytes(bytes(3_000_000))
    for _ in range(2):  # twice is as good as once
        parcel.offer(site)
    page = (site / "book" / "preface.html").read_text()
    assert re.findall(r'href="([^"]*)"', page) == [f"../{parcel.named('.pdf')}"]
    assert "(3 MB)" in page
    (site / parcel.named(".pdf")).unlink()
    parcel.offer(site)
    assert (site / "index.html").read_text() == untouched


def test_the_zip_is_the_site_without_itself_and_the_same_every_time(site):
    (site / parcel.named("-workshop.zip")).write_bytes(b"a zip")
    first = parcel.pack(site).read_bytes()
    assert parcel.pack(site).read_bytes() == first
    archive = zipfile.ZipFile(parcel.pack(site))
    folder = parcel.named("")
    assert archive.namelist() == [f"{folder}/book/preface.html", f"{folder}/index.html"]
    assert b"href" not in archive.read(f"{folder}/index.html")
    for suffix in (".zip", "-workshop.zip"):
        assert f'"./{parcel.named(suffix)}"' in (site / "index.html").read_text()


@pytest.mark.site
@pytest.mark.skipif(not PAGES, reason="no built site: run `make book` first")
def test_every_page_says_its_version_and_licences_and_leads_to_the_citation():
    for page in PAGES:
        (foot,) = re.findall(r'<p class="edition">.*?</p>', page.read_text(encoding="utf-8"), re.DOTALL)
        assert f"Small networks, version {edition.version()}" in foot
        assert "MIT" in foot
        assert "CC BY 4.0" in foot
        for link in re.findall(r'href="([^"#]*)', foot):
            assert (page.parent / link).is_file(), page.name


@pytest.mark.site
@pytest.mark.skipif(not PAGES, reason="no built site: run `make book` first")
def test_the_page_shows_this_editions_sentence_and_entry():
    text = (SITE / "book" / "cite.html").read_text(encoding="utf-8")
    assert edition.citation()["title"] in text
    assert "@misc{compresslab," in text
    assert "SENTENCE" not in text
    assert "ENTRY" not in text


@pytest.mark.site
@pytest.mark.skipif(not PAGES, reason="no built site: run `make book` first")
def test_the_site_without_what_can_be_taken_home_is_small():
    sizes = [path.stat().st_size for path in SITE.rglob("*") if path.is_file()]
    home = {path for suffix in parcel.NAMES for path in SITE.glob(f"*{suffix}")}
    assert sum(sizes) - sum(path.stat().st_size for path in home) < 40_000_000
