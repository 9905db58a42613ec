"""Tables of any annotator, written row by row without looking at a shard."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lesstext.shards.fingerprint import Fingerprint
from lesstext.tables.table import Footer, TableWriter, table_path

BASE = [("key", pa.string()), ("uid", pa.string()), ("status", pa.string()), ("error", pa.string())]
TYPES = {
    str: pa.string(),
    int: pa.int32(),
    float: pa.float32(),
    list: pa.list_(pa.list_(pa.float32())),
}


def made_table(
    folder: Path,
    shard: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    name: str,
    version: str = "",
    counts: Mapping[str, int] | None = None,
    types: Mapping[str, pa.DataType] | None = None,
    **footer: Any,
) -> Path:
    """Write FOLDER/SHARD.parquet; a row without a status is ok, types follow the first value.

    Shards of one name and `version` have one fingerprint; `counts` are those that the footer
    promises, by default the true ones; `types` are those of columns whose values do not tell.
    """
    full = [{"status": "ok", "error": None, **row} for row in rows]
    own = {
        column: TYPES[type(value)]
        for row in full
        for column, value in row.items()
        if value and column not in (types or {})
    }
    own.update(types or {})
    own.update({"text_area_ratio": pa.float32()} if name == "text_area" else {})
    others = [(column, kind) for column, kind in own.items() if column not in dict(BASE)]
    path = table_path(folder, shard)
    assert isinstance(path, Path)
    with TableWriter(path, pa.schema([*BASE, *others])) as table:
        for row in full:
            table.add(row)
        fields: dict[str, Any] = {
            "shard": shard,
            "fingerprint": Fingerprint(100, hashlib.md5(f"{shard}{version}".encode()).hexdigest()),
            "sha256": "0" * 64,
            "name": name,
            "annotator": f"{name} 1",
            "settings": {},
            "inputs": {},
            "counts": dict(counts or Counter(row["status"] for row in full)),
            "problems": [],
        }
        table.finish(Footer(**{**fields, **footer}))
    return path
