"""The rows of a shard so far, so that work inside a shard is not lost.

They lie beside the table in `.<stem>.parts/`, a file for each run of rows; a file appears whole and
says what it was made from. Whoever takes the shard next goes on behind the last of them, and when
the table is written they go.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.errors import LesstextError, TableError
from lesstext.storage.files import atomic_path
from lesstext.storage.paths import Location, RemotePath
from lesstext.storage.scratch import scratch_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from lesstext.shards.samples import Row

PARTS_SUFFIX = ".parts"
PART_SUFFIX = ".part"
_METADATA_KEY = b"lesstext_part"
_ROWS_PER_PART = 128
_ROWS_PER_REMOTE_PART = 1024


def remove_parts_of(tables: Collection[Location], out: Location) -> None:
    """Remove what a process left that was killed between writing one of these tables and tidying.

    Looks below `out` once, however many tables there are.
    """
    stems = {table.with_name(f".{table.name.rpartition('.')[0]}{PARTS_SUFFIX}") for table in tables}
    if not stems:
        return
    files: list[Location] = list(out.rglob(f"*{PART_SUFFIX}"))
    for file in files:
        if file.parent in stems:
            file.unlink(missing_ok=True)
            _remove_if_empty(file.parent)


def _remove_if_empty(folder: Location) -> None:
    if isinstance(folder, Path):
        with suppress(OSError):  # another process may be writing there
            os.rmdir(folder)


class Parts:
    """The rows of one shard, in tar order; the last ones in memory, the others on disk.

    `identity` is everything that decides a row, as JSON knows it; `keys` are those of all the
    shard's samples. What lies there from something else, or damaged, is removed.
    """

    def __init__(
        self, table: Location, schema: pa.Schema, identity: Any, keys: Sequence[str]
    ) -> None:
        stem = table.name.rpartition(".")[0]
        self._folder = table.with_name(f".{stem}{PARTS_SUFFIX}")
        is_remote = isinstance(table, RemotePath)
        self._size = _ROWS_PER_REMOTE_PART if is_remote else _ROWS_PER_PART
        self._made_from = json.dumps(identity, sort_keys=True).encode()
        self._schema = schema.with_metadata({_METADATA_KEY: self._made_from})
        self._files: list[tuple[Location, int]] = []
        self._rows: list[Row] = []
        self.n_rows = 0
        if len(keys) > self._size:
            self._find(keys)

    def add(self, row: Row) -> None:
        """Append one row; full parts go to disk."""
        self._rows.append(row)
        self.n_rows += 1
        if len(self._rows) == self._size:
            self.flush()

    def flush(self) -> None:
        """Bring all rows to disk."""
        import pyarrow as pa

        if self._rows:
            first = self.n_rows - len(self._rows)
            file = self._folder / f"{first:09d}{PART_SUFFIX}"
            with (
                atomic_path(file, durable=False) as partial,
                pa.ipc.new_file(partial, self._schema) as writer,
            ):
                writer.write_table(self._in_memory())
            self._files.append((file, len(self._rows)))
            self._rows = []

    def tables(self) -> Iterator[pa.Table]:
        """All rows, in tar order; raises TableError where a part has gone meanwhile."""
        for file, n_rows in self._files:
            table = self._read(file)
            if table is None or table.num_rows != n_rows:
                raise TableError(f"{file} has changed meanwhile; run the same command again")
            yield table
        if self._rows:
            yield self._in_memory()

    def _in_memory(self) -> pa.Table:
        import pyarrow as pa

        return pa.Table.from_pylist(self._rows, schema=self._schema)

    def forget(self) -> None:
        """Begin anew."""
        self.remove()
        self._files, self._rows, self.n_rows = [], [], 0

    def remove(self) -> None:
        """Remove the parts: the table stands, or they are of no use."""
        if isinstance(self._folder, RemotePath) and not self._files:
            return  # nothing is there, and asking would cost a request for each shard
        for file in self._folder.rglob(f"*{PART_SUFFIX}"):
            file.unlink(missing_ok=True)
        _remove_if_empty(self._folder)

    def _find(self, keys: Sequence[str]) -> None:
        found_files: list[Location] = list(self._folder.rglob(f"*{PART_SUFFIX}"))
        for file in sorted(found_files, key=str):
            try:
                table = self._read(file)
            except (OSError, LesstextError, ValueError):
                table = None
            found = [] if table is None else table["key"].to_pylist()
            if not found or found != list(keys[self.n_rows : self.n_rows + len(found)]):
                file.unlink(missing_ok=True)
                continue
            self._files.append((file, len(found)))
            self.n_rows += len(found)

    def _read(self, file: Location) -> pa.Table | None:
        """A part's rows; None when it was made from something else."""
        import pyarrow as pa

        with scratch_folder() as folder:
            path = file if isinstance(file, Path) else folder / file.name
            if isinstance(file, RemotePath):
                file.download(path)
            with pa.OSFile(str(path)) as opened:
                table = pa.ipc.open_file(opened).read_all()
        made_from = (table.schema.metadata or {}).get(_METADATA_KEY)
        if not table.schema.equals(self._schema) or made_from != self._made_from:
            return None
        table.validate(full=True)
        return table
