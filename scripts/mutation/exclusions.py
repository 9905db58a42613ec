"""The places where a mutant says nothing, by rule.

Such a mutant is equivalent or changes only words: annotations and type aliases, `cast`'s type,
imports, `__all__`, `if TYPE_CHECKING`, bodies of protocols, logging, the words of an error that is
raised, what a dataclass's decorator, `field(init=)` or `zip(strict=)` forbids to ourselves, the
length of a digest (`digest_size=`), and `encoding=`, which is the default where the tests run.
(Docstrings and strings are touched by no operator.)
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

Span = tuple[tuple[int, int], tuple[int, int]]

_SAYS_NOTHING = {"strict", "init", "repr", "digest_size", "encoding"}
_LOGS = {"debug", "info", "warning", "error", "exception"}


def excluded_spans(source: str) -> list[Span]:
    """Half-open stretches of (line from 1, column) in which no mutant is made."""
    lines = source.splitlines()
    nodes = (part for node in ast.walk(ast.parse(source)) for part in _excluded(node))
    return [_span(node, lines) for node in nodes]


def is_excluded(position: tuple[int, int], spans: list[Span]) -> bool:
    return any(start <= position < end for start, end in spans)


def _excluded(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
        yield node.annotation
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
        yield node.returns
    elif isinstance(node, ast.ClassDef):
        yield from (one for one in node.decorator_list if _names(one) == "dataclass")
        if any(_names(base) == "Protocol" for base in node.bases):
            yield node
    elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        yield from node.exc.args
    elif isinstance(node, ast.If | ast.Assign) and _is_for_types(node):
        yield node
    elif isinstance(node, ast.Call):
        yield from _excluded_of_call(node)


def _excluded_of_call(node: ast.Call) -> Iterator[ast.AST]:
    name = _names(node)
    if name in _LOGS or name in ("TypeVar", "ParamSpec"):
        yield node
    elif name == "cast":
        yield node.args[0]
    else:
        yield from (word for word in node.keywords if word.arg in _SAYS_NOTHING)


def _names(node: ast.AST) -> str | None:
    """The last name of `a.b.c` or `a.b.c(…)`, without its subscript."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _is_for_types(node: ast.If | ast.Assign) -> bool:
    """Whether it is `if TYPE_CHECKING`, or names a type, `__all__` or `__slots__`."""
    if isinstance(node, ast.If):
        return _names(node.test) == "TYPE_CHECKING"
    (first, *_) = node.targets
    if not isinstance(first, ast.Name):
        return False
    is_type = first.id.lstrip("_")[:1].isupper() and not first.id.isupper()
    return is_type or first.id in ("__all__", "__slots__")


def _span(node: ast.AST, lines: list[str]) -> Span:
    start = (node.lineno, node.col_offset)  # type: ignore[attr-defined]
    return start, (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
