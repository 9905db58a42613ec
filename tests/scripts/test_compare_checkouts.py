"""What counts as equal when the outputs of two checkouts are compared."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import file_difference
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from compare_checkouts import STEPS, as_text, compare_trees
from file_difference import Difference, compare_files


def write(path: Path, value: Any) -> Path:
    """A file in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        columns, metadata = value
        table = pa.table(columns)
        with pq.ParquetWriter(path, table.schema) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(metadata)  # what is known only when all is written
    elif path.suffix == ".pt":
        torch.save(value, path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(value))
    else:
        path.write_text(value)
    return path


META = {"counts": '{"ok": 2}', "inputs": "[]"}


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("t.parquet", ({"a": [1]}, META), ({"a": [1]}, META), None),
        (
            "t.parquet",
            ({"a": [1]}, META),
            ({"a": [1]}, {**META, "counts": '{"ok": 3}', "schema": "2"}),
            Difference(fields={"metadata counts.ok", "metadata schema"}),
        ),
        ("t.parquet", ({"a": [1]}, META), ({"a": [2]}, META), Difference(reason="values of a")),
        ("t.parquet", ({"a": [1]}, META), ({"a": [1, 1]}, META), Difference(reason="1 rows and 2")),
        (
            "t.parquet",
            ({"a": pa.array([1], pa.int32())}, META),
            ({"a": pa.array([1], pa.int64()), "b": [0]}, META),
            Difference(fields={"type of a: int32, now int64", "column b"}),
        ),
        ("s.json", {"n": 2, "s": 0.5}, {"n": 2, "s": 0.7}, Difference(fields={"s"})),
        (
            "s.json",
            {"a": {"b": 1, "c": [1]}},
            {"a": {"c": [1, 2]}},
            Difference(fields={"a.b", "a.c"}),
        ),
        ("s.json", {"a": {"b": 1, "c": 2}}, {}, Difference(fields={"a"})),
        ("s.json", {"a": 1, "b": 2}, {"b": 2, "a": 1}, Difference(fields={"layout"})),
        (
            "c.pt",
            {"w": torch.ones(2), "x": {"s": 1.0}},
            {"w": torch.ones(2), "x": {"s": 2.0}},
            Difference(fields={"x.s"}),
        ),
        ("c.pt", {"w": torch.ones(2)}, {"w": torch.zeros(2)}, Difference(fields={"w"})),
        ("o.txt", "a\n1.5 s\n", "a\n2 s\n", Difference(fields={"numbers in 1 of 2 lines"})),
        ("o.txt", "two kept\n", "ten kept\n", Difference(reason="'two kept', now 'ten kept'")),
        ("x.tar", "a", "b", Difference(reason="other bytes")),
    ],
)
def test_files_are_compared_by_what_they_hold(
    tmp_path: Path, name: str, old: Any, new: Any, expected: Difference | None
) -> None:
    paths = write(tmp_path / "old" / name, old), write(tmp_path / "new" / name, new)
    assert compare_files(*paths) == expected


def test_trees_are_told_by_kind_of_file_with_what_is_missing(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for root, seconds in ((old, 1.0), (new, 2.0)):
        for number in range(3):
            write(root / "kept" / f"{number}.tar", "same")
            write(root / "kept" / f"{number}_stats.json", {"n": 1, "s": seconds})
    (new / "kept" / "1.tar").unlink()
    text = as_text(compare_trees(old, new)).splitlines()
    assert "| kept/*.tar | 3 | 2 | 0 | 1 |" in text
    assert "| kept/*_stats.json | 3 | 0 | 3 [s] | 0 |" in text
    assert text[-2:] == ["| in all | 6 | 2 | 3 | 1 |", "DIFFERENT kept/1.tar: not written by new"]


def test_every_step_has_its_own_name_and_output() -> None:
    assert len({step.name for step in STEPS}) == len(STEPS)
    commands = [step.command(Path("python"), Path("/d"), Path("/p")) for step in STEPS]
    assert not [word for command in commands for word in command if "{" in word or "~" in word]


def test_docstrings() -> None:
    assert doctest.testmod(file_difference).failed == 0
