"""Labels that the commands do not make: the true ones, and wrong ones; and how right theirs are."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from attr_builder.evaluation.statistics import Rate, rate
from lesstext.entities.knowledge_base import KnowledgeBase, open_kb
from lesstext.entities.labels.reading import read_labels
from lesstext.entities.labels.writing import write_vocabulary
from lesstext.storage.files import atomic_path
from lesstext.storage.paths import location
from mofi.corpus import ALT, DESCRIPTION, NOWHERE
from mofi.plan import MofiPlan

_SEED = "0 labels"


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """Selected labels against what the photos show.

    `right` is of the labels; `hypernym` the share that names what it is a kind of; `found` the
    share of photos with their true label, by where their name stands.
    """

    n_photos: int
    n_labelled: int
    n_entities: int
    right: Rate
    hypernym: Rate
    found: dict[str, Rate]


def write_controls(plan: MofiPlan) -> None:
    """Labels of the same images as the selected ones: what they show, and the selected ones in
    another order."""
    rows, truth = _selected(plan), _truth(plan)
    if not plan.labels("true").exists():
        shown = [[truth[row["shard"], row["key"]]["entity_id"]] for row in rows]
        _write(plan, "true", shown)
    if not plan.labels("shuffled").exists():
        mixed = [row["entity_ids"] for row in rows]
        random.Random(_SEED).shuffle(mixed)
        _write(plan, "shuffled", mixed)


def label_quality(plan: MofiPlan) -> LabelQuality:
    """How right the selected labels are."""
    labels = {(row["shard"], row["key"]): row["entity_ids"] for row in _selected(plan)}
    truth = _truth(plan)
    given = [(one, truth[place]) for place, ids in labels.items() for one in ids]
    found = {
        says: rate(
            _hits(plan_row["entity_id"] in labels.get(place, ()) for place, plan_row in rows)
        )
        for says in (ALT, DESCRIPTION, NOWHERE)
        if (rows := [(place, row) for place, row in truth.items() if row["says"] == says])
    }
    return LabelQuality(
        n_photos=len(truth),
        n_labelled=len(labels),
        n_entities=len({one for one, _ in given}),
        right=rate(_hits(one == row["entity_id"] for one, row in given)),
        hypernym=rate(_hits(one == row["hypernym"] for one, row in given)),
        found=found,
    )


def relabel(
    source: Path, target: Path, kind: str, entity_ids: Sequence[Sequence[str]], kb: KnowledgeBase
) -> None:
    """Write labels file and vocabulary of the images of `source`, with these entities instead."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    selected = read_labels(location(str(source)))
    counts = Counter(one for ids in entity_ids for one in ids)
    place = location(str(target))
    labels = replace(
        selected,
        selection=replace(selected.selection, path=place, rule={"labels": kind}),
        n_entities=len(counts),
    )
    table = pq.read_table(source)
    column = pa.array(entity_ids, pa.list_(pa.string()))
    table = table.set_column(table.schema.get_field_index("entity_ids"), "entity_ids", column)
    with atomic_path(place, "selection") as part:
        pq.write_table(table.replace_schema_metadata(labels.as_metadata()), part)
        write_vocabulary(labels, counts, kb)


def _write(plan: MofiPlan, kind: str, entity_ids: Sequence[Sequence[str]]) -> None:
    relabel(plan.labels("selected"), plan.labels(kind), kind, entity_ids, open_kb())


def _selected(plan: MofiPlan) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(plan.labels("selected")).to_pylist()
    return rows


def _truth(plan: MofiPlan) -> dict[tuple[str, str], dict[str, Any]]:
    import pyarrow.parquet as pq

    return {(row["shard"], row["key"]): row for row in pq.read_table(plan.truth).to_pylist()}


def _hits(values: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array(list(values), dtype=bool)
