"""Which module imports which, read from the source: nothing is imported to find out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("lesstext", "attr_builder", "train_clip")

Graph = dict[str, set[str]]


def sources(package: str) -> list[Path]:
    """The modules of a package, sorted; at least one."""
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_name(path: Path) -> str:
    """`lesstext.storage` for `lesstext/storage/__init__.py`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def all_modules() -> frozenset[str]:
    return frozenset(module_name(path) for package in PACKAGES for path in sources(package))


def imports(path: Path) -> set[str]:
    """Modules of ours that a module imports, at its top or inside functions.

    What stands under `if TYPE_CHECKING:` is left out: it is never imported.
    """
    found = {name for node in _nodes(tree_of(path)) for name in _imported(node)}
    return found - {module_name(path)}


def graph(package: str) -> Graph:
    """The modules of a package and, of what each imports, the modules of the same package."""
    found = {module_name(path): imports(path) for path in sources(package)}
    return {name: targets & found.keys() for name, targets in found.items()}


def circle(modules: Graph) -> list[str]:
    """Modules that import one another in a circle, the first one repeated last; empty if none."""
    safe: set[str] = set()

    def search(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in safe:
            for target in sorted(modules[name]):
                if found := search(target, [*path, name]):
                    return found
            safe.add(name)
        return []

    return next((found for name in sorted(modules) if (found := search(name, []))), [])


def longest_chain(modules: Graph) -> list[str]:
    """The longest way from a module to one that imports nothing; the graph has no circle."""
    known: dict[str, list[str]] = {}

    def longest(name: str) -> list[str]:
        if name not in known:
            below = [longest(target) for target in sorted(modules[name])]
            known[name] = [name, *max(below, key=len, default=[])]
        return known[name]

    return max((longest(name) for name in sorted(modules)), key=len)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _nodes(node)


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        names = {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        below = {f"{node.module}.{alias.name}" for alias in node.names}
        names = (below & all_modules()) or {node.module}
    else:
        names = set()
    return names & all_modules()
