"""Look at a machine before a course does: what would fail in the room, and what to do about it.

    python -m compresslab doctor

Every check says what it found, and for what is not right the remedy. It takes some seconds, most of them to
start a kernel.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from compresslab.errors import CompressionError
from compresslab.teaching import checkpoints
from compresslab.training.accuracy import evaluate
from compresslab.training.datasets import digits as shipped_digits

PYTHONS, OLDEST_TORCH = ((3, 11), (3, 13)), (2, 9)
MEMORY, DISK = 2 << 30, 1 << 30  # bytes free; a notebook of the book takes up to 1.8 GB
SOON, LATE = 15.0, 60.0  # seconds: in which a kernel should answer, and after which nobody waits

CALLED = f'"{sys.executable}"' if " " in sys.executable else sys.executable  # a remedy is there to be pasted
SOURCE = (Path(__file__).parents[2] / "constraints.txt").is_file()  # else a wheel was installed
INSTALL = ("in the book's folder, " if SOURCE else "") + f"{CALLED} -m pip install "
INSTALL += "-c constraints.txt -e '.[lab]'" if SOURCE else "--force-reinstall jupyterlab YOUR.whl"
REGISTER = f"{CALLED} -m ipykernel install --sys-prefix --name python3"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Args:
        topic: what was looked at.
        found: one line.
        remedy: what to do; empty where all is well.
        fails: whether the room would fail; else the remedy is advice.
    """

    topic: str
    found: str
    remedy: str = ""
    fails: bool = False

    def __str__(self) -> str:
        mark = "ok  " if not self.remedy else "FAIL" if self.fails else "note"
        told = f"{mark} {self.topic:12} {self.found}"
        return f"{told}\n     {'':12} {self.remedy}" if self.remedy else told


def python() -> Finding:
    """The versions of Python that the package is tested with."""
    lowest, highest = PYTHONS
    version = sys.version_info[:2]
    found = f"{platform.python_version()} at {sys.executable}"
    if lowest <= version <= highest:
        return Finding("Python", found)
    remedy = f"Make the environment anew with Python {_dotted(lowest)} to {_dotted(highest)}."
    return Finding("Python", found, remedy, fails=version < lowest)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def arithmetic() -> Finding:
    """Torch is new enough, and multiplies."""
    version = torch.__version__
    numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    if numbers < OLDEST_TORCH:
        remedy = f"Install torch {_dotted(OLDEST_TORCH)} or newer: {INSTALL}"
        return Finding("torch", version, remedy, fails=True)
    ones = torch.ones(4, 4)
    if not torch.equal(ones @ ones, torch.full((4, 4), 4.0)):
        return Finding(
            "torch", f"{version} multiplies wrongly", f"Install torch again: {INSTALL}", fails=True
        )
    return Finding("torch", f"{version}, {'a GPU, not needed' if torch.cuda.is_available() else 'CPU'}")


def threads() -> Finding:
    """More threads than cores slow every notebook down."""
    used, cores = torch.get_num_threads(), len(os.sched_getaffinity(0)) if _affine() else os.cpu_count() or 1
    found = f"{used} of torch on {cores} {'core' if cores == 1 else 'cores'}"
    remedy = f"Set OMP_NUM_THREADS={cores} before Jupyter starts." if used > cores else ""
    return Finding("threads", found, remedy)


def _affine() -> bool:
    return hasattr(os, "sched_getaffinity")


def free_memory() -> int | None:
    """Bytes that programs may still take; None where the system does not say so."""
    told = Path("/proc/meminfo")
    if told.exists():
        fields = dict(line.split(":", 1) for line in told.read_text().splitlines())
        return 1024 * int(fields["MemAvailable"].split()[0])
    if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def memory() -> Finding:
    """A notebook and a browser fit beside each other."""
    free = free_memory()
    if free is None:
        return Finding("memory", "this system does not say how much is free")
    remedy = "Close other programs, or keep one notebook open at a time." if free < MEMORY else ""
    return Finding("memory", f"{free / 2**30:.1f} GB free", remedy)


def disk() -> Finding:
    """There is room for what notebooks write."""
    free = shutil.disk_usage(Path.cwd()).free
    remedy = "Free some space on this disk, or work in a folder on another." if free < DISK else ""
    return Finding("disk", f"{free / 2**30:.1f} GB free here", remedy, fails=free < DISK // 10)


def folder() -> Finding:
    """Notebooks may write where they lie."""
    here = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=here) as file:
            file.write(b"\0")
    except OSError as error:
        remedy = "Copy the notebooks to a folder of your own, and start there."
        return Finding("folder", f"{here} cannot be written: {error.strerror}", remedy, fails=True)
    return Finding("folder", f"{here} can be written")


def digits() -> Finding:
    """The data that comes with the package can be read."""
    try:
        found = shipped_digits()
    except (CompressionError, ImportError, OSError) as error:
        remedy = f"Install the package's data again: {INSTALL}"
        return Finding("digits", str(error).splitlines()[0][:200], remedy, fails=True)
    return Finding("digits", f"{len(found.train):,} to train, {len(found.test):,} to test")


def networks() -> Finding:
    """The trained networks that come with the package read digits."""
    try:
        accuracy = evaluate(checkpoints.load("lenet_300_100"), shipped_digits())
        named = [name for name in ("article", "lenet5", "residual") if checkpoints.load(name)]
    except (CompressionError, ImportError, OSError) as error:
        remedy = f"Install the package again, its files are damaged: {INSTALL}"
        return Finding("networks", str(error).splitlines()[0][:200], remedy, fails=True)
    if accuracy.value < 0.9:
        remedy = f"Install torch and the package again: {INSTALL}"
        return Finding("networks", f"lenet_300_100 reads {accuracy.value:.1%}, not 97 %", remedy, fails=True)
    return Finding(
        "networks", f"{1 + len(named)}, lenet_300_100 reads {accuracy.value:.1%} of the test digits"
    )


def lab() -> Finding:
    """JupyterLab and the extension that draws sliders are there."""
    try:
        versions = [metadata.version(name) for name in ("jupyterlab", "ipywidgets", "jupyterlab_widgets")]
    except metadata.PackageNotFoundError as error:
        return Finding("JupyterLab", f"{error.name} is not installed", f"Install it: {INSTALL}", fails=True)
    from jupyter_core.paths import jupyter_path

    manager = Path("@jupyter-widgets", "jupyterlab-manager", "package.json")
    if not any((Path(place) / manager).is_file() for place in jupyter_path("labextensions")):
        remedy = f"Sliders would stay empty: {CALLED} -m pip install --force-reinstall jupyterlab_widgets"
        return Finding("JupyterLab", "the extension for widgets is missing", remedy, fails=True)
    return Finding("JupyterLab", f"{versions[0]}, widgets {versions[1]}")


def kernel() -> Finding:
    """A notebook started from here finds the package."""
    try:
        from jupyter_client.kernelspec import NoSuchKernel
        from jupyter_client.manager import run_kernel
    except ImportError:
        return Finding("kernel", "jupyter_client is not installed", f"Install it: {INSTALL}", fails=True)
    told: list[str] = []
    code = "import sys, compresslab; print(sys.executable)"

    def hear(message: dict) -> None:
        told.append(str(message["content"].get("text", message["content"].get("evalue", ""))).strip())

    begin = time.monotonic()
    try:
        with run_kernel(kernel_name="python3", startup_timeout=LATE, stderr=subprocess.DEVNULL) as started:
            client: Any = started
            client.execute_interactive(code, timeout=LATE, output_hook=hear)
    except (NoSuchKernel, RuntimeError, TimeoutError, OSError) as error:
        remedy = f"Make it anew: {REGISTER}"
        return Finding("kernel", f"no kernel answers: {error!s:.150}", remedy, fails=True)
    heard = next((text for text in told if text), "")
    if not heard or Path(os.path.abspath(heard)) != Path(os.path.abspath(sys.executable)):
        remedy = f"Start Jupyter from this environment, or: {REGISTER}"
        return Finding("kernel", f"notebooks would run elsewhere: {heard:.150}", remedy, fails=True)
    seconds = time.monotonic() - begin
    remedy = "Close other programs; every notebook will start as slowly." if seconds > SOON else ""
    return Finding("kernel", f"answers in {seconds:.1f} s, in this environment", remedy)


CHECKS: tuple[Callable[[], Finding], ...] = (
    python,
    arithmetic,
    threads,
    memory,
    disk,
    folder,
    digits,
    networks,
    lab,
    kernel,
)


def findings() -> Iterator[Finding]:
    """Yield what each check found, as it ends."""
    for check in CHECKS:
        yield check()


def doctor() -> int:
    """Print what was found; return how many findings would make the room fail."""
    failing = 0
    for finding in findings():
        print(finding, flush=True)
        failing += finding.fails
    print("This machine is ready." if not failing else f"{failing} to mend before the course.")
    return failing
