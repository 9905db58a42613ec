"""A knowledge base of one's own: csv or parquet with the columns of `Entity`.

`entity_id` and `name` are needed. In csv, lists are divided by `|`. What is absent: no description,
no further aliases, a prior of 1, no types, depictable.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lesstext.entities.knowledge_base import Entity
from lesstext.errors import UsageError

_LISTS = ("aliases", "types", "links", "alias_weights")
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


class RowsSource:
    """A csv or parquet file; `counts` is filled while entities are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()

    def entities(self) -> Iterator[Entity]:
        """The rows that have a name; raises UsageError that names row and column."""
        for number, row in enumerate(self._rows(), 1):
            try:
                entity = _entity(row)
            except ValueError as error:
                raise UsageError(f"{self.path}, row {number}: {error}") from error
            if entity is None:
                self.counts["unnamed"] += 1
                continue
            self.counts["entities"] += 1
            yield entity

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        from pyarrow import ArrowException

        try:
            yield from _csv(self.path) if self.path.suffix == ".csv" else _parquet(self.path)
        except (OSError, UnicodeDecodeError, csv.Error, ArrowException) as error:
            words = " ".join(str(error).split())[:200]
            raise UsageError(f"{self.path} cannot be read: {words}") from error


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        _check(path, reader.fieldnames or ())
        for row in reader:
            found: dict[str, Any] = {name: value for name, value in row.items() if value}
            for name in _LISTS:
                if name in found:
                    found[name] = [part for part in found[name].split("|") if part.strip()]
            yield found


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        _check(path, file.schema_arrow.names)
        for batch in file.iter_batches():
            yield from batch.to_pylist()


def _check(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in ("entity_id", "name") if name not in names]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]}; it has: {', '.join(names)}")


def _entity(row: Mapping[str, Any]) -> Entity | None:
    """A row's entity, None for one without a name; raises ValueError that names the column."""
    name = _text(row, "name")
    if not name:
        return None
    entity_id = _text(row, "entity_id")
    if not entity_id:
        raise ValueError("entity_id is empty")
    aliases = _texts(row, "aliases")
    weights = row.get("alias_weights")
    if weights is not None:
        weights = [_number("alias_weights", weight) for weight in weights]
        if len(weights) != len(aliases):
            raise ValueError(f"{len(weights)} alias_weights for {len(aliases)} aliases")
    elif name not in aliases:
        aliases.insert(0, name)
    prior = row.get("prior")
    return Entity(
        entity_id=entity_id,
        name=name,
        description=_text(row, "description"),
        aliases=aliases,
        alias_weights=weights,
        prior=1.0 if prior is None else _number("prior", prior),
        types=_texts(row, "types"),
        depictable=_flag(row.get("depictable")),
        links=_texts(row, "links"),
    )


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is not None and not isinstance(value, (str, int)):
        raise ValueError(f"{name} is {value!r}, not a text")
    return "" if value is None else str(value).strip()


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    values = row.get(name)
    if values is not None and not isinstance(values, list):
        raise ValueError(f"{name} is {values!r}, not a list")
    texts = [_text({name: value}, name) for value in values or ()]
    return list(dict.fromkeys(text for text in texts if text))


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must be in 0 to 1, got {value!r}")
    return number


def _flag(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return value is not False
    text = str(value).strip().lower()
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(f"depictable must be true or false, got {value!r}")
    return text in _TRUE
