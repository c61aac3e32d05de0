"""The decision guide and the table of kinds say what the records say, and the rule is applied as written."""

import csv
import re
from pathlib import Path
from statistics import fmean

import guide
import intervals
import pytest

from compresslab.teaching import records

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "guide.md").read_text(encoding="utf-8")


def stored(name: str) -> list[list[str]]:
    with records.path(name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def rows(name: str) -> list[dict[str, str]]:
    head, *lines = stored(name)
    return [dict(zip(head, line, strict=True)) for line in lines]


@pytest.mark.parametrize(
    ("name", "collect"),
    [
        ("guide.csv", guide.table),
        ("choices.csv", guide.choices),
        ("times.csv", guide.times),
        ("kinds.csv", guide.kinds),
    ],
)
def test_each_table_is_what_the_records_say_now(name, collect):
    assert stored(name) == collect(), "run: python book/records/guide.py"


@pytest.mark.parametrize("name", intervals.DRAWN)
def test_each_figure_is_what_would_be_drawn_now(name):
    drawn = (ROOT / "book" / "_static" / name).read_text(encoding="utf-8")
    assert drawn == intervals.DRAWN[name](), "run: python book/tools/intervals.py"
    width = int(re.search(r'viewBox="0 0 (\d+)', drawn)[1])
    assert 13 * min(1, 358 / width) >= 11, "letters too small on a phone"


@pytest.mark.parametrize("name", ["guide", "kinds"])
def test_a_figure_says_every_row_to_who_does_not_see_it(name):
    drawn = intervals.DRAWN[f"{name}.svg"]()
    label = re.search(r'aria-label="([^"]+)"', drawn)[1]
    assert all(f"{row['Method']}, {row['Loss, points']}" in label for row in rows(f"{name}.csv"))
    assert drawn.count("<circle") + len(re.findall(r">-?\d+\.\d</text>", drawn)) == len(rows(f"{name}.csv"))


def test_the_page_says_which_images_were_read():
    assert f"read on the {guide.IMAGES:,} test images of MNIST" in PAGE
    for option in guide.options():
        assert max(*option.right, *option.control) > 5_000, "counts of fewer images"


# ------------------------------------------------------------------ the rule, from the table alone


LOSSES = {f"Loss at most {points:g}": points for points in guide.ALLOWED}


def enough(row, choice) -> bool:
    needs = ["no images", "64 images", "training"]
    return needs.index(row["You have"]) <= needs.index(choice["You have"])


def test_the_rule_chooses_what_the_page_says_it_chooses():
    """Read the table as a reader would: needs, the upper end of the interval, then bytes or work."""
    for choice in rows("choices.csv"):
        if choice["Goal"].startswith("least time"):
            continue
        for column, points in LOSSES.items():
            fit = [
                row
                for row in rows("guide.csv")
                if enough(row, choice) and float(row["Loss, points"].split("]")[0].split(", ")[1]) <= points
            ]
            if choice["Goal"] == "fewest bytes":
                best = max(fit, key=lambda row: float(row["Times smaller"]))
                assert choice[column].startswith(best["Method"])
                assert choice[column].endswith(f"{best['Times smaller']} times smaller")
                continue
            fit = [row for row in fit if row["Work left, %"] != "100"]
            if not fit:
                assert choice[column] == "none measured"
                continue
            least = min(float(row["Work left, %"]) for row in fit)
            assert choice[column].endswith(f": {least:.0f} % of the work")
            assert choice[column].split(":")[0] in {
                row["Method"] for row in fit if float(row["Work left, %"]) == least
            }


def test_the_fastest_way_is_chosen_by_the_table_of_times():
    goals = {"least time, 64 images at once": "64 images", "least time, one image": "one image"}
    asked = [choice for choice in rows("choices.csv") if choice["Goal"] in goals]
    assert len(asked) == 6
    for choice in asked:
        column = f"Times faster, {goals[choice['Goal']]}"
        for loss, points in LOSSES.items():
            fit = [row for row in rows("times.csv") if enough(row, choice)]
            fit = [row for row in fit if float(row["Loss, points"]) <= points]
            most = max(fit, key=lambda row: float(row[column]))[column]
            name, gain = choice[loss].rsplit(": ", 1)
            assert gain == f"{most} times faster"
            assert [name, most] in [[row["Way"], row[column]] for row in fit]


def test_a_time_is_that_of_the_record_against_floats_in_torch():
    """Half of the neurons in bfloat16, by hand; and no row is left out that is faster."""
    found = [row for row in records.load("speed")["rows"] if row["network"] == "article"]
    (start,) = (r for r in found if (r["neurons"], r["numbers"], r["runs in"]) == ("all", "float32", "torch"))
    (best,) = (
        r for r in found if (r["neurons"], r["numbers"], r["runs in"]) == ("half", "bfloat16", "OpenVINO")
    )
    (row,) = (row for row in rows("times.csv") if row["Way"] == "half of the neurons, bfloat16, OpenVINO")
    assert row["Times faster, 64 images"] == f"{start['ms at 64'][0] / best['ms at 64'][0]:.1f}"
    assert row["Times faster, one image"] == f"{start['ms at 1'][0] / best['ms at 1'][0]:.1f}"
    assert row["Loss, points"] == f"{(start['right'] - best['right']) / 10:.1f}"
    quicker = [r for r in found if any(r[f"ms at {n}"][0] < start[f"ms at {n}"][0] for n in (1, 64))]
    assert len(rows("times.csv")) == len(quicker)


def test_the_smallest_files_are_rows_with_fresh_seeds_where_there_are_some():
    teachers, points = (records.load("smallest")[part] for part in ("teachers", "points"))
    (teacher,) = (one for one in teachers if (one["data"], one["teachers"]) == ("digits", 1))
    found = {row["Method"]: row for row in rows("guide.csv") if row["Method"].startswith("cut, priced codes")}
    assert len(found) == 3
    fresh = points["digits 660"]["fresh"]
    row = found[f"cut, priced codes, {fmean(run['bytes'] for run in fresh):.0f} bytes, LeNet-5"]
    lost = fmean(teacher["mnist"] - run["mnist"] for run in fresh) / 100
    assert row["Loss, points"].startswith(f"{lost:.1f} [")
    assert row["Against"] == "its teacher, 3 runs"


def test_a_loss_is_the_mean_difference_of_the_record_in_points():
    """One row by hand: half of the neurons cut by Taylor, against the whole network trained on."""
    found = records.load("neuron_criteria")["networks"]["article"]["shares"]["0.5"]["rows"]
    read = [found[row]["rates"][f"{found[row]['chosen']:g}"]["mnist"] for row in ("whole", "taylor")]
    lost = fmean(whole - cut for whole, cut in zip(*read, strict=True)) / 100
    (row,) = (row for row in rows("guide.csv") if row["Method"] == "half of the neurons cut")
    assert row["Loss, points"].startswith(f"{lost:.1f} [")


def test_each_row_leads_to_its_chapter_and_its_record():
    found = [(option.chapter, option.record) for option in guide.options()]
    found += len(rows("times.csv")) * [("21", "speed")]
    for row, (number, name) in zip([*rows("guide.csv"), *rows("times.csv")], found, strict=True):
        chapter, record = re.findall(r"<([^>]+)>", row["See"])
        assert Path(chapter).name.startswith(f"{number}_")
        assert (ROOT / "book" / f"{chapter}.ipynb").resolve().is_file()
        assert Path(record).stem == name
        assert (ROOT / "book" / record).resolve() == records.path(f"{name}.json")


def test_on_a_phone_each_cell_says_what_the_head_of_its_column_says():
    css = (ROOT / "book" / "_static" / "book.css").read_text(encoding="utf-8")
    for name in ("guide", "choices", "times", "kinds"):
        for place, head in enumerate(stored(f"{name}.csv")[0][1:], start=2):
            said = (
                rf'table\.{name}\b[^{{}}]* td:nth-child\({place}\)::before[^{{]*{{ content: "([^"]*): "; }}'
            )
            assert re.search(said, css)[1].lower() == head.lower(), (name, head)


# ------------------------------------------------------------------ kinds


KINDS = records.load("kinds")


def test_every_kind_has_every_row_with_every_seed():
    assert len(KINDS["kinds"]) == 6
    for found in KINDS["kinds"].values():
        assert set(found["rows"]) == {"start", "whole, trained on", *guide.KINDS}
        for row in found["rows"].values():
            assert {len(row[key]) for key in ("test", "bytes", "macs")} == {len(KINDS["seeds"])} == {5}


def test_the_seeds_of_the_kinds_are_fresh():
    """Seeds 0, 1 and 2 were read while the settings changed, and seed 0 chooses the rates."""
    assert not {0, 1, 2, KINDS["tuned at"]} & set(KINDS["seeds"])


@pytest.mark.parametrize("kind", KINDS["kinds"])
def test_codes_and_zeros_leave_the_work_and_a_cut_takes_it(kind):
    found = KINDS["kinds"][kind]["rows"]
    macs, size = ({row: one[key][0] for row, one in found.items()} for key in ("macs", "bytes"))
    assert macs["8 bits"] == macs["4 bits"] == macs["three quarters of the weights gone"] == macs["start"]
    assert macs["half of the neurons gone"] == macs["cut shape, fresh"] < macs["start"]
    assert size["4 bits"] < size["8 bits"] < size["start"] == size["whole, trained on"]
    assert size["half of the neurons gone"] == size["cut shape, fresh"] < size["start"]


def test_what_is_held_has_a_reason():
    held = {kind: found["held"] for kind, found in KINDS["kinds"].items() if found["held"]}
    assert set(held) == {"transformer", "GRU"}
    assert all(why for parts in held.values() for _, _, why in parts)
