"""`score_shard`: one shard in, one score table out. Every engine runs this and nothing else."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesstext import scores
from lesstext.detection import Detector, TextRegions
from lesstext.errors import DetectorError, ScoreTableError, ShardError
from lesstext.files import write_text
from lesstext.images import DEFAULT_MAX_PIXELS
from lesstext.samples import OpenSample, close_sample, open_sample, windows
from lesstext.shards import Fingerprint, ShardIndex, fingerprint, index_shard, sha256_of
from lesstext.specs import ShardSource, local_copy
from lesstext.timing import StageClock

_log = logging.getLogger(__name__)

_WINDOW_SAMPLES = 64
_WINDOW_PIXELS = 64_000_000
_FAILURES_THAT_CONDEMN_A_DETECTOR = 8

OnProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTask:
    """One shard to score; a pure description, so that any process or machine can take it."""

    source: ShardSource
    out: Path
    max_pixels: int = DEFAULT_MAX_PIXELS
    keep_regions: bool = True
    force: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """What besides the shard and the detector decides the table's contents."""
        return {"max_pixels": self.max_pixels, "regions": self.keep_regions}

    @property
    def table(self) -> Path:
        return scores.table_path(self.out, self.source.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """What became of one shard. `error` is set when it failed and has no table.

    `counts` are samples by status; `problems` is damage that cost no readable sample.
    """

    shard: str
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    was_done: bool = False
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        return sum(self.counts.values())


def score_shard(
    task: ScoreTask, detector: Detector, progress: OnProgress | None = None
) -> ShardReport:
    """Score one shard and write its table and stats; a table that is already right is kept.

    `progress` is called with the number of samples finished since its last call.
    Raises ShardError when the shard cannot be read, OSError when the table cannot be written.
    """
    clock = StageClock()
    with local_copy(task.source) as path:
        before = _fingerprint(path, task)
        done = done_report(task, before, detector.id)
        if done is not None:
            return done
        with clock.stage("index"):
            shard = _Shard(path, before, sha256_of(path), index_shard(path, task.source.name))
        footer = _write_table(task, shard, detector, clock, progress)
    seconds = clock.as_dict()
    _write_stats(task, footer, seconds)
    return ShardReport(
        shard=footer.shard, counts=footer.counts, problems=footer.problems, seconds=seconds
    )


def done_report(task: ScoreTask, shard: Fingerprint, annotator: str) -> ShardReport | None:
    """A report from the existing table if it was made from these bytes by this annotator."""
    if task.force:
        return None
    try:
        footer = scores.read_footer(task.table)
    except ScoreTableError:
        return None
    wanted = (scores.SCHEMA_VERSION, shard, annotator, task.settings)
    if (footer.schema_version, footer.fingerprint, footer.annotator, footer.settings) != wanted:
        return None
    return ShardReport(
        shard=footer.shard, counts=footer.counts, problems=footer.problems, was_done=True
    )


def _fingerprint(path: Path, task: ScoreTask) -> Fingerprint:
    try:
        return fingerprint(path)
    except OSError as error:
        raise ShardError(task.source.name, f"cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard as it was found before scoring began."""

    path: Path
    fingerprint: Fingerprint
    sha256: str
    index: ShardIndex


def _write_table(
    task: ScoreTask,
    shard: _Shard,
    detector: Detector,
    clock: StageClock,
    progress: OnProgress | None,
) -> scores.Footer:
    counts: Counter[str] = Counter()
    schema = scores.text_schema(regions=task.keep_regions)
    with scores.TableWriter(task.table, schema) as table:
        opened = _open_samples(task, shard, detector.input_px, clock)
        for group in windows(opened, max_samples=_WINDOW_SAMPLES, max_pixels=_WINDOW_PIXELS):
            with clock.stage("detect"):
                regions = _detect(group, detector, task.source.name)
            with clock.stage("write"):
                for sample, found in zip(group, regions, strict=True):
                    row = close_sample(sample, found, keep_regions=task.keep_regions)
                    _log_trouble(task.source.name, row)
                    counts[row["status"]] += 1
                    table.add(row)
            if progress is not None:
                progress(len(group))
        if _fingerprint(shard.path, task) != shard.fingerprint:
            raise ShardError(task.source.name, "changed while it was being scored")
        footer = scores.Footer(
            shard=task.source.name,
            fingerprint=shard.fingerprint,
            sha256=shard.sha256,
            annotator=detector.id,
            settings=task.settings,
            counts=dict(sorted(counts.items())),
            problems=shard.index.problems,
        )
        table.finish(footer)
    return footer


def _open_samples(
    task: ScoreTask, shard: _Shard, target_px: int | None, clock: StageClock
) -> Iterator[OpenSample]:
    with shard.path.open("rb") as file:
        for entry in shard.index.samples:
            with clock.stage("decode"):
                sample = open_sample(file, entry, max_pixels=task.max_pixels, target_px=target_px)
            yield sample


def _detect(group: list[OpenSample], detector: Detector, shard: str) -> list[TextRegions | None]:
    """Regions for each sample with an image; a sample that the detector chokes on fails alone.

    Raises ShardError when every one of many samples fails: then the detector is broken, not they.
    """
    with_image = [sample for sample in group if sample.image is not None]
    images = [sample.image.pixels for sample in with_image if sample.image is not None]
    try:
        found: list[TextRegions | None] = list(detector.detect(images)) if images else []
    except DetectorError:
        raise
    except Exception as error:  # the one-sample boundary: find out which image it was
        _log.warning(
            "shard %s: detector failed on a batch (%r); going image by image", shard, error
        )
        found = [_detect_alone(sample, detector) for sample in with_image]
        if len(found) >= _FAILURES_THAT_CONDEMN_A_DETECTOR and all(r is None for r in found):
            raise ShardError(shard, f"the detector fails on every image: {error!r}") from error
    by_sample = {id(sample): regions for sample, regions in zip(with_image, found, strict=True)}
    return [by_sample.get(id(sample)) for sample in group]


def _detect_alone(sample: OpenSample, detector: Detector) -> TextRegions | None:
    assert sample.image is not None
    try:
        return detector.detect([sample.image.pixels])[0]
    except Exception as error:  # the one-sample boundary: recorded in the row
        sample.fail("detector_error", repr(error))
        return None


def _log_trouble(shard: str, row: dict[str, Any]) -> None:
    if row["error"] is not None:
        _log.info("shard %s, key %s: %s: %s", shard, row["key"], row["status"], row["error"])


def _write_stats(task: ScoreTask, footer: scores.Footer, seconds: dict[str, float]) -> None:
    """What may differ between equal runs goes here, never into the table."""
    n = footer.n_samples
    stats = {
        "shard": footer.shard,
        "samples": n,
        "counts": footer.counts,
        "problems": footer.problems,
        "seconds": seconds,
        "images_per_s": round(n / seconds["total"], 3) if seconds["total"] else None,
    }
    text = json.dumps(stats, indent=2) + "\n"
    write_text(scores.stats_path(task.out, task.source.name), text)
