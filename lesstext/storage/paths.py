"""Outputs and score tables on a local disk or on any fsspec file system: `Path | RemotePath`.

A RemotePath has the few methods of `pathlib.Path` that outputs need, so that code which writes
through `lesstext.storage.files` need not know where its folder is. A remote file appears whole or
not at all: it is written locally and uploaded when it is complete.
"""

from __future__ import annotations

import atexit
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from lesstext.errors import LesstextError, MissingFileError, StorageError, UsageError
from lesstext.storage.remote.fetching import fetch, resolve
from lesstext.storage.remote.retrying import retrying
from lesstext.storage.scratch import scratch_folder

N_PARALLEL_REQUESTS = 16
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://")
_READ_ONLY = ("http", "https")
_S3_UPLOAD = {"chunksize": 16 << 20, "max_concurrency": 2}  # its defaults hold 500 MB at a time


class RemotePath:
    """A file or folder below a URL; compares, hashes and prints as that URL."""

    __slots__ = ("url",)

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}/{name}")

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"RemotePath({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.url == other.url

    def __lt__(self, other: RemotePath) -> bool:
        return self.url < other.url

    def __hash__(self) -> int:
        return hash(self.url)

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        return RemotePath(self.url.rpartition("/")[0])

    def with_name(self, name: str) -> RemotePath:
        return self.parent / name

    def with_suffix(self, suffix: str) -> RemotePath:
        stem, dot, _ = self.name.rpartition(".")
        return self.with_name((stem if dot else self.name) + suffix)

    def exists(self) -> bool:
        """Whether there is such a file."""
        try:
            self.info()
        except MissingFileError:
            return False
        return True

    def is_dir(self) -> bool:
        """Always true: object storage has no folders that could be missing."""
        return True

    def info(self) -> dict[str, Any]:
        """What the file system says about the file now; raises MissingFileError."""
        filesystem, path = self._resolve()

        def ask() -> dict[str, Any]:
            filesystem.invalidate_cache(path)
            return dict(filesystem.info(path))

        found = retrying(f"cannot look up {self}", ask)
        if found.get("type") == "directory":
            raise MissingFileError(f"{self} is a folder")
        return found

    def read_bytes(self, start: int | None = None, stop: int | None = None) -> bytes:
        """The file or a range of it; a negative `start` counts from its end."""
        filesystem, path = self._resolve()
        what = f"cannot read {self}"
        try:
            data: bytes = retrying(what, lambda: filesystem.cat_file(path, start=start, end=stop))
        except MissingFileError:
            raise
        except StorageError:
            if (start, stop) == (None, None) or self.info().get("size") != 0:
                raise
            return b""  # servers refuse any range of an empty file
        return data

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def rglob(self, pattern: str) -> list[RemotePath]:
        """Files below this folder whose name matches; none where there is no such folder."""
        filesystem, path = self._resolve()

        def find() -> list[str]:
            filesystem.invalidate_cache(path)
            return list(filesystem.find(path))

        found = retrying(f"cannot list {self}", find)
        base = path.rstrip("/")
        below = [hit[len(base) :].lstrip("/") for hit in found if hit.startswith(f"{base}/")]
        return [self / name for name in below if fnmatchcase(name.rpartition("/")[2], pattern)]

    def unlink(self, missing_ok: bool = False) -> None:
        filesystem, path = self._resolve()
        try:
            retrying(f"cannot delete {self}", lambda: filesystem.rm_file(path))
        except MissingFileError:
            if not missing_ok:
                raise

    def upload(self, local: Path) -> None:
        """Make this file a copy of a local one; it appears when all of it has arrived."""
        filesystem, path = self._resolve()
        is_s3 = "s3" in filesystem.protocol
        options = _S3_UPLOAD if is_s3 else {}

        def put() -> None:
            filesystem.put_file(str(local), path, **options)
            filesystem.invalidate_cache(path)
            size = filesystem.info(path)["size"]
            if size != local.stat().st_size:
                raise OSError(f"{size} of {local.stat().st_size} bytes arrived")

        retrying(f"cannot write {self}", put)

    def download(self, local: Path) -> None:
        """Copy this file to a local one."""
        local.parent.mkdir(parents=True, exist_ok=True)
        fetch(self.url, local)

    def _resolve(self) -> tuple[Any, str]:
        return resolve(self.url)


Location = Path | RemotePath


def location(text: str | Location) -> Location:
    """A path as a user gives it: a URL of any fsspec file system, or a local path.

    Raises UsageError for a URL that cannot be written to or whose file system is not installed.
    """
    if isinstance(text, RemotePath):
        return text
    text = str(text)
    if not _URL.match(text):
        return Path(text)
    protocol, _, rest = text.partition("://")
    if protocol == "file":
        return Path("/" + rest.lstrip("/"))
    if protocol in _READ_ONLY:
        raise UsageError(f"{text}: {protocol} can be read from, not written to")
    import fsspec

    try:
        fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{text}: {error}") from error
    return RemotePath(text)


@contextmanager
def local_mirror(folder: Location, patterns: Sequence[str]) -> Iterator[Path]:
    """A local folder with the files below `folder` that match: itself, or a copy while in use."""
    if isinstance(folder, Path):
        yield folder
        return
    with scratch_folder() as copy:
        found = {path for pattern in patterns for path in folder.rglob(pattern)}
        wanted = [path for path in sorted(found) if not path.name.startswith(".")]
        in_parallel(lambda path: path.download(copy / path.url[len(folder.url) + 1 :]), wanted)
        try:
            yield copy
        except LesstextError as error:
            error.args = tuple(_renamed(part, copy, folder) for part in error.args)
            raise


def cached(file: Location, version: str) -> Path:
    """A local path of the file; a remote one is fetched once per process and version."""
    return file if isinstance(file, Path) else _cached_version(file, version)


def in_parallel(action: Any, items: Sequence[Any]) -> list[Any]:
    """`action` of each item, in order, several at a time; raises the first error."""
    with ThreadPoolExecutor(N_PARALLEL_REQUESTS) as pool:
        try:
            return list(pool.map(action, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@cache
def _cached_version(file: RemotePath, version: str) -> Path:
    scratch = scratch_folder()
    folder = scratch.__enter__()
    atexit.register(scratch.__exit__, None, None, None)
    file.download(folder / file.name)
    return folder / file.name


def _renamed(part: Any, copy: Path, folder: RemotePath) -> Any:
    return part.replace(str(copy), str(folder)) if isinstance(part, str) else part
