"""Each kind of input from the file to the table and to the exported tar, drawn and real."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from lesstext.errors import UsageError
from lesstext.export.plan import ExportConfig
from lesstext.export.whole_run import export
from lesstext.policies import text_area
from lesstext.report.pictures import PictureReader
from lesstext.report.rows import RowId
from lesstext.report.samples import Shown
from lesstext.shards.captions import read_caption
from lesstext.shards.opening import open_samples
from lesstext.shards.sources.keys import file_of
from lesstext.shards.specs import expand_specs
from lesstext.shards.tar_reading import index_shard, read_member
from lesstext.tables.selecting import select
from lesstext.tables.table import read_footer
from lesstext.verify import verify_shards
from tests.lesstext.builders import encoded, picture, ratio_samples, read_tar, tar_bytes
from tests.lesstext.conftest import Score

_COLUMNS = ("key", "status", "width", "height", "n_regions", "image_offset", "image_size")
RATIOS = [0.0, 0.5, 0.02, 0.9]
Make = Callable[[Path], str]


def as_gzip(folder: Path) -> str:
    (folder / "00000.tar.gz").write_bytes(gzip.compress(tar_bytes(ratio_samples(RATIOS))))
    return str(folder)


def as_tgz_in_parts(folder: Path) -> str:
    tar = tar_bytes(ratio_samples(RATIOS))
    (folder / "00000.tgz").write_bytes(gzip.compress(tar[:5000]) + gzip.compress(tar[5000:]))
    return f"{folder}/*.tgz"


def as_zstd(folder: Path) -> str:
    tar = zstandard.ZstdCompressor().compress(tar_bytes(ratio_samples(RATIOS)))
    (folder / "00000.tar.zst").write_bytes(tar)
    return f"{folder}/{{00000..00000}}.tar.zst"


def as_gzip_under_another_name(folder: Path) -> str:
    (folder / "00000.tar").write_bytes(gzip.compress(tar_bytes(ratio_samples(RATIOS))))
    return str(folder / "00000.tar")


def as_parquet(folder: Path) -> str:
    (folder / "data").mkdir()
    images = [{"bytes": encoded(picture(40, 100, r)), "path": f"{r}.png"} for r in RATIOS]
    captions = [f"caption {r}" for r in RATIOS]
    table = pa.table({"image": images, "text": captions, "label": list(range(len(RATIOS)))})
    pq.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text("about")
    return str(folder)


def as_images(folder: Path) -> str:
    (folder / "a.b").mkdir()
    for i, ratio in enumerate(RATIOS):
        (folder / "a.b" / f"{i}.x.png").write_bytes(encoded(picture(40, 100, ratio)))
        (folder / "a.b" / f"{i}.x.txt").write_text(f"caption {ratio}")
    return str(folder)


MAKERS: list[Make] = [as_gzip, as_tgz_in_parts, as_zstd, as_parquet, as_images]


def run(spec: str, score: Score, tmp_path: Path) -> tuple[list[dict[str, Any]], Path]:
    """Score, select at most 0.1, export; the table's rows and the one tar."""
    assert score(spec).exit_code == 0
    (table,) = (tmp_path / "scores").rglob("*.parquet")
    select([tmp_path / "scores"], tmp_path / "keep.parquet", text_area.at_most(0.1))
    config = ExportConfig(
        shards=(spec,), selection=tmp_path / "keep.parquet", out=tmp_path / "kept"
    )
    assert not export(config).failed
    (tar,) = (tmp_path / "kept").rglob("*.tar")
    return pq.read_table(table).to_pylist(), tar


@pytest.mark.parametrize("make", [*MAKERS, as_gzip_under_another_name], ids=lambda m: m.__name__)
def test_from_the_file_to_the_table_and_to_a_tar(make: Make, score: Score, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    spec = make(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    rows, tar = run(spec, score, tmp_path)
    assert [row["text_area_ratio"] for row in rows] == pytest.approx(RATIOS)
    assert {row["image_offset"] for row in rows} == {None}
    assert all(row["image_size"] and row["caption_length"] for row in rows)
    index = index_shard(tar)
    assert not index.problems
    assert [entry.key for entry in index.samples] == [rows[0]["key"], rows[2]["key"]]
    with tar.open("rb") as file:
        kept = index.samples[1]
        assert kept.image is not None
        seed = 0 if make in (as_parquet, as_images) else 2
        assert read_member(file, kept.image) == encoded(picture(40, 100, 0.02, seed))
        assert read_caption(file, kept) in ("a caption", "caption 0.02")
    (verdict,) = verify_shards(expand_specs([spec]), tables=tmp_path / "scores", full=True)
    assert (verdict.n_samples, verdict.problems) == (4, [])
    assert score(spec).n_done_before == 1
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert [sample.row["key"] for _, sample in open_samples(spec)] == [row["key"] for row in rows]


@pytest.mark.parametrize("make", MAKERS, ids=lambda m: m.__name__)
def test_the_report_shows_its_images(make: Make, score: Score, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    spec = make(folder)
    score(spec)
    (table,) = (tmp_path / "scores").rglob("*.parquet")
    rows = pq.read_table(table).to_pylist()
    wanted = [_shown(number, rows[number]) for number in (3, 0)]
    reader = PictureReader(expand_specs([spec]), [read_footer(table)], 32, wanted)
    shown = [reader.read(one) for one in wanted]
    assert [one.missing for one in shown] == [None, None]
    assert all(one.caption for one in shown)
    magenta = [one.pixels is not None and (one.pixels[0] == (255, 0, 255)).all() for one in shown]
    assert magenta == [True, False]
    changed = next(p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".md", ".txt"))
    data = changed.read_bytes()
    longer = b"" if changed.suffix == ".parquet" else b"x"
    changed.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:] + longer)
    one = PictureReader(expand_specs([spec]), [read_footer(table)], 32, wanted).read(wanted[0])
    assert one.missing == "shard has changed since it was scored"
    assert score(spec).n_done_before == 0


def _shown(number: int, row: dict[str, Any]) -> Shown:
    return Shown(
        id=RowId(0, number),
        error=None,
        ratio=row["text_area_ratio"],
        largest=row["max_region_ratio"],
        regions=None,
        **{name: row[name] for name in _COLUMNS},
    )


def real(name: str) -> Path:
    folder = os.environ.get("LESSTEXT_DATA")
    if folder is None:
        pytest.skip("LESSTEXT_DATA is not set")
    return Path(folder) / name


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zst"])
def test_a_real_shard_is_the_same_compressed_and_plain(
    suffix: str, score: Score, tmp_path: Path
) -> None:
    plain = real("cc12m_shards/00000.tar")
    pack = gzip.compress if suffix == ".tar.gz" else zstandard.ZstdCompressor().compress
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"00000{suffix}").write_bytes(pack(plain.read_bytes()))
    rows, tar = run(str(tmp_path / "in"), score, tmp_path)
    score(plain, out=tmp_path / "plain")
    wanted = pq.read_table(tmp_path / "plain" / "00000.parquet").to_pylist()
    assert rows == [{**row, "image_offset": None} for row in wanted]
    assert read_tar(tar) == read_tar(plain)  # nothing there is magenta: all are kept


@pytest.mark.parametrize(
    ("name", "n_rows"), [("grocery/val.parquet", 296), ("tiny_imagenet/val.parquet", 3000)]
)
def test_a_real_parquet(name: str, n_rows: int, score: Score, tmp_path: Path) -> None:
    rows, tar = run(str(real(name)), score, tmp_path)
    assert len(rows) == n_rows
    assert {row["status"] for row in rows} == {"ok"}
    entries = index_shard(tar).samples
    assert len(entries) == sum(row["text_area_ratio"] <= 0.1 for row in rows)
    first = pq.read_table(real(name)).slice(0, 1).to_pylist()[0]
    image, fields = entries[0].image, entries[0].member("json")
    with tar.open("rb") as file:
        assert image is not None and read_member(file, image) == first["image"]["bytes"]
        assert fields is not None
        assert json.loads(read_member(file, fields))["label"] == first["label"]


def test_a_real_folder_of_images(score: Score, tmp_path: Path) -> None:
    folder = real("imagenet_sample/val")
    (tmp_path / "val").mkdir()
    for wnid in sorted(os.listdir(folder))[:40]:
        (tmp_path / "val" / wnid).symlink_to(folder / wnid)
    linked = tmp_path / "linked"
    for path in sorted(folder.rglob("*.JPEG"))[:40]:
        (linked / path.parent.name).mkdir(parents=True)
        (linked / path.parent.name / path.name).symlink_to(path)  # as in a Hugging Face snapshot
    rows, tar = run(str(linked), score, tmp_path)
    assert len(rows) == 40 and tar.name == "linked-00000.tar"
    with tar.open("rb") as file:
        for entry in index_shard(tar).samples[:5]:
            assert entry.image is not None
            file_bytes = (linked / f"{file_of(entry.key)}.JPEG").read_bytes()
            assert read_member(file, entry.image) == file_bytes
    with pytest.raises(UsageError, match="matches no shard"):
        expand_specs([str(tmp_path / "val")])  # links to folders lead out of it
