"""What `make` does before anything is installed: a wrong Python is named, half an environment is remade."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="needs make and a shell")

STUB = """#!/bin/sh
# Stands for an interpreter: it notes what it is asked to do, and makes environments of its own kind.
echo "$0 $*" >> "{log}"
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-c import pip") {pip} ;;
  -c*) exec "{real}" -c "import sys; sys.version_info = {version}; exec(sys.argv[1])" "$2" ;;
esac
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def interpreter(path: Path, version=(3, 11), pip="true") -> Path:
    text = STUB.format(
        log=path.parent / "log", pip=pip, real=sys.executable, version=(*version, 0, "final", 0)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def make(folder: Path, python: Path, *more: str):
    asked = ["make", ".venv/.installed", f"PYTHON={python}", *more]
    return subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)


def log_of(folder: Path) -> str:
    return (folder / "log").read_text() if (folder / "log").exists() else ""


def test_a_python_that_is_too_old_is_named_before_anything_is_made(folder):
    done = make(folder, interpreter(folder / "old", version=(3, 10)))
    assert done.returncode != 0
    assert "Python 3.11 to 3.13 is needed" in done.stderr
    assert "is 3.10. Give another one: make PYTHON=python3.12" in done.stderr
    assert not (folder / ".venv").exists()


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
    assert not (folder / ".venv" / "left").exists()
    assert "pip install" in log_of(folder)


def test_the_cpu_build_of_torch_is_taken_first_where_it_is_asked_for(folder):
    assert make(folder, interpreter(folder / "new"), "TORCH=cpu").returncode == 0
    installs = [line for line in log_of(folder).splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert "download.pytorch.org/whl/cpu" in installs[0]
    assert "torch torchvision" in installs[0]
    assert "-c constraints.txt" in installs[0]
    assert "index" not in installs[1]


def test_any_other_torch_is_refused(folder):
    done = make(folder, interpreter(folder / "new"), "TORCH=gpu")
    assert done.returncode != 0
    assert "TORCH is cpu, or not given" in done.stderr
