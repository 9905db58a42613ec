"""What a folder is: one of shards, of image parquet, or of plain images; the rest is named."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from lesstext.errors import UsageError
from lesstext.shards.sources.image_folder import METADATA_NAMES, TEXT_SUFFIXES
from lesstext.shards.sources.image_parquet import declares_images, image_columns
from lesstext.shards.sources.kinds import (
    is_image_name,
    is_parquet_name,
    is_tar_name,
    stem_of,
    suffix_of,
)
from lesstext.storage.paths import in_parallel

log = logging.getLogger(__name__)

_TOLD_BY_NAME = ("sizes.json", "export_settings.json", "_SUCCESS")


@dataclass(slots=True)
class FolderContents:
    """The files below a folder by what they are, in order; `images` are (path, bytes).

    Paths of images and of `texts` are relative to the folder, the others begin with it.
    """

    folder: str
    tars: list[str] = field(default_factory=list)
    parquets: list[str] = field(default_factory=list)
    images: list[tuple[str, int]] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)
    passed_over: dict[str, list[str]] = field(default_factory=dict)

    def pass_over(self, what: str, *paths: str) -> None:
        if paths:
            self.passed_over.setdefault(what, []).extend(paths)

    def say_passed_over(self) -> None:
        """Name in one line what is not read."""
        if self.passed_over:
            _warn_once(f"passed over in {self.folder}: {_counted(self.passed_over)}")


def look_into(folder: str) -> FolderContents:
    """All files below a folder; through links to files, not through those to folders."""
    found = FolderContents(folder)
    for parent, folders, names in os.walk(folder, onerror=_say):
        folders.sort()
        links = [path for name in folders if os.path.islink(path := os.path.join(parent, name))]
        found.pass_over("links to folders", *links)
        for name in sorted(names):
            _sort_in(found, os.path.join(parent, name), name)
    return found


def choose_sources(found: FolderContents) -> None:
    """Leave one kind: shards before parquet of images before images; the rest is passed over."""
    if found.tars:
        sidecars = {stem_of(path) for path in found.tars}
        found.pass_over("parquet files", *(p for p in found.parquets if stem_of(p) not in sidecars))
        found.parquets = []
    else:
        found.parquets, others, damaged = by_schema(found.parquets, open_local)
        found.pass_over("parquet files without images", *others)
        if found.parquets or not found.images:
            found.parquets = sorted([*found.parquets, *damaged])  # each fails by its name
        else:
            found.pass_over("damaged parquet files", *damaged)
    if found.tars or found.parquets:
        found.pass_over("images", *(path for path, _ in found.images))
        found.images = []
        stems = {os.path.relpath(stem_of(path), found.folder) for path in found.tars}
        found.pass_over("texts", *(p for p in sorted(found.texts) if not _is_sidecar(p, stems)))
        found.texts = set()
    else:
        stems = {path.rpartition(".")[0] for path, _ in found.images}
        alone = [path for path in sorted(found.texts) if not _is_beside(path, stems)]
        found.pass_over("texts without an image", *alone)


def by_schema(
    paths: Sequence[str], opened: Callable[[str], BinaryIO]
) -> tuple[list[str], list[str], list[str]]:
    """Parquet files that hold images, those that do not, and those that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def holds_images(path: str) -> bool | None:
        try:
            with opened(path) as file:
                return declares_images(pq.read_schema(file))
        except (OSError, pa.ArrowException):
            return None

    found = in_parallel(holds_images, paths)
    sources, others, damaged = (
        [path for path, held in zip(paths, found, strict=True) if held is kind]
        for kind in (True, False, None)
    )
    return sources, others, damaged


def parquets_of_images(
    spec: str, paths: Sequence[str], opened: Callable[[str], BinaryIO]
) -> list[str]:
    """Those that are sources, and the damaged ones, which fail by name; others are passed over."""
    sources, others, damaged = by_schema(paths, opened)
    found = FolderContents(spec)
    found.pass_over("parquet files without images", *others)
    found.say_passed_over()
    return sorted([*sources, *damaged])


def refuse_as_source(path: str) -> None:
    """Raise UsageError for a single file that is no source: an image, or parquet without any."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if is_image_name(path):
        raise UsageError(f"{path!r} is one image, not a shard: give its folder")
    if is_parquet_name(path):
        try:
            image_columns(pq.read_schema(path))
        except UsageError as error:
            raise UsageError(f"{path!r} {error}") from error
        except (OSError, pa.ArrowException):
            pass  # it fails by its name when it is read


def _sort_in(found: FolderContents, path: str, name: str) -> None:
    below = path[len(found.folder) :].lstrip("/")
    is_image = is_image_name(name)
    if any(part.startswith(".") for part in below.split("/")):
        if is_image or is_tar_name(name) or is_parquet_name(name):
            found.pass_over("hidden files", path)
        return
    is_text = suffix_of(name) in TEXT_SUFFIXES or name in METADATA_NAMES
    if not (is_image or is_text or is_tar_name(name) or is_parquet_name(name)):
        found.pass_over("other files", path)
        return
    try:
        status = os.stat(path)
    except OSError:
        found.pass_over("links to nothing", path)
        return
    if not stat.S_ISREG(status.st_mode):
        found.pass_over("pipes and devices", path)
    elif is_image:
        found.images.append((below, status.st_size))
    elif is_text:
        found.texts.add(below)
    else:
        (found.tars if is_tar_name(name) else found.parquets).append(path)


def _is_sidecar(path: str, shards: set[str]) -> bool:
    """Whether a text belongs to shards, as img2dataset and our own exports lay them out."""
    stem = path.rpartition(".")[0]
    return stem.removesuffix("_stats") in shards or Path(path).name in _TOLD_BY_NAME


def _is_beside(path: str, images: set[str]) -> bool:
    return path.rpartition(".")[0] in images or Path(path).name in METADATA_NAMES


def _counted(passed_over: Mapping[str, Sequence[str]]) -> str:
    """How many of each, with an example.

    >>> _counted({"hidden files": ["in/.a"], "images": ["in/b.jpg", "in/c.jpg"]})
    '1 hidden files (in/.a), 2 images (such as in/b.jpg)'
    """

    def parts() -> Iterator[str]:
        for what, paths in passed_over.items():
            example = paths[0] if len(paths) == 1 else f"such as {paths[0]}"
            yield f"{len(paths)} {what} ({example})"

    return ", ".join(parts())


def open_local(path: str) -> BinaryIO:
    return open(path, "rb")


@lru_cache(maxsize=100)
def _warn_once(line: str) -> None:
    """A command may expand its specs more than once."""
    log.warning("%s", line)


def _say(error: OSError) -> None:
    log.warning("passed over: %s", error)
