"""What the commands say: progress on stderr, results on stdout, and errors without tracebacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lesstext.console import Progress, progress

if TYPE_CHECKING:
    from lesstext.engines.task import ShardReport
    from lesstext.engines.whole_run import Plan, RunSummary
    from lesstext.storage.paths import Location
    from lesstext.tables.selection import Selection

_MAX_NAMES = 20


class Watcher:
    """Hears of samples and shards as they are finished."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._seconds: Counter[str] = Counter()

    def samples(self, shard: str, n: int) -> None:
        self._progress.work(n)

    def report(self, report: ShardReport) -> None:
        self._seconds.update(report.seconds)
        bad = report.error is not None or bool(report.problems)
        self._progress.advance(line=describe(report), note=_busy(self._seconds), bad=bad)


@contextmanager
def watching(n_shards: int) -> Iterator[Watcher]:
    """Show how the scoring of shards goes on."""
    with progress("scoring", n_shards, "shards", rated="images") as shown:
        yield Watcher(shown)


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
    return _busy(seconds)


def _busy(seconds: Counter[str]) -> str:
    stages = [stage for stage in seconds.most_common() if stage[0] != "total"]
    total = seconds["total"]
    return ", ".join(f"{stage} {spent / total:.0%}" for stage, spent in stages) if total else ""


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
    if summary.found_nothing_usable:
        print("not one sample was ok")
    if busy := busy_stages(summary.reports):
        print(f"busy: {busy}")
    _print_names("damaged shards (what could be read is kept)", summary.damaged)
    _print_names("failed shards", summary.failed)


def print_selection(selection: Selection, shown_in: Location | None = None) -> None:
    """The accounting of a selection; `shown_in` is the folder that it is about to be moved to."""
    counts = selection.counts
    path = selection.path if shown_in is None else shown_in / selection.path.name
    print(
        f"{path}: {counts.read} read = {counts.kept} kept + {counts.dropped} dropped "
        f"+ {counts.failed} failed"
    )
    if counts.failed_but_kept:
        print(f"  {counts.failed_but_kept} of the kept are failures")
    if selection.kind == "rule":
        print(f"  {_rule_in_words(selection)}")
    if selection.joined is not None and selection.kind == "rule":
        joined = selection.joined
        print(
            f"  metadata: {joined.matched} samples have a row, {joined.unmatched} have none; "
            f"{joined.unmatched_metadata} rows belong to no sample"
        )


def _rule_in_words(selection: Selection) -> str:
    rule = selection.rule
    if "where" in rule:
        return f"rule: {rule['where']}"
    side, word = ("highest", "at least") if rule["highest"] else ("lowest", "at most")
    cut = "" if selection.threshold is None else f": {word} {selection.threshold:g}"
    return f"rule: the {side} {rule['keep_fraction']:g} by {rule['by']}{cut}"


def _print_names(title: str, reports: Sequence[ShardReport]) -> None:
    if reports:
        print(f"{title}: {len(reports)}")
        for report in reports[:_MAX_NAMES]:
            print(f"  {describe(report)}")
        if len(reports) > _MAX_NAMES:
            print(f"  … and {len(reports) - _MAX_NAMES} more")
