"""`filter` as a transaction: one rule's selection, shards and report, or another's, never a mix."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from click.exceptions import Exit
from typer.testing import CliRunner

from lesstext.cli.app import app
from lesstext.storage import swap as swapping
from lesstext.storage.swap import finish_swap
from lesstext.tables.selection import read_selection
from tests.lesstext.builders import read_tar
from tests.lesstext.engines.test_faults import command, contents, kill_after, many_shards


def run(shards: Path, *arguments: object) -> tuple[int, str]:
    given = ["filter", shards, "--out", shards.parent / "o", "--detector", "fake", *arguments]
    done = CliRunner().invoke(app, [str(one) for one in [*given, "--workers", 1]])
    if done.exception is not None and not isinstance(done.exception, SystemExit | Exit):
        raise done.exception
    return done.exit_code, done.output


def state(out: Path) -> dict[str, bytes]:
    """What selection, shards and report hold."""
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    return {name: data for name, data in found.items() if not name.startswith("scores/")}


def n_exported(out: Path) -> int:
    tars = (out / "shards").rglob("*.tar")
    return sum(len({name.rpartition(".")[0] for name, _ in read_tar(tar)}) for tar in tars)


RULES = [
    (("--max-text-area", 0.02), 6),
    (("--keep-fraction", 0.2), 6),
    (("--keep-fraction", 0.2, "--by", "width", "--highest"), 6),
    (("--where", "text_area_ratio > 0.02"), 24),
    (("--keep-fraction", 0.5, "--control", "random", "--seed", 3), 15),
]


def test_another_rule_uses_the_scores_and_replaces_all_else(shards: Path) -> None:
    out = shards.parent / "o"
    for number, (rule, n_kept) in enumerate(RULES):
        code, said = run(shards, *rule)
        assert code == 0, said
        assert f"{3 if number else 0} done before" in said
        assert read_selection(out / "selection.parquet").counts.kept == n_kept == n_exported(out)
        names = {path.name for path in out.iterdir()}
        control = {"selection.control.parquet"} if "--control" in rule else set()
        assert names == control | {
            ".lesstext.json", "report.html", "scores", "selection.parquet", "shards",
        }  # fmt: skip


def test_the_pictures_beside_the_report_are_replaced_with_it(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shards.parent / "o"
    for limit, is_beside in ((1, True), (1, True), (1000, False)):
        monkeypatch.setattr("lesstext.report.sheets.MAX_EMBEDDED", limit)
        assert run(shards, "--max-text-area", 0.02 if is_beside else 0.06)[0] == 0
        sheets = sorted((out / "report_files").rglob("*.jpg"))
        assert bool(sheets) is is_beside
        assert {sheet.parent.name in (out / "report.html").read_text() for sheet in sheets} <= {
            True
        }


def test_a_shard_that_cannot_be_exported_leaves_everything_as_it_was(shards: Path) -> None:
    out = shards.parent / "o"
    run(shards, "--max-text-area", 0.02)
    before = state(out)
    (shards / "b/00000.tar").write_bytes(b"<html>" * 200)
    code, said = run(shards, "--max-text-area", 0.06)
    assert code == 1 and "nothing was replaced" in said
    after = state(out)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("step", range(9))
def test_a_rerun_repairs_a_replacement_that_was_killed_anywhere(
    shards: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, names = shards.parent / "o", ("shards", "report.html", "selection.parquet")
    for folder, text in ((out, "old"), (out / ".new", "new")):
        (folder / "shards").mkdir(parents=True)
        for name in ("shards/x", *names[1:]):
            (folder / name).write_text(text)
    (out / "selection.control.parquet").write_text("old")
    (out / ".lesstext.json").write_text('{"kind": "filter"}')
    n_done = 0

    def killed(action: object) -> object:
        def act(*arguments: object, **options: object) -> object:
            nonlocal n_done
            if n_done == step:
                raise KeyboardInterrupt
            n_done += 1
            return action(*arguments, **options)  # type: ignore[operator]

        return act

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed(os.replace))
        patch.setattr(shutil, "rmtree", killed(shutil.rmtree))
        with contextlib.suppress(KeyboardInterrupt):
            swapping.swap(out, ["selection.control.parquet", *names])
    is_noted = (out / ".swap.json").exists()
    finish_swap(out)
    found = {(out / name).read_text() for name in ("shards/x", *names[1:])}
    assert len(found) == 1 and (found == {"new"} or not is_noted)
    assert (out / "selection.control.parquet").exists() == (found == {"old"})
    assert not (out / ".swap.json").exists() and not (out / ".old").exists()


def test_the_slice_that_ends_last_writes_what_is_kept(shards: Path) -> None:
    out = shards.parent / "o"
    code, said = run(shards, "--slice", "0/2", "--max-text-area", 0.02)
    assert code == 0 and "1 shards of other slices have no table yet, such as a/00001" in said
    assert not (out / "selection.parquet").exists()
    code, said = run(shards, "--slice", "1/2", "--max-text-area", 0.02)
    assert code == 0 and n_exported(out) == 6


def test_kill_9_of_a_whole_filter_then_again_is_the_same(tmp_path: Path) -> None:
    """Killed while another rule replaces the first one's outputs: one or the other, then all."""
    shards = many_shards(tmp_path / "in", n_shards=3, n_samples=40)

    def filtering(name: str, rule: list[object]) -> list[str]:
        fake = ["--detector", "fake", "--workers", 1]
        return command("filter", shards, "--out", tmp_path / name, *fake, *rule)

    first: list[object] = ["--max-text-area", 0.1]
    second: list[object] = ["--keep-fraction", 0.5, "--control", "random"]
    begun = time.monotonic()
    subprocess.run(filtering("calm", second), check=True, capture_output=True)
    took_s = time.monotonic() - begun
    rng, kills = random.Random(3), 0
    for rule in (first, second):
        for _ in range(2):
            kills += kill_after(rng.uniform(0.2, 1.0) * took_s, filtering("killed", rule))
        subprocess.run(filtering("killed", rule), check=True, capture_output=True)
    assert kills > 0, "nothing was killed: the test ran too fast to mean anything"
    calm, killed = contents(tmp_path / "calm"), contents(tmp_path / "killed")
    for page in (calm, killed):
        del page["report.html"]
    assert killed == calm
