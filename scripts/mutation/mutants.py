"""The mutants of a module: where they are, what they change, and a seeded sample of them."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

from mutation.exclusions import excluded_spans, is_excluded
from mutation.operators import OPERATORS

_NEED_ARGUMENTS = {"VariableReplacer", "VariableInserter"}
_NOT_AN_OPERATION = {"parameters", "lambdef", "typedargslist", "dictorsetmaker"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: the `occurrence`-th that the operator makes of the module, at (line, column)."""

    module: str
    operator: str
    occurrence: int
    line: int
    column: int

    @property
    def family(self) -> str:
        return self.operator.split("_")[0]


@cache
def operators() -> dict[str, Any]:
    """cosmic-ray's operators that need no arguments, and ours."""
    theirs = OperatorProvider()
    found = {name: theirs[name]() for name in theirs if name not in _NEED_ARGUMENTS}
    return found | {name: kind() for name, kind in OPERATORS.items()}


def mutants_of(module: str, source: str) -> list[Mutant]:
    """All mutants outside the excluded places, in the order of the text."""
    nodes, spans = list(ast_nodes(get_ast(source))), excluded_spans(source)
    found = []
    for name, operator in operators().items():
        occurrence = -1
        for node in nodes:
            for (line, column), _ in operator.mutation_positions(node):
                occurrence += 1
                if not is_excluded((line, column), spans) and not _is_punctuation(node):
                    found.append(Mutant(module, name, occurrence, line, column))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.column, mutant.operator))


def _is_punctuation(node: Any) -> bool:
    """Whether an asterisk or a slash only marks parameters or unpacks."""
    return node.type == "operator" and node.parent.type in _NOT_AN_OPERATION


def mutated(source: str, mutant: Mutant) -> str | None:
    """The module with the fault in it; None when that is no Python or no change."""
    try:
        text: str | None = mutate_code(source, operators()[mutant.operator], mutant.occurrence)
    except AttributeError:  # ExceptionReplacer cannot write over `module.Error`
        return None
    if text is None or text == source:
        return None
    try:
        compile(text, mutant.module, "exec")
    except (SyntaxError, ValueError):
        return None
    return text


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def sample(mutants: Iterable[Mutant], n: int, seed: int) -> list[Mutant]:
    """`n` places of an area, spread over its modules by their sizes, with one mutant at each.

    A place is a position and a family of operators: eleven ways to replace one `+` are drawn as
    one. Each module gets at least one place.
    """
    places: dict[str, dict[tuple[int, int, str], list[Mutant]]] = defaultdict(dict)
    for mutant in mutants:
        place = (mutant.line, mutant.column, mutant.family)
        places[mutant.module].setdefault(place, []).append(mutant)
    total = sum(len(found) for found in places.values())
    drawn = []
    for module, found in sorted(places.items()):
        rng = random.Random(f"{seed} {module}")
        share = min(len(found), max(1, round(n * len(found) / total)))
        drawn += [rng.choice(found[place]) for place in rng.sample(sorted(found), share)]
    return drawn
