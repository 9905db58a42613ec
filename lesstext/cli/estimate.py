"""`--dry-run`: how long a run would take, from a few real images of the shards themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lesstext.engines.one_shard import ScoreTask
from lesstext.engines.whole_run import Plan
from lesstext.shards.samples import OpenSample, open_sample
from lesstext.shards.specs import local_copy
from lesstext.shards.tar_reading import index_shard
from lesstext.text_detection.protocol import Detector, load_detector

_MAX_SHARDS = 3
_N_WARM_UP = 2
_N_IMAGES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Samples left, images/s of one worker, and the number of workers."""

    n_samples: int
    images_per_s: float
    n_workers: int

    @property
    def seconds(self) -> float:
        if not self.n_samples:
            return 0.0
        return self.n_samples / (self.images_per_s * self.n_workers)

    def as_text(self) -> str:
        if not self.n_samples:
            return "nothing to do"
        hours, rest = divmod(round(self.seconds), 3600)
        minutes, seconds = divmod(rest, 60)
        return (
            f"about {self.n_samples} samples left; measured {self.images_per_s:.1f} images/s "
            f"in one worker, {self.n_workers} workers: about {hours} h {minutes:02} min "
            f"{seconds:02} s (if the workers do not slow one another down)"
        )


def measure(plan: Plan) -> Estimate:
    """Score a dozen images of the first shards left; remote shards are fetched for it."""
    if not plan.tasks:
        return Estimate(n_samples=0, images_per_s=0.0, n_workers=0)
    detector = load_detector(plan.placements[0])
    images: list[OpenSample] = []
    n_samples = 0
    sampled = plan.tasks[:_MAX_SHARDS]
    for task in sampled:
        n_samples += _look_into(task, detector, images)
    return Estimate(
        n_samples=round(n_samples * len(plan.tasks) / len(sampled)),
        images_per_s=_rate(detector, images),
        n_workers=min(len(plan.placements), len(plan.tasks)),
    )


def _look_into(task: ScoreTask, detector: Detector, images: list[OpenSample]) -> int:
    """Count a shard's samples, and open some while fewer than enough are at hand."""
    with local_copy(task.source) as path, path.open("rb") as file:
        entries = index_shard(path, task.source.name).samples
        for entry in entries[: _N_WARM_UP + _N_IMAGES - len(images)]:
            sample = open_sample(
                file, entry, max_pixels=task.max_pixels, target_px=detector.input_px
            )
            if sample.image is not None:
                images.append(sample)
    return len(entries)


def _rate(detector: Detector, samples: list[OpenSample]) -> float:
    pixels = [sample.image.pixels for sample in samples if sample.image is not None]
    if not pixels:
        return 1.0
    detector.detect(pixels[:_N_WARM_UP])
    timed = pixels[_N_WARM_UP:] or pixels
    start = time.perf_counter()
    detector.detect(timed)
    return len(timed) / max(time.perf_counter() - start, 1e-9)
