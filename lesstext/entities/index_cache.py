"""Where indexes of aliases lie: in the cache, made once a machine, memory-mapped by all workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.entities.alias_index import AliasIndex
from lesstext.entities.index_building import build
from lesstext.entities.words import UNICODE
from lesstext.errors import UsageError
from lesstext.storage.cache import made_once

if TYPE_CHECKING:
    from lesstext.entities.knowledge_base import KnowledgeBase

LAYOUT = 1
"""Number of the file's layout and of what is sought; another whenever either changes."""


def open_index(kb: KnowledgeBase) -> AliasIndex:
    """The index of a knowledge base, built where the cache has none; others wait meanwhile.

    Raises UsageError where nothing can be written into the cache.
    """
    name = f"aliases-{kb.digest}-{LAYOUT}-{UNICODE}.arrow"
    return _mapped(made_once(name, lambda partial: _write(partial, build(kb))))


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    import pyarrow as pa

    columns = {
        name: pa.LargeListArray.from_arrays([0, len(values)], pa.array(values))
        for name, values in arrays.items()
    }
    table = pa.table(columns)
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)


def _mapped(path: Path) -> AliasIndex:
    import pyarrow as pa

    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        arrays = [
            batch.column(f.name).values.to_numpy(zero_copy_only=True) for f in fields(AliasIndex)
        ]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise UsageError(f"{path} is damaged: delete it, it will be made again") from error
    return AliasIndex(*arrays)
