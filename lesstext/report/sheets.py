"""Thumbnails on sheets: square tiles in rows, many to a JPEG, so that a page can show thousands.

A sheet is a picture and nothing else: no text of a shard reaches the folder of sheets, and no name.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lesstext.images import Pixels
from lesstext.storage.files import atomic_path, remove_leftovers
from lesstext.storage.guard import MARKER, claim_folder
from lesstext.storage.paths import Location

if TYPE_CHECKING:
    from lesstext.report.pictures import Picture, PictureReader
    from lesstext.report.samples import Shown

TILE_PX = 320
TILES_PER_ROW = 4
MAX_EMBEDDED = 1500
"""Samples up to which the page holds its pictures itself; about 15 kB each."""
_PER_SHEET = TILES_PER_ROW * TILES_PER_ROW
_JPEG_QUALITY = 75
_BACKGROUND = 238

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What became of one sample's picture: its tile's width and height in px, or why it has none;
    a sample's place in the list is its place on the sheets."""

    width: int = 0
    height: int = 0
    caption: str | None = None
    missing: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheets:
    """The pictures of a page. `folder`, beside the page, holds the sheets `00000.jpg` and so on;
    where it is None, `embedded` holds them in base64."""

    placed: list[Placed]
    folder: str | None
    embedded: list[str]
    tile_px: int = TILE_PX
    tiles_per_row: int = TILES_PER_ROW


def make_sheets(samples: Sequence[Shown], pictures: PictureReader, page: Location) -> Sheets:
    """Read all pictures and lay them out in the order of `samples`, a few sheets at a time in
    memory; beyond MAX_EMBEDDED samples, files are written below `sheets_folder(page)`."""
    folder = None
    if len(samples) > MAX_EMBEDDED:
        root = sheets_folder(page)
        claim_folder(root, "report")
        remove_leftovers(root)
        folder = root / _name(samples)
    lots = [samples[at : at + _PER_SHEET] for at in range(0, len(samples), _PER_SHEET)]
    placed: list[Placed] = []
    embedded: list[str] = []
    make = partial(_one_sheet, pictures, folder)
    for of_sheet, data in _in_turn(make, list(enumerate(lots)), pictures.n_threads):
        placed += of_sheet
        if folder is None:
            embedded.append(base64.b64encode(data).decode("ascii"))
    name = None if folder is None else f"{folder.parent.name}/{folder.name}"
    return Sheets(placed=placed, folder=name, embedded=embedded)


def sheets_folder(page: Location) -> Location:
    """Where a page's sheets lie if they are many: `report_files` beside `report.html`."""
    return page.with_name(f"{page.name.rpartition('.')[0] or page.name}_files")


def remove_other_sheets(page: Location, used: str | None) -> None:
    """Delete the sheets of earlier pages of this name."""
    root = sheets_folder(page)
    if not (root / MARKER).exists():
        return
    keep = (used or "").rpartition("/")[2]
    for file in root.rglob("*.jpg"):
        if file.parent.name != keep and file.parent.parent == root:
            file.unlink()
    _remove_empty(root, keep)


def _remove_empty(root: Location, keep: str) -> None:
    if not isinstance(root, Path):
        if not keep:
            (root / MARKER).unlink()
        return
    for folder in root.iterdir():
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if not keep and [path.name for path in root.iterdir()] == [MARKER]:
        (root / MARKER).unlink()
        root.rmdir()


def _name(samples: Sequence[Shown]) -> str:
    """Names the sheets after what is on them, so that a page never shows those of another."""
    digest = hashlib.blake2b(digest_size=8)
    for sample in samples:
        place = (sample.id.table, sample.id.row, sample.key, sample.status, sample.image_offset)
        digest.update(repr(place).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _one_sheet(
    pictures: PictureReader, folder: Location | None, numbered: tuple[int, Sequence[Shown]]
) -> tuple[list[Placed], bytes]:
    number, samples = numbered
    found = [pictures.read(sample) for sample in samples]
    data = _draw([picture.pixels for picture in found])
    if folder is not None:
        with atomic_path(folder / f"{number:05d}.jpg", durable=False) as partial_path:
            partial_path.write_bytes(data)
        data = b""
    return [_placed(picture) for picture in found], data


def _placed(picture: Picture) -> Placed:
    height, width = (0, 0) if picture.pixels is None else picture.pixels.shape[:2]
    return Placed(width=width, height=height, caption=picture.caption, missing=picture.missing)


def _draw(thumbnails: Sequence[Pixels | None]) -> bytes:
    """A sheet as a JPEG, each thumbnail in the upper left corner of its tile."""
    from PIL import Image

    n_rows = -(-len(thumbnails) // TILES_PER_ROW)
    sheet = np.full((n_rows * TILE_PX, TILES_PER_ROW * TILE_PX, 3), _BACKGROUND, np.uint8)
    for place, pixels in enumerate(thumbnails):
        if pixels is not None:
            top, left = TILE_PX * (place // TILES_PER_ROW), TILE_PX * (place % TILES_PER_ROW)
            sheet[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _in_turn(make: partial[T], items: Sequence[object], n_threads: int) -> Iterator[T]:
    """`make` of each item, in order, several at a time and never many more than are asked for."""
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[T]] = deque()
        rest = iter(items)
        try:
            waiting.extend(pool.submit(make, one) for one in islice(rest, 2 * n_threads))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(make, one) for one in islice(rest, 1))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
