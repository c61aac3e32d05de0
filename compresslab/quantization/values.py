"""Frozen values as JSON: the name of the class, then its fields; a field may hold such a value itself."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_type_hints

from compresslab.errors import CompressionError, one_of


def to_json(value: Any) -> dict[str, Any]:
    """Write a frozen dataclass as JSON; a flag that is not set is left out, as in every older file."""
    found = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    written = {name: to_json(one) if is_dataclass(one) else one for name, one in found.items()}
    return {"name": type(value).__name__} | {k: v for k, v in written.items() if v is not False}


def from_json(classes: Iterable[type], values: Any, what: str) -> Any:
    """Read back what ``to_json`` wrote, from anywhere; the class itself checks its arguments."""
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise CompressionError(f"A {what} was expected as a mapping with a name; found {values!r:.80}.")
    kinds = {kind.__name__: kind for kind in classes}
    kind = kinds[one_of(values["name"], sorted(kinds), what)]
    choices, given = _choices(kind), {name: value for name, value in values.items() if name != "name"}
    arguments = {k: from_json(choices[k], v, k) if k in choices else v for k, v in given.items()}
    try:
        return kind(**arguments)
    except TypeError as error:
        raise CompressionError(
            f"The {what} {kind.__name__} cannot take {arguments!r:.80}: {error!s:.80}."
        ) from None


@cache
def _choices(kind: type) -> dict[str, tuple[type, ...]]:
    """Return the fields that hold a value, each with the classes it may be of."""
    hints = get_type_hints(kind)
    return {name: get_args(hint) for name, hint in hints.items() if isinstance(hint, UnionType)}


def check_choice(value: Any, choice: Any, what: str) -> None:
    """Refuse what is no value of the classes of ``choice``, a class without its parentheses above all."""
    if not isinstance(value, choice):
        names = ", ".join(f"{kind.__name__}(...)" for kind in get_args(choice))
        raise CompressionError(f"{value!r:.80} was given as {what}; take {names}, with the parentheses.")
