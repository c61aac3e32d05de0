"""The shipped records are found by name, and a wrong name is answered with the right ones."""

import json
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import compresslab as cl
from compresslab.teaching import records

ROOT = Path(__file__).resolve().parents[2]


def test_every_record_is_what_its_file_says():
    assert records.names()
    for name in records.names():
        assert records.load(name) == json.loads(records.path(f"{name}.json").read_text(encoding="utf-8"))


def test_every_experiment_that_chapters_read_has_its_script():
    scripts = {path.stem for path in (ROOT / "book" / "records").glob("*.py")}
    assert set(records.names()) - scripts == {"checkpoints"}  # written by train_checkpoints.py


def test_each_load_is_a_new_object():
    records.load("weight_pruning")["networks"].clear()
    assert records.load("weight_pruning")["networks"]


@pytest.mark.parametrize("name", ["", "pruning", "weight_pruning.json", "../errors", "/etc/passwd", None, 3])
def test_an_unknown_record_is_refused_with_those_that_exist(name):
    with pytest.raises(cl.CompressionError, match=r"asked for the record .*shipped are .*weight_pruning"):
        records.load(name)


@pytest.mark.parametrize("name", ["", "deep_compression", "digits_article_0.clab", "../records.py", None, 3])
def test_an_unknown_file_is_refused_with_those_that_exist(name):
    with pytest.raises(cl.CompressionError, match=r"shipped are .*deep_compression/digits_article_0\.clab"):
        records.path(name)


def test_every_recorded_file_is_installed_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = project["package-data"]["compresslab.teaching"]
    for name in records.files():
        # fnmatch lets * pass a slash and a wheel does not, so count the folders
        alike = [pattern for pattern in patterns if pattern.count("/") == 1 + name.count("/")]
        assert any(fnmatch(f"recorded/{name}", pattern) for pattern in alike), name
