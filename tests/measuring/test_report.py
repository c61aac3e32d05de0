"""Laws of measuring and comparing: figures equal an independent count, and the file on the disk."""

import html.parser
import itertools
import json
import math
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nbval.plugin import get_sanitize_patterns
from torch import nn

from compresslab import Asymmetric, Binary, KMeans, PowerOfTwo, Symmetric, Ternary, models
from compresslab.errors import CompressionError
from compresslab.integers.network import quantize_activations
from compresslab.measuring.comparison import compare
from compresslab.measuring.costs import bytes_in_memory, count_macs, stored_weights, time_batches
from compresslab.measuring.report import measure
from compresslab.measuring.statistics import Holm, McNemar, PairedDifference, verdict
from compresslab.measuring.t_distribution import t_quantile, t_share
from compresslab.measuring.tables import html_table, percent, text_table
from compresslab.quantization.quantizing import quantize
from compresslab.storage.container import save
from compresslab.training.accuracy import Accuracy
from compresslab.training.batching import ImageData, Split

SCHEMES = [Symmetric(4), Asymmetric(3), Binary(), Ternary(), PowerOfTwo(4), KMeans(2)]


def some_data(name="noise", images=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    split = Split(torch.rand(images, 1, 28, 28, generator=generator), torch.arange(images) % 10)
    return ImageData(name, split, split, split)


@pytest.fixture(scope="module")
def data():
    return some_data()


@pytest.fixture(scope="module")
def article():
    return models.article(4, 6, 12)


@pytest.fixture(scope="module")
def report(article, data):
    return measure(article, data, repeats=3)


# ------------------------------------------------------------------ one report


@pytest.mark.parametrize("scheme", [None, *SCHEMES, "integers"], ids=str)
def test_bytes_are_those_of_the_file_and_no_scheme_changes_parameters_or_macs(
    article, data, report, scheme, tmp_path
):
    if scheme == "integers":
        model = quantize_activations(article, [data.train.images])
    else:
        model = article if scheme is None else quantize(article, {"*": scheme})
    found = measure(model, data, latency=False)
    save(model, tmp_path / "model.clab")
    assert found.bytes_on_disk == (tmp_path / "model.clab").stat().st_size == sum(found.parts.values())
    assert found.parameters == report.parameters == sum(p.numel() for p in article.parameters())
    assert found.macs == report.macs


def test_nonzeros_are_counted_after_decoding(article, data):
    small = quantize(article, {"*": Ternary()})
    layers = [small.conv1, small.conv2, small.fc1, small.fc2]
    values = np.concatenate(
        [t.detach().numpy().ravel() for layer in layers for t in (layer.weight, layer.bias)]
    )
    found = measure(small, data, latency=False)
    assert found.nonzeros == np.count_nonzero(values) < found.parameters


def test_a_shared_weight_counts_once():
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 784), nn.Linear(784, 784), nn.Linear(784, 10))
    model[2].weight = model[1].weight
    count = sum(weight.numel() for weight in stored_weights(model))
    assert count == 784 * 784 + 2 * 784 + 784 * 10 + 10
    assert bytes_in_memory(model) == 4 * count


def test_bytes_in_memory_hold_buffers_and_one_byte_per_code(article):
    norm = nn.BatchNorm2d(6)
    assert (
        bytes_in_memory(norm) == 4 * (4 * 6) + 8
    )  # four vectors of float32, and one int64 that counts batches
    small = quantize(article, {"*": Binary()})
    codes = sum(p.numel() for name, p in article.named_parameters() if name.endswith("weight"))
    biases = sum(p.numel() for name, p in article.named_parameters() if name.endswith("bias"))
    assert bytes_in_memory(small) == codes + 4 * biases + 4 * 4  # one scale of float32 in each of four layers


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 2, 2)])
def test_macs_of_a_convolution_are_those_of_seven_nested_loops(groups, stride, padding, dilation):
    layer = nn.Conv2d(2, 4, 3, stride, padding, dilation, groups)
    side = (9 + 2 * padding - dilation * 2 - 1) // stride + 1
    loops = (range(4), range(side), range(side), range(2 // groups), range(3), range(3))
    assert count_macs(layer, torch.zeros(1, 2, 9, 9)) == sum(1 for _ in itertools.product(*loops))


def test_macs_of_the_articles_network_by_hand():
    by_hand = 32 * 28 * 28 * 9 + 64 * 14 * 14 * 32 * 9 + 3136 * 100 + 100 * 10
    assert count_macs(models.article(), torch.zeros(1, 1, 28, 28)) == by_hand


def test_a_layer_that_runs_twice_counts_twice():
    layer = nn.Linear(5, 5)
    assert count_macs(nn.Sequential(layer, layer), torch.zeros(1, 1, 1, 5)) == 50


@pytest.mark.parametrize("image", [torch.zeros(1, 1, 28, 28), torch.zeros(1, 3, 5, 5)])
def test_counting_leaves_everything_as_it_was_even_where_it_fails(article, image):
    modes = [module.training for module in article.modules()]
    try:
        count_macs(article, image)
    except CompressionError:
        assert image.shape[1] == 3
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mkldnn.enabled
    assert [module.training for module in article.modules()] == modes


def test_answers_and_accuracy_are_those_of_the_test_split(article, data, report):
    with torch.no_grad():
        right = article(data.test.images).argmax(1) == data.test.labels
    assert torch.equal(report.answers, right)
    assert (report.accuracy.correct, report.accuracy.total) == (int(right.sum()), 40)


def test_two_reports_on_the_same_model_are_equal_but_for_the_time(article, data, report):
    again = measure(article, data, latency=False)
    assert again == report
    assert len({again, report}) == 1
    assert repr(again) == repr(report)
    assert again._repr_html_() == report._repr_html_()


def test_latency_states_batches_quartiles_and_threads(report):
    assert list(report.latency_ms) == [1, 64]
    for timing in report.latency.timings:
        assert 0 < timing.lower_quartile_ms <= timing.median_ms <= timing.upper_quartile_ms
        assert timing.repeats == 3
    assert report.latency.threads == torch.get_num_threads()
    assert f"{torch.get_num_threads()} thread" in repr(report.latency)
    assert " ms" in repr(report.latency)


@pytest.mark.parametrize("show", [repr, lambda report: report._repr_html_()])
def test_a_report_shows_its_figures_but_never_a_time(report, show):
    shown = show(report)
    for figure in (report.parameters, report.bytes_on_disk, report.bytes_in_memory, report.macs):
        assert f"{figure:,}" in shown
    assert not re.search(r"\bms\b|thread|tensor\(", shown)


def test_a_report_becomes_json(report):
    again = json.loads(json.dumps(report.to_dict()))
    assert again["bytes_on_disk"] == sum(again["parts"].values())
    assert "latency" not in again


def test_the_default_name_is_the_builders_or_the_classs(data, report):
    assert report.name == "article"
    assert measure(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), data, latency=False).name == "Sequential"


def test_a_slow_network_is_not_timed_for_long():
    class Sleepy(nn.Module):
        def forward(self, x):
            time.sleep(0.25)
            return x

    (timing,) = time_batches(Sleepy(), torch.zeros(1, 1), batches=(1,)).timings
    assert timing.repeats == 5
    assert timing.median_ms >= 250


@pytest.mark.parametrize(
    ("inputs", "sizes"),
    [
        (torch.zeros(3, 2), {1, 7}),
        ((torch.zeros(3, 2), torch.zeros(3, 1)), {1, 7}),
        ((torch.zeros(3, 2), torch.zeros(2)), {3}),
    ],
)
def test_batches_are_repeated_to_their_size_unless_tensors_disagree_on_it(inputs, sizes):
    seen = set()

    class Seeing(nn.Module):
        def forward(self, x, y=None):
            seen.add(len(x))
            return x

    found = time_batches(Seeing(), inputs, batches=(1, 7), repeats=1)
    assert seen == sizes
    assert [timing.batch for timing in found.timings] == [1, 7]


# ------------------------------------------------------------------ the table


@pytest.fixture(scope="module")
def comparison(article, data, report):
    four = measure(quantize(article, {"*": Symmetric(4)}), data, "four <bits>", repeats=3)
    return compare(report, four, measure(models.lenet_300_100(8, 8), data, "other", repeats=3))


def test_ratios_are_against_the_first_file(comparison):
    sizes = [report.bytes_on_disk for report in comparison.reports]
    assert comparison.ratios == tuple(sizes[0] / size for size in sizes)
    assert comparison.ratios[0] == 1


def test_each_test_counts_the_images_on_which_two_networks_differ(comparison):
    first, *others = ([bool(x) for x in report.answers] for report in comparison.reports)
    for test, other in zip(comparison.tests[1:], others, strict=True):
        pairs = list(zip(first, other, strict=True))
        assert (test.only_first, test.only_second) == (pairs.count((True, False)), pairs.count((False, True)))


def test_several_comparisons_in_one_table_are_corrected_and_the_note_says_so(report):
    def answering(wrong):
        hits = torch.tensor([n >= wrong for n in range(40)])
        return replace(report, accuracy=Accuracy(int(hits.sum()), 40, hits=hits))

    right, worse = answering(0), answering(6)  # alone 2 * 2 ** -6 = 0.03; of two it is the first, 0.06
    two, three = compare(right, worse), compare(right, worse, right)
    assert two.p_values == (2 * 0.5**6,)
    assert three.p_values == Holm([2 * 0.5**6, 1.0]).adjusted == (4 * 0.5**6, 1.0)
    for table, found, note in (
        (
            two,
            "shows, p = 0.031",
            "two-sided test; above 0.05 a difference does not show with this much data.",
        ),
        (three, "does not show, p = 0.062", "test, corrected by Holm for 2 comparisons; above 0.05"),
    ):
        assert found in repr(table).splitlines()[3]
        assert note in repr(table).splitlines()[-1]
    assert compare(right).p_values == ()


def test_a_second_judge_reads_images_of_its_own(article, data):
    judge = some_data(images=70, seed=5).test
    pair = [
        measure(net, data, latency=False, judge=judge) for net in (article, models.article(4, 6, 12, seed=1))
    ]
    with torch.no_grad():
        right = [net.second.hits for net in pair]
        assert torch.equal(right[0], article(judge.images).argmax(1) == judge.labels)
    table = compare(*pair)
    only = [int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())]
    assert table.second_p_values == (McNemar(*only).p_value,)
    assert table.p_values == (table.tests[1].p_value,)
    assert "on 70 others" in repr(table)
    assert f"{percent(pair[1].second.value)} (" in repr(table).splitlines()[3]
    assert "accuracy on 70 others" in repr(pair[0])
    assert pair[0].to_dict()["second"] == {"correct": int(right[0].sum()), "total": 70}
    assert compare(measure(article, data, latency=False)).second_p_values == ()


def test_text_table_has_a_line_for_each_report_and_no_times(comparison):
    lines = repr(comparison).splitlines()
    assert len(lines) == 3 + len(comparison.reports)
    assert "40 test images of noise" in lines[0]
    assert all(line == line.rstrip() for line in lines)
    assert "ms" not in lines[1]
    for report, line in zip(comparison.reports, lines[2:], strict=False):
        assert line.startswith(report.name)
        assert f"{report.bytes_on_disk:,}" in line


def test_numbers_in_text_end_below_each_other(comparison):
    lines = repr(comparison).splitlines()[2:]
    shown = [f"{report.bytes_on_disk:,}" for report in comparison.reports]
    assert len({len(number) for number in shown}) > 1  # else any alignment would do
    assert len({line.index(number) + len(number) for line, number in zip(lines, shown, strict=False)}) == 1


@pytest.mark.parametrize("head", ["bytes on disk", "smaller", "not zero", "MACs"])
def test_a_column_of_numbers_ends_below_its_head(comparison, head):
    _, heads, *rows = repr(comparison).splitlines()
    end = heads.index(head) + len(head)
    for row in rows[: len(comparison.reports)]:
        assert row[end - 1].strip()
        assert not row[end : end + 1].strip()


def test_latency_is_shown_where_it_is_asked(comparison):
    for reports in (comparison.reports, comparison.reports[:1]):
        shown = repr(compare(*reports, latency=True))
        assert all(text in shown for text in ("ms at 1", "ms at 64", "thread"))


class Table(html.parser.HTMLParser):
    """Read an HTML table back into its cells."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.scopes, self.open, self.caption = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
            self.scopes.append(dict(attributes).get("scope"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "caption" in self.open:
            self.caption += text
        elif self.rows and {"th", "td"} & set(self.open):
            self.rows[-1][-1] += text


def test_html_table_is_well_formed_and_says_the_same_as_the_text(comparison):
    table = Table(comparison._repr_html_())
    assert not table.open
    assert [row[0] for row in table.rows] == ["network", "article", "four <bits>", "other"]
    assert table.scopes.count("col") == len(table.rows[0])
    assert table.scopes.count("row") == 3
    assert table.caption in repr(comparison)
    squeezed = re.sub(r"\s+", "", repr(comparison))
    for row in table.rows:
        for cell in row:
            assert re.sub(r"\s+", "", cell) in squeezed


def test_html_table_sets_no_colour_and_scrolls_by_itself(comparison):
    text = comparison._repr_html_()
    assert "overflow-x: auto" in text
    assert not re.search(r"#[0-9a-f]{3}|background|rgb", text)
    assert re.findall(r"color: ?(\w+)", text) == ["inherit"]


def test_the_fingerprint_sees_one_pixel_and_one_label(article, data, report):
    images, labels = data.test.images.clone(), data.test.labels.clone()
    images[3, 0, 5, 5] += 0.01
    labels[7] = (labels[7] + 1) % 10
    for split in (Split(images, data.test.labels), Split(data.test.images, labels)):
        changed = ImageData("noise", data.train, data.validation, split)
        assert measure(article, changed, latency=False).fingerprint != report.fingerprint


# ------------------------------------------------------------------ what is refused


class Silent(nn.Module):
    """The article's trap: reshaping by a wrong width returns fewer answers than images."""

    def forward(self, images):
        return images.reshape(-1, 1568)[:, :10]


def measuring(model, data=None):
    return lambda: measure(model, some_data() if data is None else data)


def untimed(name="tiny", seed=0):
    return measure(SMALL, some_data(seed=seed), name, latency=False)


def judged():
    return measure(SMALL, NOISE, "judged", latency=False, judge=NOISE.test)


SMALL, NOISE = models.article(4, 6, 12), some_data()
EMPTY = ImageData("empty", NOISE.train, NOISE.train, NOISE.test[:0])
REFUSED = [
    (measuring(nn.Sequential(nn.Flatten(), nn.Linear(100, 10))), r"fails on .* shape \(40, 1, 28, 28\)"),
    (measuring(nn.Sequential(nn.Flatten(), nn.Linear(784, 9))), r"10 or more values .* gave \(40, 9\)"),
    (measuring(nn.Conv2d(1, 10, 3)), "but the network gave"),
    (
        measuring(Silent()),
        r"for each of \(40,\) labels \(torch.*\), but the network gave \(20, 10\)",
    ),
    *[
        (measuring(SMALL, none), "has no test examples; give a data set")
        for none in (EMPTY, [], NOISE.test[:0])
    ],
    (measuring(SMALL, NOISE.test.images), "for each of None labels"),
    (measuring(len), "was given for a model"),
    (lambda: untimed().latency_ms, r"'tiny'.*latency=True"),
    (lambda: replace(untimed(), accuracy=Accuracy(1, 40)).answers, "only counts are held"),
    (lambda: McNemar(-1, 3), "negative"),
    (lambda: PairedDifference([], []), "over 0 seeds was asked; give two or more"),
    (lambda: PairedDifference([962], [969]), "over 1 seeds was asked; give two or more"),
    (lambda: PairedDifference([962, 965], [969]), "method has 2 figures and the control 1; give both"),
    (lambda: PairedDifference([962, math.nan], [969, 970]), "nan was given as a figure of the method; give"),
    (lambda: PairedDifference([962, 965], [math.inf, 970]), "inf was given as a figure of the control; give"),
    (lambda: PairedDifference([True, False], [969, 970]), "True was given as a figure of the method; give"),
    (lambda: PairedDifference([962, "965"], [969, 970]), "'965' was given as a figure of the method; give"),
    (lambda: PairedDifference([962, 965], [969, 970]).interval(1.0), "1.0 was asked for a confidence; give"),
    (lambda: PairedDifference([962, 965], [969, 970]).interval(95), "95 was asked for a confidence; give"),
    (lambda: Holm([]), "nothing was asked; give at least one"),
    (lambda: Holm([0.01, math.nan]), "nan was asked for a p-value; give a float from 0.0 to 1.0"),
    (lambda: Holm([0.01, 1.2]), "1.2 was asked for a p-value; give a float from 0.0 to 1.0"),
    (lambda: verdict(-0.1), "-0.1 was asked for a p-value; give a float from 0.0 to 1.0"),
    (lambda: t_share(2.0, 0), "0 was asked for the degrees of freedom; give a whole number of at least 1"),
    (
        lambda: t_quantile(0.95, 0),
        "0 was asked for the degrees of freedom; give a whole number of at least 1",
    ),
    (lambda: t_quantile(0.0, 4), "0.0 was asked for a confidence; give"),
    (lambda: compare(), "at least one report"),
    (lambda: compare(untimed(), untimed(seed=1)), "other images"),
    (lambda: compare(untimed(), SMALL), "Article was to be compared"),
    (lambda: compare(untimed(), judged()), r"second judge had 40 images for 'judged' and 0 for 'tiny'"),
    (lambda: compare(untimed("first"), untimed(), latency=True), "'first'.*not measured"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_is_refused_in_words(call, message):
    with pytest.raises(CompressionError, match=message):
        call()


# ------------------------------------------------------------------ what the notebooks' comparison overlooks


def sanitize(text):
    rules = (Path(__file__).parents[1] / "nbval_sanitize.cfg").read_text(encoding="utf-8")
    for pattern, replacement in get_sanitize_patterns(rules):
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize("show", [repr, lambda comparison: comparison._repr_html_()])
def test_sanitized_tables_hide_accuracies_but_no_count(comparison, report, show):
    def with_hits(hits):
        return replace(report, accuracy=Accuracy(sum(hits), len(hits), hits=torch.tensor(hits)))

    all_right, most, few = ([n >= wrong for n in range(40)] for wrong in (0, 2, 20))
    tables = {show(compare(with_hits(all_right), with_hits(hits))) for hits in (all_right, most, few)}
    assert len(tables) == 3
    assert len({sanitize(table) for table in tables}) == 1
    heavier = replace(report, bytes_on_disk=report.bytes_on_disk + 1)
    assert sanitize(show(compare(report))) != sanitize(show(compare(heavier)))


@given(st.integers(0, 1000))
def test_percentages_have_one_width_and_one_form(thousandths):
    text = percent(thousandths / 1000)
    assert len(text) == 7
    assert sanitize(text) == "PERCENT"


def test_tables_align_and_escape():
    text = text_table(("a", "b"), [("x", "1"), ("long", "22")], right={1})
    assert text == "a      b\nx      1\nlong  22"
    assert text_table(("", "b"), [("x", "1")]) == "   b\nx  1"
    assert text_table(("", ""), [("x", "1")]) == "x  1"
    assert "&lt;x&gt;" in html_table("c", ("a",), [("<x>",)])
