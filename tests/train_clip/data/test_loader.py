"""Batches do not depend on workers, and nothing makes the loader hang."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train_clip.conftest import make_config, write_shards
from train_clip.data.loader import Loader, LoaderSettings
from train_clip.data.reader import ReadSettings, SampleReader
from train_clip.data.sources import RunData, prepare_data
from train_clip.errors import DataError, LoaderError
from train_clip.settings import CaptionAugment, ImageAugment

Drawn = list[tuple[list[int], list[int], list[str]]]


def open_loader(
    data: RunData, workers: int, batch: int = 8, end: int = 6, **changes: Any
) -> Loader:
    read = ReadSettings(
        image=ImageAugment(crop_scale=(0.3, 1.0), flip_prob=0.5),
        caption=CaptionAugment(pick="random"),
        captions=("captions",),
        size_px=16,
        max_pixels=10**6,
        seed=0,
    )
    settings = LoaderSettings(
        workers=workers,
        prefetch=changes.pop("prefetch", 2),
        stall_timeout_s=changes.pop("stall_timeout_s", 60.0),
        rank=changes.pop("rank", 0),
        world=changes.pop("world", 1),
    )
    stream = data.stream(make_config("unused", batch_size=batch))
    start = changes.pop("start", 0)
    columns = {"captions": lambda produced: [one.caption for one in produced]}
    return Loader(stream, data.folders, read, settings, columns, start=start, end=end)


def draw(data: RunData, workers: int, **changes: Any) -> Drawn:
    """Samples used, pixel sums and captions of each step."""
    steps = range(changes.get("start", 0), changes.get("end", 6))
    drawn = []
    with open_loader(data, workers, **changes) as loader:
        for _ in steps:
            batch = loader.next()
            sums = batch.images.astype(int).sum(axis=(1, 2, 3)).tolist()
            drawn.append((batch.used.tolist(), sums, batch.columns["captions"]))
    return drawn


@pytest.fixture
def data(shards: Path, tmp_path: Path) -> RunData:
    return prepare_data(make_config(shards), tmp_path / "run")


def test_any_number_of_workers_gives_the_same_batches(data: RunData) -> None:
    alone = draw(data, 0)
    assert len({tuple(used) for used, _, _ in alone}) == 6
    for workers in (1, 2, 4):
        assert draw(data, workers) == alone


def test_a_later_start_gives_the_later_batches(data: RunData) -> None:
    assert draw(data, 1, start=4) == draw(data, 0)[4:]


def test_two_ranks_share_one_batch(data: RunData) -> None:
    halves = [draw(data, 0, rank=rank, world=2) for rank in (0, 1)]
    joined = [
        tuple(a + b for a, b in zip(first, second, strict=True))
        for first, second in zip(*halves, strict=True)
    ]
    assert joined == draw(data, 0)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_shards_smaller_than_a_batch_are_enough(tmp_path: Path, workers: int) -> None:
    folder = write_shards(tmp_path / "in", (2, 1, 3))
    data = prepare_data(make_config(folder), tmp_path / "run")
    drawn = draw(data, workers, batch=16, end=3)
    counts = np.bincount(np.concatenate([used for used, _, _ in drawn]), minlength=6)
    assert counts.tolist() == [8] * 6


def test_one_shard_feeds_eight_workers(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", (5,))
    data = prepare_data(make_config(folder), tmp_path / "run")
    assert draw(data, 8, batch=4, end=4) == draw(data, 0, batch=4, end=4)


@pytest.mark.parametrize("workers", [0, 2])
def test_all_bad_shards_are_an_error_that_names_the_cause(tmp_path: Path, workers: int) -> None:
    folder = write_shards(tmp_path / "in", (4, 4), bad=lambda _: True)
    data = prepare_data(make_config(folder), tmp_path / "run")
    with (
        open_loader(data, workers) as loader,
        pytest.raises(DataError, match=r"in a row of .*in cannot be used; the first: 0000"),
    ):
        loader.next()


def test_a_killed_worker_is_an_error_not_a_hang(data: RunData) -> None:
    with open_loader(data, 2, end=10_000) as loader:
        loader.next()
        victim = loader._workers[1]._process.pid
        os.kill(victim, signal.SIGKILL)
        begun = time.monotonic()
        with pytest.raises(LoaderError, match="data worker 1 ended with status -9"):
            for _ in range(10_000):
                loader.next()
        assert time.monotonic() - begun < 20


def test_a_stall_is_reported_with_the_sample_it_is_at(
    data: RunData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = threading.Event()
    monkeypatch.setattr(SampleReader, "produce", lambda *_: stuck.wait(30))
    with open_loader(data, 0, stall_timeout_s=1.0) as loader:
        with pytest.raises(LoaderError, match=r"no batch for 1 s; step 0: worker 0 is at 0000\d/"):
            loader.next()
        stuck.set()
    assert "waiting for data since 0 s; step 0: worker 0 is at" in caplog.text


def test_workers_end_with_the_loader(data: RunData) -> None:
    loader = open_loader(data, 2)
    loader.next()
    processes = [worker._process for worker in loader._workers]
    loader.close()
    assert [process.poll() for process in processes] == [0, 0]


def test_bad_samples_are_told_with_the_batch(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", (20,), bad=lambda n: n == 7)
    data = prepare_data(make_config(folder), tmp_path / "run")
    with open_loader(data, 1, batch=20, end=1) as loader:
        batch = loader.next()
    assert [bad.name for bad in batch.bad] == ["00000/00007"]
    assert 7 in batch.samples.indices
    assert 7 not in batch.used
