"""The law of cutting: the cut network equals the one in which every reader ignores what is cut."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compresslab.graph import graph_of
from compresslab.surgery import cut
from tests.drawn import networks
from tests.ignoring import answers, calibrated, difference, ignoring, rows_gone, some_gone


def small_images(count=6):
    generator = torch.Generator().manual_seed(2)
    return torch.randn((count, 2, 4, 4), generator=generator, dtype=torch.float64)


@settings(max_examples=60)
@given(networks(), st.sampled_from([0.3, 0.5, 0.8]), st.integers(0, 5))
def test_a_cut_network_is_the_one_in_which_readers_ignore(model, share, seed):
    images = small_images()
    model = calibrated(model, images)
    graph = graph_of(model, images)
    gone = some_gone(graph, share, seed)
    assume(any(mask.any() for mask in gone))
    small = cut(model, graph, gone, images)
    expected = answers(ignoring(model, rows_gone(graph, gone)), images)
    assert not expected.isnan().any()
    # doubles, a few hundred products summed in another order
    assert difference(answers(small, images), expected) < 1e-9
