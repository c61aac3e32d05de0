"""What a hub is told to install and to hold in store is what the README says and what was measured."""

import csv
import os
import re
from pathlib import Path

import kernels
import pytest

from compresslab.teaching import records

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "hub.md").read_text(encoding="utf-8")
POST = (ROOT / ".binder" / "postBuild").read_text(encoding="utf-8")


def table(name: str) -> list[tuple[str, ...]]:
    with records.path(name).open(newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)]


def test_binder_installs_as_the_readme_does_and_asks_the_doctor():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (torch,) = re.findall(r"-m pip install (--no-deps .* --index-url \S+)", readme)
    assert f"python -m pip install --no-cache-dir {torch}\n" in POST
    assert "-c constraints.txt '.[lab]'" in POST
    assert POST.rstrip().endswith("python -m compresslab doctor")
    assert "set -euo pipefail" in POST


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mark for what can be run")
def test_binder_can_run_it():
    assert os.access(ROOT / ".binder" / "postBuild", os.X_OK)


def test_binders_python_is_one_that_is_tried():
    version = (ROOT / ".binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    tried = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert f'"{version.removeprefix("python-")}"' in tried


def test_the_page_shows_those_lines_and_no_address_but_placeholders():
    lines = re.search(r"postBuild\n:language: bash\n:lines: (\d+)-", PAGE)
    assert POST.splitlines()[int(lines[1]) - 1].startswith("python -m pip install")
    link = PAGE[PAGE.index("https://") :].split("\n```")[0]
    for placeholder in ("HUB", "ADDRESS-OF-THE-REPOSITORY", "NAME-OF-THE-REPOSITORY"):
        assert placeholder in link
        assert f"`{placeholder}`" in PAGE
    assert len(re.findall(r"https?://", PAGE)) == 1
    assert "https://HUB/" in PAGE


def test_what_a_hub_needs_follows_from_what_was_measured():
    assert table("hub.csv") == kernels.needs(kernels.measured())


def test_the_need_grows_with_the_largest_kernel():
    rows = {kernels.SERVER: ("200", "1"), "a": ("700", "9"), "b": ("900", "9")}
    memory, limit, cores = kernels.needs(rows)[1:]
    assert memory[1:] == ("1.5", "45", "450")  # 200 + 900, up to the next half
    assert limit[1:] == ("2", "60", "600")
    assert cores[1:] == ("1 for 4", "8", "75")


def test_the_kernel_of_every_notebook_is_measured():
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(kernels.measured()) == notebooks | {kernels.SERVER}


def test_a_notebook_takes_less_than_a_minute_and_all_of_them_twelve_on_two_cores():
    """As measured, also while the machine did other things; what is compared again runs as long."""
    times = [int(seconds) for name, (_, seconds) in kernels.measured().items() if name != kernels.SERVER]
    assert max(times) < 60
    assert sum(times) / 2 <= 12 * 60


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_and_time_of_a_process_are_read():
    assert 20 < kernels.peak(os.getpid()) < 50_000
    before = kernels.seconds(os.getpid())
    while kernels.seconds(os.getpid()) < before + 0.05:
        sum(range(100_000))
