"""What `make` does before anything is installed: a wrong Python is named, half an environment is remade."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import handouts
import nbformat
import pytest
from chromium import undrivable

from compresslab.teaching import progress

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="needs make and a shell")

STUB = """#!/bin/sh
# Stands for an interpreter: it notes what it is asked to do, and makes environments of its own kind.
echo "$0 $*" >> "{log}"
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-c import pip") {pip} ;;
  "-m pip install"*whl/cpu) {index} ;;
  "-m pip install"*) cp "$0" .venv/bin/jupyter ;;
  -c*) exec "{real}" -c "{pretends}; exec(sys.argv[1])" "$2" ;;
esac
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def interpreter(path: Path, version=(3, 11), pip="true", machine=("Linux", "x86_64"), index="true") -> Path:
    pretends = f"import platform, sys; sys.version_info = {(*version, 0, 'final', 0)}"
    for asked, told in zip(("system", "machine"), machine, strict=True):
        pretends += f"; platform.{asked} = lambda: '{told}'"
    log, pretends = path.parent / "log", pretends.replace('"', "'")
    text = STUB.format(log=log, pip=pip, real=sys.executable, pretends=pretends, index=index)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def make(folder: Path, python: Path, *more: str, target: str = ".venv/.installed"):
    asked = ["make", target, f"PYTHON={python}", *more]
    return subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)


def log_of(folder: Path) -> str:
    return (folder / "log").read_text() if (folder / "log").exists() else ""


def test_a_python_that_is_too_old_is_named_before_anything_is_made(folder):
    done = make(folder, interpreter(folder / "old", version=(3, 10)))
    assert done.returncode != 0
    assert "Python 3.11 to 3.13 is needed" in done.stderr
    assert "is 3.10. Give another one: make PYTHON=python3.12" in done.stderr
    assert not (folder / ".venv").exists()


def test_the_way_out_keeps_what_was_asked_for(folder):
    done = make(folder, interpreter(folder / "old", version=(3, 10)), "TORCH=cpu", target="book")
    assert "make PYTHON=python3.12 book TORCH=cpu\n" in done.stderr


@pytest.mark.parametrize("machine", [("Darwin", "x86_64"), ("Linux", "aarch64")], ids=" ".join)
def test_a_machine_without_wheels_is_named_before_anything_is_made(folder, machine):
    done = make(folder, interpreter(folder / "new", machine=machine))
    assert done.returncode != 0
    assert f"On {' '.join(machine)} some packages have no wheels" in done.stderr
    assert "\n## Which machines\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("machine", [("Darwin", "arm64"), ("Linux", "x86_64")], ids=" ".join)
def test_the_others_are_not_held_up(folder, machine):
    assert make(folder, interpreter(folder / "new", machine=machine)).returncode == 0


def test_an_environment_is_made_once(folder):
    python = interpreter(folder / "new")
    for _ in range(2):
        assert make(folder, python).returncode == 0
    assert log_of(folder).count("-m venv .venv") == 1
    assert log_of(folder).count("pip install") == 1


def test_half_an_environment_is_made_anew(folder):
    """Its making was stopped before pip stood there."""
    interpreter(folder / ".venv" / "bin" / "python", pip="false")
    (folder / ".venv" / "left").touch()
    done = make(folder, interpreter(folder / "new"))
    assert done.returncode == 0, done.stderr
    assert ".venv is not whole, or its Python is too old: it is made anew." in done.stdout
    assert not (folder / ".venv" / "left").exists()
    assert "pip install" in log_of(folder)


def test_an_environment_of_an_old_python_is_made_anew(folder):
    """It has pip, and and pip would say that versions conflict."""
    interpreter(folder / ".venv" / "bin" / "python", version=(3, 10))
    old = make(folder, interpreter(folder / "old", version=(3, 10)))
    assert old.returncode != 0
    assert "Python 3.11 to 3.13 is needed" in old.stderr
    assert (folder / ".venv").exists(), "it goes only when another can stand there"
    done = make(folder, interpreter(folder / "new"))
    assert done.returncode == 0, done.stderr
    assert "it is made anew" in done.stdout
    assert log_of(folder).count("-m venv .venv") == 1


def test_a_first_environment_is_made_without_a_word_about_another(folder):
    assert "anew" not in make(folder, interpreter(folder / "new")).stdout


def test_the_cpu_build_of_torch_is_taken_first_where_it_is_asked_for(folder):
    assert make(folder, interpreter(folder / "new"), "TORCH=cpu").returncode == 0
    installs = [line for line in log_of(folder).splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert "download.pytorch.org/whl/cpu" in installs[0]
    assert "torch torchvision" in installs[0]
    assert "-c constraints.txt" in installs[0]
    assert "index" not in installs[1]


def test_pytorchs_index_is_asked_for_torch_alone():
    """It has its own choice of other packages' versions, and pip gives up where a pinned one is missing."""
    places = [
        "Makefile",
        "README.md",
        ".binder/postBuild",
        "book/tools/workshop.py",
        ".github/workflows/tests.yml",
    ]
    texts = [(ROOT / place).read_text(encoding="utf-8") for place in places]
    lines = [
        [line for line in text.splitlines() if "pip install" in line and "--index-url" in line]
        for text in texts
    ]
    assert all(lines)
    assert all(" --no-deps " in line for several in lines for line in several)


def test_an_index_that_does_not_answer_is_named_and_the_environment_can_be_used(folder):
    done = make(folder, interpreter(folder / "new", index="exit 1"), "TORCH=cpu")
    assert done.returncode != 0
    assert "PyTorch did not give its build without CUDA" in done.stderr
    assert "leave out TORCH=cpu" in done.stderr
    assert not (folder / ".venv" / ".installed").exists()
    again = make(folder, interpreter(folder / "new"))
    assert again.returncode == 0, again.stderr
    assert log_of(folder).count("-m venv .venv") == 1


def test_any_other_torch_is_refused(folder):
    done = make(folder, interpreter(folder / "new"), "TORCH=gpu")
    assert done.returncode != 0
    assert "TORCH is cpu, or not given" in done.stderr


def test_a_learner_gets_little_and_jupyterlab_opens_on_the_exercises(folder):
    assert make(folder, interpreter(folder / "new"), target="learn").returncode == 0
    (install,) = [line for line in log_of(folder).splitlines() if "pip install" in line]
    assert install.endswith("-c constraints.txt -e .[learn]")
    assert "quiet" not in install, "the progress is seen"
    assert log_of(folder).splitlines()[-2].endswith("book/tools/handouts.py --learner")
    assert log_of(folder).splitlines()[-1] == ".venv/bin/jupyter lab learning"


def test_building_the_book_completes_what_a_learner_installed_and_learning_then_installs_nothing(folder):
    python = interpreter(folder / "new")
    for target in ("learn", ".venv/.installed", "learn"):
        assert make(folder, python, target=target).returncode == 0
    assert log_of(folder).count("-m venv .venv") == 1
    installs = [line.split("-e ")[1] for line in log_of(folder).splitlines() if "pip install" in line]
    assert installs == [".[learn]", ".[book,lab,deploy,test,dev]"]
    assert log_of(folder).count("jupyter lab learning") == 2


def test_a_learner_needs_neither_sphinx_nor_browsers_nor_test_tools():
    """What makes the notebooks without answers imports nothing else of the extras."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    heavy = {"sphinx", "jupyter_book", "myst_nb", "playwright", "pytest", "hypothesis", "pybtex_docutils"}
    code = f"import sys, handouts; print(sorted({heavy} & set(sys.modules)))"
    tools = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "book" / "tools"), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], env=tools, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    asked = {line.split(">")[0] for line in extras["optional-dependencies"]["learn"]}
    assert asked == {"jupyterlab", "jupytext", "pybtex", "PyYAML"}


def test_a_learner_keeps_what_was_filled_in(tmp_path):
    folder = tmp_path / "learning"
    assert handouts.begin(["02", "03"], folder) == ["02_symmetric.ipynb", "03_asymmetric.ipynb"]
    first = folder / "02_symmetric.ipynb"
    assert nbformat.reads(first.read_text(encoding="utf-8"), as_version=4).cells
    first.write_text("filled in")
    (folder / "03_asymmetric.ipynb").unlink()
    assert handouts.begin(["02", "03", "04"], folder) == [
        "03_asymmetric.ipynb",
        "04_two_and_three_values.ipynb",
    ]
    assert first.read_text() == "filled in"


def test_the_file_of_what_was_solved_is_begun_with_the_folder_and_never_again(tmp_path):
    folder = tmp_path / "learning"
    handouts.begin(["02"], folder)
    assert progress.solved(folder) == {}
    (folder / progress.FILE).unlink()
    handouts.begin(["02"], folder)
    assert progress.solved(folder) is None


def test_the_learner_finds_the_answers_inside_the_folder_that_jupyterlab_shows(tmp_path):
    """JupyterLab, opened on the folder, shows nothing that lies beside it."""
    folder = tmp_path / "learning"
    handouts.begin(["02", "03"], folder)
    for name in ("02_symmetric", "03_asymmetric"):
        head = nbformat.read(folder / f"{name}.ipynb", as_version=4).cells[0].source
        (link,) = re.findall(r"\*\*Answers:\*\* .*\]\((.*)\)", head)
        assert Path(link).stem != name, "two tabs of one name"
        stored = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        assert (folder / link).read_text(encoding="utf-8").replace("](../", "](") == stored
    again = re.findall(r"\]\(([^)#]*\.ipynb)", (folder / link).read_text(encoding="utf-8"))
    assert "../02_symmetric.ipynb" in again
    assert {one[:3] for one in again} == {"../"}, "to the learner's own chapters"
    (folder / link).write_text("half")
    handouts.begin(["02", "03"], folder)
    assert (folder / link).read_text() == "half", "what was run there stays"


def test_half_a_notebook_does_not_count_as_the_learners(tmp_path, monkeypatch):
    def broken(path, text, encoding):
        path.write_bytes(text[:100].encode(encoding))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", broken)
        with pytest.raises(KeyboardInterrupt):
            handouts.begin(["02"], tmp_path)
    assert handouts.begin(["02"], tmp_path) == ["02_symmetric.ipynb"]


@pytest.mark.parametrize(("user", "sudo"), [("0", False), ("1000", True), ("1000", False)])
def test_the_whole_proof_installs_what_it_may_and_goes_on_without_the_rest(tmp_path, user, sudo):
    """On a machine with make and Python alone; who may not install is told what the tests will skip for."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    stubs = {"id": f"echo {user}", "sudo": 'exec "$@"', "python3": 'case "$*" in *CDLL*) exit 1; esac'}
    stubs |= {name: f'echo "{name} $*"' for name in ("make", "apt-get")}
    if not sudo:
        del stubs["sudo"]
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, does in stubs.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    for name in ("bash", "sh", "dirname", "env"):
        (programs / name).symlink_to(shutil.which(name))
    run = [str(programs / "bash"), str(tmp_path / ".ci" / "run")]
    done = subprocess.run(run, env={"PATH": str(programs)}, capture_output=True, text=True, check=True)
    wanted, told = "npm libatomic1 chromium fontconfig fonts-noto-cjk", done.stdout.splitlines()
    (named,) = re.findall(r"`apt-get install (npm [^`]+)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {*named.split()} == {*wanted.split()} - {"fontconfig"}, "which only lets .ci/run look for the font"
    assert told[-2:] == ["make book", "make test"]
    if user == "0" or sudo:
        assert told[:-2] == ["apt-get update", f"apt-get install -y --no-install-recommends {wanted}"]
    else:
        assert told[0].startswith(f"Not here: {wanted}. What needs it")
        assert len(told) == 3


@pytest.mark.skipif(os.name == "nt", reason="the programs of this test are scripts of a shell")
@pytest.mark.parametrize(
    ("chromium", "does", "told"),
    [
        (None, "exit 0", "no Chromium: install the system's package (chromium)"),
        ("chromium", "echo v24", ""),
        ("chromium", "echo 'no libatomic.so.1' >&2; exit 127", "on Debian install libatomic1"),
        ("chromium", "echo 'for another chip' >&2; exit 1", "does not start: for another chip"),
    ],
)
def test_what_keeps_a_browser_from_being_driven_is_said(tmp_path, chromium, does, told):
    driver = tmp_path / "node"
    driver.write_text(f"#!/bin/sh\n{does}\n")
    driver.chmod(0o755)
    found = undrivable(chromium, driver)
    assert found.endswith(told)
    assert bool(found) == bool(told)
