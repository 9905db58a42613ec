"""Some images of a sequence, spread evenly, read when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from attr_builder.labelled_images.sources import Source

T = TypeVar("T")


class Subset(Source):
    """Some rows of a source, in the order given."""

    def __init__(self, source: Source, rows: Sequence[int]) -> None:
        super().__init__(source.kind, source.location, source.classes)
        self._source, self._rows = source, rows
        self.keys = [source.keys[row] for row in rows]
        self.labels = [source.labels[row] for row in rows]
        self.paths = [source.paths[row] for row in rows]
        self.n_ignored = source.n_ignored

    def read(self, index: int) -> bytes:
        return self._source.read(self._rows[index])


def some_of(source: Source, limit: int | None) -> Source:
    """At most `limit` images of a source, evenly spaced; the source itself where it has no more."""
    if limit is None or limit >= len(source):
        return source
    return Subset(source, evenly(range(len(source)), limit))


def evenly(items: Sequence[T], limit: int | None) -> list[T]:
    """At most `limit` items, spread evenly over the whole sequence.

    >>> evenly("abcdef", 3), evenly(range(3), 7)
    (['a', 'c', 'e'], [0, 1, 2])
    """
    if limit is None or limit >= len(items):
        return list(items)
    return [items[len(items) * i // limit] for i in range(limit)]
