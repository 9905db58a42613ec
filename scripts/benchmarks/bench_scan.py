"""Images per second from tar to ratios, beside the bare network and other tools, in one run.

Every worker process loads once. Each round has a shard of its own for every worker and times, one
after another: scoring it (end to end), replaying the very same padded batches from memory (the bare
forward), and the first worker scoring alone; then scoring it with each detector `--beside`. So
noise of the machine falls on all sides alike.

    python scripts/benchmarks/bench_scan.py --images FOLDER --n 2000 --beside craft --out scan.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from queue import Empty
from statistics import median
from typing import Any

import numpy as np

from lesstext.annotators.base import Placement
from lesstext.annotators.text_area import TextArea, TextAreaWorker
from lesstext.engines.devices import placements
from lesstext.engines.one_shard import annotate_shard
from lesstext.engines.task import Task
from lesstext.errors import ImageError, LesstextError
from lesstext.images import DecodedImage, Pixels, decode
from lesstext.processes import settle_in
from lesstext.shards.specs import ShardSource
from lesstext.shards.tar_reading import index_shard, read_member
from lesstext.shards.tar_writing import end_archive, write_member
from lesstext.text_detection.helpers import helpers_for
from lesstext.text_detection.protocol import (
    DEFAULT_DETECTOR,
    Detector,
    DetectorSettings,
    load_detector,
)
from lesstext.text_detection.stages import StagedDetector, staged

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_N_PEERS = 40


@dataclass(frozen=True)
class Job:
    """What one worker process measures: a shard per round."""

    annotator: TextArea
    beside: tuple[TextArea, ...]
    placement: Placement
    shards: tuple[Path, ...]
    out: Path
    peers: tuple[str, ...]


@dataclass(frozen=True)
class Seconds:
    """One worker's seconds for one kind of work on `n_images`."""

    n_images: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.n_images / self.seconds if self.seconds else 0.0


def main() -> None:
    arguments = _parse()
    annotator, *beside = (
        TextArea(detector=name, size_px=arguments.size, precision=arguments.precision)
        for name in (arguments.detector, *arguments.beside)
    )
    workers = placements(arguments.device, arguments.threads, arguments.workers, arguments.helpers)
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(
            arguments.images, arguments.n, len(workers) * arguments.rounds, Path(folder)
        )
        out, peers = Path(folder) / "out", tuple(arguments.peer)
        jobs = [
            Job(annotator, tuple(beside), one, tuple(shards[i :: len(workers)]), out, peers)
            for i, one in enumerate(workers)
        ]
        found = run(jobs)
    result = summarise(found, arguments)
    text = json.dumps(result, indent=2) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


def make_shards(folders: Sequence[Path], n: int, n_shards: int, out: Path) -> list[Path]:
    """Tars of `n` images taken in turn from the folders (repeated when there are fewer)."""
    by_folder = [
        [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in _SUFFIXES]
        for folder in folders
    ]
    turns = (next(folder) for folder in cycle([cycle(paths) for paths in by_folder if paths]))
    chosen = list(islice(turns, n))
    shards = []
    for number in range(n_shards):
        path = out / f"{number:05d}.tar"
        with path.open("wb") as tar:
            for i, image in enumerate(chosen[number::n_shards]):
                write_member(tar, f"{i:06d}{image.suffix.lower()}", image.read_bytes())
            end_archive(tar)
        shards.append(path)
    return shards


def run(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Run every job in a process of its own, in step with the others."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(len(jobs)), context.Queue()
    processes = [
        context.Process(target=_work, args=(i, job, barrier, queue)) for i, job in enumerate(jobs)
    ]
    for process in processes:
        process.start()
    found: list[dict[str, Any]] = []
    while len(found) < len(jobs):
        try:
            found.append(queue.get(timeout=5))
        except Empty:
            if any(process.exitcode for process in processes):
                for process in processes:
                    process.terminate()
                raise SystemExit("bench_scan: a worker failed; see above") from None
    for process in processes:
        process.join()
    return sorted(found, key=lambda one: int(one["worker"]))


def _work(number: int, job: Job, barrier: Any, queue: Any) -> None:
    settle_in(multiprocessing.parent_process().pid or 0, job.placement.threads)  # type: ignore[union-attr]
    annotators = (job.annotator, *job.beside)
    detectors = [staged(load_detector(a.detector_settings(job.placement))) for a in annotators]
    detector = detectors[0]
    rounds = [padded_batches(shard, detector) for shard in job.shards]
    batches = [batch for made, _, _ in rounds for batch in made]
    times: dict[str, list[Seconds]] = defaultdict(list)
    runs = count()
    stages: dict[str, float] = defaultdict(float)

    def timed(kind: str, work: Callable[[], int], *, alone: bool = False) -> None:
        barrier.wait()
        if not alone or number == 0:
            start = time.perf_counter()
            n = work()
            times[kind].append(Seconds(n, time.perf_counter() - start))
        barrier.wait()

    with ExitStack() as stack:
        workers = [
            TextAreaWorker(
                annotator,
                one,  # type: ignore[arg-type]
                stack.enter_context(helpers_for(one, job.placement.helpers)),
            )
            for annotator, one in zip(annotators, detectors, strict=True)
        ]

        def score(shard: Path, which: int) -> int:
            source = ShardSource(shard.stem, str(shard))
            out = job.out / f"{number}-{next(runs)}"
            task = Task(source=source, out=out, annotator=annotators[which])
            report = annotate_shard(task, workers[which])
            for stage, seconds in report.seconds.items() if which == 0 else ():
                stages[stage] += seconds
            return report.n_samples

        def forward(made: list[list[Pixels]]) -> int:
            for batch in made:
                detector.submit(batch).result()
            return sum(map(len, made))

        for one in detectors:
            warm_up(one, batches)
        for shard, (made, _, _) in zip(job.shards, rounds, strict=True):
            timed("end to end", partial(score, shard, 0))
            timed("bare forward", partial(forward, made))
            timed("end to end, one worker", partial(score, shard, 0), alone=True)
            for which, other in enumerate(job.beside, 1):
                timed(f"end to end, {other.detector}", partial(score, shard, which))
        for peer in job.peers:
            timed(peer, _peer(peer, job, batches))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    queue.put(
        {"worker": number, "times": dict(times), "stages": dict(stages),
         "padding": sum(p for _, p, _ in rounds) / max(sum(r for _, _, r in rounds), 1),
         "peak_host_bytes": peak, "peak_gpu_bytes": _peak_gpu(job.placement.device)}
    )  # fmt: skip


def padded_batches(shard: Path, detector: StagedDetector) -> tuple[list[list[Pixels]], int, int]:
    """The padded batches that scoring makes of a shard, and their padded and real pixels."""
    by_shape: dict[tuple[int, ...], list[Pixels]] = defaultdict(list)
    real = padded = 0
    with shard.open("rb") as file:
        for entry in index_shard(shard).samples:
            assert entry.image is not None
            try:
                image = decode(read_member(file, entry.image), target_px=detector.input_px)
            except ImageError:
                continue
            layout = detector.stages.layout(image)
            canvas = np.empty(layout.canvas_shape, dtype=np.uint8)
            detector.stages.draw(image, layout, canvas)
            by_shape[layout.canvas_shape].append(canvas)
            real += layout.shape.height_px * layout.shape.width_px
            padded += canvas.shape[0] * canvas.shape[1]
    size = detector.batch_size
    batches = [
        canvases[i : i + size]
        for canvases in by_shape.values()
        for i in range(0, len(canvases), size)
    ]
    return batches, padded, real


def warm_up(detector: StagedDetector, batches: list[list[Pixels]]) -> None:
    for batch in {batch[0].shape: batch for batch in batches}.values():
        detector.submit(batch).result()


def _peer(name: str, job: Job, batches: list[list[Pixels]]) -> Callable[[], int]:
    """Another detector on images of this run: `easyocr` and `rapidocr` see the same resized
    canvases, `easyocr-documented` the whole files at its own default size."""
    adapter = name.partition("-")[0]
    size = None if name.endswith("-documented") else job.annotator.size_px
    peer: Detector = load_detector(
        DetectorSettings(
            name=adapter,
            size_px=size,
            device=job.placement.device,
            threads=job.placement.threads,
        )
    )
    canvases = [canvas for batch in batches for canvas in batch]
    canvases = canvases[:: max(1, len(canvases) // _N_PEERS)]
    images = _whole_images(job.shards) if size is None else canvases[:_N_PEERS]
    peer.detect(images[:1])

    def detect() -> int:
        for image in images:
            peer.detect([image])
        return len(images)

    return detect


def _whole_images(shards: Sequence[Path]) -> list[Pixels]:
    found: list[DecodedImage] = []
    with shards[0].open("rb") as file:
        for entry in index_shard(shards[0]).samples[: _N_PEERS // 4]:
            assert entry.image is not None
            found.append(decode(read_member(file, entry.image)))
    return [image.pixels for image in found]


def _peak_gpu(device: str) -> int | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.max_memory_allocated(device)


def summarise(found: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Rates over all workers, per round; medians, and the ratios between them."""
    kinds = found[0]["times"]
    rates: dict[str, float] = {}
    for kind, first in kinds.items():
        per_round = [
            sum(w["times"][kind][r].n_images for w in found if kind in w["times"])
            / max(w["times"][kind][r].seconds for w in found if kind in w["times"])
            for r in range(len(first))
        ]
        rates[kind] = median(per_round)
    whole = rates["end to end"]
    stages = {s: round(sum(w["stages"][s] for w in found), 2) for s in found[0]["stages"]}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": f"{platform.processor() or platform.machine()}, {arguments.device}",
        "settings": {k: v for k, v in vars(arguments).items() if k not in ("out", "images")},
        "images": [folder.name for folder in arguments.images],
        "n_images": sum(one.n_images for w in found for one in w["times"]["end to end"]),
        "images_per_s": {kind: round(rate, 3) for kind, rate in rates.items()},
        "end_to_end_over": {
            kind: round(whole / rate, 3) for kind, rate in rates.items() if kind != "end to end"
        },
        "busy_seconds_by_stage": stages,
        "padded_over_real_pixels": round(sum(w["padding"] for w in found) / len(found), 4),
        "peak_host_bytes": sum(w["peak_host_bytes"] for w in found),
        "peak_gpu_bytes": found[0]["peak_gpu_bytes"],
        "device_hours_per_100_million_images": round(1e8 / whole / 3600, 1),
    }


def _commit() -> str:
    sys.path.append(str(Path(__file__).parents[1]))  # scripts/, where this one is run as a file
    from source_commit import source_commit

    return source_commit()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, action="append", required=True)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--detector", default=DEFAULT_DETECTOR)
    parser.add_argument("--beside", action="append", default=[])
    parser.add_argument("--precision")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--helpers", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except LesstextError as error:
        raise SystemExit(f"bench_scan: {error}") from error
