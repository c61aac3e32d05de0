"""The page that corrects the source document answers all of it, in its order, and leads to the proofs.

`book/source_document.csv` lists the article's headings, sentences, code lines and references by number,
without their text. A row of the page is an anchor `says-...`; the list names the rows that answer a number.
The tests at the end are the proofs of rows for which no chapter has a cell; each names its row.
"""

import csv
import re
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import compresslab as cl
from compresslab import checkpoints, data, models

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
PAGE = (BOOK / "corrected.md").read_text(encoding="utf-8")
CHAPTERS = {path.stem[:2]: path.read_text(encoding="utf-8") for path in (BOOK / "chapters").glob("*.md")}
# Counted in the article: blank lines are none, and a sentence ends at a full stop or with its paragraph.
KINDS = {"heading": 29, "sentence": 61, "code": 94, "reference": 4}


def listed() -> list[dict[str, str]]:
    with (BOOK / "source_document.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows() -> dict[str, list[str]]:
    """Return the cells of every row of the page, by its anchor."""
    found = {}
    for row in re.split(r"^\* - ", re.sub(r"^`{4}.*$", "* - ", PAGE, flags=re.MULTILINE), flags=re.MULTILINE):
        if name := re.match(r"\[[^\]]+\]\{#says-([\w-]+)\}", row):
            assert name[1] not in found, f"two rows {name[1]}"
            found[name[1]] = re.split(r"^  - ", row, flags=re.MULTILINE)
    return found


ROWS = rows()
each = pytest.mark.parametrize("name", ROWS)


# List and page.


def test_the_list_counts_every_section_and_leaves_no_number_out():
    units = listed()
    assert Counter(unit["kind"] for unit in units) == KINDS
    for one, two in pairwise(units):
        assert int(one["line"]) <= int(two["line"])
    for section in dict.fromkeys(unit["section"] for unit in units):
        own = [unit for unit in units if unit["section"] == section]
        assert [unit["kind"] for unit in own].index("heading") == 0
        assert sum(unit["kind"] == "heading" for unit in own) == 1
        for kind in ("sentence", "reference"):
            numbers = [int(unit["number"]) for unit in own if unit["kind"] == kind]
            assert numbers == list(range(1, len(numbers) + 1)), (section, kind)
        code = [(int(unit["line"]), int(unit["number"])) for unit in own if unit["kind"] == "code"]
        assert len({line - number for line, number in code}) <= 1, "counted from the block's first line"


def test_the_list_holds_numbers_and_names_but_no_text():
    pattern = rf"\d+,(\d(\.\d)*|6\.Q\d|references),({'|'.join(KINDS)}),\d*,[a-z0-9-]+( [a-z0-9-]+)*"
    lines = (BOOK / "source_document.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "line,section,kind,number,rows"
    assert not [line for line in lines[1:] if not re.fullmatch(pattern, line)]


def test_page_and_list_have_the_same_rows_in_the_same_order():
    answered = dict.fromkeys(name for unit in listed() for name in unit["rows"].split())
    assert list(answered) == list(ROWS)


def sections_of(name: str) -> set[str]:
    return {unit["section"] for unit in listed() if name in unit["rows"].split()}


@each
def test_a_row_shows_the_section_that_it_answers(name):
    shown = re.match(r"\[(\d(?:\.\d)*)", ROWS[name][0])[1]
    if name.startswith("ref-"):
        assert (sections_of(name), shown) == ({"references"}, name.removeprefix("ref-"))
    else:
        assert any(f"{section}.".startswith(f"{shown}.") for section in sections_of(name))


@each
def test_a_row_is_complete(name):
    cells = ROWS[name]
    assert len(cells) == (3 if name.startswith("ref-") else 4)
    assert all(cell.strip() for cell in cells)


# What the rows lead to.


@each
def test_a_row_says_how_we_know_with_a_link(name):
    assert re.search(r"\{(ref|doc|download|cite)\}`|\]\(#says-", ROWS[name][-1])


def test_no_row_waits_for_a_chapter():
    assert not re.search("will answer|to come", PAGE)


def test_every_link_of_the_page_has_its_target():
    questions = (BOOK / "questions.md").read_text(encoding="utf-8")
    for label in re.findall(r"\{ref\}`Questions and answers <([\w-]+)>`", PAGE):
        assert questions.count(f"({label})=\n") == 1, label
    for label in re.findall(r"\{ref\}`(?!Questions)[^`<]*<([\w-]+)>`", PAGE):
        homes = [number for number, text in CHAPTERS.items() if f"({label})=\n" in text]
        assert len(homes) == 1, label
        assert f"{{ref}}`Chapter {homes[0]} <{label}>`" in PAGE, "the link names another chapter"
    for number, target in re.findall(r"\{doc\}`Chapter (\d\d) <([^>]+)>`", PAGE):
        (notebook,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
        assert (BOOK / f"{target}.ipynb").resolve() == notebook
    for target in re.findall(r"\{download\}`[^`<]*<([^>]+)>`", PAGE):
        assert (BOOK / target).resolve().is_file(), target
    assert set(re.findall(r"\]\(#says-([\w-]+)\)", PAGE)) <= set(ROWS)
    bibliography = (BOOK / "references.bib").read_text(encoding="utf-8")
    for keys in re.findall(r"\{cite\}`([^`]+)`", PAGE):
        assert all(f"{{{key}," in bibliography for key in keys.split(","))


def test_every_label_that_a_chapter_keeps_for_the_article_has_a_row():
    texts = "\n".join(CHAPTERS.values())
    labels = set(re.findall(r"^\((article-[\w-]+)\)=$", texts, re.MULTILINE))
    assert labels == set(re.findall(r"<(article-[\w-]+)>", PAGE))


# What the page claims of the article, and what it must not hold.


def test_the_page_says_of_each_method_what_the_article_claims_of_it():
    """Speed of all, of pruning, of quantization; kept accuracy of five methods, and of no other."""
    said = {name: cells[1].lower() for name, cells in ROWS.items()}
    concepts = {name: text for name, text in said.items() if name[0] in "23"}
    speed = {name for name, text in concepts.items() if re.search("speed|faster", text)}
    assert speed == {"2-1-effect", "2-2-definition", "3-1-effect"}
    kept = {name for name, text in concepts.items() if re.search("keeps (its|the) accuracy", text)}
    methods = ("3-1-2", "3-1-3", "3-2-2-1", "3-2-2-2", "3-2-2-3")
    assert kept == {f"{method}-accuracy" for method in methods}
    warned = {name for name, text in said.items() if "may cost accuracy" in text}
    assert warned == {"3-1-1-loss", "5-challenge-1", "6-q2"}


SENTENCE = re.compile(r"(?:[\u4e00-\u9fff][\s\u3000-\u303f\uff00-\uffef]*){12}")  # with its stops


def test_no_file_holds_a_sentence_in_chinese():
    """Terms are short; a run of 12 characters or more would be a sentence of the article."""
    assert SENTENCE.search("剪枝\uff0c" * 5 + "\n量化")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    kinds = (".md", ".ipynb", ".csv", ".py", ".toml", ".yml", ".bib", ".svg", ".json")
    for name in done.stdout.split("\0"):
        if name.endswith(kinds) and (ROOT / name).is_file():
            assert not SENTENCE.search((ROOT / name).read_text(encoding="utf-8")), name


# Proofs of rows for which no chapter has a cell.


def test_the_rows_that_lead_here_are_proved_here():
    here = {name for name, cells in ROWS.items() if "test_corrected.py" in cells[-1]}
    assert here == set(re.findall(r'^    """Row ([\w-]+):', Path(__file__).read_text(encoding="utf-8"), re.M))


def test_quantization_keeps_every_parameter_and_every_multiplication():
    """Row 2-1-definition: so a definition by fewer parameters or less computing leaves quantization out."""
    model, digits = checkpoints.load("article"), data.digits()
    floats, codes = (
        cl.measure(one, digits, latency=False, plain=True)
        for one in (model, cl.quantize(model, cl.Symmetric(8)))
    )
    assert (codes.parameters, codes.macs) == (floats.parameters, floats.macs)
    assert codes.bytes_on_disk < 0.3 * floats.bytes_on_disk


def test_three_values_need_additions_and_subtractions_only():
    """Row 3-1-1-simpler: what is multiplied by 1 is added, by -1 subtracted, by 0 left out."""
    made = torch.Generator().manual_seed(0)
    weights = torch.randint(-1, 2, (50,), generator=made)
    pixels = torch.randint(0, 256, (50,), generator=made)
    assert set(weights.tolist()) == {-1, 0, 1}
    assert pixels[weights == 1].sum() - pixels[weights == -1].sum() == pixels @ weights


def test_three_exponents_with_sign_and_zero_are_seven_levels():
    """Row 3-1-3-missing: the article's three integers in log space, and what weights need besides."""
    levels = 2.0 ** torch.tensor([-1, 0, 1])
    assert levels.tolist() == [0.5, 1, 2]
    weights = torch.tensor([2.0, -0.3])
    code = cl.PowerOfTwo(bits=3).quantize(weights)
    assert code.levels[0].tolist() == [*(-levels.flip(0)).tolist(), 0, *levels.tolist()]


def test_the_network_is_the_articles_with_padding():
    """Row 4-network: the article's two convolutions and two linear layers; only the padding is new."""
    ours = [layer for layer in models.article().modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    theirs = [nn.Conv2d(1, 32, 3, 1), nn.Conv2d(32, 64, 3, 1), nn.Linear(64 * 7 * 7, 100), nn.Linear(100, 10)]
    assert [type(layer) for layer in ours] == [type(layer) for layer in theirs]
    assert [layer.weight.shape for layer in ours] == [layer.weight.shape for layer in theirs]
    assert [(layer.stride, layer.padding) for layer in ours[:2]] == [((1, 1), (1, 1))] * 2
    assert [layer.padding for layer in theirs[:2]] == [(0, 0)] * 2


def test_a_range_from_0_to_255_holds_no_sign():
    """Row 4-1-range: without a zero point every weight below zero comes back as 0."""
    weight = checkpoints.load("article").fc1.weight.detach()
    back = torch.fake_quantize_per_tensor_affine(weight, weight.abs().max().item() / 255, 0, 0, 255)
    assert (weight < 0).float().mean() > 0.3
    assert not back[weight < 0].any()


def test_integers_put_into_parameter_data_are_computed_with_as_weights():
    """Row 4-1-in-place: the layer multiplies by codes; the scale that would make them weights is gone."""
    layer = nn.Linear(3, 1, bias=False)
    images = torch.tensor([[1.0, 2.0, 4.0]])
    code = cl.Symmetric(8).quantize(torch.tensor([[0.5, -0.25, 0.125]]))
    codes = (code.dequantize() / code.parameters["scale"]).round()
    assert codes.tolist() == [[127, -64, 32]]
    layer.weight.data = codes
    assert layer(images).item() == 127 - 2 * 64 + 4 * 32
    assert abs(layer(images).item() - (images @ code.dequantize().T).item()) > 100
