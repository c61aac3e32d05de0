"""Write what the page "Draw a digit" asks for: six networks as ONNX files, and a hundred test digits.

Run from anywhere: python book/tools/exports.py. What it writes lies in book/_static/networks, which git
ignores; it is made again where the networks or this script have changed. The networks are those of the record
``drawing``.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

import compresslab as cl
from compresslab.teaching import records

FOLDER = Path(__file__).resolve().parent.parent / "_static" / "networks"
DIGITS = 100  # the first of the test split


def networks() -> dict[str, Path]:
    """Return the recorded files by the names of their networks."""
    found = records.load("drawing")["networks"]
    return {name: records.path(one["file"]) for name, one in found.items()}


def stamp() -> str:
    """Return a digest of all that the folder is made from."""
    made_from = [Path(__file__), records.path("drawing.json"), *networks().values()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in made_from)).hexdigest()


def write_digits() -> list[int]:
    """Write the images one behind the other, a byte for a pixel, and return their labels."""
    shown = cl.data.digits().test[:DIGITS]
    pixels = (255 * shown.images).round().numpy().astype(np.uint8)
    (FOLDER / "digits.bin").write_bytes(pixels.tobytes())
    return shown.labels.tolist()


def main() -> None:
    listed = FOLDER / "networks.json"
    if listed.is_file() and json.loads(listed.read_text(encoding="utf-8"))["stamp"] == stamp():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    listed.unlink(missing_ok=True)
    sizes = {}
    for name, path in networks().items():
        cl.export_onnx(cl.load(path), FOLDER / f"{name}.onnx")
        sizes[name] = path.stat().st_size
    told = {"bytes": sizes, "labels": write_digits(), "stamp": stamp()}
    listed.write_text(json.dumps(told) + "\n", encoding="utf-8")
    print(f"{len(sizes)} networks and {DIGITS} digits: book/_static/networks")


if __name__ == "__main__":
    main()
