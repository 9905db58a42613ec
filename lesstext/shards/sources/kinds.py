"""The kinds of files that hold samples: told by the name in a listing, by the bytes when opened."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lesstext.shards.tar_reading import IMAGE_SUFFIXES

Kind = Literal["tar", "gzip", "zstd", "parquet"]

SHARD_SUFFIX = ".tar"
PARQUET_SUFFIX = ".parquet"
TAR_SUFFIXES = (SHARD_SUFFIX, ".tar.gz", ".tgz", ".tar.zst")
SOURCE_SUFFIXES = (*TAR_SUFFIXES, PARQUET_SUFFIX)
_MAGIC: dict[bytes, Kind] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PAR1": "parquet"}


def stem_of(path: str) -> str:
    """A path without the suffix that makes it a source, if it has one.

    >>> stem_of("in/00.tar.gz"), stem_of("00.tar"), stem_of("notes.txt")
    ('in/00', '00', 'notes.txt')
    """
    suffix = next((suffix for suffix in SOURCE_SUFFIXES if path.endswith(suffix)), "")
    return path.removesuffix(suffix)


def is_tar_name(path: str) -> bool:
    """Whether a file is a tar by its name, compressed or not."""
    return path.endswith(TAR_SUFFIXES)


def is_parquet_name(path: str) -> bool:
    """Whether a file is parquet by its name; only its schema tells whether it holds images."""
    return path.endswith(PARQUET_SUFFIX)


def suffix_of(path: str) -> str:
    """The last suffix, in lower case and without its dot."""
    return path.rpartition(".")[2].lower()


def is_image_name(path: str) -> bool:
    """Whether a file is an image by its name."""
    return "." in path and suffix_of(path) in IMAGE_SUFFIXES


def kind_of(path: Path) -> Kind:
    """What a file is by its first bytes; whatever is unknown passes for a tar, which says so."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return "tar"
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "tar")
