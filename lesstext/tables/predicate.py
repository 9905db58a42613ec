"""`--where` expressions: parsed by DuckDB, admitted only if all they do is compare columns.

DuckDB can read any file that its process can; an expression typed by a user or copied from a
config therefore passes through an allow-list of syntax nodes and functions before it is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

from lesstext.errors import UsageError
from lesstext.tables.columns import Columns, first_line

_NODES = frozenset(
    {"BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION"}
    | {"CONSTANT", "FUNCTION", "OPERATOR", "TYPE"}
)
_NAMED_FUNCTIONS = frozenset(
    {"abs", "ceil", "floor", "round", "sqrt", "ln", "log2", "log10", "greatest", "least"}
    | {"lower", "upper", "length", "strlen", "trim", "substring", "substr", "concat"}
    | {"contains", "prefix", "suffix", "starts_with", "ends_with", "regexp_matches"}
    | {"regexp_full_match", "coalesce", "nullif", "ifnull", "len"}
)
_OPERATORS = frozenset(
    {"+", "-", "*", "/", "//", "%", "**", "^", "||", "~~", "!~~", "~~*", "!~~*"}
    | {"like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape"}
)
_MAX_DEPTH = 200  # DuckDB's parser takes time and memory with the square of it
_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True)
class Predicate:
    """An admitted expression: what was written, the same as SQL over the view, and the view's
    columns that it reads."""

    text: str
    sql: str
    columns: frozenset[str]


def parse_predicate(expression: str, columns: Columns) -> Predicate:
    """Admit `expression` if it is one expression over `columns`; raise UsageError if not.

    >>> parse_predicate("WIDTH >= 200", Columns({"size": ["width"]})).sql
    '("size.width" >= 200)'
    """
    try:
        return _parse(expression, columns)
    except RecursionError as error:
        raise UsageError(f"{label(expression)}: too deeply nested") from error
    except UsageError as error:
        raise UsageError(f"{label(expression)}: {error}") from error


def label(expression: str) -> str:
    """How messages name an expression; long ones are cut."""
    cut = expression if len(expression) <= _SHOWN_CHARS else f"{expression[:_SHOWN_CHARS]}…"
    return f"--where {cut!r}"


def _parse(expression: str, columns: Columns) -> Predicate:
    if "\0" in expression or _is_broken(expression):
        raise UsageError("holds a character that is none")
    if _depth(expression) > _MAX_DEPTH:
        raise UsageError(f"more than {_MAX_DEPTH} parentheses inside one another")
    tree = _syntax_tree(expression)
    used: set[str] = set()
    for node in _nodes(tree["statements"][0]["node"]["select_list"]):
        kind = node["class"]
        if kind not in _NODES:
            raise UsageError(f"{kind.lower()} is not allowed here")
        if kind == "FUNCTION" and not _is_allowed(node["function_name"]):
            raise UsageError(
                f"function {node['function_name']!r} is not allowed; "
                f"allowed: {' '.join(sorted(_NAMED_FUNCTIONS))}"
            )
        if kind == "COLUMN_REF":
            column = columns.resolve(".".join(node["column_names"]))
            node["column_names"] = [column]
            used.add(column)
    return Predicate(expression, _as_sql(tree), frozenset(used))


def _is_broken(expression: str) -> bool:
    """Whether it holds half of a surrogate pair, as bytes of another encoding become."""
    return any("\ud800" <= char <= "\udfff" for char in expression)


def _depth(expression: str) -> int:
    """How many parentheses are open at most; those inside of texts count, too."""
    steps = ((char == "(") - (char == ")") for char in expression)
    return max(accumulate(steps), default=0)


def _is_allowed(function: str) -> bool:
    return function.lower() in _NAMED_FUNCTIONS or function in _OPERATORS


def _syntax_tree(expression: str) -> dict[str, Any]:
    """The statement `SELECT (expression)` as DuckDB parses it, if it is no more than that."""
    text = _ask("SELECT json_serialize_sql(?)", f"SELECT (\n{expression}\n)")
    parsed: dict[str, Any] = json.loads(text)
    if parsed.get("error"):
        raise UsageError(first_line(parsed.get("error_message")))
    statements = parsed["statements"]
    select: dict[str, Any] = statements[0]["node"]
    is_one = len(statements) == 1 and len(select.get("select_list", ())) == 1
    alone = is_one and _around(select) == _around_nothing()
    if not alone:
        raise UsageError("is not one expression")
    return parsed


def _around(select: dict[str, Any]) -> dict[str, Any]:
    """All parts of a statement but what it selects: FROM, WHERE, GROUP BY, HAVING, LIMIT, …"""
    return {part: value for part, value in select.items() if part != "select_list"}


@cache
def _around_nothing() -> dict[str, Any]:
    """The parts of a statement that only selects."""
    text = _ask("SELECT json_serialize_sql(?)", "SELECT true")
    return _around(json.loads(text)["statements"][0]["node"])


def _as_sql(tree: dict[str, Any]) -> str:
    """The expression of a statement, written out with its columns' names in the view."""
    statement = _ask("SELECT json_deserialize_sql(?::JSON)", json.dumps(tree))
    return statement.removeprefix("SELECT ")


def _ask(sql: str, parameter: str) -> str:
    import duckdb

    try:
        with duckdb.connect(config={"autoload_known_extensions": False}) as connection:
            [(answer,)] = connection.execute(sql, [parameter]).fetchall()
    except duckdb.Error as error:
        raise UsageError(first_line(error)) from error
    return str(answer)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)
