"""A data worker: a process that reads, decodes and augments samples into shared memory.

Started with two file descriptors inherited from the loader as arguments: a socket, and the
memory. It imports numpy and OpenCV but no torch, starts in well under a second, and ends
when the loader's end of the socket closes, however the loader died.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from lesstext.images import Pixels
from train_clip.data.pool import Done, Setup, Task
from train_clip.data.reader import Produced, SampleReader
from train_clip.data.source_plan import SourcePlan
from train_clip.errors import DataError


def perform(
    task: Task, reader: SampleReader, images: Pixels, progress: NDArray[np.int64]
) -> list[Produced]:
    """Produce every row of a task; `progress` (1,) shows the position being worked on."""
    produced = []
    for row, (source, index) in enumerate(zip(task.sources, task.indices, strict=True)):
        progress[0] = task.position + row
        out = images[task.slot, task.first_row + row]
        produced.append(reader.produce(task.position + row, int(source), int(index), out))
    progress[0] = -1
    return produced


def serve(connection: Connection, memory: int) -> None:
    """Perform tasks until the loader closes its end."""
    setup: Setup = connection.recv()
    counters, images = setup.layout.map(memory)
    reader = SampleReader([SourcePlan(folder) for folder in setup.plans], setup.settings)
    progress = counters[setup.number : setup.number + 1]
    while True:
        task: Task = connection.recv()
        try:
            done = Done(task.step, task.first_row, perform(task, reader, images, progress))
        except DataError as error:
            done = Done(task.step, task.first_row, [], error=str(error))
        except Exception as error:  # told to the loader, which ends the run with it
            trace = traceback.format_exc()
            done = Done(task.step, task.first_row, [], error=repr(error), traceback=trace)
        connection.send(done)


def main() -> None:
    # Ctrl-C reaches the whole process group; the loader alone decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    try:
        serve(connection, int(sys.argv[2]))
    except (EOFError, ConnectionError):
        os._exit(0)
