"""The tar walk: as Python's tarfile on whatever is sound, and to an end on whatever is not."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesstext.errors import ShardError
from lesstext.shards import tar_walk
from lesstext.shards.tar_reading import index_shard
from lesstext.shards.tar_walk import Problem, TarMember, spelled, walk_tar
from tests.lesstext.shards.hostile_tars import (
    BLOCK,
    END,
    checksum,
    header,
    member,
    padded,
    pax,
    record,
)

Step = TarMember | Problem
MAX_S = 5.0


def walked(data: bytes) -> list[Step]:
    start = time.monotonic()
    found = list(walk_tar(io.BytesIO(data), len(data)))
    assert time.monotonic() - start < MAX_S
    assert len(found) <= len(data) // BLOCK + 2
    return found


def members(data: bytes) -> list[tuple[str, int, int]]:
    return [(m.name, m.offset, m.size) for m in walked(data) if isinstance(m, TarMember)]


def problems(data: bytes) -> str:
    return "; ".join(found.text for found in walked(data) if isinstance(found, Problem))


def by_tarfile(data: bytes) -> list[tuple[str, int, int]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return [(info.name, info.offset_data, info.size) for info in tar if info.isreg()]


names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300
).filter(lambda name: not name.endswith("/"))
KINDS = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE,
         tarfile.LNKTYPE, tarfile.FIFOTYPE]  # fmt: skip


@st.composite
def sound_tars(draw: st.DrawFn) -> bytes:
    """Tars as tarfile writes them: every format, long names, links, folders, pax records."""
    buffer = io.BytesIO()
    format = draw(st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    shared = {"comment": "all"} if draw(st.booleans()) else None
    with tarfile.open(fileobj=buffer, mode="w", format=format, pax_headers=shared) as tar:
        for name in ["first.jpg", *draw(st.lists(names, max_size=6))]:
            info = tarfile.TarInfo(name)
            info.type = draw(st.sampled_from(KINDS))
            data = draw(st.binary(max_size=1200)) if info.isreg() else b""
            info.size = len(data)
            info.mtime = draw(st.sampled_from([0, 1_700_000_000, 1.5, -3]))
            if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = draw(names)
            try:
                tar.addfile(info, io.BytesIO(data))
            except (ValueError, UnicodeError):
                continue  # a name too long for ustar
    return buffer.getvalue()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(sound_tars())
def test_sound_tars_are_read_as_tarfile_reads_them(data: bytes) -> None:
    assert members(data) == by_tarfile(data)
    assert problems(data) == ""


@settings(max_examples=300, deadline=None, derandomize=True)
@given(sound_tars(), st.data())
def test_damaged_tars_come_to_an_end(data: bytes, more: st.DataObject) -> None:
    """Whole fields overwritten with a checksum that is right again, bytes flipped, and cuts."""
    damaged = bytearray(data)
    for _ in range(more.draw(st.integers(1, 4))):
        at = more.draw(st.integers(0, len(damaged) // BLOCK - 1)) * BLOCK
        start, stop = more.draw(st.sampled_from([(0, 100), (124, 136), (156, 157), (345, 500)]))
        field = more.draw(st.binary(min_size=1, max_size=stop - start))
        damaged[at + start : at + start + len(field)] = field
        if more.draw(st.booleans()):
            damaged[at : at + BLOCK] = checksum(bytes(damaged[at : at + BLOCK]))
    walked(bytes(damaged[: more.draw(st.integers(0, len(damaged)))]))


GOOD = member(b"z.jpg")
NEGATIVE = header(b"n.jpg", b"-0000000010\0")
DEEP = b"".join(member(b"././@LongLink", b"long.jpg\0", b"L") for _ in range(5000))
NOISE = bytes(range(1, 256)) * 40


@pytest.mark.parametrize(
    ("data", "names", "problem"),
    [
        pytest.param(NEGATIVE + GOOD + END, ["z.jpg"], "go on at byte 512", id="negative size"),
        pytest.param(
            header(b"n.jpg", b"\xff" * 12) + GOOD + END, ["z.jpg"], "go on", id="negative base-256"
        ),
        pytest.param(
            header(b"n.jpg", b"\x80" + b"\xff" * 11) + GOOD + END, ["n.jpg"], "", id="size of 2^88"
        ),
        pytest.param(
            header(b"b.jpg", b"\x80" + bytes(10) + b"\4") + padded(b"four") + GOOD + END,
            ["b.jpg", "z.jpg"], "", id="base-256 size",
        ),
        pytest.param(
            header(b"n.jpg", b"0x10       \0") + GOOD + END, ["z.jpg"], "go on", id="hex size"
        ),
        pytest.param(
            member(b"caf\xe9.jp\xe9g") + END, ["caf\udce9.jp\udce9g"], "", id="Latin-1 name"
        ),
        pytest.param(
            member(b"././@LongLink", b"n" * 200 + b"\xff.jpg\0", b"L") + member(b"n") + END,
            ["n" * 200 + "\udcff.jpg"], "", id="Latin-1 long name",
        ),
        pytest.param(
            member(b"s.jpg", b"x" * 512, b"S") + GOOD + END, ["z.jpg"],
            r"\(s\.jpg\) is passed over: it is sparse", id="GNU sparse",
        ),
        pytest.param(
            pax(record(b"GNU.sparse.major", b"1"), record(b"GNU.sparse.minor", b"0"),
                record(b"GNU.sparse.name", b"s.jpg"), record(b"GNU.sparse.realsize", b"x"))
            + member(b"GNUSparseFile.0/s.jpg") + GOOD + END,
            ["z.jpg"], r"\(s\.jpg\) is passed over: it is sparse", id="pax sparse",
        ),
        pytest.param(
            pax(record(b"path", b"a.jpg\0b.jpg")) + member(b"x") + END, ["a.jpg"], "", id="NUL"
        ),
        pytest.param(
            pax(record(b"size", b"4")) + header(b"a.jpg", 0) + padded(b"four") + GOOD + END,
            ["a.jpg", "z.jpg"], "", id="pax size",
        ),
        pytest.param(
            pax(record(b"size", b"-4")) + member(b"a.jpg") + GOOD + END, ["z.jpg"],
            "passed over: its size is '-4'", id="negative pax size",
        ),
        pytest.param(
            pax(b"99999 path=a.jpg\n") + member(b"a.jpg") + GOOD + END, ["z.jpg"],
            "passed over: its extended header is damaged", id="pax record beyond its header",
        ),
        pytest.param(
            pax(b"0 path=a.jpg\n") + member(b"a.jpg") + GOOD + END, ["z.jpg"],
            "passed over", id="pax record of no length",
        ),
        pytest.param(
            pax(b"nonsense", kind=b"g") + member(b"a.jpg") + END, ["a.jpg"],
            "global header at byte 0 is damaged", id="damaged global header",
        ),
        pytest.param(
            pax(record(b"path", "ü.jpg".encode()), kind=b"X") + member(b"x") + END, ["ü.jpg"],
            "", id="Solaris pax",
        ),
        pytest.param(
            header(b"././@LongLink", 8 << 30, b"L") + GOOD + END, [],
            "truncated inside an extended header", id="long name of 8 GiB",
        ),
        pytest.param(
            member(b"././@LongLink", b"n" * (2 << 20), b"L") + member(b"n") + GOOD + END, ["z.jpg"],
            "passed over: its extended header is damaged", id="long name of 2 MiB",
        ),
        pytest.param(DEEP + member(b"x") + END, ["long.jpg"], "", id="5,000 long names"),
        pytest.param(
            member(b"././@LongLink", b"a.jpg\0", b"L") + END, [],
            "an extended header without its member", id="long name of nothing",
        ),
        pytest.param(
            header(b"k", 100, b"Z") + padded(b"x" * 100) + GOOD + END, ["z.jpg"], "",
            id="unknown type",
        ),
        pytest.param(
            member(b"a.jpg") + NOISE + GOOD + END, ["a.jpg", "z.jpg"],
            "damaged after byte 1024: neither a member .*; members go on at byte 11224",
            id="noise in the middle",
        ),
        pytest.param(
            member(b"a.jpg") + bytes(BLOCK) + GOOD + END, ["a.jpg", "z.jpg"],
            "members go on at byte 1536", id="a lone zero block",
        ),
        pytest.param(
            b"<html>" * 200 + GOOD + END, ["z.jpg"], "is not a tar archive .* go on at byte 1200",
            id="html in front",
        ),
        pytest.param(
            (member(b"a.jpg") + member(b"b.jpg", b"b" * 9000))[:4000] + GOOD + member(b"c.jpg",
            b"c" * 9000) + member(b"d.jpg") + END, ["a.jpg", "b.jpg", "d.jpg"], "go on",
            id="another tar behind a cut one",
        ),
    ],
)  # fmt: skip
def test_any_header_is_a_member_a_problem_or_the_end(
    data: bytes, names: list[str], problem: str
) -> None:
    import re

    assert [name for name, _, _ in members(data)] == names
    found = problems(data)
    assert re.search(problem, found) if problem else found == ""


def sparse(name: bytes, *continued: int, size: int = 0) -> bytes:
    """A GNU sparse header, and continuations that say in their byte 504 whether more follow."""
    block = bytearray(header(name, size, b"S"))
    block[482] = bool(continued)
    more = b"".join(bytes(504) + bytes([goes_on]) + bytes(7) for goes_on in continued)
    return checksum(bytes(block)) + more


@pytest.mark.parametrize("continued", [(), (0,), (1, 0), (1, 1, 1, 0)])
def test_sparse_files_are_passed_with_all_their_headers(continued: tuple[int, ...]) -> None:
    data = sparse(b"s.jpg", *continued, size=600) + bytes(1024) + GOOD + END
    assert [name for name, _, _ in members(data)] == ["z.jpg"]
    assert "the member at byte 0 (s.jpg) is passed over: it is sparse" in problems(data)


@pytest.mark.parametrize("data", [sparse(b"s.jpg", 1), sparse(b"s.jpg", 1, 1), sparse(b"s.jpg")])
def test_a_tar_that_ends_in_a_sparse_file_comes_to_an_end(data: bytes) -> None:
    assert members(data) == []
    assert problems(data)


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_links_folders_and_devices_have_no_data_whatever_size_they_state(kind: bytes) -> None:
    data = member(b"a.jpg") + header(b"x", 700, kind) + GOOD + END
    assert [name for name, _, _ in members(data)] == ["a.jpg", "z.jpg"]
    assert problems(data) == ""


def test_a_long_name_names_one_member_alone() -> None:
    long = member(b"././@LongLink", b"n" * 200 + b".jpg\0", b"L")
    for between in (
        sparse(b"s"),
        header(b"link", 0, b"2"),
        header(b"k", 4, b"Z") + padded(b"four"),
    ):
        assert [name for name, _, _ in members(long + between + GOOD + END)] == ["z.jpg"]
    data = member(b"a.jpg") + long + NOISE + GOOD + END
    assert [name for name, _, _ in members(data)] == ["a.jpg", "z.jpg"]


def test_global_records_hold_until_the_archive_ends_and_own_ones_go_before_them() -> None:
    shared, own = pax(record(b"size", b"4"), kind=b"g"), pax(record(b"size", b"3"))
    first = shared + header(b"a.jpg") + padded(b"four") + own + header(b"b.jpg") + padded(b"two")
    found = members(first + END + header(b"c.jpg", 2) + padded(b"tw") + END)
    assert [(name, size) for name, _, size in found] == [
        ("a.jpg", 4), ("b.jpg", 3), ("c.jpg", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("at", [0, 147, 156, 300, 511])
def test_checksums_are_over_every_byte_unsigned_or_signed(at: int) -> None:
    block = bytearray(header(b"caf\xe9.jpg", 4))
    block[at] = 0xF3 if at != 156 else ord("0")
    sums = {
        "unsigned": sum(block[:148] + block[156:]) + 8 * 32,
        "signed": sum((byte ^ 128) - 128 for byte in block[:148] + block[156:]) + 8 * 32,
    }
    for value in sums.values():
        block[148:156] = b"%06o\0 " % value
        assert len(members(bytes(block) + padded(b"four") + END)) == 1
        for wrong in (value - 1, value + 1, value + 128):
            block[148:156] = b"%06o\0 " % wrong
            assert members(bytes(block) + padded(b"four") + END) == []


def test_a_header_is_found_wherever_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also across the windows that are searched, and after words that only look like one."""
    monkeypatch.setattr(tar_walk, "_SEARCH_BYTES", 2048)
    for shift in (1, 255, 511, 512, 1700, 2047, 2048, 4095, 9000):
        noise = (b"ustar " * 2000)[:shift]
        data = member(b"a.jpg") + noise + GOOD + END
        assert [name for name, _, _ in members(data)] == ["a.jpg", "z.jpg"]
        at = 2 * BLOCK + shift
        assert members(data)[1][1] == at + BLOCK


@pytest.mark.parametrize("n_zero_blocks", [2, 3, 20, 21, 100])
def test_an_archive_behind_another_is_found_behind_any_padding(
    n_zero_blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_walk, "_SEARCH_BYTES", 2048)
    data = member(b"a.jpg") + bytes(n_zero_blocks * BLOCK) + GOOD + END
    assert [name for name, _, _ in members(data)] == ["a.jpg", "z.jpg"]
    assert f"another archive starts at byte {(2 + n_zero_blocks) * BLOCK};" in problems(data)


def test_ustar_prefixes_are_in_front_of_the_name() -> None:
    block = bytearray(header(b"b.jpg", 4))
    block[345:350] = b"in/ab"
    data = checksum(bytes(block)) + padded(b"four") + END
    assert [name for name, _, _ in members(data)] == ["in/ab/b.jpg"]


@pytest.mark.parametrize("before", [record(b"size", b"many"), record(b"GNU.sparse.major", b"1")])
def test_a_member_that_is_passed_over_is_no_cut_sample_either(before: bytes) -> None:
    data = member(b"a.jpg") + pax(before) + header(b"b.jpg", 5000) + b"data"
    assert [name for name, _, _ in members(data)] == ["a.jpg"]
    assert problems(data) == "truncated inside member b.jpg"


def test_a_member_larger_than_the_tar_is_cut() -> None:
    (found,) = walked(header(b"a.jpg", 8 << 30) + b"data")
    assert found == TarMember("a.jpg", BLOCK, 8 << 30, is_cut=True)


@pytest.mark.parametrize(
    "write",
    [
        lambda n: b"".join(member(b"k.%d" % i, b"") for i in range(n)),
        lambda n: b"".join(member(b"k.jpg", b"") for _ in range(n)),
        lambda n: b"".join(member(b"%d.jpg" % (i % 100), b"") for i in range(n)),
        lambda n: NEGATIVE * n,
        lambda n: pax(b"nonsense") * n,
    ],
    ids=["one key", "one name", "interleaved", "negative sizes", "damaged pax"],
)
def test_many_members_take_no_quadratic_work(write: Callable[[int], bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(member(b"a.jpg") + write(20_000) + END)
    start = time.monotonic()
    index = index_shard(path)
    assert time.monotonic() - start < MAX_S
    assert index.samples[0].key == "a"
    assert len(index.problems) <= 21


@given(st.lists(st.binary(min_size=1, max_size=12), min_size=2, max_size=2, unique=True))
def test_no_two_names_are_spelled_alike(names: list[bytes]) -> None:
    texts = [name.decode("utf-8", "surrogateescape") for name in names]
    assert spelled(texts[0]).encode() != spelled(texts[1]).encode()


@given(st.lists(st.text("\\x9e\udce9\udc9e", max_size=8), min_size=2, max_size=2, unique=True))
def test_no_two_escapes_are_spelled_alike(names: list[str]) -> None:
    assert spelled(names[0]) != spelled(names[1])


@given(names)
def test_ordinary_names_are_spelled_as_they_are(name: str) -> None:
    if "\\x" not in name:
        assert spelled(name) == name


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=3000))
def test_no_bytes_raise_anything_but_a_shard_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tar"
    path.write_bytes(data)
    try:
        index_shard(path)
    except ShardError as error:
        str(error).encode()
