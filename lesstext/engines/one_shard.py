"""`score_shard`: one shard in, one score table out. Every engine runs this and nothing else."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesstext.errors import ShardError, TableError
from lesstext.images import DEFAULT_MAX_PIXELS
from lesstext.shards.fingerprint import Fingerprint, fingerprint, sha256_of
from lesstext.shards.samples import Row
from lesstext.shards.specs import ShardSource, fetched
from lesstext.shards.tar_reading import ShardIndex, index_shard
from lesstext.storage.files import write_text
from lesstext.storage.paths import Location
from lesstext.tables import table as scores
from lesstext.text_detection.helpers import Helpers, InlineHelpers
from lesstext.text_detection.pipeline import Pipeline
from lesstext.text_detection.protocol import Detector
from lesstext.text_detection.stages import staged
from lesstext.timing import StageClock

_log = logging.getLogger(__name__)

_REPORT_EVERY = 32

OnProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTask:
    """One shard to score; a pure description, so that any process or machine can take it.

    `run` names the run that gives it out: a shard claimed by an earlier attempt of the same run
    is free.
    """

    source: ShardSource
    out: Location
    max_pixels: int = DEFAULT_MAX_PIXELS
    keep_regions: bool = True
    force: bool = False
    run: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """What besides the shard and the detector decides the table's contents."""
        return {"max_pixels": self.max_pixels, "regions": self.keep_regions}

    @property
    def table(self) -> Location:
        return scores.table_path(self.out, self.source.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """What became of one shard. `error` is set when it failed and has no table.

    `claimed_by` is set when nothing was done because another process is at work on the shard.
    `counts` are samples by status; `problems` is damage that cost no readable sample.
    """

    shard: str
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    was_done: bool = False
    error: str | None = None
    claimed_by: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        return sum(self.counts.values())


def score_shard(
    task: ScoreTask,
    detector: Detector,
    progress: OnProgress | None = None,
    helpers: Helpers | None = None,
) -> ShardReport:
    """Score one shard and write its table and stats; a table that is already right is kept.

    `progress` is called with the number of samples finished since its last call.
    Raises ShardError when the shard cannot be read, OSError when the table cannot be written.
    """
    clock = StageClock()
    with fetched(task.source) as local:
        path, before = local.path, _fingerprint(local.path, task, local.etag)
        done = done_report(task, before, detector.id)
        if done is not None:
            return done
        with clock.stage("index"):
            shard = _Shard(path, before, sha256_of(path), index_shard(path, task.source.name))
        stages = staged(detector)
        pipeline = Pipeline(
            shard=task.source.name,
            path=path,
            entries=shard.index.samples,
            detector=stages,
            helpers=helpers or InlineHelpers(stages.batch_size),
            clock=clock,
            max_pixels=task.max_pixels,
            keep_regions=task.keep_regions,
        )
        footer = _write_table(task, shard, detector.id, pipeline.rows(), progress)
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
    except TableError:
        return None
    if shard.etag is not None and footer.fingerprint.etag not in (None, shard.etag):
        return None  # the remote file was written anew since
    if footer.fingerprint != shard:
        return None
    return report_from_footer(task, footer, annotator)


def report_from_footer(
    task: ScoreTask, footer: scores.Footer, annotator: str
) -> ShardReport | None:
    """A report from a table of the same shard if schema, annotator and settings match too."""
    wanted = (scores.SCHEMA_VERSION, annotator, task.settings)
    if (footer.schema_version, footer.annotator, footer.settings) != wanted:
        return None
    return ShardReport(
        shard=footer.shard, counts=footer.counts, problems=footer.problems, was_done=True
    )


def _fingerprint(path: Path, task: ScoreTask, etag: str | None = None) -> Fingerprint:
    try:
        return fingerprint(path, etag)
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
    annotator: str,
    rows: Iterable[Row],
    progress: OnProgress | None,
) -> scores.Footer:
    counts: Counter[str] = Counter()
    n_unreported = 0
    with scores.TableWriter(task.table, scores.text_schema(regions=task.keep_regions)) as table:
        for row in rows:
            _log_trouble(task.source.name, row)
            counts[row["status"]] += 1
            table.add(row)
            n_unreported += 1
            if progress is not None and n_unreported == _REPORT_EVERY:
                progress(n_unreported)
                n_unreported = 0
        if _fingerprint(shard.path, task) != shard.fingerprint:
            raise ShardError(task.source.name, "changed while it was being scored")
        footer = scores.Footer(
            shard=task.source.name,
            fingerprint=shard.fingerprint,
            sha256=shard.sha256,
            name="text_area",
            annotator=annotator,
            settings=task.settings,
            inputs={},
            counts=dict(sorted(counts.items())),
            problems=shard.index.problems,
        )
        table.finish(footer)
    if progress is not None:
        progress(n_unreported)
    return footer


def _log_trouble(shard: str, row: Row) -> None:
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
