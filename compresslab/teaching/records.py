"""Results of the long experiments, shipped so that a chapter can show what it could not run in a minute.

The scripts in book/records make them; `make records` runs these scripts again.
"""

import json
from pathlib import Path

from compresslab.errors import CompressionError

FOLDER = Path(__file__).with_name("recorded")


def names() -> tuple[str, ...]:
    """Return the names that ``load`` knows.

    >>> names()[:3]
    ('capstone', 'checkpoints', 'deep_compression')
    """
    return tuple(sorted(file.stem for file in FOLDER.glob("*.json")))


def files() -> tuple[str, ...]:
    """Return the names that ``path`` knows: every file, with its folder in front and its ending.

    >>> [name for name in files() if name.startswith("deep")][:2]
    ['deep_compression.json', 'deep_compression/digits_article_0.clab']
    """
    return tuple(sorted(file.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("*") if file.is_file()))


def load(name: str) -> dict:
    """Return the record of an experiment, as its script wrote it.

    Raises:
        CompressionError: there is no record of that name.

    >>> load("training_through_quantization")["methods"]["binary"]["chosen"]
    0.001
    """
    if name not in names():
        raise CompressionError(
            f"asked for the record {name!r:.80}, shipped are {', '.join(names())}; choose one of these"
        )
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def path(name: str) -> Path:
    """Return where a file that belongs to a record lies on this machine.

    Raises:
        CompressionError: there is no file of that name.

    >>> path("deep_compression/digits_article_0.clab").stat().st_size
    8882
    """
    if name not in files():
        raise CompressionError(
            f"asked for the recorded file {name!r:.80}, shipped are {', '.join(files())}; choose one of these"
        )
    return FOLDER / name
