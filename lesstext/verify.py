"""`lesstext verify`: what is wrong with shards, said before hours are spent on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lesstext import scores
from lesstext.errors import ScoreTableError, ShardError
from lesstext.shards import ShardIndex, fingerprint, index_shard, sha256_of
from lesstext.specs import ShardSource, local_copy


@dataclass(frozen=True, slots=True)
class Verdict:
    """One shard's samples and problems; no problems means a whole and consistent shard."""

    shard: str
    n_samples: int
    problems: list[str]


def verify_shards(
    sources: Iterable[ShardSource], *, tables: Path | None = None, full: bool = False
) -> Iterator[Verdict]:
    """Check each shard: tar structure, sample count, and its score table's fingerprint.

    With `full` the recorded SHA-256 of the whole file is compared too.
    """
    for source in sources:
        try:
            with local_copy(source) as path:
                yield _verify(source, path, tables, full)
        except ShardError as error:
            yield Verdict(source.name, 0, [error.reason])


def expected_samples(path: Path) -> dict[str, int]:
    """Sample counts that files beside a shard promise, by the file that says so."""
    promises: dict[str, int] = {}
    for name, field in ((f"{path.stem}_stats.json", "successes"), ("sizes.json", path.name)):
        count = _json_field(path.with_name(name), field)
        if count is not None:
            promises[name] = count
    return promises


def _verify(source: ShardSource, path: Path, tables: Path | None, full: bool) -> Verdict:
    index = index_shard(path, source.name)
    problems = [*index.problems, *_without_image(index)]
    n_samples = len(index.samples)
    if source.is_local:
        problems += [
            f"miscounted: {n_samples} samples, but {name} promises {count}"
            for name, count in expected_samples(path).items()
            if count != n_samples
        ]
    if tables is not None:
        problems += _against_table(source, path, tables, full)
    return Verdict(source.name, n_samples, problems)


def _without_image(index: ShardIndex) -> list[str]:
    keys = [entry.key for entry in index.samples if entry.image is None]
    return [f"{len(keys)} samples without an image (for example key {keys[0]})"] if keys else []


def _against_table(source: ShardSource, path: Path, tables: Path, full: bool) -> list[str]:
    try:
        footer = scores.read_footer(scores.table_path(tables, source.name))
    except ScoreTableError as error:
        return [str(error)]
    if footer.fingerprint != fingerprint(path):
        return ["is not the file that its score table was made from"]
    if full and footer.sha256 != sha256_of(path):
        return ["its SHA-256 differs from the one recorded while scoring: contents changed inside"]
    return []


def _json_field(path: Path, field: str) -> int | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get(field)
    except (OSError, ValueError, AttributeError):
        return None
    return value if isinstance(value, int) else None
