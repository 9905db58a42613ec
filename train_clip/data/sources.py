"""From the sources a user names to plans that workers can read: index, filter, join."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lesstext.errors import ShardError, UsageError
from lesstext.shards.specs import ShardSource, expand_specs, input_places
from lesstext.storage.guard import claim_folder, refuse_overlap
from train_clip.config import TrainConfig
from train_clip.data.index import ShardTable, default_cache, open_shard
from train_clip.data.source_plan import SourcePlan, write_plan
from train_clip.data.stream import Stream
from train_clip.data.table_columns import choose_filter, read_regions
from train_clip.errors import DataError
from train_clip.settings import SourceConfig

log = logging.getLogger(__name__)

_INDEX_THREADS = 8
_NAMED = 5


@dataclass(frozen=True, slots=True)
class RunData:
    """The sources of a run, filtered and ready to be read."""

    folders: tuple[Path, ...]
    plans: tuple[SourcePlan, ...]

    @property
    def n_usable(self) -> int:
        """All samples that the run may draw; one pass is that many."""
        return sum(plan.size for plan in self.plans)

    @property
    def digests(self) -> list[str]:
        """Identify shards and chosen samples; equal digests mean equal data."""
        return [plan.digest for plan in self.plans]

    def stream(self, config: TrainConfig) -> Stream:
        """The run's order of samples; sources without weights are drawn by size."""
        weights = [
            float(plan.size) if source.weight is None else source.weight
            for source, plan in zip(config.sources, self.plans, strict=True)
        ]
        return Stream(
            [plan.counts for plan in self.plans],
            weights,
            batch_size=config.batch_size,
            seed=config.seed,
            window_shards=config.window_shards,
        )


def plan_folders(config: TrainConfig, out: Path) -> tuple[Path, ...]:
    """Where a run keeps the plan of each of its sources."""
    return tuple(out / "plan" / str(number) for number in range(len(config.sources)))


def open_data(config: TrainConfig, out: Path) -> RunData:
    """Open the plans that `prepare_data` wrote."""
    folders = plan_folders(config, out)
    return RunData(folders, tuple(SourcePlan(folder) for folder in folders))


def prepare_data(config: TrainConfig, out: Path) -> RunData:
    """Index, filter and join every source of a run.

    Raises UsageError for specs that match nothing, DataError for unreadable shards beyond
    `max_bad_fraction` and for sources from which nothing is left.
    """
    expanded = [expand_specs([source.data]) for source in config.sources]
    for source, shards in zip(config.sources, expanded, strict=True):
        _refuse_other_than_tars(source.data, shards)
    cache = Path(config.cache) if config.cache else default_cache()
    for source, shards in zip(config.sources, expanded, strict=True):
        for written in (out, cache):
            refuse_overlap(written, input_places([source.data], shards))
    claim_folder(out, "run")
    for source, shards, folder in zip(
        config.sources, expanded, plan_folders(config, out), strict=True
    ):
        tables = open_shards(shards, cache, config.max_bad_fraction)
        with_regions = config.image.text_mask != "none"
        plan_source(source, tables, folder, with_regions=with_regions)
    return open_data(config, out)


def _refuse_other_than_tars(data: str, shards: Sequence[ShardSource]) -> None:
    """Samples are read by their offsets, which only plain tars have."""
    others = [shard for shard in shards if not shard.is_tar]
    if others:
        raise UsageError(
            f"{data}: {others[0].location} is no plain tar, as {len(others)} of {len(shards)} are "
            "not, and training reads samples in place: write tars of them first by lesstext export"
        )


def open_shards(
    shards: Sequence[ShardSource], cache: Path, max_bad_fraction: float
) -> list[ShardTable]:
    """Index shards in parallel; unreadable ones are named, and fatal beyond the given share."""

    def attempt(shard: ShardSource) -> ShardTable | ShardError:
        try:
            return open_shard(shard, cache)
        except ShardError as error:  # the boundary of one shard; counted and named below
            return error

    with ThreadPoolExecutor(_INDEX_THREADS) as pool:
        results = list(pool.map(attempt, shards))
    bad = [result for result in results if isinstance(result, ShardError)]
    tables = [result for result in results if isinstance(result, ShardTable)]
    for table in tables:
        for problem in table.problems:
            log.warning("shard %s: %s", table.name, problem)
    if len(bad) > max_bad_fraction * len(shards):
        named = "; ".join(str(error) for error in bad[:_NAMED])
        raise DataError(
            f"{len(bad)} of {len(shards)} shards are unreadable, more than --max-bad-fraction "
            f"{max_bad_fraction} allows: {named}"
        )
    for error in bad:
        log.warning("left out: %s", error)
    return tables


def plan_source(
    source: SourceConfig, tables: Sequence[ShardTable], folder: Path, *, with_regions: bool
) -> SourcePlan:
    """Filter one source and write its plan; raises DataError when nothing is left."""
    pool_size = sum(len(table.keys) for table in tables)
    keep = choose_filter(source, folder)
    kept = [table.keep(keep(table)) for table in tables]
    left = sum(len(table.keys) for table in kept)
    log.info("%s: %d shards, %d samples, %d chosen", source.data, len(tables), pool_size, left)
    if left == 0:
        raise DataError(_why_empty(source, tables, pool_size))
    regions = None
    if with_regions and source.scores is not None:
        used = sorted((table for table in kept if table.keys), key=lambda table: table.name)
        regions = [found for table in used for found in read_regions(source.scores, table)]
    return write_plan(folder, source.data, kept, pool_size, regions)


def _why_empty(source: SourceConfig, tables: Sequence[ShardTable], pool_size: int) -> str:
    if pool_size:
        rule = source.selection or source.where
        return f"{rule!r} keeps none of the {pool_size} samples of {source.data}"
    reasons: dict[str, int] = {}
    for table in tables:
        for reason, count in table.skipped.items():
            reasons[reason] = reasons.get(reason, 0) + count
    told = ", ".join(f"{count} with {reason}" for reason, count in sorted(reasons.items()))
    return f"{source.data} holds no usable sample in {len(tables)} shards ({told or 'all empty'})"
