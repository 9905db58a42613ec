"""What every engine offers: tasks in, one report per shard out, failures as reports."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lesstext.annotators.base import Worker, WorkerBrokenError
from lesstext.engines.one_shard import annotate_shard
from lesstext.engines.resume import done_before
from lesstext.engines.task import OnProgress, OnSamples, ShardReport, Task
from lesstext.errors import LesstextError
from lesstext.storage.claims import claim

_WINDOW = 16
LOST_THAT_CONDEMN_A_SHARD = 8


class Engine(Protocol):
    """Runs every task once, wherever it likes, and reports in the order of completion."""

    def run(
        self, tasks: Sequence[Task], on_samples: OnSamples | None = None
    ) -> Iterator[ShardReport]:
        """Yield one report per task. `on_samples(shard, n)` hears of samples as they are done."""
        ...


@dataclass(slots=True)
class Job:
    """A task that is given to workers, and what it has cost.

    A worker may die of one sample, or never come to an end with it. The shard is then done in small
    lots, whose rows are on disk before the next lot is begun, and at last sample by sample; the one
    that still costs its worker is given up, and the rest goes on as before.
    """

    task: Task
    n_given_up: int = 0

    def give_back(self, waiting: deque[Job], reason: str) -> ShardReport | None:
        """Put the shard back after it cost a worker; one that keeps doing so has failed."""
        name = self.task.source.name
        if self.task.window == 1:
            self.n_given_up += 1
            self.task = replace(self.task, window=None, lost=reason)
        else:
            window = _WINDOW if self.task.window is None else 1
            self.task = replace(self.task, window=window, lost=None)
        if self.n_given_up == LOST_THAT_CONDEMN_A_SHARD:
            error = f"shard {name}: {self.n_given_up} of its samples cost a worker: {reason}"
            return ShardReport(shard=name, error=error)
        waiting.appendleft(self)
        return None


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
