"""The estimate of a code's length: near the entropy of what drew the codes, with the slope that it has."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import compresslab as cl
from compresslab import models
from compresslab.coding.mixing import mix
from compresslab.quantization import CodeLength, EighthSteps, Lengths, train_codes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(shape: tuple[int, ...], share: torch.Tensor, ratio: float, seed: int) -> torch.Tensor:
    """Draw codes: nonzero with the probability ``share``, signs by a coin, magnitudes geometric."""
    rng = generator(seed)
    here = torch.rand(shape, generator=rng, dtype=torch.float64) < share
    sign = torch.randint(2, shape, generator=rng) * 2 - 1
    size = 1 + torch.floor(torch.log(torch.rand(shape, generator=rng, dtype=torch.float64)) / math.log(ratio))
    return (here * sign * size).float()


def entropy(share: torch.Tensor, ratio: float) -> float:
    """Bits of one draw, all of them together, from the definition."""
    decision = -(share * share.log2() + (1 - share) * (1 - share).log2())
    size = -math.log2(1 - ratio) - ratio / (1 - ratio) * math.log2(ratio)
    return float((decision + share * (1 + size)).sum())


@pytest.mark.parametrize("shape", [(40, 60), (16, 128), (12, 6, 5, 5)])
@pytest.mark.parametrize(("density", "ratio"), [(0.1, 0.2), (0.3, 0.4), (0.5, 0.6)])
def test_the_coder_writes_what_was_estimated_and_what_it_costs_to_learn_the_densities(shape, density, ratio):
    """The estimate knows the counts of rows and columns; a coder pays log2(n) / 2 bits for each."""
    columns = (1, *shape[1:])
    logits = math.log(density / (1 - density)) + torch.randn(columns, generator=generator(3))
    codes = drawn(shape, torch.sigmoid(logits.double()), ratio, 4)
    down, across = codes.flatten(1).shape
    learned = (down * math.log2(across) + across * math.log2(down)) / 2
    written = 8 * len(mix([codes.int().numpy()]).data)
    assert 0 < written - length(codes) < learned + 0.02 * length(codes)


def length(codes: torch.Tensor) -> float:
    return float(Lengths.of(codes).bits(codes))


@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.7])
@pytest.mark.parametrize("density", [0.05, 0.2, 0.4])
def test_the_estimate_is_near_the_entropy_of_what_drew_the_codes(density, ratio):
    """Rows and columns of their own density; counts of 40 and of 60 draws stand for the probabilities."""
    rows = torch.randn(40, 1, generator=generator(1), dtype=torch.float64)
    columns = torch.randn(1, 60, generator=generator(2), dtype=torch.float64)
    share = torch.sigmoid(math.log(density / (1 - density)) + rows + columns)
    lengths = [length(drawn((40, 60), share, ratio, seed)) for seed in range(20)]
    # 102 fitted numbers save about half a nat each of the draws they were fitted to, and smoothing costs some
    fitted = 102 / 2 / math.log(2)
    mean = sum(lengths) / len(lengths)
    assert abs(mean - entropy(share, ratio)) <= fitted + 0.02 * entropy(share, ratio)


def test_one_density_for_all_is_half_a_bit_of_structure_away_from_the_plain_count():
    """Of a vector all codes share one density: the length is that of three counts, to the letter."""
    codes = torch.tensor([0.0, 0.0, 3.0, -1.0, 0.0, 1.0, 0.0, -2.0])
    share, ratio = (
        Fraction(9, 2) / 9,
        1 - Fraction(5, 8),
    )  # (4 + 1/2) of 8 + 1; 1 by the mean (7 + 1) of (4 + 1)
    by_hand = -8 * math.log2(share) + 4 - 4 * math.log2(1 - ratio) - 3 * math.log2(ratio)
    assert length(codes) == pytest.approx(by_hand, rel=1e-6)


def test_a_structure_of_rows_makes_codes_shorter():
    """As many nonzero codes, in one row or over all: a coder that looks at rows needs less for the first."""
    gathered, scattered = torch.zeros(16, 64), torch.zeros(16, 64)
    gathered[3] = 1
    scattered.view(-1)[torch.randperm(1024, generator=generator())[:64]] = 1
    assert length(gathered) < 0.5 * length(scattered)


@given(st.integers(0, 2**31), st.sampled_from([(7,), (3, 5), (4, 3, 2, 2)]), st.floats(0.01, 0.9))
def test_the_gradient_is_the_slope_of_the_length_at_fixed_counts(seed, shape, density):
    """Finite differences of the straight lines between whole codes; their corners are left out."""
    rng = generator(seed)
    codes = drawn(shape, torch.tensor(density), 0.5, seed % 1000)
    steps = (codes + torch.rand(shape, generator=rng) * 0.9 - 0.45).double()
    corner = ((steps.abs() - 1).abs() < 0.01) | (steps.abs() < 0.01)
    steps = torch.where(corner, steps + 0.05, steps).requires_grad_()
    lengths = Lengths.of(codes)
    (found,) = torch.autograd.grad(lengths.bits(steps), steps)
    assert (found * steps >= 0).all()
    for place in range(min(steps.numel(), 6)):
        moved = torch.zeros(steps.numel(), dtype=torch.float64)
        moved[place] = 1e-3
        up, down = (lengths.bits(steps.detach() + side * moved.view(shape)) for side in (1, -1))
        # float32 tables and sums of some hundred bits, divided by 2e-3
        assert found.flatten()[place].item() == pytest.approx(float(up - down) / 2e-3, abs=2e-2)


@given(st.integers(0, 999), st.floats(0, 1))
def test_between_whole_codes_the_length_is_a_straight_line(seed, part):
    codes = drawn((3, 5), torch.tensor(0.6), 0.6, seed)
    further = codes + torch.where(codes < 0, -1.0, 1.0)
    lengths = Lengths.of(codes)
    ends = [lengths.bits(one).item() for one in (codes, further)]
    middle = lengths.bits(codes + part * (further - codes)).item()
    assert middle == pytest.approx((1 - part) * ends[0] + part * ends[1], rel=1e-5)


@given(st.integers(0, 999), st.floats(0.02, 0.98))
def test_a_code_that_is_not_zero_never_costs_less_than_zero(seed, density):
    codes = drawn((6, 9), torch.tensor(density), 0.5, seed)
    found = Lengths.of(codes)
    assert (found.pull >= 0.3 - 1e-6).all()
    assert (found.nonzero > 1).all()
    assert found.further > 0


@pytest.mark.parametrize(
    "codes", [torch.zeros(4, 5), torch.ones(4, 5), torch.full((3,), 127.0), torch.zeros(1)]
)
def test_extremes_have_a_finite_length(codes):
    assert 0 <= length(codes) < 15 * codes.numel()


# --- the penalty


def test_the_penalty_is_the_sum_over_all_tensors_biases_too():
    net = train_codes(models.lenet5(3, 4, 5))
    codes = {name: t.codes.float() for name, t in frozen(net).items()}
    assert len(codes) == 8
    whole = CodeLength(1.0).bits(net).item()
    assert whole == pytest.approx(sum(map(length, codes.values())), rel=1e-6)
    assert CodeLength(0.25)(net).item() == pytest.approx(whole / 4)


def frozen(net: nn.Module) -> dict:
    held = {name: part for name, part in net.named_modules() if isinstance(part, EighthSteps)}
    return {
        name: part.freeze(net.get_parameter(f"{name.rpartition('.')[0]}.original"))
        for name, part in held.items()
    }


def test_the_penalty_makes_codes_shorter_and_steps_coarser():
    net = train_codes(models.lenet_300_100(12, 8))
    before = CodeLength(1.0).bits(net).item()
    steps = [part.length.item() for part in net.modules() if isinstance(part, EighthSteps)]
    images = [(torch.rand(16, 1, 28, 28, generator=generator()), torch.arange(16) % 10)] * 60
    cl.train(net, images, epochs=1, lr=0.01, penalty=CodeLength(1e-2), progress=False)
    after = [part.length.item() for part in net.modules() if isinstance(part, EighthSteps)]
    assert CodeLength(1.0).bits(net).item() < 0.3 * before
    assert sum(a > b for a, b in zip(after, steps, strict=True)) >= 3


@pytest.mark.parametrize("strength", [-1e-6, math.inf, math.nan])
def test_an_impossible_price_is_refused(strength):
    with pytest.raises(cl.CompressionError, match=r"A bit was given the price .*; give 0 or more"):
        CodeLength(strength)


def test_a_network_without_codes_is_refused():
    with pytest.raises(cl.CompressionError, match=r"without any; train what train_codes\(model\) gives"):
        CodeLength(1e-6)(models.lenet5(3, 4, 5))


def test_where_all_rows_and_columns_are_alike_the_share_is_that_of_all():
    """Half of every row and column: a decision is one bit, a sign one; magnitudes of 1 are taken for 95 %."""
    codes = torch.tensor([[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 1.0]] * 2)
    assert length(codes) == pytest.approx(16 + 8 * (1 - math.log2(0.95)), rel=1e-6)


@pytest.mark.parametrize("size", [(1000, 10), (10_000,)])
def test_what_is_everywhere_or_nowhere_still_costs_a_little(size):
    """A share counts as 0.3 % at least and as 95 % at most: codes of one kind are not free."""
    full, empty = torch.ones(size), torch.zeros(size)
    assert length(full) == pytest.approx(10_000 * (1 - 2 * math.log2(0.95)), rel=1e-5)
    assert length(empty) == pytest.approx(-10_000 * math.log2(1 - 0.003), rel=1e-3)
