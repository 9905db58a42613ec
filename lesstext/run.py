"""The `score` command without its terminal: which shards are left, who scores them, what came."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lesstext import scores
from lesstext.detection import DetectorSettings, identify_detector
from lesstext.devices import placements
from lesstext.engines.base import Engine, OnSamples
from lesstext.errors import ShardError, UsageError
from lesstext.files import ensure_writable, remove_leftovers, write_text
from lesstext.images import DEFAULT_MAX_PIXELS
from lesstext.scoring import ScoreTask, ShardReport, done_report
from lesstext.shards import fingerprint
from lesstext.specs import ShardSource, expand_specs, refuse_output_in_input

SETTINGS_FILE = "score_settings.json"

OnReport = Callable[[ShardReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """What `lesstext score` was asked for; written beside the tables."""

    shards: tuple[str, ...]
    out: Path
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    device: str = "auto"
    workers: int | None = None
    helpers: int | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    keep_regions: bool = True
    force: bool = False
    limit: int | None = None
    slice: tuple[int, int] = (0, 1)
    allow_pipe: bool = False

    def __post_init__(self) -> None:
        part, n_parts = self.slice
        if not 0 <= part < n_parts:
            raise UsageError(f"--slice i/N needs 0 <= i < N, got {part}/{n_parts}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be at least 1 shard, got {self.limit}")
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels must be at least 1, got {self.max_pixels}")

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, default=str) + "\n"


@dataclass(slots=True)
class ScoreSummary:
    """What a run came to: reports of all shards it was responsible for."""

    reports: list[ShardReport] = field(default_factory=list)

    @property
    def failed(self) -> list[ShardReport]:
        """Shards without a table."""
        return [report for report in self.reports if report.error is not None]

    @property
    def damaged(self) -> list[ShardReport]:
        """Shards with a table of what could be read, and problems."""
        return [report for report in self.reports if report.problems]

    @property
    def n_done_before(self) -> int:
        return sum(report.was_done for report in self.reports)

    @property
    def counts(self) -> dict[str, int]:
        """Samples by status over all shards."""
        total: Counter[str] = Counter()
        for report in self.reports:
            total.update(report.counts)
        return dict(sorted(total.items()))

    @property
    def exit_code(self) -> int:
        return 1 if self.failed or self.damaged else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """All shards asked for, those done already, those left, and the workers for them."""

    sources: list[ShardSource]
    done: list[ShardReport]
    tasks: list[ScoreTask]
    placements: list[DetectorSettings]
    annotator: str


def plan(config: ScoreConfig) -> Plan:
    """Work out what is left to do; writes nothing.

    Raises UsageError for impossible requests, DetectorError for an absent device.
    """
    sources = expand_specs(config.shards, allow_pipe=config.allow_pipe)
    refuse_output_in_input(config.out, sources)
    workers = placements(config.detector, config.device, config.workers, config.helpers)
    annotator = identify_detector(workers[0])
    done: list[ShardReport] = []
    tasks: list[ScoreTask] = []
    wanted = _part(sources, config)
    for source in wanted:
        task = _task(source, config)
        report = _done_locally(task, annotator)
        if report is None:
            tasks.append(task)
        else:
            done.append(report)
    return Plan(wanted, done, tasks, workers, annotator)


def execute(
    config: ScoreConfig,
    plan: Plan,
    engine: Engine,
    on_report: OnReport | None = None,
    on_samples: OnSamples | None = None,
) -> ScoreSummary:
    """Score what is left; `on_report` hears of each shard as it is finished."""
    ensure_writable(config.out)
    remove_leftovers(config.out)
    write_text(config.out / SETTINGS_FILE, config.as_json())
    summary = ScoreSummary(list(plan.done))
    try:
        for report in engine.run(plan.tasks, on_samples):
            summary.reports.append(report)
            if on_report is not None:
                on_report(report)
    finally:
        remove_leftovers(config.out)
    summary.reports.sort(key=lambda report: report.shard)
    return summary


def _part(sources: Sequence[ShardSource], config: ScoreConfig) -> list[ShardSource]:
    part, n_parts = config.slice
    return list(sources[: config.limit])[part::n_parts]


def _task(source: ShardSource, config: ScoreConfig) -> ScoreTask:
    return ScoreTask(
        source=source,
        out=config.out,
        max_pixels=config.max_pixels,
        keep_regions=config.keep_regions,
        force=config.force,
    )


def _done_locally(task: ScoreTask, annotator: str) -> ShardReport | None:
    """A done shard's report; a remote shard's worker finds out for itself after fetching it."""
    if not task.source.is_local or not scores.table_path(task.out, task.source.name).exists():
        return None
    try:
        return done_report(task, fingerprint(Path(task.source.location)), annotator)
    except (OSError, ShardError):
        return None
