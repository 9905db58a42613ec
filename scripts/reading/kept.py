"""What was kept of each alt-text: the true entity, the rival, or the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from reproduction.measures import Estimate

from attr_builder.evaluation.statistics import bootstrap_interval
from lesstext.tables.table import find_tables
from reading.plan import Lot

ROLES = ("true", "rival", "other")
THRESHOLD_SHARE = 0.75
"""Of the true entities of the variant that sets a threshold, what it keeps."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Similarities (seeds, n, 3) of the samples of a lot to the entities of ROLES, -inf for what
    the linker did not find; `photos` (n) and `variants` (n) say what the samples are."""

    similarities: NDArray[np.float64]
    photos: NDArray[np.str_]
    variants: NDArray[np.str_]

    def first(self) -> NDArray[np.bool_]:
        """Whether each is the most similar, and was found (seeds, n, 3); the first of equals."""
        best = self.similarities.argmax(axis=2)[..., None] == np.arange(len(ROLES))
        return np.asarray(best & np.isfinite(self.similarities))

    def above(self, variant: str) -> NDArray[np.bool_]:
        """Whether each is at or above the threshold (seeds, n, 3) that keeps THRESHOLD_SHARE of the
        true entities of a variant; each seed has its own."""
        true = self.similarities[:, self.variants == variant, ROLES.index("true")]
        thresholds = np.quantile(true, 1 - THRESHOLD_SHARE, axis=1, method="lower")
        at_least = self.similarities >= thresholds[:, None, None]
        return np.asarray(at_least & np.isfinite(self.similarities))


def read_kept(lot: Lot, picks: Sequence[Path]) -> Kept:
    """Picks of a lot, one folder for each seed."""
    import pyarrow.parquet as pq

    truth = pq.read_table(lot.truth).to_pylist()
    places = {(row["shard"], row["key"]): number for number, row in enumerate(truth)}
    found = np.full((len(picks), len(truth), len(ROLES)), -np.inf)
    for seed, folder in enumerate(picks):
        for table in find_tables(folder):
            for row in pq.read_table(table, columns=["key", "picks"]).to_pylist():
                place = places[table.stem, row["key"]]
                similar = {one["entity_id"]: one["similarity"] for one in row["picks"] or ()}
                found[seed, place] = [similar.get(truth[place][role], -np.inf) for role in ROLES]
    photos, variants = ([str(row[name]) for row in truth] for name in ("photo", "variant"))
    return Kept(found, np.array(photos), np.array(variants))


Rows = tuple[NDArray[np.float64], list[str]]
Judge = Callable[[Kept], NDArray[np.bool_]]


def rows(kept: Kept, judge: Judge, role: str, variant: str) -> Rows:
    """Whether the entity of a role was kept (seeds, n) in a variant, and the photos (n)."""
    chosen = kept.variants == variant
    values = judge(kept)[:, chosen, ROLES.index(role)].astype(np.float64)
    return values, [str(photo) for photo in kept.photos[chosen]]


def share(kept: Kept, judge: Judge, role: str, variant: str) -> Estimate:
    """The share kept; the interval resamples photos and seeds."""
    return estimate(*rows(kept, judge, role, variant))


def excess(kept: Kept, times: float) -> Estimate:
    """The share of printed rivals kept first, minus so many times that of clean images: not above 0
    where the printing raises it at most so many times."""
    printed, photos = rows(kept, Kept.first, "rival", "printed")
    clean, same = rows(kept, Kept.first, "rival", "clean")
    assert photos == same
    return estimate(printed - times * clean, photos)


def ratio(kept: Kept) -> float:
    """How many times as often a rival is kept first where its word is printed; NaN where it never
    is, printed or not."""
    printed, clean = (share(kept, Kept.first, "rival", v).mean for v in ("printed", "clean"))
    return printed / clean if clean else float("inf" if printed else "nan")


def gain(base: Kept, kept: Kept, role: str, variant: str) -> Estimate:
    """The share kept first minus that of another selection of the same samples, paired by photo
    and seed."""
    before, photos = rows(base, Kept.first, role, variant)
    after, same = rows(kept, Kept.first, role, variant)
    if photos != same:
        raise ValueError("two selections are not of the same photos")
    return estimate(after - before, photos)


def estimate(values: NDArray[np.float64], photos: Sequence[str]) -> Estimate:
    """The mean of (seeds, n) values."""
    low, high = bootstrap_interval(values, photos)
    return Estimate(float(values.mean()), low, high, tuple(values.mean(axis=1).tolist()))


def figures(kept: Kept, variants: Sequence[str]) -> dict[str, dict[str, dict[str, Estimate]]]:
    """All shares by judge, role and variant; thresholds are set by the first variant."""
    judges: dict[str, Judge] = {
        "first": Kept.first,
        "above": lambda one: one.above(variants[0]),
    }
    return {
        name: {
            role: {variant: share(kept, judge, role, variant) for variant in variants}
            for role in ROLES
        }
        for name, judge in judges.items()
    }
