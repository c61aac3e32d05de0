"""Any data and any task: batches of every kind learn the same, metrics equal counting, runs go on."""

import copy
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from sklearn import metrics as judge
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from compresslab import data, models
from compresslab.errors import CompressionError
from compresslab.measuring.comparison import compare
from compresslab.measuring.report import measure
from compresslab.pruning import criteria
from compresslab.pruning.criteria import activation, gradient
from compresslab.pruning.scanning import sensitivity
from compresslab.training.accuracy import Accuracy, Score, evaluate
from compresslab.training.batching import Batch, ImageData, Split, held, parts_of, small
from compresslab.training.loop import History, cross_entropy, train
from compresslab.training.metrics import (
    Classification,
    IntersectionOverUnion,
    Loss,
    MeanSquaredError,
    TokenAccuracy,
)
from tests.samples import network, same

SGD = torch.optim.SGD


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


IMAGES, LABELS = drawn(30, 1, 28, 28), torch.arange(30) % 3
SPLIT = Split(IMAGES, LABELS)
PAIRS = [(IMAGES[i : i + 7], LABELS[i : i + 7]) for i in range(0, 30, 7)]


class Stream(IterableDataset):
    """Data that has no length."""

    def __iter__(self):
        return iter(PAIRS)


class Pictures(nn.Module):
    """The article's network, behind several inputs and an answer with parts."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, images, scale=None, *, shift=None):
        logits = self.inner(images if scale is None else images * scale)
        return {"logits": logits if shift is None else logits + shift, "note": "unread"}


KINDS = {
    "split": SPLIT,
    "list": PAIRS,
    "tuple": tuple(PAIRS),
    "loader": DataLoader(TensorDataset(IMAGES, LABELS), batch_size=7),
    "stream": DataLoader(Stream(), batch_size=None),
    "batches": [Batch(*pair) for pair in PAIRS],
    "splits": [SPLIT[i : i + 7] for i in range(0, 30, 7)],
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


# --- data


@every_kind
def test_every_kind_of_data_is_evaluated_alike(kind):
    expected = evaluate(network(), SPLIT)
    found = evaluate(network(), kind)
    assert (found, found.total) == (expected, 30)
    assert torch.equal(found.hits, expected.hits)
    assert evaluate(network(), iter(held(kind))) == expected  # what can be gone through once is enough


@every_kind
def test_every_kind_of_data_is_learned_alike(kind):
    """A split is shuffled, so it is learned in one batch here; all others come as they are."""
    size, kind = (30, kind) if kind is SPLIT else (7, kind)
    model, twin = network(), network()
    engine = SGD(twin.parameters(), lr=0.1)
    for images, labels in [(IMAGES, LABELS)] if size == 30 else PAIRS:
        functional.cross_entropy(twin(images), labels).backward()
        engine.step()
        engine.zero_grad()
    history = train(model, kind, epochs=1, batch_size=size, lr=0.1, optimizer=_constant, progress=False)
    for found, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # the split's sums in another order
    assert history.validation == history.validation_loss == ()
    assert history.kept == 1
    assert "validation" not in repr(history)
    assert not model.training


class _Constant(SGD):
    """Plain steps at the highest rate, whatever the schedule says."""

    def step(self, closure=None):
        self.param_groups[0]["lr"] = self.param_groups[0]["initial_lr"]
        return super().step(closure)


def _constant(parameters, lr):
    return _Constant(parameters, lr=lr)


@every_kind
def test_every_kind_of_data_is_scored_and_measured_alike(kind):
    for criterion in (activation, gradient):
        expected = criterion(network(), SPLIT)
        for name, score in criterion(network(), kind).items():
            # the same sums in batches of 7
            torch.testing.assert_close(score, expected[name], rtol=1e-4, atol=1e-6)
    report, images = measure(network(), kind, latency=False), measure(network(), SPLIT, latency=False)
    assert (report.macs, report.accuracy, report.fingerprint) == (
        images.macs,
        images.accuracy,
        images.fingerprint,
    )
    assert compare(images, report).ratios == (1.0, 1.0)


def test_a_network_takes_a_tuple_or_keywords_everywhere():
    plain = evaluate(network(), SPLIT)
    scale, shift = torch.ones(30, 1, 1, 1), torch.zeros(30, 3)
    metric = Classification(key="logits")
    for inputs in ((IMAGES, scale), [IMAGES, scale], {"images": IMAGES, "shift": shift}):
        batch, model = [(inputs, LABELS)], Pictures()
        assert evaluate(model, batch, 7, metric=metric) == plain
        report = measure(model, batch, metric=metric, repeats=1)
        assert report.accuracy == plain
        assert report.macs == measure(network(), SPLIT, latency=False).macs
        assert list(report.latency_ms) == [1, 64]
        objective = lambda net, inputs, targets: functional.cross_entropy(  # noqa: E731
            (net(**inputs) if isinstance(inputs, dict) else net(*inputs))["logits"], targets
        )
        history = train(model, batch, validation=batch, epochs=3, objective=objective, metric=metric)
        assert history.loss[-1] < history.loss[0]
        assert len(history.validation) == 3


def test_batches_are_cut_where_all_tensors_count_examples_alike():
    alike, other = (
        Batch({"a": drawn(5, 2)}, drawn(5)),
        Batch(drawn(9, 5, 2), drawn(5)),
    )  # (time, batch, features)
    assert [len(part) for part in small([alike, other], 2)] == [2, 2, 1, 5]
    assert torch.equal(next(iter(small([alike], 2))).inputs["a"], alike.inputs["a"][:2])
    assert len(Batch(drawn(4), None)) == 4
    assert [len(part) for part in parts_of({"x": drawn(3, 2)})] == [3]


NO_DATA = [
    (data.digits, "A whole data set, 'digits', was given; say which split of it: .train"),
    (
        lambda: TensorDataset(IMAGES, LABELS),
        r"A TensorDataset gives single examples; give batches: torch.utils",
    ),
    (lambda: [(IMAGES, LABELS, LABELS)], r"A batch of 3 parts was given; give \(inputs, targets\)"),
    (lambda: ["words"], r"A batch of a str was given; give \(inputs, targets\)"),
    (lambda: [(IMAGES.numpy(), LABELS.numpy())], r"A batch of a ndarray was given;.*torch.from_numpy"),
    (lambda: [()], "A batch of a tuple was given"),
    (lambda: 3, "A int was given as data; give a Split, a DataLoader or a list"),
]


@pytest.mark.parametrize(("make", "message"), NO_DATA)
def test_what_is_no_data_is_refused_in_words(make, message):
    with pytest.raises(CompressionError, match=message):
        list(parts_of(make()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_precision_goes_through_the_verbs_fed_with_plain_floats(dtype):
    model = network().to(dtype)
    whole = ImageData("noise", SPLIT, SPLIT, SPLIT)
    assert evaluate(model, SPLIT).total == 30
    assert measure(model, SPLIT, latency=False).parameters > 0
    assert sensitivity(model, whole, shares=(0.5,)).reference.total == 30
    history = train(model, whole, epochs=1, lr=1e-3, optimizer=SGD, progress=False)
    assert math.isfinite(history.loss[0])
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


# --- metrics


def test_one_logit_for_two_classes_is_read_and_learned_as_such():
    inputs, classes = drawn(40, 6) - 0.5, (drawn(40, seed=1) > 0.5).long()
    two, one = nn.Linear(6, 2), nn.Linear(6, 1)
    nn.init.normal_(two.weight, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():  # the logit of class 1 against class 0
        two.bias.zero_()
        one.weight.copy_(two.weight[1:] - two.weight[:1])
        one.bias.copy_(two.bias[1:] - two.bias[:1])
    flat = nn.Sequential(one, nn.Flatten(0))
    expected = evaluate(two, [(inputs, classes)])
    assert 0 < int(expected.predictions.sum()) < 40
    for model in (one, flat):
        found = evaluate(model, [(inputs, classes)])
        assert found == expected
        assert torch.equal(found.predictions, expected.predictions)
        losses = [cross_entropy(net, inputs, classes).item() for net in (model, two)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        train(
            copy.deepcopy(model),
            [(inputs, classes)],
            validation=[(inputs, classes)],
            epochs=1,
            progress=False,
        )
    with pytest.raises(CompressionError, match="An answer with 3 or more values was expected"):
        evaluate(one, [(inputs, classes + 1)])


def test_answers_that_are_nan_are_refused_and_not_counted_as_class_zero():
    model = network()
    model.fc2.bias.data[1] = math.nan
    for verb in (evaluate, measure):
        with pytest.raises(CompressionError, match="30 of 30 answers hold NaN; look for weights"):
            verb(model, SPLIT)


WHOLE = [torch.int8, torch.int16, torch.int32, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", WHOLE)
def test_labels_are_whole_numbers_of_any_width(dtype):
    of_two = LABELS % 2
    long, short = ([(IMAGES, of_two.to(kind))] for kind in (torch.int64, dtype))
    assert evaluate(network(), short) == evaluate(network(), long)
    assert torch.equal(evaluate(network(), short).hits, evaluate(network(), long).hits)
    for one, other in zip(*(gradient(network(), kind).values() for kind in (short, long)), strict=True):
        assert torch.equal(one, other)
    histories = [train(network(), kind, validation=kind, epochs=1, progress=False) for kind in (short, long)]
    assert histories[0] == histories[1]


NO_LABELS = {
    "none": (
        None,
        r"labels \(no tensor\).*[Gg]ive pairs \(inputs, labels\)",
        "targets that it compares|needs labels",
    ),
    "a list": ([0] * 30, "no tensor", "targets that it compares"),
    "floats": (LABELS.float(), r"\(30,\) labels \(torch.float32\)", "targets that it compares"),
    "one-hot": (functional.one_hot(LABELS, 10), r"\(30, 10\) labels \(torch.int64\)", "targets that"),
    "negative": (LABELS - 1, r"\(30,\) labels \(torch.int64, -1 to", "out of bounds"),
    "too many": (LABELS + 9, "An answer with 1[0-9] or more values", "out of bounds"),
    "too few": (LABELS[:7], r"each of \(7,\) labels", "targets that it compares"),
}


@pytest.mark.parametrize(("labels", "judged", "learned"), NO_LABELS.values(), ids=NO_LABELS)
def test_what_are_no_labels_is_refused_in_words_by_all_who_read_them(labels, judged, learned):
    batch = [(IMAGES, labels)]
    for verb, message in (
        (evaluate, judged),
        (partial(train, epochs=1, progress=False), learned),
        (gradient, learned),
        (criteria.taylor, learned),
    ):
        with pytest.raises(CompressionError, match=message) as refusal:
            verb(network(), batch)
        assert len(str(refusal.value)) <= 500


@pytest.mark.parametrize("look", [gradient, activation, criteria.taylor, criteria.mean_activation])
def test_inputs_that_a_network_cannot_read_are_refused_by_every_criterion(look):
    wide = torch.zeros(4, 1, 28, 28, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
    for batch in (wide, ({"pictures": IMAGES}, LABELS)):
        with pytest.raises(CompressionError, match=r"fails .*on inputs|Give it inputs of its form"):
            look(network(), [batch])


LOGITS, CLASSES = drawn(12, 4, 5, 6) - 0.5, (4 * drawn(12, 5, 6, seed=1)).long()
MARKED = torch.where(drawn(12, 5, 6, seed=2) < 0.2, -100, CLASSES)
FLAT = MARKED[MARKED >= 0].numpy(), LOGITS.argmax(1)[MARKED >= 0].numpy()
NUMBERS, WANTED = drawn(12, 3), drawn(12, 3, seed=1)
ROWS, LABEL = LOGITS[:, :, 0, 0], CLASSES[:, 0, 0]
RIGHT, FAR = judge.accuracy_score(LABEL, ROWS.argmax(1)), judge.mean_absolute_error(WANTED, NUMBERS)


def distance(model, inputs, targets):
    return (model(inputs) - targets).abs().mean()


BY_OTHERS = [
    (MeanSquaredError(), NUMBERS, WANTED, judge.mean_squared_error(WANTED, NUMBERS)),
    (IntersectionOverUnion(), LOGITS, MARKED, judge.jaccard_score(*FLAT, average="macro")),
    (TokenAccuracy(), LOGITS.permute(0, 2, 3, 1), MARKED, judge.accuracy_score(*FLAT)),
    (Classification(), ROWS, LABEL, RIGHT),
    (Classification(key=1), (torch.zeros(12), ROWS), LABEL, RIGHT),
    (Loss(objective=distance), NUMBERS, WANTED, FAR),
]


class Answering(nn.Module):
    """Answer with what is asked, whole or a part of a tuple."""

    def forward(self, *inputs):
        return inputs[0] if len(inputs) == 1 else inputs


@pytest.mark.parametrize(("metric", "answers", "targets", "expected"), BY_OTHERS)
@pytest.mark.parametrize("size", [5, 100])
def test_a_metric_is_what_others_compute_whatever_the_batches(metric, answers, targets, expected, size):
    whole = Batch(answers, targets)
    parts = [whole[i : i + size] for i in range(0, 12, size)]
    found = evaluate(Answering(), parts, metric=metric)
    assert found.value == pytest.approx(float(expected), rel=1e-6)
    assert isinstance(found, Accuracy if isinstance(metric, Classification) else Score)
    assert metric.name in repr(found).lower()


def test_one_logit_covers_areas_of_two_classes():
    logits, wanted = drawn(3, 1, 4, 4) - 0.5, (drawn(3, 4, 4, seed=1) > 0.5).long()
    found = evaluate(Answering(), [(logits, wanted)], metric=IntersectionOverUnion()).value
    expected = judge.jaccard_score(wanted.flatten(), (logits > 0).flatten(), average="macro")
    assert found == pytest.approx(expected)


REFUSED = [
    (MeanSquaredError(), NUMBERS, WANTED[:, 0], r"compares shape \(12, 3\) with targets of the same shape"),
    (MeanSquaredError(), NUMBERS, None, "found None; bring one to the shape"),
    (TokenAccuracy(), LOGITS, CLASSES, r"compares shape \(12, 4, 5\)"),
    (Classification(key="logits"), NUMBERS, CLASSES[:, 0, 0], r"say which part, Classification\(key=...\)"),
    (Classification(), NUMBERS, WANTED[:, 0], "for another task give its metric, such as MeanSquaredError"),
]


@pytest.mark.parametrize(("metric", "answers", "targets", "message"), REFUSED)
def test_what_a_metric_cannot_judge_is_refused_in_words(metric, answers, targets, message):
    with pytest.raises(CompressionError, match=message):
        evaluate(Answering(), [(answers, targets)], metric=metric)


# --- another task, from training to the table


def line(seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    inputs = drawn(64, 3, seed=seed)
    return [(inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5]]))]


def squares(model, inputs, targets):
    return functional.mse_loss(model(inputs), targets)


def test_a_regression_is_trained_chosen_measured_and_compared_by_its_own_figure():
    torch.manual_seed(0)
    start = nn.Linear(3, 1)
    for metric, expected in ((None, "loss"), (MeanSquaredError(), "mean squared error")):
        model = copy.deepcopy(start)
        how = {"epochs": 60, "lr": 0.1, "objective": squares, "metric": metric, "progress": False}
        history = train(model, line(), validation=line(1), **how)
        assert history.metric.name == expected
        assert history.validation_loss == history.validation
        assert history.validation[-1] < history.validation[0] / 100
        assert f"validation {expected} " in repr(history)
        best = evaluate(model, line(1), metric=MeanSquaredError())
        assert best.value == pytest.approx(min(history.validation), rel=1e-4)
    reports = [measure(net, line(2), metric=MeanSquaredError(), latency=False) for net in (start, model)]
    table = compare(*reports)
    assert "mean squared error" in repr(table).splitlines()[1]
    assert "mean squared error" in repr(reports[0])
    assert "mean squared error" in table._repr_html_()
    assert reports[0].to_dict()["metric"] == "mean squared error"
    scan = sensitivity(model, line(2), shares=(0.5, 1.0), metric=MeanSquaredError())
    assert scan.reference == reports[1].accuracy
    assert scan.accuracies[""][0].value > scan.reference.value
    assert "mean squared error on 64 validation examples of list" in repr(scan)
    with pytest.raises(CompressionError, match="its mean squared error was measured"):
        _ = reports[0].answers
    with pytest.raises(CompressionError, match="measured on other images"):
        compare(reports[0], measure(network(), SPLIT, latency=False))


def test_only_a_data_set_that_says_so_is_augmented_unasked():
    digits = data.digits()
    few = replace(digits, train=digits.train[:40], validation=digits.validation[:20])
    plain = replace(few, augmentation=None)

    def learned(data, **how):
        model = models.lenet_300_100(6, 5)
        train(model, data, epochs=1, progress=False, **how)
        return model

    assert same(learned(few), learned(plain, augment=True))
    assert same(learned(few, augment=False), learned(plain))
    assert same(learned(few.train), learned(plain.train, augment=False))
    assert not same(learned(few), learned(plain))


# --- a run that is cut short


def test_gradients_are_clipped_to_a_common_length():
    model, twin = network(), network()
    loss = functional.cross_entropy(twin(IMAGES), LABELS)
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    length = torch.cat([g.flatten() for g in gradients]).norm().item()
    train(model, [(IMAGES, LABELS)], epochs=1, lr=1.0, optimizer=SGD, clip=length / 10, progress=False)
    for found, start, slope in zip(model.parameters(), twin.parameters(), gradients, strict=True):
        torch.testing.assert_close(found, start - slope / 10, rtol=1e-4, atol=1e-6)  # torch adds 1e-6


def test_training_ends_when_nothing_gets_better_or_the_callback_says_so():
    seen = []
    history = train(network(), PAIRS, validation=PAIRS, epochs=50, lr=1.0, patience=3, progress=False)
    assert len(history.loss) == history.kept + 3 < 50
    done = train(network(), PAIRS, epochs=9, after_epoch=lambda h: seen.append(h) or len(seen) == 2)
    assert [len(h.loss) for h in seen] == [1, 2]
    assert isinstance(seen[0], History)
    assert done == seen[1]


class Stop(Exception):  # noqa: N818
    """What a person does who stops a run."""


@pytest.mark.parametrize("data", [ImageData("noise", SPLIT, SPLIT[:9], SPLIT), PAIRS], ids=["split", "pairs"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(data, tmp_path):
    how = {"epochs": 6, "batch_size": 10, "lr": 0.02, "progress": False}
    if data is PAIRS:
        how["validation"] = PAIRS[:2]
    whole, halves, file = network(), network(), tmp_path / "run.pt"
    history = train(whole, data, **how)

    def stop(seen):
        if len(seen.loss) == 3:
            raise Stop

    with pytest.raises(Stop):
        train(halves, data, resume=file, after_epoch=stop, **how)
    fresh = network(seed=5)  # another process starts from any weights
    assert train(fresh, data, resume=file, **how) == history
    assert same(fresh, whole)
    assert train(network(seed=6), data, resume=file, **how) == history  # a run that is over stays over
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    with pytest.raises(CompressionError, match=r"has epochs, batch size, lr and steps .*; ask for the same"):
        train(network(), data, resume=file, **(how | {"lr": 0.01}))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CompressionError, match=r"holds no state of this run: .* delete it to begin anew"):
        train(network(), data, resume=file, **how)
    with pytest.raises(CompressionError, match=r"cannot be written to .*nowhere"):
        train(network(), data, resume=tmp_path / "nowhere" / "run.pt", **how)
