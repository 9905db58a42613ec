"""What the commands say: progress on stderr, results on stdout, and errors without tracebacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lesstext.console import Progress, progress
from lesstext.policies import text_area
from lesstext.tables.columns import METADATA

if TYPE_CHECKING:
    from lesstext.engines.task import InShard, ShardReport
    from lesstext.engines.whole_run import Plan, RunSummary
    from lesstext.storage.paths import Location
    from lesstext.tables.metadata import JoinCounts
    from lesstext.tables.selection import Selection

_MAX_NAMES = 20


class Watcher:
    """Hears of samples and shards as they are finished, and works out how far the run is.

    Shards that nobody has looked into count with as many samples as the others have on average.
    """

    def __init__(self, progress: Progress, n_shards: int) -> None:
        self._progress = progress
        self._n_shards = n_shards
        self._seconds: Counter[str] = Counter()
        self._n_done = self._n_seen = 0
        self._far: dict[str, tuple[int, int]] = {}

    def samples(self, shard: str, far: InShard) -> None:
        self._see(shard, far.n_done, far.n_total)
        self._progress.work(far.n_new, self._far_in_all())

    def report(self, report: ShardReport) -> None:
        self._seconds.update(report.seconds)
        self._see(report.shard, report.n_samples, report.n_samples)
        self._progress.work(0, self._far_in_all())
        bad = report.error is not None or bool(report.problems)
        self._progress.advance(line=describe(report), note=_busy(self._seconds), bad=bad)

    def _see(self, shard: str, n_done: int, n_total: int) -> None:
        known_done, known_total = self._far.get(shard, (0, 0))
        self._n_done += n_done - known_done
        self._n_seen += n_total - known_total
        self._far[shard] = n_done, n_total

    def _far_in_all(self) -> tuple[int, int, bool]:
        """Samples done, samples in all, and whether that is an estimate."""
        n_unseen = self._n_shards - len(self._far)
        estimated = round(self._n_seen / len(self._far) * n_unseen)
        return self._n_done, self._n_seen + estimated, n_unseen > 0


@contextmanager
def watching(what: str, n_shards: int) -> Iterator[Watcher]:
    """Show how the annotation of shards goes on."""
    with progress(what, n_shards, "shards", rated="images") as shown:
        yield Watcher(shown, n_shards)


def describe(report: ShardReport) -> str:
    """One line about one shard."""
    if report.error is not None:
        return f"FAILED {report.error}"
    counts = ", ".join(f"{n} {status}" for status, n in report.counts.items()) or "no samples"
    damage = f"; DAMAGED: {'; '.join(report.problems)}" if report.problems else ""
    return f"shard {report.shard}: {counts}{damage}"


def tallies(reports: Sequence[ShardReport]) -> list[str]:
    """What is worth telling of the samples that were annotated now, a line each."""
    now = [report for report in reports if report.seconds]
    n_samples = sum(report.n_samples for report in now)
    names = sorted({name for report in now for name in report.tallies})
    totals = {name: sum(report.tallies.get(name, 0) for report in now) for name in names}
    return [
        f"{name}: {n} of {n_samples} samples ({n / n_samples:.1%})" for name, n in totals.items()
    ]


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
    for line in tallies(summary.reports):
        print(line)
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
        if "policy" in selection.rule:
            print(f"  sql: {selection.sql}")
        for line in _joins_in_words(selection.joined):
            print(f"  {line}")


def _joins_in_words(joined: Mapping[str, JoinCounts]) -> Iterator[str]:
    """A line for each table and for metadata; none where there is nothing to join."""
    for name, found in joined.items() if len(joined) > 1 else ():
        ok = "" if found.ok is None else f"; {found.ok} are ok in it"
        yield (
            f"{'metadata' if name == METADATA else name}: {found.matched} samples have a row, "
            f"{found.unmatched} have none; {found.unmatched_rows} rows belong to no sample{ok}"
        )


def _rule_in_words(selection: Selection) -> str:
    rule, parts = selection.rule, []
    if "policy_where" in rule:
        parts.append(text_area.in_words(rule["policy_where"]))
    if rule.get("at_random"):
        parts.append(f"{rule['keep_fraction']:g} at random, seed {rule['seed']}")
    elif "keep_fraction" in rule:
        side, word = ("highest", "at least") if rule["highest"] else ("lowest", "at most")
        cut = "" if selection.threshold is None else f": {word} {selection.threshold:g}"
        parts.append(f"the {side} {rule['keep_fraction']:g} by {rule['by']}{cut}")
    if "where" in rule:
        parts.append(text_area.in_words(rule["where"]))
    name = f"policy {rule['policy']}" if "policy" in rule else "rule"
    return f"{name}: {' and '.join(parts)}"


def _print_names(title: str, reports: Sequence[ShardReport]) -> None:
    if reports:
        print(f"{title}: {len(reports)}")
        for report in reports[:_MAX_NAMES]:
            print(f"  {describe(report)}")
        if len(reports) > _MAX_NAMES:
            print(f"  … and {len(reports) - _MAX_NAMES} more")
