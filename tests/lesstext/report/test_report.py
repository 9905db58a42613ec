"""The report without a browser: what it says, for good, bad and absent inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lesstext.errors import TableError, UsageError
from lesstext.policies import text_area
from lesstext.report import write_report
from lesstext.report.rows import ReportRows
from lesstext.report.thresholds import histogram_bars, threshold_grid
from lesstext.shards.specs import ShardSource, expand_specs
from lesstext.tables.folder import TableSource, open_tables
from lesstext.tables.selecting import select
from tests.lesstext.conftest import Score
from tests.lesstext.report.report_fixtures import Sample, scored_shard, spread

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the report of tmp_path/scores and return its text."""

    def run(
        shards: list[ShardSource] | None, *, max_text_area: float = 0.02, **options: Any
    ) -> str:
        out = tmp_path / "report.html"
        write_report(tmp_path / "scores", shards, out, max_text_area=max_text_area, **options)
        return out.read_text(encoding="utf-8")

    return run


def _data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def _samples(page: str) -> list[dict[str, Any]]:
    """The samples on the page, one by one, with their shard's name."""
    columns = _data(page)["samples"]
    shards = columns.pop("shards")
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    return [{**row, "shard": shards[row["shard"]]} for row in rows]


def _words(page: str) -> str:
    """The page's visible text, without tags, on one line."""
    body = re.sub(r"<(script|style|dialog).*?</\1>", " ", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", "", body).split())


def test_accounting_adds_up(tmp_path: Path, write: Write) -> None:
    failed = [Sample(key=f"bad{i}", status="too_large", error="huge", ratio=None) for i in range(3)]
    shards = [scored_shard(tmp_path, f"0000{i}", [*spread(50, 20), *failed]) for i in range(2)]
    n_kept = 2 * sum((sample.ratio or 0) <= 0.02 for sample in spread(50, 20))
    expected = f"146 read = {n_kept} kept + {140 - n_kept} dropped + 6 failed"
    assert expected in _words(write(shards))


@pytest.mark.parametrize("max_text_area", [0.0, 0.02, 0.1])
def test_agrees_with_scoring_and_selecting(
    tmp_path: Path, shards: Path, score: Score, write: Write, max_text_area: float
) -> None:
    score(shards)
    rule = text_area.at_most(max_text_area)
    selected = select([tmp_path / "scores"], tmp_path / "selection.parquet", rule)
    page = write(expand_specs([str(shards)]), max_text_area=max_text_area)
    counts = selected.counts
    expected = f"{counts.read} read = {counts.kept} kept + {counts.dropped} dropped"
    assert expected in _words(page)
    assert all(example["tile"][0] for example in _samples(page))


def test_folder_names_are_only_names(tmp_path: Path, write: Write) -> None:
    """DuckDB takes `*`, `[` and `name=value` in paths for patterns and columns if it may."""
    names = ["status=ok/key=x[1]*/00000", "status=ok/key=x1?/00000"]
    shards = [scored_shard(tmp_path, name, spread(2, 2)) for name in names]
    examples = _samples(write(shards))
    assert sorted(example["key"] for example in examples) == sorted(
        2 * ["text0000", "text0001", "zero0000", "zero0001"]
    )
    assert {example["shard"] for example in examples} == set(names)
    assert all(example["tile"][0] for example in examples)


def test_curve_counts_are_exact(tmp_path: Path) -> None:
    ratios = np.random.default_rng(0).choice([0.0, 0.05, 0.01, 0.3, 1.0, 0.0007], size=400)
    samples = [Sample(key=f"{i:04d}", ratio=float(ratio)) for i, ratio in enumerate(ratios)]
    scored_shard(tmp_path, "00000", samples, regions=False)
    grid, _ = threshold_grid(0.0123)
    with open_tables(TableSource(tmp_path / "scores")) as folder:
        found = ReportRows(folder).at_or_below(grid)
    assert found == [int((ratios <= threshold).sum()) for threshold in grid]
    assert found[0] + sum(bar.count for bar in histogram_bars(grid, found)) == 400


@pytest.mark.parametrize("threshold", [0.05, 0.0123, 0.0, 1.0])
def test_a_ratio_equal_to_the_threshold_is_kept(
    tmp_path: Path, write: Write, threshold: float
) -> None:
    """Ratios are stored as float32, where 0.05 is a little more than the double 0.05."""
    shard = scored_shard(tmp_path, "00000", [Sample(key="same", ratio=threshold)])
    assert "1 read = 1 kept + 0 dropped" in _words(write([shard], max_text_area=threshold))


def test_grid_holds_the_chosen_threshold_once() -> None:
    grid, chosen = threshold_grid(0.02 + 1e-12)
    assert grid[chosen] == 0.02
    assert len({np.float32(value) for value in grid}) == len(grid)
    assert grid == sorted(grid)


def test_examples_lie_on_both_sides_of_every_threshold(tmp_path: Path, write: Write) -> None:
    shard = scored_shard(tmp_path, "00000", spread(300, 300))
    page = write([shard], n_samples=120)
    data = _data(page)
    ratios = [example["ratio"] for example in _samples(page)]
    assert len(ratios) == 120
    assert ratios == sorted(ratios)
    assert ratios.count(0.0) >= 12
    for threshold in data["thresholds"]:
        if 0.003 <= threshold <= 0.8:
            nearest_below = max(ratio for ratio in ratios if ratio <= threshold)
            nearest_above = min(ratio for ratio in ratios if ratio > threshold)
            assert threshold / 1.2 < nearest_below
            assert nearest_above < threshold * 1.2
    exact = sorted(
        (sample.ratio or 0.0 for sample in spread(300, 300)), key=lambda r: abs(r - 0.02)
    )
    found = {float(np.float32(ratio)) for ratio in ratios}
    assert {float(np.float32(ratio)) for ratio in exact[:8]} <= found


def test_captions_come_from_the_same_sample(tmp_path: Path, write: Write) -> None:
    samples = [
        Sample(key=f"{i:03d}", caption=f"caption of {i:03d}", suffix=["jpg", "png", "webp"][i % 3])
        for i in range(30)
    ]
    shard = scored_shard(tmp_path, "deep/00000", samples)
    examples = _samples(write([shard]))
    assert len(examples) == 30
    assert all(example["caption"] == f"caption of {example['key']}" for example in examples)
    assert all(example["shard"] == "deep/00000" for example in examples)


def test_captions_survive_long_names(tmp_path: Path, write: Write) -> None:
    samples = [Sample(key="k" * 150 + str(i), caption=f"number {i}") for i in range(3)]
    shard = scored_shard(tmp_path, "00000", samples)
    examples = _samples(write([shard]))
    assert sorted(example["caption"] for example in examples) == [
        "number 0",
        "number 1",
        "number 2",
    ]


def test_hostile_texts_are_escaped(tmp_path: Path, write: Write) -> None:
    evil = "</script><b onclick='x'>&\"\u2028 עברית 😀"
    samples = [
        Sample(key="a<i>b", caption=evil + "x" * 10_000),
        Sample(key="bad", status="decode_error", error=evil, ratio=None),
    ]
    shard = scored_shard(tmp_path, "00000", samples, problems=[evil])
    page = write([shard], title=evil)
    assert "</script><b" not in page
    assert "<i>" not in page
    example = _samples(page)[0]
    assert example["caption"] == (evil + "x" * 10_000)[:1000]
    assert example["captionLength"] == len(evil) + 10_000
    assert example["key"] == "a<i>b"


def test_equal_inputs_give_equal_pages(tmp_path: Path, write: Write) -> None:
    shards = [scored_shard(tmp_path, f"{i:05d}", spread(100, 60)) for i in range(3)]
    assert write(shards, n_samples=50) == write(shards[::-1], n_samples=50)


def test_empty_tables(tmp_path: Path, write: Write) -> None:
    scored_shard(tmp_path, "00000", [])
    page = write(None)
    assert "0 read = 0 kept + 0 dropped + 0 failed" in _words(page)
    assert "nothing to cut" in page
    assert 'id="slider"' not in page


def test_nothing_but_failures(tmp_path: Path, write: Write) -> None:
    samples = [
        Sample(key=f"{i:02d}", status="decode_error", error=f"broken {i}", ratio=None)
        for i in range(20)
    ]
    shard = scored_shard(tmp_path, "00000", samples)
    words = _words(write([shard]))
    assert "20 read = 0 kept + 0 dropped + 20 failed" in words
    assert "decode_error 20" in words
    assert len(re.findall(r"00000 / \d\d ?broken", words)) == 8


def test_failures_are_counted_by_reason(tmp_path: Path, write: Write) -> None:
    samples = [Sample(key="note", error="caption is not UTF-8")]
    for status, n in (("decode_error", 2), ("too_large", 3)):
        samples += [
            Sample(key=f"{status}{i}", status=status, error="x", ratio=None) for i in range(n)
        ]
    words = _words(write([scored_shard(tmp_path, "00000", samples)]))
    assert words.index("too_large 3") < words.index("decode_error 2") < words.index("with a note")
    assert "caption is not UTF-8" in words


def test_tables_without_regions(tmp_path: Path, write: Write) -> None:
    with_regions = scored_shard(tmp_path, "00000", spread(3, 3))
    without = scored_shard(tmp_path, "00001", spread(3, 3), regions=False)
    examples = _samples(write([with_regions, without]))
    assert {example["regions"] is None for example in examples if example["shard"] == "00001"} == {
        True
    }
    assert all(example["tile"] == [320, 200] for example in examples)


def test_says_why_images_are_not_there(tmp_path: Path, write: Write) -> None:
    samples = spread(2, 2)
    gone, changed, other, good = (scored_shard(tmp_path, f"0000{i}", samples) for i in range(4))
    Path(gone.location).unlink()
    Path(changed.location).write_bytes(b"\0" * 10_240)
    unreachable = ShardSource(other.name, "memory://nowhere/00002.tar")
    words = _words(write([gone, changed, unreachable, good]))
    for reason in ("shard cannot be opened", "shard has changed", "remote shard cannot be opened"):
        assert f"Pictures of 4 of 16 samples are not available: {reason}" in words
    assert "not available: no shards were given" in _words(write(None))
    assert "Pictures of 12 of 16 samples are not available: shard was not given" in _words(
        write([good])
    )


def test_reads_remote_shards_in_place(tmp_path: Path, write: Write) -> None:
    import fsspec

    shard = scored_shard(tmp_path, "00000", spread(2, 2))
    remote = ShardSource(shard.name, "memory://report-test/00000.tar")
    with fsspec.open(remote.location, "wb") as file:
        file.write(Path(shard.location).read_bytes())
    examples = _samples(write([remote]))
    assert all(example["tile"][0] and example["caption"] for example in examples)


def test_names_damaged_and_unscored_shards(tmp_path: Path, write: Write) -> None:
    damaged = scored_shard(tmp_path, "a/00000", spread(1, 1), problems=["truncated inside x.jpg"])
    never_scored = ShardSource("b/00001", str(tmp_path / "in" / "absent.tar"))
    words = _words(write([damaged, never_scored]))
    assert "a/00000truncated inside x.jpg" in words
    assert "1 of the given shards have none" in words
    assert "b/00001" in words


def test_speed_is_summed_over_shards(tmp_path: Path, write: Write) -> None:
    shards = [scored_shard(tmp_path, f"0000{i}", spread(10, 10)) for i in range(2)]
    (tmp_path / "scores" / "00001_stats.json").write_text("{not json")
    page = write(shards)
    row = re.search(r'<tr><th scope="row">detect</th>(.*?)</tr>', page)
    assert row is not None
    assert re.findall(r"<td>(.*?)</td>", row[1]) == ["3.0", "75.0%", "6.7"]
    assert "Summed over 1 of 2 shards, 20 samples" in _words(page)


def test_page_is_self_contained(tmp_path: Path, write: Write) -> None:
    page = write([scored_shard(tmp_path, "00000", spread(3, 3))])
    addresses = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a namespace, never fetched
    assert not re.search(r"<(link|img|script)[^>]+(href|src)=\"(?!data:)", page)


def test_many_pictures_lie_beside_the_page(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only pictures do, named by number: nothing that a shard says reaches a file there."""
    monkeypatch.setattr("lesstext.report.sheets.MAX_EMBEDDED", 30)
    evil = "</script><script>window.hacked = 1</script>"
    samples = [*spread(20, 20), Sample(key="evil';alert(1)", caption=evil)]
    shard = scored_shard(tmp_path, "00000", samples)
    page = write([shard])
    sheets = _data(page)["sheets"]
    assert sheets["embedded"] == []
    files = sorted((tmp_path / "report_files").rglob("*.*"))
    assert [file.name for file in files] == [
        ".lesstext.json",
        "00000.jpg",
        "00001.jpg",
        "00002.jpg",
    ]
    for file in files[1:]:
        with Image.open(file) as image:
            assert image.format == "JPEG"
            assert image.size[0] == 4 * 320
            assert {"exif", "comment"}.isdisjoint(image.info)
        assert b"script" not in file.read_bytes()


def test_the_folder_of_pictures_follows_the_page(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report_files"
    monkeypatch.setattr("lesstext.report.sheets.MAX_EMBEDDED", 10)
    shard = scored_shard(tmp_path, "00000", spread(20, 20))
    first = _data(write([shard]))["sheets"]["folder"]
    second = _data(write([shard], n_samples=30))["sheets"]["folder"]
    assert first != second
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [Path(second).name]
    assert _data(write([shard], n_samples=5))["sheets"]["folder"] is None
    assert not folder.exists()


def test_foreign_files_beside_the_page_are_left_alone(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lesstext.report.sheets.MAX_EMBEDDED", 2)
    shard = scored_shard(tmp_path, "00000", spread(5, 5))
    theirs = tmp_path / "report_files" / "holiday.jpg"
    theirs.parent.mkdir()
    theirs.write_bytes(b"mine")
    with pytest.raises(UsageError, match="report_files"):
        write([shard])
    assert theirs.read_bytes() == b"mine"
    write([shard], n_samples=1)
    assert theirs.read_bytes() == b"mine"


def test_a_few_of_many_are_drawn_by_seed_and_the_page_says_so(tmp_path: Path, write: Write) -> None:
    failed = [Sample(key=f"bad{i:02d}", status="too_large", ratio=None) for i in range(40)]
    shard = scored_shard(tmp_path, "00000", [*spread(300, 60), *failed])
    page = write([shard], n_samples=100, seed=3)
    assert "100 of 400 samples are on this page, drawn by lot with seed 3" in _words(page)
    statuses = [sample["status"] for sample in _samples(page)]
    assert statuses.count("too_large") >= 5
    keys = {sample["key"] for sample in _samples(page)}
    assert keys != {sample["key"] for sample in _samples(write([shard], n_samples=100, seed=4))}
    assert "All 400 samples are on this page" in _words(write([shard]))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_refuses_impossible_thresholds(tmp_path: Path, write: Write, threshold: float) -> None:
    scored_shard(tmp_path, "00000", spread(1, 1))
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        write(None, max_text_area=threshold)


@pytest.mark.parametrize(
    ("column", "kind", "words"),
    [
        ("max_region_ratio", "string", "numbers"),
        ("n_regions", "double", "whole numbers"),
        ("error", "int64", "text"),
    ],
)
def test_refuses_columns_of_another_type(
    tmp_path: Path, write: Write, column: str, kind: str, words: str
) -> None:
    scored_shard(tmp_path, "00000", spread(2, 2))
    path = tmp_path / "scores/00000.parquet"
    metadata = pq.read_metadata(path).metadata
    table = pq.read_table(path)
    other = pa.array([None] * table.num_rows, getattr(pa, {"double": "float64"}.get(kind, kind))())
    place = table.schema.get_field_index(column)
    table = table.set_column(place, column, other)
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"lesstext": metadata[b"lesstext"]})
    with pytest.raises(TableError, match=rf"00000.parquet: {column} holds {kind}, not {words};"):
        write(None)


def test_refuses_tables_that_do_not_add_up(tmp_path: Path, write: Write) -> None:
    scored_shard(tmp_path, "00000", [Sample(key="a", ratio=None)])
    with pytest.raises(TableError, match="1 samples are ok but 0 have a ratio"):
        write(None)
    assert not (tmp_path / "report.html").exists()


def test_bars_are_equally_wide_whatever_threshold_is_chosen() -> None:
    for chosen in (0.02, 0.0123, 0.0001):
        grid, _ = threshold_grid(chosen)
        bars = histogram_bars(grid, list(range(len(grid))))
        assert sum(bar.count for bar in bars) == len(grid) - 1
        widths = [grid[bar.end] / grid[bar.start] for bar in bars[1:]]
        assert widths == pytest.approx([10**0.1] * len(widths), rel=0.02)
