"""How much an installation fetches, and what it fills: the table in README.md.

Run from the root of the repository, with a network: python book/records/sizes.py
pip resolves the wheels for each system with the versions of constraints.txt, and installs none of them: what
Windows and macOS fetch is known so, and not measured. `--filled PATH` measures what `make learn` made here on
Linux, and `--filled-cpu PATH` what it made with torch without CUDA. `--cpu WHEEL` resolves that row, with a
wheel of torch from PyTorch's own index: what belongs to CUDA is taken off, and the wheel put in its place.
"""

import argparse
import csv
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlparse
from urllib.request import Request, urlopen

from compresslab.teaching import records

ROOT = Path(__file__).resolve().parents[2]
LISTED = records.FOLDER / "sizes.csv"
README = ROOT / "README.md"
HEAD = ("System", "Wheels", "Fetches, MB", "Fills, MB")
EXTRA = "learn"  # what `make learn` installs
PYTHON = "3.11"
MACS = [f"macosx_{version}_0_{kind}" for version in (14, 13, 12, 11) for kind in ("arm64", "universal2")]
MACS += [f"macosx_10_{minor}_universal2" for minor in (9, 10, 12, 13, 15, 16)]
SYSTEMS = {  # the tags that pip accepts there, and what a requirement's condition is told
    "Linux": (
        [*(f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)), "manylinux2014_x86_64"],
        ("posix", "linux", "Linux", "x86_64"),
    ),
    "Windows": (["win_amd64"], ("nt", "win32", "Windows", "AMD64")),
    "macOS": (MACS, ("posix", "darwin", "Darwin", "arm64")),
}
ASKED = ("os_name", "sys_platform", "platform_system", "platform_machine")
CPU = "Linux, TORCH=cpu"
CUDA = ("nvidia", "cuda", "triton", "torch-")  # how the wheels begin that the build for the CPU replaces
# pip asks the conditions of a requirement about the machine it runs on, whatever --platform says.
PIP = """
import json, sys
from pip._vendor.packaging import markers
here, there = markers.default_environment, json.loads(sys.argv[1])
markers.default_environment = lambda: {**here(), **there}
from pip._internal.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def requirements() -> list[str]:
    """Return what a learner's environment needs, as pyproject.toml says it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"][EXTRA]]


@cache
def resolve(system: str) -> list[str]:
    """Return the addresses of the wheels that pip would fetch on a system."""
    tags, told = SYSTEMS[system]
    about = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.9"}
    about |= dict(zip(ASKED, told, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        asked = ["install", "--dry-run", "--ignore-installed", "--quiet", "--only-binary=:all:"]
        asked += ["--target", folder, "--python-version", PYTHON, "--implementation", "cp"]
        asked += ["-c", str(ROOT / "constraints.txt"), "--report", str(report)]
        asked += [word for tag in tags for word in ("--platform", tag)]
        command = [sys.executable, "-c", PIP, json.dumps(about), *asked, *requirements()]
        subprocess.run(command, check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [one["download_info"]["url"] for one in found]


def fetched(system: str, cpu: Path | None) -> list[str]:
    """Return the addresses of the wheels that `make learn` would fetch."""
    if system != CPU:
        return resolve(system)
    kept = [one for one in resolve("Linux") if not name(one).startswith(CUDA)]
    return [*kept, cpu.resolve().as_uri()]


@cache
def trusted() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))


def bytes_of(address: str) -> int:
    """Return the size of a wheel, on this disk or elsewhere."""
    if address.startswith("file:"):
        return Path(unquote(urlparse(address).path)).stat().st_size
    with urlopen(Request(address, method="HEAD"), context=trusted(), timeout=60) as answer:
        return int(answer.headers["Content-Length"])


def name(address: str) -> str:
    return unquote(urlparse(address).path).rpartition("/")[2]


def filled(folder: Path) -> int:
    """Return the bytes of the files below a folder, each rounded up to what a disk gives it."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_blocks * 512 for path in files)


def measured() -> dict[str, tuple[str, str, str]]:
    """Return the rows of the table as it stands: by system the wheels, what is fetched and what is filled."""
    if not LISTED.exists():
        return {}
    with LISTED.open(newline="", encoding="utf-8") as file:
        return {row[0]: (row[1], row[2], row[3]) for row in list(csv.reader(file))[1:]}


def write(rows: dict[str, tuple[str, str, str]]) -> None:
    with LISTED.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEAD)
        table.writerows((system, *rows[system]) for system in (*SYSTEMS, CPU) if system in rows)


def shown() -> str:
    """Return the table of README.md."""
    lines = ["| System | Wheels | Fetches | Fills |", "|---|---|---|---|"]
    for system, (wheels, *sizes) in measured().items():
        cells = (f"{int(size):,} MB" if size else "not measured" for size in sizes)
        lines.append(f"| {system} | {wheels} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filled", type=Path, metavar="PATH", help="an environment that stands here")
    parser.add_argument("--filled-cpu", type=Path, metavar="PATH", help="one that TORCH=cpu made")
    parser.add_argument("--cpu", type=Path, metavar="WHEEL", help="torch without CUDA")
    options = parser.parse_args()
    for system in (*SYSTEMS, *([CPU] if options.cpu else [])):
        if system not in measured():
            sizes = [bytes_of(address) for address in fetched(system, options.cpu)]
            write(measured() | {system: (str(len(sizes)), f"{sum(sizes) / 1e6:.0f}", "")})
            print(system, *measured()[system], flush=True)
    for system, folder in (("Linux", options.filled), (CPU, options.filled_cpu)):
        if folder:
            write(measured() | {system: (*measured()[system][:2], f"{filled(folder) / 1e6:.0f}")})
    text = README.read_text(encoding="utf-8")
    README.write_text(re.sub(r"\| System (.*\n)+?(?=\n)", lambda _: shown(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
