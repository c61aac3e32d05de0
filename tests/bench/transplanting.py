"""Change a function while the program runs, so that nothing needs to be imported again."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from mutating import ROOT, Mutant

MADE = ("__init__", "__setattr__", "__delattr__", "__eq__", "__hash__", "__repr__", "__dataclass_params__")
PLAIN = (bool, int, float, str, bytes, type(None))


class CannotError(Exception):
    """The change is one that only a new import brings."""


def transplant(mutant: Mutant) -> bool:
    """Make a mutant's change in the module that is imported already.

    The code of a function is replaced, or its defaults, or a number that a module names, there and where it
    was imported to. Returns whether it is one outside of functions.

    Raises:
        CannotError: the change is another one, for example in what a class is decorated with.
    """
    path = ROOT / mutant.file
    module = sys.modules[mutant.file.removesuffix(".py").replace("/", ".")]
    source = path.read_bytes()
    old, new = (_compiled(module, path, text) for text in (source, mutant.applied(source)))
    pairs, outside = list(_functions(old, new)), _own(old) != _own(new)
    changed = [(one, other) for one, other in pairs if one != other]
    if not changed and not outside:
        raise CannotError(f"{mutant.mutation} is not seen in the code")
    found = functions()
    for one, other in changed:
        if not found.get(one) or one.co_freevars != other.co_freevars:
            raise CannotError(f"{one.co_qualname} is not found")
        for function in found[one]:
            function.__code__ = other
    if outside and not _replaced(module, new, dict(pairs), found):
        raise CannotError(f"{mutant.mutation} is outside of functions")
    return outside


@cache
def functions() -> dict[CodeType, list[FunctionType]]:
    """Return the functions of the package that are there now, by their code; looked for once."""
    found: dict[CodeType, list[FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename.startswith(str(ROOT / "compresslab")):
            found.setdefault(thing.__code__, []).append(thing)
    return found


def _compiled(module: ModuleType, path: Path, text: bytes) -> CodeType:
    """Compile as the module was, with what the hook on annotations adds."""
    return module.__spec__.loader.source_to_code(text, str(path))  # pyright: ignore


def _own(code: CodeType) -> tuple:
    """Return what a module or class does by itself, without the functions in it."""
    nested = [one for one in code.co_consts if isinstance(one, CodeType)]
    classes = [_own(one) for one in nested if not one.co_flags & inspect.CO_OPTIMIZED]
    values = [(type(one), repr(one)) for one in code.co_consts if not isinstance(one, CodeType)]
    return code.co_code, code.co_names, values, classes


def _functions(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield the outermost functions of two versions of a module, in pairs."""
    sides = [[one for one in code.co_consts if isinstance(one, CodeType)] for code in (old, new)]
    for one, other in zip(*sides, strict=True):
        if one.co_flags & inspect.CO_OPTIMIZED:
            yield one, other
        else:
            yield from _functions(one, other)


def _replaced(module: ModuleType, new: CodeType, pairs: dict, found: dict) -> bool:
    """Run the changed module on the side, and take over the defaults and plain values that are others now."""
    fresh = ModuleType(module.__name__)
    fresh.__dict__.update(__file__=module.__file__, __spec__=module.__spec__, __loader__=module.__loader__)
    exec(new, fresh.__dict__)
    some = False
    for name, kind in fresh.__dict__.items():
        if isinstance(kind, type) and kind.__module__ == module.__name__ and name in module.__dict__:
            some = _class_replaced(module.__dict__[name], kind) or some
    before = {pairs.get(code, code): known for code, known in found.items()}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__globals__ is fresh.__dict__:
            for function in before.get(thing.__code__, ()):
                some = _defaults_replaced(function, thing) or some
    for name, value in fresh.__dict__.items():
        was = module.__dict__.get(name)
        if not name.startswith("__") and _plain(value) and _plain(was) and repr(value) != repr(was):
            for other in list(sys.modules.values()):
                if getattr(other, "__dict__", {}).get(name) is was:
                    other.__dict__[name], some = value, True
    return some


def _defaults_replaced(old: FunctionType, new: FunctionType) -> bool:
    """Take over the plain defaults that are others now."""
    before = old.__defaults__ or (), old.__kwdefaults__ or {}
    placed = [b if _plain(b) else a for a, b in zip(before[0], new.__defaults__ or (), strict=True)]
    named = {name: b if _plain(b) else before[1][name] for name, b in (new.__kwdefaults__ or {}).items()}
    if repr(placed) == repr(list(before[0])) and repr(named) == repr(before[1]):
        return False
    old.__defaults__, old.__kwdefaults__ = tuple(placed) or None, named or None
    return True


def _class_replaced(old: type, new: type) -> bool:
    """Take over plain attributes that are others now, and what a dataclass has from its decorator."""
    some = False
    for name, value in list(vars(new).items()):
        if not name.startswith("__") and _plain(value) and repr(value) != repr(vars(old).get(name)):
            setattr(old, name, value)
            some = True
    if is_dataclass(new) and (_said(new) != _said(old) or some):
        some = True
        for name in MADE:
            if name in vars(new):
                setattr(old, name, vars(new)[name])
            elif name in vars(old):
                delattr(old, name)
    return some


def _said(kind: type) -> str:
    """Return what a dataclass says of itself and its fields, without the addresses of what it refers to."""
    flags = [(f.name, f.init, f.repr, f.hash, f.compare, f.kw_only) for f in fields(kind)]
    return repr((kind.__dataclass_params__, flags, [_plain(f.default) and f.default for f in fields(kind)]))


def _plain(value) -> bool:
    """Return whether two values of this kind are equal only if they mean the same."""
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    return all(map(_plain, value)) if isinstance(value, tuple) else isinstance(value, PLAIN)
