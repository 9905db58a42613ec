"""Wikidata's JSON dump, read once, in parallel and in bounded memory.

This process reads and unpacks; others parse, and write what is needed to disk. What can be seen is
then found in the subclass-of graph (P279): an item is depictable that is an instance of (P31) a
class at or below one of the roots, or is itself a class below one. The prior is the number of
linking sites plus 1, over 400, at most 1.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesstext.entities.converters.streams import blocks
from lesstext.entities.converters.wikidata_items import number_of, rows_of
from lesstext.entities.knowledge_base import Entity
from lesstext.errors import UsageError
from lesstext.processes import worker_pool

if TYPE_CHECKING:
    import pyarrow as pa

ROOTS = {
    "Q5": "human",
    "Q95074": "fictional character",
    "Q16521": "taxon",
    "Q55983715": "organisms known by a particular common name",
    "Q729": "animal",
    "Q756": "plant",
    "Q4936952": "anatomical structure",
    "Q2095": "food",
    "Q40050": "drink",
    "Q11460": "clothing",
    "Q14745": "furniture",
    "Q39546": "tool",
    "Q1183543": "device",
    "Q42889": "vehicle",
    "Q34379": "musical instrument",
    "Q728": "weapon",
    "Q11422": "toy",
    "Q2424752": "product",
    "Q838948": "work of art",
    "Q811979": "architectural structure",
    "Q486972": "human settlement",
    "Q271669": "landform",
    "Q15324": "body of water",
    "Q349": "sport",
    "Q431289": "brand",
}
"""Classes of what a photo can show, by their English labels; our choice."""
NOTICE = "Wikidata, CC0 1.0 (https://creativecommons.org/publicdomain/zero/1.0/)."
_FULL_SITELINKS = 400
_ROWS_AT_ONCE = 4096

OnProgress = Callable[[int], None]
Numbers = NDArray[np.int64]
_Parsed = tuple[Path | None, Counter[str]]
"""The file of a block's items, and its counts."""


@dataclass(kw_only=True)
class WikidataSource:
    """A dump by its path or URL; `counts` is filled while entities are read.

    `languages` are tried in turn for name and description; aliases are those of all. Only items
    with `min_sitelinks` are taken, and only depictable ones where that is asked for.
    """

    place: str
    languages: Sequence[str] = ("en", "mul")
    roots: Collection[str] = tuple(ROOTS)
    min_sitelinks: int = 0
    only_depictable: bool = False
    n_workers: int | None = None
    on_progress: OnProgress | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        bad = [root for root in self.roots if number_of(root) is None]
        if bad:
            raise UsageError(f"--root takes items such as Q5, got {bad[0]!r}")
        if self.min_sitelinks < 0:
            raise UsageError(f"--min-sitelinks must be at least 0, got {self.min_sitelinks}")

    def entities(self, scratch: Path) -> Iterator[Entity]:
        """The entities of the dump; what was read lies in `scratch` meanwhile.

        Raises UsageError for a dump without items, or that is damaged.
        """
        parts = self._parse(scratch)
        if not parts:
            raise UsageError(f"{self.place} holds no items of Wikidata's JSON dump")
        seen = _below(np.array([number_of(root) for root in self.roots]), *_edges(parts))
        for part in parts:
            for row in _rows(part):
                entity = self._entity(row, seen)
                if entity is not None:
                    self.counts["entities"] += 1
                    yield entity

    def _parse(self, scratch: Path) -> list[Path]:
        """Parse all lines into parquet files; some blocks wait for workers at most."""
        parts: list[Path] = []
        for part, counted in self._parsed(scratch):
            self.counts.update(counted)
            if part is not None:
                parts.append(part)
            if self.on_progress is not None:
                self.on_progress(self.counts["lines"])
        return parts

    def _parsed(self, scratch: Path) -> Iterator[_Parsed]:
        n_workers = self.n_workers or os.cpu_count() or 1
        work = (
            (lines, tuple(self.languages), scratch / f"part-{number:06d}.parquet")
            for number, lines in enumerate(blocks(self.place))
        )
        if n_workers == 1:
            yield from (_parse_block(*one) for one in work)
            return
        waiting: deque[Future[_Parsed]] = deque()
        with worker_pool(n_workers) as pool:
            for one in work:
                waiting.append(pool.submit(_parse_block, *one))
                if len(waiting) > 2 * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _entity(self, row: dict[str, Any], seen: Numbers) -> Entity | None:
        if not row["name"]:
            self.counts["unnamed"] += 1
            return None
        if row["n_sitelinks"] < self.min_sitelinks:
            self.counts["too few sitelinks"] += 1
            return None
        kinds = row["instance_of"] or ()
        depictable = _among(kinds, seen) or (not kinds and _among([row["number"]], seen))
        if self.only_depictable and not depictable:
            self.counts["not depictable"] += 1
            return None
        self.counts["depictable"] += depictable
        types = dict.fromkeys([*kinds, *(row["subclass_of"] or ())])
        return Entity(
            entity_id=f"Q{row['number']}",
            name=row["name"],
            description=row["description"],
            aliases=row["aliases"],
            prior=min(1.0, (row["n_sitelinks"] + 1) / _FULL_SITELINKS),
            types=[f"Q{number}" for number in types],
            depictable=depictable,
        )


@cache
def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("number", pa.int64()),
            ("name", pa.string()),
            ("description", pa.string()),
            ("aliases", pa.list_(pa.string())),
            ("n_sitelinks", pa.int32()),
            ("instance_of", pa.list_(pa.int64())),
            ("subclass_of", pa.list_(pa.int64())),
        ]
    )


def _parse_block(lines: list[bytes], languages: Sequence[str], path: Path) -> _Parsed:
    import pyarrow as pa
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    rows = rows_of(lines, languages, counts)
    if not rows:
        return None, counts
    pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), path, compression="lz4")
    return path, counts


def _rows(part: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(part) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            yield from batch.to_pylist()


def _edges(parts: Sequence[Path]) -> tuple[Numbers, Numbers]:
    """Of all that is a subclass: its number, and that of the class above."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    below, above = [], []
    for part in parts:
        table = pq.read_table(part, columns=["number", "subclass_of"]).combine_chunks()
        classes = table["subclass_of"].combine_chunks()
        places = pc.list_parent_indices(classes).to_numpy()
        below.append(table["number"].to_numpy()[places])
        above.append(pc.list_flatten(classes).to_numpy())
    return np.concatenate(below), np.concatenate(above)


def _below(roots: Numbers, below: Numbers, above: Numbers) -> Numbers:
    """The roots and all that is below them, sorted; circles do no harm.

    >>> _below(np.array([1]), np.array([2, 3, 1, 5]), np.array([1, 2, 3, 4])).tolist()
    [1, 2, 3]
    """
    order = np.argsort(above, kind="stable")
    below, above = below[order], above[order]
    found = newest = np.unique(roots.astype(np.int64))
    while len(newest):
        start, stop = np.searchsorted(above, newest), np.searchsorted(above, newest, "right")
        children = [below[a:b] for a, b in zip(start, stop, strict=True) if a < b]
        newest = np.setdiff1d(np.concatenate([np.zeros(0, np.int64), *children]), found)
        found = np.union1d(found, newest)
    return found


def _among(numbers: Sequence[int], found: Numbers) -> bool:
    """Whether one of the numbers is among those found, which are sorted."""
    for number in numbers:
        place = int(np.searchsorted(found, number))
        if place < len(found) and found[place] == number:
            return True
    return False
