"""From what a user types to named shards: folders, globs, brace lists, `::`, `@list.txt`, URLs."""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesstext.errors import MissingFileError, ShardError, StorageError, UsageError
from lesstext.storage.ahead import Ahead
from lesstext.storage.fetching import fetch, resolve
from lesstext.storage.paths import Location
from lesstext.storage.retrying import retrying
from lesstext.storage.scratch import scratch_folder

SHARD_SUFFIX = ".tar"
_WILDCARD = re.compile(r"[*?\[{]")
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://")
_BRACE_RANGE = re.compile(r"\{\d+\.\.\d+\}|\{[^{}]*,[^{}]*\}")
_PIPE = "pipe:"


@dataclass(frozen=True, slots=True, order=True)
class ShardSource:
    """A shard's name (path below its input root, without `.tar`) and where its bytes are."""

    name: str
    location: str

    @property
    def is_local(self) -> bool:
        return not self.is_url and not self.location.startswith(_PIPE)

    @property
    def is_url(self) -> bool:
        return bool(_URL.match(self.location))


def expand_specs(specs: Sequence[str], *, allow_pipe: bool = False) -> list[ShardSource]:
    """Expand shard specs into shards, sorted by name within each spec, in the order of the specs.

    Raises UsageError for a spec that matches nothing, for `pipe:` without `allow_pipe`, and for
    two inputs that yield one shard name.
    """
    sources: list[ShardSource] = []
    for spec in _split_specs(specs):
        if spec.startswith(_PIPE):
            sources.append(_pipe_source(spec, allow_pipe))
        else:
            sources.extend(_expand_one(spec))
    if not sources:
        raise UsageError("no shards given")
    _refuse_name_clashes(sources)
    return sources


def input_folders(sources: Sequence[ShardSource]) -> set[Path]:
    """The local folders that shards are read from."""
    return {Path(source.location).resolve().parent for source in sources if source.is_local}


def refuse_output_in_input(
    out: Location, specs: Sequence[str], sources: Sequence[ShardSource]
) -> None:
    """Raise UsageError when `out` lies inside a folder that shards are read from.

    A folder given as a spec counts as a whole: shards written below it would be inputs next time.
    """
    given = [spec for spec in _split_specs(specs) if not spec.startswith(_PIPE)]
    if isinstance(out, Path):
        target, whole = str(out.resolve()), [Path(spec).expanduser() for spec in given]
        folders = {str(folder) for folder in input_folders(sources)}
        folders |= {str(path.resolve()) for path in whole if path.is_dir()}
    else:
        remote = {posixpath.dirname(source.location) for source in sources if source.is_url}
        remote |= {spec for spec in given if _is_folder_url(spec)}
        target, folders = _plain(out.url), {_plain(url) for url in remote}
    for folder in sorted(folders):
        _refuse_inside(out, target, folder)


def refuse_overlap(out: Path, folder: Path) -> None:
    """Raise UsageError when `out` lies inside a local input folder, or that folder in `out`."""
    target, whole = str(out.resolve()), str(folder.resolve())
    _refuse_inside(out, target, whole)
    if _is_inside(whole, target):
        raise UsageError(f"the input folder {folder} lies inside the output {out}")


def _refuse_inside(out: Location, target: str, folder: str) -> None:
    if _is_inside(target, folder):
        raise UsageError(
            f"the output {out} lies inside the input folder {folder}; "
            "nothing is ever written into an input folder: choose another --out"
        )


def _is_inside(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


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
        if source.location.startswith(_PIPE):
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


def _split_specs(specs: Sequence[str]) -> Iterator[str]:
    for argument in specs:
        if argument.startswith(_PIPE):
            yield argument
            continue
        for part in argument.split("::"):
            if part.startswith("@"):
                yield from _split_specs(_read_list(part[1:]))
            elif part:
                yield part


def _read_list(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the shard list {path}: {error}") from error
    base = Path(path).parent
    stripped = [line.strip() for line in lines]
    return [_beside(base, line) for line in stripped if line and not line.startswith("#")]


def _beside(base: Path, line: str) -> str:
    """A relative path in a list counts from the working folder, else from the list's folder."""
    if _URL.match(line) or line.startswith((_PIPE, "/", "@")) or Path(line).exists():
        return line
    return str(base / line) if (base / line).exists() else line


def _pipe_source(spec: str, allow_pipe: bool) -> ShardSource:
    if not allow_pipe:
        raise UsageError(f"{spec!r} runs a shell command; give --allow-pipe if you mean that")
    words = [word for word in re.split(r"[\s'\"]+", spec) if word.endswith(SHARD_SUFFIX)]
    name = posixpath.basename(words[-1]) if words else re.sub(r"\W+", "_", spec[len(_PIPE) :])
    return ShardSource(name.removesuffix(SHARD_SUFFIX), spec)


def _expand_one(spec: str) -> list[ShardSource]:
    sources = _expand_url(spec) if _URL.match(spec) else _expand_local(spec)
    if not sources:
        raise UsageError(f"{spec!r} matches no {SHARD_SUFFIX} file")
    return sorted(set(sources))


def _expand_local(spec: str) -> list[ShardSource]:
    path = Path(spec).expanduser()
    if path.is_dir():
        hits = [str(p) for p in path.rglob(f"*{SHARD_SUFFIX}") if p.is_file()]
        return [ShardSource(_shard_name(str(path), hit), hit) for hit in hits]
    if path.exists() or not _WILDCARD.search(spec):
        if not path.exists():
            raise UsageError(f"{spec!r} does not exist")
        return [ShardSource(_shard_name(str(path.parent), str(path)), str(path))]
    expanded = _expand_braces(str(path))
    missing = [part for part in expanded if not _has_glob(part) and not Path(part).exists()]
    if missing:
        raise UsageError(f"{spec!r}: {len(missing)} shards do not exist, the first: {missing[0]}")
    root = _fixed_root(str(path))
    hits = [hit for part in expanded for hit in _glob_local(part)]
    return [ShardSource(_shard_name(root, hit), hit) for hit in hits]


def _expand_url(spec: str) -> list[ShardSource]:
    """Names count from the part of the URL before its first wildcard, or from a folder URL."""
    root = _fixed_root(spec)
    if _is_folder_url(spec):
        root, spec = spec.rstrip("/"), f"{spec.rstrip('/')}/**"
    sources: list[ShardSource] = []
    for part in _expand_braces(spec):
        filesystem, path = _resolve(part)
        if not _has_glob(path) or part.startswith("http"):
            hits = [path]
        else:
            hits = [hit for hit in _glob_remote(part) if hit.endswith(SHARD_SUFFIX)]
        root_path = _resolve(root)[1]
        sources += [
            ShardSource(_shard_name(root_path, hit), filesystem.unstrip_protocol(hit))
            for hit in hits
        ]
    return sources


def _is_folder_url(spec: str) -> bool:
    below = spec.partition("://")[2]
    return bool(_URL.match(spec)) and not (_WILDCARD.search(below) or spec.endswith(SHARD_SUFFIX))


def _resolve(url: str) -> tuple[Any, str]:
    try:
        return resolve(url)
    except StorageError as error:
        raise UsageError(str(error)) from error


def _plain(url: str) -> str:
    """The one spelling of a URL: some file systems know several."""
    filesystem, path = _resolve(url)
    return str(filesystem.unstrip_protocol(path))


def _glob_remote(part: str) -> list[str]:
    filesystem, path = _resolve(part)
    try:
        return retrying(f"cannot list {part}", lambda: list(filesystem.glob(path)))
    except MissingFileError:
        return []


def _expand_braces(spec: str) -> list[str]:
    import braceexpand

    return list(braceexpand.braceexpand(spec)) if _BRACE_RANGE.search(spec) else [spec]


def _has_glob(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _glob_local(part: str) -> list[str]:
    import glob

    hits = glob.glob(part, recursive=True) if _has_glob(part) else [part]
    return [hit for hit in hits if hit.endswith(SHARD_SUFFIX) and os.path.isfile(hit)]


def _fixed_root(spec: str) -> str:
    """The folder part of a spec before its first wildcard."""
    match = _WILDCARD.search(spec)
    return posixpath.dirname(spec[: match.start()] if match else spec)


def _shard_name(root: str, path: str) -> str:
    """The path below `root` without `.tar` and, for http, without a query."""
    below = path[len(root) :] if root and path.startswith(root) else path
    return below.partition("?")[0].strip("/").removesuffix(SHARD_SUFFIX)


def _refuse_name_clashes(sources: Sequence[ShardSource]) -> None:
    seen: dict[str, str] = {}
    for source in sources:
        if source.name in seen:
            other = seen[source.name]
            raise UsageError(
                f"two inputs yield the shard name {source.name!r}: {other} and "
                f"{source.location}; give a folder above both, or use separate outputs"
            )
        seen[source.name] = source.location


def _fetch_from_command(source: ShardSource, path: Path) -> None:
    command = source.location[len(_PIPE) :]
    with path.open("wb") as file:
        status = subprocess.run(command, shell=True, stdout=file, check=False).returncode
    if status != 0:
        raise ShardError(source.name, f"command {command!r} ended with status {status}")


def _fetch_from_url(source: ShardSource, path: Path) -> str | None:
    try:
        return fetch(source.location, path).etag
    except OSError as error:
        raise ShardError(source.name, str(error)) from error
