"""One text, four notebooks: plain for every viewer, directives for the site, questions for participants."""

import ast
import json
import re
from pathlib import Path

import claims
import forms
import nbformat
import plain
import pytest
import reading
from built import PAGES, RAW, SITE
from markdown_it import MarkdownIt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import notebooks

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted((ROOT / "book" / "chapters").glob("*.md"))
each = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
built = pytest.mark.skipif(not PAGES, reason="no built site: run `make book` first")


def stored(text: Path) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{text.stem}.ipynb", as_version=4)


def prose(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def made(*cells, form=forms.Plain):
    """Write cells (text is prose, a tuple's first is code) in a form; return what is left of each."""
    source = [new_markdown_cell(cell) if isinstance(cell, str) else new_code_cell(cell[0]) for cell in cells]
    return form("02_symmetric.ipynb").notebook(new_notebook(cells=source)).cells


# ------------------------------------------------------------------ the committed notebook


@each
def test_the_committed_notebook_holds_no_directive(text):
    assert not RAW.findall(re.sub(r"(?ms)^```python\n.*?^```", "", prose(stored(text))))


@pytest.mark.parametrize(
    "raw",
    [
        "```{exercise} A\n```",
        ":::{note}",
        "{cite}`a`",
        "{eq}`a`",
        "(label)=\n# A",
        "$$x$$ (eq-x)",
        "[a]{.b}",
        ":label: x",
    ],
)
def test_the_search_sees_a_directive(raw):
    assert RAW.search(raw)


def marks_left(source: str) -> list[str]:
    """Return marks of Markdown that a viewer of CommonMark and tables shows as they are written."""
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(source)
    page = re.sub(r"(?s)<(pre|code)[^>]*>.*?</\1>|\$\$.*?\$\$|\$[^$]+\$", "", page)
    return re.findall(r"\*\*|\]\(|`|^#|\|\s*-", re.sub(r"<[^>]+>", "", page), flags=re.MULTILINE)


@each
def test_a_viewer_of_plain_markdown_shows_no_raw_mark(text):
    """Colab, GitHub and VS Code agree on CommonMark, tables and HTML; on little beyond."""
    assert not [
        cell.source for cell in stored(text).cells if cell.cell_type == "markdown" and marks_left(cell.source)
    ]


@pytest.mark.parametrize("source", ["<details>\n**a** `b`\n</details>", "# A\n#B", "[a](b c)"])
def test_the_search_sees_a_raw_mark(source):
    assert marks_left(source)


@each
def test_what_unfolds_is_closed_and_whole(text):
    found = prose(stored(text))
    assert "<details open" not in found
    whole = r"(?ms)^<details>\n<summary>\S[^\n]*</summary>\n\n(?:(?!</?details).)+\n\n</details>$"
    blocks = re.findall(whole, found)
    assert len(blocks) == found.count("<details") == found.count("</details>")
    assert len(blocks) >= 5 or text.stem.startswith("00"), "five questions to recall"


@each
def test_what_the_site_folds_is_folded_in_jupyterlab_too(text):
    for cell in stored(text).cells:
        tags = set(cell.metadata.get("tags", [])) & set(forms.HIDDEN)
        wanted = {key: True for tag in tags for key in forms.HIDDEN[tag]}
        assert wanted.items() <= cell.metadata.get("jupyter", {}).items(), cell.id


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{cite}`shannon1948mathematical`.", "Shannon, 1948, *A Mathematical Theory of Communication*."),
        ("{cite}`jacob2018quantization`", "[Jacob et al., 2018](https://arxiv.org/abs/1712.05877)"),
        ("{cite}`bamler2022constriction`", "[Bamler, 2022](https://arxiv.org/abs/2201.01741)"),
        ("{cite}`wang2011ckmeans`", "[Wang and Song, 2011](https://doi.org/10.32614/RJ-2011-015)"),
        ("By {eq}`eq-affine`", "By [(3.1)](03_asymmetric.ipynb#By-hand)"),
        ("{ref}`the file <article-3-1>`", "[the file](#What-the-file-must-hold)"),
        ("see chapter 03 and Chapter 02.", "see [chapter 03](03_asymmetric.ipynb) and Chapter 02."),
        ("chapters 03 to 05, 99", "chapters [03](03_asymmetric.ipynb) to [05](05_powers_of_two.ipynb), 99"),
        ("chapter 12,000; chapter 3.5", "chapter 12,000; chapter 3.5"),
        ("[chapter 03](x) `chapter 03` $chapter 03$", "[chapter 03](x) `chapter 03` $chapter 03$"),
        ("# Chapter 03\n\nText.", "# Chapter 03\n\nText."),
        ("```python\nchapter 03\n{cite}`a`\n```", "```python\nchapter 03\n{cite}`a`\n```"),
        ("$$a\n= b$$ (eq-affine)", "$$a\n= b \\tag{3.1}$$"),
        ("(article-1)=\n## A\n\nb", "## A\n\nb"),
        ("```{exercise} A `b`\n:label: ex-02-1\n\nCheck.\n```", "### Exercise 2.1 · A `b`\n\nCheck."),
        ("```{admonition} Note\n:class: seealso\nA\n\nb\n```", "> **Note**\n>\n> A\n>\n> b"),
        ("```{dropdown} `a`<\nB\n```", "<details>\n<summary><code>a</code>&lt;</summary>\n\nB\n\n</details>"),
        ("```{figure} a.svg\n:alt: A\n\nB.\n```", "![A](a.svg)\n\n*B.*"),
    ],
)  # fmt: skip
def test_text_becomes_plain_words(text, words):
    (cell,) = made(text)
    assert cell.source == words


@pytest.mark.parametrize("text", ["```{tabs}\n```", "{strange}`x`", ":::{tabs}\n:::"])
def test_what_has_no_plain_form_is_refused(text):
    with pytest.raises(ValueError, match=r"02_symmetric.ipynb: .*has no plain form; give it one"):
        made(text)


PREDICTION = "```{predict}\nHow far?\nSay.\n\nA whole step\n: Too far.\n\nHalf a step\n: Yes.\n```"
CELLS = ("# Title", PREDICTION, ("1 + 1",), "**Explain.** It rounds.\n\n## Next\n\nText.", ("2",))
SOLVED = (
    "`````{solution-start} ex-02-1\n:class: dropdown\n`````",
    ("3",),
    "Since.\n\n`````{solution-end}\n`````",
    ("4",),
)


def test_a_prediction_unfolds_choice_by_choice_and_its_answer_is_folded():
    _, asked, code, explained, after = made(*CELLS)
    assert asked.source.startswith(
        "**Predict.** How far?\nSay.\n\n<details>\n<summary>A whole step</summary>\n\nToo"
    )
    assert asked.source.count("<details>") == 2
    assert code.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}
    assert explained.source == (
        "<details>\n<summary>Explanation</summary>\n\nIt rounds.\n\n</details>\n\n## Next\n\nText."
    )
    assert "jupyter" not in after.metadata


def test_a_solution_is_folded_and_what_follows_is_not():
    start, code, words, after = made(*SOLVED)
    assert start.source.startswith("#### Solution of exercise 2.1\n")
    assert code.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}
    assert words.source == "<details>\n<summary>Solution in words</summary>\n\nSince.\n\n</details>"
    assert "jupyter" not in after.metadata


# ------------------------------------------------------------------ the site


@each
def test_the_site_reads_the_stored_outputs(text):
    site, committed = nbformat.reads(reading.for_the_site(text), as_version=4), stored(text)
    ran = [[cell for cell in one.cells if cell.cell_type == "code"] for one in (site, committed)]
    assert [(cell.source, cell.outputs) for cell in ran[0]] == [
        (cell.source, cell.outputs) for cell in ran[1]
    ]
    assert site.metadata == committed.metadata


def test_a_prediction_on_the_site_unfolds_and_keeps_what_a_figure_says():
    _, asked, code, explained, after = made(*CELLS, form=forms.Site)
    assert asked.source.count("::::::{dropdown} ") == 2
    assert code.metadata.tags == ["hide-cell"]
    assert explained.source == "::::::{dropdown} Explanation\nIt rounds.\n::::::\n\n## Next\n\nText."
    assert "tags" not in after.metadata


@pytest.mark.site
@built
@each
def test_numbers_on_the_site_are_those_in_the_notebook(text):
    page = (SITE / "notebooks" / f"{text.stem}.html").read_text(encoding="utf-8")
    shown = dict(re.findall(r'id="equation-([\w-]+)">\s*<span class="eqno">\(([\d.]+)\)', page))
    assert shown == {
        label: place.number
        for label, place in plain.places().items()
        if place.number and place.file == f"{text.stem}.ipynb"
    }
    exercises = re.findall(r'<span class="caption-number">Exercise (\S+) </span>', page)
    assert exercises == re.findall(r"^### Exercise (\S+)", prose(stored(text)), re.MULTILINE)


@pytest.mark.site
@built
@each
def test_a_page_gives_the_committed_notebook_to_download(text):
    given = SITE / "_sources" / "notebooks" / f"{text.stem}.ipynb"
    assert given.read_bytes() == (ROOT / "notebooks" / given.name).read_bytes()


@pytest.mark.site
@built
@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_a_chapter_is_a_link_wherever_a_page_names_it(page):
    text = re.search(r"<article.*?</article>", page.read_text(encoding="utf-8"), re.DOTALL)[0]
    text = re.sub(r"<(a|h[1-6]|pre|code|dl|svg|script|title)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]*>", " ", text)  # what tags say, such as the name of a box, nobody can click
    named = re.findall(r"\b[Cc]hapters? (\d\d)\b", text)
    assert not {number for number in named if number in plain.files()} - {page.stem[:2]}


# ------------------------------------------------------------------ participant and instructor


@each
def test_a_participant_gets_the_questions_and_no_answer(text):
    whole, given = stored(text), notebooks.generate(text, forms.Participant)
    everything = json.dumps(given)
    assert not [cell for cell in given.cells if cell.get("outputs") or cell.get("execution_count")]
    asked = re.findall(r"^### Exercise .*|^\*\*Predict\.\*\* .*", prose(whole), re.MULTILINE)
    assert asked == re.findall(r"^### Exercise .*|^\*\*Predict\.\*\* .*", prose(given), re.MULTILINE)
    assert "Solution" not in everything
    assert "<details" not in everything
    assert "**Explain.**" not in everything
    hidden = re.findall(r"^<details>\n.*\n\n(.*?)\n\n</details>", prose(whole), re.MULTILINE | re.DOTALL)
    assert not [answer for answer in hidden if answer in prose(given)]
    code = "\n".join(cell.source for cell in given.cells if cell.cell_type == "code")
    assert not re.search(r"^\s*claims?\(", code, re.MULTILINE)
    solved, solutions = False, []
    for cell in whole.cells:
        if cell.cell_type == "code":
            solutions += [cell.source] if solved else []
        elif headings := re.findall(r"^#{2,4} .*", cell.source, re.MULTILINE):
            solved = headings[-1].startswith("#### Solution")
    assert solutions or text.stem.startswith("00")
    assert not [source for source in solutions if source in code]
    alts = [
        cell.metadata.mystnb.image.alt for cell in whole.cells if "image" in cell.metadata.get("mystnb", {})
    ]
    assert not [alt for alt in alts if alt in everything]


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("claim('a', True)", ""),
        ("x = 1\nclaim(\n    'a',\n    x == 1,\n)\n# why\nx", "x = 1\n# why\nx"),
        ("for x in y:\n    claim('a', x)", "for x in y:\n    pass"),
        ("if x:\n    claim('a', x)\n    claim('b', x)\nelse:\n    y", "if x:\n    pass\nelse:\n    y"),
        ("plot(x, alt='It falls.', y=2)", 'plot(x, alt="...", y=2)'),
        ("plot(\n    x,\n    alt='It '\n    'falls.',\n)", 'plot(\n    x,\n    alt="...",\n)'),
        ("reclaim('a', x)", "reclaim('a', x)"),
    ],
)
def test_claims_and_the_words_of_figures_leave_the_code(code, left):
    assert claims.without_claims(code) == left


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("x = f()\nclaim('a', 0.9 < x < 1)\nclaim('b', x != 0.95)", "x"),
        ("a, b = f()\nclaim('a', a.rows[0] == b)", "a.rows[0], b"),
        ("a, b = f()\nclaim('a', bool(a.max() < 1e-9) and not b)", "a.max(), b"),
        ("a = f()\nclaim('a', 2 * a.n < 7)", "a.n"),
        ("a = f()\nclaim('a', torch.equal(a, 3 * b))", "a, b"),
        ("a = f()\nclaim('a', all(5 < -one < 16 for one in a))", "a"),
        ("a = f()\nclaim('a', torch.allclose(a, b, atol=1e-6))", "torch.allclose(a, b, atol=1e-6)"),
        ("a = f()\nclaim('a', 'no' not in a)", "a"),
        ("a = f()\nclaim('a', a == 206 * 16)", "a"),
    ],
)
def test_a_cell_that_only_claimed_shows_what_it_looked_at(code, shown):
    assert claims.without_claims(code, told=True).split("\n")[-1] == shown
    assert shown not in claims.without_claims(code).split("\n")


def test_what_a_cell_clears_away_is_looked_at_before():
    code = "a = f(path)\nclaim('a', path.stat().st_size == a)\npath.unlink()"
    assert (
        claims.without_claims(code, told=True) == "a = f(path)\nprint(path.stat().st_size, a)\npath.unlink()"
    )


def test_in_a_loop_it_says_whose_turn_it_is():
    code = "for name, x in rows:\n    y = f(x)\n    claim(f'{name}: it gains', y > 0.05)"
    assert claims.without_claims(code, told=True).endswith("\n    print(name, y)")


@pytest.mark.parametrize("code", ["x = 1\nprint(x)\nclaim('a', x)", "claim('a', x)\nx", "claim('a', x)"])
def test_a_cell_that_shows_something_shows_nothing_more(code):
    assert claims.without_claims(code, told=True) == claims.without_claims(code)


@each
def test_no_cell_in_sight_that_claimed_runs_in_silence(text):
    """A participant who runs it sees a result; folded cells only prepare."""
    whole = [cell for cell in notebooks.generate(text, forms.Plain).cells if cell.cell_type == "code"]
    for cell in whole:
        tree, hidden = ast.parse(cell.source), "hide-input" in cell.metadata.get("tags", [])
        if hidden or not any(map(claims.is_claim, tree.body)):
            continue
        (left,) = made((cell.source,), form=forms.Participant) or [None]
        assert left is None or not claims.is_silent(ast.parse(left.source)), cell.source


def test_participants_read_nothing_of_claims_that_they_do_not_have():
    text = "One.\nWhat it prints is a **claim**: so.\nThe claims below hold.\nTwo claims a day."
    assert [cell.source for cell in made(text, form=forms.Participant)] == ["One.\nTwo claims a day."]
    goal = "- read a claim of others,\n- count."
    assert [cell.source for cell in made(goal, form=forms.Participant)] == [goal]


@each
def test_no_sentence_of_a_participant_points_to_a_claim(text):
    given = prose(notebooks.generate(text, forms.Participant))
    pointing = re.findall(r"(?im)^.*\b(?:the|a|these|first|second|last) (?:\*\*)?claims?\b.*", given)
    assert not [line for line in pointing if not line.startswith("- ")]


def test_a_participant_says_what_a_figure_shows():
    """Its caption would say it first; the folded code behind it and the prose below it stay."""
    text = "*Figure. It falls.*\n\nNext."
    assert [cell.source for cell in made(text, form=forms.Participant)] == ["Next."]
    assert [cell.source for cell in made(text)] == [text]


def test_an_instructor_sees_everything_unfolded():
    shown = made(*CELLS, *SOLVED, form=forms.Instructor)
    assert not [cell for cell in shown if "jupyter" in cell.metadata]
    text = prose(nbformat.from_dict({"cells": shown}))
    assert "<details" not in text
    for words in (
        "Too far.",
        "It rounds.",
        "Since.",
        "Half a step",
        "- `0.3175`: That is half of the largest",
    ):
        assert words in text
