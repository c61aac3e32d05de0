"""Save a model as one small file, and load it without trusting the file.

Loading never runs code from a file and never believes a number in it: sizes are held against the file
and a limit before anything is allocated, names and shapes against the network they are for.
"""

import io
import os
import stat
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from io import BufferedIOBase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn
from tqdm import tqdm

from compresslab.coding.planes import CODERS
from compresslab.errors import CompressionError, FormatError, one_of
from compresslab.models.builders import build, builder_of
from compresslab.models.checking import check_model
from compresslab.storage import compact, integers
from compresslab.storage.files import target_of, write_whole
from compresslab.storage.header import LARGEST_HEADER, MAGIC, PRELUDE, VERSION, Entry, Header
from compresslab.storage.limits import MAX_BYTES, check_limit, most_work
from compresslab.storage.opening import checksum, read_header
from compresslab.storage.slots import check_fit, fill, tensors_of
from compresslab.storage.strict import refusing
from compresslab.storage.tensors import Stored, Written, from_stream, tie, write

PARTS = ("header", "codes", "scales", "indices", "biases", "weights")


def save(model: nn.Module, path: str | Path, *, plain: bool = False, coding: str | None = None) -> None:
    """Write a model to one file, whole or not at all.

    The bytes go to a temporary file beside the target, which takes its place in one step: a save that
    is killed leaves the old file as it was, and the next one sweeps what it left behind. A file keeps its
    mode, and its owner where that is allowed; a link is followed. A terminal shows the progress.

    Args:
        model: one of the book's networks, cut or quantized too, or any other module.
        path: the file; the ending is by custom ``.clab``.
        plain: write codes side by side and numbers as they are. Otherwise each tensor is written in
            whatever way takes the fewest bytes (chapter 18); what is loaded is the same.
        coding: ``"mixing"`` for the smallest files (chapter 23): one of the book's networks, its weights as
            codes of ``Symmetric`` with one scale each, its biases too or in floats. All codes become one
            number with hardly a header. A scheme's bits come back as the fewest that hold the codes. It is
            slow, and refuses a network of more than about 40,000 weights.

    Raises:
        CompressionError: the model holds something that no file can hold, or the path is a folder, is
            read-only or one of several hard links; nothing was written.
        OSError: the folder is missing, the disk is full, or the like; the old file is untouched.

    Chapter: 02.
    """
    target = target_of(path)
    write_whole(target, _written(model, () if plain else tuple(CODERS), plain, coding)[0])


def load(
    path: str | Path, into: nn.Module | None = None, max_bytes: int = MAX_BYTES, example: Any = None
) -> nn.Module:
    """Read a model from a file, which may come from a stranger.

    Args:
        path: a file that ``save`` wrote.
        into: a float module with the names of the file's tensors. It is filled and returned, and its
            layers get the widths of the file, so that a cut network loads into one that is not; if
            anything is wrong it stays as it was. Leave it out for the book's own networks. Of an integer
            network it is the one that was converted; a new network is returned.
        max_bytes: what the file may make this call allocate, a megabyte of working space aside.
        example: inputs of ``into``, needed where it takes other widths and reads no usual images.

    Returns:
        The model in evaluation mode, on the devices of ``into`` or the CPU. Its answers are those of
        the saved model, bit for bit.

    Raises:
        FormatError: the file is damaged, not one of ours, or would need more than ``max_bytes``.
        CompressionError: the file is good but does not fit ``into``.
        FileNotFoundError: there is no such file.

    Chapter: 02.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait for ever
        raise FormatError(f"{path} is not a file.")
    with open(path, "rb") as stream:
        return _load(stream, os.fstat(stream.fileno()).st_size, into, max_bytes, example)


def encode(
    model: nn.Module,
    *,
    plain: bool = False,
    coders: Collection[str] = tuple(CODERS),
    coding: str | None = None,
) -> tuple[bytes, Mapping[str, int]]:
    """Write a model as the bytes of a file, and count them by part.

    Args:
        model, plain, coding: as in ``save``.
        coders: those that may write a tensor's planes, to see what one of them is worth.

    Returns:
        The bytes, and how many of them are header, codes, scales (and codebooks), indices, biases and
        other weights in floats; the parts add up to the whole.

    Raises:
        CompressionError: the model holds something that no file can hold.

    >>> from compresslab import models
    >>> data, parts = encode(models.article())
    >>> parts["weights"] + parts["biases"], sum(parts.values()) == len(data)
    (1334104, True)
    """
    pieces, entries = _written(model, () if plain else coders, plain, coding)
    parts, size = Counter(), sum(map(len, pieces))
    for entry in entries:
        parts.update(entry.bytes_by_part)
    parts["header"] += size - sum(parts.values())
    return b"".join(pieces), MappingProxyType({part: parts[part] for part in PARTS})


def decode(
    data: bytes, into: nn.Module | None = None, max_bytes: int = MAX_BYTES, example: Any = None
) -> nn.Module:
    """Read a model from the bytes of a file; see ``load``."""
    return _load(io.BytesIO(data), len(data), into, max_bytes, example)


def contents(data: bytes, max_bytes: int = MAX_BYTES) -> tuple[Entry, ...]:
    """List the tensors of a file and how each is written, without loading any.

    Raises:
        FormatError: as ``load`` does.

    >>> from compresslab import models
    >>> contents(encode(models.article())[0])[1].bytes_by_part
    {'biases': 128}
    """
    if compact.is_compact(data[:1]):
        check_limit(len(data), max_bytes)
        return compact.read(data, max_bytes).entries
    return read_header(io.BytesIO(data), len(data), max_bytes).entries


def _written(
    model: nn.Module, coders: Collection[str], plain: bool, coding: str | None
) -> tuple[list[bytes], Sequence[Entry]]:
    """Return a file's pieces, in their order, and what it says of each tensor."""
    if coding is None:
        pieces, header = _pieces(model, coders)
        return pieces, header.entries
    one_of(coding, ("mixing",), "coding")
    if plain:
        raise CompressionError("A plain file has no coding; leave out one of plain=True and coding='mixing'.")
    check_model(model)
    data, entries = compact.write(model)
    return [data], entries


def _pieces(model: nn.Module, coders: Collection[str]) -> tuple[list[bytes], Header]:
    """Return a file's pieces, in their order, and what its header says."""
    check_model(model)
    listed = integers.integer_tensors(model) if integers.is_integer(model) else tensors_of(model)
    tensors = tqdm(listed.items(), "encoding", unit="tensor", disable=None, delay=1, leave=False)
    written: list[Written] = []
    first: dict[int, int] = {}  # where a tensor was written, which stands in several places
    for name, value in tensors:
        place = first.setdefault(id(value), len(written))
        tied = place < len(written)
        written.append(tie(name, place, written[place]) if tied else write(name, value, coders))
    builder = integers.builder_of_integers(model) if integers.is_integer(model) else builder_of(model)
    header = Header(builder, tuple(entry for entry, _ in written))
    payload = [piece for _, pieces in written for piece in pieces]
    if "context" in coders and sum(e.work for e in header.entries) > most_work(sum(map(len, payload)), 0):
        return _pieces(model, [coder for coder in coders if coder != "context"])  # it would be refused
    head = header.to_bytes()
    _check_loadable(header, head)
    start = PRELUDE.pack(MAGIC, VERSION, len(head), 0)
    start = PRELUDE.pack(MAGIC, VERSION, len(head), checksum(start, [head, *payload]))
    return [start, head, *payload], header


def _load(
    stream: BufferedIOBase, size: int, into: nn.Module | None, max_bytes: int, example: Any
) -> nn.Module:
    check_limit(size, max_bytes)
    start = stream.read(1)
    if compact.is_compact(start):
        return _load_compact(compact.read(start + stream.read(), max_bytes), into, example)
    stream.seek(0)
    header = read_header(stream, size, max_bytes)
    if integers.is_of_integers(header.builder):
        with refusing("The file does not hold an integer network that can be built"):
            model = integers.blank(header.builder, into)
            integers.check_integers(header.entries, model)
    elif into is None:
        with refusing("The file does not hold a network that can be built"):
            model = _build(header)
            check_fit(header.entries, model)
    else:
        model = into
        if not isinstance(into, nn.Module) or not any(tensor.is_meta for tensor in into.parameters()):
            check_model(into)
        check_fit(header.entries, model, resize=True, example=example)
    values: dict[str, Stored] = {}
    for entry in header.entries:
        tied = None if entry.same is None else values[header.entries[entry.same].name]
        values[entry.name] = from_stream(entry, stream) if tied is None else tied
    if integers.is_of_integers(header.builder):
        integers.fill_integers(model, values)
    else:
        fill(model, values)
    return model.eval()


def _load_compact(found: compact.Compact, into: nn.Module | None, example: Any) -> nn.Module:
    model = build(*found.builder, device="meta") if into is None else into
    if into is not None and not any(tensor.is_meta for tensor in into.parameters()):
        check_model(into)
    check_fit(found.entries, model, resize=into is not None, example=example)
    fill(model, found.values)
    return model.eval()


def _build(header: Header) -> nn.Module:
    """Build the network on torch's meta device: its names and shapes without its memory."""
    if header.builder is None:
        raise CompressionError(
            "The file holds tensors of a module that is not one of the book's networks; "
            "build that module and give it: load(path, into=module)."
        )
    return build(*header.builder, device="meta")


def _check_loadable(header: Header, head: bytes) -> None:
    """Refuse to save what could not be loaded."""
    if len(head) > LARGEST_HEADER or Header.from_bytes(head) != header:
        raise CompressionError(f"The header of {len(head)} bytes would not be read back as it was written.")
    if not integers.is_of_integers(header.builder):
        if header.builder is not None:
            check_fit(header.entries, _build(header))
    elif header.builder[1]["network"] is not None:
        integers.check_integers(header.entries, integers.blank(header.builder, None))
