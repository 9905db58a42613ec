"""Compressed tars, parquet and folders that are damaged or strange: each a row or a line."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from lesstext.errors import ShardError, UsageError
from lesstext.shards.opening import open_samples
from lesstext.shards.sources import compressed
from lesstext.shards.specs import ShardSource, expand_specs, fetched, input_places
from lesstext.storage.guard import refuse_overlap
from tests.lesstext.builders import encoded, picture, ratio_samples, tar_bytes

IMAGE = encoded(picture(40, 100, 0.5))


def rows(spec: Path | str) -> list[tuple[str, str]]:
    return [(one.row["key"], one.row["status"]) for _, one in open_samples(str(spec))]


def problems(spec: Path) -> list[str]:
    (source,) = expand_specs([str(spec)])
    with fetched(source) as local:
        return local.index(source.name).problems


def test_a_truncated_gzip_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = gzip.compress(tar_bytes(ratio_samples([0.1] * 40)), 0)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(whole[: len(whole) // 2])
    assert 10 < len(rows(path)) < 30
    assert any("its gzip stream is damaged behind" in problem for problem in problems(path))


def test_a_truncated_zstd_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    cut = zstandard.ZstdCompressor(level=1).compress(tar_bytes(
        [(f"{i}.jpg", os.urandom(50_000)) for i in range(20)]
    ))  # fmt: skip
    path = tmp_path / "a.tar.zst"
    path.write_bytes(cut[: len(cut) // 2])
    assert 5 < len(rows(path)) < 15
    assert any("truncated" in problem for problem in problems(path))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.tar.gz", b"\x1f\x8b"),
        ("a.tar.zst", b"\x28\xb5\x2f\xfd\0"),
        ("a.tar.gz", gzip.compress(b"no tar")),
        ("a.parquet", b"PAR1 and nothing else"),
    ],
)
def test_what_holds_nothing_fails_by_name(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ShardError, match="shard a: "):
        rows(tmp_path / name)


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "_MAX_SLACK_BYTES", 1 << 20)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(tar_bytes([("a.jpg", bytes(50 << 20))])))
    with pytest.raises(ShardError, match="shard a: unpacks to more than"):
        rows(path)


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_rows_without_an_image_and_second_rows_of_a_key_are_rows(tmp_path: Path) -> None:
    images = [IMAGE, None, IMAGE, b"", b"no image", IMAGE]
    keys = ["a.b", "c", "c", "d", "e", None]
    path = write(tmp_path / "p.parquet", {"jpg": images, "key": keys})
    assert rows(path) == [
        ("a%2Eb", "ok"),
        ("c", "missing_image"),
        ("c", "duplicate_key"),
        ("d", "missing_image"),
        ("e", "decode_error"),
        ("00000005", "ok"),
    ]


@pytest.mark.parametrize(
    "columns",
    [
        {"row": [{"image": {"bytes": IMAGE, "path": "x.png"}, "n": 1}]},
        {"mask": [{"bytes": b"m", "path": ""}], "image": [{"bytes": IMAGE, "path": None}]},
        {"thumbnail": [b"t"], "image": [IMAGE]},
    ],
    ids=["nested", "several", "binary"],
)
def test_the_image_is_found(tmp_path: Path, columns: dict[str, Any]) -> None:
    path = write(tmp_path / "p.parquet", columns)
    assert rows(path) == [("00000000", "ok")]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"key": ["a"], "caption": ["b"]}, "no column of images, only key, caption"),
        ({"images": [[{"bytes": IMAGE}]]}, "lists of images in 'images'"),
    ],
)
def test_parquet_that_is_no_source_is_said(
    tmp_path: Path, columns: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        expand_specs([str(write(tmp_path / "p.parquet", columns))])


def test_damaged_pages_end_a_parquet_where_they_are(tmp_path: Path) -> None:
    images = [encoded(picture(64, 64, 0.3, seed)) + os.urandom(2000) for seed in range(40)]
    path = write(tmp_path / "p.parquet", {"image": images}, row_group_size=10, compression="zstd")
    group = pq.read_metadata(path).row_group(2).column(0)
    data = bytearray(path.read_bytes())
    at = group.data_page_offset
    data[at : at + 200] = os.urandom(200)
    path.write_bytes(data)
    found = rows(path)
    assert 8 <= len(found) <= 20
    assert any("is damaged behind row" in problem for problem in problems(path))


def test_a_sidecar_changes_nothing_and_what_is_passed_over_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "00000.tar").write_bytes(tar_bytes(ratio_samples([0.1])))
    write(tmp_path / "in" / "00000.parquet", {"key": ["s"], "image": [IMAGE]})
    (tmp_path / "in" / "sizes.json").write_text("{}")
    assert [one.name for one in expand_specs([f"{tmp_path}/in"])] == ["00000"]
    assert [one.name for one in expand_specs([f"{tmp_path}/in/*"])] == ["00000"]
    assert not caplog.records
    (tmp_path / "in" / "x.jpg").write_bytes(IMAGE)
    (tmp_path / "in" / "notes.md").write_text("")
    write(tmp_path / "in" / "more.parquet", {"image": [IMAGE]})
    assert [one.name for one in expand_specs([f"{tmp_path}/in"])] == ["00000"]
    (record,) = caplog.records
    for part in ("1 other files (", "notes.md", "1 parquet files (", "1 images (x.jpg)"):
        assert part in record.getMessage()


def test_a_folder_of_images_is_numbered_and_strange_files_are_rows_or_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for name in ("b/one.png", "b/one.JPG", "two.x.png"):
        (folder / name).write_bytes(IMAGE)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "two.x.json").write_text(json.dumps({"captions": ["from json"]}))
    (folder / "b" / "metadata.csv").write_text("file_name,text\none.png,from the table\n")
    (folder / "out.jpg").symlink_to(tmp_path / "nothing.jpg")
    (folder / "away").symlink_to("/")
    os.mkfifo(folder / "pipe.jpg")
    found = {one.row["key"]: one for _, one in open_samples(str(folder))}
    statuses = {key: one.row["status"] for key, one in found.items()}
    assert statuses == {
        "b/one%JPG": "ok", "b/one%png": "ok", "empty": "decode_error", "two%2Ex": "ok",
    }  # fmt: skip
    assert found["b/one%png"].caption == "from the table"
    assert found["two%2Ex"].caption == "from json"
    (record,) = caplog.records
    for part in ("1 links to folders", "1 links to nothing", "1 pipes and devices"):
        assert part in record.getMessage()
    (source,) = expand_specs([str(folder)])
    assert source.name == "photos-00000" and not source.is_tar
    with pytest.raises(UsageError, match=r"is an input|inside the input"):
        refuse_overlap(folder / "out", input_places([str(folder)], [source]))
    refuse_overlap(tmp_path / "out", input_places([str(folder)], [source]))
    with pytest.raises(UsageError, match="is one image, not a shard"):
        expand_specs([str(folder / "two.x.png")])


def test_an_image_that_vanishes_or_cannot_be_read_is_a_row_and_a_problem(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(IMAGE)
    source = ShardSource("x-00000", str(tmp_path), ("a.png", "b.png"))
    (tmp_path / "a.png").unlink()
    with fetched(source) as local:
        index = local.index("x-00000")
    assert [entry.key for entry in index.samples] == ["a", "b"]
    assert index.problems == ["a.png cannot be read: No such file or directory"]


def test_many_images_are_several_shards(tmp_path: Path) -> None:
    for number in range(1_001):
        (tmp_path / f"{number:04d}.jpg").write_bytes(b"")
    first, second = expand_specs([str(tmp_path)])
    assert (len(first.files), second.files) == (1_000, ("1000.jpg",))


def test_a_list_names_a_thousand_shards(tmp_path: Path) -> None:
    lines = ["# all of them", "", "more/*.tar.gz", "0000.tar::0001.tar", "@inner.txt"]
    for number in range(1_000):
        (tmp_path / f"{number:04d}.tar").write_bytes(b"x")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "9000.tar.gz").write_bytes(b"x")
    (tmp_path / "inner.txt").write_text("".join(f"{n:04d}.tar\n" for n in range(2, 1_000)))
    (tmp_path / "list.txt").write_text("\r\n".join(lines))
    names = [source.name for source in expand_specs([f"@{tmp_path}/list.txt"])]
    assert names == ["9000", *(f"{number:04d}" for number in range(1_000))]


def test_remote_folders_of_parquet_and_of_compressed_tars() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [IMAGE], "text": ["a caption"]}), buffer)
    memory.pipe("/hub/data/train-00000.parquet", buffer.getvalue())
    other = io.BytesIO()
    pq.write_table(pa.table({"key": ["a"]}), other)
    memory.pipe("/hub/meta.parquet", other.getvalue())
    (source,) = expand_specs(["memory://hub"])
    assert source.name == "data/train-00000"
    ((_, sample),) = open_samples("memory://hub")
    assert (sample.row["status"], sample.caption) == ("ok", "a caption")
    memory.pipe("/gz/00000.tar.gz", gzip.compress(tar_bytes(ratio_samples([0.1, 0.2]))))
    memory.pipe("/gz/00000.parquet", buffer.getvalue())
    assert [one.row["status"] for _, one in open_samples("memory://gz")] == ["ok", "ok"]
