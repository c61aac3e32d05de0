"""A reader who starts in the lowest room never meets a name that comes later; small rooms, short ways."""

import ast
import importlib
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import compresslab
from tests.bench.rooms import ROOMS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "compresslab"
LARGEST_MODULE, LARGEST_ROOM, LARGEST_PACKAGE = 250, 2_200, 18_700  # lines
LARGER = {
    "exercises": 3_000,  # a chapter brings its answers; nobody reads them to know the package
}
LONGEST_CHAIN, LONGEST_EVENING = 15, 3_000


@cache
def modules() -> dict[str, Path]:
    """Return every module of the package, but for the rooms' doors, by its name inside the package."""
    paths = (path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(paths)}


@cache
def imported(path: Path) -> list[tuple[str, str]]:
    """Return (module, name) of everything a file imports, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively; write the full name"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


@cache
def edges() -> dict[str, set[str]]:
    """Return the modules of the package that each module imports."""
    found = {}
    for name, path in modules().items():
        full = {f"{module}.{alias}" for module, alias in imported(path)} | {m for m, _ in imported(path)}
        found[name] = {one.removeprefix("compresslab.") for one in full} & set(modules())
    return found


def room(name: str) -> str:
    return name.split(".")[0]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def python(code: str) -> list[str]:
    """Run code in a fresh interpreter and return the words it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_house_has_fourteen_rooms_and_a_way_to_say_no():
    assert {path.parent.name for path in PACKAGE.rglob("__init__.py")} == {*ROOMS, "compresslab"}
    assert {name for name in modules() if "." not in name} == {"errors", "__main__"}


@pytest.mark.parametrize("name", [name for name in modules() if "." in name])
def test_a_module_imports_from_its_own_room_and_those_below(name):
    above = ROOMS[ROOMS.index(room(name)) + 1 :]
    assert not {other for other in edges()[name] if room(other) in above}


@pytest.mark.parametrize("name", [name for name in modules() if "." in name])
def test_other_rooms_give_only_what_they_list_from_the_module_that_defines_it(name):
    for module, alias in imported(modules()[name]):
        inside = module.removeprefix("compresslab.")
        if not module.startswith("compresslab") or room(inside) in (room(name), "errors"):
            continue
        assert inside in modules(), f"{name} takes {alias} from {module}, not from where it is defined"
        listed = importlib.import_module(f"compresslab.{room(inside)}").__all__
        assert alias in listed, f"{name} takes {alias} from {module}, which its room does not list"
        defined = {
            target.id if isinstance(target, ast.Name) else target.name
            for node in ast.parse(modules()[inside].read_text(encoding="utf-8")).body
            for target in ([node] if hasattr(node, "name") else ast.walk(node))
            if isinstance(target, ast.FunctionDef | ast.ClassDef)
            or (isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store))
        }
        assert alias in defined, f"{module} only passes {alias} on; import it from its own module"


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_lists_what_it_has_and_says_which_question_it_answers(name):
    door = importlib.import_module(f"compresslab.{name}")
    assert (door.__doc__ or "").split("\n")[0].count("?") == 1
    assert all(hasattr(door, listed) for listed in door.__all__)
    assert not [listed for listed in door.__all__ if listed.startswith("_")]
    # a name that is a module and a function would hide one of the two
    assert not [n for n in door.__all__ if f"{name}.{n}" in modules() and callable(getattr(door, n))]


def test_no_module_imports_itself_by_a_detour():
    list(TopologicalSorter(edges()).static_order())


def test_the_longest_chain_of_imports_is_short():
    longest: dict[str, list[str]] = {}
    for name in TopologicalSorter(edges()).static_order():
        longest[name] = [name, *max((longest[other] for other in edges()[name]), key=len, default=[])]
    chain = max(longest.values(), key=len)
    assert len(chain) <= LONGEST_CHAIN, " > ".join(chain)


def test_modules_rooms_and_the_whole_are_small():
    sizes = {name: lines(path) for name, path in modules().items()}
    assert not {name: size for name, size in sizes.items() if size > LARGEST_MODULE}
    rooms = {name: sum(lines(path) for path in (PACKAGE / name).glob("*.py")) for name in ROOMS}
    assert not {name: size for name, size in rooms.items() if size > LARGER.get(name, LARGEST_ROOM)}
    whole = sum(lines(path) for path in PACKAGE.rglob("*.py"))
    # what learners' answers are compared with has a wall of its own; nobody reads it to know the package
    assert whole - rooms["exercises"] <= LARGEST_PACKAGE


def test_the_evening_has_an_end():
    """The route names modules of most rooms, from below, and fits one evening."""
    route = [name for part in compresslab.EVENING.values() for name in part]
    assert set(route) <= set(modules())
    assert len(route) == len(set(route))
    assert sum(lines(modules()[name]) for name in route) <= LONGEST_EVENING


def test_no_module_bears_the_name_of_a_public_function():
    public = [name for name in compresslab.__all__ if callable(getattr(compresslab, name))]
    assert public
    assert not set(public) & {name.split(".")[-1] for name in modules()}


def test_importing_the_package_stays_light():
    heavy = ["sklearn", "matplotlib", "ipywidgets", "torchvision", "pandas", "mlxtend", "IPython", "optuna"]
    code = f"import sys, compresslab; print(*[name for name in {heavy} if name in sys.modules])"
    assert python(code) == []


def test_the_package_never_imports_what_only_tests_may():
    references = {"sklearn", "torch_pruning", "torchao", "pytest", "hypothesis", "beartype"}
    for path in PACKAGE.rglob("*.py"):
        assert not {module.split(".")[0] for module, _ in imported(path)} & references, path.name


def test_every_value_is_frozen():
    """A value can be passed around, compared and hashed; a panel alone is drawn on."""
    written = set()
    for name in modules():
        for kind in vars(importlib.import_module(f"compresslab.{name}")).values():
            if isinstance(kind, type) and kind.__module__ == f"compresslab.{name}":
                frozen = getattr(kind, "__dataclass_params__", getattr(kind, "__struct_config__", None))
                written |= {kind.__name__} if frozen is not None and not frozen.frozen else set()
    assert written == {"Panel"}
