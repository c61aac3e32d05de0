"""Read values that come from a stranger: JSON without surprises, types as declared, one way to refuse."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from compresslab.errors import FormatError

DEEPEST = 6  # levels of a header
LONGEST_NUMBER = 20  # digits of a whole number, with its sign

T = TypeVar("T", bound=msgspec.Struct)


def parse_json(data: bytes) -> Any:
    """Parse JSON without NaN, infinity, repeated keys or deep nesting.

    Raises:
        FormatError: the bytes are anything else.

    >>> parse_json(b'{"bits":4}')
    {'bits': 4}
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_int=_short,
            parse_constant=_finite,
            parse_float=_finite,
            object_pairs_hook=_object,
        )
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The header is not JSON that this package reads: {error}.") from None
    _check_depth(value, DEEPEST)
    return value


def declared(value: Any, kind: type[T], what: str) -> T:
    """Read a value as a struct: each field there, of its type and within its bounds, and none beside them.

    Raises:
        FormatError: it is anything else.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, ValueError) as error:  # the latter for half a character of UTF-16
        fields = ", ".join(field.name for field in msgspec.structs.fields(kind))
        raise FormatError(f"{what} must hold {fields}: {error!s:.200}; found {value!r:.80}.") from None


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Blame the file for what goes wrong inside: code may stumble over a stranger's values in its own way."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise FormatError(f"{what}: {error!s:.400}") from None


def refuse_repeated(names: Iterable[str], kind: str) -> None:
    """Refuse a name that comes twice."""
    for name, times in Counter(names).items():
        if times > 1:
            raise FormatError(f"The header holds the {kind} {name!r:.80} twice.")


def _check_depth(value: Any, levels: int) -> None:
    if levels == 0:
        raise FormatError(f"The header is nested deeper than {DEEPEST} levels.")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(child, levels - 1)


def _short(text: str) -> int:
    """Read a whole number; a longer one could not even be printed."""
    if len(text) > LONGEST_NUMBER:
        raise FormatError(f"The header holds a number of {len(text):,} digits, {text:.20}...")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise FormatError(f"The header holds {text:.40}, which is not a finite number.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    refuse_repeated((key for key, _ in pairs), "key")
    return dict(pairs)
