"""What a chapter may say of a difference, and what a record must hold before a setting counts as chosen."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from compresslab.teaching import records

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted((ROOT / "book" / "chapters").glob("*.md"))

# ------------------------------------------------------------------ words

# A lack of data is no finding. A tie of ranks, or of layers, is none of runs, and passes.
EQUAL = re.compile(
    r"no difference|(?:inside|within|beyond|leaves?|more than|differ by|is|are|but) (?:the )?noise\b"
    r"|cannot (?:be told|be parted|part)\b|can not be told apart|indistinguishable|equally (?:good|well)"
    r"|(?:is|are|was|were|called|it) (?:a )?ties?\b"
    r"|(?:methods|rows|ways|criteria|scratch) (?:are )?tie[sd]?\b"
    r"|as good as each other|inside_the_noise|no worse than",
    re.IGNORECASE,
)
INTERVAL = re.compile(r"PairedDifference|\bHolm\b|\binterval|\[-?\d+(?:\.\d+)?, -?\d+(?:\.\d+)?\]|against\(")


def rounds(text: str) -> list[str]:
    """Cut a chapter where a new question or a new section begins."""
    return re.split(r"(?m)^(?=#{2,} |\*\*Predict\.\*\*|.*?\*\*Predict\*\*)", text)


def unfounded(text: str) -> list[str]:
    """Return what is said to be equal in a round that has no interval of a difference."""
    found = [(EQUAL.search(part), INTERVAL.search(part)) for part in rounds(text)]
    return [said[0] for said, interval in found if said and not interval]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_no_chapter_calls_equal_what_does_not_show(text):
    assert not unfounded(text.read_text(encoding="utf-8")), (
        "give the interval, or: does not show with this much data"
    )


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no difference between the two.",
        "The gain is inside the noise.",
        "Four rows lead beyond the noise.",
        "The accuracies cannot be told apart.",
        "Otherwise it is a tie.",
        "The methods are tied.",
        'claim("at 2 bits: inside the noise", test.inside_the_noise)',
        "In the end random and from scratch tie.",
        "The two read equally well.",
    ],
)
def test_the_words_of_equality_are_found(sentence):
    assert unfounded(f"## One\n\n{sentence}\n")
    assert unfounded(f"## One\n\n{sentence}\n\n## Two\n\nThe interval is [-1.0, 2.0].\n")
    assert not unfounded(f"## One\n\n{sentence}\nThe difference is -0.7 images [-5.8, 4.5].\n")


@pytest.mark.parametrize(
    "sentence",
    ["A loss does not show with this much data.", "The stem is tied to `blocks.0`.", "It breaks the tie."],
)
def test_other_words_pass(sentence):
    assert not unfounded(f"## One\n\n{sentence}\n")


# ------------------------------------------------------------------ grids

# A record may name its "lowest rate": below it, training leaves the network as it was, a natural bound.
# Other edges are declared here: record, place of the choice, and the reason.
Grid = dict[float, float]
NATURAL = {
    ("deep_compression", "share"): "the shares rise until one fails or the file is as small as was asked",
    ("distillation", "cut, label smoothing, share"): "no smoothing at all: the row of hard labels",
    ("distillation", "ternary, label smoothing, share"): "no smoothing at all: the row of hard labels",
    ("distillation", "label smoothing, no augmentation, share"): "no smoothing at all: hard labels",
    ("distillation", "ternary, soft targets, temperature"): "at 1 they are the teacher's own answers",
    ("slimming", "SGD, loss"): "shown as a failure, ranked with nothing (chapter 14 says so)",
    ("slimming", "Adam, loss"): "shown as a failure, ranked with nothing (chapter 14 says so)",
    ("slimming", "Adam, step"): "shown as a failure, ranked with nothing (chapter 14 says so)",
}
WITHOUT = {
    "capstone": "it remakes one recipe, compares it with nothing, and lists all that was tried",
    "drawing": "it makes five networks to look at, and compares none",
    "speed": "it times rows and chooses nothing; every row stands in it",
    "checkpoints": "recipes were compared when the files were made; their bytes are frozen",
    "search": "all its trials are in it; it trains at the rate of chapter 18",
}


def of_training() -> Iterator[tuple[str, float, Grid]]:
    for name, found in records.load("training_through_quantization")["methods"].items():
        runs = found["rates at seed 0"].items()
        yield name, found["chosen"], {float(r): run.get("validation loss", float("inf")) for r, run in runs}


def of_integers() -> Iterator[tuple[str, float, Grid]]:
    for bits, ways in records.load("integer_training")["bits"].items():
        for name, found in ways.items():
            if "chosen" in found:
                runs = {float(r): run["validation loss"] for r, run in found["rates at seed 0"].items()}
                yield f"{bits}, {name}", found["chosen"], runs


def of_pruning() -> Iterator[tuple[str, float, Grid]]:
    for name, network in records.load("weight_pruning")["networks"].items():
        for row, tried in network["rates"].items():
            yield f"{name}, {row}", network["chosen rates"][row], numbers(tried)


def of_penalties() -> Iterator[tuple[str, float, Grid]]:
    record = records.load("penalties")
    yield "dense", record["dense"]["rate"], numbers(record["dense"]["rates"])
    for share, methods in record["pruned"].items():
        for name, found in methods.items():
            yield f"{share}, {name}, rate", found["rate"], numbers(found["rates"])
            if "chosen" in found:
                runs = found["strengths at seed 0"].items()
                yield (
                    f"{share}, {name}",
                    found["chosen"],
                    {float(s): run["validation loss"] for s, run in runs},
                )
    for strength, seeds in record["own zeros"].items():
        for seed, name in ((seed, name) for seed in seeds for name in ("L1", "magnitude")):
            run = seed[name]
            yield f"own, {strength}, {name}, {seed['seed']}", run["rate"], numbers(run["rates"])


def of_criteria() -> Iterator[tuple[str, float, Grid]]:
    for network, found in records.load("neuron_criteria")["networks"].items():
        yield f"{network}, start", found["start"]["chosen"], numbers(found["start"]["loss"])
        for penalty, tried in found["strengths"].items():
            wrong = {strength: -right for strength, right in numbers(tried["validation"]).items()}
            yield f"{network}, {penalty}", tried["chosen"], wrong
        for share, part in found["shares"].items():
            for row, runs in part["rows"].items():
                losses = {float(r): mean(run["loss"]) for r, run in runs["rates"].items()}
                yield (row if row == "whole" else f"{network}, {share}, {row}"), runs["chosen"], losses


def of_slimming() -> Iterator[tuple[str, float, Grid]]:
    free = records.load("slimming")["rate without a price"]
    yield "without a price", free["chosen"], numbers(free["rates"])
    for way, found in records.load("slimming").items():
        if isinstance(found, dict) and "all seeds" in found:
            wrong: dict[float, list[int]] = {}
            for run in found["all seeds"]:
                wrong.setdefault(run["strength"], []).append(-run["validation"][2])
            yield way, found["chosen"], {strength: sum(each) for strength, each in wrong.items()}


def of_deep_compression() -> Iterator[tuple[str, float, Grid]]:
    for networks in records.load("deep_compression").values():
        for found in networks.values():
            margin = found["recipe"]["margin"]
            passed = {run["share"]: share_lost(run) <= margin + 1e-9 for run in found["tried"]}
            chosen = {run["share"] for run in found["seeds"]}
            yield "share", chosen.pop(), {share: -share if ok else 1.0 for share, ok in passed.items()}


def of_distillation() -> Iterator[tuple[str, float, Grid]]:
    """First the rate, at one setting; then the setting, at the best rate."""
    record = records.load("distillation")
    listed = [
        (f"{student}, {row}", found)
        for student, rows in record["students"].items()
        for row, found in rows.items()
    ]
    listed += [(row, found) for row, found in record["more rows"].items() if "tried" in found]
    for name, found in listed:
        setting = next(key for key in found if key not in ("rate", "tried", "seeds"))
        (first,) = {t[setting] for t in found["tried"] if t["rate"] != found["rate"]}
        yield (
            name,
            found["rate"],
            {t["rate"]: t["validation loss"] for t in found["tried"] if t[setting] == first},
        )
        losses = {t[setting]: t["validation loss"] for t in found["tried"] if t["rate"] == found["rate"]}
        yield f"{name}, {setting}", found[setting], losses


def of_little_data() -> Iterator[tuple[str, float, Grid]]:
    """In each way of distorting the best rate is inside; between the ways validation chose."""
    for kind, found in records.load("little_data")["kinds"].items():
        for size, row in found["distilled"].items():
            for distorted in dict.fromkeys(way for way, _, _ in row["tried"]):
                losses = {rate: -right for way, rate, right in row["tried"] if way == distorted}
                best = row["rate"] if distorted == row["distorted"] else min(losses, key=losses.__getitem__)
                yield f"{kind}, {size}, {distorted}", best, losses


def share_lost(run: dict) -> float:
    """Images of validation that were lost, as a share of those that the floats read and missed."""
    total = 5_000 if run["validation"]["floats"] > 500 else 500
    return (run["validation"]["floats"] - run["validation"]["clustered"]) / total


def of_order() -> Iterator[tuple[str, float, Grid]]:
    for row, found in records.load("order")["rows"].items():
        yield row, found["rate"], {one["rate"]: one["validation loss"] for one in found["tried"]}


def of_kinds() -> Iterator[tuple[str, float, Grid]]:
    for kind, found in records.load("kinds")["kinds"].items():
        for row, runs in found["rows"].items():
            if "chosen" in runs:
                yield f"{kind}, {row}", runs["chosen"], numbers(runs["rates"])


def of_moving() -> Iterator[tuple[str, float, Grid]]:
    for row, found in records.load("moving_zeros")["rows"].items():
        yield row, found["chosen"], numbers(found["rates"])


def of_smallest() -> Iterator[tuple[str, float, Grid]]:
    for row, found in records.load("smallest")["ablation"]["rows"].items():
        yield row, found["rate"], numbers(found["tried"])


def numbers(tried: dict[str, float]) -> Grid:
    return {float(setting): loss for setting, loss in tried.items()}


def mean(values: list[float | None]) -> float:
    return float("inf") if None in values else sum(values) / len(values)


CHOICES = {
    "training_through_quantization": of_training,
    "integer_training": of_integers,
    "weight_pruning": of_pruning,
    "penalties": of_penalties,
    "neuron_criteria": of_criteria,
    "slimming": of_slimming,
    "deep_compression": of_deep_compression,
    "distillation": of_distillation,
    "little_data": of_little_data,
    "order": of_order,
    "kinds": of_kinds,
    "moving_zeros": of_moving,
    "smallest": of_smallest,
}


def test_each_record_has_its_choices_here_or_says_why_not():
    assert set(records.names()) == set(CHOICES) | set(WITHOUT)
    assert not set(CHOICES) & set(WITHOUT)


@pytest.mark.parametrize("record", CHOICES)
def test_what_was_chosen_is_the_best_of_its_grid_and_not_at_an_edge(record):
    choices = list(CHOICES[record]())
    assert choices
    for name, chosen, tried in choices:
        assert tried[chosen] == min(tried.values()), (name, "another setting is better on validation")
        lowest = records.load(record).get("lowest rate", 0)
        if (record, name) not in NATURAL and not chosen / 2 < lowest:
            assert min(tried) < chosen < max(tried), (
                name,
                chosen,
                sorted(tried),
                "is at an edge: try further",
            )


# ------------------------------------------------------------------ two judges

# The 1,000 test digits have been read by every chapter; MNIST's own test images are a second judge. Those who
# are read otherwise, and why:
OTHERWISE = {
    "neuron_criteria": "every row is read at the rate that was chosen: the test below looks at them",
    "smallest": "each run names its judges digits and mnist: the test below looks at them",
}


def judged(found: object, place: tuple[str, ...] = ()) -> Iterator[tuple[str, dict]]:
    """Yield every part of a record that holds what the test digits say, with its place."""
    if isinstance(found, dict):
        if "test" in found and place and place[-1] != "images":  # there it is the number of images
            yield ", ".join(place), found
        for key, value in found.items():
            yield from judged(value, (*place, key))
    if isinstance(found, list):
        for value in found:
            yield from judged(value, place)


@pytest.mark.parametrize("record", sorted({*CHOICES, "search"} - set(OTHERWISE)))
def test_what_the_test_digits_say_the_second_judge_has_said_too(record):
    parts = list(judged(records.load(record)))  # runs of a list share their place
    assert parts
    for place, found in parts:
        if "regression" not in place:  # a number is predicted there
            assert isinstance(found.get("mnist"), type(found["test"])), place


def test_the_rows_of_the_criteria_and_of_the_smallest_files_have_two_judges():
    criteria = records.load("neuron_criteria")
    for found in criteria["networks"].values():
        for part in found["shares"].values():
            for chosen in part["rows"].values():
                assert len(chosen["rates"][f"{chosen['chosen']:g}"]["mnist"]) == len(criteria["seeds"])
    for point in records.load("smallest")["points"].values():
        assert all({"digits", "mnist"} <= set(run) for run in point["seeds"])


# ------------------------------------------------------------------ what was chosen


@pytest.mark.parametrize(("record", "name"), NATURAL)
def test_each_natural_bound_is_needed(record, name):
    at_edge = [c in (min(tried), max(tried)) for n, c, tried in CHOICES[record]() if n == name]
    assert any(at_edge), f"{name} is inside its grid: take it out of the list"


@pytest.mark.parametrize("record", CHOICES)
def test_no_choice_of_a_record_is_overlooked(record):
    def chosen_in(found: object) -> int:
        if isinstance(found, dict):
            own = sum(not isinstance(value, dict) for key, value in found.items() if key == "chosen")
            return own + sum(map(chosen_in, found.values()))
        return sum(map(chosen_in, found)) if isinstance(found, list) else 0

    text = records.path(f"{record}.json").read_text(encoding="utf-8")
    assert len(list(CHOICES[record]())) >= chosen_in(json.loads(text))
