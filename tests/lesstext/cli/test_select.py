"""`select` as its user meets it: what it takes, prints, warns of and refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.cli.select import SelectConfig
from lesstext.errors import UsageError
from tests.lesstext.tables.table_builders import made_table


def select(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, with `--out ../keep.parquet`."""
    command = [sys.executable, "-m", "lesstext", "select", *map(str, arguments)]
    command += ["--out", str(folder.parent / "keep.parquet")]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=folder
    )


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """A folder of one text-area table of ten samples, and beside it one of sharpness."""
    rows = [{"key": f"k{i}", "text_area_ratio": i / 10, "uid": None} for i in range(10)]
    made_table(tmp_path / "area", "a/00000", rows, name="text_area")
    sharpness = [{"key": f"k{i}", "sharpness": float(-i)} for i in range(10)]
    made_table(tmp_path / "sharp", "a/00000", sharpness, name="sharpness")
    return tmp_path / "area"


def kept(folder: Path) -> list[tuple[str, str]]:
    rows = pq.read_table(folder.parent / "keep.parquet").to_pylist()
    return [(row["shard"], row["key"]) for row in rows]


def test_in_the_folder_itself(area: Path) -> None:
    done = select(area, ".", "--max-text-area", 0.1)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == ["  rule: text_area_ratio <= 0.1"]
    assert kept(area) == [("a/00000", "k0"), ("a/00000", "k1")]


def test_several_tables_and_the_highest_of_a_column(area: Path) -> None:
    where = "text_area_ratio > 0.15 and sharpness > -4"
    assert select(area, ".", "../sharp", "--where", where).returncode == 0
    assert kept(area) == [("a/00000", "k2"), ("a/00000", "k3")]
    highest = ("--keep-fraction", 0.2, "--by", "sharpness", "--highest")
    done = select(area, "text=.", "../sharp/", *highest)
    assert done.stdout.splitlines()[1:] == [
        "  rule: the highest 0.2 by sharpness: at least -1",
        "  text: 10 samples have a row, 0 have none; 0 rows belong to no sample; 10 are ok in it",
        "  sharpness: 10 samples have a row, 0 have none; 0 rows belong to no sample; "
        "10 are ok in it",
    ]
    assert kept(area) == [("a/00000", "k0"), ("a/00000", "k1")]


def test_metadata_is_accounted_for_and_nothing_is_not_silent(area: Path) -> None:
    (area.parent / "meta/a").mkdir(parents=True)
    path = area.parent / "meta/a/00000.parquet"
    pq.write_table(pa.table({"key": ["k1", "k2", "other"], "clip": [0.1, 0.2, 0.3]}), path)
    done = select(area, ".", "--metadata", "../meta", "--where", "meta.clip < 0.15")
    expected = "metadata: 2 samples have a row, 8 have none; 1 rows belong to no sample"
    assert expected in done.stdout and done.stderr == ""
    path.rename(path.with_name("00001.parquet"))
    done = select(area, ".", "--metadata", "../meta", "--where", "meta.clip < 0.15")
    assert done.returncode == 0 and done.stderr.splitlines() == [
        f"WARNING no sample has a row in --metadata {area.parent / 'meta'}",
        "WARNING nothing is kept of 10 samples",
    ]


def test_wrong_use_is_one_line_and_exit_code_2(area: Path) -> None:
    done = select(area, ".", "--max-text-area", 0.1, "--also", "keys.json")
    assert (
        done.returncode == 2 and "--also keys.json: by its suffix it is none of .csv" in done.stderr
    )
    done = select(area, ".", "--where", "CAST(key AS INTEGER) > 3")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("lesstext: error: --where 'CAST(key AS INTEGER) > 3': Conversion")
    (area.parent / "sharp/a/00000.parquet").unlink()
    made_table(area.parent / "sharp", "b", [{"key": "k"}], name="sharpness")
    done = select(area, ".", "../sharp", "--where", "true")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "text_area" in done.stderr and "`lesstext annotate text_area SHARDS" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of --max-text-area, --keep-fraction and --where"),
        ({"max_text_area": 0.1, "keep_fraction": 0.1}, "exactly one of"),
        ({"max_text_area": 0.1, "by": "width"}, "--by and --highest go with --keep-fraction"),
        ({"where": "true", "highest": True}, "--by and --highest go with --keep-fraction"),
        ({"keep_fraction": 0.1, "highest": True}, "--highest needs --by COLUMN"),
        ({"where": "true", "on_failed": "perhaps"}, "--on-failed must be drop or keep"),
        ({"where": "true", "control": "other"}, "--control must be random"),
    ],
)
def test_options_that_contradict_one_another_are_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        SelectConfig(tables=["x"], out="y", **options)  # type: ignore[arg-type]
