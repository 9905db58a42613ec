"""Rules over score tables become selections: the set of (shard, key) to keep, and why.

Everything runs inside DuckDB over the parquet files, so that thousands of tables need neither
much memory nor a second look at any image.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext import __version__
from lesstext.errors import TableError, UsageError
from lesstext.shards.fingerprint import Fingerprint
from lesstext.storage.files import atomic_path
from lesstext.storage.paths import Location, cached, local_mirror
from lesstext.tables.predicate import check_predicate
from lesstext.tables.table import TABLE_SUFFIX, read_parquet_metadata
from lesstext.tables.view import ScoreView

if TYPE_CHECKING:
    import pyarrow as pa

_METADATA_KEY = b"lesstext_selection"
_UNIT = "\x1f"  # separates seed, shard and key before hashing; occurs in none of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which `ok` samples are kept; exactly one of the three rules must be given.

    `max_text_area` in [0, 1] keeps ratios up to and including it; `keep_fraction` in [0, 1] keeps
    that share of the ok samples, lowest ratio first, ties by hash(seed, shard, key); `where` is
    an expression over score columns and, as `meta.column`, joined metadata.
    """

    max_text_area: float | None = None
    keep_fraction: float | None = None
    where: str | None = None
    seed: int = 0
    keep_failed: bool = False

    def __post_init__(self) -> None:
        given = [self.max_text_area, self.keep_fraction, self.where]
        if sum(value is not None for value in given) != 1:
            raise UsageError("give exactly one of --max-text-area, --keep-fraction and --where")
        for name in ("max_text_area", "keep_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"--{name.replace('_', '-')} must be within 0 to 1, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Samples read = kept + dropped + failed; `failed` counts failures that are not kept."""

    read: int
    kept: int
    dropped: int
    failed: int
    failed_but_kept: int = 0

    def __post_init__(self) -> None:
        if self.read != self.kept + self.dropped + self.failed:
            raise AssertionError(f"the accounting does not add up: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A selection file: its rule, counts, and the fingerprints of the shards it speaks of."""

    path: Location
    kind: str
    rule: dict[str, Any]
    threshold: float | None
    counts: Counts
    annotator: str
    scores_digest: str
    fingerprints: dict[str, Fingerprint]

    @property
    def id(self) -> str:
        """Recognises the selection by what it was made from."""
        text = json.dumps([self.kind, self.rule, self.scores_digest], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def keys_by_shard(self) -> dict[str, pa.ChunkedArray]:
        """Keys kept in each shard that the selection knows, in tar order; read in one pass.

        They stay in memory as Arrow strings: a key's length and about 8 bytes for each.
        """
        import pyarrow.parquet as pq

        columns = ["shard", "key"]
        rows = pq.read_table(cached(self.path, self.id), columns=columns, read_dictionary=["shard"])
        keys, start = rows.column("key"), 0
        found = dict.fromkeys(self.fingerprints, keys.slice(0, 0))
        for run in rows.column("shard").value_counts().to_pylist():  # rows are sorted by shard
            found[run["values"]] = keys.slice(start, run["counts"])
            start += run["counts"]
        return found

    def n_kept_by_shard(self) -> Counter[str]:
        """How many samples are kept in each shard, in one pass over the rows."""
        import pyarrow.parquet as pq

        counts: Counter[str] = Counter()
        with pq.ParquetFile(cached(self.path, self.id)) as file:
            for batch in file.iter_batches(columns=["shard"]):
                for found in batch.column(0).value_counts().to_pylist():
                    counts[found["values"]] += found["counts"]
        return counts


def select(
    scores: Location,
    out: Location,
    rule: Rule,
    *,
    metadata: Path | None = None,
    control: Location | None = None,
    npy: Location | None = None,
) -> Selection:
    """Apply `rule` to all score tables below `scores` and write the selection to `out`.

    `metadata` is a folder of img2dataset or DataComp parquet files to join; `control` is where to
    write a random selection of equal size; `npy` where to write DataComp's subset file.
    Raises TableError for missing or mixed tables, UsageError for a rule that cannot be used.
    """
    with local_mirror(scores, [f"*{TABLE_SUFFIX}"]) as tables:
        view = ScoreView(tables, metadata)
        keep, threshold = _keep_expression(view, rule)
        selection = _write(view, out, "rule", asdict(rule), keep, threshold)
        if control is not None:
            n_ok_kept = selection.counts.kept - selection.counts.failed_but_kept
            among = _lowest_hashes(view, "status = 'ok'", n_ok_kept, rule.seed)
            _write(view, control, "control", asdict(rule), among, None)
        if npy is not None:
            _write_subset_file(view, keep, npy)
        return selection


def read_keys(path: Location, selection_id: str, shard: str) -> list[str]:
    """Keys that the selection at `path` keeps in one shard, in tar order; reads no description."""
    import pyarrow.parquet as pq

    table = pq.read_table(
        cached(path, selection_id), columns=["key"], filters=[("shard", "=", shard)]
    )
    keys: list[str] = table.column("key").to_pylist()
    return keys


def read_selection(path: Location) -> Selection:
    """Read a selection's description; its rows stay on disk until they are asked for.

    Raises TableError when the file is no selection.
    """
    from pyarrow import ArrowException

    try:
        fields = json.loads(read_parquet_metadata(path)[_METADATA_KEY])
    except (OSError, ArrowException, KeyError, ValueError) as error:
        raise TableError(f"{path} is not a selection: {error!r}") from error
    return _from_fields(path, fields)


def _keep_expression(view: ScoreView, rule: Rule) -> tuple[str, float | None]:
    """The rule as SQL over the view, and the ratio threshold that it comes to, if any."""
    threshold = rule.max_text_area
    if rule.where is not None:
        ok_rule = f"({check_predicate(rule.where, view.columns)}\n)"
    elif rule.keep_fraction is not None:
        ok_rule, threshold = _lowest_ratios(view, rule.keep_fraction, rule.seed)
    else:
        ok_rule = f"text_area_ratio <= CAST({threshold!r} AS FLOAT)"
    keep = f"(status = 'ok' AND coalesce({ok_rule}, false))"
    if rule.keep_failed:
        # A duplicate's key names another sample: it has no identity under which to be kept.
        keep = f"({keep} OR status NOT IN ('ok', 'duplicate_key'))"
    return keep, threshold


def _lowest_ratios(view: ScoreView, fraction: float, seed: int) -> tuple[str, float | None]:
    """The lowest `fraction` of ok rows; only ties at the cut need their hashes."""
    (n_ok,) = view.one("SELECT count(*) FROM s WHERE status = 'ok'")
    n_keep = round(fraction * n_ok)
    if n_keep == 0:
        return "false", None
    (cut,) = view.one(
        "SELECT text_area_ratio FROM s WHERE status = 'ok' "
        f"ORDER BY text_area_ratio LIMIT 1 OFFSET {n_keep - 1}"
    )
    exactly = f"CAST({cut!r} AS FLOAT)"
    (n_below,) = view.one(
        f"SELECT count(*) FROM s WHERE status = 'ok' AND text_area_ratio < {exactly}"
    )
    at_cut = f"status = 'ok' AND text_area_ratio = {exactly}"
    ties = _lowest_hashes(view, at_cut, n_keep - n_below, seed)
    return f"(text_area_ratio < {exactly} OR {ties})", cut


def _lowest_hashes(view: ScoreView, condition: str, n: int, seed: int) -> str:
    """SQL for the `n` rows meeting `condition` whose hash of (seed, shard, key) is lowest."""
    if n == 0:
        return "false"
    hashed = f"md5('{seed}{_UNIT}' || shard || '{_UNIT}' || key)"
    (cut,) = view.one(
        f"SELECT {hashed} AS h FROM s WHERE {condition} ORDER BY h LIMIT 1 OFFSET {n - 1}"
    )
    return f"({condition} AND {hashed} <= '{cut}')"


def _write(
    view: ScoreView,
    out: Location,
    kind: str,
    rule: dict[str, Any],
    keep: str,
    threshold: float | None,
) -> Selection:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = {
        "kind": kind,
        "rule": rule,
        "threshold": threshold,
        "counts": asdict(_count(view, keep)),
        "annotator": view.footers[0].annotator,
        "scores_digest": view.digest,
        "fingerprints": {f.shard: f.fingerprint.as_json() for f in view.footers},
        "tool_version": __version__,
    }
    text = json.dumps(fields, sort_keys=True).encode()
    schema = pa.schema([("shard", pa.string()), ("key", pa.string())], {_METADATA_KEY: text})
    query = f"SELECT shard, key FROM {view.ordered} WHERE {keep} ORDER BY shard, row_number"
    with atomic_path(out) as partial, pq.ParquetWriter(partial, schema) as writer:
        for batch in view.batches(query):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
    return _from_fields(out, fields)


def _count(view: ScoreView, keep: str) -> Counts:
    read, ok, kept_ok, kept_failed = view.one(
        f"""SELECT count(*), count_if(status = 'ok'), count_if(status = 'ok' AND {keep}),
        count_if(status != 'ok' AND {keep}) FROM {view.ordered}"""
    )
    return Counts(
        read=read,
        kept=kept_ok + kept_failed,
        dropped=ok - kept_ok,
        failed=read - ok - kept_failed,
        failed_but_kept=kept_failed,
    )


def _write_subset_file(view: ScoreView, keep: str, out: Location) -> None:
    """DataComp's subset file: uids as sorted `u8,u8` pairs of their first and last 16 hex digits.

    Raises UsageError when a kept sample has no 32-digit hexadecimal uid.
    """
    import numpy as np

    (n_bad, n_kept) = view.one(
        f"""SELECT count_if(uid IS NULL OR NOT regexp_full_match(uid, '[0-9a-fA-F]{{32}}')),
        count(*) FROM {view.ordered} WHERE {keep}"""
    )
    if n_bad:
        raise UsageError(
            f"--npy: {n_bad} of {n_kept} kept samples have no 32-digit hexadecimal uid"
        )
    batches = view.batches(f"SELECT uid FROM {view.ordered} WHERE {keep}")
    parts = [bytes.fromhex("".join(batch.column(0).to_pylist())) for batch in batches]
    pairs = np.frombuffer(b"".join(parts), dtype=np.dtype(">u8,>u8")).astype("u8,u8")
    with atomic_path(out) as partial, partial.open("wb") as file:
        np.save(file, np.sort(pairs))


def _from_fields(path: Location, fields: dict[str, Any]) -> Selection:
    return Selection(
        path=path,
        kind=fields["kind"],
        rule=fields["rule"],
        threshold=fields["threshold"],
        counts=Counts(**fields["counts"]),
        annotator=fields["annotator"],
        scores_digest=fields["scores_digest"],
        fingerprints={
            shard: Fingerprint.from_json(text) for shard, text in fields["fingerprints"].items()
        },
    )
