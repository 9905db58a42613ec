"""The `score` command without its terminal: which shards are left, who scores them, what came."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from lesstext.engines import ENGINES, find_workers
from lesstext.engines.base import Engine, OnSamples
from lesstext.engines.one_shard import ScoreTask, ShardReport
from lesstext.engines.resume import done_before
from lesstext.errors import UsageError
from lesstext.images import DEFAULT_MAX_PIXELS
from lesstext.shards.specs import ShardSource, expand_specs, refuse_output_in_input
from lesstext.storage.claims import clean_up, holder_of
from lesstext.storage.files import ensure_writable, write_text
from lesstext.storage.paths import Location, RemotePath, in_parallel
from lesstext.tables import table as scores
from lesstext.text_detection.protocol import DetectorSettings

_log = logging.getLogger(__name__)

SETTINGS_FILE = "score_settings.json"
_CLAIM_CHECK_S = 1.0

OnReport = Callable[[ShardReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """What `lesstext score` was asked for; written beside the tables."""

    shards: tuple[str, ...]
    out: Location
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    engine: str = "local"
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
        if self.engine not in ENGINES:
            raise UsageError(f"--engine must be {' or '.join(ENGINES)}, got {self.engine!r}")
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
    refuse_output_in_input(config.out, config.shards, sources)
    workers, annotator = find_workers(
        config.engine, config.detector, config.device, config.workers, config.helpers
    )
    done: list[ShardReport] = []
    tasks: list[ScoreTask] = []
    wanted = _part(sources, config)
    run = uuid.uuid4().hex
    everything = [_task(source, config, run) for source in wanted]
    for task, report in zip(everything, _look_up(everything, config.out, annotator), strict=True):
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
    clean_up(config.out)
    write_text(config.out / SETTINGS_FILE, config.as_json())
    summary = ScoreSummary(list(plan.done))
    try:
        for report in _run_all(plan, engine, on_samples):
            summary.reports.append(report)
            if on_report is not None:
                on_report(report)
    finally:
        clean_up(config.out)
    summary.reports.sort(key=lambda report: report.shard)
    return summary


def _part(sources: Sequence[ShardSource], config: ScoreConfig) -> list[ShardSource]:
    part, n_parts = config.slice
    return list(sources[: config.limit])[part::n_parts]


def _task(source: ShardSource, config: ScoreConfig, run: str) -> ScoreTask:
    return ScoreTask(
        source=source,
        out=config.out,
        max_pixels=config.max_pixels,
        keep_regions=config.keep_regions,
        force=config.force,
        run=run,
    )


def _look_up(tasks: Sequence[ScoreTask], out: Location, annotator: str) -> list[ShardReport | None]:
    """What is done before; object storage is asked about many shards at a time."""
    if isinstance(out, RemotePath):
        existing: set[Location] = set(out.rglob(f"*{scores.TABLE_SUFFIX}"))
    elif all(task.source.is_local for task in tasks):
        return [done_before(task, annotator) for task in tasks]
    else:
        existing = {task.table for task in tasks if task.table.exists()}

    def look_up(task: ScoreTask) -> ShardReport | None:
        return done_before(task, annotator) if task.table in existing else None

    return in_parallel(look_up, tasks)


def _run_all(plan: Plan, engine: Engine, on_samples: OnSamples | None) -> Iterator[ShardReport]:
    """Run all tasks; what other processes are at work on comes last: their result, or ours."""
    todo = {task.source.name: task for task in plan.tasks}
    free = plan.tasks
    while todo:
        for report in engine.run(free, on_samples):
            if report.claimed_by is None:
                del todo[report.shard]
                yield report
        free = []
        if todo:
            _log.warning("waiting for %d shards that other processes are at work on", len(todo))
        while todo and not free:
            time.sleep(_CLAIM_CHECK_S)
            for task in [t for t in todo.values() if holder_of(t.table, t.run) is None]:
                done = done_before(task, plan.annotator)
                if done is None:
                    free.append(task)
                else:
                    del todo[task.source.name]
                    yield done
