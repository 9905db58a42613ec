"""Filtered shards: the same bytes, in order, restartable, and readable by others."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.errors import TableError, UsageError
from lesstext.export.plan import ExportConfig
from lesstext.export.whole_run import ExportSummary, export
from lesstext.policies import text_area
from lesstext.shards.specs import expand_specs
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.verify import verify_shards
from tests.lesstext.builders import ratio_samples, read_tar, sample, tar_bytes, write_tar
from tests.lesstext.conftest import Score


@pytest.fixture
def selection(shards: Path, score: Score) -> Path:
    """Keeps ratios up to 0.06: the first four samples of each of three shards."""
    score(shards)
    out = shards.parent / "s.parquet"
    select([shards.parent / "scores"], out, text_area.at_most(0.06))
    return out


def run(shards: Path, selection: Path, **options: object) -> ExportSummary:
    config = ExportConfig(
        shards=(str(shards),),
        selection=selection,
        out=shards.parent / "out",
        workers=1,
        **options,  # type: ignore[arg-type]
    )
    return export(config)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_kept_samples_are_copied_byte_for_byte_in_order(shards: Path, selection: Path) -> None:
    summary = run(shards, selection)
    assert summary.n_samples == 12 and not summary.failed
    for name in ("a/00000", "a/00001", "b/00000"):
        assert read_tar(shards.parent / f"out/{name}.tar") == read_tar(shards / f"{name}.tar")[:12]


def test_members_have_no_time_and_the_archive_is_whole(shards: Path, selection: Path) -> None:
    run(shards, selection)
    path = shards.parent / "out/a/00000.tar"
    with tarfile.open(path) as tar:
        assert {member.mtime for member in tar} == {0}
    assert path.read_bytes().endswith(bytes(1024))


def test_webdataset_reads_the_result_unchanged(shards: Path, selection: Path) -> None:
    import webdataset

    run(shards, selection)
    path = shards.parent / "out/b/00000.tar"
    found = list(webdataset.WebDataset(str(path), shardshuffle=False))
    original = dict(read_tar(shards / "b/00000.tar"))
    assert [item["__key__"] for item in found] == [f"b_00000{i:04d}" for i in range(4)]
    for item in found:
        for suffix in ("png", "txt", "json"):
            assert item[suffix] == original[f"{item['__key__']}.{suffix}"]


def test_real_shards_survive_with_unchanged_bytes(
    real_data: Path, tmp_path: Path, score: Score
) -> None:
    source = real_data / "cc12m_shards"
    score(source)
    select([tmp_path / "scores"], tmp_path / "s.parquet", text_area.lowest(0.5))
    config = ExportConfig(
        shards=(str(source),), selection=tmp_path / "s.parquet", out=tmp_path / "out", workers=1
    )
    assert export(config).n_samples == 16
    original = dict(read_tar(source / "00000.tar"))
    copied = read_tar(tmp_path / "out/00000.tar")
    assert len(copied) == 48 and all(original[name] == data for name, data in copied)


def test_sizes_and_stats_are_what_open_clip_and_datacomp_read(
    shards: Path, selection: Path
) -> None:
    run(shards, selection)
    out = shards.parent / "out"
    assert json.loads((out / "a/sizes.json").read_text()) == {"00000.tar": 4, "00001.tar": 4}
    assert json.loads((out / "b/00000_stats.json").read_text())["successes"] == 4


def test_a_second_run_writes_nothing_and_heals_what_is_missing(
    shards: Path, selection: Path
) -> None:
    run(shards, selection)
    out = shards.parent / "out"
    before = files(out)
    assert run(shards, selection).n_done_before == 3
    (out / "a/00001.tar").unlink()
    (out / "b/00000_stats.json").unlink()
    assert run(shards, selection).n_done_before == 1
    assert files(out) == before


def test_workers_do_not_change_bytes(shards: Path, selection: Path) -> None:
    run(shards, selection)
    before = files(shards.parent / "out")
    config = ExportConfig(
        shards=(str(shards),), selection=selection, out=shards.parent / "out2", workers=2
    )
    export(config)
    assert files(shards.parent / "out2") == before


def test_repacking_fills_shards_and_never_repeats_a_key_in_one(shards: Path, score: Score) -> None:
    write_tar(shards / "c.tar", ratio_samples([0.0, 0.0], "a_00000"))  # keys of a/00000 again
    score(shards)
    selection = shards.parent / "s.parquet"
    select([shards.parent / "scores"], selection, text_area.at_most(0.06))
    summary = run(shards, selection, samples_per_shard=5)
    assert [report.n_samples for report in summary.reports] == [5, 5, 4]
    run(shards, selection, samples_per_shard=100, replace=True)
    out = shards.parent / "out"
    assert sorted(p.name for p in out.glob("*.tar")) == ["00000.tar", "00001.tar"]
    assert len(read_tar(out / "00000.tar")) == 3 * 12
    names = [name for name, _ in read_tar(out / "00001.tar")]
    assert names[0] == "a_000000000.png" and len(names) == 6


def test_a_shard_without_kept_samples_leaves_no_empty_tar(shards: Path, score: Score) -> None:
    write_tar(shards / "c.tar", ratio_samples([0.9], "c"))
    score(shards)
    selection = shards.parent / "s.parquet"
    select([shards.parent / "scores"], selection, text_area.at_most(0.06))
    run(shards, selection)
    assert not (shards.parent / "out/c.tar").exists()
    assert json.loads((shards.parent / "out/c_stats.json").read_text())["successes"] == 0
    assert run(shards, selection).n_done_before == 4


def test_a_shard_that_changed_since_scoring_fails_by_name(shards: Path, selection: Path) -> None:
    write_tar(shards / "b/00000.tar", sample("new"))
    summary = run(shards, selection)
    (failed,) = summary.failed
    assert (
        failed.error is not None
        and "shard b/00000: is not the file that was scored" in failed.error
    )
    assert summary.n_samples == 8 and not (shards.parent / "out/b/00000.tar").exists()


def test_samples_of_a_damaged_shard_are_exported_whole(tmp_path: Path, score: Score) -> None:
    a, b = sample("a"), sample("b")
    (tmp_path / "in").mkdir()
    interleaved = tar_bytes([a[0], b[0], a[1], b[1], a[2], b[2]])
    (tmp_path / "in/x.tar").write_bytes(interleaved)
    score(tmp_path / "in")
    select([tmp_path / "scores"], tmp_path / "s.parquet", text_area.at_most(1))
    run(tmp_path / "in", tmp_path / "s.parquet")
    assert read_tar(tmp_path / "out/x.tar") == [*a, *b]


def test_another_selection_does_not_mix_with_the_old_shards(shards: Path, selection: Path) -> None:
    run(shards, selection, samples_per_shard=4)
    stricter = shards.parent / "t.parquet"
    select([shards.parent / "scores"], stricter, text_area.at_most(0.0))
    with pytest.raises(UsageError, match="holds shards of another selection"):
        run(shards, stricter, samples_per_shard=4)
    run(shards, stricter, samples_per_shard=4, replace=True)
    assert [p.name for p in (shards.parent / "out").glob("*.tar")] == ["00000.tar"]


def test_wrong_use_is_refused_before_anything_is_written(shards: Path, selection: Path) -> None:
    write_tar(shards / "new.tar", sample("z"))
    with pytest.raises(UsageError, match="says nothing about 1 of the shards, the first: new"):
        run(shards, selection)
    with pytest.raises(UsageError, match="--samples-per-shard"):
        run(shards, selection, samples_per_shard=0)
    assert not (shards.parent / "out").exists()
    inside = ExportConfig(shards=(str(shards / "a"),), selection=selection, out=shards / "a/o")
    with pytest.raises(UsageError, match="inside the input folder"):
        export(inside)


def rewrite(selection: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the rows of a selection, and leave what it says about itself."""
    rows, said = pq.read_table(selection), pq.read_metadata(selection).metadata
    with pq.ParquetWriter(selection, rows.schema) as writer:
        writer.write_table(change(rows))
        writer.add_key_value_metadata(said)


def test_a_shard_that_was_cut_short_is_written_again(shards: Path, selection: Path) -> None:
    run(shards, selection)
    tar = shards.parent / "out/a/00001.tar"
    whole = tar.read_bytes()
    for damaged in (whole[:1000], whole[:-1] + b"x", whole + bytes(512)):
        tar.write_bytes(damaged)
        assert run(shards, selection).n_done_before == 2
        assert tar.read_bytes() == whole


def test_verify_sees_a_byte_changed_in_the_middle_of_an_exported_shard(
    shards: Path, selection: Path
) -> None:
    run(shards, selection)
    sources = expand_specs([str(shards.parent / "out")])
    assert all(not verdict.problems for verdict in verify_shards(sources))
    tar = shards.parent / "out/a/00001.tar"
    data = bytearray(tar.read_bytes())
    data[513] ^= 1  # inside the first member's data
    tar.write_bytes(data)
    found = {verdict.shard: verdict.problems for verdict in verify_shards(sources)}
    assert found.pop("a/00001") == ["is not as it was exported: bytes differ"]
    assert not any(found.values())


@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: pa.concat_tables([rows.slice(0, 1), rows]), "1 keys of shard a/00000"),
        (lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]), "a/00000 lie apart"),
        (lambda rows: rows.slice(1), "11 rows, but it says that 12 are kept"),
        (
            lambda rows: rows.set_column(
                rows.schema.get_field_index("shard"),
                "shard",
                pa.array(["0000"] * len(rows)).cast(rows.schema.field("shard").type),
            ),
            "shard '0000', which it does not describe",
        ),
    ],
    ids=["row twice", "shard apart", "row gone", "unknown shard"],
)
def test_rows_that_no_selection_has_are_refused_before_anything_is_written(
    shards: Path,
    selection: Path,
    change: Callable[[pa.Table], pa.Table],
    words: str,
    size: int | None,
) -> None:
    rewrite(selection, change)
    with pytest.raises(TableError, match=words):
        run(shards, selection, samples_per_shard=size)
    assert not (shards.parent / "out").exists()


@pytest.mark.parametrize("garbage", ["", "[]", "{", "[" * 100_000, '"text"', "\x00"])
def test_damaged_settings_and_stats_are_no_end_of_the_world(
    shards: Path, score: Score, tmp_path: Path, garbage: str
) -> None:
    score(shards)
    select(tmp_path / "scores", tmp_path / "k.parquet", Rule(where="text_area_ratio < 0.1"))
    config = ExportConfig(
        shards=(str(shards),), selection=tmp_path / "k.parquet", out=tmp_path / "out", workers=1
    )
    n_samples = export(config).n_samples
    (tmp_path / "out/a/00000_stats.json").write_text(garbage)
    assert export(config).n_done_before == 2
    (tmp_path / "out/export_settings.json").write_text(garbage)
    (tmp_path / "out/a/theirs_stats.json").write_text('{"successes": 3}')
    with pytest.raises(UsageError, match="--replace"):
        export(config)
    assert export(replace(config, replace=True)).n_samples == n_samples
    assert (tmp_path / "out/a/theirs_stats.json").exists(), "what is not ours stays"
