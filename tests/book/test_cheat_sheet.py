"""The cheat sheet names everything that is public, its code runs, and it fits one sheet of paper."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from built import IN_A_BROWSER, SITE

import compresslab

ROOT = Path(__file__).resolve().parents[2]
SHEET = (ROOT / "book" / "cheat_sheet.md").read_text(encoding="utf-8")
SAME = """
import torch
def same(scheme, values):
    torch.testing.assert_close(scheme.quantize(w).dequantize(), values)
"""


def test_every_public_name_has_its_line_and_no_other_name_has_one():
    tables = [line for line in SHEET.splitlines() if line.startswith("|")]
    assert sorted(re.findall(r"`cl\.(\w+)`", "\n".join(tables))) == sorted(compresslab.__all__)


def test_the_code_runs_as_it_stands(tmp_path):
    code, formulas = re.findall(r"```python\n(.*?)```", SHEET, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code + SAME + formulas],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "few.clab").stat().st_size > 0
    assert formulas.count("same(") == 4


@pytest.mark.parametrize("number", range(4))
def test_a_wrong_formula_is_found(number):
    """Each line that compares is needed: with twice its values the sheet does not pass."""
    _, formulas = re.findall(r"```python\n(.*?)```", SHEET, re.DOTALL)
    line = [line for line in formulas.splitlines() if line.startswith("same(")][number]
    wrong = formulas.replace(line, line.removesuffix(")") + " * 2)")
    start = "import compresslab as cl\nmodel = cl.checkpoints.load('lenet_300_100')\n"
    with pytest.raises(AssertionError):
        exec(start + SAME + wrong, {})


class TestOnPaper:
    pytestmark = IN_A_BROWSER

    def test_it_is_one_sheet(self, browser):
        window = browser.new_page()
        try:
            window.goto((SITE / "book" / "cheat_sheet.html").as_uri())
            window.evaluate("window.dispatchEvent(new Event('beforeprint'))")
            window.wait_for_function(
                "() => [...document.querySelectorAll('.math')].every(m => m.querySelector('mjx-container'))"
            )
            pages = re.findall(rb"/Type\s*/Page[^s]", window.pdf(format="A4"))
        finally:
            window.close()
        assert len(pages) == 1
