"""A threshold from picks that somebody has marked as right or wrong."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.errors import UsageError
from lesstext.tables.columns import literal, quoted

if TYPE_CHECKING:
    from lesstext.tables.view import TableView

_MARKS = {"right": True, "wrong": False}
_UNMARKED = ("", "unsure")


@dataclass(frozen=True, slots=True)
class Mark:
    """What somebody says of a pick; without an entity, of the sample's most similar one."""

    shard: str
    key: str
    entity_id: str | None
    is_right: bool


@dataclass(frozen=True, slots=True)
class JudgedPick:
    """A pick that the rule may keep, and whether it is right."""

    similarity: float
    is_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenThreshold:
    """The lowest threshold at which the share of right ones among the marked picks suffices.

    `low` and `high` are the 95% interval of Clopper and Pearson for that share.
    """

    threshold: float
    precision: float
    low: float
    high: float
    n_right: int
    n_marked: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_marks(path: Path) -> list[Mark]:
    """Marks from a csv with columns `shard, key, mark` and perhaps `entity_id`.

    Raises UsageError that names the line for anything else.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            lacking = {"shard", "key", "mark"} - set(rows.fieldnames or ())
            if lacking:
                raise UsageError(f"--marks {path}: no column {', '.join(sorted(lacking))}")
            marks = [_mark(path, rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--marks {path} cannot be read: {error}") from error
    found = [mark for mark in marks if mark is not None]
    if not found:
        raise UsageError(f"--marks {path} holds no mark")
    _refuse_twice(path, found)
    return found


def choose_threshold(picks: Sequence[JudgedPick], min_precision: float) -> ChosenThreshold:
    """Raises UsageError where no threshold reaches the precision.

    >>> judged = [JudgedPick(0.9, True), JudgedPick(0.8, True), JudgedPick(0.7, False)]
    >>> choose_threshold(judged, 0.9).threshold
    0.8
    """
    if not 0 < min_precision <= 1:
        raise UsageError(f"--min-precision must be above 0 and at most 1, got {min_precision}")
    if not picks:
        raise UsageError("none of the marked picks is among those that --top keeps")
    ranked = sorted(picks, key=lambda pick: -pick.similarity)
    n_right, best, chosen = 0, 0.0, None
    for n, pick in enumerate(ranked, start=1):
        n_right += pick.is_right
        if n < len(ranked) and ranked[n].similarity == pick.similarity:
            continue  # no threshold lies between the two
        best = max(best, n_right / n)
        if n_right / n >= min_precision:
            chosen = (pick.similarity, n_right, n)
    if chosen is None:
        raise UsageError(
            f"no threshold reaches a precision of {min_precision:g} on {len(ranked)} marked picks; "
            f"the best is {best:.3f}"
        )
    return _with_interval(*chosen)


def judge(
    view: TableView, name: str, marks: Sequence[Mark], path: Path, top: int | None
) -> list[JudgedPick]:
    """The marked picks among the first `top` of their samples, with their similarities.

    Raises UsageError for a mark of a pick that the tables do not hold.
    """
    keys = {(mark.shard, mark.key) for mark in marks}
    listed = ", ".join(f"({literal(shard)}, {literal(key)})" for shard, key in sorted(keys))
    query = f"""SELECT shard, key, {quoted(f"{name}.picks")} FROM s
        WHERE status = 'ok' AND (shard, key) IN ({listed})"""
    found = {(shard, key): picks or [] for shard, key, picks in view.rows(query)}
    judged = []
    for mark in marks:
        picks = found.get((mark.shard, mark.key), [])
        wanted = mark.entity_id or (picks[0]["entity_id"] if picks else None)
        ids = [pick["entity_id"] for pick in picks]
        if wanted not in ids:
            what = f"entity {mark.entity_id}" if mark.entity_id else "any entity"
            raise UsageError(
                f"--marks {path}: shard {mark.shard}, key {mark.key}: the tables hold no pick of "
                f"{what}"
            )
        rank = ids.index(wanted)
        if top is None or rank < top:
            judged.append(JudgedPick(picks[rank]["similarity"], mark.is_right))
    return judged


def _mark(path: Path, line: int, row: dict[str, Any]) -> Mark | None:
    text = (row["mark"] or "").strip().lower()
    if text in _UNMARKED:
        return None
    if text not in _MARKS or not row["shard"] or not row["key"]:
        raise UsageError(
            f"--marks {path}, line {line}: takes shard, key and a mark (right or wrong), "
            f"got mark {row['mark']!r}"
        )
    return Mark(row["shard"], row["key"], row.get("entity_id") or None, _MARKS[text])


def _refuse_twice(path: Path, marks: Sequence[Mark]) -> None:
    seen: dict[tuple[str, str, str | None], bool] = {}
    for mark in marks:
        pick = (mark.shard, mark.key, mark.entity_id)
        if seen.setdefault(pick, mark.is_right) != mark.is_right:
            raise UsageError(
                f"--marks {path}: shard {mark.shard}, key {mark.key} is marked right and wrong"
            )


def _with_interval(threshold: float, n_right: int, n: int) -> ChosenThreshold:
    from scipy.stats import binomtest

    interval = binomtest(n_right, n).proportion_ci(0.95, method="exact")
    return ChosenThreshold(
        threshold=threshold,
        precision=n_right / n,
        low=float(interval.low),
        high=float(interval.high),
        n_right=n_right,
        n_marked=n,
    )
