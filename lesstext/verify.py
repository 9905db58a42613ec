"""`lesstext verify`: what is wrong with shards, said before hours are spent on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesstext.engines.parts import PART_SUFFIX
from lesstext.errors import ShardError, TableError
from lesstext.shards.fingerprint import Fingerprint, blake2b_of
from lesstext.shards.names import known_as
from lesstext.shards.sources.kinds import stem_of
from lesstext.shards.sources.local import LocalShard
from lesstext.shards.specs import ShardSource, fetched, local_fingerprint
from lesstext.shards.tar_reading import ShardIndex
from lesstext.storage.files import PARTIAL_SUFFIX
from lesstext.storage.paths import Location, in_parallel
from lesstext.storage.remote.fetching import remote_stat
from lesstext.storage.scratch import scratch_folder
from lesstext.storage.validation import json_object
from lesstext.tables.checks import why_unreadable
from lesstext.tables.table import Footer, note_mixed, read_footer, table_names, table_path

_MAX_NAMES = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """One shard's samples and problems; no problems means a whole and consistent shard."""

    shard: str
    n_samples: int
    problems: list[str]


def verify_shards(
    sources: Sequence[ShardSource],
    *,
    tables: Location | None = None,
    full: bool = False,
    quick: bool = False,
) -> Iterator[Verdict]:
    """Check each shard: tar structure, sample count, and its score table's fingerprint.

    With `full` the recorded SHA-256 of the whole file is compared too, and each table's rows are
    read; with `quick` only the tables' ends are, as in `verify_tables`. Tables of one folder that
    were made by different annotators or settings are a problem of the later ones.
    """
    if quick and tables is not None:
        yield from verify_tables(sources, tables)
        return
    against = None if tables is None else _Tables(tables, full)
    for source in sources if tables is None else known_as(sources, table_names(tables)):
        try:
            with fetched(source) as local:
                yield _verify(source, local, against)
        except ShardError as error:
            yield Verdict(source.name, 0, [error.reason])
        except Exception as error:  # the one-shard boundary: the others are checked all the same
            yield Verdict(source.name, 0, [f"cannot be checked: {error!r}"])


def verify_tables(sources: Sequence[ShardSource], tables: Location) -> list[Verdict]:
    """Whether each shard has a score table made from it; reads no shard but its edges.

    A remote shard is recognised by its size and, where the server tells it, its ETag.
    """
    named = known_as(sources, table_names(tables))
    found = in_parallel(lambda source: _verify_table(source, tables), named)
    footers = [footer for _, footer in found if footer is not None]
    for verdict, footer in found:
        if footer is not None:
            verdict.problems.extend(note_mixed(footer, footers[0]))
    return [verdict for verdict, _ in found]


def require_tables(sources: Sequence[ShardSource], tables: Location) -> None:
    """Raise TableError, naming shards, unless every one has its score table."""
    lacking = [verdict for verdict in verify_tables(sources, tables) if verdict.problems]
    if lacking:
        names = "".join(f"\n  {v.shard}: {'; '.join(v.problems)}" for v in lacking[:_MAX_NAMES])
        more = f"\n  … and {len(lacking) - _MAX_NAMES} more" if len(lacking) > _MAX_NAMES else ""
        raise TableError(
            f"{tables}: {len(lacking)} of {len(sources)} shards lack their table{names}{more}"
        )


def leftovers(folder: Location) -> list[Location]:
    """What runs that were killed left below a folder, sorted: half-written files, and parts of
    shards from which the same command goes on. Those of runs that live are among them."""
    found = [*folder.rglob(f".*{PARTIAL_SUFFIX}"), *folder.rglob(f"*{PART_SUFFIX}")]
    return sorted(found, key=str)


def expected_samples(path: Path) -> dict[str, int]:
    """Sample counts that files beside a shard promise, by the file that says so."""
    promises: dict[str, int] = {}
    stem = stem_of(path.name)
    for name, field in ((f"{stem}_stats.json", "successes"), ("sizes.json", path.name)):
        count = _json_field(path.with_name(name), field)
        if count is not None:
            promises[name] = count
    return promises


def _verify(source: ShardSource, local: LocalShard, tables: _Tables | None) -> Verdict:
    index = local.index(source.name)
    problems = [*index.problems, *_without_image(index)]
    n_samples = len(index.samples)
    if source.is_local and not source.files:
        problems += [
            f"miscounted: {n_samples} samples, but {name} promises {count}"
            for name, count in expected_samples(local.lies_at).items()
            if count != n_samples
        ]
    if source.is_local and local.is_tar:
        problems += _against_export(local.path)
    if tables is not None:
        problems += tables.problems(source, local)
    return Verdict(source.name, n_samples, problems)


def _verify_table(source: ShardSource, tables: Location) -> tuple[Verdict, Footer | None]:
    table = table_path(tables, source.name)
    try:
        footer = read_footer(table)
        same = _is_same_file(source, footer.fingerprint)
    except (OSError, TableError) as error:
        problem = str(error) if table.exists() else f"has no score table {table}"
        return Verdict(source.name, 0, [problem]), None
    problems = [] if same else ["is not the file that its score table was made from"]
    return Verdict(source.name, footer.n_samples, problems), footer


def _is_same_file(source: ShardSource, recorded: Fingerprint) -> bool:
    if source.is_local:
        return local_fingerprint(source) == recorded
    if not source.is_url:
        return True  # a command's output cannot be looked up
    found = remote_stat(source.location)
    etags = {found.etag, recorded.etag} - {None}
    return found.size_bytes in (None, recorded.size_bytes) and len(etags) < 2


def _without_image(index: ShardIndex) -> list[str]:
    keys = [entry.key for entry in index.samples if entry.image is None]
    return [f"{len(keys)} samples without an image (for example key {keys[0]})"] if keys else []


def _against_export(path: Path) -> list[str]:
    """Whether a shard that was exported, and its sidecar, still hold the bytes written then."""
    ours = json_object(path.with_name(f"{path.stem}_stats.json")).get("lesstext")
    if not isinstance(ours, dict):
        return []  # not one of ours
    problems = []
    for name, file in (("tar", path), ("sidecar", path.with_suffix(".parquet"))):
        written = ours.get(name)
        recorded = written.get("blake2b") if isinstance(written, dict) else None
        if recorded is None:
            continue
        if not file.is_file():
            problems.append(f"its {name} {file.name}, which was exported with it, is gone")
        elif recorded != blake2b_of(file):
            what = "" if name == "tar" else f"its {name} {file.name} "
            problems.append(f"{what}is not as it was exported: bytes differ")
    return problems


class _Tables:
    """A folder of tables that shards are held against, one after the other."""

    def __init__(self, folder: Location, full: bool) -> None:
        self._folder = folder
        self._full = full
        self._first: Footer | None = None

    def problems(self, source: ShardSource, local: LocalShard) -> list[str]:
        table = table_path(self._folder, source.name)
        try:
            footer = read_footer(table)
        except TableError as error:
            return [str(error)]
        self._first = self._first or footer
        found = note_mixed(footer, self._first)
        if footer.fingerprint != local.fingerprint():
            found.append("is not the file that its score table was made from")
        elif self._full and footer.sha256 != local.sha256():
            found.append(
                "its SHA-256 differs from the one recorded while scoring: contents changed inside"
            )
        return found + (_unreadable_rows(table) if self._full else [])


def _unreadable_rows(table: Location) -> list[str]:
    with scratch_folder() as folder:
        path = table if isinstance(table, Path) else folder / table.name
        if not isinstance(table, Path):
            table.download(path)
        reason = why_unreadable(path)
    return [] if reason is None else [f"its table {table} is damaged: {reason}"]


def _json_field(path: Path, field: str) -> int | None:
    value = json_object(path).get(field)
    return value if isinstance(value, int) else None
