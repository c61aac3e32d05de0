"""Bring what pages and slides run into the book: MathJax, widgets, reveal.js, a runtime for networks.

Run as a script it fetches them from npm into book/_static/vendor, which git ignores. As a Sphinx extension
it points the pages at the first two, or leaves the public CDN in place where they are missing. The runtime
reads networks on one page, which says so where it is missing.
"""

import base64
import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

VENDOR = Path(__file__).resolve().parent.parent / "_static" / "vendor"
MATHJAX, MANAGER = "mathjax@3.2.2", "@jupyter-widgets/html-manager@1.0.15"
RUNTIME, REVEAL = "onnxruntime-web@1.30.0", "reveal.js@5.2.1"
PACKAGES = {"mathjax": MATHJAX, "widgets": MANAGER, "runtime": RUNTIME, "reveal": REVEAL}
HASHES = {  # SHA-512 of the archives, as npm states them: a version alone does not fix what comes
    MATHJAX: "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    MANAGER: "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PTeQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA==",
    RUNTIME: "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    REVEAL: "r7//6mIM5p34hFiDMvYfXgyjXqGRta+/psd9YtytsgRlrpRzFv4RbH76TXd2qD+7ZPZEbpBDhdRhJaFgfQ7zNQ==",
}
FALLBACK = (
    "the pages will load MathJax and the widgets from a public CDN, and no network will read a drawn digit."
)
WASM = "ort-wasm-simd-threaded.wasm"  # 14 MB; it is stored compressed, so that any server sends 4
SLIDES = ("dist/reveal.js", "dist/reveal.css", "dist/reset.css", "plugin/notes/notes.js")
FONTS = {".woff", ".woff2", ".ttf", ".eot", ".svg"}


def wanted(package: str, path: PurePosixPath) -> PurePosixPath | None:
    """Say where a file of a package belongs under VENDOR; None for what the pages never load.

    Raises:
        ValueError: the path leads out of the archive.
    """
    if path.is_absolute() or ".." in path.parts or "\\" in str(path):
        raise ValueError(f"the archive of {package} holds the path {str(path)!r:.200}")
    if path.name in ("LICENSE", "package.json"):
        return PurePosixPath(package) / path.name if len(path.parts) == 2 else None
    if package == "mathjax" and path.is_relative_to("package/es5"):
        inner = path.relative_to("package/es5")
        keep = inner.name == "tex-chtml.js" or inner.parts[:2] in [("output", "chtml"), ("input", "tex")]
        return PurePosixPath("mathjax") / inner if keep else None
    if package == "runtime":
        keep = path in (PurePosixPath("package/dist", name) for name in ("ort.wasm.bundle.min.mjs", WASM))
        return PurePosixPath("runtime") / f"{path.name}{'.gz' * (path.name == WASM)}" if keep else None
    if package == "reveal":
        inner = path.relative_to("package")
        return PurePosixPath("reveal") / path.name if str(inner) in SLIDES else None
    if path.parent == PurePosixPath("package/dist") and (path.name == "embed.js" or path.suffix in FONTS):
        return PurePosixPath("widgets") / path.name
    return None


def fetch(package: str, spec: str) -> None:
    """Download one npm package and unpack the wanted files."""
    with tempfile.TemporaryDirectory() as folder:
        # shell: on Windows npm is a .cmd file, which only a shell finds
        command = ["npm", "pack", spec, "--silent", "--pack-destination", folder]
        subprocess.run(command, check=True, capture_output=True, shell=sys.platform == "win32")
        archive = next(Path(folder).glob("*.tgz")).read_bytes()
    unpack(package, spec, archive)


def unpack(package: str, spec: str, archive: bytes) -> None:
    """Unpack the wanted files of an archive, if it is the one that was asked for.

    Raises:
        ValueError: it is another, or a path in it leads elsewhere; nothing was written.
    """
    found = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != HASHES[spec]:
        raise ValueError(f"the archive of {spec} has the SHA-512 {found}, not {HASHES[spec]}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        places = [(m, wanted(package, PurePosixPath(m.name))) for m in tar.getmembers() if m.isfile()]
        for member, place in places:
            if place is not None:
                target = VENDOR / place
                target.parent.mkdir(parents=True, exist_ok=True)
                data = tar.extractfile(member).read()
                target.write_bytes(gzip.compress(data, mtime=0) if target.suffix == ".gz" else data)


def complete() -> bool:
    """Say whether the copies are there, in the versions asked for."""
    stamp = VENDOR / "versions.txt"
    return stamp.is_file() and stamp.read_text().split() == [*PACKAGES.values()]


def main() -> None:
    if complete():
        return
    shutil.rmtree(VENDOR, ignore_errors=True)
    if shutil.which("npm") is None:
        print(f"npm is not here: {FALLBACK}")
        return
    try:
        for package, spec in PACKAGES.items():
            fetch(package, spec)
    except (subprocess.CalledProcessError, OSError, StopIteration, ValueError, tarfile.TarError) as error:
        shutil.rmtree(VENDOR, ignore_errors=True)
        print(f"npm could not fetch ({error}): {FALLBACK}")
        return
    (VENDOR / "versions.txt").write_text("".join(f"{spec}\n" for spec in PACKAGES.values()))
    print(f"{', '.join(PACKAGES.values())}: book/_static/vendor")


def use_local_copies(app, config) -> None:
    if complete():
        config.mathjax_path = "vendor/mathjax/tex-chtml.js"
        config.nb_ipywidgets_js = {"vendor/widgets/embed.js": {}}


def setup(app) -> dict:
    app.connect("config-inited", use_local_copies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    main()
