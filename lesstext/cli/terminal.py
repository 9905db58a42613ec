"""What the commands say: progress on stderr, results on stdout, and errors without tracebacks."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from lesstext.engines.one_shard import ShardReport
from lesstext.engines.whole_run import Plan, RunSummary
from lesstext.tables.selection import Selection

_MAX_NAMES = 20


class Watcher(Protocol):
    """Hears of samples and shards as they are finished."""

    def samples(self, shard: str, n: int) -> None: ...

    def report(self, report: ShardReport) -> None: ...


def set_up_logging(verbose: bool) -> None:
    """Log to stderr: warnings, or with `verbose` also what was wrong with each sample."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(message)s",
    )


@contextmanager
def watching(n_shards: int) -> Iterator[Watcher]:
    """A live line when stderr is a terminal, one plain line per shard otherwise."""
    if sys.stderr.isatty():
        with _LiveWatcher(n_shards) as live:
            yield live
    else:
        yield _PlainWatcher(n_shards)


class _PlainWatcher:
    def __init__(self, n_shards: int) -> None:
        self._n_shards, self._n_done = n_shards, 0

    def samples(self, shard: str, n: int) -> None:
        pass

    def report(self, report: ShardReport) -> None:
        self._n_done += 1
        print(f"[{self._n_done}/{self._n_shards}] {describe(report)}", file=sys.stderr)


class _LiveWatcher:
    def __init__(self, n_shards: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TextColumn("shards"))
        rate = TextColumn("{task.fields[rate]:.1f} images/s")
        busy = TextColumn("{task.fields[busy]}")
        from rich.console import Console

        self._progress = Progress(*columns, rate, Remaining(), busy, console=Console(stderr=True))
        self._task = self._progress.add_task("", total=n_shards, rate=0.0, busy="")
        self._n_samples, self._start = 0, time.monotonic()
        self._reports: list[ShardReport] = []

    def __enter__(self) -> _LiveWatcher:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def samples(self, shard: str, n: int) -> None:
        self._n_samples += n
        elapsed = max(time.monotonic() - self._start, 1e-6)
        self._progress.update(self._task, rate=self._n_samples / elapsed)

    def report(self, report: ShardReport) -> None:
        self._reports.append(report)
        self._progress.update(self._task, advance=1, busy=busy_stages(self._reports))
        if report.error is not None or report.problems:
            self._progress.console.print(describe(report), markup=False, highlight=False)


def describe(report: ShardReport) -> str:
    """One line about one shard."""
    if report.error is not None:
        return f"FAILED {report.error}"
    counts = ", ".join(f"{n} {status}" for status, n in report.counts.items()) or "no samples"
    damage = f"; DAMAGED: {'; '.join(report.problems)}" if report.problems else ""
    return f"shard {report.shard}: {counts}{damage}"


def busy_stages(reports: Sequence[ShardReport]) -> str:
    """Which share of the workers' time each stage was busy, the busiest first.

    Helper processes count beside their worker, so the shares may add up to more than 100%.
    """
    seconds: Counter[str] = Counter()
    for report in reports:
        seconds.update(report.seconds)
    total = seconds.pop("total", 0.0)
    if not total:
        return ""
    return ", ".join(f"{stage} {spent / total:.0%}" for stage, spent in seconds.most_common())


def print_plan(plan: Plan) -> None:
    """What will be done, before it is done."""
    n_total = len(plan.done) + len(plan.tasks)
    print(f"{plan.annotator.name}: {plan.annotator_id}")
    devices = sorted({p.device for p in plan.placements})
    threads = plan.placements[0].threads
    print(f"workers: {len(plan.placements)} on {', '.join(devices)}, {threads} thread(s) each")
    print(f"shards: {n_total} in all, {len(plan.done)} done before, {len(plan.tasks)} to do")


def print_summary(summary: RunSummary) -> None:
    """Totals, and by name whatever failed or is damaged."""
    counts = summary.counts
    n_read, n_ok = sum(counts.values()), counts.get("ok", 0)
    print(f"samples: {n_read} read = {n_ok} ok + {n_read - n_ok} failed")
    for status, n in counts.items():
        if status != "ok":
            print(f"  {status}: {n}")
    if busy := busy_stages(summary.reports):
        print(f"busy: {busy}")
    _print_names("damaged shards (what could be read is kept)", summary.damaged)
    _print_names("failed shards", summary.failed)


def print_selection(selection: Selection) -> None:
    """The accounting of a selection."""
    counts = selection.counts
    print(
        f"{selection.path}: {counts.read} read = {counts.kept} kept + {counts.dropped} dropped "
        f"+ {counts.failed} failed"
    )
    if counts.failed_but_kept:
        print(f"  {counts.failed_but_kept} of the kept are failures")
    if selection.threshold is not None:
        print(f"  text-area ratio at most {selection.threshold:g}")


def _print_names(title: str, reports: Sequence[ShardReport]) -> None:
    if reports:
        print(f"{title}: {len(reports)}")
        for report in reports[:_MAX_NAMES]:
            print(f"  {describe(report)}")
        if len(reports) > _MAX_NAMES:
            print(f"  … and {len(reports) - _MAX_NAMES} more")
