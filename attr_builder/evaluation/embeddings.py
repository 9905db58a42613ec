"""The embeddings of a labelled or of a captioned set, on which every evaluation builds.

Images that cannot be read are listed with the reason, never skipped silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attr_builder.errors import UsageError
from attr_builder.labelled_images.sources import SourceItem
from lesstext.clip import ClipModel, Preprocess
from lesstext.images import decode, open_image

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Failures = list[tuple[int, str]]
OnBatch = Callable[[int], None]
Decode = Callable[[bytes], "Image.Image"]


@dataclass(frozen=True, slots=True)
class CaptionedItem:
    """One image with its captions (at least one); `name` is `shard/key`."""

    name: str
    captions: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledEmbeddings:
    """The readable images of a labelled set, in its order.

    `vectors` (n, d) are unit vectors with `labels` (n,); `rows` (n,) indexes the set. `failures`
    lists what could not be read as (row, reason).
    """

    vectors: Floats
    labels: Ints
    rows: Ints
    failures: Failures


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionedEmbeddings:
    """The readable images of a captioned set, in its order, with all their captions.

    `images` (n, d) and `texts` (m, d) are unit vectors; caption j belongs to image `owners[j]`;
    `rows` (n,) indexes the set. `failures` lists what could not be read as (row, reason).
    """

    images: Floats
    texts: Floats
    owners: Ints
    rows: Ints
    failures: Failures


class Read(NamedTuple):
    """One image of a set: what stands beside it and its pixels, or why there are none."""

    row: int
    told: Any
    pixels: torch.Tensor | None
    reason: str = ""


def embed_labelled(
    model: ClipModel,
    items: Sequence[SourceItem],
    *,
    decode: Decode | None = None,
    batch_size: int = 64,
    n_workers: int = 0,
    on_batch: OnBatch | None = None,
) -> LabelledEmbeddings:
    """Embed the images of a labelled set, decoded as trainers do, or by `decode`.

    `on_batch` is told how many images each batch held. Raises UsageError where none can be read.
    """
    vectors, read, failures = embed_readable(
        model,
        items,
        "label",
        decode=decode,
        batch_size=batch_size,
        n_workers=n_workers,
        on_batch=on_batch,
    )
    refuse_none(len(read), failures)
    return LabelledEmbeddings(
        vectors=vectors,
        labels=np.array([image.told for image in read], dtype=np.int64),
        rows=np.array([image.row for image in read], dtype=np.int64),
        failures=failures,
    )


def embed_captioned(
    model: ClipModel,
    items: Sequence[CaptionedItem],
    *,
    batch_size: int = 64,
    n_workers: int = 0,
    on_batch: OnBatch | None = None,
) -> CaptionedEmbeddings:
    """Embed the images of a captioned set, upright, and all their captions.

    `on_batch` is told how many images each batch held. Raises UsageError where none can be read.
    """
    images, read, failures = embed_readable(
        model,
        items,
        "captions",
        decode=open_upright,
        batch_size=batch_size,
        n_workers=n_workers,
        on_batch=on_batch,
    )
    refuse_none(len(read), failures)
    captions = [caption for image in read for caption in image.told]
    counts = [len(image.told) for image in read]
    return CaptionedEmbeddings(
        images=images,
        texts=model.embed_texts(captions, batch_size=batch_size),
        owners=np.repeat(np.arange(len(read), dtype=np.int64), counts),
        rows=np.array([image.row for image in read], dtype=np.int64),
        failures=failures,
    )


def embed_readable(
    model: ClipModel,
    items: Sequence[Any],
    attribute: str,
    *,
    decode: Decode | None = None,
    batch_size: int = 64,
    n_workers: int = 0,
    on_batch: OnBatch | None = None,
) -> tuple[Floats, list[Read], Failures]:
    """The vectors (n, d) of the images that can be read, these without their pixels, and the rest.

    Each item has `data` and the `attribute` that is told of it. There may be none at all.
    """
    import torch

    pixels = _Pixels(items, model.preprocess, decode or open_as_trainers_do, attribute)
    loader: Any = torch.utils.data.DataLoader(
        pixels,  # type: ignore[arg-type]  # a map-style dataset
        batch_size=batch_size,
        num_workers=n_workers,
        collate_fn=list,
        generator=torch.Generator(),  # else a trainer's random state would move
    )
    read: list[Read] = []
    failures: Failures = []

    def batches() -> Iterator[torch.Tensor]:
        for batch in loader:
            good = [image for image in batch if image.pixels is not None]
            failures.extend((image.row, image.reason) for image in batch if image.pixels is None)
            read.extend(image._replace(pixels=None) for image in good)
            if good:
                yield torch.stack([image.pixels for image in good])
            if on_batch is not None:
                on_batch(len(batch))

    return model.embed_images(batches()), read, failures


def refuse_none(n_read: int, failures: Failures) -> None:
    """Raise UsageError, with the first reason, where not one image could be read."""
    if not n_read:
        first = f"; the first: {failures[0][1]}" if failures else ""
        raise UsageError(f"no image could be evaluated ({len(failures)} failed{first})")


def open_as_trainers_do(data: bytes) -> Image.Image:
    """Decode as torchvision and CLIP_benchmark do: PIL, RGB, EXIF orientation ignored.

    Zero-shot numbers must equal those of other tools, so this alone takes PIL's pixels of the
    stored frame. Raises ImageError.
    """
    with open_image(data) as image:
        return image.convert("RGB")


def open_upright(data: bytes) -> Image.Image:
    """Decode as everything that reads shards does; raises ImageError."""
    return Image.fromarray(decode(data).pixels)


class _Pixels:
    """A torch dataset of a set's images with one attribute of its items; never raises."""

    def __init__(
        self, items: Sequence[Any], preprocess: Preprocess, decode: Decode, attribute: str
    ) -> None:
        self._items, self._attribute = items, attribute
        self._preprocess, self._decode = preprocess, decode

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, row: int) -> Read:
        try:
            item = self._items[row]
            pixels = self._preprocess(self._decode(item.data))
            return Read(row, getattr(item, self._attribute), pixels)
        except Exception as error:  # the boundary of one sample; counted by whoever asked
            return Read(row, None, None, str(error) or repr(error))
