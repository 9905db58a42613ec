"""Labels read back: what they say of themselves, the entities of a shard's samples, the classes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lesstext.errors import TableError
from lesstext.storage.paths import Location, cached
from lesstext.storage.validation import validated
from lesstext.tables.selection import Selection, read_selection
from lesstext.tables.table import read_parquet_metadata, reading

if TYPE_CHECKING:
    import pyarrow as pa

LABELS_KEY = b"lesstext_labels"
VOCABULARY_KEY = b"lesstext_vocabulary"
VOCABULARY_FILE = "vocabulary.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """What a labels file says beyond what every selection does."""

    drops: dict[str, int]
    n_entities: int
    kb: str
    chosen: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels: a selection, the drops by reason, the number of classes and the digest of the
    knowledge base; `chosen` is how the threshold came about where marks decided it."""

    selection: Selection
    drops: dict[str, int]
    n_entities: int
    kb: str
    chosen: dict[str, Any] | None = None

    def as_metadata(self) -> dict[bytes, bytes]:
        """What the file says about itself, as parquet metadata."""
        said = _Described(
            drops=self.drops, n_entities=self.n_entities, kb=self.kb, chosen=self.chosen
        )
        text = json.dumps(asdict(said), sort_keys=True)
        return {**self.selection.as_metadata(), LABELS_KEY: text.encode()}


def vocabulary_path(labels: Location) -> Location:
    """Where the classes of a labels file stand."""
    return labels.with_name(VOCABULARY_FILE)


def vocabulary_owner(path: Location) -> str | None:
    """The name of the labels file that a vocabulary belongs to; None where that cannot be told."""
    from pyarrow import ArrowException

    try:
        owner = _said_by_vocabulary(path).get("file")
    except (OSError, ArrowException):
        return None
    return owner if isinstance(owner, str) else None


def _said_by_vocabulary(path: Location) -> dict[str, Any]:
    said: Any = json.loads(read_parquet_metadata(path).get(VOCABULARY_KEY, b"{}"))
    return said if isinstance(said, dict) else {}


def has_labels(path: Location) -> bool:
    """Whether a selection is one of labels; raises TableError where it cannot be read."""
    with reading(path):
        return LABELS_KEY in read_parquet_metadata(path)


def read_labels(path: Location) -> Labels:
    """What a labels file says of itself; raises TableError for anything else."""
    selection = read_selection(path)
    metadata = read_parquet_metadata(path)
    if LABELS_KEY not in metadata:
        raise TableError(
            f"{path} is a selection without labels; make some by: lesstext entities label"
        )
    said = validated(_Described, metadata[LABELS_KEY], f"{path} is damaged", TableError)
    return Labels(
        selection=selection,
        drops=said.drops,
        n_entities=said.n_entities,
        kb=said.kb,
        chosen=said.chosen,
    )


def read_entity_ids(path: Location, selection_id: str, shard: str) -> list[list[str]]:
    """The entities of each sample that is kept in one shard, in the order of `read_keys`."""
    import pyarrow.parquet as pq

    file = cached(path, selection_id)
    with reading(path):
        table = pq.read_table(file, columns=["entity_ids"], filters=[("shard", "=", shard)])
    found: list[list[str]] = table.column("entity_ids").to_pylist()
    return found


def read_vocabulary(labels: Labels) -> pa.Table:
    """The classes: `class_index, entity_id, name, description, n_images`, most images first.

    Raises TableError where they are missing, or belong to other labels.
    """
    import pyarrow.parquet as pq

    path = vocabulary_path(labels.selection.path)
    with reading(path):
        said = _said_by_vocabulary(path)
        if said.get("labels") != labels.selection.id:
            raise TableError(
                f"{path} is not the vocabulary of {labels.selection.path}; label again"
            )
        return pq.read_table(cached(path, labels.selection.id))
