"""Parquet files as Hugging Face's `datasets` writes them: rows, and what the footer declares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attr_builder.errors import SourceError
from lesstext.shards.sources.image_parquet import declares_images


def read_group(path: Path, file: Any, group: int, columns: list[str]) -> list[dict[str, Any]]:
    """Rows of one group of a parquet file; raises SourceError where they cannot be read."""
    from pyarrow import ArrowException

    try:
        found: list[dict[str, Any]] = file.read_row_group(group, columns=columns).to_pylist()
    except (OSError, ValueError, ArrowException) as error:
        raise SourceError(f"{path}, row group {group}: is damaged: {one_line(error)}") from error
    return found


def holds_images(path: Path) -> bool:
    """Whether parquet is a source or metadata; what is damaged is a source, and fails by name."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        return declares_images(pq.read_schema(path))
    except (OSError, ArrowException):
        return True


def one_line(error: Exception) -> str:
    """An error's words, cut to what fits a line."""
    return " ".join(str(error).split())[:200]


def declared_names(metadata: dict[bytes, bytes]) -> list[str] | None:
    """The class names that Hugging Face wrote into the parquet footer, if any."""
    try:
        info = json.loads(metadata.get(b"huggingface", b"{}"))
        names = info["info"]["features"]["label"]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return names if isinstance(names, list) else None
