"""The wheel holds the package with its data, and a notebook needs nothing else."""

import shutil
import zipfile
from pathlib import Path

import pytest
import wheels


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


@pytest.mark.slow
@pytest.mark.timeout(900)  # on a busy machine; alone it takes half a minute
def test_the_tour_runs_alone_with_nothing_but_the_wheel(built, capsys):
    wheels.attempt(built)
    assert "00_tour" in capsys.readouterr().out
