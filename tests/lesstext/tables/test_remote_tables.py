"""Tables on object storage: only what a rule names travels, and trouble changes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lesstext.errors import StorageError, TableError
from lesstext.policies import text_area
from lesstext.report import write_report
from lesstext.storage.paths import RemotePath, location
from lesstext.storage.remote import retrying
from lesstext.storage.remote.partial import PartialMirror, partial_mirror
from lesstext.tables.folder import TableSource, open_tables, read_tables
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.tables.selection import read_selection
from lesstext.tables.table import table_digest
from tests.lesstext.tables.table_builders import made_table

pytest.importorskip("moto.server", reason="the S3 tests need moto[server]")
s3fs = pytest.importorskip("s3fs", reason="the S3 tests need s3fs")

from tests.lesstext.s3_server import Faults, S3Server, s3_bucket  # noqa: E402

N_ROWS = 5000  # in two row groups
RULES = [
    text_area.at_most(0.3),
    Rule(where="width < 50 and text_area_ratio > 0.1 and key like '%7'"),
    text_area.lowest(0.25, seed=2),
    Rule(where="error is not null or uid = 'u3'", keep_failed=True),
]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """One server for all tests."""
    with s3_bucket() as running:
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0.05)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tables of which polygons, that no codec makes smaller, are nearly all bytes."""
    folder, lots = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    for shard in ("a/00000", "a/00001", "b"):
        rows: list[dict[str, Any]] = [
            {
                "key": f"k{i}", "uid": f"u{i}", "width": i % 100, "height": 7,
                "text_area_ratio": float(lots.integers(0, 100)) / 100, "n_regions": 1,
                "max_score": 0.5, "regions": [lots.random(64).tolist()], "image_offset": 512,
                "image_size": 3,
            }
            for i in range(N_ROWS)
        ]  # fmt: skip
        rows[9] = {"key": "k9", "status": "decode_error", "error": "no image"}
        made_table(folder, shard, rows, name="text_area")
    return folder


@pytest.fixture
def remote(server: S3Server, tables: Path, tmp_path: Path) -> Iterator[RemotePath]:
    """The tables on the server, below a URL of its own for each test."""
    server.faults = Faults()
    s3fs.S3FileSystem().put(f"{tables}/", f"bucket/{tmp_path.name}/", recursive=True)
    server.faults = Faults()
    folder = location(f"s3://bucket/{tmp_path.name}")
    assert isinstance(folder, RemotePath)
    yield folder
    server.faults = Faults()


def size_bytes(tables: Path) -> int:
    return sum(path.stat().st_size for path in tables.rglob("*.parquet"))


def test_a_remote_selection_with_a_long_description_reads_back(
    remote: RemotePath, tmp_path: Path
) -> None:
    """As one of thousands of shards has: longer than the end that is fetched first."""
    named = f"words {random.Random(1).randbytes(40_000).hex()}"
    made_table(tmp_path / "t", "x", [{"key": "a", "n": 3}], name="words", annotator=named)
    made = select(tmp_path / "t", remote / "s.parquet", Rule(where="n = 3"))
    assert read_selection(remote / "s.parquet") == made
    assert made.n_kept_by_shard() == {"x": 1}


@pytest.mark.parametrize("rule", RULES)
def test_only_the_columns_that_a_rule_names_travel(
    remote: RemotePath, tables: Path, server: S3Server, tmp_path: Path, rule: Rule
) -> None:
    here = select(tables, tmp_path / "here.parquet", rule)
    there = select(remote, tmp_path / "there.parquet", rule)
    assert pq.read_table(there.path).equals(pq.read_table(here.path)) and here.counts.kept
    assert (there.id, there.counts) == (here.id, here.counts)
    assert server.n_bytes(".parquet") < size_bytes(tables) / 20
    assert server.requests("GET", ".parquet") <= 3 * 5 and server.requests("HEAD", ".parquet") == 0


def test_the_report_fetches_the_regions_of_its_examples_alone(
    remote: RemotePath, tables: Path, server: S3Server, tmp_path: Path
) -> None:
    pages = []
    for folder, n_examples in ((tables, 0), (remote, 0), (tables, 2), (remote, 2)):
        server.faults = Faults()
        write_report(folder, None, tmp_path / "r.html", max_text_area=0.3, n_samples=n_examples)
        pages.append((tmp_path / "r.html").read_text())
        if folder is remote and n_examples == 0:
            assert server.n_bytes(".parquet") < size_bytes(tables) / 20
    assert pages[0] == pages[1] != pages[2] == pages[3]
    one_table = size_bytes(tables) / 3
    assert server.n_bytes(".parquet") < 1.8 * one_table, "no more than two of six row groups"


def test_all_columns_are_read_when_asked_for(remote: RemotePath, tables: Path) -> None:
    assert read_tables(remote).equals(read_tables(tables))
    assert read_tables(remote, ["width"]).equals(read_tables(tables, ["width"]))


def test_a_footer_longer_than_the_end_that_is_fetched_first(
    remote: RemotePath, tables: Path, tmp_path: Path
) -> None:
    problems = [random.Random(1).randbytes(40_000).hex()]
    made_table(tmp_path / "t", "x", [{"key": "a", "width": 3}], name="words", problems=problems)
    s3fs.S3FileSystem().put(f"{tmp_path}/t/x.parquet", f"{remote.url}/more/x.parquet")
    folder = location(f"{remote.url}/more")
    assert select([folder], tmp_path / "s.parquet", Rule(where="width = 3")).counts.kept == 1


@pytest.mark.parametrize("status", [500, 503])
def test_trouble_that_passes_changes_nothing(
    remote: RemotePath, tables: Path, server: S3Server, tmp_path: Path, status: int
) -> None:
    server.faults = Faults(
        status=lambda r: status * (random.Random(r.number).random() < 0.3),
        cut_bytes=lambda r: 7 * (r.path.endswith(".parquet") and r.number % 4 == 1),
    )
    there = select([remote], location(f"{remote.url}-out/s.parquet"), RULES[0])
    assert server.faults.n_injected > 3
    server.faults = Faults()
    here = select([tables], tmp_path / "s.parquet", RULES[0])
    found = read_selection(there.path)
    assert {shard: keys.to_pylist() for shard, keys in found.keys_by_shard().items()} == {
        shard: keys.to_pylist() for shard, keys in here.keys_by_shard().items()
    }


def test_trouble_that_stays_and_no_tables_are_one_error(
    remote: RemotePath, server: S3Server, tmp_path: Path
) -> None:
    with pytest.raises(TableError, match=r"s3://bucket/.*/none holds no tables"):
        select(f"{remote.url}/none", tmp_path / "s.parquet", RULES[0])
    server.faults = Faults(status=lambda r: 403 if r.path.endswith("00001.parquet") else 0)
    with pytest.raises(StorageError, match=r"cannot read s3://.*/a/00001\.parquet: injected"):
        select(remote, tmp_path / "s.parquet", RULES[0])


def test_errors_name_the_remote_file(remote: RemotePath, tables: Path, tmp_path: Path) -> None:
    s3fs.S3FileSystem().put(f"{tables}/b.parquet", f"{remote.url}/c.parquet")
    with pytest.raises(TableError, match="both speak of shard b") as caught:
        select(remote, tmp_path / "s.parquet", RULES[0])
    assert str(caught.value).count(remote.url) == 2


def test_a_table_that_changes_while_it_is_read_is_refused(remote: RemotePath, tables: Path) -> None:
    with (
        pytest.raises(StorageError, match=rf"{remote.url}/b\.parquet changed while it was being"),
        open_tables(TableSource(remote)) as folder,
    ):
        folder.fetch(["key"])
        s3fs.S3FileSystem().put(f"{tables}/a/00000.parquet", f"{remote.url}/b.parquet")
        folder.fetch(["width"])


def test_rows_of_a_folder_that_changes_are_refused(remote: RemotePath, tables: Path) -> None:
    """The regions of examples are fetched long after the rows that they belong to."""
    with (
        pytest.raises(StorageError, match=rf"{remote.url}/c\.parquet changed while it was being"),
        open_tables(TableSource(remote)) as folder,
    ):
        assert folder.read_rows({0: [7]}, ["key"]) == {(0, 7): {"key": "k7"}}
        s3fs.S3FileSystem().put(f"{tables}/b.parquet", f"{remote.url}/c.parquet")
        folder.read_rows({0: [8]}, ["key"])


@pytest.mark.parametrize("n_bytes", [0, 1, 1 << 16, (1 << 16) + 1, 100_000, 1 << 17, 300_000])
def test_a_table_is_recognised_wherever_it_lies(
    remote: RemotePath, tmp_path: Path, n_bytes: int
) -> None:
    local = tmp_path / "x.parquet"
    local.write_bytes(np.random.default_rng(0).bytes(n_bytes))
    s3fs.S3FileSystem().put(str(local), f"{remote.url}/x.parquet")
    assert table_digest(remote / "x.parquet") == table_digest(local)


def test_a_copy_takes_room_for_what_was_filled_in_alone(remote: RemotePath, tables: Path) -> None:
    whole = (tables / "b.parquet").read_bytes()
    with partial_mirror(remote, ".parquet") as mirror:
        assert isinstance(mirror, PartialMirror)
        assert mirror.names == ["a/00000.parquet", "a/00001.parquet", "b.parquet"]
        copy = mirror.fill("b.parquet", [(100_000, 100_010), (100_005, 108_192)])
        assert mirror.fill("b.parquet", []) == copy
        data = copy.read_bytes()
        assert len(data) == len(whole) and data[100_000:108_192] == whole[100_000:108_192]
        assert not any(data[:100_000]) and not any(data[108_192:])
        assert copy.stat().st_blocks * 512 < len(whole) / 20
    assert not copy.exists()
