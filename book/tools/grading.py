"""Write chapters as assignments for nbgrader, from the same exercises: an answer, a check, points.

The folder _build/grading is a course of nbgrader's. In it `nbgrader generate_assignment 02_symmetric` makes
the students' version, and `nbgrader autograde 02_symmetric` marks what they hand in. What stands on the
command line names chapters by number; nothing names all.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import forms
import handouts
import jupytext
import nbformat
import routes
from plain import Directive, blocks

import notebooks

COURSE = handouts.BUILT / "grading"
POINTS = {5: 1, 15: 2, 60: 3}  # of an exercise by its minutes; its steps share them
CONFIG = """\
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "small_networks"
c.ClearSolutions.code_stub = {"python": "# yours: above, or here"}
c.ExecutePreprocessor.timeout = 600
"""


def checks(source: str) -> dict[str, tuple[ast.Expr, str]]:
    """Return the checks of a cell: by the exercise's name, the statement and what it looks at."""
    found = {}
    for node in ast.parse(source).body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check":
            name, answer = call.args
            found[name.value] = (node, ast.unparse(answer))
    return found


def without(source: str, nodes: list[ast.Expr]) -> str:
    """Return code without some of its statements."""
    lines = source.split("\n")
    for node in nodes:
        lines[node.lineno - 1 : node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
    return re.sub(r"\n{3,}", "\n\n\n", "\n".join(line for line in lines if line is not None)).strip("\n")


def solutions(text: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Return for each exercise the code of its solution, and what stands there for each answer."""
    code, answers, exercise = defaultdict(list), defaultdict(dict), ""
    for cell in jupytext.read(text, fmt="md:myst").cells:
        if cell.cell_type == "code" and exercise:
            found = checks(cell.source)
            code[exercise].append(without(cell.source, [node for node, _ in found.values()]))
            answers[exercise] |= {name: answer for name, (_, answer) in found.items()}
        for block in blocks(cell.source) if cell.cell_type == "markdown" else ():
            if isinstance(block, Directive) and block.name.startswith("solution"):
                exercise = block.argument.removeprefix("ex-") if block.name == "solution-start" else ""
    return {name: ("\n\n\n".join(filter(None, parts)), answers[name]) for name, parts in code.items()}


def assignment(text: Path) -> nbformat.NotebookNode:
    """Return a chapter as nbgrader's source: each exercise solved between its marks, each check worth points.

    Raises:
        ValueError: an exercise has a check that its solution does not pass on.
    """
    notebook = notebooks.generate(text, forms.Participant)
    solved, worth = solutions(text), routes.exercises(text.stem[:2])
    steps = [name for cell in notebook.cells if cell.cell_type == "code" for name in checks(cell.source)]
    cells = []
    for cell in notebook.cells:
        found = checks(cell.source) if cell.cell_type == "code" else {}
        cells += graded(cell, found, solved, worth, steps) if found else [cell]
    notebook.cells = cells
    return notebook


def graded(cell, found: dict, solved: dict, worth: dict[str, int], steps: list[str]) -> Iterator:
    """Yield the cell of an answer, with its solution, and a cell for each check in it."""
    lines = [without(cell.source, [node for node, _ in found.values()]), "### BEGIN SOLUTION"]
    for name, (_, answer) in found.items():
        exercise = name.rstrip("abcdefgh")
        code, answers = solved[exercise]
        if name not in answers:
            raise ValueError(f"exercise {exercise}: its solution has no check of {name}")
        if name == next(step for step in steps if step.startswith(exercise)):
            lines.append(code)  # all of it with the first step: the others only say which part is theirs
        lines.append(f"{answer} = {answers[name]}")
    cell.source = "\n".join(filter(None, [*lines, "### END SOLUTION"]))
    first = next(iter(found))
    cell.metadata["nbgrader"] = marked(f"answer-{first}", solution=True)
    yield cell
    for name, (_, answer) in found.items():
        exercise = name.rstrip("abcdefgh")
        points = POINTS[worth[exercise]] / sum(step.startswith(exercise) for step in steps)
        check = nbformat.v4.new_code_cell(f'check("{name}", {answer}, required=True)', id=f"check-{name}")
        check.metadata["nbgrader"] = marked(f"check-{name}", grade=True, locked=True) | {"points": points}
        yield check


def marked(name: str, **more: bool) -> dict:
    plain = {"grade": False, "solution": False, "locked": False, "task": False}
    return {"schema_version": 3, "grade_id": name, **plain, **more}


def write(texts: list[Path], course: Path) -> None:
    """Write a course with an assignment for each chapter that has exercises."""
    course.mkdir(parents=True, exist_ok=True)
    (course / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    for text in texts:
        if routes.exercises(text.stem[:2]):
            folder = course / "source" / text.stem
            folder.mkdir(parents=True, exist_ok=True)
            written = notebooks.normalise(assignment(text))
            (folder / f"{text.stem}.ipynb").write_text(written, encoding="utf-8")


def main() -> None:
    write(notebooks.texts(sys.argv[1:]), COURSE)
    print(COURSE)


if __name__ == "__main__":
    main()
