"""Write tensors as bytes and read them back, each value checked on its way in and out."""

import sys
from collections.abc import Collection
from dataclasses import replace
from io import BufferedIOBase

import numpy as np
import torch
from torch import Tensor, nn

from compresslab.coding.bits import pack, packed_size
from compresslab.coding.choosing import write_codes, write_places
from compresslab.coding.planes import Coding, Stream
from compresslab.errors import CompressionError, FormatError
from compresslab.quantization.scheme import QuantizedTensor, Scheme
from compresslab.storage.header import LAYOUTS, Entry
from compresslab.storage.strict import refusing

Stored = Tensor | QuantizedTensor
Written = tuple[Entry, list[bytes]]

_SLICE = 1 << 16  # levels looked at in one go: 256 kB, however many rows a weight has


def write(name: str, value: Stored, coders: Collection[str]) -> Written:
    """Describe a tensor as the file will hold it, and write it.

    Args:
        name: of the tensor.
        value: numbers, or a quantized weight.
        coders: of ``planes.CODERS``, those to choose from; none for raw values and codes side by side.

    Raises:
        CompressionError: it is of a kind that no file can hold, cannot be read from memory, or could not
            be loaded again.
    """
    entry = _entry_of(name, value)
    try:
        if isinstance(value, QuantizedTensor):
            return _codes(entry, value, coders)
        return _numbers(entry, value, coders)
    except (CompressionError, RuntimeError, TypeError) as error:
        raise CompressionError(f"{name} cannot be saved: {error}") from error


def tie(name: str, place: int, written: Written) -> Written:
    """Describe a tensor that was written before, under the name of another place."""
    return replace(written[0], name=name, same=place), []


def _entry_of(name: str, value: Stored) -> Entry:
    if isinstance(value, QuantizedTensor):
        return Entry(name, value.shape, "packed", value.scheme)
    if nn.parameter.is_lazy(value):
        raise CompressionError(f"{name} has no shape yet; run the model once before it is saved.")
    if value.layout != torch.strided or value.dtype not in LAYOUTS:
        raise CompressionError(
            f"{name} is a {value.layout} tensor of {value.dtype}, which no file can hold; "
            f"convert it to a dense tensor of {', '.join(map(str, LAYOUTS))}."
        )
    return Entry(name, tuple(value.shape), LAYOUTS[value.dtype])


def _codes(entry: Entry, value: QuantizedTensor, coders: Collection[str]) -> Written:
    check_values(value)
    codes = value.codes.cpu().contiguous().view(torch.uint8).numpy().reshape(entry.matrix_shape)
    low = value.scheme.code_range[0] % 256
    parameters = [_raw(value.parameters[key]) for key in entry.parameters]
    if not coders:
        return entry, [pack(codes, value.bits, low), *parameters]
    coding, planes = write_codes(codes, value.bits, coders, low)
    return replace(entry, coding=coding), [*planes, *parameters]


def _numbers(entry: Entry, value: Tensor, coders: Collection[str]) -> Written:
    """Leave out what is zero in every bit; minus zero is a number like any other."""
    raw = _raw(value)
    units = np.frombuffer(raw, f"u{entry.dtype.itemsize}").reshape(entry.matrix_shape)
    if not coders or value.dim() == 0 or (mask := np.asarray(units != 0)).all():
        return entry, [raw]
    coding, planes = write_places(mask, entry.dtype.itemsize, coders)
    return replace(entry, coding=coding), [*planes, units[mask].tobytes() if coding else raw]


def from_stream(entry: Entry, stream: BufferedIOBase) -> Stored:
    """Read the tensor that an entry describes, no more and no less.

    Raises:
        FormatError: the stream ends early, or values are impossible.
    """
    if entry.scheme is not None:
        return _read_weight(entry, entry.scheme, stream)
    if entry.coding is None:
        return _read(entry.name, entry.shape, entry.dtype, stream)
    planes = [stream.read(plane.length) for plane in entry.coding.planes]
    with refusing(f"The places of {entry.name!r:.80}"):
        mask = entry.coding.mask(planes, entry.matrix_shape)
    tensor = torch.zeros(entry.matrix_shape, dtype=entry.dtype)
    tensor[torch.from_numpy(mask)] = _read(entry.name, (entry.coding.kept,), entry.dtype, stream)
    return tensor.reshape(entry.shape)


def _read_weight(entry: Entry, scheme: Scheme, stream: BufferedIOBase) -> QuantizedTensor:
    codes = torch.from_numpy(_read_codes(entry, scheme, stream)).view(entry.dtype)
    parameters = {
        key: _read(f"{entry.name}, {key}", shape, dtype, stream)
        for key, (shape, dtype) in entry.parameters.items()
    }
    value = QuantizedTensor(scheme, codes.reshape(entry.shape), parameters)
    with refusing(f"{entry.name!r:.80}"):
        check_values(value)
    return value


def _read_codes(entry: Entry, scheme: Scheme, stream: BufferedIOBase) -> np.ndarray:
    """Read codes, packed side by side where nothing else is said; what they were read from is let go."""
    packed = Stream("packed", entry.count, packed_size(entry.count, scheme.bits))
    coding = entry.coding or Coding("dense", 0, entry.count, (packed,))
    planes = [stream.read(plane.length) for plane in coding.planes]
    with refusing(f"The codes of {entry.name!r:.80}"):
        codes = coding.matrix(planes, entry.matrix_shape, scheme.bits)
    np.add(codes, scheme.code_range[0] % 256, out=codes)  # modulo 256: the same byte, read as int8 later
    return codes


def check_values(value: QuantizedTensor) -> None:
    """Hold the codes within their range, and every level they can stand for to a finite number.

    Raises:
        CompressionError: they are not.
    """
    low, high = value.scheme.code_range
    least, most = (int(extreme) for extreme in torch.aminmax(value.codes))
    if least < low or most > high:
        raise CompressionError(f"codes run from {least} to {most}; {value.scheme} has {low} to {high}.")
    rows = len(next(iter(value.parameters.values())))
    step = max(1, _SLICE >> value.bits)
    for start in range(0, rows, step):
        part = {key: parameter[start : start + step] for key, parameter in value.parameters.items()}
        if not bool(torch.isfinite(value.scheme.levels(part)).all()):
            raise CompressionError(
                f"the levels of {value.scheme} are not all finite; the weight has overflowed."
            )


def _raw(tensor: Tensor) -> bytes:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return _little_endian(data, tensor.dtype.itemsize).tobytes()


def _read(name: str, shape: tuple[int, ...], dtype: torch.dtype, stream: BufferedIOBase) -> Tensor:
    tensor = torch.empty(shape, dtype=dtype)
    data = tensor.reshape(-1).view(torch.uint8).numpy()
    if stream.readinto(memoryview(data)) != data.size:  # type: ignore[attr-defined]
        raise FormatError(f"The file ended within {name!r:.80}; it was changed while it was read.")
    if dtype == torch.bool and data.size and data.max() > 1:
        raise FormatError(f"{name!r:.80} holds a byte of {data.max()} where true or false should be.")
    data[:] = _little_endian(data, dtype.itemsize)
    return tensor


def _little_endian(data: np.ndarray, itemsize: int) -> np.ndarray:
    """Swap the bytes of each value where the machine's order is not the file's; its own inverse."""
    if sys.byteorder == "little":
        return data
    return data.reshape(-1, itemsize)[:, ::-1].reshape(-1)
