"""Questions, guide and cheat sheet quote what was found, and lead to where it was found."""

import csv
import re
from itertools import product
from pathlib import Path

import pytest
import quoted
import quoting

from compresslab.teaching import records

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
NAMES = ("questions", "guide", "cheat_sheet")
PAGES = {name: (BOOK / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}
CHAPTERS = {path.stem[:2]: path for path in (BOOK / "chapters").glob("*.md")}
ASKED = [
    *("Compression or pruning", "Is accuracy lost", "Does it fit every model"),
    *("file not smaller", "not faster", "int8 slower", "Which layers", "which order", "How much data"),
    *("Per channel or per tensor", "Prune, or train a small", "save and load", "my own network"),
]
SETTINGS = {"2", "4", "8", "32", "64", "80", "95", "1,000", "3,500"}  # what was tried, not what was found


def answers() -> dict[str, str]:
    """Return the text below each question."""
    parts = re.split(r"^### (.+)$", PAGES["questions"].split("\n(kinds)=")[0], flags=re.MULTILINE)[1:]
    return {
        asked: re.sub(r"^(\([\w-]+\)=|## .*)$", "", text, flags=re.MULTILINE).strip()
        for asked, text in zip(parts[::2], parts[1::2], strict=True)
    }


ANSWERS = answers()
QUOTING = {
    **ANSWERS,
    "six kinds": PAGES["questions"].split("\n(kinds)=")[1],
    **{f"sheet, {n}": line for n, line in enumerate(PAGES["cheat_sheet"].splitlines()) if "{{" in line},
}
each = pytest.mark.parametrize("asked", ANSWERS)


def stored() -> list[list[str]]:
    with quoting.FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


# ------------------------------------------------------------------ figures


def test_each_figure_is_what_its_source_says_now():
    assert stored() == list(quoted.collected()), "run: python book/records/quoted.py"


def test_each_figure_is_quoted_and_each_quotation_has_a_figure():
    names = {name for text in PAGES.values() for name in quoting.NAME.findall(text)}
    assert names == set(quoting.figures())
    assert not [text for text in PAGES.values() if text.count("{{") != len(quoting.NAME.findall(text))]


def leads_to(text: str, source: str) -> bool:
    """Say whether a text links to a source: a chapter, a record, or a page of the book."""
    if source.isdigit():
        return bool(re.search(rf"`chapter {source} <", text))
    return f"recorded/{source}.json>`" in text or f"<{source}>`" in text


@pytest.mark.parametrize("place", QUOTING)
def test_where_a_figure_is_quoted_a_link_leads_to_its_source(place):
    sources = {name: source for name, _, source in stored()[1:]}
    for name in quoting.NAME.findall(QUOTING[place]):
        assert leads_to(QUOTING[place], sources[name]), (name, sources[name])


@each
def test_no_answer_holds_a_figure_that_somebody_typed(asked):
    text = re.sub(r"\{\{ \w+ \}\}|`[^`]*`|LeNet-300-100|int8", "", ANSWERS[asked])
    assert set(re.findall(r"\d[\d,.]*\d|\d", text)) <= SETTINGS


# ------------------------------------------------------------------ answers


def test_the_articles_three_and_the_ten_that_users_ask_are_answered():
    assert len(ANSWERS) == len(ASKED)
    for words, asked in zip(ASKED, ANSWERS, strict=True):
        assert words in asked


@each
def test_an_answer_has_five_lines_at_most_a_result_and_a_link(asked):
    lines = ANSWERS[asked].splitlines()
    assert len(lines) <= 5
    assert quoting.NAME.search(ANSWERS[asked])
    assert lines[-1].startswith("See ")


def test_what_the_answers_say_in_words_is_so():
    rows = records.load("order")["rows"].items()
    orders = {
        name: sum(quoted.column(found["seeds"], "mnist")) for name, found in rows if name.count(", ") == 2
    }
    assert len(orders) == 6
    assert {name[:5] for name in sorted(orders, key=orders.__getitem__)[-2:]} == {"prune"}
    for share, split in product(("0.5", "0.75"), ("test", "mnist")):
        cut = quoted.cut_or_fresh(share, split).values()
        shown = zip(cut, quoted.Holm([one.p_value for one in cut]).shows, strict=True)
        assert not any(shows and one.mean > 0 for one, shows in shown), "no lead of any of them shows"
    figures = quoting.figures()
    assert figures["bytes_of_zeros_plain"] == figures["bytes_of_floats"], "as before"
    assert figures["macs_of_codes"] == figures["macs_of_floats"]
    assert float(figures["ms_of_half"]) < float(figures["ms_uncut"])
    assert float(figures["ms_of_integers"]) > float(figures["ms_beside_integers"]), "slower"
    ways = ("", "int8_", "dynamic_", "half_", "half_int8_")
    in_runtime = {way: float(figures[f"ms_{way}in_runtime"]) for way in ways}
    assert in_runtime["int8_"] < in_runtime[""], "has such kernels"
    assert in_runtime["dynamic_"] > in_runtime[""], "slower there, too"
    assert in_runtime["half_int8_"] > in_runtime["half_"], "slower there, too"
    assert figures["gallery_files"] == figures["networks_of_gallery"], "all come back"


# ------------------------------------------------------------------ links


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_has_its_target(name):
    text = PAGES[name]
    labels = "\n".join([*(path.read_text(encoding="utf-8") for path in CHAPTERS.values()), *PAGES.values()])
    for words, label in re.findall(r"\{ref\}`([^`<]*)<([\w-]+)>`", text):
        assert labels.count(f"({label})=\n") == 1, label
        if chapter := re.search(r"chapter (\d\d)", words):
            assert f"({label})=\n" in CHAPTERS[chapter[1]].read_text(encoding="utf-8"), label
    for words, target in re.findall(r"\{doc\}`([^`<]*)<([^>]+)>`", text):
        found = [BOOK / f"{target}{kind}" for kind in (".md", ".ipynb")]
        assert any(path.resolve().is_file() for path in found), target
        if chapter := re.search(r"chapter (\d\d)", words):
            assert Path(target).name.startswith(chapter[1]), target
    for target in re.findall(r"\{download\}`[^`<]*<([^>]+)>`", text):
        assert (BOOK / target).resolve().is_file(), target
    assert all(f"({label})=\n" in text for label in re.findall(r"\]\(#([\w-]+)\)", text))


def test_a_figure_without_its_link_is_found():
    assert leads_to("See {doc}`chapter 09 <../notebooks/09_magnitude_pruning>`.", "09")
    assert not leads_to("See {doc}`chapter 19 <../notebooks/19_little_data>`.", "09")
    assert not leads_to("See {download}`it <../compresslab/teaching/recorded/order.json>`.", "search")


def test_a_row_that_its_chapter_does_not_show_is_refused():
    with pytest.raises(LookupError, match=r"chapter 03: asked for one 'smaller' .*found \[\]"):
        quoted.row("03", "no such row", "smaller")
    with pytest.raises(LookupError, match="chapter 09: asked for one"):
        quoted.printed("09", "no such (line)")
