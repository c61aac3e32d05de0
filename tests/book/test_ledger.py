"""The pages of figures say what the chapters show, and one network has one speed in the whole book."""

import csv
from itertools import groupby

import ledger
import pytest
from runs import Runs, beyond, tuned

from compresslab.teaching import records


def stored(name: str) -> list[list[str]]:
    with records.path(name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    ("name", "collect"), [("ledger.csv", ledger.ledger), ("latency.csv", ledger.latencies)]
)
def test_each_row_of_a_page_stands_in_its_chapter(name, collect):
    assert stored(name) == collect(), "run: python book/records/ledger.py"


def test_the_ledger_has_no_row_that_its_chapter_does_not_show():
    with pytest.raises(LookupError, match=r"chapter 05: asked for one row 'powers of ten', found \[\]"):
        ledger.row_of("05", "powers of ten")


def test_bytes_times_and_intervals_of_a_row_belong_together():
    floats = int(stored("ledger.csv")[1][2].replace(",", ""))
    for _, name, size, times, right, interval in stored("ledger.csv")[1:]:
        low, high = map(float, interval.split(" to "))
        assert float(times) == round(floats / int(size.replace(",", "")), 1), name
        assert low < float(right) < high, name


def test_the_stored_times_of_one_network_are_near_each_other():
    """A quiet machine repeats a time to a few hundredths, a busy one doubles it or worse."""
    rows = [(network, float(ms)) for network, _, ms in stored("latency.csv")[1:]]
    for network, same in groupby(rows, key=lambda row: row[0]):
        times = [ms for _, ms in same]
        assert max(times) <= 1.4 * min(times), (network, times)


def test_half_of_the_neurons_take_less_time_and_zeros_in_place_do_not():
    fastest: dict[str, float] = {}
    for network, _, ms in stored("latency.csv")[1:]:
        fastest[network] = min(float(ms), fastest.get(network, float("inf")))
    assert fastest["article, half of its neurons"] < 0.6 * fastest["article"]
    assert fastest["article, 90 % zeros in place"] > 0.9 * fastest["article"]


# ------------------------------------------------------------------ what makes the records


@pytest.mark.parametrize(
    ("best", "grid", "tried"),
    [
        (2.0, (1, 2, 4), [1, 2, 4]),
        (9.0, (1, 2, 4), [1, 2, 4, 8, 16]),
        (0.3, (1, 2, 4), [0.125, 0.25, 0.5, 1, 2, 4]),
        (1.0, (1,), [0.5, 1, 2]),
    ],
)
def test_a_grid_grows_until_its_best_is_inside(best, grid, tried):
    chosen, found = tuned(lambda setting: abs(setting - best), grid)
    assert list(found) == tried
    assert chosen == min(tried, key=lambda setting: abs(setting - best))
    assert beyond(found) is None


def test_a_natural_bound_ends_a_grid():
    chosen, found = tuned(lambda setting: setting, (1, 2, 4), lowest=0.2)
    assert (chosen, list(found)) == (0.25, [0.25, 0.5, 1, 2, 4])


def test_a_finished_run_is_not_made_again_and_others_files_are_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs, calls = Runs("trial", "_a"), []
    assert [runs.of(("row", 0, 2e-3), lambda *asked: calls.append(asked) or 7, 1, 2) for _ in range(2)] == [
        7,
        7,
    ]
    assert calls == [(1, 2)]
    other = Runs("trial", "_b")
    assert other.of(("row", 0, 2e-3), calls.append) == 7
    assert Runs("tri").found == Runs("trial").found == {("row", 0, 2e-3): 7}
