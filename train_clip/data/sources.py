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
from train_clip.data.labels.joining import join_labels, open_labels
from train_clip.data.labels.sampling import draw_weights
from train_clip.data.labels.vocabulary import Vocabulary, unite
from train_clip.data.source_plan import SourcePlan, in_order, write_plan
from train_clip.data.stream import Floats, Stream
from train_clip.data.table_columns import choose_filter, read_regions
from train_clip.errors import ConfigError, DataError
from train_clip.settings import MaskedRegions, SourceConfig

log = logging.getLogger(__name__)

_INDEX_THREADS = 8
_NAMED = 5
_PLAN = "plan"


@dataclass(frozen=True, slots=True)
class RunData:
    """The sources of a run, filtered and ready to be read.

    `vocabulary` holds the classes of their labels; None where no source has any.
    """

    folders: tuple[Path, ...]
    plans: tuple[SourcePlan, ...]
    vocabulary: Vocabulary | None = None

    @property
    def n_classes(self) -> int:
        """The classes of all labels; 0 where no source has any."""
        return 0 if self.vocabulary is None else self.vocabulary.n_classes

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
            draw_weights=[self._draw_weights(config, plan) for plan in self.plans],
        )

    def require_labels(self, who: str, config: TrainConfig) -> None:
        """Raise ConfigError for samples without a label; `who` cannot use them."""
        for plan, source in zip(self.plans, config.sources, strict=True):
            if plan.labels is None:
                raise ConfigError(f"{who} needs labels: name the --labels of {plan.data}")
            if n := plan.labels.n_unlabelled:
                raise ConfigError(
                    f"{n} of {plan.size} samples of {plan.data} have no label, and {who} takes "
                    f"labelled ones only: give --selection {source.labels} as well"
                )

    def _draw_weights(self, config: TrainConfig, plan: SourcePlan) -> Floats | None:
        if config.class_sampling == "natural":
            return None
        self.require_labels(f"--class-sampling {config.class_sampling}", config)
        assert plan.labels is not None
        return draw_weights(plan.labels, self.n_classes, config.class_sampling)


def plan_folders(config: TrainConfig, out: Path) -> tuple[Path, ...]:
    """Where a run keeps the plan of each of its sources."""
    return tuple(out / _PLAN / str(number) for number in range(len(config.sources)))


def open_data(config: TrainConfig, out: Path) -> RunData:
    """Open the plans that `prepare_data` wrote."""
    folders = plan_folders(config, out)
    plans = tuple(SourcePlan(folder) for folder in folders)
    is_labelled = any(plan.labels is not None for plan in plans)
    return RunData(folders, plans, Vocabulary.open(out / _PLAN) if is_labelled else None)


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
    vocabulary = _unite_classes(config, out)
    for source, shards, folder in zip(
        config.sources, expanded, plan_folders(config, out), strict=True
    ):
        tables = open_shards(shards, cache, config.max_bad_fraction)
        hidden = None if config.image.text_mask == "none" else config.image.masked_regions
        plan_source(source, tables, folder, vocabulary, hidden)
    return open_data(config, out)


def _unite_classes(config: TrainConfig, out: Path) -> Vocabulary | None:
    """Number the classes of all labels, and store them with the plan; None without labels."""
    paths = [source.labels for source in config.sources if source.labels is not None]
    if not paths:
        return None
    vocabulary = unite([open_labels(path) for path in dict.fromkeys(paths)])
    vocabulary.save(out / _PLAN)
    return vocabulary


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
    source: SourceConfig,
    tables: Sequence[ShardTable],
    folder: Path,
    vocabulary: Vocabulary | None,
    hidden: MaskedRegions | None,
) -> SourcePlan:
    """Filter one source and write its plan; raises DataError when nothing is left.

    `hidden` says which regions a run hides; None if it hides none.
    """
    pool_size = sum(len(table.keys) for table in tables)
    keep = choose_filter(source, folder)
    kept = [table.keep(keep(table)) for table in tables]
    left = sum(len(table.keys) for table in kept)
    log.info("%s: %d shards, %d samples, %d chosen", source.data, len(tables), pool_size, left)
    if left == 0:
        raise DataError(_why_empty(source, tables, pool_size))
    used = in_order(kept)
    regions = labels = None
    if hidden is not None:
        regions = [found for table in used for found in read_regions(source, hidden, table)]
    if source.labels is not None and vocabulary is not None:
        labels = join_labels(open_labels(source.labels), used, vocabulary)
        log.info(
            "%s: %d labels, %d samples without",
            source.data,
            len(labels.classes),
            labels.n_unlabelled,
        )
    return write_plan(folder, source.data, kept, pool_size, regions, labels)


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
