"""Which modules are mutated, and which test files should notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """Modules (globs below the repository), and the tests of them: files, or whole folders."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]

    def module_paths(self, root: Path = ROOT) -> list[str]:
        found = {path for pattern in self.modules for path in root.glob(pattern)}
        return sorted(path.relative_to(root).as_posix() for path in found)

    def test_paths(self, root: Path = ROOT) -> list[str]:
        return sorted({name for entry in self.tests for name in _test_files(root, entry)})


def _test_files(root: Path, entry: str) -> Iterator[str]:
    path = root / entry
    for file in sorted(path.rglob("test_*.py")) if path.is_dir() else [path]:
        yield file.relative_to(root).as_posix()


AREAS = {
    "geometry": Area(
        modules=("lesstext/geometry.py",),
        tests=("tests/lesstext/test_geometry.py", "tests/lesstext/test_doctests.py"),
    ),
    "tables": Area(
        modules=("lesstext/tables/*.py",),
        tests=(
            "tests/lesstext/tables",
            "tests/lesstext/test_doctests.py",
            "tests/lesstext/cli/test_select.py",
            "tests/lesstext/storage/test_guard.py",
            "tests/lesstext/engines/test_scoring.py",
        ),
    ),
    "export": Area(
        modules=("lesstext/export/*.py",),
        tests=(
            "tests/lesstext/test_export.py",
            "tests/lesstext/test_export_sidecars.py",
            "tests/lesstext/entities/test_labels_in_shards.py",
            "tests/lesstext/cli/test_filter.py",
        ),
    ),
    "storage": Area(
        modules=("lesstext/storage/*.py", "lesstext/storage/remote/*.py"),
        tests=(
            "tests/lesstext/storage",
            "tests/lesstext/test_doctests.py",
            "tests/lesstext/engines/test_disk_and_damage.py",
            "tests/lesstext/test_export.py",
            "tests/lesstext/cli/test_filter.py",
            "tests/lesstext/tables/test_bad_tables.py",
        ),
    ),
    "tar walk": Area(
        modules=(
            "lesstext/shards/tar_walk.py",
            "lesstext/shards/tar_reading.py",
            "lesstext/shards/copying.py",
        ),
        tests=(
            "tests/lesstext/shards",
            "tests/lesstext/test_export.py",
            "tests/lesstext/engines/test_hostile_shards.py",
        ),
    ),
    "pipeline": Area(
        modules=(
            "lesstext/text_detection/pipeline.py",
            "lesstext/text_detection/requests.py",
            "lesstext/text_detection/measure.py",
            "lesstext/text_detection/stages.py",
        ),
        tests=("tests/lesstext/text_detection", "tests/lesstext/engines/test_scoring.py"),
    ),
    "data stream": Area(
        modules=(
            "train_clip/data/stream.py",
            "train_clip/data/source_plan.py",
            "train_clip/data/flat/*.py",
            "train_clip/data/index.py",
        ),
        tests=("tests/train_clip/data",),
    ),
    "objectives": Area(
        modules=("train_clip/objectives/*.py",),
        tests=("tests/train_clip/objectives", "tests/train_clip/training/test_ranks.py"),
    ),
}
