"""Kill a command again and again at random moments, let it finish, and compare with a calm run.

    python scripts/kill_campaign.py --kills 100 --out scripts/results/kill_campaign.json

Drawn shards and photos in a temporary folder; `score`, `filter`, `export`, `attr-builder build` and
`train-clip train`, each killed with its whole process group. After the last kill the command runs
to its end: every file must be the calm run's, byte for byte (files that hold timings aside), and
nothing hidden may be left but the markers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from lesstext.shards.tar_writing import end_archive, write_member
from lesstext.storage.guard import MARKER

_TIMED = ("_stats.json", "report.html", "metrics.jsonl", "train.log", "result.json", ".pt")
_SIZE_PX = 160


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one command: kills that hit it alive, and what was wrong afterwards."""

    command: str
    kills: int
    calm_s: float
    differing: list[str]
    litter: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="score, filter, export, build or train")
    parser.add_argument("--out", type=Path, help="JSON summary to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-campaign-") as folder:
        place = Path(folder)
        make_inputs(place, random.Random(arguments.seed))
        verdicts = []
        for name, command in commands(place).items():
            if not arguments.only or name in arguments.only:
                rng = random.Random(f"{arguments.seed} {name}")
                verdicts.append(campaign(name, command, place, arguments.kills, rng))
                print(json.dumps(asdict(verdicts[-1])), flush=True)
    if arguments.out:
        found = [asdict(verdict) for verdict in verdicts]
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(verdict.differing or verdict.litter for verdict in verdicts))


def make_inputs(place: Path, rng: random.Random) -> None:
    """Eight shards of 300 drawn images below `in/`, and 400 photos of two classes below `val/`."""
    for folder in ("in", "val/n01440764", "val/n01443537"):
        (place / folder).mkdir(parents=True)
    for shard in range(8):
        with (place / "in" / f"{shard:05d}.tar").open("wb") as tar:
            for number in range(300):
                write_member(tar, f"{number:05d}.jpg", _jpeg(rng))
                write_member(tar, f"{number:05d}.txt", b"a photo of something")
            end_archive(tar)
    for number in range(400):
        wnid = ("n01440764", "n01443537")[number % 2]
        (place / "val" / wnid / f"{wnid}_{number}.JPEG").write_bytes(_jpeg(rng))


def commands(place: Path) -> dict[str, Callable[[Path], list[str]]]:
    """Each command as a function of its output folder."""
    lesstext, shards = [sys.executable, "-m", "lesstext"], str(place / "in")
    keep = place / "keep.parquet"

    def export(out: Path) -> list[str]:
        if not keep.exists():
            scores = place / "scores-for-export"
            for step in (
                ["score", shards, "--out", str(scores), "--detector", "fake"],
                ["select", str(scores), "--out", str(keep), "--max-text-area", "0.2"],
            ):
                subprocess.run([*lesstext, *step], check=True, capture_output=True)
        return [*lesstext, "export", shards, "--selection", str(keep), "--out", str(out)]

    def build(out: Path) -> list[str]:
        program = [sys.executable, "-m", "attr_builder.cli", "build", str(place / "val")]
        return [*program, "--out", str(out), "--preset", "visible", "--workers", "2"]

    def train(out: Path) -> list[str]:
        program = [sys.executable, "-m", "train_clip.cli", "train", "--data", shards]
        return [
            *program, "--model", "tiny", "--steps", "40", "--batch-size", "8",
            "--save-every", "5", "--workers", "1", "--threads", "1", "--device", "cpu",
            "--out", str(out),
        ]  # fmt: skip

    fake = ["--detector", "fake", "--workers", "2"]
    return {
        "score": lambda out: [*lesstext, "score", shards, "--out", str(out), *fake],
        "filter": lambda out: [*lesstext, "filter", shards, "--out", str(out), *fake],
        "export": export,
        "build": build,
        "train": train,
    }


def campaign(
    name: str, command: Callable[[Path], list[str]], place: Path, n_kills: int, rng: random.Random
) -> Verdict:
    """One command: a calm run, runs that are killed, a last run to the end, and the comparison."""
    calm, killed = place / f"{name}-calm", place / f"{name}-killed"
    start = time.monotonic()
    subprocess.run(command(calm), check=True, capture_output=True)
    calm_s = time.monotonic() - start
    kills = 0
    for round_ in range(10 * n_kills):
        if kills == n_kills:
            break
        # Everything is done after a few rounds: begin anew, so that kills hit all stages.
        if round_ % 12 == 11:
            killed.rename(place / f"{name}-old-{round_}")
        kills += _kill_after(rng.uniform(0.2, calm_s), command(killed))
    subprocess.run(command(killed), check=True, capture_output=True)
    wanted, found = contents(calm), contents(killed)
    names = sorted(wanted.keys() | found.keys())
    hidden = [str(p.relative_to(killed)) for p in killed.rglob(".*") if p.name != MARKER]
    return Verdict(
        command=name,
        kills=kills,
        calm_s=round(calm_s, 2),
        differing=[one for one in names if wanted.get(one) != found.get(one)],
        litter=sorted(hidden),
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but those that hold times, with the folder's own name taken out of texts."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith(_TIMED) and "tfevents" not in path.name:
            data = path.read_bytes()
            if path.suffix in (".json", ".md", ".html"):
                data = data.replace(folder.name.encode(), b"OUT")
            found[str(path.relative_to(folder))] = data
    return found


def _kill_after(seconds: float, command: list[str]) -> bool:
    """Start a command and kill its process group after a while; True if it was still running."""
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def _jpeg(rng: random.Random) -> bytes:
    """A drawn picture; some have a magenta patch, which the fake detector takes for text."""
    noise = np.random.default_rng(rng.randrange(2**32))
    pixels = cv2.resize(noise.integers(0, 255, (8, 8, 3), dtype=np.uint8), (_SIZE_PX, _SIZE_PX))
    if rng.random() < 0.5:
        pixels[: int(_SIZE_PX * rng.uniform(0.05, 0.6))] = (255, 0, 255)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


if __name__ == "__main__":
    main()
