"""Every exercise: other right answers, and typical wrong ones, each with a sentence of its own."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compresslab.teaching.answers import AnswerError, habit, questions
from compresslab.teaching.exercises import check
from compresslab.teaching.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "book" / "chapters").glob("*.md"))
)
CODE = "\n".join(re.findall(r"(?ms)^```{code-cell}$.*?^```$", CHAPTERS))
NAMES = [*questions(), *TASKS]
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
        assert f":label: ex-{name}\n" in CHAPTERS
        assert CHAPTERS.count(f'check("{name}", ') >= 2, "the reader's cell and the solution's"


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_shows_no_answer(name):
    """Neither hint nor mistake stands in a chapter's code."""
    one = {**questions(), **TASKS}[name]
    for text in (one.hint, *(sentence for _, sentence in one.mistakes)):
        assert text not in CODE


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
    else:
        forms = [np.float32(right), torch.tensor(right), [right], float(right)]
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


# ------------------------------------------------------------------ functions: two other right ones each


def macs_by_shape(conv, side):
    kernel = conv.kernel_size[0]
    starts = range(0, side + 2 * conv.padding[0] - kernel + 1, conv.stride[0])
    return len(starts) ** 2 * conv.out_channels * conv.in_channels // conv.groups * kernel**2


def macs_by_running(conv, side):
    places = conv(torch.zeros(1, conv.in_channels, side, side)).shape[2:].numel()
    return torch.tensor(float(places * conv.weight.numel()))


def rows_half_up(rows, bits):
    top = 2 ** (bits - 1) - 1
    scale = rows.double().abs().amax(1, keepdim=True) / top
    scale[scale == 0] = 1
    return torch.floor(rows / scale + 0.5) * scale


def rows_as_lists(rows, bits):
    top, decoded = 2 ** (bits - 1) - 1, []
    for row in rows.tolist():
        scale = max(map(abs, row)) / top or 1
        decoded.append([round(weight / scale) * scale for weight in row])
    return decoded


def end_in_float64(rows, bits):
    top, decoded = 2 ** (bits - 1) - 1, []
    for row in rows.double():
        scales = [k / 64 * row.abs().max() / top for k in range(64, 0, -1)]
        tried = [(row / scale).round().clamp(-top, top) * scale for scale in scales]
        decoded.append(min(tried, key=lambda one: float((one - row).square().sum())))
    return torch.stack(decoded)


def end_in_numpy(rows, bits):
    rows, top = rows.numpy(), 2 ** (bits - 1) - 1
    scales = np.arange(64, 0, -1)[:, None, None] / 64 * np.abs(rows).max(1, keepdims=True) / top
    tried = scales * np.clip(np.floor(rows / scales + 0.5), -top, top)
    best = np.square(tried - rows).sum(2).argmin(0)
    return np.take_along_axis(tried, best[None, :, None], 0)[0]


def trits_by_text(codes):
    return [int("".join(map(str, codes[start : start + 5][::-1])), 3) for start in range(0, len(codes), 5)]


def trits_in_numpy(codes):
    return np.array(codes).reshape(-1, 5) @ 3 ** np.arange(5)


def half_steps_one_by_one(weights, count):
    top = max(abs(weight) for weight in weights.tolist())
    levels = [0.0] + [sign * top * 2 ** (-k / 2) for k in range(count) for sign in (1, -1)]
    return [min(levels, key=lambda level: abs(level - weight)) for weight in weights.tolist()]


def half_steps_in_float64(weights, count):
    weights = weights.double()
    levels = weights.abs().max() * 2.0 ** (-torch.arange(count) / 2)
    levels = torch.cat([levels.flip(0).neg().flip(0), levels, torch.zeros(1)])
    return levels[(weights[:, None] - levels).square().argmin(1)]


def levels_in_float32(values, k):
    return TASKS["06-3"].right(values, k).float()


def levels_by_all_cuts(values, k):
    ordered = np.sort(values.numpy())
    places = range(len(ordered) + 1)
    error = np.array([[ordered[i:j].var() * (j - i) if j > i else 0 for j in places] for i in places[:-1]])
    best, cuts = error[0], [[0] * (len(ordered) + 1)]
    for _ in range(k - 1):
        tried = best[:-1, None] + error
        cuts.append([int(i) for i in tried.argmin(0)])
        best = tried.min(0)
    levels, end = [], len(ordered)
    for begins in cuts[::-1]:
        levels, end = [ordered[begins[end] : end].mean(), *levels], begins[end]
    return levels


class SignThrough(torch.autograd.Function):
    @staticmethod
    def forward(context, weights):
        context.save_for_backward(weights)
        return torch.where(weights >= 0, 1.0, -1.0)

    @staticmethod
    def backward(context, upstream):
        (weights,) = context.saved_tensors
        return upstream * (weights.abs() <= 1)


def sign_by_product(weights):
    passed = weights * (weights.abs() <= 1)
    return (weights >= 0).float() * 2 - 1 + passed - passed.detach()


def rescaled_by_fraction(total, numerator, shift):
    exact = Fraction(total * numerator, 2**shift)
    nearest = (abs(exact) + Fraction(1, 2)).__floor__()
    return nearest if exact > 0 else -nearest


def rescaled_by_doubling(total, numerator, shift):
    sign = -1 if total * numerator < 0 else 1
    return sign * ((2 * abs(total * numerator) + (1 << shift)) >> (shift + 1))


def masks_as_list(tensors, share):
    joined = np.concatenate([tensor.abs().numpy().ravel() for tensor in tensors])
    goes = np.zeros(len(joined), dtype=bool)
    goes[np.argsort(joined, kind="stable")[: round(share * len(joined))]] = True
    parts = np.split(goes, np.cumsum([tensor.numel() for tensor in tensors])[:-1])
    return [torch.from_numpy(part).reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def masks_as_integers(tensors, share):
    flat = [weight for tensor in tensors for weight in tensor.flatten().tolist()]
    ranked = sorted((abs(weight), place) for place, weight in enumerate(flat))
    goes = {n for _, n in ranked[: round(share * len(ranked))]}
    return [int(n in goes) for n in range(len(ranked))]


def means_with_hook(model, relu, images):
    sums, places = 0, 0

    def collect(module, inputs, output):
        nonlocal sums, places
        rows = output.detach().transpose(0, 1).flatten(1)
        sums, places = sums + rows.sum(1), places + rows.shape[1]

    handle = getattr(model, relu).register_forward_hook(collect)
    try:
        for batch in images.split(64):
            model(batch)
    finally:
        handle.remove()
    return sums / places


def means_layer_by_layer(model, relu, images):
    x = model.relu1(model.conv1(images))
    if relu == "relu1":
        return x.mean((0, 2, 3)).tolist()
    seen = {}
    watched = nn.Module.__call__
    module = model.get_submodule(relu)
    module.forward = lambda inputs: seen.setdefault("answer", torch.relu(inputs))
    watched(model, images)
    del module.forward
    answer = seen["answer"]
    return answer.mean([axis for axis in range(answer.ndim) if axis != 1])


def roots_by_pointers(count, ties):
    parent = list(range(count))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for left, right in ties:
        low, high = sorted((root(left), root(right)))
        parent[high] = low
    return [root(i) for i in range(count)]


def roots_by_walking(count, ties):
    near = [[] for _ in range(count)]
    for left, right in ties:
        near[left].append(right)
        near[right].append(left)
    first = np.full(count, -1)
    for start in range(count):
        waiting = [start]
        while waiting:
            here = waiting.pop()
            if first[here] < 0:
                first[here] = start
                waiting += near[here]
    return first


def near_one_by_one(logits, labels, temperature):
    rows = [[] for _ in range(logits.shape[1])]
    for answer, label in zip(logits.tolist(), labels.tolist(), strict=True):
        powers = [0 if place == label else np.exp(one / temperature) for place, one in enumerate(answer)]
        rows[label].append([power / sum(powers) for power in powers])  # the right class never enters
    return [np.mean(row, axis=0) for row in rows]


def near_in_numpy(logits, labels, temperature):
    wrong = np.exp(
        logits.numpy() / temperature - np.log(np.exp(logits.numpy() / temperature).sum(1)[:, None])
    )
    wrong[np.arange(len(wrong)), labels] = 0
    wrong /= wrong.sum(1, keepdims=True)
    return np.stack([wrong[labels.numpy() == label].mean(0) for label in range(wrong.shape[1])])


OTHERS = {
    "01-3": (macs_by_shape, macs_by_running),
    "02-3": (rows_half_up, rows_as_lists),
    "03-3": (end_in_float64, end_in_numpy),
    "04-3": (trits_by_text, trits_in_numpy),
    "05-3": (half_steps_one_by_one, half_steps_in_float64),
    "06-3": (levels_in_float32, levels_by_all_cuts),
    "07-3": (SignThrough.apply, sign_by_product),
    "08-3": (rescaled_by_fraction, rescaled_by_doubling),
    "09-3": (masks_as_list, masks_as_integers),
    "12-3": (means_with_hook, means_layer_by_layer),
    "15-3": (roots_by_pointers, roots_by_walking),
    "17-3": (near_one_by_one, near_in_numpy),
}


@pytest.mark.parametrize(
    ("name", "right"),
    [pytest.param(name, one, id=one.__name__) for name, pair in OTHERS.items() for one in pair],
)
def test_another_right_function_is_right(name, right, capsys):
    check(name, right)
    assert capsys.readouterr().out.startswith("Right: ")


def test_every_task_has_two_other_right_functions():
    assert {name: len(set(pair)) for name, pair in OTHERS.items()} == dict.fromkeys(TASKS, 2)


# ------------------------------------------------------------------ what a learner stumbled on


def hook_left(model, relu, images):
    answer = means_with_hook(model, relu, images)
    model.conv1.register_forward_hook(lambda *_: None)
    return answer


def hook_left_on_error(model, relu, images):
    handle = model.conv1.register_forward_hook(lambda *_: None)
    model(images)
    handle.remove()
    return means_with_hook(model, relu, images)


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
