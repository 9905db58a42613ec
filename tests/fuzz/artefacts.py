"""Sound artefacts to damage, made once per process, and ways to damage what they say."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lesstext.annotators.text_area import TextArea
from lesstext.engines.local import InlineEngine
from lesstext.engines.whole_run import RunConfig, RunSummary, execute, plan
from lesstext.export.plan import ExportConfig
from lesstext.export.whole_run import ExportSummary, export
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from tests.fuzz.mutations import damage
from tests.lesstext.builders import ratio_samples, sample, write_tar

Files = dict[str, bytes]
RULE = Rule(where="text_area_ratio <= 0.3")
_ODD_VALUES: list[Any] = [
    None, True, -1, 0, 7, 2**31, 2**63, -(2**70), 0.5, float("nan"), float("inf"), "", "x", "²",
    "\0", "\ud800", "../../esc", "/etc/passwd", "2", [], {}, [[]], {"a": {"b": []}}, "n" * 10_000,
]  # fmt: skip


def score(shards: Path, out: Path) -> RunSummary:
    """Score with the fake detector, in this process."""
    config = RunConfig(
        shards=(str(shards),), out=out, annotator=TextArea(detector="fake"), workers=1
    )
    todo = plan(config)
    return execute(config, todo, InlineEngine(todo.annotator))


def write_shards(shards: Path, selection: Path, out: Path) -> ExportSummary:
    """Export in this process."""
    config = ExportConfig(shards=(str(shards),), selection=selection, out=out, workers=1)
    return export(config)


@cache
def sound() -> Files:
    """Two shards below `shards/`, their `scores/`, `keep.parquet`, and the export in `kept/`."""
    with tempfile.TemporaryDirectory(prefix="lesstext-fuzz-") as name:
        folder = Path(name)
        ratios = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
        broken = sample("broken", b"no image", "jpg")
        write_tar(folder / "shards/a/0.tar", [*ratio_samples(ratios, "x"), *broken])
        write_tar(folder / "shards/b.tar", ratio_samples(ratios[::-1], "y"))
        score(folder / "shards", folder / "scores")
        select(folder / "scores", folder / "keep.parquet", RULE)
        write_shards(folder / "shards", folder / "keep.parquet", folder / "kept")
        return dict(read_tree(folder))


def read_tree(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, hidden ones included."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def put(files: Files, start: str, folder: Path) -> None:
    """Write those files whose names begin with `start`, below a folder."""
    for name, data in files.items():
        if name.startswith(start):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def odd_value(rng: random.Random) -> Any:
    return rng.choice(_ODD_VALUES)


def damage_json(rng: random.Random, text: bytes) -> bytes:
    """A JSON text with an odd value somewhere, a field too few or too many, or damaged bytes."""
    how = rng.random()
    if how < 0.2:
        return damage(rng, text)
    if how < 0.3:
        return rng.choice([b"", b"[]", b"null", b"7", b'"x"', b"[" * 50_000, b"\xff\xfe{}", b"{}"])
    value = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        _change_somewhere(rng, value)
    return json.dumps(value).encode()


def _change_somewhere(rng: random.Random, value: Any) -> None:
    places = list(_places(value))
    if not places:
        return
    holder, key = rng.choice(places)
    how = rng.random()
    if how < 0.15 and isinstance(holder, dict):
        holder[rng.choice(["unknown", "schema_version", "", "\ud800"])] = odd_value(rng)
    elif how < 0.3:
        del holder[key]
    else:
        holder[key] = odd_value(rng)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def damage_parquet(rng: random.Random, data: bytes, entry: bytes) -> bytes:
    """Damaged bytes, other rows or columns, or another description under the metadata's `entry`."""
    how = rng.random()
    if how < 0.3:
        return damage(rng, data)
    if how < 0.4:
        start = rng.randrange(len(data))
        n = min(rng.choice([8, 400, 4000]), len(data) - start)
        return data[:start] + bytes(n) + data[start + n :]
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        rows, metadata = file.read(), dict(file.metadata.metadata)
    if how < 0.75:
        rows = _other_rows(rng, rows)
    else:
        metadata[entry] = damage_json(rng, metadata[entry])
    if how > 0.97:
        del metadata[entry]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema, compression="zstd") as writer:
        writer.write_table(rows)
        metadata.pop(b"ARROW:schema", None)
        writer.add_key_value_metadata(metadata)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _other_rows(rng: random.Random, rows: pa.Table) -> pa.Table:
    number = rng.randrange(len(rows))
    name = rng.choice(rows.column_names)
    how = rng.randrange(8)
    if how == 0:
        return rows.slice(number)
    if how == 1:
        return pa.concat_tables([rows, rows.slice(number, 1)])
    if how == 2:
        return pa.concat_tables([rows.slice(number), rows.slice(0, number)])
    if how == 3:
        return rows.drop_columns([name])
    if how == 4:
        return rows.rename_columns([f"{c}!" if c == name else c for c in rows.column_names])
    if how == 5:
        return _with_column(rows, name, pa.array([str(i) for i in range(len(rows))]))
    return _with_value(rng, rows, name, number)


def _with_value(rng: random.Random, rows: pa.Table, name: str, number: int) -> pa.Table:
    """One value replaced by another of its type, by null, NaN or what is far out of range."""
    values, type_ = rows.column(name).to_pylist(), rows.schema.field(name).type
    odd: list[Any] = [None]
    if pa.types.is_floating(type_):
        odd += [float("nan"), 2.0, -0.1, float("inf"), 1e30]
    elif pa.types.is_integer(type_):
        odd += [-1, 0, 2**15 - 1]
    elif pa.types.is_string(type_):
        odd += ["", "../../esc", "ok", "duplicate_key", "no such word", values[0], "\0", "n" * 999]
    else:
        odd += [[], [[0.0]], [[]], [[float("nan")] * 8]] if "list" in str(type_) else []
    values[number] = rng.choice(odd)
    return _with_column(rows, name, pa.array(values, type_))


def _with_column(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)
