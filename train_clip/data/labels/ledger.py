"""How often the images of each entity were seen: the repetition ledger by entity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lesstext.storage.files import atomic_path
from train_clip.data.flat.classes import ClassStore
from train_clip.data.labels.vocabulary import Vocabulary
from train_clip.data.stream import Ints

FILE = "entities.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityLedger:
    """What a run saw of its entities; `file` holds the account of each.

    An image counts for each of its entities. The repeats of an entity are how often an image of
    it that was seen was seen on average: `mean_repeats` is their mean over the entities seen,
    `max_repeats` the largest. `least_drawn` and `most_drawn` are over entities with images.
    """

    n_entities: int
    n_with_images: int
    n_seen: int
    least_drawn: int
    most_drawn: int
    mean_repeats: float
    max_repeats: float
    file: str = FILE


def write_entity_ledger(
    folder: Path, vocabulary: Vocabulary, labels: Sequence[ClassStore | None], uses: Sequence[Ints]
) -> EntityLedger:
    """Write `entities.parquet`, one row per class: its images, those seen, how often in all."""
    n = vocabulary.n_classes
    n_images, n_unique, n_drawn = (np.zeros(n, dtype=np.int64) for _ in range(3))
    for store, counts in zip(labels, uses, strict=True):
        if store is not None:
            n_images += store.count(n)
            n_unique += store.count(n, (counts > 0).astype(np.int64))
            n_drawn += store.count(n, counts)
    columns = {"n_images": n_images, "n_unique": n_unique, "n_drawn": n_drawn}
    table = pa.table(
        {"class_index": pa.array(range(n), pa.int32())}
        | {name: vocabulary.table.column(name) for name in ("entity_id", "name")}
        | {name: pa.array(values) for name, values in columns.items()}
    )
    with atomic_path(folder / FILE) as partial:
        pq.write_table(table, partial)
    return _summarise(n_images, n_unique, n_drawn)


def _summarise(n_images: Ints, n_unique: Ints, n_drawn: Ints) -> EntityLedger:
    drawn = n_drawn[n_images > 0]
    seen = n_unique > 0
    repeats = n_drawn[seen] / n_unique[seen]
    return EntityLedger(
        n_entities=len(n_images),
        n_with_images=len(drawn),
        n_seen=int(seen.sum()),
        least_drawn=int(drawn.min()) if len(drawn) else 0,
        most_drawn=int(drawn.max(initial=0)),
        mean_repeats=float(repeats.mean()) if seen.any() else 0.0,
        max_repeats=float(repeats.max(initial=0)),
    )
