"""In what two files of one kind differ: in bytes, in named fields, or in what they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

_NUMBER = re.compile(r"\d[\d,]*(\.\d+)?(e[-+]?\d+)?")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """`fields` that differ where all else is equal; or a `reason` why nothing can be said so."""

    fields: set[str] = field(default_factory=set)
    reason: str = ""


def compare_files(old: Path, new: Path) -> Difference | None:
    """None for byte-equal files.

    Parquet, JSON, JSON lines and checkpoints are compared by their fields, other text by lines:
    lines that differ in numbers alone, as times do, count as a field.
    """
    if old.read_bytes() == new.read_bytes():
        return None
    compare = _COMPARE.get(old.suffix)
    try:
        return Difference(reason="other bytes") if compare is None else compare(old, new)
    except (OSError, ValueError) as error:
        return Difference(reason=f"cannot be compared: {error}")


def differing_paths(old: Any, new: Any) -> set[str]:
    """The dotted paths of nested values at which two differ; list positions are written `[]`.

    >>> sorted(differing_paths({"a": 1, "b": [{"c": 2}]}, {"a": 1, "b": [{"c": 3}], "d": 4}))
    ['b[].c', 'd']
    """
    return set(_differing(old, new, ""))


def _differing(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            below = f"{path}.{key}" if path else str(key)
            yield from _differing(old.get(key, _MISSING), new.get(key, _MISSING), below)
    elif _is_list(old) and _is_list(new) and len(old) == len(new):
        for one, other in zip(old, new, strict=True):
            yield from _differing(one, other, f"{path}[]")
    elif not _is_same(old, new):
        yield path


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_same(a: Any, b: Any) -> bool:
    if hasattr(a, "shape") and hasattr(b, "shape"):  # a tensor
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    return type(a) is type(b) and (a == b or (a != a and b != b))


def _compare_json(old: Path, new: Path) -> Difference:
    return _by_fields(json.loads(old.read_text("utf-8")), json.loads(new.read_text("utf-8")))


def _compare_json_lines(old: Path, new: Path) -> Difference:
    rows = [
        [json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in (old, new)
    ]
    return _by_fields(*rows)


def _compare_checkpoints(old: Path, new: Path) -> Difference:
    import torch

    loaded = [torch.load(path, map_location="cpu", weights_only=True) for path in (old, new)]
    return _by_fields(*(_parsed(one) for one in loaded))


def _parsed(value: dict[str, Any]) -> dict[str, Any]:
    """With the texts that hold JSON opened up."""
    return {
        name: json.loads(inner) if name.endswith("_json") and isinstance(inner, str) else inner
        for name, inner in value.items()
    }


def _by_fields(old: Any, new: Any) -> Difference:
    # Equal values in other bytes: the order of keys, or spaces.
    return Difference(fields=differing_paths(old, new) or {"layout"})


def _compare_parquet(old: Path, new: Path) -> Difference:
    import pyarrow.parquet as pq

    a, b = pq.read_table(old), pq.read_table(new)
    if a.num_rows != b.num_rows:
        return Difference(reason=f"{a.num_rows} rows and {b.num_rows}")
    fields = set()
    for name in sorted({*a.column_names, *b.column_names}):
        if name not in a.column_names or name not in b.column_names:
            fields.add(f"column {name}")
            continue
        types = a.schema.field(name).type, b.schema.field(name).type
        if types[0] != types[1]:
            fields.add(f"type of {name}: {types[0]}, now {types[1]}")
        values = a[name].to_pylist(), b[name].cast(types[0]).to_pylist()
        if repr(values[0]) != repr(values[1]):  # as texts, NaN equals NaN
            return Difference(reason=f"values of {name}")
    metadata = [_metadata(pq.read_metadata(path).metadata or {}) for path in (old, new)]
    fields |= {f"metadata {path}" for path in differing_paths(*metadata)}
    return Difference(fields=fields or {"layout"})


def _metadata(raw: dict[bytes, bytes]) -> dict[str, Any]:
    """The footer's entries; Arrow's own copy of the schema tells nothing beyond the types."""
    entries = {key.decode(): value.decode() for key, value in raw.items()}
    return {key: _json_or_text(text) for key, text in entries.items() if key != "ARROW:schema"}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _compare_lines(old: Path, new: Path) -> Difference:
    lines = [path.read_text("utf-8").splitlines() for path in (old, new)]
    differing = [(a, b) for a, b in zip_longest(*lines, fillvalue="") if a != b]
    for a, b in differing:
        if _NUMBER.sub("0", a) != _NUMBER.sub("0", b):
            return Difference(reason=f"{_around(a, b)!r}, now {_around(b, a)!r}")
    return Difference(fields={f"numbers in {len(differing)} of {len(lines[0])} lines"})


def _around(text: str, other: str) -> str:
    """The part of a line where it departs from another."""
    same = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0)
    return text[max(0, same - 30) : same + 60]


_COMPARE: dict[str, Callable[[Path, Path], Difference]] = {
    ".parquet": _compare_parquet,
    ".json": _compare_json,
    ".jsonl": _compare_json_lines,
    ".pt": _compare_checkpoints,
    ".txt": _compare_lines,
    ".md": _compare_lines,
    ".html": _compare_lines,
    ".csv": _compare_lines,
}
