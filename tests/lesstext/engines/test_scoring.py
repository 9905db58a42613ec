"""Score tables: rows for everything, bytes that repeat, done markers, and bad input."""

from __future__ import annotations

import io
import json
import os
import re
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lesstext.annotators.base import Placement
from lesstext.annotators.text_area import TextArea, TextAreaWorker
from lesstext.engines.local import LocalEngine
from lesstext.engines.one_shard import annotate_shard
from lesstext.engines.task import Task
from lesstext.engines.whole_run import RunConfig, execute, plan
from lesstext.errors import ShardError, TableError, UsageError
from lesstext.images import Pixels
from lesstext.shards.specs import ShardSource, expand_specs
from lesstext.tables.folder import TableSource, open_tables
from lesstext.tables.table import find_tables, read_footer, table_digest, table_path
from lesstext.text_detection.protocol import TextRegions
from lesstext.verify import verify_shards
from tests.lesstext.builders import encoded, picture, ratio_samples, sample, tar_bytes, write_tar
from tests.lesstext.conftest import FAKE, Score
from tests.lesstext.test_images import png_that_claims


def rows(folder: Path, shard: str = "x") -> dict[str, dict[str, Any]]:
    table = pq.read_table(table_path(folder, shard)).to_pylist()
    return {row["key"]: row for row in table}


def tables(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.parquet")}


def test_rows_hold_what_was_drawn(tmp_path: Path, score: Score) -> None:
    image = encoded(picture(40, 100, text_ratio=0.25))
    shard = write_tar(tmp_path / "in/x.tar", sample("k", image, caption="größe", uid="u1"))
    assert score(shard).exit_code == 0
    row = rows(tmp_path / "scores")["k"]
    offset, size = row.pop("image_offset"), row.pop("image_size")
    assert shard.read_bytes()[offset : offset + size] == image
    assert row == {
        "key": "k", "uid": "u1", "status": "ok", "error": None, "width": 40, "height": 100,
        "text_area_ratio": 0.25, "text_area_sum_ratio": 0.25, "n_regions": 1,
        "max_region_ratio": 0.25, "max_score": 1.0,
        "regions": [[0, 0, 40, 0, 40, 25, 0, 25]], "caption_length": 5,
    }  # fmt: skip


def test_rows_are_in_tar_order_and_tables_mirror_the_input(shards: Path, score: Score) -> None:
    summary = score(shards)
    assert [report.shard for report in summary.reports] == ["a/00000", "a/00001", "b/00000"]
    assert summary.counts == {"ok": 30}
    out = shards.parent / "scores"
    found = list(rows(out, "b/00000").values())
    assert [row["key"] for row in found] == [f"b_00000{i:04d}" for i in range(10)]
    assert [round(row["text_area_ratio"], 6) for row in found] == [i / 50 for i in range(10)]


def test_a_second_run_does_nothing_and_rescore_does_all(shards: Path, score: Score) -> None:
    score(shards)
    before = tables(shards.parent / "scores")
    again = score(shards)
    assert again.n_done_before == 3 and again.counts == {"ok": 30}
    assert score(shards, rescore=True).n_done_before == 0
    assert tables(shards.parent / "scores") == before


def test_a_changed_shard_is_scored_again(shards: Path, score: Score) -> None:
    score(shards)
    write_tar(shards / "a/00001.tar", ratio_samples([0.5], "new"))
    assert score(shards).n_done_before == 2


def test_tables_of_other_settings_are_refused_and_rescore_replaces_them(
    shards: Path, score: Score
) -> None:
    score(shards)
    before = tables(shards.parent / "scores")
    other = replace(FAKE, regions=False)
    with pytest.raises(UsageError, match=r"setting regions=True, not False.*--rescore"):
        score(shards, annotator=other)
    assert tables(shards.parent / "scores") == before
    assert score(shards, annotator=other, rescore=True).n_done_before == 0
    assert "regions" not in pq.read_schema(shards.parent / "scores/a/00000.parquet").names


def test_a_new_shard_does_not_join_tables_of_other_settings(shards: Path, score: Score) -> None:
    score(shards / "a/00000.tar")
    with pytest.raises(UsageError, match="setting regions=True, not False"):
        score(shards / "a/00001.tar", annotator=replace(FAKE, regions=False))


def test_verify_names_a_mix_of_settings(shards: Path, score: Score) -> None:
    score(shards)
    other = replace(FAKE, regions=False)
    score(f"{shards}/./b", annotator=other, rescore=True)
    sources = expand_specs([str(shards)])
    scores = shards.parent / "scores"
    for quick in (False, True):
        found = {v.shard: v.problems for v in verify_shards(sources, tables=scores, quick=quick)}
        assert found["a/00000"] == found["a/00001"] == []
        (problem,) = found["b/00000"]
        assert "otherwise than that of shard a/00000: setting regions=False, not True" in problem


def test_no_sample_that_was_ok_is_no_success(tmp_path: Path, score: Score) -> None:
    write_tar(tmp_path / "in/x.tar", sample("k", b"<html>404</html>", "jpg"))
    summary = score(tmp_path / "in")
    assert summary.counts == {"decode_error": 1} and summary.exit_code == 1


def test_a_table_of_fewer_rows_than_its_footer_counts_is_not_done(
    shards: Path, score: Score
) -> None:
    score(shards)
    table = shards.parent / "scores/a/00000.parquet"
    whole = table.read_bytes()
    held = pq.read_table(table)
    with pq.ParquetWriter(table, held.schema) as writer:
        writer.write_table(held.slice(0, 4))
        writer.add_key_value_metadata(pq.ParquetFile(io.BytesIO(whole)).metadata.metadata)
    with pytest.raises(TableError, match="4 rows, but its footer counts 10"):
        read_footer(table)
    assert score(shards).n_done_before == 2
    assert table.read_bytes() == whole


def test_a_zeroed_table_under_a_good_footer_is_not_done(shards: Path, score: Score) -> None:
    score(shards)
    table = shards.parent / "scores/a/00000.parquet"
    whole = table.read_bytes()
    table.write_bytes(whole[:4] + bytes(396) + whole[400:])
    assert score(shards).n_done_before == 2
    assert table.read_bytes() == whole
    assert score(shards).n_done_before == 3


def test_no_table_is_seen_before_its_stats(
    shards: Path, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the two would leave a table whose stats nothing ever writes."""
    stats = shards.parent / "scores/a/00000_stats.json"

    def replace(partial: Path, target: Path) -> None:
        if target == stats.with_name("00000.parquet"):
            assert json.loads(stats.read_text())["table"] == table_digest(partial)
            seen.append(target)
        os.rename(partial, target)

    seen: list[Path] = []
    monkeypatch.setattr("lesstext.storage.files.os.replace", replace)
    score(shards)
    assert len(seen) == 1


def test_tables_without_stats_stay_done(shards: Path, score: Score) -> None:
    score(shards)
    for stats in (shards.parent / "scores").rglob("*_stats.json"):
        stats.unlink()
    assert score(shards).n_done_before == 3


def test_verify_full_sees_a_zeroed_table_under_a_good_footer(shards: Path, score: Score) -> None:
    score(shards)
    table = shards.parent / "scores/a/00000.parquet"
    data = bytearray(table.read_bytes())
    data[4:400] = bytes(396)
    table.write_bytes(data)
    sources = expand_specs([str(shards)])
    verdicts = list(verify_shards(sources, tables=shards.parent / "scores", full=True))
    (bad,) = [verdict for verdict in verdicts if verdict.problems]
    assert bad.shard == "a/00000" and "is damaged" in bad.problems[0]


def test_a_half_written_or_foreign_table_is_not_done(shards: Path, score: Score) -> None:
    score(shards)
    table = shards.parent / "scores/a/00000.parquet"
    whole = table.read_bytes()
    for data in (whole[:-100], b"", b"PAR1"):
        table.write_bytes(data)
        assert score(shards).n_done_before == 2
        assert table.read_bytes() == whole


def test_slices_and_limits_cover_each_shard_once(shards: Path, tmp_path: Path) -> None:
    def planned(**options: Any) -> list[str]:
        config = RunConfig(shards=(str(shards),), out=tmp_path / "o", annotator=FAKE, **options)
        return [task.source.name for task in plan(config).tasks]

    parts = [planned(slice=(i, 2)) for i in range(2)]
    assert parts == [["a/00000", "b/00000"], ["a/00001"]]
    assert planned(limit=2) == ["a/00000", "a/00001"]
    with pytest.raises(UsageError, match="--slice"):
        planned(slice=(2, 2))


@pytest.mark.parametrize("workers", [1, 2])
def test_tables_are_byte_identical_whatever_the_workers_and_the_order(
    shards: Path, score: Score, workers: int
) -> None:
    score(shards)
    other = shards.parent / "other"
    config = RunConfig(shards=(str(shards),), out=other, annotator=FAKE)
    todo = plan(config)
    todo.tasks.reverse()
    n_new: Counter[str] = Counter()
    execute(
        config, todo, LocalEngine(FAKE, [Placement()] * workers),
        on_samples=lambda shard, far: n_new.update({shard: far.n_new}),
    )  # fmt: skip
    assert n_new == dict.fromkeys(("a/00000", "a/00001", "b/00000"), 10)
    assert tables(other) == tables(shards.parent / "scores")


BAD_SAMPLES: list[tuple[str, list[tuple[str, bytes]], str, str]] = [
    ("0-byte image", sample("k", b""), "decode_error", r"k\.png: .*empty \(0 bytes\)"),
    ("html", sample("k", b"<html>404</html>", "jpg"), "decode_error", r"k\.jpg: not an image"),
    ("bomb", sample("k", png_that_claims(50_000, 50_000)), "too_large", "50000 x 50000"),
    ("no image", [("k.txt", b"words")], "missing_image", r"no image among its members \(txt\)"),
]


@pytest.mark.parametrize(
    ("members", "status", "error"), [c[1:] for c in BAD_SAMPLES], ids=[c[0] for c in BAD_SAMPLES]
)
def test_a_bad_sample_is_a_row_that_says_why_and_its_neighbours_are_kept(
    tmp_path: Path,
    score: Score,
    caplog: pytest.LogCaptureFixture,
    members: list[tuple[str, bytes]],
    status: str,
    error: str,
) -> None:
    caplog.set_level("INFO")
    write_tar(tmp_path / "in/x.tar", [*sample("before"), *members, *sample("after")])
    summary = score(tmp_path / "in")
    assert summary.exit_code == 0
    assert summary.counts == {status: 1, "ok": 2}
    found = rows(tmp_path / "scores")
    assert found["k"]["status"] == status and found["k"]["text_area_ratio"] is None
    assert re.search(error, found["k"]["error"])
    assert f"shard x, key k: {status}" in caplog.text


GOOD_BUT_ODD = {
    "cmyk": encoded(picture().convert("CMYK"), "JPEG"),
    "16-bit": encoded(Image.fromarray(np.zeros((8, 8), np.uint16)), "PNG"),
    "grey": encoded(picture().convert("L"), "JPEG"),
    "palette": encoded(picture().convert("P"), "PNG"),
    "alpha": encoded(picture().convert("RGBA"), "WEBP"),
    "gif": encoded(picture(), "GIF", save_all=True, append_images=[picture(seed=9)]),
    "1x1": encoded(picture(1, 1), "PNG"),
    "1x5000": encoded(picture(1, 5000), "PNG"),
}


def test_odd_but_good_images_are_scored(tmp_path: Path, score: Score) -> None:
    members = [m for key, data in GOOD_BUT_ODD.items() for m in sample(key, data, "jpg")]
    write_tar(tmp_path / "in/x.tar", members)
    assert score(tmp_path / "in").counts == {"ok": len(GOOD_BUT_ODD)}


def test_exif_rotation_decides_size_and_region_frame(tmp_path: Path, score: Score) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise: the left edge comes to the top
    stored = picture(40, 100, 0.5).transpose(Image.Transpose.ROTATE_90)
    image = encoded(stored, "PNG", exif=exif)
    write_tar(tmp_path / "in/x.tar", sample("k", image))
    score(tmp_path / "in")
    row = rows(tmp_path / "scores")["k"]
    assert (row["width"], row["height"]) == (40, 100)
    assert row["regions"] == [[0, 0, 40, 0, 40, 50, 0, 50]]


def test_captions_missing_or_not_utf8_do_not_cost_the_image(tmp_path: Path, score: Score) -> None:
    image = encoded(picture())
    members = [("a.png", image), ("b.png", image), ("b.txt", b"caf\xe9")]
    write_tar(tmp_path / "in/x.tar", members)
    assert score(tmp_path / "in").counts == {"ok": 2}
    found = rows(tmp_path / "scores")
    assert found["a"]["caption_length"] is None and found["a"]["error"] is None
    assert found["b"]["caption_length"] is None and "not UTF-8" in found["b"]["error"]


THREE = [*sample("a"), *sample("b"), *sample("c", encoded(picture(300, 300)) + bytes(9000))]


@pytest.mark.parametrize(
    ("data", "counts", "problem"),
    [
        (tar_bytes(THREE)[:7000], {"decode_error": 1, "ok": 2}, r"truncated inside member c\.png"),
        (tar_bytes(THREE)[:6144], {"ok": 2}, "truncated at a member boundary"),
        (tar_bytes(sample("a")) + tar_bytes(sample("b")), {"ok": 2}, "concatenated"),
        (tar_bytes([sample("a")[0], *sample("b"), *sample("a")[1:]]), {"ok": 2}, "interleaved"),
        (tar_bytes([*sample("a"), *sample("a")]), {"duplicate_key": 1, "ok": 1}, "duplicate keys"),
    ],
    ids=["mid-member", "member boundary", "concatenated", "interleaved", "duplicate keys"],
)
def test_a_damaged_shard_is_named_and_its_good_samples_are_scored(
    tmp_path: Path, score: Score, data: bytes, counts: dict[str, int], problem: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.tar").write_bytes(data)
    write_tar(tmp_path / "in/y.tar", sample("z"))
    summary = score(tmp_path / "in")
    assert summary.exit_code == 1
    (damaged,) = summary.damaged
    assert damaged.shard == "x" and damaged.counts == counts
    assert re.search(problem, damaged.problems[0])
    assert score(tmp_path / "in").exit_code == 1, "a rerun still says so"


@pytest.mark.parametrize("data", [b"", b"<html>404</html>" * 99], ids=["0 bytes", "html"])
def test_a_shard_that_is_none_fails_by_name_and_the_others_are_scored(
    tmp_path: Path, score: Score, data: bytes
) -> None:
    write_tar(tmp_path / "in/y.tar", sample("z"))
    (tmp_path / "in/x.tar").write_bytes(data)
    summary = score(tmp_path / "in")
    assert summary.exit_code == 1 and summary.counts == {"ok": 1}
    (failed,) = summary.failed
    assert failed.error is not None and failed.error.startswith("shard x: ")
    assert not (tmp_path / "scores/x.parquet").exists()


def test_an_output_that_cannot_be_written_is_said_before_work(
    shards: Path, score: Score, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot write into the output folder"):
        score(shards, out=tmp_path / "file" / "scores")
    with pytest.raises(UsageError, match="is an input"):
        score(shards / "a", out=shards / "a")


class Choking:
    """Fails on pictures that are wider than 50 px, or on all."""

    id, input_px = "choking", None

    def __init__(self, always: bool = False) -> None:
        self.always = always

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        if self.always or any(image.shape[1] > 50 for image in images):
            raise RuntimeError("out of cheese")
        return [TextRegions((), np.zeros(0, np.float32)) for _ in images]


def test_an_image_that_the_detector_chokes_on_fails_alone(tmp_path: Path) -> None:
    members = [
        *sample("a", encoded(picture(40))),
        *sample("wide"),
        *sample("b", encoded(picture(9))),
    ]
    shard = write_tar(tmp_path / "in/x.tar", members)
    task = Task(source=ShardSource("x", str(shard)), out=tmp_path / "scores", annotator=FAKE)
    assert annotate_shard(task, TextAreaWorker(FAKE, Choking())).counts == {
        "detector_error": 1,
        "ok": 2,
    }
    assert "out of cheese" in rows(tmp_path / "scores")["wide"]["error"]


def test_a_detector_that_fails_on_everything_fails_the_shard(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "in/x.tar", ratio_samples([0.0] * 10))
    task = Task(source=ShardSource("x", str(shard)), out=tmp_path / "scores", annotator=FAKE)
    with pytest.raises(ShardError, match="shard x: the detector failed on 8 images in a row"):
        annotate_shard(task, TextAreaWorker(FAKE, Choking(always=True)))
    assert list((tmp_path / "scores").rglob("*.parquet*")) == []


def test_the_footer_tells_what_the_table_was_made_from(shards: Path, score: Score) -> None:
    import hashlib

    score(shards)
    footer = read_footer(shards.parent / "scores/a/00000.parquet")
    data = (shards / "a/00000.tar").read_bytes()
    assert footer.sha256 == hashlib.sha256(data).hexdigest()
    assert footer.fingerprint.size_bytes == len(data)
    assert (footer.shard, footer.annotator) == ("a/00000", "fake magenta=1")
    assert footer.n_samples == 10 and footer.n_failed == 0
    stats = json.loads((shards.parent / "scores/a/00000_stats.json").read_text())
    assert stats["samples"] == 10 and stats["seconds"]["total"] > 0


def test_reading_refuses_what_is_no_score_table(tmp_path: Path, shards: Path, score: Score) -> None:
    with pytest.raises(TableError, match="not a folder"):
        find_tables(tmp_path / "none")
    (tmp_path / "x.parquet").write_bytes(struct.pack("<I", 1))
    with pytest.raises(TableError, match="is not a table"):
        read_footer(tmp_path / "x.parquet")
    score(shards)
    copy = tmp_path / "scores/a/copy.parquet"
    copy.write_bytes((tmp_path / "scores/a/00000.parquet").read_bytes())
    with (
        pytest.raises(TableError, match="both speak of shard a/00000"),
        open_tables(TableSource(tmp_path / "scores")),
    ):
        pass


def test_settings_are_written_beside_the_tables(shards: Path, score: Score) -> None:
    score(shards)
    settings = json.loads((shards.parent / "scores/annotate_settings.json").read_text())
    assert settings["annotator"] == "text_area" and settings["options"]["detector"] == "fake"


def test_an_unknown_detector_or_option_is_wrong_use(shards: Path, tmp_path: Path) -> None:
    for annotator in (TextArea(detector="none"), TextArea(detector="fake", options={"a": "1"})):
        with pytest.raises(UsageError, match=r"unknown detector|has no option a"):
            plan(RunConfig(shards=(str(shards),), out=tmp_path / "o", annotator=annotator))
