"""Learning from a teacher: losses equal those written out, limits hold, and the teacher stays."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from compresslab.errors import CompressionError
from compresslab.models.inputs import call
from compresslab.pruning.criteria import magnitude
from compresslab.pruning.weights import hold_zeros, prune_weights
from compresslab.quantization.quantizing import fake_quantize, quantize
from compresslab.quantization.schemes import Ternary
from compresslab.training.batching import Batch, ImageData, Split
from compresslab.training.distilling import distill
from compresslab.training.features import Features
from compresslab.training.loop import train
from compresslab.training.metrics import Classification, IntersectionOverUnion, MeanSquaredError
from compresslab.training.penalties import L2
from compresslab.training.targets import LabelSmoothing, SoftTargets
from tests.samples import network, same

SGD = torch.optim.SGD


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


IMAGES, LABELS = drawn(24, 1, 28, 28).sigmoid(), torch.arange(24) % 3
SPLIT = Split(IMAGES, LABELS)
DATA = ImageData("noise", SPLIT, SPLIT[:12], SPLIT[12:])
PAIRS = [(IMAGES[:16], LABELS[:16]), (IMAGES[16:], LABELS[16:])]
ONCE = {"epochs": 1, "batch_size": 24, "optimizer": SGD, "augment": False, "progress": False, "lr": 0.1}

logits = st.tuples(st.integers(1, 5), st.integers(2, 7), st.integers(0, 10**6)).map(
    lambda sizes: (4 * drawn(*sizes[:2], seed=sizes[2]), 4 * drawn(*sizes[:2], seed=sizes[2] + 1))
)
temperatures = st.floats(0.5, 50)


def teacher() -> nn.Module:
    """Another network of the same task, surer than a fresh one, in a mode of its own."""
    model = network("article", seed=5).train()
    model.fc2.weight.data.mul_(20)
    return model


def silent(model, inputs, targets):
    """Ask the model, and want nothing of it."""
    return 0 * model(inputs).sum()


# --- soft targets


@settings(deadline=None)
@given(logits, temperatures)
def test_the_loss_is_the_divergence_written_out(pair, temperature):
    student, taught = pair
    mine, theirs = (log_softmax(one.double().numpy() / temperature, axis=1) for one in pair)
    expected = temperature**2 * (np.exp(theirs) * (theirs - mine)).sum(1).mean()
    soft = SoftTargets(temperature)
    # the terms are differences of float32 logarithms, each of at most about 30 / T, times T^2
    assert soft.of(student, taught).item() == pytest.approx(expected, rel=1e-4, abs=1e-5 * temperature)
    torchs = functional.kl_div(
        functional.log_softmax(student / temperature, 1), functional.softmax(taught / temperature, 1),
        reduction="batchmean",
    )  # fmt: skip
    assert soft.of(student, taught).item() == pytest.approx(
        temperature**2 * torchs.item(), rel=1e-4, abs=1e-5 * temperature**2
    )
    assert soft.soften(taught).sum(1) == pytest.approx(1, abs=1e-5)


@settings(deadline=None)
@given(logits, temperatures)
def test_the_gradient_is_that_of_the_papers_and_zero_where_both_agree(pair, temperature):
    """T^2 * d KL / d z = T * (student's probabilities - teacher's) / examples: equation 2."""
    student, taught = pair[0].double().requires_grad_(), pair[1].double().requires_grad_()
    soft = SoftTargets(temperature)
    soft.of(student, taught).backward()
    expected = temperature * (soft.soften(pair[0].double()) - soft.soften(pair[1].double())) / len(taught)
    torch.testing.assert_close(student.grad, expected, rtol=1e-9, atol=1e-9)
    assert taught.grad is None
    student.grad = None
    soft.of(student, student.detach().clone()).backward()
    # probabilities sum to one up to some roundings of 1e-16
    assert student.grad.abs().max() <= 1e-14 * temperature


@settings(deadline=None)
@given(logits)
def test_far_up_the_gradient_is_that_of_matching_centred_logits_and_does_not_depend_on_the_temperature(pair):
    """Equation 4: for T far above the logits, (centred student - centred teacher) / (examples * classes)."""
    centred = [one.double() - one.double().mean(1, keepdim=True) for one in pair]
    limit = (centred[0] - centred[1]) / pair[0].numel()
    largest = max(float(one.abs().max()) for one in centred)
    for temperature in (1e3, 1e5):
        student = pair[0].double().requires_grad_()
        SoftTargets(temperature).of(student, pair[1].double()).backward()
        # the next term of exp(z / T) is z^2 / 2 T, of which there are a few
        assert (student.grad - limit).abs().max() <= 4 * largest**2 / temperature + 1e-9


def test_the_mix_weighs_both_and_any_axis_holds_the_classes():
    soft = SoftTargets(2.0, weight=0.25)
    assert soft.mixed(torch.tensor(8.0), torch.tensor(4.0)).item() == 0.25 * 8 + 0.75 * 4
    maps, taught = drawn(2, 5, 3, 4), drawn(2, 5, 3, 4, seed=1)
    flat = [one.movedim(1, -1).reshape(-1, 5) for one in (maps, taught)]
    torch.testing.assert_close(soft.of(maps, taught), soft.of(*flat))  # a mean over all places
    last = SoftTargets(2.0, axis=-1)
    torch.testing.assert_close(last.of(maps.movedim(1, -1), taught.movedim(1, -1)), soft.of(maps, taught))


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_one_logit_is_that_of_class_1_of_two(shape):
    one, two = drawn(*shape), 3 * drawn(*shape, seed=1)
    both = [torch.stack([torch.zeros(6), each.flatten()], 1) for each in (one, two)]
    torch.testing.assert_close(SoftTargets(3.0).of(one, two), SoftTargets(3.0).of(*both))
    assert SoftTargets(3.0).of(one, two) > 0
    smooth, labels = LabelSmoothing(0.2), torch.arange(6) % 2
    torch.testing.assert_close(
        smooth(lambda _: one, IMAGES, labels), functional.cross_entropy(both[0], labels, label_smoothing=0.2)
    )


@given(logits, st.floats(0, 1))
@settings(deadline=None)
def test_label_smoothing_is_torchs(pair, share):
    labels = torch.arange(len(pair[0])) % pair[0].shape[1]
    expected = functional.cross_entropy(pair[0], labels, label_smoothing=share)
    torch.testing.assert_close(LabelSmoothing(share)(lambda _: pair[0], IMAGES, labels), expected)


# --- the verb


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_one_step_is_the_textbooks(weight):
    student, twin, master = network("lenet_300_100"), network("lenet_300_100"), teacher()
    said = master.eval()(IMAGES).detach()
    soft = functional.kl_div(
        functional.log_softmax(twin(IMAGES) / 3, 1), functional.softmax(said / 3, 1), reduction="batchmean"
    )
    loss = weight * 9 * soft + (1 - weight) * functional.cross_entropy(twin(IMAGES), LABELS)
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    history = distill(student, master.train(), DATA, temperature=3, weight=weight, **ONCE)
    for found, start, gradient in zip(student.parameters(), twin.parameters(), gradients, strict=True):
        # the batch is shuffled: sums over 24 images in another order
        torch.testing.assert_close(found, start - 0.1 * gradient, rtol=1e-5, atol=1e-6)
    assert history.loss[0] == pytest.approx(loss.item(), rel=1e-5)
    assert not student.training


@pytest.mark.parametrize("how", [{}, {"features": Features({"fc1": "fc1", "conv1": "conv2"})}])
def test_the_teacher_stays_as_it_was_bit_for_bit(how):
    master = network("residual", seed=1).train()  # its norms would move
    master.blocks[0].eval()
    master.fc1.requires_grad_(False)
    master.add_module("noise", nn.Dropout(0.5))  # and this one would draw
    before, modes = copy.deepcopy(master), [module.training for module in master.modules()]
    student, found = network("residual"), how and {"features": Features({"fc1": "fc1", "conv1": "conv1"})}
    distill(student, master, DATA, epochs=2, progress=False, **found)
    assert same(master, before)
    assert [module.training for module in master.modules()] == modes
    assert all(parameter.grad is None for parameter in master.parameters())
    assert [parameter.requires_grad for parameter in master.parameters()] == [
        parameter.requires_grad for parameter in before.parameters()
    ]
    assert not any(module._forward_hooks for net in (master, student) for module in net.modules())


def test_without_weight_it_is_train_and_chance_is_left_alone():
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=8, shuffle=True)
    for data in (DATA, PAIRS, loader):
        student, twin = network(), network()
        torch.manual_seed(3)
        train(twin, data, epochs=2, progress=False)
        after = torch.get_rng_state()
        torch.manual_seed(3)
        history = distill(student, teacher(), data, epochs=2, weight=0.0, progress=False)
        assert same(student, twin)
        assert torch.equal(torch.get_rng_state(), after)
        assert isinstance(history.metric, Classification)


def test_a_student_comes_nearer_to_its_teacher_and_labels_are_not_needed():
    master, student = teacher().eval(), network("lenet_300_100")
    agreed = lambda: int((student(IMAGES).argmax(1) == master(IMAGES).argmax(1)).sum())  # noqa: E731
    before = agreed()
    distill(
        student, master, [IMAGES[:16], Batch(IMAGES[16:])], weight=1.0, epochs=60, lr=0.05, progress=False
    )
    assert before < 20
    assert agreed() >= 22
    twin = network("lenet_300_100")
    wrong = [(images, labels.flip(0)) for images, labels in PAIRS]  # nobody looks at them
    distill(twin, master, wrong, weight=1.0, epochs=60, lr=0.05, progress=False)
    assert same(student, twin)


def test_every_kind_of_data_teaches_alike():
    kinds = [
        PAIRS, tuple(PAIRS), iter(PAIRS), DataLoader(TensorDataset(IMAGES, LABELS), batch_size=16),
        [Batch(*pair) for pair in PAIRS], [SPLIT[:16], SPLIT[16:]],
    ]  # fmt: skip
    found = [network() for _ in kinds]
    for student, kind in zip(found, kinds, strict=True):
        distill(student, teacher(), kind, epochs=2, progress=False)
    assert all(same(found[0], student) for student in found)


class Pictures(nn.Module):
    """A network behind several inputs, with several answers."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.inner = network(seed=seed)

    def forward(self, images, scale=None, *, shift=0.0):
        logits = self.inner(images if scale is None else images * scale) + shift
        return {"logits": logits, "note": "unread"}


def of_logits(model, inputs, targets):
    return functional.cross_entropy(call(model, inputs)["logits"], targets)


def test_several_inputs_and_answers_with_parts():
    scale, master = torch.full((24, 1, 1, 1), 0.5), Pictures(seed=1)
    plain, ordered, named = network(), Pictures(), Pictures()
    distill(plain, master.inner, [(IMAGES * 0.5, LABELS)], epochs=3, progress=False)
    how = {"key": "logits", "objective": of_logits, "epochs": 3, "progress": False}
    distill(ordered, master, [((IMAGES, scale), LABELS)], **how)
    distill(named, master, [({"images": IMAGES, "scale": scale}, LABELS)], **how)
    assert same(ordered.inner, plain)
    assert same(named.inner, plain)


def test_an_objective_that_asks_twice_is_compared_by_its_first_answer():
    def twice(model, inputs, targets):
        loss = functional.cross_entropy(model(inputs), targets)
        return loss + 0 * model(inputs.flip(0)).sum()

    student, twin = network(), network()
    distill(student, teacher(), PAIRS, epochs=2, objective=twice, metric=Classification(), progress=False)
    distill(twin, teacher(), PAIRS, epochs=2, progress=False)
    for found, expected in zip(student.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_areas_are_taught_on_their_axis():
    torch.manual_seed(0)
    student, master = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(1, 3, 3, padding=1)
    with torch.no_grad():
        master.weight.mul_(5)
        master.bias.sub_(master(IMAGES).mean((0, 2, 3)))  # so that it names every class somewhere
    pixels = [(IMAGES, master(IMAGES).argmax(1))]
    agreed = lambda: (student(IMAGES).argmax(1) == pixels[0][1]).float().mean()  # noqa: E731
    before = agreed()
    distill(student, master, pixels, epochs=150, lr=0.1, metric=IntersectionOverUnion(), progress=False)
    assert 1 - agreed() < (1 - before) / 4


def test_numbers_are_taught_by_matching_the_answers_themselves():
    student, master = nn.Linear(4, 2), nn.Linear(4, 2)
    how = {"weight": 0.0, "objective": silent, "metric": MeanSquaredError()}
    distill(
        student,
        master,
        [drawn(50, 4)],
        epochs=300,
        lr=0.05,
        features=Features({"": ""}),
        progress=False,
        **how,
    )
    torch.testing.assert_close(student.weight, master.weight, rtol=0, atol=1e-2)


# --- students of every kind


def test_a_ternary_student_freezes_to_what_it_answered():
    student = fake_quantize(network(), Ternary())
    start = copy.deepcopy(student)
    distill(student, teacher(), DATA, epochs=2, progress=False)
    frozen = quantize(student)
    assert torch.equal(frozen(IMAGES), student(IMAGES))
    assert not torch.equal(start(IMAGES), student(IMAGES))
    assert len(frozen.fc1.quantized.codes.unique()) <= 3


@pytest.mark.parametrize("features", [None, Features({"fc1": "fc1"})])
def test_held_zeros_stay_and_a_penalty_sees_the_student_alone(features):
    student, seen = prune_weights(network("lenet5"), magnitude, 0.5), []
    zeros = {name: parameter == 0 for name, parameter in student.named_parameters()}

    def watched(model):
        seen.append({name for name, _ in model.named_parameters()})
        return L2(0.1)(model)

    how = {"after_step": hold_zeros(student), "penalty": watched, "features": features}
    distill(student, network("lenet_300_100", seed=1), DATA, epochs=2, progress=False, **how)
    for name, parameter in student.named_parameters():
        assert not parameter[zeros[name]].any()
    assert seen
    assert all(names == set(zeros) for names in seen)


# --- features


def test_matched_layers_cost_their_mean_squared_error_through_a_map_that_learns():
    """One step of plain descent, the map drawn as the package draws it, against autograd on the formula."""
    student, twin, master = network("lenet5"), network("lenet5"), network("lenet_300_100", seed=1)
    heard = {}
    for name, net in (("own", twin), ("theirs", master)):
        net.fc1.register_forward_hook(lambda *said, name=name: heard.update({name: said[-1]}))
    answers = twin(IMAGES), master(IMAGES)
    matched = Features({"fc1": "fc1"}, strength=0.5)
    (line,) = matched.maps({"fc1": heard["own"]}, {"fc1": heard["theirs"]}, seed=0)
    assert (line.in_features, line.out_features) == (5, 6)
    assert 0 < line.weight.abs().max() <= 5**-0.5
    error = (heard["own"] @ line.weight.T + line.bias - heard["theirs"].detach()).square().mean()
    loss = functional.cross_entropy(answers[0], LABELS) + 0.5 * error
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    distill(student, master, DATA, weight=0.0, features=matched, **ONCE)
    for found, start, gradient in zip(student.parameters(), twin.parameters(), gradients, strict=True):
        torch.testing.assert_close(found, start - 0.1 * gradient, rtol=1e-4, atol=1e-6)
    assert list(student.state_dict()) == list(twin.state_dict())  # nothing of the map is left


def test_a_map_learns_a_wider_teacher_along_channels_and_equal_widths_need_none():
    student, master = nn.Sequential(nn.Conv2d(1, 2, 3)), nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 5, 1))
    how = {"weight": 0.0, "objective": silent, "epochs": 150, "lr": 0.05}
    history = distill(
        student,
        master,
        [IMAGES],
        features=Features({"0": "1"}),
        metric=MeanSquaredError(),
        progress=False,
        **how,
    )
    assert history.loss[-1] < history.loss[0] / 50  # five channels of a teacher are two behind a linear map
    answers = {"a": drawn(2, 3, 4, 4)}
    assert not list(Features({"a": "a"}).maps(answers, answers, 0).parameters())
    moved = Features({"a": "b"}, axis=-1).maps({"a": drawn(2, 7, 3)}, {"b": drawn(2, 7, 4)}, 0)
    assert moved[0](drawn(2, 7, 3)).shape == (2, 7, 4)


def test_a_layer_that_is_changed_in_place_is_matched_as_it_answered():
    def chain():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))

    student, master = chain(), chain()
    master[0].bias.data.sub_(10)  # behind the ReLU nothing would be left of it
    how = {"weight": 0.0, "objective": silent, "metric": MeanSquaredError()}
    history = distill(
        student, master, [drawn(8, 4)], features=Features({"0": "0"}), epochs=1, progress=False, **how
    )
    assert history.loss[0] == pytest.approx(100, rel=1e-5)


def test_a_run_with_maps_goes_on_to_the_same_bits(tmp_path):
    how = {"epochs": 4, "features": Features({"fc1": "fc1"}), "progress": False}
    whole, halves = network("lenet5"), network("lenet5")
    master = network("lenet_300_100", seed=1)
    distill(whole, master, DATA, **how)
    stop = {"after_epoch": lambda history: len(history.loss) == 2, "resume": tmp_path / "run"}
    distill(halves, master, DATA, **how, **stop)
    assert not same(whole, halves)
    again = network("lenet5")
    distill(again, master, DATA, **how, resume=tmp_path / "run")
    assert same(whole, again)


def test_the_seed_decides_the_maps_too():
    def run(seed, world):
        torch.manual_seed(world)
        student = network("lenet5")
        features = Features({"fc1": "fc1"})
        distill(
            student,
            network("lenet_300_100", seed=1),
            DATA,
            epochs=1,
            features=features,
            seed=seed,
            progress=False,
        )
        return student

    assert same(run(1, 10), run(1, 20))
    assert not same(run(1, 10), run(2, 10))


# --- refusals


def ask(student=None, master=None, data=DATA, **how):
    student = network() if student is None else student
    master = teacher() if master is None else master
    return lambda: distill(student, master, data, **{"epochs": 1, "progress": False, **how})


class Shy(nn.Module):
    """A network with a layer that never runs, and one that answers with two tensors."""

    def __init__(self):
        super().__init__()
        self.inner, self.unused, self.memory = network(), nn.Linear(1, 1), nn.GRU(28, 4)

    def forward(self, images):
        self.memory(images[:, 0])
        return self.inner(images)


ONE = network()
WRAPPED = nn.Sequential(ONE)
REFUSED = [
    *[
        (lambda t=t: SoftTargets(t), "at the temperature .* above zero")
        for t in (0, 0.0, -1.0, math.inf, math.nan, None, "4")
    ],
    *[
        (lambda w=w: SoftTargets(4.0, w), "the weight of soft targets")
        for w in (-0.1, 1.1, 1, None, math.nan)
    ],
    *[(lambda s=s: LabelSmoothing(s), "the share of label smoothing") for s in (-0.1, 1.1, 1, None)],
    *[
        (lambda s=s: Features({"a": "b"}, s), "at the strength .* above zero")
        for s in (0.0, -1.0, math.inf, math.nan, "1")
    ],
    *[(lambda names=names: Features(names), "give a mapping") for names in ({}, "fc1", ["fc1"], None)],
    (
        lambda: SoftTargets().of(drawn(2, 3), drawn(2, 4)),
        r"in shape \(2, 3\), its teacher in \(2, 4\).*same classes",
    ),
    (lambda: SoftTargets(axis=2).of(drawn(2, 3), drawn(2, 3)), "on axis 2; .*an axis they have"),
    (lambda: distill(network(), None, DATA), "cannot learn from None; give a trained .* or use train"),
    (lambda: distill(network(), network, DATA), "cannot learn from <function"),
    (ask(ONE, ONE), "share .* the teacher would change, too; give a copy"),
    (ask(ONE, WRAPPED), "share .* modules or tensors"),
    (ask(WRAPPED, ONE), "share .* modules or tensors"),
    (ask(temperature=0), "above zero"),
    (ask(weight=2.0), "the weight of soft targets"),
    (ask(master=nn.Sequential(network(), nn.Linear(3, 4))), r"in shape \(1, 3\), its teacher in \(1, 4\)"),
    (ask(master=nn.Linear(3, 3)), "Linear fails on inputs of shape"),
    (ask(master=Pictures()), "'All' of the teacher answers with .*key="),
    (ask(master=Pictures(), key="loss"), "'All' of the teacher answers with .*key="),
    (ask(data=[IMAGES]), "a batch has inputs alone; give weight=1.0"),
    (ask(data=[]), "without examples"),
    (ask(network().requires_grad_(False)), "without a trainable weight"),
    (ask(nn.Linear), "The class Linear was given"),
    (ask(features=Features({"fc9": "fc1"})), "no layer of the student 'fc9'; there are"),
    (ask(features=Features({"fc1": "fc9"})), "no layer of the teacher 'fc9'; there are"),
    (
        ask(features=Features({"conv1": "fc1"})),
        "conv1.* answers in shape .*match layers whose other axes agree",
    ),
    (ask(features=Features({"conv1": "conv2"})), "axis 1 alone"),
    (ask(master=network("lenet_300_100"), features=Features({"fc1": "fc1"}, axis=5)), "axis 5 alone"),
    (ask(Shy(), features=Features({"unused": "fc1"})), "'unused' of the student did not run"),
    (
        ask(master=Shy(), features=Features({"fc1": "memory"})),
        "'memory' of the teacher answers with .*one tensor",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_cannot_be_is_refused_in_words(call, message):
    with pytest.raises(CompressionError, match=message):
        call()


def test_what_is_refused_leaves_the_student_and_no_hooks():
    student, master = network("residual").train(), network("residual", seed=1)
    before, modes = copy.deepcopy(student), [module.training for module in student.modules()]
    for features in ({"conv1": "blocks.2.conv1"}, {"conv1": "conv9"}):
        with pytest.raises(CompressionError):
            distill(student, master, DATA, features=Features(features), epochs=1)
    assert same(student, before)
    assert [module.training for module in student.modules()] == modes
    assert not any(module._forward_hooks for net in (master, student) for module in net.modules())


def test_values_are_values():
    assert SoftTargets(4.0) == SoftTargets(4)
    assert hash(SoftTargets(4.0)) == hash(SoftTargets(4))
    layers = {"fc1": "fc1"}
    one, two = Features(layers), Features(dict(layers))
    assert one == two
    assert hash(one) == hash(two)
    layers["fc1"] = "other"
    assert one.layers == {"fc1": "fc1"}
    with pytest.raises(AttributeError):
        one.strength = 2.0
    assert LabelSmoothing() == LabelSmoothing(0.1)
