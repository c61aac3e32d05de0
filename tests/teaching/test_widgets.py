"""Laws of the interactive figures: small, named, the same every time, and moved by the browser alone."""

import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import ipywidgets
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compresslab import Asymmetric, Binary, KMeans, PerChannel, PowerOfTwo, Symmetric, Ternary
from compresslab.errors import CompressionError
from compresslab.teaching.frame import LIMIT, Panel, ticks
from compresslab.teaching.staircases import scheme_named, staircase, takes_bits
from compresslab.teaching.widgets import MOST_FRAMES, Control, explorer, staircase_explorer

SVG = "{http://www.w3.org/2000/svg}"

SIX = [Symmetric(3), Asymmetric(3), Binary(), Ternary(), PowerOfTwo(3), KMeans(3)]


@pytest.fixture
def weight():
    return torch.randn(2_000, generator=torch.Generator().manual_seed(3)) * 0.1


@pytest.fixture(autouse=True)
def clean_state():
    ipywidgets.Widget.close_all()
    yield
    ipywidgets.Widget.close_all()


def state():
    return ipywidgets.Widget.get_manager_state()["state"]


def of_kind(name):
    return {key: entry["state"] for key, entry in state().items() if entry["model_name"] == name}


def frame_text(*chosen):
    return f"<svg>{'-'.join(map(str, chosen))}</svg>"


def shown(figure):
    """Return the frame that a reader sees, following the stacks from the outermost one."""
    node = figure.children[-1]
    while isinstance(node, ipywidgets.Stack):
        node = node.children[node.selected_index]
    return node.value


def move(number, index):
    """Do what the browser does: a control moves, and every link from it sets its stack."""
    controls = {key: entry for key, entry in state().items() if key.endswith(f"--{number}-control")}
    (control,) = controls
    for link in of_kind("LinkModel").values():
        source, trait = link["source"]
        target, aim = link["target"]
        assert (trait, aim) == ("index", "selected_index")
        if source == f"IPY_MODEL_{control}":
            ipywidgets.widgets.widget._instances[target.removeprefix("IPY_MODEL_")].selected_index = index


CONTROLS = [
    Control("Scheme", ("a", "b", "c"), "dropdown", 1),
    Control("Bits", (2, 4)),
    Control("On", ("y", "n"), "buttons"),
]


def test_every_combination_of_the_controls_shows_its_frame():
    figure = explorer("figure", CONTROLS, frame_text)
    assert shown(figure) == frame_text("b", 2, "y")
    for i, scheme in enumerate(CONTROLS[0].options):
        for j, bits in enumerate(CONTROLS[1].options):
            for k, on in enumerate(CONTROLS[2].options):
                for number, index in enumerate((i, j, k)):
                    move(number, index)
                assert shown(figure) == frame_text(scheme, bits, on)


def test_the_stored_state_is_the_same_every_time_even_when_the_cell_runs_again(weight):
    staircase_explorer(weight)
    first = json.dumps(state(), sort_keys=True)
    staircase_explorer(weight)
    assert json.dumps(state(), sort_keys=True) == first


def test_running_a_cell_again_closes_what_it_made_before_and_nothing_else(weight):
    first, other = staircase_explorer(weight), explorer("other", CONTROLS, frame_text)
    second = staircase_explorer(weight)
    assert first.comm is None  # else its end would close the second figure, which bears the same names
    assert all(part.comm is None for part in first.children)
    assert second.comm is not None
    assert other.comm is not None


def test_every_part_is_named_after_its_figure_and_two_figures_keep_apart():
    explorer("one", CONTROLS, frame_text)
    explorer("one-more", CONTROLS, frame_text)
    names = set(state())
    assert all(re.match("one(-more)?--", name) for name in names)
    assert len([name for name in names if name.startswith("one--")]) * 2 == len(names)
    explorer("one", CONTROLS, frame_text)
    assert set(state()) == names


def test_no_python_callback_is_needed(weight):
    figure = staircase_explorer(weight)
    for widget in list(ipywidgets.widgets.widget._instances.values()):
        listens = widget._trait_notifiers.get("index", {}).get("change")
        assert not listens or "Selection" in str(type(widget).__mro__)
    assert len(of_kind("LinkModel")) == 5  # the schemes, and four schemes with bits to choose
    assert figure.frames == 14


def test_equal_frames_are_stored_once():
    figure = explorer("figure", CONTROLS[:2], lambda name, bits: frame_text(name, bits * (name == "a")))
    assert figure.frames == len(of_kind("HTMLModel")) == 4
    move(0, 2)
    assert shown(figure) == frame_text("c", 0)


def test_each_frame_describes_itself_and_stays_within_the_budget(weight):
    staircase_explorer(weight)
    frames = of_kind("HTMLModel").values()
    assert len(frames) <= MOST_FRAMES
    for frame in frames:
        root = ET.fromstring(frame["value"])
        assert root.get("role") == "img"
        assert root.get("aria-label") == root.find(f"{SVG}title").text
        assert len(frame["value"].encode()) <= LIMIT
        assert not re.search("nan|inf", frame["value"], re.IGNORECASE)
        assert all(element.get("fill") is None for element in root.iter(f"{SVG}text"))
        assert 'fill="currentColor"' in frame["value"], "the page's own colour"
        assert not re.search(r"white|black|#fff|#000", frame["value"])


def test_fixed_schemes_say_that_their_bits_are_fixed(weight):
    staircase_explorer(weight)
    roots = [ET.fromstring(frame["value"]) for frame in of_kind("HTMLModel").values()]
    titles = [root.find(f"{SVG}title").text for root in roots]
    assert sorted(title.split(":")[0] for title in titles if "always" in title) == [
        "Staircase of Binary, always 1 bit",
        "Staircase of Ternary, always 2 bits",
    ]


@pytest.mark.parametrize(
    ("key", "controls", "frame", "message"),
    [
        ("figure", [], frame_text, "without|0 controls"),
        ("Figure!", CONTROLS, frame_text, "small letters"),
        ("a--b", CONTROLS, frame_text, "small letters"),
        ("figure", [Control("n", range(25))], frame_text, "25 frames"),
        ("figure", [Control("n", range(5)), Control("m", range(5))], frame_text, "25 frames"),
        ("figure", [Control("n", range(2))], lambda n: "x" * (LIMIT + n), f"up to {LIMIT + 1:,} bytes"),
    ],
)
def test_what_would_make_a_page_heavy_is_refused(key, controls, frame, message):
    with pytest.raises(CompressionError, match=message):
        explorer(key, controls, frame)
    assert not state()


@pytest.mark.parametrize("wrong", [{"kind": "play"}, {"start": 2}, {"start": -1}, {"options": ()}])
def test_impossible_controls_are_refused(wrong):
    with pytest.raises(CompressionError, match="control"):
        Control(**{"label": "Bits", "options": (2, 4), **wrong})


def test_a_figure_says_in_words_what_can_be_chosen(weight):
    assert repr(staircase_explorer(weight)) == "Interactive figure with 14 frames: choose Scheme and Bits."


# ------------------------------------------------------------------ staircases


@pytest.mark.parametrize("scheme", SIX, ids=str)
def test_a_staircase_gives_every_weight_its_decoded_value(scheme, weight):
    stairs = staircase(scheme, weight)
    step = torch.bucketize(weight, torch.tensor(stairs.edges[1:-1]))
    decoded = scheme.quantize(weight).dequantize()
    assert torch.equal(torch.tensor(stairs.values)[step], decoded)
    assert stairs.rms_error == pytest.approx((decoded - weight).square().mean().sqrt().item(), rel=1e-5)
    assert list(stairs.edges) == sorted(stairs.edges)
    assert set(stairs.values) <= set(stairs.levels)


def test_a_constant_weight_is_one_step():
    stairs = staircase(KMeans(2), torch.full((5,), 0.25))
    assert stairs.edges == (0.25, 0.25)
    assert stairs.values == (0.25,)


def test_a_staircase_of_several_rows_is_refused(weight):
    with pytest.raises(CompressionError, match="20 rows"):
        staircase(Symmetric(4, PerChannel()), weight.view(20, 100))


def test_all_six_schemes_can_be_named():
    made = [scheme_named(type(scheme).__name__, 3) for scheme in SIX]
    assert [type(scheme) for scheme in made] == [type(scheme) for scheme in SIX]
    assert [scheme for scheme in made if not takes_bits(scheme)] == [Binary(), Ternary()]
    assert all(scheme.bits == 3 for scheme in made if takes_bits(scheme))
    with pytest.raises(CompressionError, match=r"no scheme 'Octal'.*Symmetric"):
        scheme_named("Octal", 3)


# ------------------------------------------------------------------ drawings


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6))
def test_ticks_are_few_inside_and_evenly_spaced(low, span):
    chosen = ticks(low, low + span)
    assert 1 <= len(chosen) <= 6
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in chosen)
    steps = [(b - a) / span for a, b in pairwise(chosen)] or [0]
    assert max(steps) - min(steps) < 1e-6  # ends of 1e3 have float steps of 1e-13, ten digits below the span


def test_a_panel_puts_the_corners_of_the_data_at_its_corners():
    panel = Panel((5, 10), (-1, 3), "x", "y", "t").line([(5, -1), (10, 3)])
    (path,) = [p for p in ET.fromstring(panel.svg("d")).iter(f"{SVG}path") if "stroke-width" in p.attrib]
    assert path.get("d") == "M56 292L468 36"


def test_words_in_a_drawing_are_escaped():
    text = Panel((0, 1), (0, 1), "a < b", "y & z", '"t"').svg("<script>")
    root = ET.fromstring(text)
    assert "<script>" not in text
    assert {"a < b", "y & z", '"t"'} <= {element.text for element in root.iter(f"{SVG}text")}


def test_a_frame_that_is_too_long_is_refused():
    many = [(n / 1000, (n * 7 % 11) / 11) for n in range(1000)]
    with pytest.raises(CompressionError, match="one path in place of many"):
        Panel((0, 1), (0, 1), "x", "y", "t").line(many).svg("d")


def test_a_stack_is_drawn_to_scale_and_places_may_have_names():
    panel = Panel((-0.5, 1.5), (0, 10), "", "kB", "t", names=["before", "after"])
    text = panel.stack(0, [("#111111", 4), ("#222222", 6)]).write(0, 10, "10").svg("d")
    assert "before" in text
    assert "after" in text
    first, second = re.findall(r'd="M(\S+) (\S+)V(\S+)H(\S+)V\S+z" fill="#(?:111111|222222)"', text)
    assert first[0] == second[0]
    assert first[3] == second[3]
    assert first[2] == second[1]  # the second part stands on the first
    heights = [float(foot) - float(head) for _, foot, head, _ in (first, second)]
    assert abs(heights[0] / heights[1] - 4 / 6) < 0.01  # coordinates have one decimal, bars 100 and more


def test_a_title_that_would_leave_the_drawing_is_refused():
    assert Panel((0, 1), (0, 1), "x", "y", "m" * 48).svg("d")
    with pytest.raises(CompressionError, match=r"has 49 letters, 48 fit; say it shorter"):
        Panel((0, 1), (0, 1), "x", "y", "m" * 49).svg("d")


def test_the_last_number_of_an_axis_stays_inside_the_drawing():
    text = Panel((0, 30_000), (0, 1), "x", "y", "t").svg("d")
    (last,) = [e for e in ET.fromstring(text).iter(f"{SVG}text") if e.text == "30000"]
    assert float(last.get("x", "nan")) + 5 * 9.6 / 2 <= 480 + 0.05  # one decimal is written
