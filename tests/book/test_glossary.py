"""The glossary: one word for each concept, in two languages, and a screen reader is told which is which."""

import re
from collections import Counter
from pathlib import Path

import pytest
from built import SITE

ROOT = Path(__file__).resolve().parents[2]
MARKED = r"\[([^\]]+)\]\{\.language-zh\}"  # docutils makes lang="zh" of this class
NAMES = {  # what a practitioner looks up
    "BN 折叠": "norm folding",
    "N:M 稀疏": "N:M sparsity",
    "乘加运算": "MAC",
    "伪量化": "fake quantization",
    "软阈值": "soft threshold",
    "剪枝率": "share",
    "彩票假设": "lottery ticket hypothesis",
    "掩码": "mask",
    "敏感度分析": "sensitivity analysis",
    "权重共享": "weight sharing",
    "死神经元": "dead neuron",
    "混合精度": "mixed precision",
    "直通估计器": "straight-through estimator",
    "组套索": "group lasso",
    "结构化剪枝": "structured pruning",
    "训练后量化": "post-training quantization",
    "近端算子": "proximal step",
    "逐张量": "per tensor, per channel, per group",
    "逐组": "per tensor, per channel, per group",
    "逐通道": "per tensor, per channel, per group",
    "量化感知训练": "quantization-aware training",
    "非结构化剪枝": "unstructured pruning",
}


def entries() -> list[tuple[str, list[str]]]:
    """Return each English term with the lines below it."""
    text = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^```\{glossary\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks = [block.splitlines() for block in listed.strip("\n").split("\n\n")]
    return [(term, [line.removeprefix("  ") for line in below]) for term, *below in blocks]


def chinese(below: list[str]) -> list[str]:
    return re.findall(MARKED, below[0])


def test_each_term_has_its_chinese_and_then_says_what_it_is():
    for term, below in entries():
        assert re.fullmatch(rf"{MARKED}(, {MARKED})*\.", below[0]), term
        assert len(below) >= 2, term
        assert all(line.endswith(".") for line in below), term


def test_no_chinese_word_stands_unmarked():
    for term, below in entries():
        rest = re.sub(MARKED, "", "\n".join([term, *below]))
        assert not re.search(r"[\u4e00-\u9fff]", rest), term


def test_terms_stand_once_and_in_the_order_of_the_alphabet():
    terms = [term for term, _ in entries()]
    assert terms == sorted(set(terms), key=str.casefold)
    words = Counter(word for _, below in entries() for word in chinese(below))
    assert not [word for word, times in words.items() if times > 1]


@pytest.mark.parametrize(("word", "term"), NAMES.items(), ids=NAMES.values())
def test_names_of_the_field_are_there_once_in_both_languages(word, term):
    assert [english for english, below in entries() if word in chinese(below)] == [term]


@pytest.mark.site
@pytest.mark.skipif(not SITE.is_dir(), reason="no built site: run `make book` first")
def test_the_page_says_which_words_are_chinese():
    page = (SITE / "book" / "glossary.html").read_text(encoding="utf-8")
    spans = re.findall(r'<span lang="zh">([^<]+)</span>', page)
    assert spans == [word for _, below in entries() for word in chinese(below)]
