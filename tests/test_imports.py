"""A reader who starts at the top of this list never meets a name that comes later."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "compresslab"

LINES = [
    "errors",
    "granularity clipping quantized uniform codebooks quantizers selection patterns schedules",
    "storage.bits storage.sparse storage.symbols storage.lanes storage.huffman storage.contexts "
    "storage.ranges storage.strict "
    "storage.streams storage.codings storage.header storage.payload",
    "images networks evaluation",  # values that others pass around
    "weights calibration criteria gates penalties layers shared folding integer models "
    "segments shapes walking norm_rules layer_rules join_rules move_rules following graph surgery "
    "watching neuron_criteria dead norms",
    "storage.resizing storage.slots storage.container",
    "training pruning neurons compress activations distillation "
    "tables scanning costs measuring comparing searching export",
]
EDGES = "data svg staircases drawing heat_maps graph_drawing plots widgets checkpoints exercises "
EDGES += "teaching.records teaching.setting"
LINE_OF = {name: number for number, line in enumerate([*LINES, EDGES]) for name in line.split()}


def modules() -> dict[str, Path]:
    """Return every module of the package by its name inside the package."""
    paths = (path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}


def imports(path: Path) -> set[str]:
    """Return the full name of everything a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively; write the full name"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported(path: Path) -> set[str]:
    """Return the package's own modules that a file imports."""
    found = imports(path)
    names = {name.removeprefix("compresslab.") for name in found if name.startswith("compresslab.")}
    return names & set(modules())


def python(code: str) -> list[str]:
    """Run code in a fresh interpreter and return the words it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_every_module_has_its_line():
    assert set(modules()) <= set(LINE_OF), "a new module needs a place in LINES, see design section 4"


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_from_lines_above_or_its_own(name):
    later = {other for other in imported(modules()[name]) if LINE_OF[other] > LINE_OF[name]}
    assert not later


def test_no_module_imports_itself_by_a_detour():
    list(TopologicalSorter({name: imported(path) for name, path in modules().items()}).static_order())


@pytest.mark.parametrize("name", sorted(set(modules()) - set(EDGES.split())))
def test_nothing_imports_an_edge(name):
    assert not imported(modules()[name]) & set(EDGES.split())


def test_no_module_bears_the_name_of_a_public_function():
    code = "import compresslab as c; print(*[n for n in c.__all__ if callable(getattr(c, n))])"
    public = python(code)
    assert public
    assert not set(public) & set(modules())


def test_importing_the_package_stays_light():
    heavy = ["sklearn", "matplotlib", "ipywidgets", "torchvision", "pandas", "mlxtend", "IPython"]
    code = f"import sys, compresslab; print(*[name for name in {heavy} if name in sys.modules])"
    assert python(code) == []


def test_the_package_never_imports_what_only_tests_may():
    references = {"sklearn", "torch_pruning", "torchao", "pytest", "hypothesis"}
    for path in PACKAGE.rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & references, path.name
