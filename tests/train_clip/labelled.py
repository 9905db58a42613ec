"""Labels of drawn shards, as `lesstext entities label` writes them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lesstext.entities.labels.reading import VOCABULARY_KEY, Labels
from lesstext.shards.fingerprint import fingerprint
from lesstext.shards.tar_reading import index_shard
from lesstext.tables.selection import Counts, Selection

Shown = Mapping[str, Sequence[str]]


def write_labels(path: Path, shards: Path, shown: Shown, *, kb: str = "kb") -> Path:
    """Labels at `path`: the entities of each key in the shards of a folder; keys may be left out.

    An entity `Q3` is named `thing 3` and described as `number 3`, but for `Q0`, which is not.
    """
    tars = sorted(shards.glob("*.tar"))
    keys = {tar.stem: [one.key for one in index_shard(tar, tar.stem).samples] for tar in tars}
    rows = [(s, key, list(shown[key])) for s in keys for key in keys[s] if key in shown]
    counts = Counter(entity for _, _, entities in rows for entity in entities)
    n_read = sum(map(len, keys.values()))
    selection = Selection(
        path=path,
        kind="labels",
        rule={},
        threshold=0.0,
        counts=Counts(read=n_read, kept=len(rows), dropped=n_read - len(rows), failed=0),
        annotators={},
        tables_digest=f"{path}",
        rows_digest="",
        fingerprints={tar.stem: fingerprint(tar) for tar in tars},
    )
    labels = Labels(selection=selection, drops={}, n_entities=len(counts), kb=kb)
    path.parent.mkdir(parents=True, exist_ok=True)
    types = (pa.string(), pa.string(), pa.list_(pa.string()))
    columns = dict(zip(("shard", "key", "entity_ids"), zip(*rows, strict=True), strict=True))
    table = pa.table(
        {n: pa.array(list(c), t) for (n, c), t in zip(columns.items(), types, strict=True)}
    )
    pq.write_table(table.replace_schema_metadata(labels.as_metadata()), path)
    ids = sorted(counts, key=lambda one: (-counts[one], one))
    vocabulary = pa.table(
        {
            "class_index": pa.array(range(len(ids)), pa.int32()),
            "entity_id": ids,
            "name": [f"thing {one[1:]}" for one in ids],
            "description": ["" if one == "Q0" else f"number {one[1:]}" for one in ids],
            "n_images": pa.array([counts[one] for one in ids], pa.int64()),
        }
    )
    said = {VOCABULARY_KEY: json.dumps({"labels": selection.id, "file": path.name}).encode()}
    pq.write_table(vocabulary.replace_schema_metadata(said), path.with_name("vocabulary.parquet"))
    return path
