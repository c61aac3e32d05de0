"""The rules that keep a chapter readable, comparable from machine to machine, and small."""

import ast
import base64
import importlib
import io
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path

import forms
import jupytext
import plain
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
ROOMS = [path.parent.name for path in (ROOT / "compresslab").glob("*/__init__.py")]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IGNORED = {"nbval-ignore-output", "raises-exception"}  # tags of cells whose output is not compared
LOCAL = {
    "a path": r"(?<![\w.])/(home|root|usr|tmp|opt|work|Users|var)/|\b[A-Z]:\\\\",
    "an address": r"\bat 0x[0-9a-f]{6,}",
    "a version": r"(?i)\b(torch|numpy|python)\S*[ =]+\d+\.\d+\.\d+",
}

TEXTS = {path.stem[:2]: path for path in sorted((ROOT / "book" / "chapters").glob("*.md"))}
FOLDED = {"hide-input", "hide-cell"}  # tags of plumbing: its code is folded until a reader opens it
PREDICT = "```{predict}"
WIDGET = "application/vnd.jupyter.widget-view+json"
ENDS = re.compile(rf"^#+ |{re.escape(forms.EXPLAIN)}|{re.escape(PREDICT)}", re.MULTILINE)

pytestmark = pytest.mark.skipif(not NOTEBOOKS, reason="no notebooks yet")
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
formed = pytest.mark.parametrize("number", TEXTS)


def cells(path: Path, kind: str) -> list[dict]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    found = [cell for cell in notebook["cells"] if cell["cell_type"] == kind]
    return [cell | {"source": "".join(cell["source"])} for cell in found]


def code(path: Path) -> list[dict]:
    return [cell for cell in cells(path, "code") if cell["source"].strip()]


def tags(cell: dict) -> set[str]:
    return set(cell["metadata"].get("tags", []))


def texts(cell: dict) -> str:
    """Return everything a cell printed or showed as text."""
    parts = []
    for output in cell["outputs"]:
        parts.append("".join(output.get("text", [])))
        data = output.get("data", {})
        parts += ["".join(value) for kind, value in data.items() if kind.startswith("text/")]
    return "\n".join(parts)


def prose_words(source: str) -> int:
    """Count the words a reader reads: no code, formulas, tables or addresses."""
    source = re.sub(r"```+python.*?```+|\$\$.*?\$\$", "", source, flags=re.DOTALL)
    source = re.sub(r"\[[^]]*\]\(http[^)]*\)", "source", re.sub(r"^>", "", source, flags=re.MULTILINE))
    furniture = re.compile(r"\s*(```|\||</?details|<summary|### Exercise|\*\*Sources)")
    return sum(len(line.split()) for line in source.splitlines() if not furniture.match(line))


@each
def test_cells_are_short(path):
    """Folded plumbing may be longer than what a reader sees, but no cell is a page."""
    lengths = [len(cell["source"].splitlines()) for cell in code(path) if not tags(cell) & FOLDED]
    assert statistics.median(lengths) <= 5
    assert sum(length < 12 for length in lengths) >= 0.9 * len(lengths), sorted(lengths)
    assert max(len(cell["source"].splitlines()) for cell in code(path)) <= 25


# ------------------------------------------------------------------ the learner's form


def taught(number: str) -> list[tuple[str, dict]]:
    """Return the kind and the cell of a chapter up to its exercises: prose as written, code as it ran."""
    path = TEXTS[number]
    ran = iter(code(ROOT / "notebooks" / f"{path.stem}.ipynb")[1:])  # the first cell is not in the text
    found = []
    for cell in jupytext.read(path, fmt="md:myst").cells:
        if cell.cell_type == "code":
            found.append(("code", next(ran)))
            assert found[-1][1]["source"] == cell.source, f"run: make notebooks ONLY={number}"
        elif re.search(r"^## Exercises", cell.source, re.MULTILINE):
            break
        else:
            found.append(("prose", {"source": cell.source}))
    return found


def questions(number: str) -> list[str]:
    """Return the body of each prediction."""
    prose = [cell["source"] for kind, cell in taught(number) if kind == "prose"]
    found = [block for source in prose for block in plain.blocks(source)]
    return [block.body for block in found if isinstance(block, plain.Directive) and block.name == "predict"]


def answers(number: str) -> list[list[dict]]:
    """Return for each prediction the code that answers it: up to its explanation, or to a heading."""
    rounds, asked = [], False
    for kind, cell in taught(number):
        if kind == "prose":
            ends = ENDS.findall(cell["source"])
            asked = ends[-1] == PREDICT if ends else asked
            rounds += [[] for end in ends if end == PREDICT]
        elif asked:
            rounds[-1].append(cell)
    return rounds


def visible(number: str) -> list[str]:
    return [cell["source"] for kind, cell in taught(number) if kind == "code" and not tags(cell) & FOLDED]


@formed
def test_a_chapter_has_four_to_six_rounds(number):
    assert "**Predict.**" not in TEXTS[number].read_text(encoding="utf-8"), "a prediction is a block"
    assert number == "00" or 4 <= len(questions(number)) <= 6


def faults(body: str) -> list[str]:
    """Return what is wrong with the choices of a prediction."""
    question = forms.CHOICE.split(body, maxsplit=1)[0]
    choices = [found["choice"] for found in forms.CHOICE.finditer(body)]
    rest = forms.CHOICE.sub("", body.removeprefix(question)).strip()
    found = {
        "fewer than two choices": len(choices) < 2,
        "a choice twice": len(set(choices)) < len(choices),
        "a choice without feedback": bool(rest) or question.rstrip()[-1:] not in ("?", "."),
    }
    return [fault for fault, there in found.items() if there]


@formed
def test_each_choice_has_feedback(number):
    assert not {body: faults(body) for body in questions(number) if faults(body)}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("Far?\n\nYes\n: Right.", "fewer than two choices"),
        ("Far?\n\nYes\n: Right.\n\nYes\n: Wrong.", "a choice twice"),
        ("Far?\n\nYes\n: Right.\n\nNo\n\nHalf\n: Wrong.", "a choice without feedback"),
        ("Far?\n\nNo\n\nYes\n: Right.\n\nHalf\n: Wrong.", "a choice without feedback"),
    ],
)
def test_a_choice_that_says_nothing_is_found(body, fault):
    assert faults(body) == [fault]
    assert not faults("Far?\n\nYes\n: Right.\n\nNo\n: Wrong,\n  by a step.")


def shows(cells: list[dict]) -> bool:
    """Say whether cells show more than that something is true: a number, a table or a figure."""
    rich = [kind for cell in cells for output in cell["outputs"] for kind in output.get("data", {})]
    lines = [line for cell in cells for line in texts(cell).splitlines() if line.strip()]
    return bool(rich) or any(not line.startswith("✓ ") for line in lines)


@formed
def test_a_round_is_answered_by_more_than_true(number):
    """Whoever guessed wants to see how far off that was."""
    rounds = zip(questions(number), answers(number), strict=True)
    assert not [question for question, cells in rounds if not shows(cells)]


def test_true_alone_is_no_answer():
    claims = {"outputs": [{"name": "stdout", "text": ["✓ it falls\n", "✓ it is small\n"]}]}
    number = {"outputs": [{"name": "stdout", "text": ["errors: 3\n"]}]}
    assert not shows([])
    assert not shows([claims, {"outputs": []}])
    assert shows([claims, number])
    assert shows([{"outputs": [{"data": {"image/png": "..."}}]}])


@formed
def test_every_figure_has_a_caption_that_the_reader_sees(number):
    """It stands below the figure; of a figure that answers a prediction, in the explanation."""
    waiting = []
    for kind, cell in taught(number):
        if kind == "prose":
            captioned = re.match(
                rf"({re.escape(forms.EXPLAIN)})?\*Figure\. \S.*\*$", cell["source"], re.MULTILINE
            )
            assert captioned or not waiting, waiting
            waiting = []
        elif {"image/png", "image/svg+xml", WIDGET} & {k for o in cell["outputs"] for k in o.get("data", {})}:
            waiting.append(cell["id"])
    assert not waiting


@formed
def test_a_reader_sees_at_most_25_cells_and_no_line_over_80(number):
    assert len(visible(number)) <= 25
    assert not [line for source in visible(number) for line in source.splitlines() if len(line) > 80]


# ------------------------------------------------------------------ every notebook


@each
def test_prose_cells_are_short(path):
    long = {cell["id"]: prose_words(cell["source"]) for cell in cells(path, "markdown")}
    assert not {name: words for name, words in long.items() if words >= 120}


@each
def test_everything_ran_in_order(path):
    assert [cell["execution_count"] for cell in code(path)] == list(range(1, len(code(path)) + 1))


@each
def test_stored_in_normal_form(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info", "widgets"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}, "versions differ between machines"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert not [cell["id"] for cell in notebook["cells"] if "execution" in cell["metadata"]], "timestamps"


@each
def test_small(path):
    assert path.stat().st_size < 300_000


@each
def test_no_magics_installs_or_silenced_warnings(path):
    """Only the first cell may speak of installing; tests/test_chapters.py says what it does."""
    forbidden = r"^\s*[!%]|filterwarnings|simplefilter|catch_warnings"
    for number, cell in enumerate(code(path)):
        installs = r"|\bpip\b|ensurepip|subprocess" if number else ""
        assert not re.search(forbidden + installs, cell["source"], re.MULTILINE), cell["id"]


@each
def test_nothing_is_read_from_beside_the_notebook(path):
    """`make test` runs each notebook in an empty folder; here is said which cell could not run there."""
    outside = r"""["'](\.\.?/|/|book/|notebooks/)|__file__|os\.chdir"""
    for cell in code(path):
        assert not re.search(outside, cell["source"]), cell["id"]


@each
def test_outputs_are_the_same_elsewhere(path):
    for cell in code(path):
        shown = texts(cell)
        assert not [output for output in cell["outputs"] if output.get("name") == "stderr"], cell["id"]
        assert not [output for output in cell["outputs"] if output["output_type"] == "error"], cell["id"]
        for what, pattern in LOCAL.items():
            assert not re.search(pattern, shown), f"{cell['id']}: {what}"
        if re.search(r"\d\s?(ms|µs|seconds)\b|\d\.\d+ s\b|threads?: \d", shown):
            assert {"nbval-ignore-output", "clock"} <= tags(cell), f"{cell['id']}: a timing"


@each
def test_every_figure_has_alt_text(path):
    for cell in code(path):
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data or "image/svg+xml" in data:
                alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
                assert len(alt.split()) >= 5, f"{cell['id']}: say in the alt text what the figure shows"
            for tag in re.findall(r"<svg\b[^>]*>", "".join(data.get("text/html", []))):
                assert re.search(r'aria-label(ledby)?="[^"]+"|aria-hidden="true"', tag), cell["id"]


@formed
def test_a_map_of_shades_is_marked_as_such(number):
    """A dark page turns other figures light on dark, and would turn what is bright into what is dark."""
    for _, cell in taught(number):
        if re.search(r'\bheat_map\(|\bcmap="(?!gray)', cell["source"]):
            assert cell["metadata"]["mystnb"]["image"]["classes"] == "shades"


@each
def test_the_letters_of_every_figure_can_be_read_on_a_phone(path):
    """The drawing function computes their size and writes it into the picture."""
    for cell in code(path):
        for output in cell["outputs"]:
            if picture := output.get("data", {}).get("image/png"):
                image = Image.open(io.BytesIO(base64.b64decode("".join(picture))))
                assert float(image.text["Letters"].split()[0]) >= 11, cell["id"]
                assert not image.text["Letters"].endswith("cut"), f"{cell['id']}: give it more height"


@each
def test_a_chapter_keeps_its_way(path):
    prose = [cell["source"] for cell in cells(path, "markdown")]
    assert prose[0].startswith(("# ", "(")), "the first cell is the title"
    assert sum(bool(re.search(r"^# ", text, re.MULTILINE)) for text in prose) == 1


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)  # the tour has no exercises
def test_exercises_have_a_folded_executed_solution(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))["cells"]
    asked, solved, inside = [], defaultdict(list), None
    for cell in notebook:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            if inside:
                solved[inside].append(cell["execution_count"])
                assert cell["metadata"]["jupyter"] == {"source_hidden": True, "outputs_hidden": True}, cell[
                    "id"
                ]
            continue
        for heading in re.findall(r"(?m)^##(?:# (Exercise)|## (Solution) of exercise|) ?(\d+\.\d+)?", source):
            asked += [heading[2]] if heading[0] else []
            inside = heading[2] if heading[1] else None
    assert len(asked) >= 3
    assert asked == list(solved), "a solution without an executed cell"


def definitions() -> dict[str, dict[str, set[str]]]:
    """Return, by name and by body, the notebooks in which each function or class is defined.

    A body that only waits for the reader's answer is no definition.
    """
    found: dict[str, dict[str, set[str]]] = {"name": defaultdict(set), "body": defaultdict(set)}
    for path in NOTEBOOKS:
        for cell in code(path):
            for node in ast.walk(ast.parse(cell["source"])):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    found["name"][node.name].add(path.stem)
                    body = "\n".join(ast.unparse(line) for line in node.body)
                    if body not in ("return None", "pass", "..."):
                        found["body"][body].add(path.stem)
    return found


@pytest.mark.parametrize("kind", ["name", "body"])
def test_by_hand_once_by_import_ever_after(kind):
    methods = {"__init__", "forward", "__repr__"}  # what every class of torch has
    twice = {key: places for key, places in definitions()[kind].items() if len(places) > 1}
    assert not {key: places for key, places in twice.items() if key not in methods}


@each
def test_a_chapter_takes_names_from_rooms_and_no_private_one(path):
    """So a module can change its place inside a room, and no chapter shows what nobody else may use."""
    nodes = [node for cell in code(path) for node in ast.walk(ast.parse(cell["source"]))]
    ours = {"cl"}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("compresslab"):
            names = {alias.name for alias in node.names}
            assert node.module in ("compresslab", *(f"compresslab.{room}" for room in ROOMS))
            assert names <= {*importlib.import_module(node.module).__all__, *ROOMS}, node.module
            ours |= names
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours:
            assert not node.attr.startswith("_"), f"{node.value.id}.{node.attr}"
