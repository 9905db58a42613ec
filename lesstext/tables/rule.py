"""Rules over tables: which of the samples that are `ok` everywhere are kept, and as which SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lesstext.errors import TableError, UsageError
from lesstext.tables.columns import DUPLICATE, Columns, first_line, quoted
from lesstext.tables.predicate import Predicate, label, parse_predicate

if TYPE_CHECKING:
    from lesstext.tables.view import TableView

_UNIT = "\x1f"  # separates seed, shard and key before hashing; occurs in none of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which `ok` samples are kept: those that meet an expression, or the lowest of a column.

    `where` is an expression over columns; `keep_fraction` in [0, 1] keeps that share of the ok
    samples, those first whose number `by` is lowest, or highest; ties go by hash(seed, shard,
    key), and where the column is null nothing is kept. With `at_random` the hash alone decides.
    `policy` names the rule, `policy_where` is its own expression, `made_by` tells what makes the
    columns that it needs. Of several conditions all must be met, and a share is one of all ok
    samples. `keep_failed` keeps failures, too.
    """

    policy: str | None = None
    policy_where: str | None = None
    where: str | None = None
    keep_fraction: float | None = None
    by: str | None = None
    highest: bool = False
    at_random: bool = False
    seed: int = 0
    keep_failed: bool = False
    made_by: str | None = None

    def __post_init__(self) -> None:
        if not self.expressions and self.keep_fraction is None:
            raise UsageError("give a rule: --where or --keep-fraction")
        if self.keep_fraction is None:
            if self.by is not None or self.highest or self.at_random:
                raise UsageError("--by and --highest go with --keep-fraction")
        elif (self.by is None) != self.at_random:
            raise UsageError("--keep-fraction needs --by COLUMN, unless it is at random")
        elif not 0 <= self.keep_fraction <= 1:
            raise UsageError(f"--keep-fraction must be within 0 to 1, got {self.keep_fraction}")

    @property
    def expressions(self) -> list[str]:
        """What a sample must meet, beside being in the share."""
        return [text for text in (self.policy_where, self.where) if text is not None]

    def as_json(self) -> dict[str, Any]:
        """All that is needed to repeat it; what does not apply is left out."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        fields.pop("made_by", None)
        if self.by is None:
            del fields["highest"]
        if not self.at_random:
            del fields["at_random"]
        return fields


@dataclass(frozen=True, slots=True)
class Keep:
    """A rule as SQL over the view: `ok` says which ok samples it keeps, `all` what is kept.

    `threshold` is the value of the last sample kept, where the rule is a fraction.
    """

    ok: str
    all: str
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class BoundRule:
    """A rule whose names are known to be columns of the view."""

    rule: Rule
    predicates: tuple[Predicate, ...]
    by: str | None

    @property
    def columns(self) -> frozenset[str]:
        """The view's columns that it reads."""
        named = frozenset[str]().union(*(predicate.columns for predicate in self.predicates))
        return named if self.by is None else named | {self.by}

    def keep(self, view: TableView, n_ok: int) -> Keep:
        """What the rule comes to over these rows; raises UsageError where it cannot be used."""
        conditions, threshold = [self._where(view, p) for p in self.predicates], None
        if self.rule.keep_fraction is not None:
            in_share, threshold = self._fraction(view, round(self.rule.keep_fraction * n_ok))
            conditions.append(in_share)
        ok = " AND ".join(f"({condition})" for condition in conditions)
        ok = f"(status = 'ok' AND coalesce({ok}, false))"
        if not self.rule.keep_failed:
            return Keep(ok, ok, threshold)
        # A duplicate's key names another sample: it has no identity under which to be kept.
        return Keep(ok, f"({ok} OR status NOT IN ('ok', '{DUPLICATE}'))", threshold)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What DuckDB finds wrong while it evaluates the expression is said as wrong use of it."""
        import duckdb

        try:
            yield
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise TableError(f"the tables cannot be read: {first_line(error)}") from error
        except duckdb.Error as error:
            if not self.predicates:
                raise TableError(f"the tables cannot be read: {first_line(error)}") from error
            text = self.predicates[-1].text
            raise UsageError(f"{label(text)}: {first_line(error)}") from error

    def _where(self, view: TableView, predicate: Predicate) -> str:
        with self.explained():
            kind = view.rows(f"DESCRIBE SELECT {predicate.sql} FROM s")[0][1]
        if kind != "BOOLEAN":
            raise UsageError(f"{label(predicate.text)} is {kind}, neither true nor false")
        return predicate.sql

    def _fraction(self, view: TableView, n_keep: int) -> tuple[str, float | None]:
        """The lowest, or highest, ok rows; only ties at the cut need their hashes."""
        if self.by is None:
            return lowest_hashes(view, "status = 'ok'", n_keep, self.rule.seed), None
        if not view.is_number(self.by):
            raise UsageError(f"--by {self.rule.by}: it is {view.types[self.by]}, not a number")
        if n_keep == 0:
            return "false", None
        column, before = quoted(self.by), ">" if self.rule.highest else "<"
        direction = "DESC" if self.rule.highest else "ASC"
        (cut,) = view.one(
            f"""SELECT {column} FROM s WHERE status = 'ok'
            ORDER BY {column} {direction} NULLS LAST LIMIT 1 OFFSET {n_keep - 1}"""
        )
        if cut is None:  # fewer samples have a value
            self._refuse_without_values(view, column)
            return f"{column} IS NOT NULL", None
        exactly = f"CAST('{cut}' AS {view.types[self.by]})"
        n_before, n_at = view.one(
            f"""SELECT count_if({column} {before} {exactly}), count_if({column} = {exactly})
            FROM s WHERE status = 'ok'"""
        )
        ties = f"{column} = {exactly}"
        if n_at > n_keep - n_before:
            at_cut = f"status = 'ok' AND {ties}"
            ties = lowest_hashes(view, at_cut, n_keep - n_before, self.rule.seed)
        return f"({column} {before} {exactly} OR {ties})", float(cut)

    def _refuse_without_values(self, view: TableView, column: str) -> None:
        """A policy over a column that is null everywhere would keep nothing, and not say why."""
        (n_values,) = view.one(f"SELECT count({column}) FROM s")
        if n_values == 0 and self.rule.made_by is not None:
            raise UsageError(
                f"--policy {self.rule.policy}: {self.rule.by} has no value in these tables; "
                f"tables that have it are made by {self.rule.made_by}"
            )


def bind(rule: Rule, columns: Columns) -> BoundRule:
    """Find the columns that a rule names; raises UsageError for those that are not there."""
    try:
        predicates = tuple(parse_predicate(text, columns) for text in rule.expressions)
        return BoundRule(rule, predicates, _resolve_by(rule, columns))
    except UsageError as error:
        if rule.policy is None or rule.made_by is None:
            raise
        raise UsageError(
            f"--policy {rule.policy}: {error}; a table that it needs is made by {rule.made_by}"
        ) from error


def _resolve_by(rule: Rule, columns: Columns) -> str | None:
    try:
        return None if rule.by is None else columns.resolve(rule.by)
    except UsageError as error:
        raise UsageError(f"--by {rule.by}: {error}") from error


def lowest_hashes(view: TableView, condition: str, n: int, seed: int) -> str:
    """SQL for the `n` rows meeting `condition` whose hash of (seed, shard, key) is lowest."""
    if n == 0:
        return "false"
    hashed = f"md5('{seed}{_UNIT}' || shard || '{_UNIT}' || key)"
    (cut,) = view.one(
        f"SELECT {hashed} AS h FROM s WHERE {condition} ORDER BY h LIMIT 1 OFFSET {n - 1}"
    )
    return f"({condition} AND {hashed} <= '{cut}')"
