"""What is done twice when a run dies inside a shard, and what it costs to be able to go on.

    python scripts/benchmarks/bench_parts.py --kills 8 --out scripts/results/parts.json

One shard of 5,000 drawn images is scored by a detector that takes its time and writes down each
image that it looks at; the run's process group is killed at random moments and started again. The
table must be an undisturbed run's, byte for byte. Then the fake detector alone, without its delay,
scores the same shard and 1,000 small ones with parts and without.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lesstext.annotators.text_area import TextArea
from lesstext.engines import parts
from lesstext.engines.local import InlineEngine
from lesstext.engines.whole_run import RunConfig, execute, plan
from lesstext.shards.tar_writing import end_archive, write_member
from lesstext.text_detection.detectors.fake import FakeDetector
from lesstext.text_detection.protocol import Detector, DetectorSettings, TextRegions

_N_SAMPLES = 5_000
_N_SMALL = 1_000
_LOG = "LESSTEXT_BENCH_LOG"
_NAME = "slow"
_PER_IMAGE_S = 0.004


class Slow(FakeDetector):
    """The fake detector, at a real one's pace; a line in the log for each image that it saw."""

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[TextRegions]:
        found = super().detect(images)
        time.sleep(_PER_IMAGE_S * len(images))
        with open(os.environ[_LOG], "a", encoding="utf-8") as log:
            log.write("x\n" * len(images))
        return found


def identify(settings: DetectorSettings) -> str:
    return Slow.id


def load(settings: DetectorSettings) -> Detector:
    return Slow()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON summary to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-parts-") as folder:
        place = Path(folder)
        draw(place / "big", 1, _N_SAMPLES)
        found = {"killed": kill(place, arguments.kills, random.Random(arguments.seed))}
        print(json.dumps(found), flush=True)
        draw(place / "small", _N_SMALL, 5)
        found["cost"] = {name: cost(place, name) for name in ("big", "small")}
    print(json.dumps(found["cost"]))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.exit(found["killed"]["most_done_twice"] > 0.05 or not found["killed"]["same_table"])


def draw(folder: Path, n_shards: int, n_samples: int) -> None:
    """Shards of drawn images of which every other one has a magenta patch."""
    folder.mkdir()
    pixels = np.full((48, 64, 3), 90, dtype=np.uint8)
    plain = bytes(cv2.imencode(".png", pixels)[1])
    pixels[:12] = (255, 0, 255)
    patched = bytes(cv2.imencode(".png", pixels)[1])
    for shard in range(n_shards):
        with (folder / f"{shard:05d}.tar").open("wb") as tar:
            for number in range(n_samples):
                write_member(tar, f"{number:05d}.png", patched if number % 2 else plain)
            end_archive(tar)


def kill(place: Path, n_kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill a run again and again; how much of the shard each kill cost, as a share of it."""
    environment = with_detector(place)
    command = [sys.executable, "-m", "lesstext", "score", str(place / "big"), "--detector", _NAME]
    start = time.monotonic()
    undisturbed = run(command, place / "calm", environment, None)
    calm_s = time.monotonic() - start
    wasted, n_looked_at = list[float](), 0
    while len(wasted) < n_kills:
        n_before = rows_on_disk(place / "killed")
        n_looked_at = run(command, place / "killed", environment, rng.uniform(2, calm_s / 3))
        n_kept = rows_on_disk(place / "killed") - n_before
        if (place / "killed/00000.parquet").exists():
            (place / "killed").rename(place / f"killed-{len(wasted)}-{time.monotonic_ns()}")
            continue
        wasted.append((n_looked_at - n_kept) / _N_SAMPLES)
    run(command, place / "killed", environment, None)
    tables = [(place / name / "00000.parquet").read_bytes() for name in ("calm", "killed")]
    return {
        "kills": n_kills,
        "undisturbed_s": round(calm_s, 1),
        "images_looked_at_undisturbed": undisturbed,
        "done_twice": [round(share, 4) for share in wasted],
        "most_done_twice": max(wasted),
        "same_table": tables[0] == tables[1],
        "left_over": [p.name for p in (place / "killed").rglob(".*") if "lesstext" not in p.name],
    }


def with_detector(place: Path) -> dict[str, str]:
    """An environment in which the slow detector is installed."""
    described = place / "site/slow-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Name: slow\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(f"[lesstext.detectors]\n{_NAME} = bench_parts\n")
    paths = [str(described.parent), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), _LOG: str(place / "log")}


def run(command: list[str], out: Path, environment: dict[str, str], kill_after: Any) -> int:
    """Run to the end, or kill after some seconds; returns how many images were looked at."""
    log = Path(environment[_LOG])
    log.write_text("")
    process = subprocess.Popen(
        [*command, "--out", str(out), "--workers", "1"],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(kill_after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return log.read_text().count("x")


def rows_on_disk(out: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(part).num_rows for part in out.rglob("*.part"))


def cost(place: Path, name: str) -> dict[str, float]:
    """CPU seconds of a run with parts and without, the median of three each, by turns."""
    usual, seconds = parts._ROWS_PER_PART, dict[str, list[float]](with_parts=[], without=[])
    for number in range(3):
        for kind, size in (("with_parts", usual), ("without", 1 << 40)):
            parts._ROWS_PER_PART = size
            annotator = TextArea(detector="fake")
            out = place / f"cost-{name}-{kind}-{number}"
            config = RunConfig(shards=(str(place / name),), out=out, annotator=annotator)
            start = time.process_time()
            execute(config, plan(config), InlineEngine(annotator))
            seconds[kind].append(time.process_time() - start)
    parts._ROWS_PER_PART = usual
    return {kind: round(statistics.median(found), 2) for kind, found in seconds.items()}


if __name__ == "__main__":
    main()
