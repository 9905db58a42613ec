"""The calls take what the command line takes, and paths as paths."""

from __future__ import annotations

from pathlib import Path

import pytest

import lesstext
from lesstext.shards.opening import Shards
from tests.lesstext.builders import ratio_samples, write_tar


def test_shards_may_be_a_path_a_spec_or_several(tmp_path: Path) -> None:
    for number in range(2):
        write_tar(tmp_path / f"in/{number:05d}.tar", ratio_samples([0.0, 0.2]))
    fake = lesstext.TextArea(detector="fake")
    folder = tmp_path / "in"
    ways: dict[str, Shards] = {
        "path": folder,
        "spec": str(folder),
        "several": (folder / "00000.tar", str(folder / "00001.tar")),
    }
    for name, shards in ways.items():
        lesstext.score(shards, tmp_path / name, fake, workers=1)
        rows = lesstext.read_tables(tmp_path / name, ["key"])
        assert rows.num_rows == 4, name
    assert len(list(lesstext.open_samples(folder))) == 4


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "in/00000.tar", ratio_samples([0.0]))
    fake = lesstext.TextArea(detector="fake")
    lesstext.score(tmp_path / "in", tmp_path / "scores", fake, workers=1)
    with pytest.raises(
        lesstext.UsageError, match=r"no column 'ratio'; key, uid, .*text_area_ratio"
    ):
        lesstext.read_tables(tmp_path / "scores", ["key", "ratio"])
