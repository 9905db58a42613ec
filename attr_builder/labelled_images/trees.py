"""A folder, a zip archive or a parquet file of images, as names and bytes: as downloaded."""

from __future__ import annotations

import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from attr_builder.errors import RowError, SourceError
from attr_builder.labelled_images.parquet import one_line, read_group
from lesstext.shards.tar_reading import IMAGE_SUFFIXES
from lesstext.storage.files import read_file

SUFFIXES = (*IMAGE_SUFFIXES, "jfif", "ppm")
_MAX_FOLDERS = 20  # class folders are more; the sets that are looked for here have few
_MAX_DEPTH = 3
_MAX_BYTES = 256 * 2**20


class Tree(ABC):
    """Files by their names below `path`, with `/` between folders; hidden ones are left out."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path = path
        self.names = [name for name in names if not _is_hidden(name)]

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one file; raises RowError when they cannot be had."""

    @property
    def images(self) -> list[str]:
        """Names of files that are images by their suffix."""
        return [name for name in self.names if _is_image(name)]


class FolderTree(Tree):
    """A folder, three levels deep; of a folder that holds many folders only its own files."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, sorted(_files_below(path, "", _MAX_DEPTH)))

    def read(self, name: str) -> bytes:
        try:
            return read_file(self.path / name)
        except OSError as error:
            raise RowError("unreadable", f"cannot be read: {error}") from error


class ZipTree(Tree):
    """A zip archive, read in place; each process opens it for itself."""

    def __init__(self, path: Path) -> None:
        self._open: tuple[int, zipfile.ZipFile] | None = None
        try:
            with zipfile.ZipFile(path) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
        except (OSError, zipfile.BadZipFile) as error:
            raise SourceError(f"{path}: is no readable zip archive: {error}") from error
        super().__init__(path, sorted(names))

    def read(self, name: str) -> bytes:
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), zipfile.ZipFile(self.path))
        try:
            info = self._open[1].getinfo(name)
            if info.file_size > _MAX_BYTES:
                raise RowError("unreadable", f"would take {info.file_size} bytes unpacked")
            return self._open[1].read(info)
        except RowError:
            raise
        except Exception as error:  # zipfile and its codecs raise all kinds on damaged archives
            raise RowError("unreadable", f"cannot be unpacked: {error}") from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


class ParquetTree(Tree):
    """Parquet files whose rows hold an image; a name is `FILE.parquet#ROW`.

    `rows[i]` holds the other columns asked for beside name i.
    """

    def __init__(self, path: Path, files: list[Path], columns: list[str]) -> None:
        import pyarrow.parquet as pq

        self._places: dict[str, tuple[Path, int, int]] = {}
        self._cached: tuple[tuple[Path, int], Any] | None = None
        self.rows: list[dict[str, Any]] = []
        for file in files:
            opened, position = pq.ParquetFile(file), 0
            for group in range(opened.metadata.num_row_groups):
                for row, values in enumerate(read_group(file, opened, group, columns)):
                    self._places[f"{file.name}#{position}"] = (file, group, row)
                    self.rows.append(values)
                    position += 1
        super().__init__(path, list(self._places))

    def read(self, name: str) -> bytes:
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        file, group, row = self._places[name]
        if self._cached is None or self._cached[0] != (file, group):
            try:
                table = pq.ParquetFile(file).read_row_group(group, columns=["image"])
            except (OSError, ArrowException) as error:
                raise RowError("unreadable", f"cannot be read: {one_line(error)}") from error
            self._cached = ((file, group), table.column("image"))
        value = self._cached[1][row].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes) or not data:
            raise RowError("unreadable", "the image column holds no bytes here")
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cached": None}


def parquet_files(path: Path, columns: set[str]) -> list[Path]:
    """The parquet files at `path` (a file, or a folder or its `data/`) that have these columns.

    Raises SourceError where some of them do and others do not, or one cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    places = [path] if path.suffix == ".parquet" else []
    if path.is_dir():
        places = sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet")])
    names: dict[Path, set[str]] = {}
    for place in places:
        try:
            names[place] = set(pq.read_schema(place).names)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{place}: not a readable parquet file: {one_line(error)}") from error
    having = [place for place in places if columns <= names[place]]
    if having and len(having) < len(places):
        other = next(place for place in places if place not in having)
        lacking = sorted(columns - names[other])[0]
        raise SourceError(f"{other}: lacks the column {lacking!r} that {having[0].name} has")
    return having


def open_tree(path: Path) -> Tree | None:
    """The folder or zip archive at `path`; None where there is neither."""
    if path.is_dir():
        return FolderTree(path)
    return ZipTree(path) if path.suffix.lower() == ".zip" and path.is_file() else None


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix[1:].lower() in SUFFIXES


def _is_hidden(name: str) -> bool:
    """`.git/`, `._photo.jpg` and what macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _files_below(folder: Path, prefix: str, depth: int) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed: {error}") from error
    yield from (prefix + entry.name for entry in entries if entry.is_file())
    folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    if depth > 1 and len(folders) <= _MAX_FOLDERS:
        for entry in folders:
            yield from _files_below(Path(entry.path), f"{prefix}{entry.name}/", depth - 1)
