"""The wheel holds the package with its data, and a notebook needs nothing else."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import nbformat
import pytest
import wheels
from built import run_each

import notebooks


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return wheels.build(tmp_path_factory.mktemp("dist"))


def test_it_holds_every_file_of_the_package_and_nothing_else(built):
    assert wheels.faults(built) == []
    names = zipfile.ZipFile(built).namelist()
    assert "compresslab/py.typed" in names
    assert "compresslab/exercises/answers.toml" in names
    assert any(name.startswith("compresslab/teaching/recorded/") for name in names)
    assert any(name.startswith("compresslab/teaching/reference/") for name in names)
    assert not [name for name in names if name.endswith(".ipynb")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("notebooks/00_tour.ipynb", "holds notebooks/00_tour.ipynb"),
        ("compresslab/old.py", "holds compresslab/old.py"),
    ],
)
def test_what_does_not_belong_there_is_named(built, tmp_path, name, said):
    wrong = Path(shutil.copy(built, tmp_path))
    with zipfile.ZipFile(wrong, "a") as archive:
        archive.writestr(name, "")
    assert wheels.faults(wrong) == [said]


def test_what_is_missing_is_named(built, tmp_path):
    wrong = tmp_path / built.name
    with zipfile.ZipFile(built) as whole, zipfile.ZipFile(wrong, "w") as part:
        for name in whole.namelist():
            if not name.endswith(("py.typed", "LICENSE-text")):
                part.writestr(name, whole.read(name))
    assert wheels.faults(wrong) == ["lacks compresslab/py.typed", "lacks LICENSE-text beside the package"]


@pytest.fixture(scope="module")
def alone(built, tmp_path_factory):
    """An environment with the wheel and no way back to this checkout."""
    folder = tmp_path_factory.mktemp("alone")
    python = wheels.environment(folder / "venv", built, from_pip=False)
    assert wheels.home(python).is_relative_to(folder)
    return python


@pytest.mark.slow
@pytest.mark.timeout(1800)  # on a busy machine; alone a chapter takes a minute at most
@pytest.mark.parametrize("chapter", run_each(notebooks.texts([])))
def test_a_participants_notebook_runs_to_its_end_with_nothing_but_the_wheel(alone, chapter, tmp_path):
    (notebook,) = wheels.written([chapter.stem], tmp_path)
    wheels.run(alone, notebook)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_notebook_that_fails_is_noticed(alone, tmp_path):
    cell = nbformat.v4.new_code_cell("import compresslab; compresslab.nothing")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "wrong.ipynb")
    with pytest.raises(subprocess.CalledProcessError):
        wheels.run(alone, tmp_path / "wrong.ipynb")
