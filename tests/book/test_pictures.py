"""The pictures of the home page and of the ledger say what the records say, today."""

import io
import re
from functools import cache
from pathlib import Path

import card
import numpy as np
import pictures
import pytest
from PIL import Image

from compresslab.teaching import records

BOOK = Path(__file__).parents[2] / "book"
CHAPTERS = sorted(path.stem for path in (BOOK / "chapters").glob("*.md"))
drawn = cache(pictures.everything)


@pytest.mark.parametrize(
    "name", ["ledger.svg", "home.svg", "digits.svg", *(f"cards/{c[:2]}.svg" for c in CHAPTERS)]
)
def test_a_committed_picture_is_what_would_be_drawn_now(name):
    assert (BOOK / "_static" / name).read_text(encoding="utf-8") == drawn()[name]


def test_every_picture_that_is_drawn_is_named_above():
    assert len(drawn()) == 3 + len(CHAPTERS)


def test_the_card_for_other_sites_is_what_would_be_drawn_now():
    """To the letter in its words; in its points nearly so: letters differ a little elsewhere."""
    stored, now = Image.open(card.FILE), Image.open(io.BytesIO(card.card()))
    assert stored.text["Description"].splitlines() == card.lines()
    assert stored.size == now.size == (1200, 630)
    difference = np.subtract(*(np.asarray(one.convert("L"), dtype=int) for one in (stored, now)))
    assert np.abs(difference).mean() < 2


def test_the_home_page_gives_the_floats_and_the_smallest_row_of_the_ledger():
    home = (BOOK / "preface.md").read_text(encoding="utf-8")
    for row in pictures.floats_and_smallest():
        assert f"{row['Bytes']} bytes" in home
        assert f"{row['Accuracy, %']} %" in home


def test_the_home_page_says_what_other_trainings_of_its_smallest_file_read():
    """The file that it shows is the best of six; a reader should not take it for the usual one."""
    home = (BOOK / "preface.md").read_text(encoding="utf-8")
    point = records.load("smallest")["points"]["digits 660"]
    shown, *others = [run["digits"] / 10 for run in (*point["seeds"], *point["fresh"])]
    assert f"{shown} %" in home
    assert f"five more trainings by the same recipe read between {min(others)} and {max(others)} %" in home
    assert len(others) == 5


def test_the_home_page_has_a_card_for_every_chapter():
    home = (BOOK / "preface.md").read_text(encoding="utf-8")
    assert re.findall(r":link: ../notebooks/(\S+)", home) == CHAPTERS
    assert re.findall(r"cards/(\d\d)\.svg", home) == [chapter[:2] for chapter in CHAPTERS]


def test_each_row_of_the_ledger_is_a_point_that_leads_to_its_chapter():
    links = re.findall(r'href="([^"]+)"', drawn()["ledger.svg"])
    assert links == [pictures.page_of(row["Chapter"]) for row in pictures.ledger()]
    assert all((BOOK / "chapters" / f"{Path(link).stem}.md").exists() for link in links)


@pytest.mark.parametrize("name", ["ledger.svg", "home.svg"])
def test_its_words_are_at_least_11_pixels_high_on_a_phone(name):
    """A page of 390 pixels leaves 358 for its contents; the drawing shrinks to that."""
    width = int(re.search(r'viewBox="0 0 (\d+)', drawn()[name])[1])
    assert 13 * min(1, 358 / width) >= 11
    assert 'font-size="13"' in drawn()[name]
