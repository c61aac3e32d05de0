"""Slides come from the chapter's own text: nothing given away, and every one fits 1280 by 720."""

import re
import shutil

import outline
import pytest
import slides
import vendor
from built import needs_browser
from plain import CHAPTERS

TEXTS = sorted(CHAPTERS.glob("*.md"))
each = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
needs_reveal = pytest.mark.skipif(
    not (vendor.VENDOR / "reveal").is_dir(), reason="reveal.js was not fetched: install npm, then `make book`"
)
NOTES = re.compile(r"(?s)<aside.*?</aside>")


@each
def test_a_deck_has_what_the_chapter_has_and_gives_no_answer_away(text):
    found = outline.outline(text)
    deck = list(slides.of_chapter(found, "**Time:** 5 minutes."))
    seen, source = NOTES.sub("", "".join(deck)), text.read_text(encoding="utf-8")
    predictions = [one for part in found.parts for one in part.shown if isinstance(one, outline.Prediction)]
    assert len(predictions) == source.count("```{predict}") == seen.count('class="choices"')
    for one in predictions:
        assert len(one.choices) >= 2
        for _, feedback in one.choices:
            assert slides.rendered(feedback).removeprefix("<p>").removesuffix("</p>") not in seen
    assert len(found.goals) >= 2
    assert len(found.recall) == (5 if found.exercises else 0)
    assert [title for _, title, _ in found.exercises] == re.findall(r"(?m)^`{3,}\{exercise\} (.*)$", source)
    assert not re.findall(r"\{[a-z:]+\}`|^:{3}", seen, re.MULTILINE)
    for one in predictions:  # on a slide and on a handout nothing stands below it
        assert not re.search(r"\b(?:below|above|next cell)\b(?! it)", one.question), one.question


def test_a_figure_comes_after_the_prediction_that_it_answers_with_its_caption():
    shown = next(part.shown for part in outline.outline(TEXTS[2]).parts if part.title == "On the real model")
    kinds = [type(one) for one in shown]
    assert kinds.index(outline.Prediction) < kinds.index(outline.Figure)
    (figure,) = [one for one in shown if isinstance(one, outline.Figure)]
    assert figure.caption == "The accuracy is flat from 8 bits to 4, loses first at 3 and collapses at 2."


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One.\nTwo.\n\n- a list", "One.\nTwo."),
        ("| a |\n\nOne.", "One."),
        ("```python\nx\n```\nOne.", "One."),
        (
            "One.\nWhat follows:\n\n$$x\n= y$$\n\nTwo.\nThree:\n\n- a",
            "One.\nWhat follows:\n\n$$x = y$$\n\nTwo.",
        ),
        ("One.\nA list:\n\n- a", "One."),
        ("One.\nTwo,\n\n```python\nx\n```", "One."),
        ("$$x$$\n\nOne.", "One."),
        ("One.\nBelow it goes on.\nTwo.", "One."),
        ("**One.**", "**One.**"),
        (f"One.\n{'word ' * 60}.", "One."),
    ],
)
def test_a_slide_shows_how_a_section_begins_in_whole_sentences(text, kept):
    assert outline.beginning(text) == kept


def test_formulas_stay_formulas_and_links_become_words():
    assert slides.rendered("$a_1*b_2*$ in [chapter 03](x.ipynb)") == (
        '<p><span class="math inline">\\(a_1*b_2*\\)</span> in chapter 03</p>'
    )


def test_without_reveal_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(vendor, "VENDOR", tmp_path / "vendor")
    with pytest.raises(FileNotFoundError, match=r"install npm and run book/tools/vendor\.py"):
        slides.write(TEXTS[:1], tmp_path)
    assert not list(tmp_path.iterdir())


TOO_LARGE = """async () => {
    await MathJax.startup.promise;
    const cut = [];
    Reveal.getSlides().forEach((slide, number) => {
        Reveal.slide(number);
        const scale = Reveal.getScale();
        const page = document.querySelector('.reveal .slides').getBoundingClientRect();
        const hidden = one => one.closest('aside, mjx-assistive-mml');
        const parts = [...slide.querySelectorAll('*')].filter(one => !hidden(one));
        const boxes = parts.map(one => one.getBoundingClientRect()).filter(box => box.width && box.height);
        const bottom = (Math.max(...boxes.map(box => box.bottom)) - page.top) / scale;
        const right = (Math.max(...boxes.map(box => box.right)) - page.left) / scale;
        if (bottom > 710 || right > 1270) cut.push([number, slide.innerText.slice(0, 60), bottom, right]);
    });
    return cut;
}"""


TOO_SMALL = """() => {
    const small = [];
    Reveal.getSlides().forEach((slide, number) => {
        for (const one of slide.querySelectorAll('*')) {
            const says = [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
            const size = parseFloat(getComputedStyle(one).fontSize);
            if (says && !one.closest('aside, svg, mjx-container') && size < 18)
                small.push([number, one.innerText.slice(0, 40), size]);
        }
    });
    return small;
}"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    slides.write(TEXTS, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.browser
@needs_browser
@needs_reveal
@each
def test_every_slide_fits(text, decks, browser):
    window = browser.new_page(viewport={"width": 1280, "height": 720})
    errors = []
    window.on("pageerror", lambda error: errors.append(str(error)))
    window.goto((decks / f"{text.stem}.html").as_uri())
    window.wait_for_function(
        "() => window.Reveal && Reveal.isReady() && window.MathJax?.startup?.promise", timeout=60_000
    )
    assert window.evaluate("() => Reveal.getSlides().length") >= 6
    assert window.evaluate(TOO_LARGE) == []
    assert window.evaluate(TOO_SMALL) == [], "letters that the last row of a room cannot read"
    assert window.locator("mjx-merror").count() == 0
    assert not errors
    window.close()
