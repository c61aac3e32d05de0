"""The printed book: every chapter, its answers open, its links inside, page numbers that are right."""

import os
import re
from pathlib import Path

import parcel
import pdf
import pytest
from bs4 import BeautifulSoup
from built import IN_A_BROWSER, PAGES, SITE

pypdfium2 = pytest.importorskip("pypdfium2", reason="pip install pypdfium2")

SAMPLE = ["notebooks/02_symmetric", "book/glossary"]
EVERY = [one for _, documents in pdf.parts() for one in documents]
SHEET_BYTES = 55_000  # in the mean; with the shadows it was twice as much
PRINTED = SITE / parcel.named(".pdf")


def packed(text: str) -> str:
    """Return a text without what a line's end may change."""
    return re.sub(r"[\W_]+", "", text)


def words(path: Path) -> list[str]:
    """Return the text of each sheet."""
    with pypdfium2.PdfDocument(path) as document:
        return [sheet.get_textpage().get_text_range() for sheet in document]


def drawn(path: Path) -> list[tuple[int, tuple[float, float, float, float]]]:
    """Return each picture's sheet, and its left, lower, right and upper edge in points."""
    with pypdfium2.PdfDocument(path) as document:
        return [
            (number, picture.get_bounds())
            for number, sheet in enumerate(document, 1)
            for picture in sheet.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=9)
        ]


def whole(box: tuple[float, float, float, float]) -> bool:
    """Return whether a picture lies between the margins of its sheet."""
    left, lower, right, upper = box
    width, height, margin = (side / 25.4 * 72 for side in (*pdf.SHEET, pdf.MARGIN))
    edge = min(left, lower, width - right, height - upper)
    return edge > margin - 2  # a sheet is whole CSS pixels, and so a point higher than A4


def answers(document: str) -> list[str]:
    """Return what stands folded on a page, in prose: the beginning of each paragraph below a fold."""
    page = BeautifulSoup((SITE / f"{document}.html").read_text(encoding="utf-8"), "html.parser")
    told = [text for fold in page.select("article details") for text in fold.find_all("p")]
    plain = [
        text.get_text() for text in told if not text.find(class_="math") and not text.find_parent("summary")
    ]
    return [packed(text)[:40] for text in plain if len(packed(text)) > 15]


def test_links_between_chapters_stay_inside_and_others_lead_out(tmp_path):
    documents, place = {"book/glossary", "notebooks/02_symmetric"}, tmp_path / "print"
    site = tmp_path / "html"

    def led(target):
        return pdf.led(target, "notebooks/02_symmetric", documents, site, place)

    assert led("../book/glossary.html#term-row") == "#book-glossary--term-row"
    assert led("#exercises") == "#notebooks-02_symmetric--exercises"
    assert led("../_images/a.png") == "../html/_images/a.png"
    assert led("https://example.org/a.html#b") == "https://example.org/a.html#b"
    assert led("../book/ledger.html") == "../html/book/ledger.html"


def test_a_chapter_comes_open_and_its_anchors_are_its_own(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.html").write_text(
        '<article class="bd-article"><h1 id="top">A<a class="headerlink">#</a></h1>'
        "<details><p>answer</p></details>"
        '<svg><clipPath id="c"></clipPath><g clip-path="url(#c)"></g></svg><script>1</script></article>'
    )
    text = pdf.chapter("book/a", {"book/a"}, tmp_path, tmp_path)
    assert text.find("details").has_attr("open")
    assert text.find("clipPath".lower())["id"] == "book-a--c"
    assert text.find("g")["clip-path"] == "url(#book-a--c)"
    assert text.find("h1").get_text() == "A"
    assert text.find("script") is None


def test_a_page_that_was_not_built_is_asked_for(tmp_path):
    with pytest.raises(SystemExit, match="make book"):
        pdf.chapter("book/a", {"book/a"}, tmp_path, tmp_path)


class TestPrinted:
    """Two documents here, where a whole book takes minutes; the whole one below, where `make pdf` made it."""

    pytestmark = IN_A_BROWSER

    @pytest.fixture(scope="class")
    def sample(self, tmp_path_factory):
        target = tmp_path_factory.mktemp("pdf") / "sample.pdf"
        try:
            return target, pdf.make(target, SAMPLE), words(target)
        except SystemExit as missing:
            if "no font here" in str(missing):
                pytest.skip(str(missing))
            raise

    @pytest.mark.timeout(900)
    def test_the_contents_name_the_page_on_which_a_chapter_begins(self, sample):
        _, numbers, sheets = sample
        assert list(numbers) == SAMPLE
        for document, title in zip(SAMPLE, ("02 · Symmetric grids", "Glossary"), strict=True):
            assert packed(title) in packed(sheets[numbers[document] - 1])[:80]
            assert re.search(rf"{title.split()[-1]}[^\d]*\b{numbers[document]}\b", sheets[0], re.DOTALL)

    @pytest.mark.timeout(900)
    def test_every_sheet_bears_its_number(self, sample):
        for number, text in enumerate(sample[2], 1):
            assert re.search(rf"\b{number}\s*$", text.strip())

    @pytest.mark.timeout(900)
    def test_every_answer_stands_open(self, sample):
        text = packed(" ".join(sample[2]))
        wanted = answers(SAMPLE[0])
        assert len(wanted) > 20
        assert not [answer for answer in wanted if answer not in text]

    @pytest.mark.timeout(900)
    def test_chinese_terms_are_in_the_text_and_in_a_font_that_has_them(self, sample):
        text = "".join(sample[2])
        page = (SITE / "book" / "glossary.html").read_text(encoding="utf-8")
        wanted = re.findall(r'lang="zh">([^<]+)', page)
        assert len(wanted) > 50
        assert not [term for term in wanted if packed(term) not in packed(text)]

    @pytest.mark.timeout(900)
    def test_no_picture_is_cut_at_the_end_of_a_sheet(self, sample):
        pictures = [box for _, box in drawn(sample[0])]
        page = BeautifulSoup((SITE / f"{SAMPLE[0]}.html").read_text(encoding="utf-8"), "html.parser")
        assert len(pictures) == len(page.select('article img[src$=".png"]')) > 0
        assert not [box for box in pictures if not whole(box)]

    @pytest.mark.timeout(900)
    def test_a_shadow_is_not_printed_as_a_picture(self, sample):
        """Shadows of cells and cards took half of the file."""
        assert sample[0].stat().st_size / len(sample[2]) < SHEET_BYTES


def test_a_picture_over_the_margin_would_be_found():
    assert whole((50, 50, 500, 790))
    assert not whole((50, 20, 500, 790))  # it goes on below the sheet's foot
    assert not whole((50, 50, 560, 790))


@pytest.mark.browser
def test_a_character_without_a_font_is_found(browser):
    page = browser.new_page()
    assert page.evaluate(pdf.MISSING, "a\U000f0001") == "\U000f0001"
    page.close()


@pytest.mark.browser
def test_a_figure_larger_than_a_sheet_is_found(browser):
    page = browser.new_page(viewport={"width": round(pdf.WIDTH), "height": round(pdf.HEIGHT)})
    page.set_content('<section class="page" id="a"><svg width="100" height="4000"></svg></section>')
    assert [cut["page"] for cut in page.evaluate(pdf.CUT, [pdf.WIDTH, pdf.HEIGHT])] == ["a"]
    page.close()


@pytest.mark.site
@pytest.mark.skipif(not PAGES or not PRINTED.is_file(), reason="no printed book: run `make pdf` first")
def test_the_whole_book_is_there_with_every_answer():
    sheets = words(PRINTED)
    numbers = pdf.started(PRINTED, dict.fromkeys(EVERY, ""))
    assert list(numbers.values()) == sorted(set(numbers.values()))
    text = packed(" ".join(sheets))
    for document in EVERY:
        missing = [answer for answer in answers(document) if answer not in text]
        assert not missing, document
    assert PRINTED.stat().st_size / len(sheets) < SHEET_BYTES
    assert not [(sheet, box) for sheet, box in drawn(PRINTED) if not whole(box)]
    for page in PAGES:
        link = os.path.relpath(PRINTED, page.parent).replace(os.sep, "/")
        assert f'href="{link}"' in page.read_text(encoding="utf-8"), page.name
