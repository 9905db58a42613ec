"""CPU time that the process which owns a device spends on an image, with a network that is free.

    python scripts/benchmarks/bench_feeding.py --images imagenet_sample/ --out feeding.json

Photos go from tar to table by the real path: helpers that decode, batches, rows, parts, parquet.
The detector stacks its canvases, computes nothing, and finds text on the shares of the images that
are asked for. CPU time is counted and not wall time, so that a busy machine matters little.
`--profile` shows where it goes by function, and costs some itself.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from hashlib import sha256
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from bench_scan import make_shards
from null_detector import NullDetector, NullTextArea

from lesstext.annotators.base import Placement
from lesstext.annotators.text_area import TextAreaWorker
from lesstext.engines.local import InlineEngine
from lesstext.engines.parts import Parts
from lesstext.engines.task import ShardReport, Task
from lesstext.errors import LesstextError
from lesstext.shards.sources.local import LocalShard
from lesstext.shards.specs import ShardSource
from lesstext.tables.table import TableWriter

_STAGES: tuple[tuple[str, type, tuple[str, ...]], ...] = (
    ("sha256 of the shard", LocalShard, ("sha256",)),
    ("index of the shard", LocalShard, ("index",)),
    ("stacking canvases", NullDetector, ("submit",)),
    ("parts", Parts, ("add", "flush", "tables", "remove")),
    ("table", TableWriter, ("__enter__", "add_table", "__exit__")),
    ("pipeline", TextAreaWorker, ("annotate",)),
)
_OTHER, _THREADS = "other", "threads"


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="bench-feeding-") as folder:
        place = Path(folder)
        (place / "in").mkdir()
        shards = make_shards(arguments.images, arguments.n, arguments.shards, place / "in")
        found = {
            f"{share:g}": measure(shards, place / f"out-{share:g}", share, arguments)
            for share in arguments.text_share
        }
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
        "settings": {k: v for k, v in vars(arguments).items() if k not in ("out", "images")},
        "images": [folder.name for folder in arguments.images],
        "by_text_share": found,
    }
    print(table(found))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(
    shards: Sequence[Path], out: Path, share: float, arguments: argparse.Namespace
) -> dict[str, Any]:
    """CPU milliseconds of this process on an image: the median of the rounds, and by stage.

    The stages are those of a further round, since reading the clock so often costs time itself.
    """
    annotator = NullTextArea(text_share=share, batch_size=arguments.batch)
    engine = InlineEngine(annotator, Placement(helpers=arguments.helpers))
    folders = [out / f"round-{number}" for number in range(arguments.rounds + 1)]
    first = _tasks(annotator, out / "warm", shards[:1])
    rest = [task for folder in folders for task in _tasks(annotator, folder, shards)]
    reports = engine.run([*first, *rest])
    next(reports)  # the helpers have started, and everything is imported
    totals = [_cpu_s(reports, len(shards)) for _ in range(arguments.rounds)]
    clock = CpuClock()
    with clock.watching(), _profiled(arguments.profile):
        metered_s = _cpu_s(reports, len(shards))
    for _ in reports:
        raise AssertionError("a report for no task")
    tables = [pq.read_table(folders[-1] / f"{path.stem}.parquet") for path in shards]
    found = pa.concat_tables(tables)["text_area_ratio"].to_numpy()
    stages = {**clock.seconds, _THREADS: metered_s - sum(clock.seconds.values())}
    return {
        "images": len(found),
        "images_with_text": int((found > 0).sum()),
        "cpu_ms_per_image": _ms(median(totals), len(found)),
        "cpu_ms_per_image_by_round": [_ms(total, len(found)) for total in totals],
        "by_stage_with_meters": {
            stage: _ms(seconds, len(found))
            for stage, seconds in sorted(stages.items(), key=lambda item: -item[1])
        },
        "sha256_of_ratios": sha256(found.tobytes()).hexdigest(),
    }


def _tasks(annotator: NullTextArea, out: Path, shards: Sequence[Path]) -> list[Task]:
    return [
        Task(source=ShardSource(path.stem, str(path)), out=out, annotator=annotator)
        for path in shards
    ]


def _cpu_s(reports: Iterator[ShardReport], n_shards: int) -> float:
    """CPU seconds of this process, all its threads, until that many shards have their tables."""
    start = time.process_time()
    for report in islice(reports, n_shards):
        if report.error is not None:
            raise LesstextError(report.error)
    return time.process_time() - start


def _ms(seconds: float, n_images: int) -> float:
    return round(1e3 * seconds / n_images, 4)


@contextmanager
def _profiled(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with cProfile.Profile() as profile:
        yield
    pstats.Stats(profile).sort_stats("tottime").print_stats(35)


class CpuClock:
    """CPU seconds of the main thread by stage; a stage inside another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stack = [_OTHER]
        self._since = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count, by putting a meter before each function of `_STAGES`."""
        originals = [(kind, name, getattr(kind, name)) for _, kind, ns in _STAGES for name in ns]
        for stage, kind, names in _STAGES:
            for name in names:
                setattr(kind, name, self._metered(stage, getattr(kind, name)))
        self._since = time.thread_time()
        try:
            yield
        finally:
            self._book()
            for kind, name, original in originals:
                setattr(kind, name, original)

    def _metered(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def metered(*arguments: Any, **named: Any) -> Any:
            with self._in(stage):
                result = function(*arguments, **named)
            return self._each(stage, result) if isinstance(result, Iterator) else result

        return metered

    def _each(self, stage: str, items: Iterator[Any]) -> Iterator[Any]:
        end = object()
        while True:
            with self._in(stage):
                item = next(items, end)
            if item is end:
                return
            yield item

    @contextmanager
    def _in(self, stage: str) -> Iterator[None]:
        self._book()
        self._stack.append(stage)
        try:
            yield
        finally:
            self._book()
            self._stack.pop()

    def _book(self) -> None:
        now = time.thread_time()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now


def table(found: dict[str, dict[str, Any]]) -> str:
    """The stages as rows, a column for each share of images with text."""
    columns = list(found.values())
    stages = dict.fromkeys(stage for one in columns for stage in one["by_stage_with_meters"])
    rows: dict[str, list[float]] = {"all": [one["cpu_ms_per_image"] for one in columns]}
    for stage in stages:
        rows[f"  {stage}"] = [one["by_stage_with_meters"].get(stage, 0.0) for one in columns]
    title = f"{'CPU ms an image':<28}" + "".join(f"{f'text on {s}':>14}" for s in found)
    lines = [f"{name:<28}" + "".join(f"{ms:>14.3f}" for ms in row) for name, row in rows.items()]
    return "\n".join([title, *lines])


def _commit() -> str:
    sys.path.append(str(Path(__file__).parents[1]))  # scripts/, where this one is run as a file
    from source_commit import source_commit

    return source_commit()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, action="append", required=True)
    parser.add_argument("--n", type=int, default=3000)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--helpers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--text-share", type=float, nargs="+", default=[0.0, 0.4])
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except LesstextError as error:
        raise SystemExit(f"bench_feeding: {error}") from error
