"""`--where` expressions: parsed by DuckDB, admitted only if all they do is compare columns.

DuckDB can read any file that its process can; an expression typed by a user or copied from a
config therefore passes through an allow-list of syntax nodes and functions before it is run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from lesstext.errors import UsageError

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


def check_predicate(expression: str, columns: Collection[str]) -> str:
    """Return `expression` if it is one boolean expression over `columns`; raise UsageError if not.

    A column is `name` or, for joined metadata, `meta.name`.

    >>> check_predicate("text_area_ratio < 0.02 and width >= 200", ["text_area_ratio", "width"])
    'text_area_ratio < 0.02 and width >= 200'
    """
    select = _parse(expression)
    for node in _nodes(select["select_list"]):
        kind = node["class"]
        if kind not in _NODES:
            raise UsageError(f"--where {expression!r}: {kind.lower()} is not allowed here")
        if kind == "FUNCTION" and not _is_allowed(node["function_name"]):
            raise UsageError(
                f"--where {expression!r}: function {node['function_name']!r} is not allowed; "
                f"allowed: {' '.join(sorted(_NAMED_FUNCTIONS))}"
            )
        if kind == "COLUMN_REF":
            _check_column(expression, ".".join(node["column_names"]), columns)
    return expression


def _is_allowed(function: str) -> bool:
    return function.lower() in _NAMED_FUNCTIONS or function in _OPERATORS


def _parse(expression: str) -> dict[str, Any]:
    import duckdb

    (answer,) = duckdb.execute(
        "SELECT json_serialize_sql(?)", [f"SELECT (\n{expression}\n) AS keep"]
    ).fetchone() or ("{}",)
    parsed = json.loads(answer)
    if parsed.get("error"):
        raise UsageError(f"--where {expression!r}: {parsed.get('error_message')}")
    statements = parsed["statements"]
    select: dict[str, Any] = statements[0]["node"]
    alone = (
        len(statements) == 1
        and select.get("type") == "SELECT_NODE"
        and len(select["select_list"]) == 1
        and select["from_table"]["type"] == "EMPTY"
        and not select["modifiers"]
        and not select.get("where_clause")
    )
    if not alone:
        raise UsageError(f"--where {expression!r} is not one expression")
    return select


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _check_column(expression: str, name: str, columns: Collection[str]) -> None:
    if name.lower() not in {column.lower() for column in columns}:
        raise UsageError(
            f"--where {expression!r}: no column {name!r}; columns: {', '.join(sorted(columns))}"
        )
