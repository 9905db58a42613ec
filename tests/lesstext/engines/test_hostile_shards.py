"""One bad header or text costs its sample at most: from the tar to the tables and back out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.annotators.base import table_schema
from lesstext.annotators.text_area import TextArea
from lesstext.cli import main
from lesstext.shards.samples import Row, open_sample
from lesstext.shards.tar_reading import index_shard
from tests.lesstext.builders import encoded, picture, read_tar
from tests.lesstext.conftest import Score
from tests.lesstext.shards.hostile_tars import END, header, member, pax, record

IMAGE = encoded(picture())


def run(*arguments: object) -> int:
    words = [str(argument) for argument in arguments]
    with mock.patch("sys.argv", ["lesstext", *words]), pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def scored(score: Score, folder: Path, data: bytes, *, problems: int = 0) -> list[Row]:
    (folder / "in").mkdir()
    (folder / "in" / "x.tar").write_bytes(data)
    (report,) = score(folder / "in").reports
    assert report.error is None and len(report.problems) == problems
    rows: list[Row] = pq.read_table(folder / "scores" / "x.parquet").to_pylist()
    assert sum(report.counts.values()) == len(rows)
    return rows


def test_names_that_are_not_utf8_come_through_to_the_export(score: Score, tmp_path: Path) -> None:
    names = [b"caf\xe9", b"caf\\xe9", "café".encode(), b"a\\b", b"\xff/\xfe"]
    data = b"".join(
        member(name + b".png", IMAGE) + member(name + b".t\xe9", b"t") for name in names
    )
    rows = scored(score, tmp_path, data + END)
    assert [(row["key"], row["status"]) for row in rows] == [
        ("caf\\xe9", "ok"), ("caf\\\\xe9", "ok"), ("café", "ok"), ("a\\b", "ok"),
        ("\\xff/\\xfe", "ok"),
    ]  # fmt: skip
    selection, out = tmp_path / "k.parquet", tmp_path / "out"
    assert run("select", tmp_path / "scores", "--max-text-area", 1, "--out", selection) == 0
    assert run("export", tmp_path / "in", "--selection", selection, "--out", out) == 0
    expected = [name + suffix for name in names for suffix in (b".png", b".t\xe9")]
    written = [name for name, _ in read_tar(out / "x.tar")]
    assert [name.encode("utf-8", "surrogateescape") for name in written] == expected


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (b'{"uid": "\\ud800"}', "uid is not valid Unicode"),
        (b"[" * 200_000, "json cannot be read"),
        (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"n": ' + b"9" * 10_000 + b"}", "json cannot be read"),
        (b'{"n": 1e999999, "uid": "u"}', None),
        (b'{"caption": "\\udc00 half"}', None),
        (b"\xff\xfe{}", "json cannot be read"),
        (b"[1, 2]", "json holds no object"),
        (b"{broken", "json cannot be read"),
    ],
    ids=["surrogate", "deep list", "deep object", "huge int", "inf", "half a pair", "no UTF-8",
         "list", "broken"],
)  # fmt: skip
def test_a_json_that_cannot_be_read_is_a_note(
    score: Score, tmp_path: Path, text: bytes, note: str | None
) -> None:
    data = member(b"a.png", IMAGE) + member(b"a.json", text) + member(b"b.png", IMAGE)
    rows = scored(score, tmp_path, data + END)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert (note in str(rows[0]["error"])) if note else rows[0]["error"] is None
    assert rows[1]["error"] is None


BAD_HEADERS = {
    "negative size": header(b"n.png", b"-0000000010\0"),
    "sparse": member(b"s.png", IMAGE, b"S"),
    "damaged pax": pax(b"junk") + member(b"p.png", IMAGE),
    "pax of a huge size": pax(record(b"size", b"9" * 30)) + member(b"p.png", IMAGE),
    "damaged long name": member(b"l", b"n" * (2 << 20), b"L") + member(b"n.png", IMAGE),
}


@pytest.mark.parametrize("bad", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_one_bad_header_costs_its_member_and_is_named(
    score: Score, tmp_path: Path, bad: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    data = member(b"a.png", IMAGE) + bad + member(b"z.png", IMAGE)
    rows = scored(score, tmp_path, data + END, problems=1)
    assert Counter(str(row["key"]) for row in rows) == Counter("az")
    capsys.readouterr()
    assert run("verify", tmp_path / "in") == 1
    said = capsys.readouterr()
    assert "byte" in said.out + said.err and "Traceback" not in said.out + said.err


def test_a_pax_name_ends_at_its_nul_as_in_every_tar(score: Score, tmp_path: Path) -> None:
    data = pax(record(b"path", b"a.png\0b.png")) + member(b"x", IMAGE) + member(b"a.txt", b"t")
    (row,) = scored(score, tmp_path, data + END)
    assert row["key"] == "a"
    selection, out = tmp_path / "k.parquet", tmp_path / "out"
    assert run("select", tmp_path / "scores", "--max-text-area", 1, "--out", selection) == 0
    assert run("export", tmp_path / "in", "--selection", selection, "--out", out) == 0
    assert [name for name, _ in read_tar(out / "x.tar")] == ["a.png", "a.txt"]


def test_a_text_of_gigabytes_is_a_note_and_is_not_read(tmp_path: Path) -> None:
    size = 3 << 30
    path = tmp_path / "x.tar"
    with path.open("wb") as file:  # a file with holes: 3 GiB of zeros that take no room
        file.write(member(b"a.png", IMAGE) + header(b"a.txt", size))
        file.seek(size, 1)
        file.write(END)
    (entry,) = index_shard(path).samples
    with path.open("rb") as file:
        row = open_sample(file, entry, max_pixels=10_000, target_px=None).row
    assert row["status"] == "ok" and f"{size} bytes are too many for a text" in row["error"]


def test_an_image_beyond_2_gigabytes_is_a_row(tmp_path: Path) -> None:
    size = 3 << 30
    path = tmp_path / "x.tar"
    with path.open("wb") as file:  # a file with holes
        file.write(header(b"a.png", size))
        file.seek(size, 1)
        file.write(member(b"b.png", IMAGE) + END)
    entries = index_shard(path).samples
    with path.open("rb") as file:
        rows = [open_sample(file, e, max_pixels=10_000, target_px=None).row for e in entries]
    stored = pa.Table.from_pylist(rows, table_schema(TextArea())).to_pylist()
    assert [(row["status"], row["image_size"]) for row in stored] == [
        ("too_large", size), ("ok", len(IMAGE)),
    ]  # fmt: skip
    assert stored[1]["image_offset"] > size
