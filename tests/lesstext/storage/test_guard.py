"""What may be written where: every way to name an input or somebody else's file is refused."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from lesstext.errors import UsageError
from lesstext.report import write_report
from lesstext.shards.specs import expand_specs, input_places
from lesstext.storage.files import atomic_path, write_text
from lesstext.storage.guard import MARKER, claim_folder, refuse_foreign, refuse_overlap
from lesstext.storage.paths import location
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from tests.lesstext.conftest import Score
from tests.module_graph import ROOT


def inside(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "out", ["in", "in/a", "in/a/00000.tar", ".", "..", "in/../in", "in/./a/deep", "link", "link/x"]
)
def test_outputs_that_are_hold_or_lie_in_an_input_are_refused(
    shards: Path, tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(shards, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    for spelling in (Path(out), tmp_path / out):
        with pytest.raises(UsageError, match=r"is an input|inside the (input|output)"):
            refuse_overlap(spelling, ["in"])


def test_shards_behind_links_are_guarded_on_both_sides(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "x.tar").symlink_to(shards / "a/00000.tar")
    specs = [str(tmp_path / "named" / "x.tar")]
    places = input_places(specs, expand_specs(specs))
    for out in (tmp_path / "named" / "scores", shards / "a" / "scores"):
        with pytest.raises(UsageError, match="inside the input folder"):
            refuse_overlap(out, places)


def test_urls_count_in_the_one_spelling_of_their_file_system() -> None:
    for out in ("memory://bucket/in/x", "memory://bucket", "memory:///bucket/in/"):
        with pytest.raises(UsageError):
            refuse_overlap(location(out), ["memory://bucket/in"])
    refuse_overlap(location("memory://bucket/in-scores"), ["memory://bucket/in"])


def test_a_folder_of_others_is_never_filled(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("three years")
    with pytest.raises(UsageError, match="not empty and holds nothing of ours"):
        claim_folder(tmp_path / "theirs", "tables")
    with pytest.raises(UsageError, match="is a file"):
        claim_folder(tmp_path / "theirs" / "thesis.txt", "tables")
    claim_folder(tmp_path / "new" / "deep", "tables")
    claim_folder(tmp_path / "new" / "deep", "tables")
    with pytest.raises(UsageError, match="holds tables, not shards"):
        claim_folder(tmp_path / "new" / "deep", "shards")
    with pytest.raises(UsageError, match="lies inside"):
        claim_folder(tmp_path / "new" / "deep" / "below", "shards")
    claim_folder(tmp_path / "all", "filter")
    claim_folder(tmp_path / "all" / "scores", "tables")
    assert list(inside(tmp_path / "theirs")) == ["thesis.txt"]


def test_a_marker_that_cannot_be_printed_is_none(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text('{"kind": "\\ud800"}')
    (tmp_path / "theirs").write_text("x")
    with pytest.raises(UsageError, match="holds nothing of ours") as caught:
        claim_folder(tmp_path, "tables")
    str(caught.value).encode()


def test_files_of_others_are_never_replaced(tmp_path: Path) -> None:
    for name in ("notes.txt", "keep.parquet", "page.html", "list.npy"):
        (tmp_path / name).write_bytes(b"theirs")
        for kind in (None, "selection", "report", "subset"):
            with pytest.raises(UsageError, match="ours"), atomic_path(tmp_path / name, kind):
                raise AssertionError("it was about to be written")
        assert (tmp_path / name).read_bytes() == b"theirs"


def test_our_file_is_replaced_until_somebody_changes_it(tmp_path: Path) -> None:
    target = tmp_path / "list.csv"
    write_text(target, "a\n", "subset")
    write_text(target, "b\n", "subset")
    assert target.read_text() == "b\n"
    with pytest.raises(UsageError, match="no selection of ours"):
        refuse_foreign(target, "selection")
    target.write_text("b and notes of mine\n")
    with pytest.raises(UsageError, match="no subset of ours"):
        write_text(target, "c\n", "subset")


def test_a_link_to_an_input_is_no_way_round(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "keep.parquet").symlink_to(shards / "a/00000.tar")
    with pytest.raises(UsageError, match="no selection of ours"):
        refuse_foreign(tmp_path / "keep.parquet", "selection")


@pytest.mark.parametrize(
    "name", ["in/a/00000.tar", "in/k.parquet", "scores/a/00001.parquet", "scores/k.parquet"]
)
def test_selections_and_reports_take_no_place_of_inputs_or_tables(
    shards: Path, score: Score, tmp_path: Path, name: str
) -> None:
    score(shards)
    before = inside(tmp_path)
    sources = expand_specs([str(shards)])
    if not name.startswith("in/k"):  # a selection does not know where the shards lie
        with pytest.raises(UsageError):
            select(tmp_path / "scores", tmp_path / name, Rule(where="n_regions >= 0"))
    with pytest.raises(UsageError):
        write_report(tmp_path / "scores", sources, tmp_path / name, max_text_area=0.1)
    assert inside(tmp_path) == before


def test_a_selections_outputs_are_not_one_another(
    shards: Path, score: Score, tmp_path: Path
) -> None:
    score(shards)
    keep = tmp_path / "keep.parquet"
    for other in ({"also": ["a.npy", tmp_path / "a.npy"]}, {"control": keep}):
        with pytest.raises(UsageError, match="is an input"):
            select(tmp_path / "scores", keep, Rule(where="n_regions >= 0"), **other)
    assert not keep.exists()


WRITERS = {"write_text", "write_bytes", "to_parquet", "savefig", "save", "savez", "imwrite"}
"""Methods that write by themselves. What stands in their arguments decides whether they may."""
OWN_FILES = ("partial", "file", "scratch", "buffer", "folder", "Image", "image", "run.save")
KNOWN = {
    "lesstext/report/pictures.py: path.open('wb')": "the samples shown, in a scratch folder",
    "lesstext/shards/sources/compressed.py: target.open('wb')": "a tar in a scratch folder",
    "lesstext/shards/sources/image_folder.py: target.open('wb')": "the same",
    "lesstext/shards/sources/image_parquet.py: target.open('wb')": "the same",
    "lesstext/shards/specs.py: path.open('wb')": "a command's output, in a scratch folder",
    "attr_builder/building/manifest.py: lines.open('w', encoding='utf-8')": "from atomic_path",
    "attr_builder/building/writers.py: open(partial, 'wb')": "many small files of a claimed set",
    "attr_builder/building/writers.py: os.replace(partial, target)": "the same",
    "train_clip/comparison/page.py: figure.savefig(target, format='png', dpi=120)": "a partial",
    "train_clip/data/sources.py: vocabulary.save(out / _PLAN)": "it asks atomic_path itself",
    "train_clip/training/run_state.py: self._store.save(snapshot)": "no file, but a store of them",
    "train_clip/training/runlog.py: path.open('a', encoding='utf-8')": "a log grows in its run",
}


def test_every_writer_goes_through_the_guard() -> None:
    """Files are opened for writing only where `atomic_path` yielded them, or in memory."""
    offenders = []
    for package in ("lesstext", "attr_builder", "train_clip"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if name.startswith("lesstext/storage/"):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _writes_by_itself(node):
                    offenders.append(f"{name}: {ast.unparse(node)}")
    assert sorted(offenders) == sorted(KNOWN)


def _writes_by_itself(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return isinstance(call.func, ast.Name) and call.func.id == "open" and _mode(call, 1)
    said = ast.unparse(call)
    if call.func.attr == "open":
        return _mode(call, 0) and not any(word in said for word in OWN_FILES)
    if call.func.attr == "replace" and ast.unparse(call.func.value) == "os":
        return True
    return call.func.attr in WRITERS and not any(word in said for word in OWN_FILES)


def _mode(call: ast.Call, position: int) -> bool:
    given = [*call.args[position:], *(k.value for k in call.keywords if k.arg == "mode")]
    return any(isinstance(a, ast.Constant) and set(str(a.value)) & set("wax+") for a in given[:1])


def test_markers_are_hidden_files(shards: Path, score: Score, tmp_path: Path) -> None:
    score(shards)
    assert os.listdir(tmp_path / "scores").count(MARKER) == 1
