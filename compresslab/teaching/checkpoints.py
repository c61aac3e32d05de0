"""Trained reference networks, shipped so that no chapter retrains what it does not teach."""

import hashlib
import json
from pathlib import Path

from torch import nn

from compresslab.errors import CompressionError, FormatError
from compresslab.models.builders import BUILDERS
from compresslab.storage.container import load as load_file

FOLDER = Path(__file__).with_name("reference")
CHECKSUMS = FOLDER / "checksums.json"


def names() -> tuple[str, ...]:
    """Return the names that ``load`` knows.

    >>> names()
    ('article', 'lenet_300_100', 'lenet5', 'residual')
    """
    return tuple(BUILDERS)


def load(name: str) -> nn.Module:
    """Return a network trained on ``data.digits()``, in evaluation mode.

    Made by book/records/train_checkpoints.py from fixed seeds; ``records.load("checkpoints")`` says what
    each can do.

    Raises:
        CompressionError: there is no checkpoint of that name.
        FormatError: the shipped file is missing or is not the one we made.
    """
    if name not in names():
        raise CompressionError(f"asked for the checkpoint {name!r:.80}, shipped are {', '.join(names())}")
    path = FOLDER / f"{name}.clab"
    expected = json.loads(CHECKSUMS.read_text(encoding="utf-8"))[name]
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if found != expected:
        raise FormatError(
            f"asked for the checkpoint {name}, found {path.name} with sha256 {found[:12]} instead of "
            f"{expected[:12]}; install the package again"
        )
    return load_file(path).eval()
