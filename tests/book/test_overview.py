"""The records page has a row for every record, table and small file, and each row is computed anew here."""

import csv
import hashlib
import re
from pathlib import Path

import overview
import pytest
import repeat

from compresslab.teaching import records

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "records.md").read_text(encoding="utf-8")
STYLES = (ROOT / "book" / "_static" / "book.css").read_text(encoding="utf-8")


def stored(name: str) -> list[list[str]]:
    with records.path(name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("name", overview.WRITTEN)
def test_each_table_of_the_page_is_what_the_records_say_now(name):
    assert stored(name) == list(overview.WRITTEN[name]()), "run: python book/records/overview.py"
    assert f"recorded/{name}\n" in PAGE


def test_every_record_and_every_table_has_its_row():
    kept = {name for name in records.files() if "/" not in name}
    assert {f"{name}.json" for name in overview.ROWS} == {name for name in kept if name.endswith(".json")}
    assert {*overview.TABLES, *overview.WRITTEN} == {name for name in kept if name.endswith(".csv")}


@pytest.mark.parametrize("name", overview.ROWS)
def test_a_row_names_a_script_a_question_and_a_chapter_that_are_there(name):
    script = overview.ROWS[name].script or name
    text = (ROOT / "book" / "records" / f"{script}.py").read_text(encoding="utf-8")
    row = next(row for row in stored("overview.csv")[1:] if row[0].startswith(f"{{download}}`{name} <"))
    asked = " ".join(re.sub(r"^In which order\? ", "", row[1]).split()[:4]).rstrip(":,")
    assert asked in " ".join(text.split()), "its first words"
    assert f"python book/records/{script}.py" in text
    (page,) = re.findall(r"\{doc\}`[^<]*<([^>]+)>`", row[0])
    assert list((ROOT / "book").glob(f"{page}.md")) or (ROOT / "book" / f"{page}.ipynb").resolve().is_file()
    assert re.search(r"minutes|hour|not noted", row[4]), row[4]
    assert int(row[2]) > 0


def test_make_records_runs_the_script_of_each_record():
    makes = {one.name for one in repeat.experiments()}
    assert makes == {row.script or name for name, row in overview.ROWS.items()} | {"kernels"}
    assert "book/records/repeat.py" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["overview.csv", "smallest.csv"])
def test_on_a_phone_each_cell_says_what_it_is(name):
    kind = {"overview.csv": "records", "smallest.csv": "files"}[name]
    said = re.findall(rf'table\.{kind} td:nth-child\((\d)\)::before \{{ content: "(.*?): "; \}}', STYLES)
    assert said == [(str(place), head) for place, head in enumerate(stored(name)[0], 1) if place > 1]


def test_every_small_file_stands_with_its_bytes_and_its_digest():
    held = [records.path(name) for name in records.files() if name.startswith("smallest/")]
    facts = {
        (f"{path.stat().st_size:,}", f"`{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}`")
        for path in held
    }
    rows = stored("smallest.csv")[1:]
    assert {(row[3], row[6]) for row in rows if row[6]} == facts
    assert len(facts) == len(held)


def test_the_published_points_are_cited():
    references = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    cited = [row[1] for row in stored("smallest.csv")[1:] if "{cite}" in row[1]]
    assert len(cited) == len(overview.published())
    for one in cited:
        assert f"{{{re.findall('`(.+)`', one)[0]}," in references


def test_the_example_of_the_page_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict = {}
    exec(example, scope)
    assert "smallest" in capsys.readouterr().out
    assert scope["file"].is_file()
    assert scope["record"] == records.load("smallest")
