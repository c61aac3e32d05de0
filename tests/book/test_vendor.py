"""What the build fetches from elsewhere is what was asked for, and lands where it belongs."""

import base64
import hashlib
import importlib.util
import io
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "book" / "tools" / "vendor.py"


@pytest.fixture
def vendor(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("vendor", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENDOR", tmp_path / "vendor")
    return module


def archive(*names):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    return packed.getvalue()


def trusted(vendor, monkeypatch, data):
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    monkeypatch.setitem(vendor.HASHES, vendor.MATHJAX, digest)


def test_every_archive_is_pinned_by_a_hash(vendor):
    assert set(vendor.HASHES) == {vendor.MATHJAX, vendor.MANAGER, vendor.REVEAL}
    assert all(len(base64.b64decode(digest)) == 64 for digest in vendor.HASHES.values())


def test_another_archive_is_refused_before_anything_is_written(vendor):
    with pytest.raises(ValueError, match=f"{vendor.MATHJAX} has the SHA-512"):
        vendor.unpack("mathjax", vendor.MATHJAX, archive("package/es5/tex-chtml.js"))
    assert not vendor.VENDOR.exists()


def test_the_wanted_files_are_unpacked(vendor, monkeypatch):
    data = archive("package/es5/tex-chtml.js", "package/es5/tex-svg.js", "package/LICENSE")
    trusted(vendor, monkeypatch, data)
    vendor.unpack("mathjax", vendor.MATHJAX, data)
    found = sorted(path.relative_to(vendor.VENDOR).as_posix() for path in vendor.VENDOR.rglob("*.*"))
    assert found == ["mathjax/tex-chtml.js"]
    assert (vendor.VENDOR / "mathjax" / "LICENSE").is_file()


@pytest.mark.parametrize(
    "name",
    [
        "package/es5/output/chtml/../../../../../evil.js",
        "../LICENSE",
        "/package/LICENSE",
        "package/es5\\..\\x.js",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_written(vendor, monkeypatch, name):
    data = archive("package/es5/tex-chtml.js", name)
    trusted(vendor, monkeypatch, data)
    with pytest.raises(ValueError, match="holds the path"):
        vendor.unpack("mathjax", vendor.MATHJAX, data)
    assert not vendor.VENDOR.exists()
