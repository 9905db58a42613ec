"""From tables of picks to labels: a selection whose rows also say which entities they show."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.entities.labels.marks import ChosenThreshold, choose_threshold, judge, read_marks
from lesstext.entities.labels.reading import (
    VOCABULARY_KEY,
    Labels,
    vocabulary_owner,
    vocabulary_path,
)
from lesstext.entities.labels.rule import REASONS, Candidates, LabelRule, total
from lesstext.errors import TableError, UsageError
from lesstext.storage.files import atomic_path
from lesstext.storage.guard import refuse_overlap
from lesstext.storage.paths import Location, location
from lesstext.tables.checks import Totals, check_rows
from lesstext.tables.folder import TableSource, open_tables
from lesstext.tables.selecting import RowsDigest, tables_digest
from lesstext.tables.selection import Counts, Selection
from lesstext.tables.view import TableView, open_view

if TYPE_CHECKING:
    from lesstext.entities.knowledge_base import KnowledgeBase
    from lesstext.tables.folder import TableFolder

PICKS = "picks"
_COLUMNS = ("n_mentions", "n_candidates", "picks")


def label(
    picks: TableSource | Location | str,
    out: Location | str,
    rule: LabelRule,
    kb: KnowledgeBase,
    *,
    marks: Path | None = None,
    min_precision: float | None = None,
) -> Labels:
    """Write labels to `out`, and `vocabulary.parquet` beside it.

    With `marks` and `min_precision` the threshold of `rule` is not used: it is chosen. Raises
    TableError for tables that are missing or damaged, UsageError for what cannot be meant.
    """
    source = picks if isinstance(picks, TableSource) else TableSource(location(picks))
    target = location(out)
    refuse_overlap(target, [source.folder, kb.location])
    if target.name == vocabulary_path(target).name:
        raise UsageError(f"{target} is where the vocabulary comes: choose another --out")
    _refuse_foreign_vocabulary(target)
    with open_tables(source) as folder:
        _check_tables(folder, kb)
        used = {f"{folder.name}.{column}" for column in _COLUMNS}
        with open_view([folder], used, None) as view:
            totals = check_rows(view)
            chosen = None
            if marks is not None and min_precision is not None:
                judged = judge(view, folder.name, read_marks(marks), marks, rule.top)
                chosen = choose_threshold(judged, min_precision)
                rule = LabelRule(
                    threshold=chosen.threshold, top=rule.top, min_images=rule.min_images
                )
            return _Labelling(folder, view, totals, rule, kb, chosen).write(target)


def _check_tables(folder: TableFolder, kb: KnowledgeBase) -> None:
    if folder.annotator_name != PICKS:
        raise UsageError(
            f"{folder.source.folder} holds tables of {folder.annotator_name}, not of {PICKS}"
        )
    if not set(folder.columns) >= set(_COLUMNS):
        raise TableError(f"{folder.source.folder}: the tables lack columns of {PICKS}")
    if kb.digest not in folder.annotator:
        raise UsageError(
            f"the picks in {folder.source.folder} ({folder.annotator}) were not made with the "
            f"knowledge base {kb.location} (digest {kb.digest}): name theirs by --kb"
        )


@dataclass(frozen=True, slots=True)
class _Labelling:
    """A rule about to be applied to rows that were checked."""

    folder: TableFolder
    view: TableView
    totals: Totals
    rule: LabelRule
    kb: KnowledgeBase
    chosen: ChosenThreshold | None

    def write(self, out: Location) -> Labels:
        """Write the rows, count them, and describe them at the end of the file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        candidates = Candidates(self.view, self.folder.name, self.rule)
        candidates.check()
        n_images = {
            entity: n
            for entity, n in candidates.count_entities().items()
            if n >= self.rule.min_images
        }
        columns = [("shard", pa.string()), ("key", pa.string())]
        schema = pa.schema([*columns, ("entity_ids", pa.list_(pa.string()))])
        frequent = pa.array(sorted(n_images), pa.string())
        drops = Counter(dict.fromkeys(REASONS, 0))
        n_kept, digest = 0, RowsDigest()
        with atomic_path(out, "selection") as partial, pq.ParquetWriter(partial, schema) as writer:
            for rows in candidates.labelled(frequent, drops):
                n_kept += rows.num_rows
                digest.update(rows)
                writer.write_table(rows.cast(schema))
            labels = Labels(
                selection=self._describe(out, n_kept, drops, digest.hexdigest()),
                drops=dict(drops),
                n_entities=len(n_images),
                kb=self.kb.digest,
                chosen=None if self.chosen is None else self.chosen.as_json(),
            )
            writer.add_key_value_metadata(labels.as_metadata())
            write_vocabulary(labels, n_images, self.kb)
        return labels

    def _describe(
        self, out: Location, n_kept: int, drops: Mapping[str, int], rows_digest: str
    ) -> Selection:
        counts = Counts(
            read=self.totals.read,
            kept=n_kept,
            dropped=self.totals.ok - n_kept,
            failed=self.totals.read - self.totals.ok,
        )
        if counts.dropped != total(drops):
            raise AssertionError(f"the accounting does not add up: {counts}, {dict(drops)}")
        return Selection(
            path=out,
            kind="labels",
            rule=self.rule.as_json(),
            threshold=self.rule.threshold,
            counts=counts,
            annotators={self.folder.name: self.folder.annotator},
            tables_digest=tables_digest([self.folder]),
            rows_digest=rows_digest,
            fingerprints={footer.shard: footer.fingerprint for footer in self.folder.footers},
        )


def _refuse_foreign_vocabulary(out: Location) -> None:
    """Raise UsageError where the vocabulary in the folder is that of other labels there."""
    vocabulary = vocabulary_path(out)
    owner = vocabulary_owner(vocabulary) if vocabulary.exists() else None
    if owner not in (None, out.name) and out.with_name(str(owner)).exists():
        raise UsageError(f"{vocabulary} belongs to {owner}: choose another folder for {out.name}")


def write_vocabulary(labels: Labels, n_images: Mapping[str, int], kb: KnowledgeBase) -> None:
    """One row per class, those with the most images first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = sorted(n_images, key=lambda entity: (-n_images[entity], entity))
    entities = []
    for entity_id, entity in zip(ids, kb.entities(ids), strict=True):
        if entity is None:
            raise TableError(f"entity {entity_id} of the picks is not in {kb.location}")
        entities.append(entity)
    columns: dict[str, Any] = {
        "class_index": pa.array(range(len(ids)), pa.int32()),
        "entity_id": pa.array(ids, pa.string()),
        "name": pa.array([entity.name for entity in entities], pa.string()),
        "description": pa.array([entity.description for entity in entities], pa.string()),
        "n_images": pa.array([n_images[entity] for entity in ids], pa.int64()),
    }
    path = labels.selection.path
    said = {"labels": labels.selection.id, "file": path.name}
    described = {VOCABULARY_KEY: json.dumps(said).encode()}
    with atomic_path(vocabulary_path(path), "vocabulary") as partial:
        pq.write_table(pa.table(columns).replace_schema_metadata(described), partial)
