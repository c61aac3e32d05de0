"""Every verb where there is a GPU: the same result as on the processor, and the argument stays where it was.

The tables of verbs are those of test_verbs.py. The two devices add in another order, so a float may differ
by rounding: each sum here has at most a few hundred terms of about 1, and 1e-4 of the largest value allows
ten times the float32 rounding of such a sum (about 500 * 6e-8 = 3e-5 for what passes several layers once).
Codes are integers: a weight that lies on the border of two levels may take either, so one in a thousand may
differ, by one step.
"""

import pytest
import torch
from samples import SMALL
from test_verbs import LOOKS, VERBS, marked
from torch import nn

RELATIVE = 1e-4
CODES_APART = 1e-3

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]


def alike(found: torch.Tensor, expected: torch.Tensor) -> None:
    found, expected = found.detach().cpu(), expected.detach().cpu()
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if not expected.numel():
        return
    if expected.is_floating_point():
        size = float(expected.abs().max()) or 1.0
        assert float((found - expected).abs().max()) <= RELATIVE * size
    else:
        apart = (found.to(torch.int64) - expected.to(torch.int64)).abs()
        assert int(apart.max()) <= 1
        assert int((apart > 0).sum()) <= max(1, CODES_APART * apart.numel())


def compared(found, expected) -> None:
    if isinstance(expected, nn.Module):
        assert {t.device.type for t in (*found.parameters(), *found.buffers())} <= {"cuda"}
        found, expected = found.state_dict(), expected.state_dict()
    if isinstance(expected, torch.Tensor):
        alike(found, expected)
    elif hasattr(expected, "keys"):
        assert list(found.keys()) == list(expected.keys())
        for key in expected:
            compared(found[key], expected[key])


@pytest.mark.parametrize("verb", VERBS | LOOKS)
@pytest.mark.parametrize("name", SMALL)
def test_a_verb_says_the_same_on_the_device(verb, name):
    call = (VERBS | LOOKS)[verb].call
    here, there = marked(name, (VERBS | LOOKS)[verb]), marked(name, (VERBS | LOOKS)[verb]).cuda()
    expected, found = call(here), call(there)
    assert {t.device.type for t in (*there.parameters(), *there.buffers())} == {"cuda"}
    compared(found, expected)
