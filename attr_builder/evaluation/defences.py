"""Defences that need no training: an image's text is found and hidden before a model sees it.

What is found is known by the bytes of the image and the detector, so that sets, defences and
models share it, and with a folder to keep it in, later runs as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attr_builder.evaluation.embeddings import open_as_trainers_do
from attr_builder.labelled_images.sources import SourceItem
from lesstext.errors import DetectorError, ImageError, TableError
from lesstext.fills import Fill, fill
from lesstext.images import Pixels
from lesstext.storage.files import atomic_path
from lesstext.storage.guard import claim_folder
from lesstext.text_detection.protocol import (
    Detector,
    DetectorSettings,
    identify_detector,
    load_detector,
)

Polygons = tuple[NDArray[np.float32], ...]
Regions = dict[str, Polygons | None]
"""By the digest of an image's bytes; None where the detector failed on it."""

_BATCH = 8
_SAVED_EVERY = 500
_METADATA_KEY = b"lesstext_regions"


class Defended:
    """Decodes as trainers do, and hides the text that was found; raises ImageError."""

    def __init__(self, regions: Mapping[str, Polygons | None], how: Fill) -> None:
        self._regions, self._how = regions, how

    def __call__(self, data: bytes) -> Image.Image:
        image = open_as_trainers_do(data)
        polygons = self._regions.get(_digest(data))
        if polygons is None:
            raise ImageError("detector_error", "the text detector failed on it")
        return Image.fromarray(fill(np.asarray(image), polygons, self._how)) if polygons else image


def find_regions(
    sets: Iterable[Sequence[SourceItem]],
    settings: DetectorSettings,
    *,
    folder: Path | None = None,
    on_image: Callable[[int], None] | None = None,
) -> Regions:
    """The text regions of all readable images, in the frame that trainers decode.

    `folder` keeps them for other runs; what it holds of the same detector is not sought again.
    Raises UsageError, DetectorError and TableError.
    """
    identity = identify_detector(settings)
    table = None if folder is None else _table_in(folder, identity)
    found: Regions = {} if table is None else _read(table, identity)
    n_saved = len(found)
    detector: Detector | None = None
    for batch in _batches(sets, found, on_image or (lambda n: None)):
        detector = detector or load_detector(settings)
        found.update(_detect(detector, batch))
        if table is not None and len(found) - n_saved >= _SAVED_EVERY:
            n_saved = _write(table, identity, found)
    if table is not None and len(found) > n_saved:
        _write(table, identity, found)
    return found


def _batches(
    sets: Iterable[Sequence[SourceItem]], found: Regions, on_image: Callable[[int], None]
) -> Iterator[dict[str, Pixels]]:
    """The images whose text is not known yet, by digest, a few at a time."""
    batch: dict[str, Pixels] = {}
    for items in sets:
        for index in range(len(items)):
            on_image(1)
            try:
                data = items[index].data
                digest = _digest(data)
                if digest not in found and digest not in batch:
                    batch[digest] = np.asarray(open_as_trainers_do(data))
            except Exception:  # the boundary of one sample: whoever embeds it tells why
                continue
            if len(batch) == _BATCH:
                yield batch
                batch = {}
    if batch:
        yield batch


def _detect(detector: Detector, batch: dict[str, Pixels]) -> Regions:
    """Regions of a batch; where it fails, of each of its images that does not fail alone."""
    try:
        found = detector.detect(list(batch.values()))
        return {digest: one.polygons for digest, one in zip(batch, found, strict=True)}
    except DetectorError:
        raise
    except Exception:  # the boundary of one sample, reached one by one below
        if len(batch) == 1:
            return dict.fromkeys(batch)
    return {
        key: value for d, p in batch.items() for key, value in _detect(detector, {d: p}).items()
    }


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _table_in(folder: Path, identity: str) -> Path:
    claim_folder(folder, "regions")
    return folder / f"{hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()}.parquet"


def _read(table: Path, identity: str) -> Regions:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not table.exists():
        return {}
    try:
        rows = pq.read_table(table)
        told = json.loads((rows.schema.metadata or {})[_METADATA_KEY])
        images, regions = rows.column("image").to_pylist(), rows.column("regions").to_pylist()
        found: Regions = {
            image: tuple(np.array(points, dtype=np.float32).reshape(-1, 2) for points in polygons)
            for image, polygons in zip(images, regions, strict=True)
        }
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TableError(f"{table} is damaged, delete it: {reason}") from error
    if told.get("detector") != identity:
        raise TableError(f"{table} was made by {told.get('detector')!r}, not by {identity!r}")
    return found


def _write(table: Path, identity: str, found: Regions) -> int:
    """Store what was found, without the failures; returns how many entries `found` has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept: dict[str, Any] = {
        image: [polygon.ravel() for polygon in polygons]
        for image, polygons in sorted(found.items())
        if polygons is not None
    }
    schema = pa.schema(
        [("image", pa.string()), ("regions", pa.list_(pa.list_(pa.float32())))],
        metadata={_METADATA_KEY: json.dumps({"detector": identity}).encode()},
    )
    columns = {"image": list(kept), "regions": list(kept.values())}
    with atomic_path(table) as partial:
        pq.write_table(pa.table(columns, schema=schema), partial)
    return len(found)
