"""Indexing, filtering and planning: what a run may draw."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lesstext.errors import ShardError, UsageError
from lesstext.shards.specs import ShardSource
from tests.train_clip.conftest import jpeg, make_config, sample, write_shards, write_tar
from train_clip.data.index import IMAGE, JSON, TEXT, default_cache, open_shard
from train_clip.data.source_plan import write_plan
from train_clip.data.sources import prepare_data
from train_clip.errors import DataError


def test_offsets_are_those_of_tarfile(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "in" / "a.tar", sample("x/1", 1) + sample("x/2", 2))
    table = open_shard(ShardSource("a", str(path)), tmp_path / "cache")
    assert table.keys == ["x/1", "x/2"]
    with tarfile.open(path) as tar:
        for key, span in zip(table.keys, table.spans, strict=True):
            for column, suffix in ((IMAGE, "jpg"), (TEXT, "txt"), (JSON, "json")):
                info = tar.getmember(f"{key}.{suffix}")
                assert (span[column], span[column + 1]) == (info.offset_data, info.size)


def test_unusable_samples_are_left_out_and_counted(tmp_path: Path) -> None:
    members = [
        *sample("good", 1),
        ("words.txt", b"no image"),
        ("picture.jpg", jpeg(2)),
        *sample("good", 3),
    ]
    path = write_tar(tmp_path / "a.tar", members)
    table = open_shard(ShardSource("a", str(path)), tmp_path / "cache")
    assert table.keys == ["good"]
    assert table.skipped == {"no image": 1, "no caption": 1, "duplicate key": 1}


def test_the_cache_is_used_until_the_shard_changes(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "in" / "a.tar", sample("one", 1))
    source, cache = ShardSource("a", str(path)), tmp_path / "cache"
    first = open_shard(source, cache)
    (stored,) = (cache / "index").iterdir()
    before = stored.stat().st_mtime_ns
    again = open_shard(source, cache)
    assert stored.stat().st_mtime_ns == before
    assert (again.keys, again.spans.tolist()) == (first.keys, first.spans.tolist())
    write_tar(path, sample("two", 2))
    assert open_shard(source, cache).keys == ["two"]


def test_a_damaged_cache_is_rebuilt(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "in" / "a.tar", sample("one", 1))
    source, cache = ShardSource("a", str(path)), tmp_path / "cache"
    open_shard(source, cache)
    (stored,) = (cache / "index").iterdir()
    stored.write_bytes(b"not an archive")
    assert open_shard(source, cache).keys == ["one"]


def test_an_index_of_another_version_is_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "in" / "a.tar", sample("one", 1))
    source, cache = ShardSource("a", str(path)), tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr("train_clip.data.index.INDEX_VERSION", -1)
        open_shard(source, cache)
    (stored,) = (cache / "index").iterdir()
    before = stored.read_bytes()
    assert open_shard(source, cache).keys == ["one"]
    assert stored.read_bytes() != before


def test_the_cache_lies_where_the_users_caches_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg/lesstext/train_clip"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home/.cache/lesstext/train_clip"


def test_input_folders_are_left_as_they_were(shards: Path, tmp_path: Path) -> None:
    def state() -> dict[str, str]:
        files = sorted(p for p in shards.rglob("*") if p.is_file())
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    before = state()
    prepare_data(make_config(shards), tmp_path / "run")
    assert state() == before
    with pytest.raises(UsageError, match="inside the input folder"):
        prepare_data(make_config(shards), shards / "run")
    assert state() == before


def test_plan_names_every_sample(shards: Path, tmp_path: Path) -> None:
    (plan,) = prepare_data(make_config(shards), tmp_path / "run").plans
    assert plan.size == plan.pool_size == 40
    assert plan.counts.tolist() == [12, 7, 9, 12]
    assert [plan.name(i) for i in (0, 11, 12, 39)] == [
        "00000/00000",
        "00000/00011",
        "00001/00012",
        "00003/00039",
    ]


def test_unreadable_shards_are_named_and_bounded(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", [3] * 4)
    (folder / "00002.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 4 shards are unreadable.*00002: is an empty file"):
        prepare_data(make_config(folder), tmp_path / "run")
    data = prepare_data(make_config(folder, max_bad_fraction=0.25), tmp_path / "run")
    assert data.plans[0].shards == ["00000", "00001", "00003"]


def test_a_cut_shard_gives_what_is_whole(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", [5])
    path = folder / "00000.tar"
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        cut = tar.getmember("00003.jpg").offset_data + 5
    path.write_bytes(data[:cut])
    (plan,) = prepare_data(make_config(folder), tmp_path / "run").plans
    assert [plan.key(i) for i in range(plan.size)] == ["00000", "00001", "00002"]


def test_sources_without_any_sample_say_why(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "in" / "a.tar", [("a.txt", b"x"), ("b.txt", b"y")])
    with pytest.raises(DataError, match=r"no usable sample in 1 shards \(2 with no image"):
        prepare_data(make_config(path), tmp_path / "run")


def test_a_shard_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="shard gone: cannot be read"):
        open_shard(ShardSource("gone", str(tmp_path / "gone.tar")), tmp_path / "cache")


def test_a_url_without_a_shard_is_named(tmp_path: Path) -> None:
    gone = ShardSource("gone", f"file://{tmp_path}/gone.tar")
    with pytest.raises(ShardError, match=r"shard gone: .*gone\.tar"):
        open_shard(gone, tmp_path / "cache")


def test_regions_are_those_that_were_given_sample_by_sample(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", [2, 2])
    tables = [
        open_shard(ShardSource(path.stem, str(path)), tmp_path / "cache")
        for path in sorted(folder.iterdir())
    ]
    square, triangle = [1.0, 1, 9, 1, 9, 9, 1, 9], [0.0, 0, 5, 0, 0, 5]
    other = [2.5, 2, 7, 2, 2, 7]
    given: list[list[tuple[list[float], str]]] = [
        [(square, "SALE"), (triangle, "")],
        [],
        [(other, "größer als")],
        [(triangle, "犬"), (square, ""), (other, "x")],
    ]
    plan = write_plan(tmp_path / "plan", "in", tables, 4, given)
    found = [plan.regions(i) for i in range(plan.size)]
    assert [[(polygon.ravel().tolist(), word) for polygon, word in one] for one in found] == given
    assert {polygon.dtype for one in found for polygon, _ in one} == {np.dtype(np.float32)}


def test_without_regions_no_sample_has_any(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "in" / "a.tar", sample("one", 1))
    table = open_shard(ShardSource("a", str(path)), tmp_path / "cache")
    assert write_plan(tmp_path / "a", "in", [table], 1).regions(0) == []
    assert write_plan(tmp_path / "b", "in", [table], 1, [[]]).regions(0) == []


def test_a_source_of_which_nothing_is_left_is_empty(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan", "in", [], 7)
    assert (plan.size, plan.pool_size, plan.shards) == (0, 7, [])


def test_the_digest_knows_data_from_data(shards: Path, tmp_path: Path) -> None:
    first = prepare_data(make_config(shards), tmp_path / "a").digests
    assert first == prepare_data(make_config(shards), tmp_path / "b").digests
    write_shards(shards, (12, 7, 9, 11))
    assert first != prepare_data(make_config(shards), tmp_path / "c").digests


def test_shards_given_by_url_are_fetched_until_they_change(shards: Path, tmp_path: Path) -> None:
    config = make_config(f"file://{shards}", cache=str(tmp_path / "cache"))
    fetched = tmp_path / "cache" / "shards"
    (plan,) = prepare_data(config, tmp_path / "a").plans
    assert plan.counts.tolist() == [12, 7, 9, 12]
    assert all(Path(path).parent == fetched for path in plan.paths)
    prepare_data(config, tmp_path / "b")
    assert len(list(fetched.iterdir())) == 4
    write_shards(shards, (12, 7, 9, 11))
    (plan,) = prepare_data(config, tmp_path / "c").plans
    assert plan.counts.tolist() == [12, 7, 9, 11]


def test_the_cache_may_not_lie_in_the_input(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="inside the input folder"):
        prepare_data(make_config(shards, cache=str(shards / "cache")), tmp_path / "run")
