"""Take the claims out of a cell's code: what participants get says no finding before they have seen it.

A cell that did nothing but claim would then run in silence. It shows what its claims looked at, without the
numbers that they held it against.
"""

import ast
import re
from collections.abc import Iterator

CLAIMS = ("claim", "claims")  # what says a finding and fails where it is false
SHOWS = ("print", "check", "show_source")
QUIET = ("unlink",)  # methods that end a cell and show nothing
MODULES = ("cl", "data", "math", "models", "nn", "np", "torch")  # names that nobody wants to see


def without_claims(source: str, told: bool = False) -> str:
    """Return code without its claims, and with a figure's words left to the reader.

    Args:
        source: the code of a cell.
        told: whether a cell that would now run in silence shows what its claims looked at.

    >>> print(without_claims('x = 1\\nclaim("x is one", x == 1)\\nplot(x, alt="One.")'))
    x = 1
    plot(x, alt="...")
    >>> print(without_claims('x = 1\\nclaim("x is one", x == 1)', told=True))
    x = 1
    x
    """
    lines, tree = source.split("\n"), ast.parse(source)
    told = told and is_silent(tree)
    own = [one for one in tree.body if told and is_claim(one)]
    shown = ", ".join(dict.fromkeys(one for each in own for one in looked_at(each, source)))
    # what the cell clears away at its end is looked at before
    early = own[-1] if own and is_quiet(tree.body[-1]) else None
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        claims = [one for one in body if is_claim(one)] if isinstance(body, list) else []
        for number, one in enumerate(claims):
            inside = told and not isinstance(node, ast.Module)
            all_go = number == 0 and len(claims) == len(body) and not isinstance(node, ast.Module)
            left = f"print({', '.join(looked_at(one, source))})" if inside else "pass" if all_go else None
            left = f"print({shown})" if one is early else left
            lines[one.lineno - 1 : one.end_lineno] = [left and " " * one.col_offset + left] + [None] * (
                one.end_lineno - one.lineno
            )
        if isinstance(node, ast.keyword) and node.arg == "alt":
            first, last = node.value.lineno - 1, node.value.end_lineno - 1
            before, after = lines[first], lines[last]
            if before is not None and after is not None:
                lines[first : last + 1] = [
                    before[: node.value.col_offset] + '"..."' + after[node.value.end_col_offset :],
                    *[None] * (last - first),
                ]
    kept = "\n".join(line for line in [*lines, "" if early else shown] if line is not None)
    return re.sub(r"\n{3,}", "\n\n\n", kept).strip("\n")


def is_claim(node: ast.stmt) -> bool:
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return isinstance(called, ast.Name) and called.id in CLAIMS


def is_silent(tree: ast.Module) -> bool:
    """Say whether a cell shows nothing but what it claims."""
    rest = [one for one in tree.body if not (is_claim(one) or is_quiet(one))]
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    shows = any(isinstance(func, ast.Name) and func.id in SHOWS for func in calls)
    return bool(rest) and not isinstance(rest[-1], ast.Expr) and not shows


def is_quiet(node: ast.stmt) -> bool:
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr in QUIET


def looked_at(claim: ast.stmt, source: str) -> list[str]:
    """Return what a claim of a cell looks at: whose turn it is in a loop, and what its condition measures."""
    said, *conditions = claim.value.args
    turns = [ast.unparse(part.value) for part in ast.walk(said) if isinstance(part, ast.FormattedValue)]
    found = [one for each in conditions for one in measured(each)]
    return list(dict.fromkeys([*turns, *(ast.get_source_segment(source, one) for one in found)]))


def measured(node: ast.expr) -> list[ast.expr]:
    """Return what a condition measures, without the numbers that it is held against.

    >>> condition = ast.parse("bool(0.94 < share) and len(rows) == 3", mode="eval").body
    >>> [ast.unparse(one) for one in measured(condition)]
    ['share', 'len(rows)']
    """
    if isinstance(node, ast.Compare):
        return [one for part in (node.left, *node.comparators) for one in measured(part)]
    if isinstance(node, ast.BoolOp):
        return [one for part in node.values for one in measured(part)]
    if isinstance(node, ast.UnaryOp):
        return measured(node.operand)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "bool":
        return measured(node.args[0])
    if not has_numbers(node):
        return [node] if any(isinstance(one, ast.Name) for one in ast.walk(node)) else []
    if isinstance(node, ast.BinOp):
        return measured(node.left) + measured(node.right)
    return list(chains(node))


def has_numbers(node: ast.AST) -> bool:
    """Say whether a number stands in an expression: not one that picks an item or names a tolerance."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    if isinstance(node, ast.Subscript):
        return has_numbers(node.value)
    return not isinstance(node, ast.keyword) and any(map(has_numbers, ast.iter_child_nodes(node)))


def chains(node: ast.AST, bound: frozenset[str] = frozenset(MODULES)) -> Iterator[ast.expr]:
    """Yield the names in an expression with their attributes, but none that is called or bound inside."""
    if isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp):
        targets = [one for each in node.generators for one in ast.walk(each.target)]
        bound |= {one.id for one in targets if isinstance(one, ast.Name)}
    if isinstance(node, ast.Name | ast.Attribute):
        root = node
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name):
            if root.id not in bound:
                yield node
            return
    parts = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call):
        method = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        parts = [*method, *node.args]
    for part in parts:
        yield from chains(part, bound)
