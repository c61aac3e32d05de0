"""The text of a chapter is its source: the stored notebook is made from it, and both bear one number."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numbering
import pytest

import compresslab
import notebooks

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted((ROOT / "book" / "chapters").glob("*.md"))
PAGES = [*TEXTS, *sorted((ROOT / "book").glob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
each = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)


def stored(text: Path) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{text.stem}.ipynb", as_version=4)


def parts(notebook: nbformat.NotebookNode) -> list[tuple]:
    """Return what a writer decides of each cell: all but outputs and counts."""
    return [(cell.id, cell.cell_type, dict(cell.metadata), cell.source) for cell in notebook.cells]


def test_each_text_has_its_notebook_and_each_notebook_its_text():
    assert TEXTS
    assert [text.stem for text in TEXTS] == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@each
def test_text_and_notebook_are_equal(text):
    assert parts(stored(text)) == parts(notebooks.generate(text)), f"run: make notebooks ONLY={text.stem[:2]}"


@each
def test_file_name_and_title_bear_the_same_number(text):
    (title,) = re.findall(r"^# (.*)", "\n".join(stored_prose(text)), re.MULTILINE)
    assert re.match(r"\d\d · \S", title), "a title reads: number, middle dot, what the chapter is about"
    assert title[:2] == text.stem[:2]


def stored_prose(text: Path) -> list[str]:
    return [cell.source for cell in stored(text).cells if cell.cell_type == "markdown"]


def test_the_table_of_contents_counts_nothing_itself_and_keeps_the_order():
    toc = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
    assert "numbered" not in toc
    numbers = [int(number) for number in re.findall(r"file: notebooks/(\d\d)_", toc)]
    assert numbers == sorted(set(numbers)) == [int(text.stem[:2]) for text in TEXTS]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_prose_calls_a_chapter_by_its_two_digits(page):
    prose = page.read_text(encoding="utf-8")
    assert not re.findall(r"\b[Cc]hapters? \d(?!\d).*", prose)


@each
def test_labels_bear_the_number_of_their_chapter(text):
    labels = re.findall(r":label: ex-(\d+)-", text.read_text(encoding="utf-8"))
    assert {int(label) for label in labels} <= {int(text.stem[:2])}


@each
def test_a_line_of_prose_holds_one_sentence(text):
    two = re.compile(r"(?<![\w.][A-Z])[a-z0-9`$)][.!?] +(?:\*\*)?[A-Z][a-z]+ [a-z]")
    assert not [line for line in prose_lines(text) if two.search(line)]


def prose_lines(text: Path) -> list[str]:
    """Return the lines outside fences, formulas and tables, without what stands in signs of its own."""
    source = text.read_text(encoding="utf-8")
    source = re.sub(r"(?ms)^(`{3,}|:{3,}).*?^\1|^\$\$.*?\$\$", "", source)
    source = re.sub(r"`[^`\n]*`|\$[^$\n]*\$|\([^()\n]*\)|\"[^\"\n]*\"|\*[^*\n]*\*", "x", source)
    return [line for line in source.splitlines() if not line.startswith("|")]


def test_a_cell_keeps_its_id_when_another_is_edited(tmp_path):
    text = (ROOT / "book" / "chapters" / "12_neurons_by_activation.md").read_text(encoding="utf-8")
    edited = tmp_path / "12_neurons_by_activation.md"
    text = text.replace("## By hand", "New.\n\n+++\n\n## By hand", 1)
    edited.write_text(text.replace("## Recap", "## In short"))
    before, after = parts(notebooks.generate(TEXTS[12])), parts(notebooks.generate(edited))
    assert len({identity for identity, *_ in after}) == len(after) == len(before) + 1
    same = {cell[0] for cell in before} & {cell[0] for cell in after}
    assert len(same) == len(before) - 1  # the recap is a new cell


def test_equal_cells_have_ids_of_their_own(tmp_path):
    text = tmp_path / "twice.md"
    text.write_text("# Twice\n\n```{code-cell}\n1 + 1\n```\n\n```{code-cell}\n1 + 1\n```\n")
    one, two = parts(notebooks.generate(text))[-2:]
    assert one[0] != two[0]
    assert one[1:] == two[1:]


def test_edited_prose_keeps_the_outputs_and_edited_code_does_not(tmp_path):
    text = TEXTS[2].read_text(encoding="utf-8")
    prose, code = tmp_path / "prose.md", tmp_path / "code.md"
    prose.write_text(text.replace("## Recap", "## In short"))
    code.write_text(text.replace("digits = data.digits()", "digits = data.digits( )"))
    old = stored(TEXTS[2])
    edited, changed = notebooks.generate(prose), notebooks.generate(code)
    assert parts(edited) != parts(old) != parts(changed)
    assert notebooks.keep_outputs(edited, old)
    assert [cell.get("outputs") for cell in edited.cells] == [cell.get("outputs") for cell in old.cells]
    assert edited.metadata["widgets"] == old.metadata["widgets"]
    assert not notebooks.keep_outputs(changed, old)


def test_only_the_clocks_stay_when_a_notebook_runs_again(tmp_path):
    text = tmp_path / "clock.md"
    blocks = ["```{code-cell}\n1\n```", "```{code-cell}\n:tags: [clock]\n2\n```", "```{code-cell}\n3\n```"]
    text.write_text("\n\n".join(["# Clock", *blocks]) + "\n")
    old, new = notebooks.generate(text), notebooks.generate(text)
    for ran, shown in ((old, "before"), (new, "now")):
        for cell in ran.cells[-3:]:
            cell.outputs = [nbformat.v4.new_output("stream", text=shown)]
    assert notebooks.keep_outputs(new, old, notebooks.CLOCK)
    assert [cell.outputs[0].text for cell in new.cells[-3:]] == ["now", "before", "now"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], [text.stem for text in TEXTS]),
        (["03"], ["03_asymmetric"]),
        (["18_deep_compression", "book/chapters/00_tour.md"], ["00_tour", "18_deep_compression"]),
    ],
)
def test_chapters_are_named_by_number_or_file(names, found):
    assert [text.stem for text in notebooks.texts(names)] == found


def test_an_unknown_chapter_is_refused_with_those_that_stand():
    with pytest.raises(SystemExit, match=r"asked for 99, found 00_tour, .*name one of these"):
        notebooks.texts(["03", "99"])


def test_what_is_counted_in_a_chapter_bears_its_number_and_other_pages_stay():
    numbers = {"exercise": {"a": (52,), "b": (53,)}, "displaymath": {"c": (7,)}}
    assert numbering.renumber("notebooks/18_deep_compression", numbers) == {
        "exercise": {"a": (18, 1), "b": (18, 2)},
        "displaymath": {"c": (18, 1)},
    }
    assert numbering.renumber("book/glossary", numbers) == numbers


# The first cell, with and without the package, with and without an address.


@each
def test_the_first_cell_is_the_same_everywhere_and_folded(text):
    code = [cell for cell in stored(text).cells if cell.cell_type == "code"]
    assert code[0].source == notebooks.first_cell(notebooks.public_address()).source
    hidden = {"tags": ["hide-input"], "jupyter": {"source_hidden": True}, "cellView": "form"}
    hidden["mystnb"] = {"code_prompt_show": "Set-up: find the package"}
    assert code[0].metadata == hidden
    assert code[0].outputs == []
    assert "set_num_threads" not in "".join(cell.source for cell in code), "the first cell sets the threads"


def run(source: str, folder: Path, find: str) -> subprocess.CompletedProcess:
    """Run code in an empty folder, in a Python that finds no package but those under `find`."""
    command = [sys.executable, "-S", "-E", "-c", f"import sys; sys.path.insert(0, {find!r})\n{source}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_without_package_and_address_the_first_cell_says_in_two_sentences_how_to_get_it(tmp_path):
    source = notebooks.first_cell("").source
    assert len(source.splitlines()) <= 8
    assert "://" not in source
    done = run(source, tmp_path, str(tmp_path))
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1].removeprefix("ModuleNotFoundError: ")
    assert len(re.findall(r"\.(?: |$)", said)) == 2
    assert "compresslab" in said
    assert said.endswith("python -m pip install .")


def test_with_an_address_the_first_cell_installs_from_there_and_goes_on(tmp_path):
    """A pip of our own stands where pip is looked for; it installs a package that notes the call."""
    (tmp_path / "pip.py").write_text(
        "import pathlib, sys\n"
        "room = pathlib.Path('compresslab/teaching'); room.mkdir(parents=True)\n"
        "(room / 'setting.py').write_text(f'def use_one_thread(): print({sys.argv[1:]!r})')\n"
    )
    source = notebooks.first_cell("https://example.org/some/where").source
    done = run(source.replace('"-m"', '"-S", "-m"'), tmp_path, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(
        ["install", "--quiet", "compresslab @ git+https://example.org/some/where"]
    )


def test_with_the_package_the_first_cell_only_sets_the_threads():
    find = str(Path(compresslab.__file__).parent.parent)
    for address in ("", "https://example.org/some/where"):
        source = f"{notebooks.first_cell(address).source}\nimport torch; print(torch.get_num_threads())"
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {find!r})\n{source}"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "1\n"
