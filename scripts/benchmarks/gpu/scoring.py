"""Scoring: end to end against the bare forward and easyocr, helpers, the CPU, and itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu.bench import Bench, Figures, Skipped
from gpu.busy import BusyShare
from gpu.inputs import FRESH, confirmed, craft, shard, small, weights_source

_DETECTORS: dict[str, Callable[[Bench], Any]] = {
    "small": small,
    "confirmed": confirmed,
    "craft": craft,
}
_BOUND = 2e-3  # what two ways to compute one network may differ by


def end_to_end(bench: Bench) -> Figures:
    """Images/s from tar to table, and of the very same batches from memory, by turns."""
    from lesstext.engines.devices import n_cores
    from lesstext.text_detection.stages import staged

    n_helpers = max(1, n_cores() - 1) if bench.on_gpu else 0
    path = shard(bench, "scoring", bench.pick(1500, 4))
    for name, load in _DETECTORS.items():
        whole, bare, busy = _by_turns(bench, name, staged(load(bench)), path, n_helpers)
        yield {
            f"{name}, images/s end to end": whole,
            f"{name}, images/s of the bare forward": bare,
            f"{name}, end to end / bare forward": whole / bare,
            f"{name}, GPU busy share end to end": busy,
            "helpers": n_helpers,
        }


def _by_turns(
    bench: Bench, name: str, detector: Any, path: Path, n_helpers: int
) -> tuple[float, float, float | None]:
    """Images/s end to end and of the bare forward, and the GPU's busy share during the former."""
    from bench_scan import padded_batches, warm_up

    from lesstext.text_detection.helpers import helpers_for

    batches, _, _ = padded_batches(path, detector)
    warm_up(detector, batches)
    n_images = sum(map(len, batches))
    whole: list[float] = []
    bare: list[float] = []
    with helpers_for(detector, n_helpers) as started, BusyShare(bench) as busy:
        score = partial(_score, detector, started, path)
        score(bench.folder(f"{name}-warm"))
        for number in range(bench.pick(3, 1)):
            out = bench.folder(f"{name}-{number}")
            with busy.watching():
                whole.append(n_images / bench.seconds_of(partial(score, out)))
            bare.append(n_images / bench.seconds_of(partial(_forward, detector, batches)))
    return median(whole), median(bare), busy.share


def helpers(bench: Bench) -> Figures:
    """Images/s of each end to end with 1, 2, 4 and 8 helper processes."""
    from lesstext.text_detection.helpers import helpers_for
    from lesstext.text_detection.stages import staged

    path = shard(bench, "helpers", bench.pick(1000, 4))
    n_images = bench.pick(1000, 4)
    for n in (1, 2, 4, 8) if not bench.smoke else (1,):
        for name, load in _DETECTORS.items():
            detector = staged(load(bench))
            with helpers_for(detector, n) as started:
                _score(detector, started, path, bench.folder(f"{name}-warm-{n}"))
                out = bench.folder(f"{name}-{n}")
                took = bench.seconds_of(partial(_score, detector, started, path, out))
            yield {f"{name}, images/s with {n} helpers": n_images / took}


def easyocr(bench: Bench) -> Figures:
    """Images/s of `easyocr.Reader.detect`, its own code, on the same weights and canvases."""
    from bench_scan import padded_batches

    detector = craft(bench)
    path = shard(bench, "easyocr", bench.pick(100, 2))
    batches, _, _ = padded_batches(path, detector)
    canvases = [canvas for batch in batches for canvas in batch]
    reader = _reader(bench)

    def detect() -> None:
        for canvas in canvases:
            reader.detect(canvas)

    reader.detect(canvases[0])
    yield {"easyocr.Reader.detect, images/s": len(canvases) / bench.seconds_of(detect)}


def _reader(bench: Bench) -> Any:
    """EasyOCR's reader around the prepared weights, which need not be the file that it knows."""
    try:
        import easyocr
        from easyocr import detection
    except ImportError as error:
        raise Skipped(f"easyocr cannot be imported: {error}") from error
    import torch

    weights_source(bench)
    place = str(bench.folder("easyocr-models"))
    reader = easyocr.Reader(
        ["en"],
        gpu=bench.device if bench.on_gpu else False,
        model_storage_directory=place,
        user_network_directory=place,
        download_enabled=False,
        detector=False,
        recognizer=False,
        verbose=False,
    )
    reader.get_textbox, reader.get_detector = detection.get_textbox, detection.get_detector
    reader.detector = reader.initDetector(str(bench.work / "craft.pth"))
    if isinstance(reader.detector, torch.nn.DataParallel):
        reader.detector = reader.detector.module
    return reader


def agreement(bench: Bench) -> Figures:
    """How far ratios on the device lie from those of the CPU in float32."""
    from lesstext.engines.devices import n_cores

    if weights_source(bench) == FRESH:
        raise Skipped("CRAFT is freshly initialised: its ratios say nothing")
    path = shard(bench, "agreement", bench.pick(64, 3))
    wanted = _ratios(craft(bench, "cpu", "float32", n_cores()), path, bench.folder("agreement-cpu"))
    yield {"images": len(wanted), "images with text on the CPU": int((wanted > 0).sum())}
    for precision in ("float32", "bfloat16"):
        out = bench.folder(f"agreement-{precision}")
        apart = np.abs(_ratios(craft(bench, None, precision), path, out) - wanted)
        yield {
            f"{precision}, share of ratios within {_BOUND:g} of the CPU": float(
                (apart <= _BOUND).mean()
            ),
            f"{precision}, largest difference": float(apart.max()),
        }


def identity(bench: Bench) -> Figures:
    """Whether two runs write the same bytes, with a newly loaded detector and other helpers."""
    from lesstext.text_detection.helpers import helpers_for
    from lesstext.text_detection.stages import staged

    path = shard(bench, "identity", bench.pick(200, 3))
    for name, load in _DETECTORS.items():
        tables = []
        for n_helpers in (1, 0):
            detector = staged(load(bench))
            out = bench.folder(f"identity-{name}-{n_helpers}")
            with helpers_for(detector, n_helpers) as started:
                _score(detector, started, path, out)
            tables.append(hashlib.sha256((out / "00000.parquet").read_bytes()).hexdigest())
        yield {f"{name}, two runs write the same bytes": tables[0] == tables[1]}


def _ratios(detector: Any, path: Path, out: Path) -> NDArray[np.float64]:
    import pyarrow.parquet as pq

    _score(detector, None, path, out)
    column = pq.read_table(out / "00000.parquet")["text_area_ratio"]
    return np.array(column.to_pylist(), dtype=np.float64)


def _score(detector: Any, helpers: Any, path: Path, out: Path) -> None:
    """Tar to table, as a worker process of `lesstext score` does it."""
    from lesstext.annotators.text_area import TextArea, TextAreaWorker
    from lesstext.engines.one_shard import annotate_shard
    from lesstext.engines.task import Task
    from lesstext.shards.specs import ShardSource

    annotator = TextArea()
    task = Task(source=ShardSource(path.stem, str(path)), out=out, annotator=annotator)
    annotate_shard(task, TextAreaWorker(annotator, detector, helpers))


def _forward(detector: Any, batches: list[list[Any]]) -> None:
    for batch in batches:
        detector.submit(batch).result()
