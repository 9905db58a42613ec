"""Embeddings kept on disk by model and image, and read a part at a time.

A pack holds up to 16,384 vectors with the digests of their images' bytes. Its name is the digest of
the model's identity and of all that it holds, so that a pack which is damaged, cut short or of
another model is never believed: its images are embedded anew.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray

from attr_builder.evaluation.embeddings import (
    Failures,
    Floats,
    Ints,
    OnBatch,
    embed_readable,
    refuse_none,
)
from attr_builder.labelled_images.sources import Source
from lesstext.clip import ClipModel
from lesstext.storage.files import atomic_path

log = logging.getLogger(__name__)

PACK_ROWS = 2**14
_DIGEST_BYTES = 16
_BLOCK_BYTES = 2**20


class StoredVectors:
    """Unit vectors (n, d) in packs on disk, in an order of their own.

    Whatever is cut out of them is read when it is made an array, float32; where it lies in one
    piece it is mapped, and its memory is given back with the array.
    """

    def __init__(self, packs: Sequence[Path], pack_of: Ints, row_of: Ints) -> None:
        self._packs, self._pack_of, self._row_of = packs, pack_of, row_of

    def __len__(self) -> int:
        return len(self._row_of)

    def __getitem__(self, part: slice | NDArray[Any]) -> StoredVectors:
        return StoredVectors(self._packs, self._pack_of[part], self._row_of[part])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        present = np.unique(self._pack_of).tolist()
        if len(present) == 1 and (np.diff(self._row_of) == 1).all():
            first = int(self._row_of[0])
            found = _vectors(self._packs[present[0]])[first : first + len(self)]
        else:
            width = _vectors(self._packs[0]).shape[1]
            found = np.empty((len(self), width), dtype=np.float32)
            for pack in present:
                mask = self._pack_of == pack
                found[mask] = _vectors(self._packs[pack])[self._row_of[mask]]
        return np.array(found, dtype=dtype) if copy else np.asarray(found, dtype=dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEmbeddings:
    """The readable images of a labelled set, as `LabelledEmbeddings` are, with vectors on disk.

    `n_embedded` images were embedded for it, the others were known.
    """

    vectors: StoredVectors
    labels: Ints
    rows: Ints
    failures: Failures
    n_embedded: int


def embed_stored(
    model: ClipModel,
    images: Source,
    folder: Path,
    *,
    batch_size: int = 64,
    n_workers: int = 0,
    on_batch: OnBatch | None = None,
) -> StoredEmbeddings:
    """Embed what `folder` does not hold yet of a labelled set, decoded as trainers do.

    Memory does not grow with the vectors. `on_batch` is told of images that were looked at. Raises
    UsageError where none can be read.
    """
    shelf = Shelf(folder, model.identity())
    places: list[int] = []
    rows: list[int] = []
    failures: Failures = []
    n_embedded = 0
    told = on_batch or (lambda n: None)
    for start in range(0, len(images), PACK_ROWS):
        chunk = range(start, min(start + PACK_ROWS, len(images)))
        digests = {row: _digest_of(images, row) for row in chunk}
        unknown = [row for row in _once_each(digests) if digests[row] not in shelf.places]
        told(len(chunk) - len(unknown))
        vectors, read, failed = embed_readable(
            model,
            _Hashed(images, unknown),
            "digest",
            batch_size=batch_size,
            n_workers=n_workers,
            on_batch=told,
        )
        digests |= {unknown[image.row]: image.told for image in read}
        shelf.add([image.told for image in read], vectors)
        n_embedded += len(read)
        reasons = {digests[unknown[row]]: reason for row, reason in failed}
        for row, digest in digests.items():
            if digest in shelf.places:
                places.append(shelf.places[digest])
                rows.append(row)
            else:
                failures.append((row, reasons.get(digest, "changed while it was read")))
    refuse_none(len(rows), failures)
    return StoredEmbeddings(
        vectors=shelf.vectors(places),
        labels=np.array(images.labels, dtype=np.int64)[rows],
        rows=np.array(rows, dtype=np.int64),
        failures=failures,
        n_embedded=n_embedded,
    )


class Shelf:
    """The packs of one model below `folder`.

    `places` maps an image's digest to its pack and row, as one number.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._identity = identity
        self._folder = folder / hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
        self._packs: list[Path] = []
        self.places: dict[bytes | int, int] = {}
        for path in sorted(self._folder.glob("*.npy")):
            if self._named(path) == path.name:
                self._list(path)
            else:
                log.warning("%s is damaged, delete it; its images are embedded anew", path)

    def add(self, digests: Sequence[bytes], vectors: Floats) -> None:
        """Store the vectors (n, d) of images with these digests, at most PACK_ROWS, if any."""
        if not digests:
            return
        pack = np.empty(len(vectors), dtype=_dtype(vectors.shape[1]))
        pack["image"] = np.frombuffer(b"".join(digests), dtype=f"V{_DIGEST_BYTES}")
        pack["vector"] = vectors
        buffer = io.BytesIO()
        np.save(buffer, pack)
        path = self._folder / self._name([buffer.getvalue()])
        with atomic_path(path, durable=False, unguarded=True) as partial:
            partial.write_bytes(buffer.getvalue())
        self._list(path)

    def vectors(self, places: Sequence[int]) -> StoredVectors:
        """What is stored at these places, in their order."""
        found = np.array(places, dtype=np.int64)
        return StoredVectors(self._packs, found // PACK_ROWS, found % PACK_ROWS)

    def _list(self, path: Path) -> None:
        first = len(self._packs) * PACK_ROWS
        self._packs.append(path)
        images = _map(path)["image"].tobytes()
        for row, start in enumerate(range(0, len(images), _DIGEST_BYTES)):
            self.places[images[start : start + _DIGEST_BYTES]] = first + row

    def _named(self, path: Path) -> str:
        with path.open("rb") as file:
            return self._name(iter(lambda: file.read(_BLOCK_BYTES), b""))

    def _name(self, blocks: Any) -> str:
        digest = hashlib.blake2b(self._identity.encode(), digest_size=_DIGEST_BYTES)
        for block in blocks:
            digest.update(block)
        return f"{digest.hexdigest()}.npy"


class _Item(NamedTuple):
    data: bytes
    digest: bytes


class _Hashed(Sequence[_Item]):
    """Some rows of a set, each with the digest of the very bytes that are embedded."""

    def __init__(self, images: Source, rows: Sequence[int]) -> None:
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        data = self._images[self._rows[index]].data
        return _Item(data, _digest(data))


def _once_each(digests: dict[int, bytes | int]) -> list[int]:
    """The first row of each image."""
    first: dict[bytes | int, int] = {}
    for row, digest in digests.items():
        first.setdefault(digest, row)
    return list(first.values())


def _digest_of(images: Source, row: int) -> bytes | int:
    """The digest of an image's bytes, or its row where they cannot be had: that is told later."""
    try:
        return _digest(images[row].data)
    except Exception:  # the boundary of one sample; embedding it meets the same and tells why
        return row


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _dtype(width: int) -> np.dtype[Any]:
    return np.dtype([("image", f"V{_DIGEST_BYTES}"), ("vector", "<f4", (width,))])


def _map(pack: Path) -> NDArray[Any]:
    return open_memmap(pack, mode="r")


def _vectors(pack: Path) -> NDArray[np.float32]:
    found: NDArray[np.float32] = _map(pack)["vector"]
    return found
