"""The classes of a run: the entities of all its labels, numbered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lesstext.entities.knowledge_base import Entity
from lesstext.entities.labels.reading import Labels, read_vocabulary
from lesstext.entities.selectors.texts import text_of
from lesstext.storage.files import atomic_path
from train_clip.errors import ConfigError, DataError

FILE = "vocabulary.parquet"
TEMPLATE = "{name}, {description}"
_COLUMNS = ("entity_id", "name", "description")


@dataclass(frozen=True)
class Vocabulary:
    """The entities in the order of their classes; `table` has `entity_id, name, description`."""

    table: pa.Table = field(repr=False)

    @property
    def n_classes(self) -> int:
        n: int = self.table.num_rows
        return n

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The class of each entity."""
        ids = self.table.column("entity_id").to_pylist()
        return {entity_id: number for number, entity_id in enumerate(ids)}

    @cached_property
    def digest(self) -> str:
        """Recognises the classes, their names and descriptions."""
        found = hashlib.blake2b(digest_size=16)
        for column in _COLUMNS:
            found.update(json.dumps(self.table.column(column).to_pylist()).encode())
        return found.hexdigest()

    def text(self, number: int) -> str:
        """What is said of a class: `{name}, {description}`, or the name alone."""
        entity_id, name, description = (
            self.table.column(column)[number].as_py() for column in _COLUMNS
        )
        entity = Entity(
            entity_id=entity_id, name=name, description=description or "", prior=1, depictable=True
        )
        return text_of(TEMPLATE, entity)

    def save(self, folder: Path) -> None:
        with atomic_path(folder / FILE) as partial:
            pq.write_table(self.table, partial)

    @classmethod
    def open(cls, folder: Path) -> Vocabulary | None:
        """What a run's plan holds; None where its samples have no labels."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        _check_columns(table, path)
        return cls(table)


def unite(labels: Sequence[Labels]) -> Vocabulary:
    """All classes of several labels files: those of the first in its order, then what is new.

    Raises ConfigError for labels of different knowledge bases, in which an id may mean two things.
    """
    bases = {one.kb for one in labels}
    if len(bases) > 1:
        told = ", ".join(f"{one.selection.path} ({one.kb})" for one in labels)
        raise ConfigError(f"the --labels are of different knowledge bases: {told}")
    tables = [_classes(one) for one in labels]
    seen: set[str] = set()
    kept = []
    for table in tables:
        ids = table.column("entity_id").to_pylist()
        kept.append(table.filter(pa.array([one not in seen for one in ids], pa.bool_())))
        seen.update(ids)
    return Vocabulary(pa.concat_tables(kept).combine_chunks())


def _classes(labels: Labels) -> pa.Table:
    table = read_vocabulary(labels)
    where = f"the vocabulary of {labels.selection.path}"
    _check_columns(table, where)
    if table.num_rows != labels.n_entities:
        raise DataError(f"{where} has {table.num_rows} classes, the labels {labels.n_entities}")
    return table.select(_COLUMNS).replace_schema_metadata(None)


def _check_columns(table: pa.Table, where: Any) -> None:
    for name in _COLUMNS:
        if name not in table.schema.names or table.schema.field(name).type != pa.string():
            raise DataError(f"{where} is damaged: no column {name} of texts")
    ids = table.column("entity_id")
    if ids.null_count or len(ids.unique()) < len(ids) or table.column("name").null_count:
        raise DataError(f"{where} is damaged: a class without a name, or twice there")
