"""A knowledge base: one parquet of entities, sorted by `entity_id`.

`aliases` hold the name first. `alias_weights` run beside them: of all that an alias can mean, the
share that means this entity, in (0, 1]; null where the source does not tell, and then entities
compete by `prior`. `types` are ids of what the entity is an instance or a kind of, `links` its ids
elsewhere, as `wikidata:Q144`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext import __version__
from lesstext.errors import TableError, UsageError
from lesstext.storage.paths import Location, RemotePath, cached
from lesstext.storage.validation import validated
from lesstext.tables.table import read_parquet_metadata, reading

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "knowledge base"
SCHEMA_VERSION = 1
METADATA_KEY = b"lesstext_knowledge_base"
EMBEDDED = Path(__file__).parent / "data" / "oewn_physical.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One row; what its columns mean, this module says."""

    entity_id: str
    name: str
    description: str = ""
    aliases: Sequence[str] = ()
    alias_weights: Sequence[float] | None = None
    prior: float
    types: Sequence[str] = ()
    depictable: bool
    links: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a knowledge base says of itself; `digest` recognises its rows."""

    format: str
    source: str
    version: str
    digest: str
    n_entities: int
    counts: Mapping[str, int]
    notice: str
    schema_version: int = SCHEMA_VERSION
    tool_version: str = __version__

    def as_metadata(self) -> dict[bytes, bytes]:
        return {METADATA_KEY: json.dumps(asdict(self), sort_keys=True).encode()}


@cache
def schema() -> pa.Schema:
    """The columns of a knowledge base."""
    import pyarrow as pa

    columns = [
        ("entity_id", pa.string()),
        ("name", pa.string()),
        ("description", pa.string()),
        ("aliases", pa.list_(pa.string())),
        ("alias_weights", pa.list_(pa.float32())),
        ("prior", pa.float32()),
        ("types", pa.list_(pa.string())),
        ("depictable", pa.bool_()),
        ("links", pa.list_(pa.string())),
    ]
    assert [name for name, _ in columns] == [field.name for field in fields(Entity)]
    return pa.schema(columns)


class KnowledgeBase:
    """A knowledge base that is open; its rows are read when they are first asked for."""

    def __init__(self, location: Location, path: Path, origin: Origin) -> None:
        self.location = location
        self.path = path
        self.origin = origin

    @property
    def digest(self) -> str:
        """Recognises the rows, whatever file they lie in."""
        return self.origin.digest

    @property
    def n_entities(self) -> int:
        return self.origin.n_entities

    @cached_property
    def table(self) -> pa.Table:
        """All rows; raises TableError where they cannot be read or are not what the footer says."""
        return self.columns(schema().names)

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Some columns of all rows."""
        import pyarrow.parquet as pq

        with reading(self.location):
            table = pq.read_table(self.path, columns=list(names), partitioning=None)
        wanted = [schema().field(name) for name in names]
        if [table.schema.field(name) for name in names] != wanted:
            raise TableError(f"{self.location} has other columns than a {KIND}; make it again")
        return table

    def rows_of(self, entity_ids: Sequence[str]) -> list[int | None]:
        """Where the entities stand in `table`; None for what is not in it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        ids = self.table["entity_id"] if "table" in self.__dict__ else self._ids
        found: list[int | None] = pc.index_in(
            pa.array(entity_ids, pa.string()), value_set=ids
        ).to_pylist()
        return found

    def entities(self, entity_ids: Sequence[str]) -> list[Entity | None]:
        """The entities of these ids; None for what is not in it."""
        import pyarrow as pa

        rows = self.rows_of(entity_ids)
        present = self.table.take(
            pa.array([row for row in rows if row is not None], pa.int64())
        ).to_pylist()
        found = iter(Entity(**row) for row in present)
        return [None if row is None else next(found) for row in rows]

    def entity(self, entity_id: str) -> Entity | None:
        """The entity of that id."""
        return self.entities([entity_id])[0]

    def named(self, name: str) -> list[Entity]:
        """All that go by a name, in small or large letters, the most likely first; often none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        aliases = self.table["aliases"].combine_chunks()
        folded = pc.utf8_lower(pc.list_flatten(aliases))
        hits = pc.equal(folded, pc.utf8_lower(pa.scalar(name)))
        rows = pc.unique(pc.filter(pc.list_parent_indices(aliases), hits))
        found = [Entity(**row) for row in self.table.take(rows).to_pylist()]
        return sorted(found, key=lambda e: (-weight_of(e, name), e.entity_id))

    @cached_property
    def _ids(self) -> pa.ChunkedArray:
        return self.columns(["entity_id"])["entity_id"]


def weight_of(entity: Entity, alias: str) -> float:
    """How much an alias speaks for an entity: its weight there, else the entity's prior."""
    if entity.alias_weights is None:
        return entity.prior
    both = zip(entity.aliases, entity.alias_weights, strict=True)
    wanted = alias.lower()
    return max((weight for one, weight in both if one.lower() == wanted), default=0.0)


def open_kb(location: Location | None = None) -> KnowledgeBase:
    """The knowledge base there; None is the one that comes with lesstext.

    Raises UsageError where there is none, TableError for a file that is something else.
    """
    place = EMBEDDED if location is None else location
    if not place.exists():
        raise UsageError(f"{place}: there is no such {KIND}")
    if isinstance(place, Path) and not place.is_file():
        raise UsageError(f"{place} is no file; a {KIND} is one parquet")
    path = cached(place, _version(place))
    return KnowledgeBase(place, path, _read_origin(path, place))


def _version(place: Location) -> str:
    return json.dumps(place.info(), default=str) if isinstance(place, RemotePath) else ""


def _read_origin(path: Path, shown: Location) -> Origin:
    from pyarrow import ArrowException

    try:
        metadata: dict[bytes, Any] = read_parquet_metadata(path)
    except (OSError, ArrowException) as error:
        words = " ".join(str(error).split())[:200]
        raise TableError(f"{shown} is no {KIND}: {words}") from error
    if METADATA_KEY not in metadata:
        raise TableError(
            f"{shown} is no {KIND} of ours; make one by: "
            f"lesstext entities kb {shown} --format table --out KB.parquet"
        )
    origin = validated(Origin, metadata[METADATA_KEY], f"{shown} is damaged", TableError)
    if origin.schema_version != SCHEMA_VERSION:
        raise TableError(
            f"{shown} has schema {origin.schema_version}, this version reads {SCHEMA_VERSION}: "
            "make it again"
        )
    return origin


def id_part(kb: KnowledgeBase) -> str:
    """How the id of an annotator names the knowledge base that it reads."""
    return f"kb={kb.digest}"


def require_same_kb(kb: KnowledgeBase, annotator_id: str, tables: object) -> None:
    """Raise UsageError where tables were made with another knowledge base than this one."""
    if id_part(kb) not in annotator_id.split(":"):
        made = next((p for p in annotator_id.split(":") if p.startswith("kb=")), "none")
        raise UsageError(
            f"{tables} were made with another knowledge base ({made}) than {kb.location} "
            f"({id_part(kb)}): give the one that they were made with, or make them again"
        )
