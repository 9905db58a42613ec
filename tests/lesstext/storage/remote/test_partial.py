"""Copies of remote files with holes: the bytes asked for in their places, and zeros elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from lesstext.errors import StorageError, TableError
from lesstext.storage.paths import RemotePath
from lesstext.storage.remote import partial
from lesstext.storage.remote.partial import merged, partial_mirror

DATA = bytes(range(1, 251)) * 400  # 100,000 bytes, none of them zero


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[RemotePath]:
    """Tables in folders of folders, and files that are none."""
    memory = fsspec.filesystem("memory")
    base = f"/{tmp_path.name}"
    for name in ("a/b/c/x.parquet", "y.parquet", ".hidden.parquet", "a/.z.parquet", "y.json"):
        memory.pipe_file(f"{base}/{name}", DATA)
    memory.pipe_file(f"/{tmp_path.name}-other/x.parquet", DATA)
    yield RemotePath(f"memory://{base}")
    memory.rm(base, recursive=True)


def test_names_are_those_of_the_suffix_without_hidden_ones(remote: RemotePath) -> None:
    with partial_mirror(remote, ".parquet") as mirror:
        assert mirror.names == ["a/b/c/x.parquet", "y.parquet"]
        assert mirror.size_bytes("y.parquet") == len(DATA)


def test_a_copy_holds_what_was_filled_in(
    remote: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial.merged, "__defaults__", (0,))
    expected = bytearray(len(DATA))
    with partial_mirror(remote, ".parquet") as mirror:
        for ranges in ([(90_000, 100_000), (5, 10)], [(50_000, 50_001), (8, 20)]):
            copy = mirror.fill("a/b/c/x.parquet", ranges)
            for start, stop in ranges:
                expected[start:stop] = DATA[start:stop]
            assert copy.read_bytes() == expected
    assert not copy.exists()


def test_small_gaps_are_fetched_along() -> None:
    assert merged([(0, 10), (5, 7), (10, 12)], 0) == [(0, 12)]
    assert merged([(12, 20), (0, 10)], 1) == [(0, 10), (12, 20)]
    assert merged([(12, 20), (0, 10)], 2) == [(0, 20)]
    assert merged([], 2) == []
    assert merged([(0, 10), (50, 60), (55, 57), (58, 70)], 5) == [(0, 10), (50, 70)]
    assert merged([(0, 10), (50, 60), (55, 57)], 5) == [(0, 10), (50, 60)]


def test_files_that_change_meanwhile_are_refused(remote: RemotePath) -> None:
    memory = fsspec.filesystem("memory")
    with partial_mirror(remote, ".parquet") as mirror:
        mirror.check_unchanged()
        memory.pipe_file(f"{remote.url[9:]}/a/new.parquet", DATA)
        with pytest.raises(StorageError, match=r"a/new\.parquet changed while it was being read"):
            mirror.check_unchanged()


def test_a_file_shorter_than_it_was_is_an_error(
    remote: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lesstext.storage.remote.retrying.time.sleep", lambda _: None)
    with partial_mirror(remote, ".parquet") as mirror:
        fsspec.filesystem("memory").pipe_file(f"{remote.url[9:]}/y.parquet", DATA[:50])
        with pytest.raises(StorageError, match=r"y\.parquet: 40 of 90 bytes from byte 10 on"):
            mirror.fill("y.parquet", [(10, 100)])


def test_errors_name_the_remote_file_and_not_its_copy(remote: RemotePath) -> None:
    with (
        pytest.raises(TableError, match=f"^{remote}/y.parquet is damaged$"),
        partial_mirror(remote, ".parquet") as mirror,
    ):
        raise TableError(f"{mirror.copies}/y.parquet is damaged")
