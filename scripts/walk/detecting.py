"""`lesstext score` and `detect` beside what `filter` found, and how soon a run begins to work."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from walk.filtering import SetWalk

_N_PICTURES = 3


def score(of: SetWalk) -> None:
    """A table of `score` is that of `filter`, byte for byte."""
    said = of.run("score", of.source, "--out", "scores", *of.detection)
    of.same("scored", said.ints(r"^samples: (\d+) read = (\d+) ok")[0], len(of.images))
    for path in sorted(of.scores.rglob("*.parquet")):
        again = of.folder / "scores" / path.relative_to(of.scores)
        of.same(f"table {path.name}", _digest(again), _digest(path))


def detect(of: SetWalk) -> None:
    """The images with most text, one by one, beside their rows in the table."""
    by_ratio = sorted(of.rows.items(), key=lambda item: -(item[1]["text_area_ratio"] or 0))
    chosen = dict(by_ratio[:_N_PICTURES])
    files = {of.source / f"{key}.webp": row for (_, key), row in chosen.items()}
    of.same("files of keys", [path.is_file() for path in files], [True] * len(files))
    said = of.run("detect", *files, "--out", "annotated", *of.detection)
    shown = re.findall(r"text-area ratio (\S+), (\d+) regions, drawn in (\S+)$", said.out, re.M)
    told = of.run("detect", *files, "--json", *of.detection)
    found = [json.loads(line) for line in told.out.splitlines()]
    of.same("images looked at", (len(shown), len(found)), (len(files), len(files)))
    for (path, row), line, regions in zip(files.items(), shown, found, strict=True):
        of.ledger.near(f"ratio of {path}", float(line[0]), row["text_area_ratio"], 6e-5)
        of.same(f"regions of {path}", int(line[1]), row["n_regions"])
        of.ledger.near(f"area of {path}", regions["text_area_ratio"], _covered(path, regions), 5e-3)
        drawn, photo = cv2.imread(str(of.folder / line[2])), cv2.imread(str(path))
        assert drawn is not None and photo is not None
        of.same(f"drawn {path}", drawn.shape, photo.shape)


def _covered(path: Path, found: dict[str, Any]) -> float:
    """The share of pixels that the polygons cover, by rasterising them."""
    photo = cv2.imread(str(path))
    assert photo is not None
    mask = np.zeros(photo.shape[:2], np.uint8)
    for region in found["regions"]:
        outline = np.round(np.array(region["polygon"]) * 16 - 8).astype(np.int32)
        cv2.fillPoly(mask, [outline], 1, shift=4)
    return float(mask.mean())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def start_up_s(shard: Path, folder: Path, detection: Sequence[str]) -> float:
    """Seconds from the command to the line that says that its only sample is finished."""
    program = Path(sys.executable).parent / "lesstext"
    argv = [str(program), "filter", str(shard), "--out", str(folder), *detection]
    start = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
        assert p.stderr is not None
        finished = [time.monotonic() - start for line in p.stderr if line.startswith("[1/1] ")]
    if p.returncode or not finished:
        sys.exit(f"{' '.join(argv)} ended with {p.returncode}")
    return finished[0]
