"""Similarity: how well an image fits its caption, as it is and with its text hidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from lesstext.annotators.base import (
    Annotator,
    Part,
    Placement,
    Worker,
    inherit_failure,
    require_regions,
)
from lesstext.dataclass_options import Flag, check_choices
from lesstext.entities.selectors import clip
from lesstext.entities.selectors.base import Precision, Selector, SelectorSettings, Vectors
from lesstext.errors import UsageError
from lesstext.fills import Fill, fill
from lesstext.images import DEFAULT_MAX_PIXELS, Pixels
from lesstext.shards.samples import OpenSample, Row, fail

if TYPE_CHECKING:
    import pyarrow as pa

    from lesstext.tables.table import Footer

TEXT_AREA = "text_area"
DEFAULT_FILL: Fill = "mean"
_GPU_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Similarity(Annotator):
    """Measure how well each image fits its caption, as it is and with its text hidden."""

    name: ClassVar[str] = "similarity"
    optional_inputs: ClassVar[tuple[str, ...]] = (TEXT_AREA,)

    model: Annotated[
        str | None, Flag("open_clip name, its config (JSON), local-dir:FOLDER or hf-hub:NAME.")
    ] = None
    pretrained: Annotated[str | None, Flag("Tag or file of the model's weights.")] = None
    precision: Annotated[Precision, Flag("fp32, or amp_bf16 on a GPU.")] = "fp32"
    fill: Annotated[
        Fill | None,
        Flag("What hides the text of --input text_area=SCORES. [mean: the image's]"),
    ] = None
    batch_size: Annotated[int, Flag("Images at a time on a GPU.")] = _GPU_BATCH
    max_pixels: Annotated[int, Flag("Images with more pixels become `too_large`.")] = (
        DEFAULT_MAX_PIXELS
    )

    def __post_init__(self) -> None:
        check_choices(self)
        for flag in ("batch_size", "max_pixels"):
            if getattr(self, flag) < 1:
                shown = flag.replace("_", "-")
                raise UsageError(f"--{shown} must be at least 1, got {getattr(self, flag)}")

    @property
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        import pyarrow as pa

        return [
            ("n_captions", pa.int32()),
            ("caption_index", pa.int32()),
            ("similarity", pa.float32()),
            ("masked_similarity", pa.float32()),
        ]

    @property
    def settings(self) -> dict[str, Any]:
        """Those that the id does not name; the batch decides nothing."""
        return {"fill": self.fill or DEFAULT_FILL, "max_pixels": self.max_pixels}

    def identify(self, placement: Placement) -> str:
        return clip.identify(self._settings(placement))

    def accept(self, inputs: Mapping[str, Footer]) -> None:
        """Text areas must hold regions, and without them there is nothing to fill."""
        text_area = inputs.get(TEXT_AREA)
        if text_area is None and self.fill is not None:
            raise UsageError("--fill needs --input text_area=SCORES, which say what to hide")
        if text_area is not None:
            require_regions(text_area)

    @contextmanager
    def load(self, placement: Placement) -> Iterator[Worker]:
        settings = self._settings(placement)
        yield SimilarityWorker(self, clip.identify(settings), clip.load(settings))

    def _settings(self, placement: Placement) -> SelectorSettings:
        if self.model is None:
            raise UsageError(
                "similarity needs --model: NAME with --pretrained TAG or FILE, "
                "or local-dir:RUN for a run of train-clip"
            )
        return SelectorSettings(
            device=placement.device,
            threads=placement.threads,
            model=self.model,
            pretrained=self.pretrained,
            precision=self.precision,
            options={"batch": str(self.batch_size)},
        )


@dataclass(slots=True)
class _Waiting:
    """A sample whose similarities are still to be measured.

    `shown` are its pixels as they are, and then with the text hidden where that differs.
    """

    row: Row
    captions: Sequence[str]
    shown: Sequence[Pixels]
    is_masked: bool


class SimilarityWorker:
    """A loaded model."""

    def __init__(self, options: Similarity, identity: str, selector: Selector) -> None:
        self.id = identity
        self._options, self._selector = options, selector

    def annotate(self, part: Part) -> Iterator[Row]:
        waiting: list[_Waiting] = []
        images = part.samples(max_pixels=self._options.max_pixels)
        for number, sample in enumerate(images):
            waiting.append(self._opened(part, number, sample))
            if sum(len(one.shown) for one in waiting) >= self._selector.batch_size:
                yield from self._measured(part, waiting)
                waiting = []
        yield from self._measured(part, waiting)

    def _opened(self, part: Part, number: int, sample: OpenSample) -> _Waiting:
        """A sample with what the model shall see of it, which is nothing where it has failed."""
        row, captions = sample.row, sample.captions
        area = part.inputs[TEXT_AREA][number] if TEXT_AREA in part.inputs else None
        if area is not None:
            inherit_failure(row, TEXT_AREA, area)
        if row["status"] != "ok" or sample.image is None:
            return _Waiting(row, (), (), area is not None)
        row["n_captions"] = len(captions)
        shown = [sample.image.pixels] if captions else []
        if shown and area is not None and area["regions"]:
            with part.clock.stage("fill"):
                polygons = [np.reshape(flat, (-1, 2)) for flat in area["regions"]]
                shown.append(fill(shown[0], polygons, self._options.fill or DEFAULT_FILL))
        return _Waiting(row, captions, shown, area is not None)

    def _measured(self, part: Part, waiting: Sequence[_Waiting]) -> Iterator[Row]:
        """Rows in order, with the similarities of those that have pixels and captions."""
        shown = [pixels for one in waiting for pixels in one.shown]
        captions = [caption for one in waiting if one.shown for caption in one.captions]
        with part.clock.stage("images"):
            seen = iter(self._selector.embed_images(shown) if shown else ())
        with part.clock.stage("texts"):
            said = iter(self._selector.embed_texts(captions) if captions else ())
        for one in waiting:
            if one.shown:
                _fill_in(one, _taken(seen, len(one.shown)), _taken(said, len(one.captions)))
            yield one.row


def _taken(vectors: Iterator[Any], n: int) -> Vectors:
    """The next `n` rows."""
    return np.stack(list(islice(vectors, n)))


def _fill_in(sample: _Waiting, images: Vectors, captions: Vectors) -> None:
    """The cosines with the caption that fits the image as it is best."""
    cosines = np.einsum("id,cd->ic", images.astype(np.float64), captions.astype(np.float64))
    if not np.isfinite(cosines).all():
        fail(sample.row, "annotator_error", "a similarity is not finite")
        sample.row["n_captions"] = None
        return
    best = int(cosines[0].argmax())
    sample.row.update(
        caption_index=best,
        similarity=float(cosines[0, best]),
        masked_similarity=float(cosines[-1, best]) if sample.is_masked else None,
    )
