"""Strict reading of tars: every kind of damage is named, and what is whole is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesstext.errors import ShardError
from lesstext.shards.captions import read_caption
from lesstext.shards.copying import copy_samples
from lesstext.shards.fingerprint import fingerprint
from lesstext.shards.tar_reading import Member, index_shard, read_member, split_name
from tests.lesstext.builders import sample, tar_bytes, write_tar

THREE = [*sample("a"), *sample("b"), *sample("c")]


def index_of(tmp_path: Path, data: bytes) -> tuple[list[str], str]:
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    index = index_shard(path, "x")
    return [entry.key for entry in index.samples], "; ".join(index.problems)


def test_a_whole_shard_has_its_samples_in_order_and_no_problems(tmp_path: Path) -> None:
    assert index_of(tmp_path, tar_bytes(THREE)) == (["a", "b", "c"], "")


def test_members_are_found_where_their_bytes_are(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", THREE)
    with path.open("rb") as file:
        found = [
            (member.name, read_member(file, member))
            for entry in index_shard(path).samples
            for member in entry.members
        ]
    assert found == THREE


def test_long_names_and_unicode_names_are_read(tmp_path: Path) -> None:
    key = "a/" + "ü" * 150
    assert index_of(tmp_path, tar_bytes(sample(key))) == ([key], "")


def test_truncation_inside_a_member(tmp_path: Path) -> None:
    big = [*sample("a"), *sample("b", b"x" * 5000)]
    data = tar_bytes(big)
    cut = data.index(b"x" * 5000) + 1000
    path = tmp_path / "x.tar"
    path.write_bytes(data[:cut])
    index = index_shard(path, "x")
    assert [(entry.key, entry.cut) for entry in index.samples] == [("a", False), ("b", True)]
    assert index.problems == ["truncated inside member b.png"]


def test_truncation_at_a_member_boundary_which_raises_nothing_elsewhere(tmp_path: Path) -> None:
    last = tar_bytes(THREE).index(b"c.json")
    keys, problems = index_of(tmp_path, tar_bytes(THREE)[:last])
    assert keys == ["a", "b", "c"]
    assert problems.startswith("truncated at a member boundary")


def test_concatenated_archives_are_both_read(tmp_path: Path) -> None:
    keys, problems = index_of(tmp_path, tar_bytes(sample("a")) + tar_bytes(sample("b")))
    assert keys == ["a", "b"]
    assert "concatenated: another archive starts at byte 10240" in problems


def test_interleaved_members_meet_in_one_sample(tmp_path: Path) -> None:
    a, b = sample("a"), sample("b")
    path = write_tar(tmp_path / "x.tar", [a[0], b[0], a[1], b[1], a[2], b[2]])
    index = index_shard(path)
    assert [len(entry.members) for entry in index.samples] == [3, 3]
    assert "interleaved: the members of 2 samples" in index.problems[0]
    assert "key a" in index.problems[0]


def test_duplicate_keys_are_marked(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [*sample("a"), *sample("b"), *sample("a")])
    index = index_shard(path)
    assert [(e.key, e.duplicate) for e in index.samples] == [
        ("a", False), ("b", False), ("a", True),
    ]  # fmt: skip
    assert index.problems == ["duplicate keys: 1 (for example key a)"]
    write_tar(path, [*sample("c"), *sample("a"), *sample("c"), *sample("a")])
    assert index_shard(path).problems == ["duplicate keys: 2 (for example key c)"]


@pytest.mark.parametrize("n_suffixes", [1, 2, 7, 8, 9, 30, 100])
def test_a_suffix_that_comes_twice_begins_a_duplicate(tmp_path: Path, n_suffixes: int) -> None:
    members = [(f"a.s{number}", b"x") for number in range(n_suffixes)]
    whole = write_tar(tmp_path / "x.tar", members)
    assert [len(entry.members) for entry in index_shard(whole).samples] == [n_suffixes]
    for again in {0, n_suffixes - 1}:
        write_tar(whole, [*members, members[again], ("a.other", b"x")])
        index = index_shard(whole)
        assert [(len(e.members), e.duplicate) for e in index.samples] == [
            (n_suffixes, False), (2, True),
        ]  # fmt: skip
        assert index.problems == ["duplicate keys: 1 (for example key a)"]


def test_a_cut_file_that_belongs_to_no_sample_cuts_none(tmp_path: Path) -> None:
    data = tar_bytes([("a.jpg", b"x"), ("a.txt", b"x"), ("README", b"r" * 3000)])
    path = tmp_path / "x.tar"
    path.write_bytes(data[: 4 * 512 + 512 + 1000])
    index = index_shard(path)
    assert [(entry.key, entry.cut) for entry in index.samples] == [("a", False)]
    assert index.problems == ["truncated inside member README"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<!doctype html><html>404</html>" * 100, r"not a tar archive \(starts with b'<!doctype"),
        (b"\x1f\x8b\x08" + bytes(600), "gzip"),
        (tar_bytes([("a.jpg", b"x")])[:300], "truncated header"),
    ],
    ids=["0 bytes", "html", "gzip", "300 bytes"],
)
def test_what_is_no_tar_is_an_error_that_names_the_shard(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    with pytest.raises(ShardError, match=f"shard x: .*{reason}"):
        index_of(tmp_path, data)


@pytest.mark.parametrize("size", [4, 1 << 10, 1 << 40, 1 << 60])
def test_a_member_that_the_file_does_not_hold_takes_no_room(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(600) + b"end")
    with path.open("rb") as file:
        assert read_member(file, Member("x.jpg", "jpg", 600, 3)) == b"end"
        with pytest.raises(EOFError, match=f"3 of {size} bytes, the shard is cut off"):
            read_member(file, Member("x.jpg", "jpg", 600, size))


def test_a_sample_that_is_cut_off_or_absent_is_not_copied(tmp_path: Path) -> None:
    data = tar_bytes([("a.jpg", b"x" * 700), ("b.jpg", b"y" * 3000), ("b.txt", b"why")])
    path = tmp_path / "x.tar"
    path.write_bytes(data[: 3 * 512 + 512 + 1000])
    with (tmp_path / "out.tar").open("wb") as out:
        copy_samples(path, "s", ["a"], out)
        with pytest.raises(ShardError, match=r"shard s: key b: .*b\.jpg.*1000 of 3000 bytes"):
            copy_samples(path, "s", ["a", "b"], out)
        with pytest.raises(ShardError, match="shard s: key c was selected but is not in"):
            copy_samples(path, "s", ["c"], out)


def test_garbage_behind_good_members_is_reported(tmp_path: Path) -> None:
    end = len(tar_bytes(sample("a")).rstrip(b"\0"))
    members = tar_bytes(sample("a"))[: -(-end // 512) * 512]
    keys, problems = index_of(tmp_path, members + b"garbage!" * 1000)
    assert keys == ["a"]
    assert "damaged after byte" in problems


def test_an_empty_archive_is_whole(tmp_path: Path) -> None:
    assert index_of(tmp_path, bytes(10240)) == ([], "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0001.jpg", ("0001", "jpg")),
        ("d.e/0001.cls.txt", ("d.e/0001", "cls.txt")),
        ("0001.JPG", ("0001", "jpg")),
        ("noextension", None),
        (".hidden", None),
        ("__meta__.json", None),
    ],
)
def test_names_split_as_webdataset_splits_them(name: str, expected: tuple[str, str] | None) -> None:
    assert split_name(name) == expected


def test_the_image_is_the_plainly_named_one(tmp_path: Path) -> None:
    members = [("a.mask.png", b"m"), ("a.txt", b"t"), ("a.png", b"i")]
    (entry,) = index_shard(write_tar(tmp_path / "x.tar", members)).samples
    assert entry.image is not None and entry.image.name == "a.png"
    (entry,) = index_shard(write_tar(tmp_path / "y.tar", members[:2])).samples
    assert entry.image is not None and entry.image.name == "a.mask.png"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([("a.txt", "größe".encode()), ("a.json", b'{"caption": "no"}')], "größe"),
        ([("a.json", b'{"caption": "yes"}')], "yes"),
        ([("a.json", b'{"captions": ["first", "second"]}')], "first"),
        ([("a.json", b"[1]")], None),
        ([("a.json", b"{broken")], None),
    ],
)
def test_captions(tmp_path: Path, members: list[tuple[str, bytes]], expected: str | None) -> None:
    path = write_tar(tmp_path / "x.tar", members)
    with path.open("rb") as file:
        assert read_caption(file, index_shard(path).samples[0]) == expected


def test_a_fingerprint_sees_size_head_and_tail(tmp_path: Path) -> None:
    path = tmp_path / "x"
    prints = []
    for data in (b"a" * 200_000, b"a" * 200_001, b"b" + b"a" * 199_999, b"a" * 199_999 + b"b"):
        path.write_bytes(data)
        prints.append(fingerprint(path))
    assert len(set(prints)) == 4


def test_webdataset_agrees_on_whole_real_shards(real_data: Path) -> None:
    import webdataset

    for path in sorted(real_data.glob("*_shards/*.tar"))[:2]:
        theirs = [s["__key__"] for s in webdataset.WebDataset(str(path), shardshuffle=False)]
        assert [entry.key for entry in index_shard(path).samples] == theirs
