"""Files from object storage: fetched whole, in checked ranges side by side, or read in place."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lesstext.errors import StorageError
from lesstext.storage.remote.retrying import retrying

RANGE_BYTES = 8 << 20
_N_RANGES_AT_ONCE = 4
_SMALL_RANGE_BYTES = 256 * 1024
_VERSION_FIELDS = ("size", "ETag", "etag", "LastModified", "updated", "mtime")


@dataclass(frozen=True, slots=True)
class RemoteStat:
    """What recognises a remote file without reading it; None where the server does not say."""

    size_bytes: int | None
    etag: str | None


def resolve(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path on it; raises StorageError."""
    import fsspec

    try:
        filesystem, path = retrying(f"cannot open {url}", lambda: fsspec.core.url_to_fs(url))
    except ImportError as error:
        raise StorageError(f"cannot open {url}: {error}") from error
    return filesystem, str(path)


def remote_stat(url: str, *, fresh: bool = False) -> RemoteStat:
    """Size and ETag of a remote file; not `fresh`, a listing made earlier will do.

    Raises MissingFileError, StorageError.
    """
    info = _look_up(url, fresh=fresh)
    etag = info.get("ETag") or info.get("etag")
    return RemoteStat(info.get("size"), etag.strip('"') if isinstance(etag, str) else None)


def remote_version(url: str) -> str:
    """All that the server tells of a file's version, as text: size, ETag, time of change.

    Raises MissingFileError, StorageError.
    """
    info = _look_up(url)
    return json.dumps({name: str(info[name]) for name in _VERSION_FIELDS if name in info})


def open_remote(url: str) -> tuple[BinaryIO, int | None]:
    """A remote file opened to be read in small ranges, and its size where the server says it.

    Raises MissingFileError, StorageError.
    """
    filesystem, path = resolve(url)

    def open_it() -> tuple[BinaryIO, int | None]:
        size: int | None = filesystem.size(path)
        return filesystem.open(path, "rb", block_size=_SMALL_RANGE_BYTES), size

    return retrying(f"cannot open {url}", open_it)


def fetch(url: str, target: Path) -> RemoteStat:
    """Copy a remote file to `target` and say what it was.

    Raises StorageError when it cannot be fetched whole, or when its size or ETag changed meanwhile.
    """
    before = remote_stat(url, fresh=True)
    if before.size_bytes is None or not _fetch_ranges(url, target, before.size_bytes):
        retrying(f"cannot fetch {url}", lambda: _fetch_stream(url, target, before.size_bytes))
    after = remote_stat(url, fresh=True)
    if after != before:
        raise StorageError(f"{url} changed while it was being fetched")
    return before


def _look_up(url: str, *, fresh: bool = False) -> dict[str, Any]:
    filesystem, path = resolve(url)

    def ask() -> dict[str, Any]:
        if fresh:
            filesystem.invalidate_cache(path)
        return dict(filesystem.info(path))

    return retrying(f"cannot look up {url}", ask)


def _fetch_ranges(url: str, target: Path, size: int) -> bool:
    """Fetch by ranges into place; False when the server does not serve ranges."""
    filesystem, path = resolve(url)
    with target.open("wb") as file, ThreadPoolExecutor(_N_RANGES_AT_ONCE) as pool:

        def fetch_range(start: int) -> None:
            stop = min(start + RANGE_BYTES, size)
            data = filesystem.cat_file(path, start=start, end=stop)
            if len(data) > stop - start:
                raise _NoRangesError
            if len(data) < stop - start:
                raise EOFError(f"{len(data)} of {stop - start} bytes from byte {start} on arrived")
            os.pwrite(file.fileno(), data, start)

        def fetch_surely(start: int) -> None:
            retrying(f"cannot fetch {url}", lambda: fetch_range(start))

        try:
            list(pool.map(fetch_surely, range(0, size, RANGE_BYTES)))
        except _NoRangesError:
            return False
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return True


def _fetch_stream(url: str, target: Path, size: int | None) -> None:
    filesystem, path = resolve(url)
    filesystem.get_file(path, str(target))
    got = target.stat().st_size
    if size is not None and got != size:
        raise EOFError(f"{got} of {size} bytes arrived")


class _NoRangesError(Exception):
    """The server sends the whole file whatever range is asked for."""
