"""What users type becomes shards with names, or an error that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesstext.errors import ShardError, UsageError
from lesstext.shards.specs import ShardSource, expand_specs, input_places, local_copy
from lesstext.storage.guard import refuse_overlap


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("00000", "00001", "00002", "part/00000", "part/00001"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.tar").write_bytes(b"x" * 10)
    (tmp_path / "00000.parquet").write_bytes(b"")
    return tmp_path


def names(*specs: str) -> list[str]:
    return [source.name for source in expand_specs(specs)]


def test_a_folder_is_searched_through(folder: Path) -> None:
    assert names(str(folder)) == ["00000", "00001", "00002", "part/00000", "part/00001"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("00001.tar", ["00001"]),
        ("0000*.tar", ["00000", "00001", "00002"]),
        ("{00000..00001}.tar", ["00000", "00001"]),
        ("{00002,00000}.tar", ["00000", "00002"]),
        ("*/0000[01].tar", ["part/00000", "part/00001"]),
        ("**/*.tar", ["00000", "00001", "00002", "part/00000", "part/00001"]),
    ],
)
def test_files_globs_and_braces(folder: Path, spec: str, expected: list[str]) -> None:
    assert names(f"{folder}/{spec}") == expected


def test_double_colon_and_lists(folder: Path) -> None:
    assert names(f"{folder}/00000.tar::{folder}/00001.tar") == ["00000", "00001"]
    listing = folder / "list.txt"
    listing.write_text(f"# comment\n{folder}/00002.tar\n\n00001.tar\n")
    assert names(f"@{listing}") == ["00002", "00001"]


def test_two_inputs_with_one_name_are_refused_naming_both(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"'00000'.*00000\.tar and .*part/00000\.tar"):
        names(f"{folder}/00000.tar", f"{folder}/part")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("missing.tar", "does not exist"),
        ("{00000..00009}.tar", r"7 shards do not exist, the first: .*00003\.tar"),
        ("nothing*.tar", "matches no"),
        ("@missing.txt", "does not exist"),
    ],
)
def test_what_is_not_there_is_said(folder: Path, spec: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        names(f"{folder}/{spec}")
    with pytest.raises(UsageError, match="cannot read the shard list"):
        names("@missing.txt")


def test_a_pipe_runs_only_when_allowed(folder: Path) -> None:
    spec = f"pipe:cat {folder}/00001.tar"
    with pytest.raises(UsageError, match="--allow-pipe"):
        expand_specs([spec])
    (source,) = expand_specs([spec], allow_pipe=True)
    assert source.name == "00001"
    with local_copy(source) as path:
        assert path.read_bytes() == b"x" * 10
    assert not path.exists()
    broken = ShardSource("x", "pipe:exit 3")
    with (
        pytest.raises(ShardError, match="shard x: command 'exit 3' ended with status 3"),
        local_copy(broken),
    ):
        pass


def test_urls_go_through_fsspec() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("00000", "00001"):
        memory.pipe(f"/bucket/laion/{name}.tar", b"y" * 20)
    sources = expand_specs(["memory://bucket/laion/{00000..00001}.tar"])
    assert [source.name for source in sources] == ["00000", "00001"]
    assert names("memory://bucket/laion") == ["00000", "00001"]
    assert names("memory://bucket/laion/*1.tar") == ["00001"]
    with local_copy(sources[0]) as path:
        assert path.read_bytes() == b"y" * 20
    with (
        pytest.raises(ShardError, match=r"cannot look up memory://bucket/none\.tar"),
        local_copy(ShardSource("z", "memory://bucket/none.tar")),
    ):
        pass


@pytest.mark.parametrize("spec", ["part", ".", "part/*.tar"])
def test_output_inside_an_input_folder_is_refused(folder: Path, spec: str) -> None:
    specs = [f"{folder}/{spec}"]
    sources = expand_specs(specs)
    for out in (folder / "part", folder / "part" / "scores"):
        with pytest.raises(UsageError, match=r"is an input|inside the input folder"):
            refuse_overlap(out, input_places(specs, sources))


def test_output_beside_the_inputs_is_not_refused(folder: Path) -> None:
    for specs in ([f"{folder}/part"], [f"{folder}/part/*.tar"]):
        refuse_overlap(folder / "part-scores", input_places(specs, expand_specs(specs)))
    whole = [str(folder)]  # its shards may lie below, what is written into it would be read again
    with pytest.raises(UsageError, match="inside the input folder"):
        refuse_overlap(folder / "part-scores", input_places(whole, expand_specs(whole)))
