"""From what a user types to named shards: folders, globs, brace lists, `::`, `@list.txt`, URLs."""

from __future__ import annotations

import logging
import os
import posixpath
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lesstext.errors import MissingFileError, ShardError, StorageError, UsageError
from lesstext.shards.listing import glob_tars, has_glob, tars_below
from lesstext.shards.lists import split_specs
from lesstext.shards.names import (
    MAX_SHARDS,
    PIPE,
    SHARD_SUFFIX,
    URL,
    WILDCARD,
    ShardSource,
    expand_braces,
    is_hidden,
    local_name,
    refuse_name_clashes,
    remote_name,
    split_root,
)
from lesstext.storage.ahead import Ahead
from lesstext.storage.fetching import fetch, resolve
from lesstext.storage.retrying import retrying
from lesstext.storage.scratch import scratch_folder

__all__ = [
    "SHARD_SUFFIX",
    "LocalShard",
    "ShardSource",
    "expand_specs",
    "fetch_ahead",
    "fetched",
    "input_places",
    "local_copy",
]

log = logging.getLogger(__name__)


def expand_specs(specs: Sequence[str], *, allow_pipe: bool = False) -> list[ShardSource]:
    """Expand shard specs into shards, sorted by name within each spec, in the order of the specs.

    How shards are named, `lesstext.shards.names` says. Hidden files are passed over with a
    warning. Raises UsageError for a spec that matches nothing or names what is no regular file,
    for one of more than a million shards, for `pipe:` without `allow_pipe`, and for two inputs
    that yield one shard name.
    """
    sources: list[ShardSource] = []
    for spec in split_specs(specs):
        if spec.startswith(PIPE):
            sources.append(_pipe_source(spec, allow_pipe))
        else:
            sources.extend(_expand_one(spec))
    if not sources:
        raise UsageError("no shards given")
    refuse_name_clashes(sources)
    return sources


def input_places(specs: Sequence[str], sources: Sequence[ShardSource]) -> list[str]:
    """The folders that shards are read from, and those given as a whole, as they were typed."""
    given = [spec for spec in split_specs(specs) if not spec.startswith(PIPE)]
    places = {os.path.dirname(source.location) or "." for source in sources if source.is_local}
    places |= {posixpath.dirname(source.location) for source in sources if source.is_url}
    places |= {os.path.dirname(os.path.realpath(s.location)) for s in sources if s.is_local}
    places |= {_root_of(source) for source in sources if source.is_local or source.is_url}
    places |= {spec for spec in given if _is_folder_url(spec)}
    places |= {spec for spec in given if Path(os.path.expanduser(spec)).is_dir()}
    return sorted(places)


def _root_of(source: ShardSource) -> str:
    """The folder that a shard's name counts from, where its location ends in that name."""
    stem = source.location.removesuffix(SHARD_SUFFIX)
    root = stem.removesuffix(source.name)
    return posixpath.dirname(stem) or "." if root == stem else root.rstrip("/") or "."


@dataclass(frozen=True, slots=True)
class LocalShard:
    """A shard's bytes on this machine, and the ETag of the remote file they came from, if any."""

    path: Path
    etag: str | None = None


@contextmanager
def fetched(source: ShardSource) -> Iterator[LocalShard]:
    """Yield the shard on this machine; a remote one is fetched whole and deleted afterwards.

    Raises ShardError when it cannot be fetched whole.
    """
    if source.is_local:
        yield LocalShard(Path(source.location))
        return
    with _ahead.fetched(source) as shard:
        yield shard


def fetch_ahead(source: ShardSource | None, *, keep: ShardSource) -> None:
    """Begin to fetch a remote shard for `fetched`, which comes after `keep` in this process."""
    _ahead.begin(source if source is not None and source.is_url else None, keep)


@contextmanager
def _fetch(source: ShardSource) -> Iterator[LocalShard]:
    with scratch_folder() as folder:
        path = folder / "shard.tar"
        if source.location.startswith(PIPE):
            _fetch_from_command(source, path)
            yield LocalShard(path)
        else:
            yield LocalShard(path, _fetch_from_url(source, path))


_ahead = Ahead(_fetch)


@contextmanager
def local_copy(source: ShardSource) -> Iterator[Path]:
    """The path of `fetched` alone."""
    with fetched(source) as shard:
        yield shard.path


def _pipe_source(spec: str, allow_pipe: bool) -> ShardSource:
    if not allow_pipe:
        raise UsageError(f"{spec!r} runs a shell command; give --allow-pipe if you mean that")
    words = [word for word in re.split(r"[\s'\"]+", spec) if word.endswith(SHARD_SUFFIX)]
    name = posixpath.basename(words[-1]) if words else re.sub(r"\W+", "_", spec[len(PIPE) :])
    return ShardSource(name.removesuffix(SHARD_SUFFIX), spec)


def _expand_one(spec: str) -> list[ShardSource]:
    sources = _expand_url(spec) if URL.match(spec) else _expand_local(spec)
    if not sources:
        raise UsageError(f"{spec!r} matches no {SHARD_SUFFIX} file")
    return sorted(set(sources))


def _expand_local(spec: str) -> list[ShardSource]:
    root, spec = split_root(spec)
    path = os.path.expanduser(spec)
    if os.path.isdir(path):
        return _named(root or path, _without_hidden(list(tars_below(path)), path))
    if os.path.lexists(path) or not WILDCARD.search(spec):
        _require_files(spec, [path])
        return _named(root or os.path.dirname(path), [path])
    _refuse_climbing(spec)
    root = _fixed_root(path) if root is None else root
    expanded = expand_braces(path)
    _require_files(spec, [part for part in expanded if not has_glob(part)])
    found = (hit for part in expanded for hit in (glob_tars(part) if has_glob(part) else [part]))
    hits = [hit for hit in islice(found, MAX_SHARDS + 1) if hit.endswith(SHARD_SUFFIX)]
    return _named(root, _without_hidden(hits, root))


def _expand_url(spec: str) -> list[ShardSource]:
    """Names count from the part of the URL before its first wildcard, or from a folder URL."""
    marked, spec = split_root(spec)
    _refuse_climbing(spec)
    root = marked or _fixed_root(spec)
    if _is_folder_url(spec):
        root, spec = marked or spec.rstrip("/"), f"{spec.rstrip('/')}/**"
    sources: list[ShardSource] = []
    for part in expand_braces(spec):
        filesystem, path = _resolve(part)
        root_path = _resolve(root)[1]
        if not has_glob(path) or part.startswith("http"):
            hits = [path]
        else:
            hits = [hit for hit in _glob_remote(part) if hit.endswith(SHARD_SUFFIX)]
            hits = _without_hidden(hits, root_path)
        sources += [
            ShardSource(remote_name(root_path, hit), filesystem.unstrip_protocol(hit))
            for hit in hits
        ]
    return sources


def _named(root: str, paths: Sequence[str]) -> list[ShardSource]:
    if len(paths) > MAX_SHARDS:
        raise UsageError(f"more than {MAX_SHARDS:,} shards below {root or '.'}")
    return [ShardSource(local_name(root, path), str(Path(path))) for path in paths]


def _without_hidden(paths: Sequence[str], root: str) -> list[str]:
    hidden = [path for path in paths if is_hidden(_below(root, path))]
    if hidden:
        log.warning("passed over: %d hidden files, such as %s", len(hidden), hidden[0])
    passed_over = set(hidden)
    return [path for path in paths if path not in passed_over]


def _below(root: str, path: str) -> str:
    return path[len(root) :].strip("/") if path.startswith(root) else path


def _require_files(spec: str, paths: Sequence[str]) -> None:
    """Raise UsageError unless each is a file: a pipe or a device would be waited on for ever."""
    missing = [path for path in paths if not os.path.exists(path)]
    if missing and len(paths) == 1:
        raise UsageError(f"{spec!r} does not exist")
    if missing:
        raise UsageError(f"{spec!r}: {len(missing)} shards do not exist, the first: {missing[0]}")
    other = next((path for path in paths if not os.path.isfile(path)), None)
    if other is not None:
        raise UsageError(f"{spec!r}: {other} is no regular file")


def _refuse_climbing(spec: str) -> None:
    """A `..` behind a wildcard leaves the folder below which shards are named."""
    wildcard = WILDCARD.search(spec)
    if wildcard is not None and ".." in spec[wildcard.start() :].split("/"):
        raise UsageError(f"{spec!r}: a '..' stands behind a wildcard; give the folder itself")


def _is_folder_url(spec: str) -> bool:
    below = spec.partition("://")[2]
    return bool(URL.match(spec)) and not (WILDCARD.search(below) or spec.endswith(SHARD_SUFFIX))


def _resolve(url: str) -> tuple[Any, str]:
    try:
        return resolve(url)
    except StorageError as error:
        raise UsageError(str(error)) from error


def _glob_remote(part: str) -> list[str]:
    filesystem, path = _resolve(part)
    if "file" in filesystem.protocol:
        return list(glob_tars(path))
    try:
        return retrying(f"cannot list {part}", lambda: list(filesystem.glob(path)))
    except MissingFileError:
        return []


def _fixed_root(spec: str) -> str:
    """The folder part of a spec before its first wildcard."""
    match = WILDCARD.search(spec)
    return posixpath.dirname(spec[: match.start()] if match else spec)


def _fetch_from_command(source: ShardSource, path: Path) -> None:
    command = source.location[len(PIPE) :]
    with path.open("wb") as file:
        status = subprocess.run(command, shell=True, stdout=file, check=False).returncode
    if status != 0:
        raise ShardError(source.name, f"command {command!r} ended with status {status}")


def _fetch_from_url(source: ShardSource, path: Path) -> str | None:
    try:
        return fetch(source.location, path).etag
    except OSError as error:
        raise ShardError(source.name, str(error)) from error
