"""Object storage: a real S3 protocol server, in good order and with every kind of trouble."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lesstext.cli.app import app
from lesstext.engines.local import LocalEngine
from lesstext.engines.whole_run import RunConfig, execute, plan
from lesstext.errors import MissingFileError, ShardError, StorageError, TableError, UsageError
from lesstext.export.plan import ExportConfig
from lesstext.export.whole_run import export
from lesstext.policies import text_area
from lesstext.report import write_report
from lesstext.shards import specs
from lesstext.shards.specs import ShardSource, expand_specs, fetch_ahead, fetched
from lesstext.storage.files import atomic_path, write_text
from lesstext.storage.guard import refuse_foreign
from lesstext.storage.paths import Location, RemotePath, local_mirror, location
from lesstext.storage.remote import fetching, retrying
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.tables.selection import read_selection
from lesstext.tables.table import read_footer
from lesstext.verify import require_tables, verify_shards
from tests.lesstext.builders import ratio_samples, write_tar
from tests.lesstext.conftest import FAKE, Score

pytest.importorskip("moto.server", reason="the S3 tests need moto[server]")
s3fs = pytest.importorskip("s3fs", reason="the S3 tests need s3fs")

from moto.s3.models import s3_backends  # noqa: E402

from tests.lesstext.s3_server import Faults, Request, S3Server, s3_bucket  # noqa: E402


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """One server for all tests."""
    with s3_bucket() as running:
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses short, ranges small, so that a small shard takes many requests."""
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(fetching, "RANGE_BYTES", 4096)


@pytest.fixture
def folder(server: S3Server, tmp_path: Path) -> Iterator[str]:
    """A URL of its own for each test."""
    server.faults = Faults()
    yield f"s3://bucket/{tmp_path.name}"
    server.faults = Faults()


@pytest.fixture
def remote_shards(folder: str, shards: Path) -> str:
    """The shards of the fixture `shards`, on the server."""
    s3fs.S3FileSystem().put(f"{shards}/", f"{folder}/in/", recursive=True)
    return f"{folder}/in"


def files(place: Location, suffix: str = "") -> dict[str, bytes]:
    """Contents by name of all files but those that hold timings."""
    with local_mirror(place, ["*"]) as copy:
        return {
            str(path.relative_to(copy)): path.read_bytes()
            for path in sorted(copy.rglob(f"*{suffix}"))
            if path.is_file() and path.suffix != ".json"
        }


def test_a_remote_folder_does_what_a_local_one_does(folder: str) -> None:
    place = location(folder)
    assert isinstance(place, RemotePath)
    target = place / "a" / "x.txt"
    assert not target.exists() and place.rglob("*") == []
    write_text(target, "whole")
    assert target.exists() and target.read_text() == "whole" and target.read_bytes(-3) == b"ole"
    write_text(place / "y.txt", "other")
    assert sorted(map(str, place.rglob("*.txt"))) == [f"{folder}/a/x.txt", f"{folder}/y.txt"]
    assert str(target.with_suffix(".control.parquet")) == f"{folder}/a/x.control.parquet"
    assert str(location(f"{folder}/a.b/x.y.txt").with_suffix(".csv")) == f"{folder}/a.b/x.y.csv"
    assert str(location(f"{folder}/a.b/x").with_suffix(".csv")) == f"{folder}/a.b/x.csv"
    write_text(target, "", unguarded=True)
    assert target.read_bytes() == target.read_bytes(-3) == target.read_bytes(stop=3) == b""
    target.unlink()
    target.unlink(missing_ok=True)
    with pytest.raises(MissingFileError, match=r"cannot read s3://bucket/.*x\.txt"):
        target.read_bytes()


def test_a_remote_file_of_others_is_never_replaced_and_ours_is(
    folder: str, shards: Path, tmp_path: Path, score: Score
) -> None:
    place, rule = location(folder), Rule(where="n_regions >= 0")
    score(shards)
    for name, theirs in (("a.parquet", pq.write_table), ("b.parquet", None), ("c.txt", None)):
        if theirs is not None:
            theirs(pa.table({"x": [1]}), tmp_path / name)
            s3fs.S3FileSystem().put(str(tmp_path / name), f"{folder}/{name}")
        else:
            s3fs.S3FileSystem().pipe(f"{folder}/{name}", b"theirs")
        before = (place / name).read_bytes()
        with pytest.raises(UsageError, match="no selection of ours"):
            refuse_foreign(place / name, "selection")
        assert (place / name).read_bytes() == before
    with pytest.raises(UsageError, match="no selection of ours"):
        select(tmp_path / "scores", place / "a.parquet", rule)
    for _ in range(2):
        select(tmp_path / "scores", place / "s.parquet", rule, also=[place / "s.csv"])
    assert len(read_selection(place / "s.parquet").fingerprints) == 3


def test_an_upload_that_breaks_off_leaves_the_old_file(folder: str) -> None:
    target = location(folder) / "x"
    write_text(target, "old", "note")
    with pytest.raises(RuntimeError, match="half way"), atomic_path(target, "note") as partial:
        partial.write_text("new")
        raise RuntimeError("half way")
    assert [p.name for p in location(folder).rglob("*")] == [".x.lesstext.json", "x"]
    assert target.read_text() == "old"


def test_a_large_file_is_uploaded_in_parts_and_appears_whole(
    folder: str, server: S3Server, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(34 << 20)
    (tmp_path / "big").write_bytes(data)
    target = location(folder) / "big"
    assert isinstance(target, RemotePath)
    parts = iter([500, 503])
    server.faults = Faults(
        status=lambda r: next(parts, 0) if r.method == "PUT" and r.number > 2 else 0
    )
    target.upload(tmp_path / "big")
    assert server.faults.n_injected == 2
    assert target.read_bytes() == data


def test_score_select_export_report_on_s3_equal_the_local_run(
    remote_shards: str, folder: str, shards: Path, tmp_path: Path, score: Score
) -> None:
    rule = text_area.at_most(0.05)
    results: list[dict[str, bytes]] = []
    for out, given in ((tmp_path / "out", str(shards)), (location(f"{folder}/out"), remote_shards)):
        assert score(given, out=out / "scores").exit_code == 0
        selection = select([out / "scores"], out / "keep.parquet", rule)
        assert selection.counts.kept == 9
        config = ExportConfig(
            shards=(given,), selection=out / "keep.parquet", out=out / "shards", workers=1
        )
        assert export(config).n_samples == 9
        assert export(config).n_done_before == 3
        write_report(out / "scores", expand_specs([given]), out / "r.html", max_text_area=0.05)
        results.append(files(out / "shards", ".tar"))
    assert results[0] == results[1] and len(results[0]) == 3
    assert b"<html" in (location(f"{folder}/out") / "r.html").read_bytes()
    local, remote = (read_selection(out / "keep.parquet") for out in (
        tmp_path / "out", location(f"{folder}/out")
    ))  # fmt: skip
    assert local.fingerprints == remote.fingerprints
    assert local.keys_by_shard() == remote.keys_by_shard()


def test_filter_on_s3_replaces_what_another_rule_kept_as_it_does_locally(
    remote_shards: str, folder: str, shards: Path, tmp_path: Path
) -> None:
    local, remote = tmp_path / "o", location(f"{folder}/o")
    for rule, n_kept in (("--max-text-area 0.05", 3), ("--keep-fraction 0.2 --control random", 2)):
        for given, out in ((f"{shards}/b", local), (f"{remote_shards}/b", remote)):
            arguments = ["filter", given, "--out", str(out), "--detector", "fake", "--workers", "1"]
            done = CliRunner().invoke(app, [*arguments, *rule.split()])
            assert done.exit_code == 0, done.output
            assert read_selection(out / "selection.parquet").counts.kept == n_kept
        assert files(local / "shards", ".tar") == files(remote / "shards", ".tar")
        assert files(local).keys() == files(remote).keys()


def test_a_filter_on_s3_that_cannot_be_exported_leaves_no_selection_to_trust(
    remote_shards: str, folder: str
) -> None:
    out = location(f"{folder}/o")
    given = ["filter", f"{remote_shards}/b", "--out", str(out)]
    given += ["--detector", "fake", "--workers", "1"]
    assert CliRunner().invoke(app, [*given, "--max-text-area", "0.02"]).exit_code == 0
    write_text(location(f"{remote_shards}/b/00000.tar"), "<html>" * 200, unguarded=True)
    done = CliRunner().invoke(app, [*given, "--max-text-area", "0.06"])
    assert done.exit_code == 1
    assert not (out / "selection.parquet").exists(), "what it describes does not lie there"


def test_tables_of_local_shards_are_the_same_bytes_on_s3(
    folder: str, shards: Path, tmp_path: Path, score: Score
) -> None:
    score(shards)
    score(shards, out=location(folder))
    assert files(location(folder)) == files(tmp_path / "scores")


def test_a_done_remote_shard_is_recognised_without_fetching_it(
    remote_shards: str, folder: str, server: S3Server, tmp_path: Path, score: Score
) -> None:
    out = location(f"{folder}/out")
    score(remote_shards, out=out)
    etag = read_footer(out / "a/00000.parquet").fingerprint.etag
    assert etag is not None and '"' not in etag
    server.faults = Faults()
    assert score(remote_shards, out=out).n_done_before == 3
    assert server.requests("GET", ".tar") == 0 and server.requests("GET", ".parquet") == 3
    write_tar(tmp_path / "other.tar", ratio_samples([0.5], "other"))
    s3fs.S3FileSystem().put(str(tmp_path / "other.tar"), f"{remote_shards}/b/00000.tar")
    again = score(remote_shards, out=out)
    assert again.n_done_before == 2 and again.counts == {"ok": 21}


@pytest.mark.parametrize("n_bytes", [0, 1, 1000])
def test_a_cut_remote_table_is_told_and_made_again(
    folder: str, shards: Path, tmp_path: Path, score: Score, n_bytes: int
) -> None:
    out = location(folder)
    score(shards, out=out)
    before = files(out)
    s3fs.S3FileSystem().pipe(f"{folder}/b/00000.parquet", before["b/00000.parquet"][:n_bytes])
    with pytest.raises(TableError, match=rf"{folder}/b/00000\.parquet is not a table"):
        select(out, tmp_path / "s.parquet", Rule(where="n_regions >= 0"))
    assert score(shards, out=out).n_done_before == 2
    assert files(out) == before


def test_the_next_shard_is_fetched_while_the_current_one_is_scored(
    remote_shards: str, server: S3Server
) -> None:
    first, second, third = expand_specs([remote_shards])
    fetch_ahead(second, keep=first)
    with fetched(first):
        pass
    specs._ahead.begin(second, keep=second)  # begun already: nothing happens
    with fetched(second) as shard:
        assert shard.etag is not None and shard.path.stat().st_size > 10_000
        path = shard.path
    assert not path.exists() and server.requests("HEAD", f"{second.name}.tar") == 2
    fetch_ahead(third, keep=second)
    fetch_ahead(None, keep=second)  # never asked for: given up
    assert not specs._ahead._begun
    missing = ShardSource("x", f"{remote_shards}/x.tar")
    fetch_ahead(missing, keep=second)
    with pytest.raises(ShardError, match="shard x: cannot look up"), fetched(missing):
        pass


def test_local_workers_fetch_ahead_and_lose_nothing(
    remote_shards: str, folder: str, server: S3Server, shards: Path, tmp_path: Path, score: Score
) -> None:
    for number in range(5):
        s3fs.S3FileSystem().put(f"{shards}/a/00000.tar", f"{folder}/in/c/{number}.tar")
    score(remote_shards, out=tmp_path / "calm")
    config = RunConfig(
        shards=(remote_shards,), out=location(f"{folder}/out"), annotator=FAKE, workers=1
    )
    todo = plan(config)
    server.faults = Faults()
    summary = execute(config, todo, LocalEngine(todo.annotator, todo.placements))
    assert summary.exit_code == 0 and len(summary.reports) == 8
    heads = [r.path for r in server.faults.log if r.method == "HEAD" and r.path.endswith(".tar")]
    assert [heads.count(path) for path in set(heads)] == [2] * 8, "each was fetched once"
    assert files(location(f"{folder}/out")) == files(tmp_path / "calm")


def a_quarter(trouble: int, kind: str = "") -> Callable[[Request], int]:
    """That trouble for a quarter of the requests whose path ends with `kind`."""
    return lambda r: trouble * (r.path.endswith(kind) and random.Random(r.number).random() < 0.25)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(status=a_quarter(500)),
        Faults(status=a_quarter(503)),
        Faults(cut_bytes=a_quarter(7, ".tar")),
        Faults(delay_s=lambda r: 0.2 if r.number % 9 == 0 else 0.0),
        Faults(status=lambda r: 503 if 10 < r.number < 16 else 0),  # failing for a while
    ],
    ids=["500", "503", "truncated", "slow", "outage"],
)
def test_trouble_that_passes_changes_no_byte(
    remote_shards: str, folder: str, server: S3Server, tmp_path: Path, score: Score, faults: Faults
) -> None:
    score(remote_shards, out=tmp_path / "calm")
    server.faults = faults
    summary = score(remote_shards, out=location(f"{folder}/out"))
    assert summary.exit_code == 0 and faults.n_injected > 2
    server.faults = Faults()
    assert files(location(f"{folder}/out")) == files(tmp_path / "calm")


def test_a_slow_read_ends_with_the_clients_timeout_and_is_repeated(
    remote_shards: str, server: S3Server, tmp_path: Path, score: Score
) -> None:
    stalls = iter([3.0, 3.0])
    server.faults = Faults(delay_s=lambda r: next(stalls, 0.0) if r.method == "GET" else 0.0)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.MonkeyPatch.context() as patch:
        import fsspec

        patch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 0.5}})
        assert score(f"{remote_shards}/a/00000.tar", out=tmp_path / "out").exit_code == 0
    s3fs.S3FileSystem.clear_instance_cache()
    assert server.faults.n_injected == 2


def test_trouble_that_stays_is_a_list_of_shards_and_exit_code_1(
    remote_shards: str, server: S3Server, tmp_path: Path, score: Score
) -> None:
    server.faults = Faults(status=lambda r: 500 if "/a/" in r.path else 0)
    summary = score(f"{remote_shards}/{{a/00000,a/00001,b/00000}}.tar", out=tmp_path / "out")
    assert summary.exit_code == 1
    assert [report.shard for report in summary.failed] == ["a/00000", "a/00001"]
    assert "(8 attempts)" in str(summary.failed[0].error)
    assert [p.name for p in (tmp_path / "out").rglob("*.parquet")] == ["00000.parquet"]
    server.faults = Faults()
    assert score(remote_shards, out=tmp_path / "out").exit_code == 0


def test_a_permanent_error_is_not_tried_again(
    remote_shards: str, server: S3Server, tmp_path: Path, score: Score
) -> None:
    server.faults = Faults(status=lambda r: 403 if "/a/" in r.path else 0)
    summary = score(f"{remote_shards}/a/{{00000,00007}}.tar", out=tmp_path / "out")
    assert [report.shard for report in summary.failed] == ["00000", "00007"]
    assert server.requests("HEAD", "00000.tar") == 1
    server.faults = Faults()
    summary = score(f"{remote_shards}/a/{{00000,00007}}.tar", out=tmp_path / "out")
    assert [report.shard for report in summary.failed] == ["00007"]
    assert "cannot look up s3://" in str(summary.failed[0].error)


def test_an_output_that_cannot_be_written_fails_every_shard_by_name(
    folder: str, server: S3Server, shards: Path, score: Score
) -> None:
    server.faults = Faults(
        status=lambda r: 500 if r.method == "PUT" and r.path.endswith(".parquet") else 0
    )
    summary = score(shards, out=location(folder))
    assert [report.shard for report in summary.failed] == ["a/00000", "a/00001", "b/00000"]
    assert "cannot be written: cannot write s3://" in str(summary.failed[0].error)
    server.faults = Faults()
    assert location(folder).rglob("*.parquet") == []
    server.faults = Faults(status=lambda r: 403)
    with pytest.raises(StorageError, match=r"cannot list s3://.*: injected$"):
        score(shards, out=location(folder))


def test_an_object_that_changes_while_it_is_fetched_is_refused(
    remote_shards: str, server: S3Server, tmp_path: Path
) -> None:
    url = f"{remote_shards}/b/00000.tar"
    size = s3fs.S3FileSystem().size(url)
    is_rewritten: list[bool] = []

    def rewrite(request: Request) -> float:
        if request.method == "GET" and not is_rewritten:
            is_rewritten.append(True)
            key = request.path.removeprefix("/bucket/")
            s3_backends["123456789012"]["aws"].put_object("bucket", key, b"x" * size)
        return 0.0

    server.faults = Faults(delay_s=rewrite)
    with pytest.raises(StorageError, match="changed while it was being fetched"):
        fetching.fetch(url, tmp_path / "x")


def test_slices_are_merged_only_when_nothing_is_missing(
    remote_shards: str, folder: str, score: Score
) -> None:
    out = location(f"{folder}/out")
    score(remote_shards, out=out, slice=(0, 2))
    sources = expand_specs([remote_shards])
    with pytest.raises(Exception, match=r"1 of 3 shards lack their table\n  a/00001: has no score"):
        require_tables(sources, out)
    score(remote_shards, out=out, slice=(1, 2))
    require_tables(sources, out)
    verdicts = list(verify_shards(sources, tables=out, quick=True))
    assert [(v.n_samples, v.problems) for v in verdicts] == [(10, [])] * 3


def test_urls_without_etags_or_with_wrong_words() -> None:
    assert location("/x/y") == Path("/x/y") and location("file:///x") == Path("/x")
    with pytest.raises(UsageError, match="can be read from, not written to"):
        location("https://host/scores")
    with pytest.raises(UsageError, match="nosuch"):
        location("nosuch://x")


def test_a_memory_folder_works_too(shards: Path, tmp_path: Path, score: Score) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(f"{shards}/", "/laion/in/", recursive=True)
    assert score("memory://laion/in", out=location("memory://laion/scores")).exit_code == 0
    score(shards)
    assert files(location("memory://laion/scores")) == files(tmp_path / "scores")
    with pytest.raises(UsageError, match="inside the input folder"):
        score("memory://laion/in", out=location("memory://laion/in/a/scores"))
    with pytest.raises(UsageError, match="inside the input folder"):
        score("memory://laion/in", out=location("memory://laion/in/scores"))
