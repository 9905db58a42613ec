"""Target `tars`: a damaged shard from score to export; each sample is a row, none is lost."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from lesstext.annotators.text_area import TextArea
from lesstext.engines.local import InlineEngine
from lesstext.engines.whole_run import RunConfig, execute, plan
from lesstext.errors import ShardError
from lesstext.export.plan import ExportConfig
from lesstext.export.whole_run import export
from lesstext.report import write_report
from lesstext.shards.specs import expand_specs
from lesstext.shards.tar_reading import index_shard, read_member
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.tables.selection import Selection
from lesstext.verify import verify_shards
from tests.fuzz.case import Case, check
from tests.fuzz.images import any_image
from tests.fuzz.mutations import damage, damage_tar
from tests.lesstext.shards.hostile_tars import END, header, member, pax, record

# What a boundary records of an exception that nobody foresaw: its repr.
_UNFORESEEN = re.compile(r"\b(?!OSError)[A-Z]\w*(Error|Exception)\(")
_NAMES = [
    b"a",
    b"b",
    b"dir/c",
    b"d.e/f",
    b"caf\xe9",
    b"caf\\xe9",
    "ü".encode(),
    b"",
    b"..",
    b"__g__",
    b"n" * 99,
    b"a b",
    b"\n",
    b"\\",
    b"'",
    b"<i>",
]
_SUFFIXES = [
    b".png",
    b".jpg",
    b".webp",
    b".json",
    b".txt",
    b".cls",
    b".seg.png",
    b".PNG",
    b".t\xe9",
    b"",
]
_TEXTS = [
    b"a caption",
    "größe".encode(),
    b"\xff\xfe",
    b"",
    b"null",
    b'"text"',
    b"[" * 3000,
    b'{"caption": "yes", "uid": "u1"}',
    b'{"uid": "\\ud800"}',
    b'{"captions": [1, "x"]}',
    b'{"caption": {"a": []}, "uid": 7}',
    b'{"n": ' + b"9" * 5000 + b"}",
    b"{broken",
]


def fuzz_tars(case: Case) -> str:
    """Score, verify, select, export and report one shard that is odd in one of many ways."""
    shard = case.inputs / "x.tar"
    shard.write_bytes(any_tar(case.rng))
    case.seal()
    config = RunConfig(
        shards=(str(case.inputs),),
        out=case.out / "scores",
        annotator=TextArea(detector="fake"),
        workers=1,
    )
    todo = plan(config)
    (report,) = execute(config, todo, InlineEngine(todo.annotator)).reports
    (verdict,) = verify_shards(expand_specs(config.shards))
    said = "; ".join([report.error or "", *report.problems, *verdict.problems])
    said.encode()
    check(_UNFORESEEN.search(said) is None, "unforeseen", said)
    if report.error is not None:
        check(_is_unreadable(shard), "lost", f"the shard can be read, but: {report.error}")
        return "unreadable"
    rows = _checked_rows(case.out / "scores/x.parquet", shard, report.counts)
    if rows:
        _check_output(case, len(rows))
    return "damaged" if report.problems else "whole"


def any_tar(rng: random.Random) -> bytes:
    """A tar of odd members, then damaged or not, cut or not, with another behind it or not."""
    data = b"".join(_members(rng)) + (END if rng.random() < 0.9 else b"")
    if rng.random() < 0.1:
        data += b"".join(_members(rng)) + END
    how = rng.random()
    if how < 0.35:
        data = damage_tar(rng, data)
    elif how < 0.6:
        data = damage(rng, data)
    return data


def _members(rng: random.Random) -> Iterator[bytes]:
    for _ in range(rng.randint(0, 5)):
        name = rng.choice(_NAMES)
        yield _odd_prefix(rng) if rng.random() < 0.25 else b""
        yield _member(rng, name + rng.choice(_SUFFIXES[:3]), any_image(rng))
        for suffix in rng.sample(_SUFFIXES, rng.randint(0, 3)):
            yield _member(rng, name + suffix, rng.choice(_TEXTS))


def _member(rng: random.Random, name: bytes, data: bytes) -> bytes:
    odd = rng.random()
    if odd < 0.9:
        return member(name, data)
    if odd < 0.95:
        return member(name, data, rng.choice([b"\0", b"7", b"1", b"2", b"5", b"S", b"Z", b"V"]))
    return header(name, rng.choice([b"-1", b"9", b"\x80", b"\xff" * 12, b"77777777777"])) + data


def _odd_prefix(rng: random.Random) -> bytes:
    """Headers that say something of the next member, or of all."""
    made = [
        member(b"././@LongLink", b"long/" * 60 + b"name.png\0", b"L"),
        member(b"././@LongLink", rng.randbytes(200), b"L"),
        member(b"././@LongLink", b"link\0", b"K"),
        pax(record(b"path", rng.choice([b"p.png", b"p\0q.png", b"\xff.png", b"../e.png", b""]))),
        pax(record(b"size", rng.choice([b"3", b"-3", b"x", b"99999999999999999999999", b"0"]))),
        pax(record(b"path", b"q.png"), record(b"GNU.sparse.size", b"10")),
        pax(record(b"comment", b"c"), kind=b"g"),
        pax(b"junk", kind=rng.choice([b"x", b"g", b"X"])),
        member(b"././@LongLink", b"a\0", b"L") * rng.randint(2, 300),
    ]
    return rng.choice(made)


def _is_unreadable(shard: Path) -> bool:
    try:
        index_shard(shard)
    except ShardError:
        return True
    return False


def _checked_rows(table: Path, shard: Path, counts: dict[str, int]) -> list[str]:
    """The table's keys: one row for each sample of the shard, in order, counted as it says."""
    stored = pq.read_table(table)
    keys: list[str]
    keys, statuses = stored.column("key").to_pylist(), stored.column("status").to_pylist()
    expected = [entry.key for entry in index_shard(shard).samples]
    check(keys == expected, "accounting", f"rows {keys[:5]} for samples {expected[:5]}")
    tally = {status: statuses.count(status) for status in set(statuses)}
    check(tally == counts, "accounting", f"rows {tally}, counts {counts}")
    stats = json.loads(table.with_name("x_stats.json").read_text())
    check(
        stats["samples"] == len(keys), "accounting", f"stats {stats['samples']}, rows {len(keys)}"
    )
    unique = [key for key, status in zip(keys, statuses, strict=True) if status != "duplicate_key"]
    check(
        len(set(unique)) == len(unique),
        "identity",
        "two samples that are no duplicates share a key",
    )
    return keys


def _check_output(case: Case, n_rows: int) -> None:
    """What a selection counts is what the export writes, and every key is found again there."""
    rule = Rule(where="text_area_ratio <= 0.5", keep_failed=case.rng.random() < 0.3)
    selection = select(case.out / "scores", case.out / "k.parquet", rule)
    check(_total(selection) == n_rows, "accounting", f"{selection.counts} of {n_rows} rows")
    target = case.out / "shards"
    config = ExportConfig(
        shards=(str(case.inputs),), selection=case.out / "k.parquet", out=target, workers=1
    )
    (report,) = export(config).reports
    kept = selection.keys_by_shard()["x"].to_pylist()
    if report.error is not None:
        check(_UNFORESEEN.search(report.error) is None, "unforeseen", report.error)
        check("the shard is cut off" in report.error, "lost", report.error)
        return
    written = _contents(target / "x.tar") if kept else {}
    check(list(written) == kept, "export", f"wrote {list(written)[:5]}, selected {kept[:5]}")
    given = _contents(case.inputs / "x.tar")
    changed = [key for key in kept if written[key] != given[key]]
    check(not changed, "export", f"other members or bytes than in the input: {changed[:5]}")
    write_report(
        case.out / "scores",
        expand_specs(config.shards),
        case.out / "report.html",
        max_text_area=0.5,
    )


def _contents(shard: Path) -> dict[str, list[tuple[str, bytes]]]:
    """Names and bytes of the members of each sample that is no duplicate."""
    with shard.open("rb") as file:
        return {
            entry.key: [(member.name, read_member(file, member)) for member in entry.members]
            for entry in index_shard(shard).samples
            if not entry.duplicate and not entry.cut
        }


def _total(selection: Selection) -> int:
    counts = selection.counts
    return counts.kept + counts.dropped + counts.failed
