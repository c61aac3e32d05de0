"""`make records` knows every experiment, and makes none twice."""

import json
import re
from pathlib import Path

import pytest
import repeat

from compresslab.teaching import records

ROOT = Path(__file__).resolve().parents[2]
WRITER = '''"""Write a record in {time}."""

from pathlib import Path
{imports}

class records:
    FOLDER = Path("{folder}")

RECORD = records.FOLDER / "{name}.json"

with open("{log}", "a") as file:
    file.write("{name} ")
{more}
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return what writes a script that notes when it runs."""
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    monkeypatch.setattr(repeat, "FIRST", "first")

    def made(name: str, time: str = "two minutes", imports: str = "", more: str = "") -> None:
        places = {"folder": tmp_path.as_posix(), "log": (tmp_path / "log").as_posix()}
        text = WRITER.format(name=name, time=time, imports=imports, more=more, **places)
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")

    made("first")
    made("more", imports="def later():\n    import second")
    made("second", imports="import helper")
    (tmp_path / "helper.py").write_text("", encoding="utf-8")
    return made


@pytest.fixture
def ran(tmp_path):
    """Return what repeats all, and which scripts ran then."""

    def again() -> str:
        (tmp_path / "log").write_text("", encoding="utf-8")
        finished = repeat.Finished(tmp_path / "finished.json")
        repeat.repeat(repeat.experiments(tmp_path), finished)
        return (tmp_path / "log").read_text(encoding="utf-8").strip()

    return again


def test_every_record_has_an_experiment_and_every_experiment_says_its_time():
    listed = repeat.experiments()
    written = {one.record.stem for one in listed}
    assert set(records.names()) | {"kernels"} == written
    assert all(one.minutes > 0 for one in listed)


def test_an_experiment_comes_after_what_it_uses():
    names = [one.name for one in repeat.experiments()]
    assert names[0] == "train_checkpoints"
    assert names.index("deep_compression") < names.index("search")  # reads its files
    assert names.index("distillation") < names.index("order")  # imports it
    assert set(names[-3:]) == {"drawing", "speed", "kernels"}


def test_what_has_finished_is_not_made_again(write, ran, capsys):
    assert ran() == "first second more"
    assert ran() == ""
    assert capsys.readouterr().out.count("finished before") == 3


def test_a_changed_script_runs_again_and_so_does_what_imports_it(write, ran, tmp_path):
    ran()
    write("second", imports="import helper", more="1 + 1")
    assert ran() == "second more"
    (tmp_path / "helper.py").write_text("1 + 1", encoding="utf-8")
    assert ran() == "second more"


def test_another_record_than_it_wrote_is_made_again(write, ran, tmp_path):
    ran()
    (tmp_path / "second.json").write_text("{}", encoding="utf-8")
    assert ran() == "second"


def test_after_an_error_it_goes_on_there_and_adds_up_the_time(write, ran, tmp_path):
    write("second", imports="import helper", more="raise SystemExit(1)")
    with pytest.raises(SystemExit, match="second ended with an error"):
        ran()
    state = json.loads((tmp_path / "finished.json").read_text(encoding="utf-8"))
    assert [state[name]["done"] for name in ("first", "second")] == [True, False]
    state["second"]["seconds"] = 1000.0
    (tmp_path / "finished.json").write_text(json.dumps(state), encoding="utf-8")
    write("second", imports="import helper")
    assert ran() == "second more"
    state = json.loads((tmp_path / "finished.json").read_text(encoding="utf-8"))
    assert state["second"]["done"]
    assert state["second"]["seconds"] >= 1000  # a run of this script alone takes less than a second


@pytest.mark.parametrize(
    ("said", "minutes"),
    [
        ("half an hour of one core", 30),
        ("a quarter of an hour", 15),
        ("an hour of one core", 60),
        ("some two hours", 120),
        ("tuned in minutes. Five minutes in all", 5),
    ],
)
def test_a_time_in_words_is_understood(write, tmp_path, said, minutes):
    write("first", time=said)
    assert repeat.Experiment(tmp_path / "first.py").minutes == minutes


def test_a_script_without_a_time_is_named(write, tmp_path):
    write("first", time="minutes")
    with pytest.raises(LookupError, match=r"first\.py does not say"):
        _ = repeat.Experiment(tmp_path / "first.py").minutes


def test_the_makefile_says_the_hours_that_the_scripts_say():
    hours = sum(one.minutes for one in repeat.experiments()) / 60
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (told,) = re.findall(r"^records:.*, some (\d+) hours", makefile, re.MULTILINE)
    assert abs(int(told) - hours) <= 1


def test_what_is_said_to_be_finished_is_an_experiment_that_ended():
    known = repeat.Finished(repeat.FINISHED).known
    assert set(known) <= {one.name for one in repeat.experiments()}
    assert all(one["done"] and one["seconds"] > 0 for one in known.values())
