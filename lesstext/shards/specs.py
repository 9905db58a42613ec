"""From what a user types to named shards: folders, globs, brace lists, `::`, `@list.txt`, URLs."""

from __future__ import annotations

import logging
import os
import posixpath
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from lesstext.errors import MissingFileError, ShardError, StorageError, UsageError
from lesstext.shards.fingerprint import Fingerprint
from lesstext.shards.listing import glob_sources, has_glob
from lesstext.shards.lists import split_specs
from lesstext.shards.names import (
    MAX_SHARDS,
    PIPE,
    URL,
    WILDCARD,
    ShardSource,
    expand_braces,
    is_hidden,
    local_name,
    refuse_name_clashes,
    remote_name,
    run_name,
    split_root,
)
from lesstext.shards.sources.folders import (
    choose_sources,
    look_into,
    open_local,
    parquets_of_images,
    refuse_as_source,
)
from lesstext.shards.sources.image_folder import runs_of_files
from lesstext.shards.sources.kinds import (
    PARQUET_SUFFIX,
    SHARD_SUFFIX,
    SOURCE_SUFFIXES,
    is_tar_name,
    stem_of,
)
from lesstext.shards.sources.local import LocalShard, as_tar, fingerprint_of
from lesstext.storage.remote.ahead import Ahead
from lesstext.storage.remote.fetching import fetch, resolve
from lesstext.storage.remote.retrying import retrying
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
    "local_fingerprint",
]

log = logging.getLogger(__name__)


def expand_specs(specs: Sequence[str], *, allow_pipe: bool = False) -> list[ShardSource]:
    """Expand shard specs into shards, sorted by name within each spec, in the order of the specs.

    A shard is a tar, which may be compressed, a parquet file that holds images, or a run of up to
    1,000 images of a folder; a folder is of the first of these kinds that lies in it, and the rest
    is passed over with a warning.
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
    places = {source.location for source in sources if source.files}
    sources = [source for source in sources if not source.files]
    places |= {os.path.dirname(source.location) or "." for source in sources if source.is_local}
    places |= {posixpath.dirname(source.location) for source in sources if source.is_url}
    places |= {os.path.dirname(os.path.realpath(s.location)) for s in sources if s.is_local}
    places |= {_root_of(source) for source in sources if source.is_local or source.is_url}
    places |= {spec for spec in given if _is_folder_url(spec)}
    places |= {spec for spec in given if Path(os.path.expanduser(spec)).is_dir()}
    return sorted(places)


def _root_of(source: ShardSource) -> str:
    """The folder that a shard's name counts from, where its location ends in that name."""
    stem = stem_of(source.location)
    root = stem.removesuffix(source.name)
    return posixpath.dirname(stem) or "." if root == stem else root.rstrip("/") or "."


@contextmanager
def fetched(source: ShardSource) -> Iterator[LocalShard]:
    """Yield the shard on this machine as a plain tar; what is made for this is deleted afterwards.

    A remote one is fetched whole. Raises ShardError when it cannot be fetched or unpacked.
    """
    if source.is_local:
        opened = as_tar(source.name, Path(source.location), source.files)
    else:
        opened = _ahead.fetched(source)
    with opened as shard:
        yield shard


def local_fingerprint(source: ShardSource) -> Fingerprint:
    """Of a shard on this machine as it lies there; raises OSError."""
    return fingerprint_of(Path(source.location), source.files)


def fetch_ahead(source: ShardSource | None, *, keep: ShardSource) -> None:
    """Begin to fetch a remote shard for `fetched`, which comes after `keep` in this process."""
    _ahead.begin(source if source is not None and source.is_url else None, keep)


@contextmanager
def _fetch(source: ShardSource) -> Iterator[LocalShard]:
    with scratch_folder() as folder:
        path, etag = folder / f"shard{SHARD_SUFFIX}", None
        if source.location.startswith(PIPE):
            _fetch_from_command(source, path)
        else:
            etag = _fetch_from_url(source, path)
        with as_tar(source.name, path, etag=etag) as shard:
            yield shard


_ahead = Ahead(_fetch)


@contextmanager
def local_copy(source: ShardSource) -> Iterator[Path]:
    """The path of `fetched` alone."""
    with fetched(source) as shard:
        yield shard.path


def _pipe_source(spec: str, allow_pipe: bool) -> ShardSource:
    if not allow_pipe:
        raise UsageError(f"{spec!r} runs a shell command; give --allow-pipe if you mean that")
    words = [word for word in re.split(r"[\s'\"]+", spec) if word.endswith(SOURCE_SUFFIXES)]
    name = posixpath.basename(words[-1]) if words else re.sub(r"\W+", "_", spec[len(PIPE) :])
    return ShardSource(stem_of(name), spec)


def _expand_one(spec: str) -> list[ShardSource]:
    sources = _expand_url(spec) if URL.match(spec) else _expand_local(spec)
    if not sources:
        raise UsageError(
            f"{spec!r} matches no shard: no tar, no parquet of images, no folder of images"
        )
    return sorted(set(sources))


def _expand_local(spec: str) -> list[ShardSource]:
    root, spec = split_root(spec)
    path = os.path.expanduser(spec)
    if os.path.isdir(path):
        return _expand_folder(root, path)
    if os.path.lexists(path) or not WILDCARD.search(spec):
        _require_files(spec, [path])
        refuse_as_source(path)
        return _named(root or os.path.dirname(path), [path])
    _refuse_climbing(spec)
    root = _fixed_root(path) if root is None else root
    expanded = expand_braces(path)
    _require_files(spec, [part for part in expanded if not has_glob(part)])
    found = (hit for part in expanded for hit in (glob_sources(part) if has_glob(part) else [part]))
    hits = [hit for hit in islice(found, MAX_SHARDS + 1) if is_tar_name(hit) or _is_meant(spec)]
    if _is_meant(spec):
        hits = parquets_of_images(spec, hits, open_local)
    return _named(root, _without_hidden(hits, root))


def _expand_folder(root: str | None, path: str) -> list[ShardSource]:
    found = look_into(path)
    choose_sources(found)
    found.say_passed_over()
    if not found.images:
        return _named(root or path, [*found.tars, *found.parquets])
    runs = runs_of_files(found.images, found.texts)
    return [
        ShardSource(run_name(root, path, number), str(Path(path)), files)
        for number, files in enumerate(runs)
    ]


def _is_meant(spec: str) -> bool:
    """Whether a wildcard asks for parquet; one that does not means tars, with what lies beside."""
    return spec.endswith(PARQUET_SUFFIX)


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
            found = [hit for hit in _glob_remote(part) if hit.endswith(SOURCE_SUFFIXES)]
            hits = [hit for hit in found if is_tar_name(hit)]
            if _is_meant(part) or (part.endswith("/**") and not hits):
                hits = parquets_of_images(part, found, filesystem.open)
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
    is_file = spec.endswith(SOURCE_SUFFIXES)
    return bool(URL.match(spec)) and not (WILDCARD.search(below) or is_file)


def _resolve(url: str) -> tuple[Any, str]:
    try:
        return resolve(url)
    except StorageError as error:
        raise UsageError(str(error)) from error


def _glob_remote(part: str) -> list[str]:
    filesystem, path = _resolve(part)
    if "file" in filesystem.protocol:
        return list(glob_sources(path))
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
