"""The overlapped pipeline: the same tables whatever the helpers, batches and failures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lesstext.annotators.base import Placement
from lesstext.annotators.text_area import TextArea, TextAreaWorker
from lesstext.engines.local import LocalEngine
from lesstext.engines.one_shard import annotate_shard
from lesstext.engines.task import Task
from lesstext.errors import DetectorError, ShardError
from lesstext.images import InputShape
from lesstext.shards.specs import ShardSource
from lesstext.text_detection.detectors.maps import CanvasDetector
from lesstext.text_detection.helpers import Helpers, InlineHelpers, ProcessHelpers, helpers_for
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, load_detector
from lesstext.text_detection.stages import Layout, staged
from tests.lesstext.builders import encoded, picture, sample, write_tar
from tests.lesstext.conftest import Plugin
from tests.lesstext.text_detection.staged_fake import SIZE_PX, StagedFake


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 samples of three shapes in a shuffled order, every tenth of them broken."""
    shapes = [(128, 128), (128, 40), (40, 128)]
    members = []
    for i in range(150):
        width, height = shapes[(i * i) % 3 if i % 7 else 2]
        image = encoded(picture(width, height, text_ratio=(i % 5) / 8, seed=i))
        members += sample(f"{i:04d}", b"broken" if i % 10 == 9 else image)
    return write_tar(tmp_path_factory.mktemp("pipeline") / "x.tar", members)


@pytest.fixture(scope="module")
def process_helpers() -> Iterator[Helpers]:
    with ProcessHelpers(2, StagedFake.batch_size, SIZE_PX * SIZE_PX * 3) as helpers:
        yield helpers


def rows(path: Path, out: Path, detector: Any, helpers: Helpers | None = None) -> Any:
    options = TextArea()
    task = Task(source=ShardSource("x", str(path)), out=out, annotator=options, rescore=True)
    annotate_shard(task, TextAreaWorker(options, detector, helpers))
    return pq.read_table(out / "x.parquet").to_pylist()


def test_helpers_and_batches_do_not_change_a_byte(
    shard: Path, tmp_path: Path, process_helpers: Helpers
) -> None:
    inline = rows(shard, tmp_path / "inline", StagedFake())
    assert [row["key"] for row in inline] == [f"{i:04d}" for i in range(150)]
    assert [row["status"] for row in inline].count("decode_error") == 15
    ratios = {round(row["text_area_ratio"] * 8) for row in inline if row["status"] == "ok"}
    assert ratios == {0, 1, 2, 3, 4}
    single = StagedFake()
    single.batch_size = 1
    rows(shard, tmp_path / "single", single)
    rows(shard, tmp_path / "helped", StagedFake(), process_helpers)
    tables = {
        (tmp_path / name / "x.parquet").read_bytes() for name in ("inline", "single", "helped")
    }
    assert len(tables) == 1


def test_a_shard_may_have_many_samples(tmp_path: Path) -> None:
    image = encoded(picture(16, 16))
    members = [part for i in range(300) for part in sample(f"{i:04d}", image)]
    found = rows(write_tar(tmp_path / "x.tar", members), tmp_path / "out", StagedFake())
    assert [row["key"] for row in found] == [f"{i:04d}" for i in range(300)]
    assert {row["status"] for row in found} == {"ok"}


@pytest.mark.parametrize("ahead", [8, 16, 64])
def test_batches_are_full_but_for_the_last_of_each_shape(
    shard: Path, tmp_path: Path, ahead: int
) -> None:
    """However few samples are opened ahead, as long as they are a few batches of each shape."""
    detector = StagedFake()
    rows(shard, tmp_path, detector, InlineHelpers(batch_size=ahead))
    assert sum(detector.batches) == 135
    assert sum(n < detector.batch_size for n in detector.batches) <= 3


def test_a_shards_seconds_are_told_by_stage(shard: Path, tmp_path: Path) -> None:
    class Slow(StagedFake):
        def submit(self, canvases: Any) -> Any:
            time.sleep(0.002)
            return super().submit(canvases)

    options, detector = TextArea(), Slow()
    task = Task(source=ShardSource("x", str(shard)), out=tmp_path, annotator=options)
    report = annotate_shard(task, TextAreaWorker(options, detector, None))
    assert {"index", "decode", "detect", "measure", "total"} <= report.seconds.keys()
    assert all(seconds > 0 for seconds in report.seconds.values())
    assert report.seconds["detect"] >= 0.002 * len(detector.batches)
    assert sum(report.seconds.values()) <= 2 * report.seconds["total"] + 0.01


@pytest.mark.parametrize("with_processes", [False, True])
def test_an_image_that_breaks_its_batch_fails_alone(
    tmp_path: Path, process_helpers: Helpers, with_processes: bool
) -> None:
    green = encoded(Image.new("RGB", (64, 64), (0, 255, 0)))
    fine = encoded(picture(64, 64, 0.5))
    members = [m for i in range(9) for m in sample(f"{i}", green if i == 4 else fine)]
    path = write_tar(tmp_path / "in/x.tar", members)
    found = rows(path, tmp_path / "out", StagedFake(), process_helpers if with_processes else None)
    assert [row["status"] for row in found] == ["ok"] * 4 + ["detector_error"] + ["ok"] * 4
    assert "green is too much" in found[4]["error"]


@pytest.mark.parametrize(
    "order",
    ["x" * 7 + "o" + "x" * 7, "xxxxoooo" * 3, "xo" * 20],
    ids=["seven twice", "whole batches between", "every other"],
)
def test_failures_with_successes_between_them_condemn_nobody(tmp_path: Path, order: str) -> None:
    found = rows(_fails_at_x(tmp_path, order), tmp_path / "out", StagedFake())
    expected = {"x": "detector_error", "o": "ok"}
    assert [row["status"] for row in found] == [expected[letter] for letter in order]


def test_a_detector_that_fails_eight_times_in_a_row_fails_the_shard(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"failed on 8 images in a row.*green is too much"):
        rows(_fails_at_x(tmp_path, "oooo" + "x" * 8), tmp_path / "out", StagedFake())
    assert not (tmp_path / "out/x.parquet").exists()


def _fails_at_x(folder: Path, order: str) -> Path:
    """A shard of images that the detector cannot take where the letter is an x."""
    green, fine = encoded(Image.new("RGB", (64, 64), (0, 255, 0))), encoded(picture(64, 64, 0.5))
    members = [
        member
        for place, letter in enumerate(order)
        for member in sample(f"{place:03d}", green if letter == "x" else fine)
    ]
    return write_tar(folder / "in/x.tar", members)


def test_a_detector_without_stages_tells_regions_in_the_frame_of_the_full_image() -> None:
    """Width and height of a reduced image are each rounded, so each has its own factor."""
    seen = InputShape(height_px=3, width_px=5, padded_height_px=3, padded_width_px=5)
    box = np.array([[1, 1], [4, 1], [4, 2], [1, 2]], dtype=np.float32)
    found = TextRegions((box,), np.ones(1, dtype=np.float32))
    stages = staged(load_detector("fake")).stages
    (polygon,) = stages.regions(found, Layout(seen, width=40, height=21)).polygons
    assert polygon.tolist() == [[8, 7], [32, 7], [32, 14], [8, 14]]


def test_an_output_that_cannot_be_measured_fails_alone(shard: Path, tmp_path: Path) -> None:
    class Odd(StagedFake):
        def submit(self, canvases: Any) -> Any:
            batch = super().submit(canvases)
            batch.outputs[0] = "no regions in here"
            return batch

    statuses = [row["status"] for row in rows(shard, tmp_path, Odd())]
    assert statuses.count("detector_error") >= 135 // 4
    assert statuses.count("ok") + statuses.count("detector_error") == 135


def test_a_detector_error_stops_the_shard(shard: Path, tmp_path: Path) -> None:
    class Gone(StagedFake):
        def submit(self, canvases: Any) -> Any:
            raise DetectorError("the device is gone")

    with pytest.raises(DetectorError, match="gone"):
        rows(shard, tmp_path, Gone())
    assert not (tmp_path / "x.parquet").exists()


def test_a_killed_helper_costs_a_restart_and_no_sample(
    shard: Path, tmp_path: Path, plugin: Plugin
) -> None:
    plugin("staged", "tests.lesstext.text_detection.staged_fake")
    options = TextArea(detector="staged", options={"deadly": str(tmp_path / "killed")})
    task = Task(source=ShardSource("x", str(shard)), out=tmp_path / "out", annotator=options)
    (report,) = LocalEngine(options, [Placement(helpers=1)]).run([task])
    assert (tmp_path / "killed").exists()
    assert report.error is None and report.counts == {"decode_error": 15, "ok": 135}


def test_a_detector_without_bounded_canvases_runs_inline() -> None:
    with helpers_for(staged(load_detector("fake")), n_processes=4) as helpers:
        assert isinstance(helpers, InlineHelpers)


def real(name: str, **options: str) -> CanvasDetector:
    settings = DetectorSettings(name=name, size_px=160, options=options)
    try:
        detector = load_detector(settings)
    except DetectorError as error:
        pytest.skip(f"needs CRAFT's weights: {error}")
    assert isinstance(detector, CanvasDetector)
    return detector


@pytest.mark.parametrize("name", ["craft", "small", "confirmed"])
def test_one_table_whatever_the_batches_and_helpers(
    real_data: Path, tmp_path: Path, name: str
) -> None:
    path = real_data / "cc12m_shards/00000.tar"
    rows(path, tmp_path / "a", real(name))
    batched = real(name, batch="5")
    with helpers_for(batched, n_processes=1) as helpers:
        assert isinstance(helpers, ProcessHelpers)
        found = rows(path, tmp_path / "b", batched, helpers)
    assert (tmp_path / "a/x.parquet").read_bytes() == (tmp_path / "b/x.parquet").read_bytes()
    assert any(row["text_area_ratio"] > 0 for row in found)
