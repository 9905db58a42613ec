"""The house rules that a machine can check."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ["lesstext", "attr_builder", "train_clip"]


def imports(path: Path) -> set[str]:
    """Top-level names of everything that a module imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ORDER)
def test_packages_import_only_those_below_them(package: str) -> None:
    above = set(ORDER[ORDER.index(package) + 1 :])
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    offenders = [str(path.relative_to(ROOT)) for path in modules if imports(path) & above]
    assert offenders == []


def test_the_lock_file_holds_no_addresses_and_no_local_files() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 50
    assert [line for line in lines if "://" in line or " @ " in line or line.startswith("-")] == []
