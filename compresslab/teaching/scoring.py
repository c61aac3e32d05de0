"""Judge a file of the challenge, which may come from a stranger: the smallest file that still reads digits.

    python -m compresslab score FILE [--final] [--name NAME]

Nothing of the file is run or believed. Its size, memory and multiplications are known before the first digit
is read, and a clock runs while they are. The page "The challenge" has the rules.
"""

import csv
import hashlib
import io
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from compresslab.errors import CompressionError
from compresslab.measuring.costs import count_macs
from compresslab.models.checking import copy_of
from compresslab.models.inputs import answers_of
from compresslab.storage.container import decode
from compresslab.training.accuracy import Accuracy, evaluate
from compresslab.training.batching import Split
from compresslab.training.datasets import digits

BAR = 0.97  # of the test digits: what a file must read to be ranked
LARGEST, MEMORY = 1_500_000, 16_000_000  # bytes on disk, and of what ``load`` may allocate
MACS, SECONDS = 20_000_000, 20.0  # multiplications for one digit; processor time for all of them
BATCH = 20  # digits at once, so that wide layers take little memory
CLASSES = 10
COLUMNS = ("Bytes", "Right", "Name", "Track", "Digest")
_NAME = re.compile(r"\w[\w .+-]{0,39}")


@dataclass(frozen=True)
class Row:
    """Hold what the leaderboard says of one file.

    Args:
        bytes_on_disk: the size of the file.
        accuracy: on the validation digits, or on the test digits where that was asked for.
        name: what its maker calls it.
        track: "book" for a network of the book, which the file alone rebuilds; "own" for any other.
        digest: the first 16 hexadecimal digits of the file's SHA-256.

    >>> print(Row(8170, Accuracy(970, 1000), "by search", "book", "0123456789abcdef"))
    8170,970 of 1000,by search,book,0123456789abcdef
    """

    bytes_on_disk: int
    accuracy: Accuracy
    name: str
    track: str
    digest: str

    def __str__(self) -> str:
        right = f"{self.accuracy.correct} of {self.accuracy.total}"
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(
            [self.bytes_on_disk, right, self.name, self.track, self.digest]
        )
        return line.getvalue()


def score(
    path: str | Path, *, final: bool = False, name: str | None = None, into: nn.Module | None = None
) -> Row:
    """Read a file within the limits of the challenge, and count the digits that its network reads.

    Args:
        path: a file that ``save`` wrote.
        final: ask the 1,000 test digits instead of the 500 of validation.
        name: for the leaderboard; the file's own, without its ending, unless given.
        into: a network of one's own, in floats, that the file is loaded into: the second track. The code of
            that network runs; the file's bytes never do.

    Raises:
        CompressionError: the file is damaged or hostile, breaks a rule, or takes too long.
        FileNotFoundError: there is no such file.

    Chapter: 22.
    """
    path = Path(path)
    name = path.stem if name is None else name
    if not _NAME.fullmatch(name):
        raise CompressionError(
            f"asked for the name {name!r:.80}; give one of 1 to 40 letters, digits, spaces and . + - _ that "
            "begins with a letter or digit (--name NAME)"
        )
    data = _bytes_of(path)
    model = decode(data, into, max_bytes=MEMORY)
    _check_rules(model)
    split = digits().test if final else digits().validation
    accuracy = evaluate(model, _in_time(split))
    return Row(
        len(data), accuracy, name, "book" if into is None else "own", hashlib.sha256(data).hexdigest()[:16]
    )


def _bytes_of(path: Path) -> bytes:
    """Return the whole file; it is read once, so that what is counted is what is judged."""
    if path.exists() and not path.is_file():  # a pipe would wait for ever
        raise CompressionError(f"asked to score {path!s:.200}, which is no file; give one that save wrote")
    with path.open("rb") as stream:
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise CompressionError(
            f"the challenge takes files of at most {LARGEST:,} bytes, and this one has more; make it smaller"
        )
    return data


def _check_rules(model: nn.Module) -> None:
    """Ask what the network answers and multiplies, without its numbers: on torch's meta device."""
    blank, images = copy_of(model).to("meta"), torch.zeros(BATCH, 1, 28, 28, device="meta")
    with torch.no_grad():
        answers = answers_of(blank, images)
    if not isinstance(answers, Tensor) or answers.shape != (BATCH, CLASSES):
        found = tuple(answers.shape) if isinstance(answers, Tensor) else type(answers).__name__
        raise CompressionError(
            f"the challenge asks for {CLASSES} numbers for each image of 28 x 28; of {BATCH} images this "
            f"network makes {found!s:.80}; score one that tells the ten digits apart"
        )
    macs = count_macs(blank, images) // BATCH
    if macs > MACS:
        raise CompressionError(
            f"the challenge allows {MACS:,} multiplications for a digit, and this network takes {macs:,}; "
            "cut neurons"
        )


def _in_time(split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the digits in small batches until the processor has worked too long."""
    begin = time.process_time()
    for images, labels in zip(split.images.split(BATCH), split.labels.split(BATCH), strict=True):
        if time.process_time() - begin > SECONDS:
            raise CompressionError(
                f"the challenge allows {SECONDS:.0f} s of processor time for {len(split):,} digits, and this "
                "network takes more; score a smaller one"
            )
        yield images, labels


def tell(path: str, final: bool, name: str | None) -> int:
    """Print the row of a file, and on the error stream what it means.

    Returns:
        The exit status: 0, or 1 where the file is refused, or 2 where it cannot be read.
    """
    try:
        row = score(path, final=final, name=name)
    except CompressionError as error:
        print(f"Refused: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Cannot read {path!r:.200}: {error.strerror}. Give the path of a .clab file.", file=sys.stderr)
        return 2
    print(row)
    print(_meaning(row, final), file=sys.stderr)
    return 0


def _meaning(row: Row, final: bool) -> str:
    told = f"{row.bytes_on_disk:,} bytes, {row.accuracy!r}"
    if not final:
        return f"{told} on validation. Choose by these; then ask the test digits once: --final."
    if row.accuracy.value < BAR:
        return f"{told} on test. That is below the {BAR:.0%} that a ranked file reads."
    return f"{told} on test. Add the row to book/leaderboard.csv."
