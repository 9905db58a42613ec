"""Parquet with a column of images, as Hugging Face's `datasets` writes it: one row, one sample.

The image is a struct of `bytes` and `path`, or plain binary; columns that hold neither images nor
other bytes become the sample's `json`. A text column `__key__` or `key` gives the keys, else the
number of the row does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.errors import ImageError, ShardError, UsageError
from lesstext.image_formats import format_of
from lesstext.shards.sources.keys import key_of
from lesstext.shards.sources.kinds import is_image_name, suffix_of
from lesstext.shards.sources.members import write_fields
from lesstext.shards.tar_writing import end_archive, write_member

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# The likeliest names of an image's column; where there are several images a row, these are it.
_IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo")
_KEY_COLUMNS = ("__key__", "key")
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
_ROWS_AT_A_TIME = 8  # a row may hold a photo of 100 MB
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageColumns:
    """Where a parquet file holds its images: `bytes`, and the `path` beside them if there is one.

    Both are paths into structs (`a.image.bytes`); `fields` are the columns of everything else.
    """

    data: str
    path: str | None
    fields: tuple[str, ...]


def image_columns(schema: pa.Schema) -> ImageColumns:
    """The columns to read; raises UsageError that says what the file holds instead of images."""
    found = [hit for field in schema for hit in _images_in(field, "")]
    named = [hit for name in _IMAGE_NAMES for hit in found if hit[0].split(".")[-1] == name]
    structs = [hit for hit in found if hit[1] is not None]
    if not (named or structs):
        lists = [field.name for field in schema if _is_list_of_images(field.type)]
        held = f"lists of images in {lists[0]!r}, where one a row is read" if lists else (
            f"no column of images, only {', '.join(schema.names[:10]) or 'nothing'}"
        )  # fmt: skip
        raise UsageError(f"holds {held}")
    path, inner, beside = (named or structs)[0]
    data = path if inner is None else f"{path}.{inner}"
    fields = tuple(field.name for field in schema if not _holds_bytes(field.type))
    return ImageColumns(data, None if beside is None else f"{path}.{beside}", fields)


def pack_parquet(path: Path, target: Path, shard: str) -> list[str]:
    """Write all rows as samples of a tar, few at a time; returns what is damaged.

    Rows before the damage are kept. Raises ShardError where there are none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    n_rows = 0
    try:
        with (
            pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file,
            target.open("wb") as tar,
        ):
            columns = image_columns(file.schema_arrow)
            try:
                for row in _rows(file, columns):
                    key = _key(row, n_rows)
                    data, name = _value(row, columns.data), _value(row, columns.path or "")
                    fields = {field: row[field] for field in columns.fields}
                    if name:
                        fields.setdefault("image_path", name)
                    write_fields(tar, key, fields)
                    if data:
                        write_member(tar, f"{key}.{_suffix(data, name)}", data)
                    n_rows += 1
            except (OSError, ValueError, pa.ArrowException) as error:
                if not n_rows:
                    raise
                return [
                    f"is damaged behind row {n_rows} of {file.metadata.num_rows}: {_line(error)}"
                ]
            finally:
                end_archive(tar)
    except UsageError as error:
        raise ShardError(shard, str(error)) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ShardError(shard, f"cannot be read as parquet: {_line(error)}") from error
    return []


def _rows(file: pq.ParquetFile, columns: ImageColumns) -> Iterator[dict[str, Any]]:
    wanted = [columns.data, *([columns.path] if columns.path else []), *columns.fields]
    for batch in file.iter_batches(_ROWS_AT_A_TIME, columns=wanted, use_threads=False):
        yield from batch.to_pylist()


def _images_in(field: pa.Field, above: str) -> Iterator[tuple[str, str | None, str | None]]:
    """Each image in a column: its path and, of a struct, the names of bytes and path in it."""
    import pyarrow.types as types

    path = f"{above}{field.name}"
    if _is_binary(field.type):
        yield path, None, None
    elif types.is_struct(field.type):
        inner = {child.name: child for child in field.type}
        if "bytes" in inner and _is_binary(inner["bytes"].type):
            yield path, "bytes", "path" if "path" in inner else None
        else:
            for child in inner.values():
                yield from _images_in(child, f"{path}.")


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return _is_binary(kind.value_type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_list_of_images(kind: pa.DataType) -> bool:
    return hasattr(kind, "value_type") and _holds_bytes(kind.value_type)


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if _is_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    if types.is_struct(kind):
        return any(_holds_bytes(child.type) for child in kind)
    if types.is_map(kind):
        return _holds_bytes(kind.item_type)
    return hasattr(kind, "value_type") and _holds_bytes(kind.value_type)


def _key(row: dict[str, Any], number: int) -> str:
    named = next((row[name] for name in _KEY_COLUMNS if isinstance(row.get(name), str)), None)
    return key_of(named) if named else f"{number:08d}"


def _value(row: dict[str, Any], path: str) -> Any:
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _suffix(data: bytes, name: Any) -> str:
    """By the content, else by the name that stands beside it."""
    try:
        return _SUFFIXES[format_of(data)]
    except ImageError:
        return suffix_of(name) if isinstance(name, str) and is_image_name(name) else "jpg"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def declares_images(schema: pa.Schema) -> bool:
    """Whether a parquet file of this schema is a source: it holds a column of images."""
    try:
        image_columns(schema)
    except UsageError:
        return False
    return True
