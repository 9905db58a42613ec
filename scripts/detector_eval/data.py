"""Labelled photographs to measure detectors on, and plain images to compare settings on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from attr_builder.labelled_images.subset import evenly
from lesstext.errors import ImageError, UsageError
from lesstext.geometry import area_ratios
from lesstext.images import decode
from lesstext.shards.tar_reading import IMAGE_SUFFIXES, index_shard, read_member

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScamPair:
    """One photograph with a handwritten word on a note, and the same with the note blank."""

    written: Path
    blank: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage:
    """An image file and the share of its area that text truly covers, in [0, 1]."""

    path: Path
    true_ratio: float


def load_scam(folder: Path, limit: int | None) -> list[ScamPair]:
    """The pairs of equal name in `SCAM` and `NoSCAM`. Raises UsageError where there are none."""
    written = sorted((folder / "SCAM").glob("*.webp"))
    pairs = [ScamPair(written=path, blank=folder / "NoSCAM" / path.name) for path in written]
    complete = [pair for pair in pairs if pair.blank.is_file()]
    return evenly(_some(complete, folder), limit)


def load_icdar(folder: Path, limit: int | None) -> list[LabelledImage]:
    """Street photographs with the area of the union of all outlined text, legible or not.

    Raises UsageError where there are none.
    """
    images = evenly(_some(sorted((folder / "images").glob("*.jpg")), folder), limit)
    return [_icdar_image(path, folder / "gt" / f"{path.stem}.txt") for path in images]


def outlined_quads(label_file: str) -> list[list[tuple[float, float]]]:
    """The quads of an ICDAR 2015 label file; `###`, illegible text, counts as text.

    >>> outlined_quads("0,0,4,0,4,2,0,2,a, b")
    [[(0.0, 0.0), (4.0, 0.0), (4.0, 2.0), (0.0, 2.0)]]
    """
    quads = []
    for line in label_file.splitlines():
        if line.strip():
            numbers = [float(text) for text in line.split(",", 8)[:8]]
            quads.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return quads


def load_images(path: Path, limit: int | None) -> list[bytes]:
    """The bytes of the decodable images in one shard, or of those below a folder.

    Raises UsageError where there are none.
    """
    encoded = _shard_images(path, limit) if path.suffix == ".tar" else _folder_images(path, limit)
    return _some([data for data in encoded if _is_decodable(data)], path)


def _icdar_image(path: Path, labels: Path) -> LabelledImage:
    image = decode(path.read_bytes())
    quads = outlined_quads(labels.read_text(encoding="utf-8-sig"))
    ratios = area_ratios(quads, image.width, image.height)
    return LabelledImage(path=path, true_ratio=ratios.union)


def _shard_images(path: Path, limit: int | None) -> list[bytes]:
    members = [sample.image for sample in index_shard(path).samples]
    with path.open("rb") as file:
        return [read_member(file, member) for member in evenly(members, limit) if member]


def _folder_images(path: Path, limit: int | None) -> list[bytes]:
    files = sorted(p for p in path.rglob("*") if p.suffix.lower().lstrip(".") in IMAGE_SUFFIXES)
    return [file.read_bytes() for file in evenly(files, limit)]


def _is_decodable(data: bytes) -> bool:
    try:
        decode(data)
    except ImageError:
        return False
    return True


def _some(items: list[T], folder: Path) -> list[T]:
    if not items:
        raise UsageError(f"{folder}: no images of the expected layout there")
    return items
