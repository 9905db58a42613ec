"""What was found and what was kept, against what was drawn into the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from attr_builder.evaluation.statistics import Rate, rate
from lesstext.tables.table import find_tables

# Drawn text is legible and upright unless it belongs to the hard tenth of the corpus.
MIN_HEIGHT = 0.06
_KIND = """CASE WHEN NOT has_text THEN 'no text'
    WHEN hard = 'rotated' THEN 'rotated 20 to 70 degrees'
    WHEN hard = 'faint' THEN 'faint (opacity .18 to .30)'
    WHEN hard = 'small' OR height_ratio < 0.06 THEN 'letters below 6% of the height'
    ELSE 'upright: ' || style END"""
KINDS = ("clean", "misfit", "parrot", "swapped", "unrelated")


@dataclass(frozen=True, slots=True)
class Found:
    """How well one kind of text that repeats its caption is found: `n_right` of `n_found` samples
    that were found are parrots, and of all parrots of this kind the share `recall` is found."""

    text: str
    n: int
    recall: Rate
    n_found: int


@dataclass(frozen=True, slots=True)
class ParrotTruth:
    """Samples whose text stands in their caption, found by an overlap above 0.

    `precision` is over all samples that were found, of every kind of text; `legible` the recall
    over upright, legible text of at least 6% of the height.
    """

    measure: str
    n_samples: int
    precision: Rate
    legible: Found
    kinds: list[Found]
    n_found_of: dict[str, int]


def parrot_truth(overlap: Path, truth: Path, measure: str) -> ParrotTruth:
    """The column `measure` of the overlap tables against the truth; failures count as not found.

    Intervals are Wilson's, widened for the renderings of one photo.
    """
    rows = _rows(overlap, truth, measure)
    is_parrot = np.array([kind in ("parrot", "swapped") for kind, *_ in rows])
    found = np.array([row[3] for row in rows], dtype=bool)
    texts, photos = [row[1] for row in rows], np.array([row[2] for row in rows])

    def recall(name: str, chosen: Any) -> Found:
        here = chosen & is_parrot
        share = rate(found[here], photos[here].tolist())
        return Found(name, int(here.sum()), share, int((chosen & found).sum()))

    upright = np.array([text.startswith("upright") for text in texts])
    named = sorted({text for text in texts if text != "no text"})
    return ParrotTruth(
        measure=measure,
        n_samples=len(rows),
        precision=rate(is_parrot[found], photos[found].tolist()),
        legible=recall("upright, at least 6% of the height", upright),
        kinds=[recall(name, np.array([text == name for text in texts])) for name in named],
        n_found_of={kind: int(sum(row[3] for row in rows if row[0] == kind)) for kind in KINDS},
    )


def kept_by_kind(selection: Path | None, truth: Path) -> dict[str, float]:
    """The share that a selection (None: everything) keeps of the samples of each of KINDS."""
    counts = dict(
        duckdb.execute(
            "SELECT kind, count(*) FROM read_parquet(?) GROUP BY kind", [_files(truth)]
        ).fetchall()
    )
    if selection is None:
        return {kind: 1.0 for kind in KINDS if counts.get(kind)}
    kept = dict(
        duckdb.execute(
            """SELECT t.kind, count(*) FROM read_parquet(?) s JOIN read_parquet(?) t USING (key)
            GROUP BY t.kind""",
            [str(selection), _files(truth)],
        ).fetchall()
    )
    return {kind: kept.get(kind, 0) / counts[kind] for kind in KINDS if counts.get(kind)}


def _rows(overlap: Path, truth: Path, measure: str) -> list[tuple[str, str, str, bool]]:
    """Kind, kind of text, photo, and whether it was found, of each sample that has a table."""
    tables = [str(path) for path in find_tables(overlap)]
    return duckdb.execute(
        f"""SELECT t.kind, {_KIND}, t.photo, coalesce(o.{measure} > 0, false)
        FROM read_parquet(?, union_by_name = true) o JOIN read_parquet(?) t USING (key)
        ORDER BY key""",
        [tables, _files(truth)],
    ).fetchall()


def _files(truth: Path) -> Sequence[str]:
    return [str(path) for path in sorted(truth.glob("train-*.parquet"))]
