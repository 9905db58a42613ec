"""Measure DataComp's lists at the size of its smallest pool: select, join, intersect.

    python scripts/benchmarks/bench_datacomp.py --out scripts/results/datacomp.json

Synthetic metadata of `rows` uids in files of 100,000 rows, and a second folder of as many uids in
another order with a score, are written first and not timed. Timed are the commands that a user
would type, each in a process of its own: `select --where` over both folders joined, `select` by a
share of the L/14 similarity, and the intersection of the two lists, in which every second uid is
made to stand twice before.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from lesstext.datacomp.multisets import UID, Uids, sort_uids, unite
from lesstext.storage.files import write_text

FILE_ROWS = 100_000


def main(
    out: Annotated[Path, typer.Option(help="The JSON to write.")],
    rows: Annotated[int, typer.Option(help="Rows of metadata.")] = 12_800_000,
) -> None:
    """Write the metadata, run the commands, and store what they took."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        apart(write_pool, place, rows)
        share = ("--keep-fraction", "0.3", "--highest", "--by")
        pool = ("select", "--metadata", "metadata")
        score = ("--join", "own=scores", "--where", "clip_l14_similarity_score + own.score > 0.4")
        runs = {
            "join": timed(place, *pool, *score, "--out", "a.npy"),
            "select": timed(place, *pool, *share, "clip_l14_similarity_score", "--out", "b.npy"),
        }
        apart(double, place)
        runs["intersect"] = timed(place, "combine", "intersect", "a2.npy", "b2.npy", "--out=c.npy")
        apart(check, place)
    total = {
        "wall_s": round(sum(run["wall_s"] for run in runs.values()), 1),
        "cpu_s": round(sum(run["cpu_s"] for run in runs.values()), 1),
        "peak_mib": max(run["peak_mib"] for run in runs.values()),
    }
    told = {"rows": rows, "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    write_text(out, json.dumps({**told, **runs, "total": total}, indent=2) + "\n", unguarded=True)
    print(json.dumps(total))


def apart(function: Callable[..., None], *arguments: Any) -> None:
    """Call it in a process of its own: a command's peak counts that of the process it came from."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        process.submit(function, *arguments).result()


def write_pool(place: Path, rows: int) -> None:
    """The metadata, and scores of the same uids in another order."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 2**64, (rows, 2), dtype=np.uint64)
    order = rng.permutation(rows)
    for start in range(0, rows, FILE_ROWS):
        some = slice(start, min(start + FILE_ROWS, rows))
        n = some.stop - some.start
        clip = rng.normal(0.2, 0.06, (n, 2)).astype(np.float32)
        metadata = {
            "uid": hexadecimal(pairs[some]),
            "text": [f"a caption of {number} words or so" for number in range(n)],
            "original_width": rng.integers(50, 2000, n),
            "original_height": rng.integers(50, 2000, n),
            "clip_b32_similarity_score": clip[:, 0],
            "clip_l14_similarity_score": clip[:, 1],
        }
        scores = {"uid": hexadecimal(pairs[order[some]]), "score": rng.random(n)}
        for name, columns in (("metadata", metadata), ("scores", scores)):
            (place / name).mkdir(exist_ok=True)
            pq.write_table(pa.table(columns), place / name / f"{start:09d}.parquet")


def hexadecimal(pairs: Any) -> list[str]:
    """The uids of (n, 2) numbers as DataComp writes them."""
    text = pairs.astype(">u8").tobytes().hex()
    return [text[start : start + 32] for start in range(0, len(text), 32)]


def timed(place: Path, *arguments: str) -> dict[str, Any]:
    """Run a command; its time, CPU time and peak of resident memory."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "lesstext", "datacomp", *arguments]
    process = subprocess.Popen(command, cwd=place)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return {
        "command": " ".join(["lesstext", "datacomp", *arguments]),
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }


def double(place: Path) -> None:
    """Lists in which every second uid stands twice."""
    for name in ("a", "b"):
        uids: Uids = np.load(place / f"{name}.npy")
        np.save(place / f"{name}2.npy", sort_uids(np.concatenate([uids, uids[::2]])))


def check(place: Path) -> None:
    """The intersection as a reference in memory has it: |A| + |B| - |A or B| as multisets."""
    a, b, c = (np.load(place / f"{name}.npy") for name in ("a2", "b2", "c"))
    assert c.dtype == UID and 0 < len(c) == len(a) + len(b) - len(unite(a, b))


if __name__ == "__main__":
    typer.run(main)
