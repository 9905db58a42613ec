"""The rule by which candidates become labels, and what it drops."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lesstext.errors import TableError, UsageError
from lesstext.tables.columns import quoted

if TYPE_CHECKING:
    import pyarrow as pa

    from lesstext.tables.view import TableView

# Why an image that could be read has no label, in the order in which this is found out.
NO_MENTION, NOT_LINKED = "no mention", "not linked"
BELOW, RARE = "below the threshold", "rare entity"
REASONS = (NO_MENTION, NOT_LINKED, BELOW, RARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """Of an image's candidates keep the `top` most similar (None: all) at or above `threshold`;
    of these, entities that at least `min_images` images have by then."""

    threshold: float
    top: int | None = None
    min_images: int = 1

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise UsageError(f"--threshold must be a number, got {self.threshold}")
        if self.top is not None and self.top < 1:
            raise UsageError(f"--top must be at least 1, got {self.top}")
        if self.min_images < 1:
            raise UsageError(f"--min-images must be at least 1, got {self.min_images}")

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Candidates:
    """The picks of all samples, as SQL over a view; `name` is that of the tables there."""

    view: TableView
    name: str
    rule: LabelRule

    def check(self) -> None:
        """Raise TableError for similarities that are no numbers."""
        nan = "len(list_filter({}, lambda one: isnan(one.similarity)))"
        query = f"SELECT shard, key FROM s WHERE {nan.format(self._column('picks'))} > 0 LIMIT 1"
        for shard, key in self.view.rows(query):
            raise TableError(f"shard {shard}, key {key}: a similarity is not a number")

    def count_entities(self) -> dict[str, int]:
        """How many images each entity has that the rule keeps, rare ones included."""
        query = f"""SELECT entity, count(*) FROM
            (SELECT unnest({self._kept()}) AS entity FROM s WHERE status = 'ok') GROUP BY entity"""
        with self.view.reader(query) as batches:
            return {
                entity: n
                for batch in batches
                for entity, n in zip(*(column.to_pylist() for column in batch.columns), strict=True)
            }

    def labelled(self, frequent: pa.Array, drops: Counter[str]) -> Any:
        """Batches of `shard, key, entity_ids` of the samples that keep a label, in order; `drops`
        counts the others."""
        import pyarrow as pa
        import pyarrow.compute as pc

        query = f"""SELECT shard, key, {self._kept()} AS entity_ids, {self._column("n_mentions")}
            AS n_mentions, {self._column("n_candidates")} AS n_candidates
            FROM s WHERE status = 'ok' ORDER BY nr, row_number"""
        with self.view.reader(query) as batches:
            for batch in batches:
                labels = _only(batch.column("entity_ids"), frequent)
                has_label = pc.greater(pc.list_value_length(labels), 0)
                _count(batch, has_label, drops)
                columns = [batch.column("shard"), batch.column("key"), labels]
                rows = pa.Table.from_arrays(columns, names=["shard", "key", "entity_ids"])
                yield rows.filter(has_label)

    def _kept(self) -> str:
        """The entities that are left of a sample's candidates, which are stored in their order."""
        above = f"lambda one: one.similarity >= {self.rule.threshold!r}"
        kept = f"list_filter({self._column('picks')}, {above})"
        if self.rule.top is not None:
            kept += f"[1:{self.rule.top}]"
        return f"list_transform({kept}, lambda one: one.entity_id)"

    def _column(self, column: str) -> str:
        return quoted(f"{self.name}.{column}")


def total(drops: Mapping[str, int]) -> int:
    return sum(drops.values())


def _only(lists: pa.ListArray, frequent: pa.Array) -> pa.ListArray:
    """The lists without what is not frequent."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.list_flatten(lists)
    is_kept = pc.is_in(values, value_set=frequent)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    kept_before = np.concatenate([[0], np.cumsum(is_kept.to_numpy(zero_copy_only=False))])
    ends = np.concatenate([[0], np.cumsum(lengths)])
    offsets = pa.array(kept_before[ends].astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pc.filter(values, is_kept).cast(pa.string()))


def _count(batch: pa.RecordBatch, has_label: pa.Array, drops: Counter[str]) -> None:
    import numpy as np
    import pyarrow.compute as pc

    def numbers(array: pa.Array) -> Any:
        return pc.fill_null(array, 0).to_numpy(zero_copy_only=False)

    n_above = numbers(pc.list_value_length(batch.column("entity_ids")))
    n_mentions, n_candidates = (
        numbers(batch.column(name)) for name in ("n_mentions", "n_candidates")
    )
    found = [n_mentions == 0, n_candidates == 0, n_above == 0]
    why = np.select(found, range(len(found)), default=len(found))
    lost = why[~has_label.to_numpy(zero_copy_only=False)]
    for reason, n in zip(REASONS, np.bincount(lost, minlength=len(REASONS)), strict=True):
        drops[reason] += int(n)
