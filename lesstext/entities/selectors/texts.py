"""What is said of an entity, embedded once: a table of vectors that workers and runs share.

The table is a folder of small parquet files, one for each lot that a worker had to embed, below a
name that stands for the knowledge base, the selector and the templates. Two workers that meet an
entity in the same moment may both embed it; they find the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

import numpy as np

from lesstext.entities.selectors.base import Selector, Vectors
from lesstext.errors import LesstextError, UsageError
from lesstext.storage.cache import cache_folder
from lesstext.storage.files import atomic_path
from lesstext.storage.guard import claim_folder
from lesstext.storage.paths import Location, cached

if TYPE_CHECKING:
    from lesstext.entities.knowledge_base import Entity, KnowledgeBase

KIND = "text embeddings"
DEFAULT_TEMPLATES = ("{name}",)
_FIELDS = ("name", "description")
_LOT = 512
_MAX_HELD = 200_000  # of 512 numbers each: 400 MB
_METADATA_KEY = b"lesstext_texts"
_log = logging.getLogger(__name__)


class UnknownEntityError(LesstextError):
    """An entity that the knowledge base does not hold."""

    def __init__(self, entity_id: str, place: Location) -> None:
        super().__init__(f"entity {entity_id!r} is not in {place}")
        self.entity_id = entity_id


def check_templates(templates: Sequence[str]) -> None:
    """Raise UsageError unless each template holds `{name}` or `{description}`, and nothing else."""
    if not templates:
        raise UsageError("give at least one --template")
    for template in templates:
        try:
            found = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
        except ValueError as error:
            raise UsageError(f"--template {template!r}: {error}") from error
        if not found or set(found) - set(_FIELDS):
            raise UsageError(
                f"--template {template!r} must hold {{name}} or {{description}}, and no other field"
            )


def text_of(template: str, entity: Entity) -> str:
    """A template filled in; where there is no description, what led to it falls away, too.

    >>> from lesstext.entities.knowledge_base import Entity
    >>> fig = Entity(entity_id="1", name="fig", prior=1, depictable=True)
    >>> text_of("{name}, {description}", fig)
    'fig'
    """
    text = template.format(name=entity.name, description=entity.description)
    return text.strip() if entity.description else text.strip().rstrip(" ,;:-–—(").strip()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an entity's vector lies."""

    file: Location
    row: int


class TextEmbeddings:
    """The vectors of entities: held in memory, else found in `folder`, else made and put there.

    An entity's vector is the mean over the templates. Without a `folder` nothing is kept.
    """

    def __init__(
        self,
        kb: KnowledgeBase,
        selector: Selector,
        templates: Sequence[str] = DEFAULT_TEMPLATES,
        folder: Location | None = None,
    ) -> None:
        self._kb, self._selector, self._templates = kb, selector, tuple(templates)
        self._made_from = json.dumps([kb.digest, selector.id, self._templates])
        self._folder: Location | None = None
        if folder is not None:
            claim_folder(folder, KIND)
            name = hashlib.blake2b(self._made_from.encode(), digest_size=8).hexdigest()
            self._folder = folder / name
        self._places: dict[str, _Place] = {}
        self._files_seen: set[Location] = set()
        self._held: dict[str, Vectors] = {}

    def prepare(self, entity_ids: Iterable[str]) -> None:
        """Bring all these vectors to memory; raises UnknownEntityError for a foreign entity."""
        wanted = dict.fromkeys(entity_ids)
        if len(self._held) + len(wanted) > _MAX_HELD:
            self._held.clear()
        lacking = [one for one in wanted if one not in self._held]
        if lacking and self._folder is not None:
            self._look_around(self._folder)
            self._read([one for one in lacking if one in self._places])
            lacking = [one for one in lacking if one not in self._held]
        self._make(sorted(lacking))

    def vectors(self, entity_ids: Sequence[str]) -> Vectors:
        """One row (n, d) per entity that was prepared, in order."""
        return np.stack([self._held[one] for one in entity_ids])

    def _look_around(self, folder: Location) -> None:
        """Learn what other workers, or other runs, have put there meanwhile."""
        files: list[Location] = sorted(folder.rglob("*.parquet"), key=str)
        for file in (one for one in files if one not in self._files_seen):
            self._files_seen.add(file)
            if not file.name.startswith("."):
                for row, one in enumerate(self._ids_in(file)):
                    self._places.setdefault(one, _Place(file, row))

    def _ids_in(self, file: Location) -> list[str]:
        """The entities of one file; what is damaged is made again."""
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        try:
            path = cached(file, self._made_from)
            stored = (pq.read_metadata(path).metadata or {}).get(_METADATA_KEY, b"")
            if stored.decode() != self._made_from:
                raise ValueError("it was made from something else")
            table = pq.read_table(path)
            table.validate(full=True)
            ids: list[str] = table["entity_id"].to_pylist()
        except (OSError, ArrowException, ValueError, KeyError) as error:
            _log.warning("%s is passed over, and made again: %s", file, error)
            return []
        return ids

    def _read(self, entity_ids: Sequence[str]) -> None:
        import pyarrow.parquet as pq

        by_file: dict[Location, list[str]] = {}
        for one in entity_ids:
            by_file.setdefault(self._places[one].file, []).append(one)
        for file, ids in by_file.items():
            column = pq.read_table(cached(file, self._made_from), columns=["vector"])["vector"]
            rows = column.combine_chunks().take([self._places[one].row for one in ids])
            flat = rows.flatten().to_numpy(zero_copy_only=False)
            self._hold(ids, flat.reshape(len(ids), -1).astype(np.float32))

    def _make(self, entity_ids: Sequence[str]) -> None:
        for start in range(0, len(entity_ids), _LOT):
            ids = entity_ids[start : start + _LOT]
            entities = self._known(ids)
            sums = sum(
                self._selector.embed_texts([text_of(template, entity) for entity in entities])
                for template in self._templates
            )
            vectors = np.asarray(sums / len(self._templates), dtype=np.float32)
            self._hold(ids, vectors)
            if self._folder is not None:
                self._keep(self._folder, ids, vectors)

    def _known(self, entity_ids: Sequence[str]) -> list[Entity]:
        for one, row in zip(entity_ids, self._kb.rows_of(entity_ids), strict=True):
            if row is None:
                raise UnknownEntityError(one, self._kb.location)
        return [entity for entity in self._kb.entities(entity_ids) if entity is not None]

    def _hold(self, entity_ids: Sequence[str], vectors: Vectors) -> None:
        self._held.update(zip(entity_ids, vectors, strict=True))

    def _keep(self, folder: Location, entity_ids: Sequence[str], vectors: Vectors) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = pa.list_(pa.float32(), vectors.shape[1])
        columns: dict[str, Any] = {
            "entity_id": pa.array(entity_ids, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=kind),
        }
        table = pa.table(columns).replace_schema_metadata({_METADATA_KEY: self._made_from.encode()})
        name = hashlib.blake2b("\n".join(entity_ids).encode(), digest_size=8).hexdigest()
        file = folder / f"{name}.parquet"
        with atomic_path(file, durable=False) as partial:
            pq.write_table(table, partial)
        self._files_seen.add(file)


def default_folder() -> Path:
    """Where vectors are kept when nobody says where: in the cache, beside indexes of aliases."""
    return cache_folder() / "texts"
