"""The kit of a workshop: participants get no answer, the instructor all of them, and a page is a page."""

import csv
import re
import subprocess
import sys
import zipfile

import handouts
import outline
import pytest
import routes
import slides
import workshop
from built import RAW, needs_browser
from plain import CHAPTERS

import notebooks
from compresslab.exercises.answers import questions
from compresslab.teaching import records

TEXTS = sorted(CHAPTERS.glob("*.md"))
TWO = [TEXTS[0], TEXTS[3]]
each = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)


@each
def test_a_handout_asks_all_and_answers_nothing(text):
    found = outline.outline(text)
    sheet = workshop.handout(found)
    asked = [one for part in found.parts for one in part.shown if isinstance(one, outline.Prediction)]
    assert sheet.count("□") == sum(len(one.choices) for one in asked)
    assert sheet.count("class=line") == len(found.recall)
    for one in asked:
        for _, feedback in one.choices:
            assert slides.rendered(feedback).removeprefix("<p>").removesuffix("</p>") not in sheet


@pytest.mark.browser
@needs_browser
def test_every_handout_is_one_page_of_paper(tmp_path, browser):
    window = browser.new_page()
    pages = {}
    for text in TEXTS:
        sheet = tmp_path / f"{text.stem}.html"
        sheet.write_text(workshop.handout(outline.outline(text)), encoding="utf-8")
        window.goto(sheet.as_uri())
        pages[text.stem] = len(re.findall(rb"/Type /Page\b", window.pdf(prefer_css_page_size=True)))
    window.close()
    assert set(pages.values()) == {1}, pages


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    found = [outline.outline(text) for text in TWO]
    for name in ("reveal", "mathjax"):
        (folder / "vendor" / name).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slides.vendor, "VENDOR", folder / "vendor")
        workshop.participants(TWO, found, folder / "participants")
        workshop.instructor(TWO, found, folder / "instructor")
    return folder


def test_participants_get_notebooks_and_handouts(kit):
    found = {path.relative_to(kit / "participants").as_posix() for path in kit.glob("participants/*/*.*")}
    assert found == {f"notebooks/{text.stem}.ipynb" for text in TWO} | {
        f"handouts/{text.stem}.html" for text in TWO
    } | {"notebooks/progress.json"}
    given = "".join(path.read_text(encoding="utf-8") for path in kit.glob("participants/*/*.*"))
    assert "Solution" not in given
    assert 'claim("' not in given


def test_participants_are_told_versions_sizes_and_where_to_begin(kit):
    people, said = kit / "participants", workshop.welcome(TWO, "it.whl", offline=False)
    assert (people / "constraints.txt").read_bytes() == (notebooks.ROOT / "constraints.txt").read_bytes()
    assert '-c constraints.txt "it.whl" jupyterlab' in said
    with records.path("sizes.csv").open(encoding="utf-8", newline="") as file:
        fetched = [f"{int(row['Fetches, MB']):,}" for row in csv.DictReader(file)]
    assert len(fetched) >= 4
    assert all(f" {size} " in said for size in fetched)
    assert (people / re.search(r"jupyter lab (\S+)", said)[1]).is_file()
    assert not any(size in workshop.welcome(TWO, "it.whl", offline=True) for size in fetched)


def test_no_page_of_the_kit_has_a_mark_of_its_maker_or_a_directive(kit):
    pages = list(kit.glob("instructor/**/*.md"))
    assert len(pages) == 7
    for page in pages:
        text = re.sub(r"(?ms)^```python\n.*?^```", "", page.read_text(encoding="utf-8"))
        assert not RAW.findall(text), page.name
        assert "\n%" not in text
    assert "The challenge has its rules" in (kit / "instructor" / "rubric.md").read_text(encoding="utf-8")


def test_no_link_of_the_kit_leads_to_a_chapter_that_it_lacks(kit):
    for path in kit.glob("*/*/*.ipynb"):
        links = re.findall(r"\]\((\d\d_\w+\.ipynb)", path.read_text(encoding="utf-8"))
        assert not [link for link in links if not (path.parent / link).is_file()], path
    (tour, _) = sorted(kit.glob("participants/notebooks/*.ipynb"))
    assert "[Chapter 01](01_network.ipynb) measures" in handouts.participant(TWO[0])
    assert "- Chapter 01 measures" in tour.read_text(encoding="utf-8")


def test_the_guide_says_how_a_section_begins_whose_code_needs_those_before(kit):
    guide = (kit / "instructor" / "README.md").read_text(encoding="utf-8")
    assert "Run All Above Selected Cell" in guide
    assert "Run All Above Selected Cell" in routes.PAGE.read_text(encoding="utf-8")


def test_the_guide_names_what_lies_there_and_nothing_else(kit):
    guide = (kit / "instructor" / "README.md").read_text(encoding="utf-8")
    named = {
        name.rstrip("/")
        for name in re.findall(r"^\|.*", guide, re.MULTILINE)
        for name in re.findall(r"`(\w+(?:\.md|/))`", name)
    }
    assert named - {"figures.md"} == {path.name for path in (kit / "instructor").iterdir()} - {"README.md"}


def test_every_figure_of_the_chapters_lies_there_with_its_finding(kit):
    page = (kit / "instructor" / "figures" / "figures.md").read_text(encoding="utf-8")
    named = re.findall(r"!\[\]\((.+)\)", page)
    assert sorted(named) == sorted(path.name for path in kit.glob("instructor/figures/*.[ps][nv]g"))
    assert len(named) >= 3
    assert not re.findall(r"(?m)^\*\*\d\d, .*\.\*\* *$", page), "a figure without a word"


def test_typical_mistakes_are_those_that_the_checks_know(kit):
    page = (kit / "instructor" / "mistakes.md").read_text(encoding="utf-8")
    for name, question in questions().items():
        for _, sentence in question.mistakes:
            assert sentence in page or name[:2] != "03", sentence
    assert "### Exercise 3.3" in page
    assert "### Exercise 2.1" not in page


def test_the_timing_of_every_section_is_said(kit):
    page = (kit / "instructor" / "timing.md").read_text(encoding="utf-8")
    for section in routes.sections("03").values():
        if not section.exercises and "·" not in section.title:
            assert f"| {section.title} | {max(1, round(section.minutes))} |" in page
    assert "| What it costs in time | 1 |" in workshop.timing([TEXTS[1]]), "a section without a minute"
    assert "| Exercise 03-3 | 60 |" in page


def test_what_trains_is_shown_with_what_it_printed():
    page = workshop.results([TEXTS[7]])
    assert re.search(r"(?ms)^```python\n(?:(?!^```).)*\btrain\(.*?^```\n\n```\n\S", page)
    assert "##" not in workshop.results([TEXTS[2]]), "a chapter that trains nothing"
    tour = workshop.results([TEXTS[0]])
    assert tour.count("```\n\n```python") < tour.count("```python"), (
        "no cell is shown without what came of it"
    )
    assert re.search(r"(?s)progress=False.*```python.*```\n\n```\n\S", tour)


def test_the_rubric_is_the_one_of_the_routes():
    found = workshop.rubric()
    assert "**Points of an assignment.**" in found
    assert "## A reading group" not in found
    assert sum(int(points) for points in re.findall(r"(?m)^\| (\d+) \|", found)) == 45


def test_the_pages_link_what_participants_get_where_there_are_pages(tmp_path):
    (packed := tmp_path / "participants.zip").write_bytes(bytes(6_000_000))
    workshop.linked(packed, tmp_path / "site")
    assert not (tmp_path / "site").exists()
    (tmp_path / "site").mkdir()
    (page := tmp_path / "site" / "index.html").write_text('<span class="downloads"></span>')
    workshop.linked(packed, tmp_path / "site")
    (link,) = re.findall(r'href="([^"]*)"', page.read_text())
    assert (tmp_path / "site" / link).read_bytes() == packed.read_bytes()
    assert "a workshop's notebooks as zip</a> (6 MB)" in page.read_text()


@pytest.mark.parametrize(("torch", "calls"), [("", 1), ("cpu", 2)])
def test_wheels_for_a_room_without_network_are_pinned(tmp_path, monkeypatch, torch, calls):
    asked = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))
    workshop.wheels(tmp_path / "compresslab.whl", tmp_path / "wheels", torch)
    assert len(asked) == calls
    assert all("-c" in command and str(tmp_path / "wheels") in command for command in asked)
    for flag in (
        "--index-url",
        "--no-deps",
    ):  # PyTorch's index has not every pinned version of what torch needs
        assert [(flag in command) for command in asked] == [True, False][2 - calls :]
    assert asked[-1][-2:] == [str(tmp_path / "compresslab.whl"), "jupyterlab"]


@pytest.mark.slow
def test_the_wheel_holds_data_and_networks_and_no_notebook(tmp_path):
    built = workshop.wheel(tmp_path)
    names = zipfile.ZipFile(built).namelist()
    assert {"compresslab/teaching/reference/article.clab", "compresslab/exercises/answers.toml"} <= set(names)
    assert any(name.startswith("compresslab/teaching/recorded/") for name in names)
    assert not [name for name in names if name.endswith(".ipynb") or name.startswith(("tests", "book"))]
    assert built.stat().st_size < 8e6
    home = tmp_path / "there"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(home), str(built)]
    subprocess.run(pip, check=True)
    code = f"import sys; sys.path.insert(0, {str(home)!r}); import compresslab; "
    code += "compresslab.checkpoints.load('article'); print(compresslab.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(home))
