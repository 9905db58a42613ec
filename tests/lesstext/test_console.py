"""How the three commands end, log and show progress."""

from __future__ import annotations

import doctest
import errno
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from attr_builder import cli as attr_cli
from attr_builder.labelled_images.classes import imagenet_classes
from lesstext import console
from lesstext.cli import app as lesstext_cli
from lesstext.console import progress, set_up_logging
from lesstext.errors import ShardError, UsageError
from lesstext.policies import text_area
from lesstext.tables.selecting import select
from tests.attr_builder.conftest import LABELS, write_image_folder
from tests.lesstext.builders import ratio_samples, write_tar
from tests.lesstext.engines.test_disk_and_damage import limit_file_size
from tests.lesstext.engines.test_faults import hear_interrupts
from train_clip import cli as train_cli
from train_clip.errors import Interrupted

COMMANDS = {"lesstext": lesstext_cli, "attr-builder": attr_cli, "train-clip": train_cli}
SUBCOMMANDS = {"lesstext": "export", "attr-builder": "inspect", "train-clip": "export"}
NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/00000.parquet")


@pytest.fixture(autouse=True)
def _quiet_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level


def call(name: str, capsys: pytest.CaptureFixture[str], error: BaseException) -> tuple[int, str]:
    """Exit code and stderr of a command whose subcommand raises `error`."""

    def fail(**_: object) -> None:
        raise error

    command: Any = typer.main.get_command(COMMANDS[name].app)
    subcommand = command.commands[SUBCOMMANDS[name]]
    subcommand.params, subcommand.callback = [], fail
    with pytest.raises(SystemExit) as ended:
        command([subcommand.name])
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (UsageError("--limit must be positive"), 2, "error: --limit must be positive"),
        (ShardError("a/0", "is empty"), 1, "error: shard a/0: is empty"),
        (NO_SPACE, 1, "error: [Errno 28] No space left on device: 'out/00000.parquet'"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to go on"),
        (Interrupted("told to stop"), 130, "interrupted: told to stop"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "error: [Errno 32] Broken pipe"),
    ],
)
def test_errors_become_one_line_and_an_exit_code(
    name: str, error: BaseException, exit_code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(name, capsys, error) == (exit_code, f"{name}: {line}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_mistakes_of_ours_are_not_dressed_up(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        call(name, capsys, ZeroDivisionError())


def talker(tmp_path: Path, body: str) -> list[str]:
    """A command line that runs a command of `new_command` with that body."""
    script = tmp_path / "talker.py"
    script.write_text(
        "import sys, time, logging\nfrom lesstext import console\n"
        "app = console.new_command('talker', 'Talks.')\n"
        f"@app.command()\ndef talk():\n{textwrap.indent(body, '    ')}\n"
        "@app.command()\ndef other(): pass\nconsole.run(app)\n"
    )
    return [sys.executable, str(script), "talk"]


@pytest.mark.parametrize("n_lines", [1, 10_000])  # less and more than what Python buffers
def test_a_full_disk_behind_stdout_is_one_line(tmp_path: Path, n_lines: int) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            talker(tmp_path, f"for _ in range({n_lines}): print('some result')"),
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1, "talker: error: [Errno 28] No space left on device\n"
    )  # fmt: skip


@pytest.mark.parametrize("n_lines", [1, 10_000])
def test_a_reader_that_went_away_ends_the_command_without_a_word(
    tmp_path: Path, n_lines: int
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        talker(tmp_path, f"for _ in range({n_lines}): print('some result')"),
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_lost_terminal_stops_no_work(tmp_path: Path) -> None:
    body = (
        "with console.progress('working', 2, 'items') as shown:\n"
        "    shown.advance(line='one')\n    logging.getLogger('lesstext.x').warning('oh')\n"
        "print('done')"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            talker(tmp_path, body), stdout=subprocess.PIPE, stderr=full, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (0, "done\n")


def stopped_at(arguments: Sequence[object], begun: Callable[[], bool]) -> tuple[int, str, float]:
    """Exit code, last line of stderr and seconds, of a command that Ctrl-C meets when it `begun`.

    As a terminal does, it is sent to the command and all its children.
    """
    with subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)], start_new_session=True,
        preexec_fn=hear_interrupts,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while not begun() and process.poll() is None:
            time.sleep(0.02)
        start = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    progress_line = re.compile(r"\[|source: |font: |building: ")
    said = "\n".join(line for line in said.splitlines() if not progress_line.match(line))
    return process.returncode, said, time.monotonic() - start


def test_ctrl_c_stops_a_build_with_one_line_and_nothing_half_written(tmp_path: Path) -> None:
    photos = write_image_folder(tmp_path / "photos", imagenet_classes(), LABELS, 40)
    out = tmp_path / "set"
    build = ("attr_builder.cli", "build", photos, "--out", out, "--workers", 2, "--chunk-size", 10)
    code, said, took_s = stopped_at(build, lambda: any(out.glob(".build/part-*")))
    assert (code, said) == (
        130, "attr-builder: interrupted; run the same command again to go on"
    )  # fmt: skip
    assert took_s < 5 and not list(out.rglob("*.partial"))
    assert 0 < len(list(out.glob(".build/part-*"))) < 24


def test_ctrl_c_stops_scoring_and_export_with_one_line(tmp_path: Path) -> None:
    shards, out = tmp_path / "in", tmp_path / "out"
    for number in range(60):
        write_tar(shards / f"{number:02d}.tar", ratio_samples([0.1] * 40, f"{number}_"))
    score = ["lesstext", "score", shards, "--out", out, "--detector", "fake", "--workers", 2]
    line = "lesstext: interrupted; run the same command again to go on"
    assert stopped_at(score, lambda: any(out.glob("*.parquet")))[:2] == (130, line)
    subprocess.run([sys.executable, "-m", *map(str, score)], check=True, capture_output=True)
    selection, filtered = tmp_path / "keep.parquet", tmp_path / "filtered"
    select(out, selection, text_area.at_most(0.5))
    export = ["lesstext", "export", shards, "--selection", selection, "--out", filtered]
    assert stopped_at(export, lambda: any(filtered.glob("*.tar")))[:2] == (130, line)
    assert 0 < len(list(filtered.glob("*.tar"))) < 60
    assert not list(filtered.rglob("*.partial")) and not list(filtered.rglob("*.claim"))


def test_a_full_disk_stops_a_build_with_one_line(tmp_path: Path) -> None:
    photos = write_image_folder(tmp_path / "photos", imagenet_classes(), LABELS[:1], 4)
    build = ("build", str(photos), "--out", str(tmp_path / "set"), "--format", "parquet")
    done = subprocess.run(
        [sys.executable, "-m", "attr_builder.cli", *build], preexec_fn=limit_file_size(8_000),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.fullmatch(r"attr-builder: error: .*File too large.*", done.stderr.splitlines()[-1])
    assert not list((tmp_path / "set").rglob("*.partial"))


def test_logs_go_to_stderr_and_leave_out_the_chatter_of_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging(verbose=True)
    set_up_logging(verbose=True)
    logging.getLogger("train_clip.run").info("resumed at step 3")
    logging.getLogger("lesstext.x").warning("an odd thing")
    logging.getLogger("s3fs").info("chatter")
    logging.getLogger("s3fs").warning("slow")
    assert capsys.readouterr().err == "resumed at step 3\nWARNING an odd thing\nWARNING slow\n"
    set_up_logging(verbose=False)
    logging.getLogger("train_clip.run").info("resumed at step 3")
    assert capsys.readouterr().err == ""


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr("lesstext.console.time.monotonic", lambda: self.now_s)


def test_plain_progress_says_a_line_a_minute_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with progress("building", 1000, "images") as shown:
        shown.advance(0, n_before=400)
        for _ in range(300):
            clock.now_s += 0.5
            shown.advance(2, n_before=400)
    assert capsys.readouterr().err.splitlines() == [
        "400 of 1000 images done before",
        "building: 642/1000 images, 4.0 images/s, ETA 0:01:30",
        "building: 884/1000 images, 4.0 images/s, ETA 0:00:29",
        "building: 1000/1000 images, 4.0 images/s",
    ]


def test_plain_progress_says_each_item_with_the_rate_of_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with progress("scoring", 3, "shards", rated="images") as shown:
        for name in ("a", "b"):
            clock.now_s += 10
            shown.work(50)
            shown.advance(line=f"shard {name}: 50 ok", note="detect 90%")
    assert capsys.readouterr().err.splitlines() == [
        "[1/3] shard a: 50 ok (5.0 images/s, ETA 0:00:20)",
        "[2/3] shard b: 50 ok (5.0 images/s, ETA 0:00:10)",
    ]


def test_one_long_item_says_how_far_it_is_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with progress("scoring", 2, "shards", rated="images") as shown:
        for n_done in range(1010, 3010, 10):  # 1,000 were done by an earlier attempt
            clock.now_s += 1
            shown.work(10, (n_done, 6000, True))
        shown.work(0, (3000, 6000, False))
        shown.advance(line="shard a: 3000 ok")
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 0/2 shards, 1610/~6000 images, 10.0 images/s, ETA 0:07:19",
        "scoring: 0/2 shards, 2220/~6000 images, 10.0 images/s, ETA 0:06:18",
        "scoring: 0/2 shards, 2830/~6000 images, 10.0 images/s, ETA 0:05:17",
        "[1/2] shard a: 3000 ok (3000/6000 images, 10.0 images/s, ETA 0:05:00)",
    ]


def test_a_terminal_gets_one_live_line_with_bad_items_above_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "150")
    with progress("scoring", 2, "shards", rated="images") as shown:
        shown.work(50, (50, 200, False))
        time.sleep(0.2)  # the line is drawn ten times a second
        shown.advance(line="shard a: 50 ok", note="detect 90%")
        shown.advance(line="FAILED shard b: [gone]", note="detect 80%", bad=True)
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "FAILED shard b: [gone]" in said and "shard a: 50 ok" not in said
    assert re.search(r"━+.* 0/2 shards 50/200 images, .* ETA 0:00:0", said)
    assert "2/2 shards" in said and "images/s" in said and "detect 80%" in said


def test_docstrings() -> None:
    assert doctest.testmod(console).failed == 0


@pytest.mark.parametrize("arguments", [["--quiet", "talk"], ["-q", "talk"], ["talk", "--quiet"]])
def test_a_quiet_command_tells_results_and_what_went_wrong(
    arguments: list[str], tmp_path: Path
) -> None:
    body = (
        "with console.progress('working', 3, 'items') as shown:\n"
        "    shown.advance(line='one')\n    shown.advance(line='two is broken', bad=True)\n"
        "    shown.advance()\n"
        "logging.getLogger('lesstext.x').info('a word')\n"
        "logging.getLogger('lesstext.x').warning('oh')\nprint('result')"
    )
    *python, _ = talker(tmp_path, body)
    done = subprocess.run([*python, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
    first, *others = done.stderr.splitlines()
    assert first.startswith("[2/3] two is broken")
    assert others == ["WARNING oh"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_knows_its_version_and_completes(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command: Any = typer.main.get_command(COMMANDS[name].app)
    with pytest.raises(SystemExit) as ended:
        command(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"lesstext {version('lesstext')}\n"
    monkeypatch.setenv("COMP_WORDS", f"{name} {SUBCOMMANDS[name][:3]}")
    monkeypatch.setenv("COMP_CWORD", "1")
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    monkeypatch.setenv(variable, "complete_bash")
    with pytest.raises(SystemExit):
        command(prog_name=name)
    assert SUBCOMMANDS[name] in capsys.readouterr().out.split()
