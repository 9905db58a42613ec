"""From picks to shards: the labels of `entities label` in the sidecars of `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lesstext.cli.app import app
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from tests.lesstext.annotators.test_picks import Scene
from tests.lesstext.conftest import Score


@pytest.fixture
def labelled(tmp_path: Path, score: Score, colours: None) -> Path:
    """A folder with shards, picks and labels of them, and a selection of all that is usable."""
    scene = Scene(tmp_path, score)
    scene.pick()
    _run(
        f"entities label {tmp_path}/picks --kb {scene.kb} --threshold 0.5 "
        f"--out {tmp_path}/l/l.parquet"
    )
    select(tmp_path / "picks", tmp_path / "usable.parquet", Rule(where="n_mentions >= 0"))
    return tmp_path


def _run(line: str) -> str:
    result = CliRunner().invoke(app, line.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _sidecar(out: Path) -> dict[str, Any]:
    rows = pq.read_table(out / "00000.parquet").to_pylist()
    return {row["key"]: row["entity_ids"] for row in rows}


def test_labels_go_along_with_any_selection(labelled: Path) -> None:
    said = _run(
        f"export {labelled}/in --selection {labelled}/usable.parquet "
        f"--labels {labelled}/l/l.parquet --out {labelled}/out --workers 1"
    )
    assert _sidecar(labelled / "out") == {
        "k0": ["red"],
        "k1": None,
        "k2": None,
        "k4": ["pink", "red"],
        "k5": None,
    }
    assert "labels: 6 of the kept samples have a row, 9 have none" in said


def test_labels_alone_export_what_has_a_label(labelled: Path) -> None:
    _run(
        f"export {labelled}/in --selection {labelled}/l/l.parquet --out {labelled}/out --workers 1"
    )
    assert _sidecar(labelled / "out") == {"k0": ["red"], "k4": ["pink", "red"]}
