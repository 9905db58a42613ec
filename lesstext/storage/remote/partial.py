"""Remote files of which only some bytes are wanted: copies with holes, filled where asked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lesstext.errors import LesstextError, StorageError
from lesstext.storage.paths import RemotePath
from lesstext.storage.remote.fetching import resolve
from lesstext.storage.remote.retrying import retrying
from lesstext.storage.scratch import scratch_folder

Range = tuple[int, int]

_LARGEST_GAP_BYTES = 32 * 1024  # fetched along: another request would take longer
_VERSION_FIELDS = ("size", "ETag", "etag", "LastModified", "updated", "mtime", "created")


class PartialMirror:
    """Copies of the files below a remote folder that take no room but for what was filled in.

    A copy is as long as its file, and a filled range holds the same bytes at the same place; every
    other place reads as zeros. Made by `partial_mirror`.
    """

    def __init__(self, folder: RemotePath, copies: Path, suffix: str) -> None:
        self.folder = folder
        self.copies = copies
        self._suffix = suffix
        self._versions = self._list()

    @property
    def names(self) -> list[str]:
        """The files' paths below the folder, sorted."""
        return sorted(self._versions)

    def size_bytes(self, name: str) -> int:
        return int(self._versions[name]["size"])

    def fill(self, name: str, ranges: Iterable[Range]) -> Path:
        """Fetch bytes [start, stop) of one file; returns its copy.

        Raises StorageError when they cannot be had.
        """
        copy = self.copies / name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.touch()
            os.truncate(copy, self.size_bytes(name))
        with copy.open("r+b") as file:
            for start, stop in merged(ranges):
                os.pwrite(file.fileno(), self._read(name, start, stop), start)
        return copy

    def check_unchanged(self) -> None:
        """Raise StorageError when a file was written, added or deleted since the mirror was made:
        what was filled in at different times may not belong together."""
        now = self._list()
        for name in sorted(self._versions.keys() | now.keys()):
            if self._versions.get(name) != now.get(name):
                raise StorageError(f"{self.folder / name} changed while it was being read")

    def _read(self, name: str, start: int, stop: int) -> bytes:
        url = str(self.folder / name)
        filesystem, path = resolve(url)

        def read() -> bytes:
            data = bytes(filesystem.cat_file(path, start=start, end=stop))
            if len(data) != stop - start:
                raise EOFError(f"{len(data)} of {stop - start} bytes from byte {start} on arrived")
            return data

        return retrying(f"cannot read {url}", read)

    def _list(self) -> dict[str, dict[str, Any]]:
        """What the server tells of each file, by its path below the folder."""
        filesystem, path = resolve(self.folder.url)
        base = f"{path.rstrip('/')}/"

        def find() -> dict[str, dict[str, Any]]:
            filesystem.invalidate_cache(path)
            return dict(filesystem.find(path, detail=True))

        found = retrying(f"cannot list {self.folder}", find)
        hits = {hit[len(base) :]: info for hit, info in found.items() if hit.startswith(base)}
        return {
            name: {field: info[field] for field in _VERSION_FIELDS if field in info}
            for name, info in hits.items()
            if name.endswith(self._suffix) and not name.rpartition("/")[2].startswith(".")
        }


@contextmanager
def partial_mirror(folder: RemotePath, suffix: str) -> Iterator[PartialMirror]:
    """A mirror of the files whose names end in `suffix`, hidden ones left out; deleted afterwards.

    Errors of ours that leave the block name the remote files.
    """
    with scratch_folder() as copies:
        try:
            yield PartialMirror(folder, copies, suffix)
        except LesstextError as error:
            error.args = tuple(_renamed(part, copies, folder) for part in error.args)
            raise


def merged(ranges: Iterable[Range], largest_gap_bytes: int = _LARGEST_GAP_BYTES) -> Sequence[Range]:
    """The ranges in order, joined where they overlap or only a small gap lies between them.

    >>> merged([(50, 60), (0, 10), (12, 20)], 5)
    [(0, 20), (50, 60)]
    """
    joined: list[Range] = []
    for start, stop in sorted(ranges):
        if joined and start - joined[-1][1] <= largest_gap_bytes:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _renamed(part: Any, copies: Path, folder: RemotePath) -> Any:
    return part.replace(str(copies), str(folder)) if isinstance(part, str) else part
