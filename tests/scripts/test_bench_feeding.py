"""The benchmark of feeding: the whole path is run, and CPU time goes to the stage that spent it."""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import bench_feeding
import numpy as np
import pytest
from bench_scan import make_shards
from null_detector import NullDetector, NullTextArea

from lesstext.tables.table import TableWriter
from lesstext.text_detection.stages import StagedDetector
from tests.lesstext.builders import encoded, picture


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    (tmp_path / "photos").mkdir()
    (tmp_path / "in").mkdir()
    for number in range(40):
        image = encoded(picture(96, 64 + number, seed=number))
        (tmp_path / f"photos/{number:02d}.jpg").write_bytes(image)
    return make_shards([tmp_path / "photos"], 40, 2, tmp_path / "in")


def test_the_whole_path_is_measured_and_text_is_found_on_the_share(
    shards: list[Path], tmp_path: Path
) -> None:
    arguments = argparse.Namespace(batch=4, helpers=1, rounds=1, profile=False)
    original = TableWriter.add_table
    found = {
        f"{share:g}": bench_feeding.measure(shards, tmp_path / f"{share:g}", share, arguments)
        for share in (0.0, 0.5, 1.0)
    }
    assert [one["images"] for one in found.values()] == [40] * 3
    assert found["0"]["images_with_text"] == 0 and found["1"]["images_with_text"] == 40
    assert 8 <= found["0.5"]["images_with_text"] <= 32
    assert all(one["cpu_ms_per_image"] > 0 for one in found.values())
    assert {"pipeline", "table", "threads"} <= found["0"]["by_stage_with_meters"].keys()
    assert TableWriter.add_table is original
    lines = bench_feeding.table(found).splitlines()
    assert lines[0].endswith("text on 0   text on 0.5     text on 1")
    assert [line.split()[0] for line in lines[:2]] == ["CPU", "all"] and len(lines) > 6


def test_a_stage_inside_another_counts_for_itself_alone() -> None:
    def spend(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            hashlib.sha256(b"x" * 1000).digest()

    clock = bench_feeding.CpuClock()
    with clock.watching(), clock._in("outer"):
        spend(0.05)
        with clock._in("inner"):
            spend(0.1)
            time.sleep(0.3)
    assert clock.seconds["outer"] == pytest.approx(0.05, abs=0.03)
    assert clock.seconds["inner"] == pytest.approx(0.1, abs=0.03)


def test_the_null_detector_is_staged_and_answers_by_pixels_alone() -> None:
    detector = NullDetector(0.4, 8)
    assert isinstance(detector, StagedDetector)
    assert NullTextArea(text_share=0.4).text_share == 0.4
    noise = np.random.default_rng(0).integers(0, 256, (40, 192, 384, 3), dtype=np.uint8)
    together = [
        maps is not None
        for i in range(0, 40, 8)
        for maps in detector.submit(list(noise[i : i + 8])).result()
    ]
    alone = [detector.submit([canvas]).result()[0] is not None for canvas in noise]
    assert together == alone and 6 <= sum(alone) <= 26
