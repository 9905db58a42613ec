"""Names of shards: one rule however a path is typed, and specs that would never end."""

from __future__ import annotations

import glob
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lesstext.errors import UsageError
from lesstext.export.plan import ExportConfig
from lesstext.export.whole_run import export
from lesstext.policies.text_area import at_most
from lesstext.shards.listing import glob_sources
from lesstext.shards.names import MAX_SHARDS, ShardSource, known_as
from lesstext.shards.specs import expand_specs
from lesstext.tables.selecting import select
from lesstext.verify import verify_shards, verify_tables
from tests.lesstext.builders import ratio_samples, write_tar
from tests.lesstext.conftest import Score


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`in/a/00.tar`, `in/a/01.tar` and `in/b/00.tar`, seen from the folder of `in`."""
    for number, name in enumerate(("a/00", "a/01", "b/00")):
        write_tar(tmp_path / f"in/{name}.tar", ratio_samples([0.0, 0.5], f"k{number}"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*specs: str) -> list[str]:
    return [source.name for source in expand_specs(specs)]


LEAF = ["00", "01"]
BELOW = ["a/00", "a/01"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("in/a", LEAF), ("in/a/", LEAF), ("in//a", LEAF), ("./in/a/", LEAF), ("in/b/../a", LEAF),
        ("in/a/*.tar", LEAF), ("in//a/*.tar", LEAF), ("in/./a/../a/", BELOW),
        ("in/a/{00..01}.tar", LEAF), ("in/a/{00,01}.tar", LEAF), ("in/a/0[01].tar", LEAF),
        ("in/a/00.tar::in/a/01.tar", LEAF), ("in/a/./00.tar::in/a/01.tar", LEAF),
        ("in/./a", BELOW), ("in/./a/", BELOW), ("in/./a/*.tar", BELOW), ("in//././a/", BELOW),
        ("in/.//a", BELOW), ("in/.//a/*.tar", BELOW),
        ("in/./a/{00..01}.tar", BELOW), ("in/./a/00.tar::in/./a/01.tar", BELOW),
        ("in/a*/*.tar", BELOW), ("in/{a,a}/0*.tar", BELOW),
    ],
)  # fmt: skip
@pytest.mark.parametrize("absolute", [False, True])
def test_a_name_survives_how_its_path_is_typed(
    data: Path, spec: str, expected: list[str], absolute: bool
) -> None:
    parts = [f"{data}/{part.removeprefix('./')}" if absolute else part for part in spec.split("::")]
    assert names("::".join(parts)) == expected


def test_the_mark_counts_in_lists_and_urls_too(data: Path) -> None:
    import fsspec

    (data / "in/list.txt").write_text("./a/00.tar\n")
    (data / "list.txt").write_text("in/./a/00.tar\n")
    assert names("@list.txt") == ["a/00"]
    fsspec.filesystem("memory").pipe("/names/in/a/00.tar", b"x")
    assert names("memory://names/in/./a/00.tar") == ["a/00"]
    assert names("memory://names/in/./a") == ["a/00"]
    assert names("memory://names/./in/a/*.tar") == ["in/a/00"]


def test_two_pieces_of_a_folder_are_joined_under_its_root(data: Path, score: Score) -> None:
    score("in/./a")
    score("in/./b")
    assert [v.problems for v in verify_tables(expand_specs(["in"]), data / "scores")] == [[]] * 3


def test_a_shard_typed_differently_is_found_again(data: Path, score: Score) -> None:
    score("in/a")
    for spec in ("in/a", "in/./a", "in/a/*.tar", f"{data}/./in/a"):
        sources = expand_specs([spec])
        assert [v.problems for v in verify_tables(sources, data / "scores")] == [[], []]
        verdicts = list(verify_shards(sources, tables=data / "scores"))
        assert [(v.n_samples, v.problems) for v in verdicts] == [(2, []), (2, [])]
    (a, _, b) = verify_tables(expand_specs(["in"]), data / "scores")
    assert "has no score table" in b.problems[0]  # two shards end in 00: neither is guessed at
    assert "has no score table" in a.problems[0]


def test_an_export_takes_the_selections_names(data: Path, score: Score) -> None:
    score("in/a")
    select(data / "scores", data / "k.parquet", at_most(0.1))
    config = ExportConfig(
        shards=("in/./a",), selection=data / "k.parquet", out=data / "out", workers=1
    )
    assert export(config).n_samples == 2
    assert sorted(path.name for path in (data / "out").glob("*.tar")) == ["00.tar", "01.tar"]


def test_a_shard_that_was_never_scored_is_said_to_be_so(data: Path, score: Score) -> None:
    score("in/a/00.tar")
    verdicts = verify_tables(expand_specs(["in/a"]), data / "scores")
    assert ["has no score table" in str(v.problems) for v in verdicts] == [False, True]


def test_another_shard_of_the_same_name_replaces_no_table(data: Path, score: Score) -> None:
    score("in/a/00.tar")
    before = (data / "scores/00.parquet").read_bytes()
    with pytest.raises(UsageError, match=r"is the table of .*in/a/00\.tar, not of .*in/b/00\.tar"):
        score("in/b/00.tar")
    assert (data / "scores/00.parquet").read_bytes() == before
    write_tar(data / "in/a/00.tar", ratio_samples([0.1]))  # it has changed in its place
    assert score("in/a/00.tar").counts == {"ok": 1}
    (data / "in").rename(data / "moved")  # the whole set has moved, and has changed since
    write_tar(data / "moved/a/00.tar", ratio_samples([0.1, 0.2]))
    assert score("moved/a/00.tar").counts == {"ok": 2}


def test_known_names_are_whole_parts_of_the_path() -> None:
    source = ShardSource("in/xa/00", "/data/in/xa/00.tar")
    assert known_as([source], {"a/00", "0"}) == [source]
    assert known_as([source], {"xa/00", "00"})[0].name == "xa/00"
    assert known_as([source], {"in/xa/00", "00"})[0].name == "in/xa/00"
    remote = ShardSource("00", "s3://bucket/data/xa/00.tar")
    assert known_as([remote], {"data/xa/00"})[0].name == "data/xa/00"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("in/*/../../*.tar", r"'\.\.' stands behind a wildcard"),
        ("in/{a,b}/../00.tar", r"'\.\.' stands behind a wildcard"),
        ("in/./../x.tar", "leaves its root"),
        ("in/*/./00.tar", "wildcard stands before the root's mark"),
        ("{0..20000000}.tar", "more than 1,000,000 shards"),
        ("{0..99999999999999999999}.tar", "more than 1,000,000 shards"),
        ("{0..999}{0..999}{0..999}.tar", "more than 1,000,000 shards"),
        ("{a,b}" * 64 + ".tar", "more than 1,000,000 shards"),
        ("{" * 500 + "a,b" + "}" * 500, "more than 1,000,000 shards"),
        ("{0.." + "9" * 5000 + "}.tar", "cannot be read"),
        ("{a,b}{.tar", "(cannot be read|do not exist)"),
        ("in/a\0.tar", "NUL"),
        ("~nobody-of-this-name/x.tar", "does not exist"),
        ("x" * 5000 + ".tar", "does not exist"),
    ],
)
def test_specs_without_an_end_or_out_of_their_root_are_refused_at_once(
    data: Path, spec: str, reason: str
) -> None:
    (data / "x.tar").write_bytes(b"x")
    start = time.monotonic()
    with pytest.raises(UsageError, match=reason):
        expand_specs([spec])
    assert time.monotonic() - start < 2.0


def test_a_long_list_in_braces_is_no_product(data: Path) -> None:
    listed = ",".join(f"{number:05d}" for number in range(20_000))
    with pytest.raises(UsageError, match="20000 shards do not exist"):
        expand_specs([f"{{{listed}}}.tar"])
    assert MAX_SHARDS == 1_000_000


def test_lists_that_name_themselves_are_refused(data: Path) -> None:
    (data / "self.txt").write_text("@self.txt\n")
    (data / "one.txt").write_text("@./two.txt\n")
    (data / "two.txt").write_text("@one.txt::in/a\n")
    (data / "twice.txt").write_text("@three.txt\n@three.txt::in/a/01.tar\n")
    (data / "three.txt").write_text("in/a/00.tar\n")
    for name in ("self.txt", "one.txt"):
        with pytest.raises(UsageError, match="names itself"):
            expand_specs([f"@{name}"])
    with pytest.raises(UsageError, match="two inputs yield"):  # read twice, but no circle
        expand_specs(["@twice.txt"])


def test_a_list_may_come_from_a_pipe_of_the_shell_and_from_no_device(data: Path) -> None:
    os.mkfifo(data / "pipe.txt")
    for path in ("pipe.txt", "/dev/zero", "in"):
        with pytest.raises(UsageError, match="cannot read the shard list"):
            expand_specs([f"@{path}"])
    script = (
        "from lesstext.shards.specs import expand_specs; import sys; "
        "print(len(expand_specs(sys.argv[1:])))"
    )
    command = f"{sys.executable} -c '{script}' @<(ls in/a/*.tar)"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout == "2\n", done.stderr


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
def test_what_is_no_regular_file_is_no_shard(data: Path, kind: str) -> None:
    path = data / "in/a/odd.tar"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert names("in/a") == names("in/a/*.tar") == LEAF
    for spec in ("in/a/odd.tar", "in/a/{00,odd}.tar"):
        with pytest.raises(UsageError, match=r"no regular file|matches no"):
            expand_specs([spec])


def test_hidden_files_are_passed_over_with_a_word(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a/._00.tar", "a/.hidden.tar", ".trash/00.tar", ".tar"):
        write_tar(data / "in" / name, ratio_samples([0.0]))
    with caplog.at_level(logging.WARNING):
        assert names("in") == ["a/00", "a/01", "b/00"]
    assert "4 hidden files" in caplog.text
    assert names("in/a/*.tar") == LEAF
    for spec in ("in/a/._00.tar", "in/.tar", "in/./.trash/00.tar"):
        with pytest.raises(UsageError, match="is hidden"):
            expand_specs([spec])


def test_a_folder_reached_through_a_loop_of_links_is_read_once(data: Path) -> None:
    for number in range(3):
        (data / "in/a" / f"loop{number}").symlink_to(data / "in")
    assert names("in") == ["a/00", "a/01", "b/00"]
    assert names("in/**/*.tar") == ["a/00", "a/01", "b/00"]
    assert names(f"file://{data}/in/**/*.tar") == ["a/00", "a/01", "b/00"]


@pytest.mark.parametrize(
    "pattern",
    ["*.tar", "*/*.tar", "**/*.tar", "**", "**/**/*", "a/**/*.tar", "**/a/*", "**/b/**/*.tar",
     "[ab]/?0.tar", "[!a]/*.tar", "**x/*.tar", ".*/*.tar", "a/.*", "none/*.tar", "*/", "a//*.tar",
     "**/.h/*.tar", "a/*/00.tar", "[/*.tar", "link/*.tar", "**/0[0-9].tar"],
)  # fmt: skip
def test_patterns_match_as_pythons_glob_matches(data: Path, pattern: str) -> None:
    for name in ("a/b/00", "a/b/a/01", "x", "ax/00", ".h/00", "a/.00", "a/.h/01"):
        write_tar(data / f"in/{name}.tar", ())
    (data / "link").symlink_to(data / "in/b")
    for folder in ("in/", f"{data}/in/", ""):
        theirs = glob.glob(f"{folder}{pattern}", recursive=True)
        tars = {os.path.normpath(t) for t in theirs if t.endswith(".tar") and os.path.isfile(t)}
        ours = {os.path.normpath(path) for path in glob_sources(f"{folder}{pattern}")}
        assert ours <= tars and set(map(os.path.realpath, ours)) == set(map(os.path.realpath, tars))


def test_names_that_are_not_utf8_are_spelled(data: Path) -> None:
    path = os.path.join(os.fsencode(data), b"in/a/caf\xe9.tar")
    with open(path, "wb") as file:
        file.write((data / "in/a/00.tar").read_bytes())
    assert names("in/a") == [*LEAF, "caf\\xe9"]
    assert names("in/a/c*.tar") == ["caf\\xe9"]
