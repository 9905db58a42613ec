"""Run fuzz cases in processes that are killed when one takes too long, and sum them up as JSON.

Every case is known by its target, the campaign's seed and its number alone:
`scripts/fuzz.sh --seed 0 --only tars:1234` runs that one again and says what it found.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tests.fuzz.case import Outcome, Target, run_case

REGISTRY = "tests.fuzz.targets"
TIME_LIMIT_S = 20.0
_MEMORY_LIMIT_BYTES = 6 << 30
_PART = 480  # cases after which the summary is written
_MAX_LISTED = 50
_MAX_TEXT = 2_000

Job = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that violated something, and how to run it again."""

    case: str
    kind: str
    text: str


@dataclass(slots=True)
class TargetSummary:
    """What became of one target's cases."""

    cases: int = 0
    words: Counter[str] = field(default_factory=Counter)
    n_violations: int = 0
    slowest_s: float = 0.0


@dataclass(slots=True)
class Summary:
    """What a campaign came to; `findings` lists the first violations."""

    seed: int
    targets: dict[str, TargetSummary]
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def n_cases(self) -> int:
        return sum(target.cases for target in self.targets.values())

    @property
    def n_violations(self) -> int:
        return sum(target.n_violations for target in self.targets.values())

    def add(self, job: Job, outcome: Outcome, seconds: float) -> None:
        name, number = job
        target = self.targets[name]
        target.cases += 1
        target.words[outcome.word] += 1
        target.slowest_s = max(target.slowest_s, round(seconds, 2))
        if outcome.violation is not None:
            target.n_violations += 1
            if len(self.findings) < _MAX_LISTED:
                text = outcome.violation[-_MAX_TEXT:]
                self.findings.append(Finding(f"{name}:{number}", outcome.word, text))

    def join(self, other: Summary) -> None:
        """Add what another part of the campaign came to."""
        for name, theirs in other.targets.items():
            mine = self.targets.setdefault(name, TargetSummary())
            mine.cases += theirs.cases
            mine.words.update(theirs.words)
            mine.n_violations += theirs.n_violations
            mine.slowest_s = max(mine.slowest_s, theirs.slowest_s)
        self.findings = [*self.findings, *other.findings][:_MAX_LISTED]
        self.seconds += other.seconds

    def take_back_findings(self) -> list[Job]:
        """The listed cases that violated something, to be tried again, no longer counted."""
        jobs = []
        for finding in self.findings:
            name, _, number = finding.case.partition(":")
            target = self.targets[name]
            target.cases -= 1
            target.n_violations -= 1
            target.words -= Counter([finding.kind])
            jobs.append((name, int(number)))
        self.findings = []
        return jobs

    @classmethod
    def read(cls, path: Path | None, seed: int, names: Sequence[str]) -> Summary:
        """An unfinished campaign of that seed over those targets, where `path` holds one."""
        found = json.loads(path.read_text()) if path is not None and path.exists() else {}
        if found.get("seed") != seed or sorted(found["targets"]) != sorted(names):
            return cls(seed, {})
        targets = {
            name: TargetSummary(**{**fields, "words": Counter(fields["words"])})
            for name, fields in found["targets"].items()
        }
        findings = [Finding(**finding) for finding in found["findings"]]
        return cls(seed, targets, findings, found["seconds"])

    def as_json(self) -> str:
        fields = {
            "seed": self.seed,
            "cases": self.n_cases,
            "violations": self.n_violations,
            "seconds": round(self.seconds, 1),
            "targets": {
                name: {**asdict(target), "words": dict(sorted(target.words.items()))}
                for name, target in sorted(self.targets.items())
            },
            "findings": [asdict(finding) for finding in self.findings],
        }
        return json.dumps(fields, indent=2, ensure_ascii=True) + "\n"


def run_campaign(
    jobs: Sequence[Job],
    seed: int,
    *,
    n_workers: int = 2,
    time_limit_s: float = TIME_LIMIT_S,
    registry: str = REGISTRY,
) -> Summary:
    """Run cases in parallel; one beyond its time is a violation `hang`, a crash one `died`."""
    start = time.monotonic()
    summary = Summary(seed, {name: TargetSummary() for name in dict(jobs)})
    waiting = iter(jobs)
    with tempfile.TemporaryDirectory(prefix="lesstext-fuzz-") as root:
        workers = [_Worker(seed, registry, Path(root) / str(number)) for number in range(n_workers)]
        try:
            busy = [worker for worker in workers if worker.take(next(waiting, None))]
            while busy:
                for worker in _ready(busy, time_limit_s):
                    summary.add(*worker.result(time_limit_s))
                    if not worker.take(next(waiting, None)):
                        busy.remove(worker)
        finally:
            for worker in workers:
                worker.end()
    summary.seconds = time.monotonic() - start
    return summary


def mixed_jobs(names: Sequence[str], n_cases: int) -> Iterator[Job]:
    """Cases of all targets in turn."""
    return ((names[number % len(names)], number // len(names)) for number in range(n_cases))


class _Worker:
    """A process that runs one case after another, and is made anew when one took it down."""

    def __init__(self, seed: int, registry: str, root: Path) -> None:
        self._seed, self._registry, self._root = seed, registry, root
        self.job: Job | None = None
        self._start()

    def take(self, job: Job | None) -> bool:
        """Begin a case; False where there is none left."""
        self.job, self.since = job, time.monotonic()
        if job is not None:
            self.pipe.send(job)
        return job is not None

    def result(self, time_limit_s: float) -> tuple[Job, Outcome, float]:
        """What became of the case, which has ended or is beyond its time."""
        assert self.job is not None
        seconds = time.monotonic() - self.since
        try:
            if self.pipe.poll():
                outcome, seconds = self.pipe.recv()
                return self.job, outcome, seconds
            outcome = Outcome("hang", f"no end within {time_limit_s} s")
        except EOFError:
            self._process.join()
            outcome = Outcome("died", f"exit code {self._process.exitcode}")
        self.end()
        self._start()
        return self.job, outcome, seconds

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, self._seed, self._registry, self._root)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self.pipe.recv()  # it has imported everything: from here on the time is the case's


def _ready(busy: Sequence[_Worker], time_limit_s: float) -> list[_Worker]:
    """Workers whose case has ended or is beyond its time."""
    first = min(worker.since for worker in busy)
    left_s = max(first + time_limit_s - time.monotonic(), 0.0)
    ended = wait([worker.pipe for worker in busy], timeout=left_s)
    late = time.monotonic() - time_limit_s
    return [worker for worker in busy if worker.pipe in ended or worker.since <= late]


def _serve(pipe: Connection, seed: int, registry: str, root: Path) -> None:
    """The loop of a worker process: its output is thrown away, its memory is bounded."""
    targets: dict[str, Target] = importlib.import_module(registry).TARGETS
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT_BYTES, _MEMORY_LIMIT_BYTES))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    pipe.send(None)
    while True:
        try:
            name, number = pipe.recv()
        except EOFError:
            return
        start = time.monotonic()
        outcome = run_case(targets[name], name, seed, number, root)
        pipe.send((outcome, time.monotonic() - start))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign as the command line asks; exit code 1 where anything was violated."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="scripts/fuzz.sh", description=__doc__)
    parser.add_argument("--cases", type=int, default=2_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", default=",".join(TARGETS), help="names, with commas")
    parser.add_argument("--only", help="TARGET:NUMBER, one case alone")
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT_S, help="of a case, in s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--out", type=Path, help="the summary, as JSON; an unfinished one goes on, findings first"
    )
    options = parser.parse_args(arguments)
    if options.only:
        name, _, number = options.only.partition(":")
        summary, jobs = Summary(options.seed, {}), [(name, int(number))]
    else:
        names = options.targets.split(",")
        summary = Summary.read(options.out, options.seed, names)
        jobs = list(mixed_jobs(names, options.cases))[summary.n_cases :]
        jobs = [*summary.take_back_findings(), *jobs]
    while jobs:
        part, jobs = jobs[:_PART], jobs[_PART:]
        n_workers = min(options.workers, len(part))
        found = run_campaign(
            part, options.seed, n_workers=n_workers, time_limit_s=options.time_limit
        )
        summary.join(found)
        if options.out is not None:
            options.out.write_text(summary.as_json(), encoding="utf-8")
    print(summary.as_json(), end="")
    return 1 if summary.n_violations else 0


if __name__ == "__main__":
    sys.exit(main())
