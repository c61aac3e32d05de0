"""The worked solution: files within their limits that come back, and a script that takes no step twice."""

import capstone
import pytest
from runs import Runs

import compresslab as cl
from compresslab import data, models
from compresslab.storage import encode
from compresslab.teaching import records, score

RECORD = records.load("capstone")
RUNS = [pytest.param(run["seed"], run["codes"], id=f"seed {run['seed']}") for run in RECORD["seeds"]]


@pytest.mark.parametrize(("seed", "end"), RUNS)
def test_a_file_comes_back_from_its_bytes_and_reads_what_was_recorded(seed, end):
    path = records.path(f"capstone/{seed}.clab")
    small = cl.load(path)
    assert path.stat().st_size == end["bytes"] == end["codings"]["mixing"]
    assert encode(small, coding="mixing")[0] == path.read_bytes()
    # the same codes everywhere; sums of floats may put one image on the other side
    assert abs(score(path).accuracy.correct - end["validation"]) <= 1
    assert abs(cl.evaluate(small, data.digits().test).correct - end["digits"]) <= 1


def test_in_the_mean_a_file_has_at_most_950_bytes_and_each_may_be_ranked():
    ends = [run["codes"] for run in RECORD["seeds"]]
    assert len(ends) == 3
    assert sum(end["bytes"] for end in ends) <= 3 * 950
    assert max(end["bytes"] for end in ends) <= 960
    assert min(end["digits"] for end in ends) >= 970


def test_a_seed_takes_less_than_ten_minutes_of_one_core():
    for run in RECORD["seeds"]:
        steps = sum(step["seconds"] for step in (*run["cuts"], run["codes"]))
        assert steps + RECORD["teacher"]["answers"]["seconds"] < 600


def test_the_record_is_of_the_settings_that_the_script_has_now():
    assert RECORD["cuts"] == [[list(widths), epochs] for widths, epochs in capstone.CUTS]
    assert RECORD["codes"] == capstone.settings()
    assert [run["seed"] for run in RECORD["seeds"]] == list(capstone.SEEDS)
    for seed in capstone.SEEDS:
        assert [*capstone.key_of(seed)[1:]] in [one[:4] for one in RECORD["tried"]]


def test_settings_that_were_given_up_stand_with_what_their_files_read(tmp_path, monkeypatch):
    monkeypatch.setattr(capstone, "FILES", tmp_path)
    seed = RECORD["seeds"][0]["seed"]
    (tmp_path / f"{seed}.clab").touch()
    assert capstone.earlier(RECORD) == RECORD["earlier"]
    assert (tmp_path / f"{seed}.clab").exists()
    monkeypatch.setattr(capstone, "BUDGET", capstone.BUDGET - 1)
    *before, last = capstone.earlier(RECORD)
    assert before == RECORD["earlier"]
    assert last == {key: RECORD[key] for key in ("cuts", "codes", "seeds", "tried")}
    assert not (tmp_path / f"{seed}.clab").exists()


def test_seeds_are_fresh_where_an_earlier_setting_had_read_the_test():
    known = {run["seed"] for earlier in RECORD["earlier"] for run in earlier["seeds"]}
    known |= {row[0] for earlier in RECORD["earlier"] for row in earlier["tried"]}
    known |= {row[3] for row in RECORD["tried cuts"]}
    assert not known & set(capstone.SEEDS)


def test_the_floats_that_are_shipped_are_those_of_the_last_cut():
    first = RECORD["seeds"][0]
    floats = cl.load(records.path(f"capstone/floats_{first['seed']}.clab"))
    widths = tuple(getattr(floats.config, layer) for layer in capstone.LAYERS)
    assert widths == capstone.CUTS[-1][0]
    right = cl.evaluate(floats, data.digits().validation).correct
    assert abs(right - first["cuts"][-1]["validation"]) <= 1


def test_a_cut_leaves_as_many_neurons_as_were_asked():
    cut = capstone.cut(models.lenet5(8, 10, 30, seed=1), (3, 7, 11), seed=0)
    assert [getattr(cut.config, layer) for layer in capstone.LAYERS] == [3, 7, 11]


def test_a_step_that_was_taken_is_not_taken_again(tmp_path, monkeypatch):
    """The first two cuts stand in a file; what is left is one cut and the codes."""
    monkeypatch.chdir(tmp_path)
    taken = []
    monkeypatch.setattr(capstone, "shrink", lambda step, seed: taken.append((step, seed)) or {})
    monkeypatch.setattr(capstone, "code", lambda *asked: taken.append(asked) or {})
    before = Runs("capstone", "_before")
    for step in (0, 1):
        before.of(capstone.cut_key(step, 9), dict)
    capstone.make(Runs("capstone"), 9)
    assert taken == [(2, 9), (9, capstone.BUDGET, capstone.CODES)]
    capstone.make(Runs("capstone"), 9)
    assert len(taken) == 2


def test_codes_come_out_of_a_single_epoch(tmp_path, monkeypatch):
    """The step itself, in small, from the shipped floats and without the teacher's answers."""

    def learn(model, batches, epochs, lr, penalty):
        cl.train(model, batches, epochs=epochs, lr=lr, penalty=penalty, progress=False)

    monkeypatch.setattr(capstone, "KEPT", tmp_path)
    monkeypatch.setattr(capstone, "SHARED", tmp_path)
    monkeypatch.setattr(capstone, "lesson", lambda *_: data.digits().train)
    monkeypatch.setattr(capstone, "learn", learn)
    seed = RECORD["seeds"][0]["seed"]
    shipped = records.path(f"capstone/floats_{seed}.clab")
    capstone.floats_of(2, seed).write_bytes(shipped.read_bytes())
    found = capstone.code(seed, 2000, 1)
    assert found["bytes"] == capstone.coded(seed, 2000, 1).stat().st_size == found["codings"]["mixing"]
    assert found["validation"] > 400
