"""The manifest: one row per image and variant, failures included; Parquet and JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from attr_builder.drawing.fonts import FontFile
from attr_builder.drawing.presets import VARIANTS, Variant
from attr_builder.drawing.render import Placement
from attr_builder.errors import SetError
from lesstext.storage.files import atomic_path
from lesstext.storage.validation import validated

SCHEMA_VERSION = 1
PARQUET_NAME = "manifest.parquet"
JSONL_NAME = "manifest.jsonl"
_ROWS_PER_GROUP = 5000
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One twin of one source image.

    `key` and `attack_no` name the image and which of its attacks this is; `status` is `ok` or why
    there is no output (`reason` in words). Boxes are x0, y0, x1, y1 (right and bottom exclusive)
    in pixels of the stored image, and as shares of its width and height; they may reach outside.
    Text fields are None on the control without text. `contrast` is explained in
    `render.Placement`; `surround` says whether it is with the image, a stroke or a box.
    """

    key: str
    variant: Variant
    attack_no: int
    status: str
    reason: str | None
    source_path: str
    source_sha256: str | None
    width: int | None
    height: int | None
    true_label: int
    true_wnid: str
    true_name: str
    attack_label: int
    attack_wnid: str
    attack_name: str
    strategy: str
    noop: bool
    seed: int
    text: str | None = None
    box: list[int] | None = None
    box_ratio: list[float] | None = None
    visible_in_image: float | None = None
    visible_in_crop: float | None = None
    contrast: float | None = None
    contrast_mean: float | None = None
    surround: str | None = None
    surround_color: str | None = None
    fill_color: str | None = None
    font: str | None = None
    font_sha256: str | None = None
    font_px: int | None = None
    output_name: str | None = None
    output: str | None = None
    output_sha256: str | None = None
    output_bytes: int | None = None

    def to_json(self) -> str:
        """One line of the JSON manifest."""
        return _ENCODER.encode(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The columns by name; not `dataclasses.asdict`, whose deep copies take 0.3 ms a row."""
        return {name: getattr(self, name) for name in _COLUMNS}

    @classmethod
    def from_json(cls, line: str) -> Row:
        """The row that `to_json` wrote; raises SetError that names the field."""
        return validated(cls, line, "a row of the manifest is damaged", SetError, word="field")


_COLUMNS = tuple(column.name for column in fields(Row))
_REQUIRED = tuple(column.name for column in fields(Row) if "None" not in str(column.type))


def placement_fields(placement: Placement | None, size: tuple[int, int], font: FontFile) -> Any:
    """A placement as the fields of a Row; empty where nothing was drawn."""
    if placement is None:
        return {}
    width, height = size
    x0, y0, x1, y1 = placement.box
    return {
        "text": placement.text,
        "box": list(placement.box),
        "box_ratio": [x0 / width, y0 / height, x1 / width, y1 / height],
        "visible_in_image": placement.visible_in_image,
        "visible_in_crop": placement.visible_in_crop,
        "contrast": _or_none(placement.contrast),
        "contrast_mean": _or_none(placement.contrast_mean),
        "surround": placement.surround,
        "surround_color": _hex(placement.surround_color),
        "fill_color": _hex(placement.fill),
        "font": font.name,
        "font_sha256": font.sha256,
        "font_px": placement.font_px,
    }


def write_manifest(out: Path, rows: Iterable[Row], metadata: dict[str, str]) -> None:
    """Write both manifests, atomically, a few thousand rows in memory at a time."""
    import pyarrow.parquet as pq

    schema = _schema().with_metadata({"schema_version": str(SCHEMA_VERSION), **metadata})
    with (
        atomic_path(out / PARQUET_NAME) as parquet,
        atomic_path(out / JSONL_NAME) as lines,
        pq.ParquetWriter(parquet, schema) as writer,
        lines.open("w", encoding="utf-8") as file,
    ):
        for batch in _batches(rows):
            writer.write_table(_table(batch, schema))
            file.writelines(row.to_json() + "\n" for row in batch)


def read_manifest(out: Path) -> Iterator[Row]:
    """The rows of a built set in order.

    Raises SetError that names the manifest and the column, or the row, that is not as it is
    written here.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = out / PARQUET_NAME
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow)
            for batch in file.iter_batches(batch_size=_ROWS_PER_GROUP, columns=list(_COLUMNS)):
                for values in batch.to_pylist():
                    yield _checked(path, Row(**values))
    except (OSError, pa.ArrowException) as error:
        told = " ".join(str(error).split())
        raise SetError(f"{path}: no readable manifest; was the build finished? ({told})") from error


def _check_columns(path: Path, found: Any) -> None:
    for column in _schema():
        if column.name not in found.names:
            raise SetError(f"{path}: lacks the column {column.name}; not a manifest of this tool")
    version = (found.metadata or {}).get(b"schema_version", b"none").decode("utf-8", "replace")
    if version != str(SCHEMA_VERSION):
        raise SetError(
            f"{path} has schema {version}, this version writes and reads {SCHEMA_VERSION}: "
            "build the set again into another --out"
        )
    for column in _schema():
        given = found.field(column.name).type
        if not given.equals(column.type):
            raise SetError(f"{path}: the column {column.name} holds {given}, not {column.type}")


def _checked(path: Path, row: Row) -> Row:
    """A row whose labels count from 0, and whose image lies in the set's folder."""
    where = f"{path}: the row of key {row.key!r}"
    for name in _REQUIRED:
        if getattr(row, name) is None:
            raise SetError(f"{where} has no {name}")
    for name in ("true_label", "attack_label"):
        if getattr(row, name) < 0:
            raise SetError(f"{where} has the {name} {getattr(row, name)}")
    if row.variant not in VARIANTS:
        raise SetError(f"{where} has the variant {row.variant!r}")
    if row.status == "ok" and (row.output is None or row.output_name is None):
        raise SetError(f"{where} has no output")
    place = Path(row.output or "")
    if place.is_absolute() or ".." in place.parts:
        raise SetError(f"{where} names an image outside of the set: {row.output!r}")
    return row


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_PER_GROUP:
            yield batch
            batch = []
    yield batch


def _table(rows: list[Row], schema: Any) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist([row.as_dict() for row in rows], schema=schema)


def _schema() -> Any:
    import pyarrow as pa

    types = {
        "int": pa.int32(),
        "str": pa.string(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "Variant": pa.string(),
        "list[int]": pa.list_(pa.int32()),
        "list[float]": pa.list_(pa.float64()),
    }
    return pa.schema([(f.name, types[str(f.type).split(" | ")[0]]) for f in fields(Row)])


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _hex(color: tuple[int, int, int] | None) -> str | None:
    return None if color is None else "#{:02x}{:02x}{:02x}".format(*color)
