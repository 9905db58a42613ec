"""The house rules that a machine can check; docs/architecture.md is the map of the rooms."""

from __future__ import annotations

import ast
import re
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.module_graph import (
    PACKAGES,
    ROOT,
    circle,
    graph,
    imports,
    longest_chain,
    module_name,
    sources,
    tree_of,
)

MAP = ROOT / "docs" / "architecture.md"
DOORS = {"__init__.py", "__main__.py"}  # they hand on what the rooms hold
TEXT_DETECTION = re.compile(
    r"text[ _-]?(area|detect|region|ratio)|detector|polygon|craft", re.IGNORECASE
)
MAX_CHAIN = 10
MAX_FOLDER_MODULES = 12
MAX_FUNCTION_LINES = 60
MAX_MEDIAN_LINES = 8
MAX_MODULE_LINES = 350


@dataclass(frozen=True, slots=True)
class Room:
    """A row of the map: files and folders of a package, and the rooms that they may import."""

    name: str
    holds: frozenset[str]
    imports: frozenset[str]


def rooms(package: str) -> list[Room]:
    """The rows of a package's table on the map, lowest room first."""
    text = MAP.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## `{package}`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    found = [
        Room(name, frozenset(re.findall(r"`([^`]+)`", holds)), frozenset(_names(below)))
        for name, holds, _, below in rows[2:]
    ]
    assert found
    return found


def _names(cell: str) -> list[str]:
    return [] if cell == "nothing" else cell.split(", ")


def room_of(module: str, on_map: list[Room]) -> str:
    """The room that holds a module such as `lesstext.tables.view`."""
    part = module.split(".")[1]
    (found,) = [room.name for room in on_map if room.holds & {f"{part}/", f"{part}.py"}]
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_those_below_them(package: str) -> None:
    above = set(PACKAGES[PACKAGES.index(package) + 1 :])
    offenders = [
        str(path.relative_to(ROOT))
        for path in sources(package)
        if {name.split(".")[0] for name in imports(path)} & above
    ]
    assert offenders == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_shows_every_folder_and_module_of_a_package(package: str) -> None:
    folder = ROOT / package
    on_disk = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    on_disk |= {path.name for path in folder.glob("*.py")} - DOORS
    listed = Counter(name for room in rooms(package) for name in room.holds)
    assert sorted(listed.elements()) == sorted(on_disk)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_goes_upwards(package: str) -> None:
    below: set[str] = set()
    for room in rooms(package):
        assert room.imports <= below, f"{room.name} may only import rooms above its row"
        below.add(room.name)


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_what_the_map_says(package: str) -> None:
    on_map = rooms(package)
    used: dict[str, set[str]] = {room.name: set() for room in on_map}
    for module, targets in graph(package).items():
        inside = [target for target in targets if "." in target]
        if "." in module and not module.endswith("__main__"):
            here = room_of(module, on_map)
            used[here] |= {room_of(target, on_map) for target in inside} - {here}
    assert used == {room.name: set(room.imports) for room in on_map}


@pytest.mark.parametrize("room", ["engines", "tables", "storage", "shards"])
def test_what_runs_annotators_and_keeps_their_tables_knows_nothing_of_text_detection(
    room: str,
) -> None:
    modules = sorted((ROOT / "lesstext" / room).rglob("*.py"))
    lines = [(path, line) for path in modules for line in path.read_text("utf-8").splitlines()]
    assert lines
    assert [(path.name, line) for path, line in lines if TEXT_DETECTION.search(line)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_one_another(package: str) -> None:
    assert circle(graph(package)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_chain_of_imports_is_long(package: str) -> None:
    chain = longest_chain(graph(package))
    assert len(chain) - 1 <= MAX_CHAIN, " > ".join(chain)


def test_a_circle_and_a_chain_are_found() -> None:
    modules = {"a": {"b", "d"}, "b": {"c"}, "c": {"d"}, "d": set[str]()}
    assert circle(modules) == []
    assert longest_chain(modules) == ["a", "b", "c", "d"]
    assert circle({**modules, "d": {"b"}}) == ["b", "c", "d", "b"]


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_modules_and_functions_are_small(package: str) -> None:
    folders = Counter(path.parent for path in sources(package) if path.name not in DOORS)
    assert [folder for folder, n in folders.items() if n > MAX_FOLDER_MODULES] == []
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in sources(package)}
    assert [(str(path), n) for path, n in lines.items() if n > MAX_MODULE_LINES] == []
    functions = [function for path in sources(package) for function in _functions(path)]
    assert [(name, n) for name, n in functions if n > MAX_FUNCTION_LINES] == []
    assert statistics.median(n for _, n in functions) <= MAX_MEDIAN_LINES


def _functions(path: Path) -> list[tuple[str, int]]:
    """Name and number of lines of every function, methods and inner ones included."""
    return [
        (f"{module_name(path)}.{node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_the_lock_file_holds_no_addresses_and_no_local_files() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 50
    assert [line for line in lines if "://" in line or " @ " in line or line.startswith("-")] == []
