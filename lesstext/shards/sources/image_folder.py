"""Folders of plain images: cut into runs of files, each of which is packed as one shard.

Beside an image may lie its caption in a `.txt` or its fields in a `.json` of the same stem; or a
`metadata.csv` or `metadata.jsonl` names images by `file_name`, as Hugging Face's imagefolder has
it, for the folder that it lies in and those below.
"""

from __future__ import annotations

import csv
import json
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lesstext.errors import ShardError
from lesstext.shards.sources.keys import keys_of_files
from lesstext.shards.sources.kinds import is_image_name, suffix_of
from lesstext.shards.sources.members import write_fields
from lesstext.shards.tar_walk import spelled
from lesstext.shards.tar_writing import ByteSink, copy_member, end_archive, write_member

TEXT_SUFFIXES = ("json", "txt")
METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
MAX_IMAGES = 1_000
_MAX_RUN_BYTES = 512 << 20
_MAX_METADATA_BYTES = 1 << 30


def runs_of_files(sized: Iterable[tuple[str, int]], beside: set[str]) -> Iterator[tuple[str, ...]]:
    """Images (path, bytes) in runs of at most 1,000 and 512 MiB, each with what belongs to them.

    `beside` are the texts and metadata files of the folder, all paths relative to it.
    """
    run: list[str] = []
    n_bytes = 0
    for path, size in sized:
        if run and (len(run) == MAX_IMAGES or n_bytes + size > _MAX_RUN_BYTES):
            yield (*run, *_belonging(run, beside))
            run, n_bytes = [], 0
        run.append(path)
        n_bytes += size
    if run:
        yield (*run, *_belonging(run, beside))


def pack_folder(folder: Path, files: Sequence[str], target: Path, shard: str) -> list[str]:
    """Write a run of files as a tar; returns what cannot be read, whose image is empty there.

    Raises ShardError for metadata that cannot be read.
    """
    images = [name for name in files if is_image_name(name)]
    texts = {name for name in files if suffix_of(name) in TEXT_SUFFIXES}
    fields = _Fields(folder, [name for name in files if _is_metadata(name)], images, shard)
    problems: list[str] = []
    with target.open("wb") as tar:
        for name, key in keys_of_files(images):
            stem = name.rpartition(".")[0]
            beside = [path for suffix in TEXT_SUFFIXES if (path := f"{stem}.{suffix}") in texts]
            found = fields.by_image.get(name)
            if found is not None and f"{stem}.json" not in beside:
                write_fields(tar, key, found, with_text=f"{stem}.txt" not in beside)
            for path in (*beside, name):
                problem = _copy(folder / path, f"{key}.{suffix_of(path)}", tar)
                problems += [] if problem is None else [f"{spelled(path)} {problem}"]
        end_archive(tar)
    return problems


def _copy(path: Path, member: str, tar: ByteSink) -> str | None:
    """Write a file as a member, as far as it can be read; returns why that is not whole."""
    try:
        with open(path, "rb", opener=_open_file) as file:
            size = os.fstat(file.fileno()).st_size
            return None if copy_member(tar, member, file, size) else "changed while it was read"
    except OSError as error:
        write_member(tar, member, b"")
        return f"cannot be read: {error.strerror}"


def _open_file(path: str, flags: int) -> int:
    """Open a regular file, and nothing that would be waited on for ever."""
    file = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(0, "it is no regular file")
    return file


def _belonging(images: Sequence[str], beside: set[str]) -> Iterator[str]:
    """Texts of the same stem, and the metadata of the nearest folder above that has any."""
    wanted = {
        f"{image.rpartition('.')[0]}.{suffix}" for image in images for suffix in TEXT_SUFFIXES
    }
    for folder in {posixpath.dirname(image) for image in images}:
        while True:
            names = [posixpath.join(folder, name) for name in METADATA_NAMES]
            found = next((name for name in names if name in beside), None)
            if found is not None:
                wanted.add(found)
            if found is not None or not folder:
                break
            folder = posixpath.dirname(folder)
    return iter(sorted(wanted & beside))


def _is_metadata(name: str) -> bool:
    return posixpath.basename(name) in METADATA_NAMES


class _Fields:
    """What metadata files say of some images; of several the one nearest to the image counts."""

    def __init__(self, folder: Path, files: list[str], images: list[str], shard: str) -> None:
        self.by_image: dict[str, dict[str, Any]] = {}
        wanted = set(images)
        for file in sorted(files, key=lambda name: name.count("/")):
            try:
                for fields in _read_metadata(folder / file):
                    name = str(fields.pop("file_name", ""))
                    path = posixpath.normpath(posixpath.join(posixpath.dirname(file), name))
                    if path in wanted:
                        self.by_image[path] = fields
            except (OSError, ValueError, csv.Error) as error:
                raise ShardError(shard, f"{file} cannot be read: {error}") from error


def _read_metadata(path: Path) -> Iterator[dict[str, Any]]:
    if path.stat().st_size > _MAX_METADATA_BYTES:
        raise ValueError(f"it has more than {_MAX_METADATA_BYTES} bytes")
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".csv":
            yield from (
                {name: value for name, value in row.items() if name is not None}
                for row in csv.DictReader(file)
            )
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                fields = json.loads(line)
                if not isinstance(fields, dict):
                    raise ValueError(f"line {number} holds no object")
                yield fields
