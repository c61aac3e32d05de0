"""Read values that come from a stranger: JSON without surprises, and one way to refuse."""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

from compresslab.errors import FormatError

_DEEPEST = 6

T = TypeVar("T")


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
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            object_pairs_hook=_unique_keys,
        )
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The header is not JSON that this package reads: {error}.") from None
    _check_depth(value)
    return value


def refusing(action: Callable[[], T], what: str) -> T:
    """Do what the file asks for; if that fails, blame the file.

    Why: code that meets values from a stranger may stumble in its own way; all of it is a FormatError.
    """
    try:
        return action()
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise FormatError(f"{what}: {error!s:.400}") from None


def refuse_repeated(names: Iterable[str], kind: str) -> None:
    """Refuse a name that comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FormatError(f"The header holds the {kind} {name!r:.80} twice.")
        seen.add(name)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise FormatError(f"The header is nested deeper than {_DEEPEST} levels.")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse_constant(text: str) -> NoReturn:
    raise FormatError(f"The header holds {text}, which is not a number.")


def _finite_float(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise FormatError(f"The header holds the number {text:.40}, which is too large.")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    refuse_repeated((key for key, _ in pairs), "key")
    return dict(pairs)
