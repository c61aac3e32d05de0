"""Every exercise: other right answers, and typical wrong ones, each with a sentence of its own."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from compresslab.exercises.answers import AnswerError, habit, questions
from compresslab.exercises.checking import check
from compresslab.exercises.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "book" / "chapters").glob("*.md"))
)
CODE = "\n".join(re.findall(r"(?ms)^```{code-cell}$.*?^```$", CHAPTERS))
NAMES = [*questions(), *TASKS]
STEPS = "abcdefg"  # a letter behind an exercise's name
MISTAKES = [
    pytest.param(name, wrong, sentence, id=f"{name}: {sentence[:30]}")
    for name, one in {**questions(), **TASKS}.items()
    for wrong, sentence in one.mistakes
]


def message(name, answer):
    with pytest.raises(AnswerError) as caught:
        check(name, answer)
    return str(caught.value)


# ------------------------------------------------------------------ all of them


def test_each_name_is_asked_once_and_solved_in_a_chapter():
    assert len(NAMES) == len(set(NAMES))
    for name in NAMES:
        assert f":label: ex-{name.rstrip(STEPS)}\n" in CHAPTERS
        assert CHAPTERS.count(f'check("{name}", ') >= 2, "the reader's cell and the solution's"


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_shows_no_answer(name):
    """Neither hint nor mistake stands in a chapter's code."""
    one = {**questions(), **TASKS}[name]
    for text in (one.hint, *(sentence for _, sentence in one.mistakes)):
        assert text not in CODE


def test_outside_solutions_a_check_is_given_a_name_that_holds_no_answer():
    asked = re.sub(r"(?ms)^`+\{solution-start\}.*?^`+\{solution-end\}$", "", CHAPTERS)
    calls = re.findall(r"(?m)^check\((.*)\)$", asked)
    assert len(calls) == asked.count("check(") == len(NAMES)
    for call in calls:
        (name, given) = re.fullmatch(r'"(\d\d-\d[a-g]?)", (\w+)', call).groups()
        cell = re.search(rf'(?ms)^```{{code-cell}}\n((?:(?!```).)*)^check\("{name}", {given}\)$', asked)[1]
        assert re.match(rf"{given} = None|def {given}\(", cell), call


@pytest.mark.parametrize("name", [name for name, one in questions().items() if not one.choices])
def test_no_sentence_gives_the_answer_away(name):
    one = questions()[name]
    told = " ".join([one.hint, *(sentence for _, sentence in one.mistakes)])
    assert str(one.right) not in re.findall(r"[\w.]*\w", told)


@pytest.mark.parametrize(("name", "wrong", "sentence"), MISTAKES)
def test_a_typical_mistake_gets_its_own_sentence(name, wrong, sentence):
    said = message(name, wrong)
    assert sentence in said
    assert len(said) <= 500


@pytest.mark.parametrize("name", NAMES)
def test_five_typical_mistakes_have_sentences_of_their_own(name):
    one = {**questions(), **TASKS}[name]
    sentences = {sentence for _, sentence in one.mistakes}
    assert len(sentences) == len(one.mistakes)
    if name in TASKS:
        assert len(sentences) >= 5
        return
    typed = [wrong for wrong, _ in one.mistakes] + [[one.right, one.right]]
    if isinstance(one.right, bool):  # there is but one other answer; the rest is written wrongly
        typed += [1, str(one.right), 0.03]
    elif one.choices:
        typed += [3, "conv9"] if isinstance(one.right, str) else ["text", 99]
    said = {message(name, wrong).removeprefix("Not yet: ").split(". ", 1)[1] for wrong in typed}
    assert len(said) >= 5, said


@pytest.mark.parametrize("name", questions())
def test_a_right_value_is_right_in_any_form(name, capsys):
    right = questions()[name].right
    if isinstance(right, str):
        forms = [f" {right.upper()} ", right.replace(":", " : ")]
    elif isinstance(right, bool):
        forms = [np.bool_(right), torch.tensor(right)]
    elif not isinstance(right, list):
        forms = [np.float32(right), torch.tensor(right), [right], float(right)]
    if isinstance(right, list):
        forms = [tuple(right), np.array(right), torch.tensor(right), [float(one) for one in right]]
    for form in forms:
        check(name, form)
    assert capsys.readouterr().out.count("Right: ") == len(forms)


@pytest.mark.parametrize("name", NAMES)
def test_no_answer_yet_is_no_error(name, capsys):
    check(name, None)
    if name in TASKS:
        check(name, lambda *_: None)
    assert set(capsys.readouterr().out.splitlines()) <= {
        "No answer yet: put yours in the place of None and run the cell again.",
        "No answer yet: write the body of the function and run the cell again.",
    }


# ------------------------------------------------------------------ what a learner stumbled on


def hook_left(model, relu, images):
    answer = TASKS["12-3"].right(model, relu, images)
    model.conv1.register_forward_hook(lambda *_: None)
    return answer


def hook_left_on_error(model, relu, images):
    handle = model.conv1.register_forward_hook(lambda *_: None)
    model(images)
    handle.remove()
    return TASKS["12-3"].right(model, relu, images)


def hook_left_by_score(model, relu, images, labels):
    answer = TASKS["13-3"].right(model, relu, images, labels)
    model.conv1.register_forward_hook(lambda *_: None)
    return answer


def masks_of_a_count_that_is_cut_off(tensors, share):
    sizes = torch.cat([tensor.abs().flatten() for tensor in tensors])
    mask = torch.zeros(len(sizes), dtype=torch.bool)
    mask[sizes.argsort(stable=True)[: int(share * len(sizes))]] = True
    return mask


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("02-1", "0.0025", "That is text; give it without quotes."),
        ("02-2", 3, "A word in quotes is expected."),
        ("02-2", "fc3", "Choose one of 'conv1', 'conv2', 'fc1', 'fc2'."),
        ("06-2", "False", "That is text; give it without quotes."),
        ("06-2", 0, "Answer True or False."),
        ("12-1", 0.0625, "That is a fraction"),
        ("07-3", lambda weights: torch.where(weights >= 0, 1.0, -1.0), "no gradient comes through"),
        ("07-3", lambda weights: weights.numpy(), "it raised RuntimeError: "),
        ("12-3", hook_left, "a hook is left on the network"),
        ("12-3", hook_left_on_error, "a hook is left when the network raises"),
        ("15-3", lambda count, ties: [0] * (count + 1), "The shape is (4,), expected is (3,)."),
        ("04-3", lambda codes: [[1], [2, 3]], "this list holds other things, or uneven rows"),
        ("15-3", lambda count, ties: [str(place) for place in range(count)], "It holds text; numbers are"),
        ("18-3a", lambda lengths: "0", "A list is expected, with texts in quotes."),
        ("18-3a", lambda lengths: ["0"], "The list holds 1, expected are 4."),
        ("18-3a", lambda lengths: ["0", "10", "11", "111"], "1 of 4 differ, the first at (2,)."),
        ("18-3a", lambda lengths: [0, 10, 110, 111], "4 of 4 differ, the first at (0,)."),
        ("13-3", hook_left_by_score, "a hook is left on the network"),
        ("16-3a", lambda n: n, "The shape is (), expected is (2, 1)."),
        ("14-2", 16, "The shape is (), expected is (2,)."),
        ("09-3", masks_of_a_count_that_is_cut_off, "round the count, and do not cut it off"),
        ("04-3", lambda codes: 1 / 0, "it raised ZeroDivisionError: division by zero."),
    ],
)
def test_a_stumble_gets_a_sentence_that_helps(name, answer, said):
    found = message(name, answer)
    assert said in found
    assert len(found) <= 500


def test_a_rounded_percentage_is_right(capsys):
    check("12-1", 6.3)
    assert capsys.readouterr().out == "Right: 6.3.\n"


def test_a_long_answer_makes_no_long_message():
    assert message("15-3", lambda count, ties: [0] * count).count("\n") == 0


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (lambda x: -x, "sign is turned"),
        (lambda x: 100 * x, "in percent"),
        (lambda x: x / 100, "a fraction; percent"),
        (lambda x: x[::-1], "order is turned around"),
        (lambda x: x.T, "exchanged"),
        (lambda x: 2 * x, "twice"),
        (lambda x: x / 2, "half"),
        (lambda x: x + 1, "one too much"),
        (lambda x: x - 1, "one too little"),
        (lambda x: 8 * x, "bits"),
        (lambda x: x / 8, "bytes"),
        (abs, "look at the signs"),
        (lambda x: np.sort(x, None).reshape(x.shape), "their order is not"),
        (lambda x: x + 0.3, "round"),
        (lambda x: x * x, None),
    ],
)
def test_a_habit_is_named_where_it_explains_every_number(turn, said):
    right = np.array([[3.0, -1.0, 7.0], [2.0, 9.0, -5.0]])
    found = habit([turn(right)], [right], 0.0)
    assert found is None if said is None else said in found


def test_a_notebook_shows_the_message_and_no_traceback():
    with pytest.raises(AnswerError) as caught:
        check("02-1", 1.0)
    assert caught.value._render_traceback_() == [str(caught.value)]
