"""What can be changed in a file, one place at a time, and which changes are drawn."""

from __future__ import annotations

import ast
import zlib
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MUTATED = ("quantization", "integers", "surgery", "coding", "storage", "measuring", "pruning")

COMPARISONS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
KINDS = ("comparison", "off by one", "swapped", "dropped", "constant")
PAIRS = ("min max", "amin amax", "minimum maximum", "argmin argmax", "floor ceil", "any all")
SWAPPED = {left: right for pair in PAIRS for left, right in (pair.split(), reversed(pair.split()))}
SHOWN = ("__repr__", "__str__", "extra_repr", "_repr_html_", "_repr_markdown_")


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes from ``start`` to ``stop`` of a file become others."""

    file: str
    number: int
    lines: tuple[int, int]  # of the statement
    line: str
    mutation: str
    start: int
    stop: int
    text: str
    checksum: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays the same when other lines of the file change."""
        return self.file, self.line, self.mutation

    @property
    def tag(self) -> str:
        """The key in short."""
        return sha256(repr(self.key).encode()).hexdigest()[:10]

    @property
    def room(self) -> str:
        return self.file.split("/")[1]

    def applied(self, source: bytes) -> bytes:
        """Return the file with this change; the lines below keep their numbers."""
        old = source[self.start : self.stop]
        return source[: self.start] + self.text.encode() + b"\n" * old.count(b"\n") + source[self.stop :]


class Finder(ast.NodeVisitor):
    """Collect what can be changed in a file."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.source, self.found = file, source, []
        lines = source.splitlines(keepends=True)
        self.lines, self.starts = lines, [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
        self.statement = (1, len(lines))
        self.visit(ast.parse(source))

    def visit(self, node) -> None:
        """Remember the lines of the statement that is being looked through, without those of its body."""
        before = self.statement
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            self.statement = node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
        super().visit(node)
        self.statement = before

    def add(self, node, kind: str, text: str, start: int | None = None, stop: int | None = None) -> None:
        first = self.starts[node.lineno - 1] + node.col_offset if start is None else start
        last = self.starts[node.end_lineno - 1] + node.end_col_offset if stop is None else stop
        old = " ".join(self.source[first:last].decode().split())
        number = self.source.count(b"\n", 0, first) + 1
        line = self.lines[number - 1].decode().strip()
        mutant = Mutant(
            self.file,
            number,
            self.statement,
            line,
            f"{kind}: {old} -> {text}",
            first,
            last,
            text,
            self.checksum,
        )
        twins = sum(one.line == line and one.mutation.startswith(mutant.mutation) for one in self.found)
        self.found.append(replace(mutant, mutation=mutant.mutation + f" ({twins + 1})" * bool(twins)))

    @property
    def checksum(self) -> int:
        return zlib.crc32(self.source)

    def visit_FunctionDef(self, node) -> None:
        if node.name not in SHOWN:
            for child in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
                self.visit(child)

    def visit_AnnAssign(self, node) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node) -> None:
        if not (isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"):
            if not isinstance(node.targets[0], ast.Name | ast.Tuple):
                self.add(node, "dropped", "pass")
            self.generic_visit(node)

    def visit_Raise(self, node) -> None:
        self.add(node, "dropped", "pass")  # and nothing inside: a message is no law

    def visit_AugAssign(self, node) -> None:
        self.add(node, "dropped", "pass")
        self.generic_visit(node)

    def visit_Expr(self, node) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            if isinstance(node.value, ast.Call):
                self.add(node, "dropped", "pass")
            self.generic_visit(node)

    def visit_keyword(self, node) -> None:
        if node.arg != "strict":  # zip's own assertion, which no right code ever meets
            self.visit(node.value)

    def visit_JoinedStr(self, node) -> None:
        """Leave texts alone."""

    def visit_Compare(self, node) -> None:
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            old, new = COMPARISONS[type(op)]
            start = self.starts[left.end_lineno - 1] + left.end_col_offset
            stop = self.starts[right.lineno - 1] + right.col_offset
            place = self.source.find(old.encode(), start, stop)
            if place >= 0:
                self.add(node, "comparison", new, place, place + len(old))
        self.generic_visit(node)

    def visit_Constant(self, node) -> None:
        if isinstance(node.value, bool):
            self.add(node, "constant", str(not node.value))
        elif isinstance(node.value, int):
            self.add(node, "off by one", str(node.value + 1))
            if node.value > 0:
                self.add(node, "off by one", str(node.value - 1))
        elif isinstance(node.value, float):
            self.add(node, "constant", repr(2 * node.value or 1.0))

    def visit_Name(self, node) -> None:
        if node.id in SWAPPED and isinstance(node.ctx, ast.Load):
            self.add(node, "swapped", SWAPPED[node.id])

    def visit_Attribute(self, node) -> None:
        if node.attr in SWAPPED:
            stop = self.starts[node.end_lineno - 1] + node.end_col_offset
            self.add(node, "swapped", SWAPPED[node.attr], stop - len(node.attr), stop)
        self.generic_visit(node)


def drawn(count: int, seed: int) -> list[Mutant]:
    """Draw as many mutants of each kind, of all that there are in these rooms, in an order fixed by a seed.

    The place of each in the order depends on its own line alone, so that a change elsewhere moves few.
    """
    found = []
    for path in sorted(path for room in MUTATED for path in (ROOT / "compresslab" / room).glob("*.py")):
        if path.name != "__init__.py":
            found += Finder(str(path.relative_to(ROOT)), path.read_bytes()).found
    found.sort(key=lambda mutant: sha256(repr((seed, mutant.key)).encode()).digest())
    kinds = [[mutant for mutant in found if mutant.mutation.startswith(kind)] for kind in KINDS]
    return [mutant for turn in zip_longest(*kinds) for mutant in turn if mutant is not None][:count]
