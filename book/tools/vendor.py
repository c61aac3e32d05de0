"""Bring MathJax and the widget manager into the book, so that the built pages need no network.

Run as a script it fetches both from npm into book/_static/vendor, which git ignores. As a Sphinx
extension it points the pages at those copies, or leaves the public CDN in place where they are missing.
"""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

VENDOR = Path(__file__).resolve().parent.parent / "_static" / "vendor"
MATHJAX, MANAGER = "mathjax@3.2.2", "@jupyter-widgets/html-manager@1.0.15"
FALLBACK = "the pages will load MathJax and the widgets from a public CDN."
FONTS = {".woff", ".woff2", ".ttf", ".eot", ".svg"}


def wanted(package: str, path: PurePosixPath) -> PurePosixPath | None:
    """Say where a file of a package belongs under VENDOR; None for what the pages never load."""
    if path.name in ("LICENSE", "package.json"):
        return PurePosixPath(package) / path.name if len(path.parts) == 2 else None
    if package == "mathjax" and path.is_relative_to("package/es5"):
        inner = path.relative_to("package/es5")
        keep = inner.name == "tex-chtml.js" or inner.parts[:2] in [("output", "chtml"), ("input", "tex")]
        return PurePosixPath("mathjax") / inner if keep else None
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
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            place = wanted(package, PurePosixPath(member.name)) if member.isfile() else None
            if place is not None:
                target = VENDOR / place
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read())


def complete() -> bool:
    """Say whether the copies are there, in the versions asked for."""
    stamp = VENDOR / "versions.txt"
    return stamp.is_file() and stamp.read_text() == f"{MATHJAX}\n{MANAGER}\n"


def main() -> None:
    if complete():
        return
    shutil.rmtree(VENDOR, ignore_errors=True)
    if shutil.which("npm") is None:
        print(f"npm is not here: {FALLBACK}")
        return
    try:
        fetch("mathjax", MATHJAX)
        fetch("widgets", MANAGER)
    except (subprocess.CalledProcessError, OSError, StopIteration) as error:
        shutil.rmtree(VENDOR, ignore_errors=True)
        print(f"npm could not fetch ({error}): {FALLBACK}")
        return
    (VENDOR / "versions.txt").write_text(f"{MATHJAX}\n{MANAGER}\n")
    print("MathJax and the widget manager: book/_static/vendor")


def use_local_copies(app, config) -> None:
    if complete():
        config.mathjax_path = "vendor/mathjax/tex-chtml.js"
        config.nb_ipywidgets_js = {"vendor/widgets/embed.js": {}}


def setup(app) -> dict:
    app.connect("config-inited", use_local_copies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    main()
