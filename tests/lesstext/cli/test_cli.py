"""The command as its user meets it: exit codes, words, files, and speed of `--help`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lesstext.cli import app as cli
from tests.lesstext.builders import encoded, picture, ratio_samples, sample, write_tar


def lesstext(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lesstext", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_filter_does_the_whole_job(shards: Path, out: Path) -> None:
    done = lesstext("filter", shards, "--out", out, "--max-text-area", 0.05, "--detector", "fake")
    assert done.returncode == 0, done.stderr
    assert "30 read = 9 kept + 21 dropped + 0 failed" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == [
        ".lesstext.json", "report.html", "scores", "selection.parquet", "shards",
    ]  # fmt: skip
    assert len(list(out.glob("shards/**/*.tar"))) == 3
    again = lesstext("filter", shards, "--out", out, "--max-text-area", 0.05, "--detector", "fake")
    assert "3 done before, 0 to do" in again.stdout
    assert "(3 of them before)" in again.stdout


def test_filter_goes_on_past_a_failed_shard_and_names_it(shards: Path, out: Path) -> None:
    (shards / "c.tar").write_bytes(b"<html>" * 200)
    done = lesstext("filter", shards, "--out", out, "--detector", "fake")
    assert done.returncode == 1
    assert "FAILED shard c: is not a tar archive" in done.stdout
    assert len(list(out.glob("shards/**/*.tar"))) == 3 and (out / "report.html").exists()


def test_verbs_work_alone(shards: Path, out: Path) -> None:
    assert lesstext("score", shards, "--out", out / "s", "--detector", "fake").returncode == 0
    chosen = lesstext(
        "select", out / "s", "--out", out / "k.parquet", "--where", "text_area_ratio < 0.03",
        "--control", "random", "--seed", 3, "--also", "k.npy,k.csv",
    )  # fmt: skip
    assert chosen.returncode == 0, chosen.stderr
    assert (out / "k.control.parquet").exists() and (out / "k.npy").exists()
    assert len((out / "k.csv").read_text().splitlines()) == 7
    for name in ("k", "k.control"):
        done = lesstext(
            "export", shards, "--selection", out / f"{name}.parquet", "--out", out / name
        )
        assert done.returncode == 0 and "6 samples in 3 shards" in done.stdout
    page = lesstext("report", out / "s", "--shards", shards, "--out", out / "r.html")
    assert page.returncode == 0 and (out / "r.html").stat().st_size > 1000


def test_dry_run_estimates_and_writes_nothing(shards: Path, out: Path) -> None:
    done = lesstext("score", shards, "--out", out, "--detector", "fake", "--dry-run")
    assert done.returncode == 0
    assert "about 30 samples left" in done.stdout and "samples/s" in done.stdout
    assert not out.exists()


def test_verify_lists_problems_and_miscounts(tmp_path: Path) -> None:
    write_tar(tmp_path / "good.tar", sample("a"))
    write_tar(tmp_path / "short.tar", sample("a"))
    (tmp_path / "short_stats.json").write_text('{"successes": 2}')
    whole = write_tar(tmp_path / "cut.tar", sample("a")).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:3000])
    (tmp_path / "page.tar").write_bytes(b"<html>" * 99)
    done = lesstext("verify", tmp_path)
    assert done.returncode == 1
    assert "good: 1 samples, ok" in done.stdout
    assert "miscounted: 1 samples, but short_stats.json promises 2" in done.stdout
    assert "truncated at a member boundary" in done.stdout
    assert "is not a tar archive" in done.stdout and "4 shards, 3 with problems" in done.stdout


def test_verify_full_sees_a_change_in_the_middle(tmp_path: Path, out: Path) -> None:
    big = encoded(picture(300, 300), "BMP")
    shard = write_tar(tmp_path / "in/x.tar", sample("a", big, "bmp"))
    assert lesstext("score", shard, "--out", out, "--detector", "fake").returncode == 0
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert lesstext("verify", shard, "--scores", out).returncode == 0
    done = lesstext("verify", shard, "--scores", out, "--full")
    assert done.returncode == 1 and "SHA-256 differs" in done.stdout


def test_detect_draws_and_prints(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(encoded(picture(100, 100, 0.5)))
    (tmp_path / "bad.png").write_bytes(b"no")
    done = lesstext("detect", tmp_path / "p.png", "--detector", "fake", "--out", tmp_path / "o")
    assert done.stdout.endswith(", read: 100x50\n")
    assert done.returncode == 0 and "text-area ratio 0.5000, 1 regions" in done.stdout
    assert (tmp_path / "o/p.text.png").stat().st_size > 100
    done = lesstext("detect", tmp_path / "bad.png", "--detector", "fake", "--json")
    assert done.returncode == 1 and '"error": "not an image' in done.stdout
    done = lesstext("detect", tmp_path / "p.png", "--detector", "fake", "--out", tmp_path)
    assert done.returncode == 2 and "choose another" in done.stderr


def test_detect_of_two_files_with_one_stem_keeps_both_or_neither(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.png").write_bytes(encoded(picture(100, 100, 0.5)))
    given = [tmp_path / "a/p.png", tmp_path / "b/p.png"]
    done = lesstext("detect", *given, "--detector", "fake", "--out", tmp_path / "o")
    assert done.returncode == 2 and "would become one picture" in done.stderr
    assert not list((tmp_path / "o").glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "nowhere", "--out", "o"], "'nowhere' does not exist"),
        (["score", ".", "--out", "o", "--slice", "3"], "--slice takes i/N"),
        (["score", ".", "--out", "o", "--detector-option", "x"], "NAME=VALUE"),
        (["select", "nowhere", "--out", "o"], "exactly one of --max-text-area"),
        (["select", ".", "--out", "o", "--max-text-area", "2"], "within 0 to 1"),
    ],
)
def test_wrong_use_is_exit_code_2_and_one_line(arguments: list[str], words: str) -> None:
    done = lesstext(*arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="this machine has a GPU")
def test_an_absent_device_is_an_error_and_auto_says_what_it_chose(shards: Path, out: Path) -> None:
    done = lesstext("score", shards, "--out", out, "--detector", "fake", "--device", "cuda:1")
    assert done.returncode == 1
    assert "device cuda:1 was asked for, but torch sees 0 GPUs" in done.stderr
    done = lesstext("score", shards, "--out", out, "--detector", "fake")
    assert "on cpu" in done.stdout


def test_help_is_instant_and_import_pulls_in_nothing_heavy() -> None:
    start = time.perf_counter()
    done = lesstext("--help")
    assert done.returncode == 0 and "filter" in done.stdout
    assert time.perf_counter() - start < 3, "0.4 s alone; the rest is room for a busy machine"
    loaded = subprocess.run(
        [sys.executable, "-c",
         "import sys, lesstext.cli; print({'torch', 'easyocr', 'pyarrow', 'duckdb', 'cv2'}"
         " & set(sys.modules))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert loaded.stdout.strip() == "set()"


def test_every_command_has_an_example_in_its_help() -> None:
    for command in cli.app.registered_commands:
        assert command.epilog and "Example: `lesstext" in command.epilog


def test_ties_by_seed_differ(shards: Path, out: Path) -> None:
    write_tar(shards / "z.tar", ratio_samples([0.0] * 20, "z"))
    lesstext("score", shards, "--out", out / "s", "--detector", "fake")
    kept = []
    for seed in (1, 2):
        path = out / f"{seed}.parquet"
        lesstext("select", out / "s", "--out", path, "--keep-fraction", 0.2, "--seed", seed)
        kept.append(path.read_bytes())
    assert kept[0] != kept[1]
