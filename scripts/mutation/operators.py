"""Faults of kinds that cosmic-ray's operators do not make, in the same interface.

An operator yields a position for each mutation that it can make of a parso node, and makes the
one that is asked for, in place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

from cosmic_ray.ast import get_ast
from parso.python.tree import Name

Position = tuple[tuple[int, int], tuple[int, int]]

_TWINS = (
    ("width", "height"),
    ("x", "y"),
    ("first", "last"),
    ("start", "end"),
    ("begin", "finish"),
    ("before", "after"),
    ("min", "max"),
    ("minimum", "maximum"),
    ("any", "all"),
    ("floor", "ceil"),
    ("keep", "drop"),
    ("kept", "dropped"),
    ("seen", "wanted"),
    ("startswith", "endswith"),
    ("partition", "rpartition"),
    ("key", "shard"),
    ("offset", "size"),
    ("rank", "world_size"),
)
_TWIN_OF = dict(chain(_TWINS, ((second, first) for first, second in _TWINS)))
_NOTHING = ("None", "False")
_BUILT_IN = {"min", "max", "any", "all", "floor", "ceil", "minimum", "maximum"}
_BUILT_IN |= {"startswith", "endswith", "partition", "rpartition"}


class DeleteStatement:
    """Leave out a call, a raise, a del, an assignment to a part of something, or an update."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        updates = node.type == "expr_stmt" and _updates_something(node)
        if updates or node.type in ("raise_stmt", "del_stmt") or _is_called_alone(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return get_ast(f"{_prefix(node)}pass")


class ReturnNone:
    """Return None in place of a value; False says the same already."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        if node.type == "return_stmt" and node.children[1].get_code().strip() not in _NOTHING:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return get_ast(f"{_prefix(node)}return None")


class DropKeyword:
    """Leave out a keyword argument."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        if node.type == "argument" and node.children[1].get_code().strip() == "=":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return get_ast(f"{_prefix(node)}**{{}}")


class SwapTwin:
    """Take the other of a pair: width for height, min for max, start for end."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        if _is_used(node) and twin(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = twin(node)
        return node


def twin(node: Any) -> str | None:
    """The name of the other one of the pair, when the module knows such a name."""
    words = re.split(r"(_|\d+)", node.value)
    if not any(word in _TWIN_OF for word in words):
        return None
    other = "".join(_TWIN_OF.get(word, word) for word in words)
    known = other in _BUILT_IN or node.get_root_node().get_used_names().get(other)
    return other if known else None


def _updates_something(statement: Any) -> bool:
    """Whether it assigns to an attribute or an item, or updates a name in place."""
    target, operator = statement.children[:2]
    in_place = operator.type == "operator" and operator.value not in ("=", ":")
    return in_place or (target.type in ("atom_expr", "power") and operator.type != "annassign")


def _is_used(node: Any) -> bool:
    return isinstance(node, Name) and not cast(Any, node).is_definition()


def _is_called_alone(node: Any) -> bool:
    """Whether it is a call whose value nobody takes."""
    stands_alone = node.parent is not None and node.parent.type == "simple_stmt"
    return stands_alone and node.type in ("atom_expr", "power", "await_stmt")


def _prefix(node: Any) -> str:
    return str(node.get_first_leaf().prefix)


OPERATORS = {kind.__name__: kind for kind in (DeleteStatement, ReturnNone, DropKeyword, SwapTwin)}
