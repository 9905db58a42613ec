"""Score 100,000 samples with the fake detector and watch: memory, processes, semaphores, Ctrl-C.

The figures say nothing about the speed of text detection: the fake detector only looks for magenta.
Usage: soak_scan.py [--samples N] [--workers N] [--helpers N]; exit code 1 when something leaks,
grows, or stops too slowly.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import psutil
from PIL import Image

from lesstext.tables.table import find_tables, read_footer

SAMPLES_PER_SHARD = 1000
SIZES = ((96, 72), (72, 96), (80, 80))
MAX_GROWTH = 1.1  # last quarter of the run against the second: start-up is no growth
MAX_STOP_S = 5.0
WATCH_EVERY_S = 0.5


@dataclass(frozen=True)
class Moment:
    """The run's processes at one time; `uss_bytes` is their private memory."""

    elapsed_s: float
    uss_bytes: int
    n_processes: int
    n_tables: int


def main() -> int:
    """Run the soak and the interrupt, print what was seen, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--helpers", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` would have it ignored
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        n_shards = make_shards(root / "in", options.samples)
        print(f"{n_shards} shards of {SAMPLES_PER_SHARD} samples, fake detector, {options}")
        command = [
            *(sys.executable, "-m", "lesstext", "score", str(root / "in"), "--detector", "fake"),
            *("--workers", str(options.workers), "--helpers", str(options.helpers), "--out"),
        ]
        faults = soak([*command, str(root / "out")], root / "out", n_shards)
        faults += interrupt([*command, str(root / "stopped")], root / "stopped")
    print("\n".join(f"FAULT: {fault}" for fault in faults) or "no faults")
    return 1 if faults else 0


def make_shards(folder: Path, n_samples: int) -> int:
    """One drawn shard under many names (hard links); returns how many."""
    folder.mkdir()
    first = folder / "00000.tar"
    with tarfile.open(first, "w") as tar:
        for number in range(SAMPLES_PER_SHARD):
            for suffix, data in (("png", drawn(number)), ("txt", b"a drawn picture")):
                info = tarfile.TarInfo(f"{number:06d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    n_shards = -(-n_samples // SAMPLES_PER_SHARD)
    for number in range(1, n_shards):
        os.link(first, folder / f"{number:05d}.tar")
    return n_shards


def drawn(number: int) -> bytes:
    """A noisy picture with a magenta bar for the fake detector."""
    width, height = SIZES[number % len(SIZES)]
    pixels = np.random.default_rng(number).integers(0, 120, (height, width, 3), dtype=np.uint8)
    pixels[: number % height // 2] = (255, 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def soak(command: list[str], out: Path, n_shards: int) -> list[str]:
    """One whole run; returns what was wrong."""
    start = time.monotonic()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    moments: list[Moment] = []
    seen: set[psutil.Process] = set()
    shared: set[Path] = set()
    while process.poll() is None:
        family = [process, *process.children(recursive=True)]
        seen.update(family)
        shared |= shared_by(family)
        n_tables = len(list(out.glob("*.parquet"))) if out.exists() else 0
        elapsed_s = time.monotonic() - start
        moments.append(Moment(elapsed_s, private_memory(family), len(family), n_tables))
        time.sleep(WATCH_EVERY_S)
    print_moments(moments)
    print(f"{n_shards * SAMPLES_PER_SHARD / (time.monotonic() - start):.0f} samples/s (fake)")
    faults = [] if process.returncode == 0 else [f"the run ended with {process.returncode}"]
    faults += [] if len(find_tables(out)) == n_shards else ["tables are missing"]
    return faults + growth(moments) + leaks(seen, shared, out)


def interrupt(command: list[str], out: Path) -> list[str]:
    """A run that gets Ctrl-C once its first tables are there; returns what was wrong."""
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob("*.parquet"))) < 3:
        time.sleep(0.05)
    family = [process, *process.children(recursive=True)]
    shared = shared_by(family)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait()
    psutil.wait_procs(family, timeout=60)
    stop_s = time.monotonic() - start
    n_whole = sum(read_footer(table).n_samples == SAMPLES_PER_SHARD for table in find_tables(out))
    print(f"Ctrl-C: all processes gone after {stop_s:.2f} s, {n_whole} whole tables left")
    faults = [] if process.returncode == 130 else [f"Ctrl-C gave {process.returncode}, not 130"]
    faults += [] if stop_s < MAX_STOP_S else [f"Ctrl-C took {stop_s:.1f} s"]
    faults += [] if n_whole == len(find_tables(out)) else ["Ctrl-C left a table that is not whole"]
    return faults + leaks(set(family), shared, out)


def private_memory(family: list[psutil.Process]) -> int:
    """Memory that is theirs alone, in bytes; processes that have just ended count as 0."""
    total = 0
    for member in family:
        try:
            total += member.memory_full_info().uss
        except psutil.Error:
            continue
    return total


def growth(moments: list[Moment]) -> list[str]:
    """Compare the second and the last quarter of the time at work."""
    working = [moment.uss_bytes for moment in moments if moment.n_tables]
    quarter = len(working) // 4
    if not quarter:
        return ["too short a run to tell growth"]
    early, late = mean(working[quarter : 2 * quarter]), mean(working[-quarter:-1] or working[-1:])
    print(f"memory: second quarter {early / 1e6:.0f} MB, last quarter {late / 1e6:.0f} MB")
    return [] if late < MAX_GROWTH * early else [f"memory grew {late / early:.2f} times"]


def leaks(seen: set[psutil.Process], shared_seen: set[Path], out: Path) -> list[str]:
    """Processes, shared memory, semaphores and temporary files that are left."""
    alive = [p for p in seen if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    shared = [path for path in shared_seen if path.exists()]
    hidden = [path.name for path in out.rglob(".*")]
    print(
        f"left behind: {len(alive)} processes, {len(shared)} semaphores or shared blocks, "
        f"{len(hidden)} temporary files"
    )
    left = [*alive, *sorted(shared), *hidden]
    return [f"left behind: {left[:5]}"] if left else []


def shared_by(family: list[psutil.Process]) -> set[Path]:
    """Named semaphores and shared memory that these processes have mapped."""
    names: set[Path] = set()
    for process in family:
        try:
            names |= {Path(region.path) for region in process.memory_maps()}
        except psutil.Error:
            continue
    return {path for path in names if path.is_relative_to("/dev/shm")}


def print_moments(moments: list[Moment]) -> None:
    """Ten lines spread over the run."""
    print("    time s  memory MB  processes  tables")
    for moment in moments[:: max(1, len(moments) // 10)]:
        print(
            f"{moment.elapsed_s:10.1f} {moment.uss_bytes / 1e6:10.0f} "
            f"{moment.n_processes:10d} {moment.n_tables:7d}"
        )


if __name__ == "__main__":
    sys.exit(main())
