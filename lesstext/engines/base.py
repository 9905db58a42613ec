"""What every engine offers: tasks in, one report per shard out, failures as reports."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lesstext.annotators.base import Worker, WorkerBrokenError
from lesstext.engines.one_shard import OnProgress, ShardReport, Task, annotate_shard
from lesstext.engines.resume import done_before
from lesstext.errors import LesstextError
from lesstext.storage.claims import claim

MAX_ATTEMPTS = 3

OnSamples = Callable[[str, int], None]


class Engine(Protocol):
    """Runs every task once, wherever it likes, and reports in the order of completion."""

    def run(
        self, tasks: Sequence[Task], on_samples: OnSamples | None = None
    ) -> Iterator[ShardReport]:
        """Yield one report per task. `on_samples(shard, n)` hears of samples as they are done."""
        ...


@dataclass(slots=True)
class Job:
    """A task that is given to workers, and how often it was."""

    task: Task
    attempts: int = 0

    def give_back(self, waiting: deque[Job], reason: str) -> ShardReport | None:
        """Put the shard back after its worker died; one that kills every worker is given up."""
        if self.attempts < MAX_ATTEMPTS:
            waiting.appendleft(self)
            return None
        name = self.task.source.name
        return ShardReport(shard=name, error=f"shard {name}: {reason}")


def run_task(task: Task, worker: Worker, progress: OnProgress | None = None) -> ShardReport:
    """`annotate_shard` behind the one-shard isolation boundary: what goes wrong becomes a report.

    A shard that another process is at work on is left alone, and the report says so.
    Raises WorkerBrokenError when the worker must be replaced.
    """
    name = task.source.name
    try:
        with claim(task.table, task.run) as holder:
            if holder is not None:
                return ShardReport(shard=name, claimed_by=str(holder))
            done = None if task.source.is_local else done_before(task, worker.id)
            return done or annotate_shard(task, worker, progress)
    except WorkerBrokenError:
        raise
    except OSError as error:
        return ShardReport(shard=name, error=f"shard {name}: cannot be written: {error}")
    except LesstextError as error:
        return ShardReport(shard=name, error=str(error))
    except Exception as error:  # the one-shard boundary: recorded in the report
        return ShardReport(shard=name, error=f"shard {name}: {error!r}")
