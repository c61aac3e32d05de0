"""A builder and its arguments in a few bytes, for compact files."""

import inspect
import io
from typing import Any

from compresslab.errors import FormatError
from compresslab.models.builders import BUILDERS
from compresslab.storage.header import Builder

OWN = ("article", "lenet_300_100", "lenet5", "residual")  # builders by number; new ones come behind


def _parameters(name: str) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(BUILDERS[name]).parameters.values() if p.kind != p.KEYWORD_ONLY]


def write_builder(builder: Builder) -> bytes:
    """Write a builder's number, how many arguments follow, and these: all but the last that are defaults."""
    name, arguments = builder
    found = [(arguments.get(p.name, p.default), p.default) for p in _parameters(name)]
    while found and _plain(found[-1][0]) == _plain(found[-1][1]):
        found.pop()
    numbers = [
        n for value, _ in found for n in ([len(value), *value] if isinstance(value, list) else [value])
    ]
    return bytes([OWN.index(name) + 16 * len(found)]) + b"".join(map(_natural, numbers))


def read_builder(rest: io.BytesIO) -> Builder:
    """Read back what ``write_builder`` wrote.

    Raises:
        FormatError: it would have been written in another way, or is not known.
    """
    given, number = divmod(one_byte(rest), 16)
    if number >= len(OWN) or given > len(parameters := _parameters(OWN[number])):
        raise FormatError(f"The builder {number} with {given} arguments is not known.")
    arguments: dict[str, Any] = {}
    for parameter in parameters[:given]:
        value: Any = _read_natural(rest)
        if isinstance(parameter.default, tuple):
            value = [_read_natural(rest) for _ in range(value)]
        elif isinstance(parameter.default, bool) and value < 2:
            value = bool(value)
        arguments[parameter.name] = value
    if given and value == _plain(parameters[given - 1].default):
        raise FormatError("The last argument of the builder is its default; it would have been left out.")
    return OWN[number], arguments


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _natural(value: int) -> bytes:
    """Write a number in one byte, or where it is 128 or more in two: its low seven bits, then the others."""
    return bytes([value]) if value < 128 else bytes([128 + value % 128, value // 128])


def _read_natural(rest: io.BytesIO) -> int:
    if (low := one_byte(rest)) < 128:
        return low
    if not 0 < (high := one_byte(rest)) < 128:
        raise FormatError(f"A number of the builder's ends on {high}; it is written in another way.")
    return low - 128 + 128 * high


def one_byte(rest: io.BytesIO) -> int:
    if not (found := rest.read(1)):
        raise FormatError("The file ends within its head.")
    return found[0]
