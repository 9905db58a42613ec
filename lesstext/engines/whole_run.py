"""A whole run without its terminal: which shards are left, who annotates them, what came."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated

from lesstext.annotators.base import Annotator, Placement
from lesstext.dataclass_options import Flag
from lesstext.engines import ENGINES, find_workers
from lesstext.engines.inputs import check_inputs, first_footers
from lesstext.engines.parts import remove_parts_of
from lesstext.engines.resume import done_before, refuse_other_origin, refuse_other_shards
from lesstext.engines.task import Beside, OnSamples, ShardReport, Task
from lesstext.errors import UsageError
from lesstext.shards.specs import ShardSource, expand_specs, input_places
from lesstext.storage.claims import clean_up, holder_of
from lesstext.storage.files import ensure_writable, write_text
from lesstext.storage.guard import claim_folder, refuse_overlap
from lesstext.storage.paths import Location, RemotePath, in_parallel
from lesstext.tables.table import TABLE_SUFFIX, table_path

if TYPE_CHECKING:
    from lesstext.engines.base import Engine

_log = logging.getLogger(__name__)

SETTINGS_FILE = "annotate_settings.json"
_CLAIM_CHECK_S = 1.0

OnReport = Callable[[ShardReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What `lesstext annotate` was asked for; written beside the tables.

    `inputs` are the table folders of other annotators that it reads, by name; `beside` is another
    annotator whose tables the rows fill on the way, and the folder for them.
    """

    shards: tuple[str, ...]
    out: Location
    annotator: Annotator
    inputs: Mapping[str, Location] = field(default_factory=dict)
    beside: tuple[Annotator, Location] | None = None
    engine: Annotated[
        str, Flag("local: processes of this machine; ray: a Ray cluster, or a local one.")
    ] = "local"
    device: Annotated[str, Flag("auto, cpu, cuda, or cuda:0,cuda:1,…")] = "auto"
    workers: Annotated[
        int | None,
        Flag("Processes: on the CPU in all (default cores / threads), else per GPU (1)."),
    ] = None
    helpers: Annotated[
        int | None,
        Flag("Processes that decode for each worker. [CPU: 0, GPU: its cores - 1]"),
    ] = None
    threads: Annotated[int, Flag("CPU threads of the network in each process.")] = 1
    rescore: Annotated[
        bool, Flag("Annotate anew what is done already, also with other settings.")
    ] = False
    limit: Annotated[int | None, Flag("Only the first N shards.")] = None
    slice: tuple[int, int] = (0, 1)
    stall_timeout: Annotated[
        float, Flag("A worker that finishes no sample for so many seconds is replaced.")
    ] = 600.0
    allow_pipe: Annotated[bool, Flag("Allow pipe:COMMAND inputs.")] = False

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"--engine must be {' or '.join(ENGINES)}, got {self.engine!r}")
        part, n_parts = self.slice
        if not 0 <= part < n_parts:
            raise UsageError(f"--slice i/N needs 0 <= i < N, got {part}/{n_parts}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be at least 1 shard, got {self.limit}")
        if not self.stall_timeout > 0:
            raise UsageError(f"--stall-timeout must be above 0 s, got {self.stall_timeout}")
        check_inputs(self.annotator, self.inputs)

    def as_json(self) -> str:
        fields = asdict(self)
        options = fields.pop("annotator")
        named = {"annotator": self.annotator.name, "options": options, **fields}
        if self.beside is None:
            del named["beside"]
        return json.dumps(named, indent=2, default=str) + "\n"


@dataclass(slots=True)
class RunSummary:
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
        return 1 if self.failed or self.damaged or self.found_nothing_usable else 0

    @property
    def found_nothing_usable(self) -> bool:
        """Whether there were shards, but not one sample in them was ok."""
        return bool(self.reports) and not self.counts.get("ok")


@dataclass(frozen=True, slots=True)
class Plan:
    """All shards asked for, those done already, those left, and the workers for them."""

    sources: list[ShardSource]
    done: list[ShardReport]
    tasks: list[Task]
    placements: list[Placement]
    annotator: Annotator
    annotator_id: str


def plan(config: RunConfig) -> Plan:
    """Work out what is left to do; writes nothing.

    Raises UsageError for impossible requests, AnnotatorError for an absent device.
    """
    sources = expand_specs(config.shards, allow_pipe=config.allow_pipe)
    read = [*input_places(config.shards, sources), *config.inputs.values()]
    refuse_overlap(config.out, read)
    if config.beside is not None:
        refuse_overlap(config.beside[1], [*read, config.out])
    config.annotator.accept(first_footers(config.inputs))
    workers, annotator_id = find_workers(
        config.engine,
        config.annotator,
        device=config.device,
        threads=config.threads,
        workers=config.workers,
        helpers=config.helpers,
    )
    beside = _beside(config, workers)
    done: list[ShardReport] = []
    tasks: list[Task] = []
    wanted = _part(sources, config)
    run = uuid.uuid4().hex
    everything = [_task(source, config, run, beside) for source in wanted]
    for task, report in zip(
        everything, _look_up(everything, config.out, annotator_id), strict=True
    ):
        if report is None:
            tasks.append(task)
        else:
            done.append(report)
    _refuse_others(tasks, annotator_id)
    if beside is not None:
        _refuse_others([beside.alone(task) for task in tasks], beside.annotator_id)
    return Plan(wanted, done, tasks, workers, config.annotator, annotator_id)


def execute(
    config: RunConfig,
    plan: Plan,
    engine: Engine,
    on_report: OnReport | None = None,
    on_samples: OnSamples | None = None,
) -> RunSummary:
    """Annotate what is left; `on_report` hears of each shard as it is finished."""
    folders = [config.out, *([] if config.beside is None else [config.beside[1]])]
    for folder in folders:
        ensure_writable(folder)
        claim_folder(folder, "tables")
        clean_up(folder)
        write_text(folder / SETTINGS_FILE, config.as_json())
    done = {report.shard for report in plan.done}
    remove_parts_of([table_path(config.out, shard) for shard in done], config.out)
    summary = RunSummary(list(plan.done))
    try:
        for report in _run_all(plan, engine, on_samples):
            summary.reports.append(report)
            if on_report is not None:
                on_report(report)
    finally:
        for folder in folders:
            clean_up(folder)
    summary.reports.sort(key=lambda report: report.shard)
    return summary


def _part(sources: Sequence[ShardSource], config: RunConfig) -> list[ShardSource]:
    part, n_parts = config.slice
    return list(sources[: config.limit])[part::n_parts]


def _beside(config: RunConfig, workers: Sequence[Placement]) -> Beside | None:
    if config.beside is None:
        return None
    annotator, out = config.beside
    return Beside(out=out, annotator=annotator, annotator_id=annotator.identify(workers[0]))


def _refuse_others(tasks: Sequence[Task], annotator: str) -> None:
    """Raise UsageError where what stands in the tasks' folder is not theirs to replace or join."""
    refuse_other_shards(tasks)
    if tasks and not tasks[0].rescore:
        existing = tasks[0].out.rglob(f"*{TABLE_SUFFIX}")
        refuse_other_origin(tasks, (p for p in existing if p.name[0] != "."), annotator)


def _task(source: ShardSource, config: RunConfig, run: str, beside: Beside | None) -> Task:
    return Task(
        source=source,
        out=config.out,
        annotator=config.annotator,
        inputs=config.inputs,
        rescore=config.rescore,
        run=run,
        beside=beside,
    )


def _look_up(tasks: Sequence[Task], out: Location, annotator: str) -> list[ShardReport | None]:
    """What is done before; object storage is asked about many shards at a time."""
    if isinstance(out, RemotePath):
        existing: set[Location] = set(out.rglob(f"*{TABLE_SUFFIX}"))
    elif all(task.source.is_local for task in tasks):
        return [done_before(task, annotator) for task in tasks]
    else:
        existing = {task.table for task in tasks if task.table.exists()}

    def look_up(task: Task) -> ShardReport | None:
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
                done = done_before(task, plan.annotator_id)
                if done is None:
                    free.append(task)
                else:
                    del todo[task.source.name]
                    yield done
