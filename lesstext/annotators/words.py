"""Words: what can be read in each image, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from lesstext.annotators.text_area import TextArea, TextAreaWorker
from lesstext.dataclass_options import Flag
from lesstext.errors import UsageError
from lesstext.images import DEFAULT_MAX_PIXELS
from lesstext.shards.samples import OpenSample, Row, fail
from lesstext.text_detection.measure import words_columns
from lesstext.text_detection.ppocr.models import Computing, computing_for
from lesstext.text_detection.ppocr.reading import Reader, reader_id
from lesstext.text_detection.protocol import load_detector, reads

if TYPE_CHECKING:
    import pyarrow as pa

    from lesstext.tables.table import Footer

TEXT_AREA = "text_area"
NO_DETECTOR = "none"


@dataclass(frozen=True, kw_only=True)
class Words(Annotator):
    """Read the words in each image: their text, how sure that is, and where they stand."""

    name: ClassVar[str] = "words"
    optional_inputs: ClassVar[tuple[str, ...]] = (TEXT_AREA,)

    detector: Annotated[
        str,
        Flag("checked, or another that reads; none: read the regions of --input text_area=SCORES."),
    ] = "checked"
    size_px: Annotated[
        int | None, Flag("Longer side in px at which text is sought. [checked: 640]", ("size",))
    ] = None
    precision: Annotated[
        str | None, Flag("float32, or with OpenVINO bfloat16. [where hardware has it]")
    ] = None
    options: Annotated[
        dict[str, str],
        Flag("NAME=VALUE for the detector, e.g. runtime=onnxruntime.", ("detector_option",)),
    ] = field(default_factory=dict)
    max_pixels: Annotated[int, Flag("Images with more pixels become `too_large`.")] = (
        DEFAULT_MAX_PIXELS
    )

    @classmethod
    def found_by(cls, text_area: TextArea) -> Words:
        """The words that a detector reads while it finds text areas."""
        return cls(
            detector=text_area.detector,
            size_px=text_area.size_px,
            precision=text_area.precision,
            options=text_area.options,
            max_pixels=text_area.max_pixels,
        )

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels must be at least 1, got {self.max_pixels}")
        if self._reads_regions:
            if self.size_px is not None:
                raise UsageError("--size goes with a detector, not with --detector none")
            self._computing(Placement())
        else:
            self._text_area.detector_settings(Placement())  # checks the rest

    @property
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        import pyarrow as pa

        word = pa.struct(
            [
                ("text", pa.string()),
                ("score", pa.float32()),
                ("region", pa.list_(pa.float32())),
            ]
        )
        return [
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("n_words", pa.int32()),
            ("words", pa.list_(word)),
        ]

    @property
    def settings(self) -> dict[str, Any]:
        """What the id does not name."""
        return {"max_pixels": self.max_pixels}

    def identify(self, placement: Placement) -> str:
        if self._reads_regions:
            return f"words of text_area {reader_id()} {self._computing(placement).id}"
        if not reads(self._text_area.detector_settings(placement)):
            raise UsageError(
                f"detector {self.detector} finds text and does not read it: score with it, then "
                "read its regions by `annotate words --detector none --input text_area=SCORES`"
            )
        return f"words by {self._text_area.identify(placement)}"

    def accept(self, inputs: Mapping[str, Footer]) -> None:
        """Text areas go with `--detector none`, and must hold regions."""
        text_area = inputs.get(TEXT_AREA)
        if (text_area is not None) != self._reads_regions:
            raise UsageError("--detector none and --input text_area=SCORES go together: give both")
        if text_area is not None:
            require_regions(text_area)

    @contextmanager
    def load(self, placement: Placement) -> Iterator[Worker]:
        identity = self.identify(placement)
        if self._reads_regions:
            yield RegionReader(self, identity, Reader(self._computing(placement)))
        else:
            detector = load_detector(self._text_area.detector_settings(placement))
            yield WordsWorker(identity, TextAreaWorker(self._text_area, detector))

    @property
    def _reads_regions(self) -> bool:
        return self.detector == NO_DETECTOR

    @property
    def _text_area(self) -> TextArea:
        """The annotator of text area whose detection reads on the way."""
        return TextArea(
            detector=self.detector,
            size_px=self.size_px,
            precision=self.precision,
            options=self.options,
            max_pixels=self.max_pixels,
            regions=False,
        )

    def _computing(self, placement: Placement) -> Computing:
        unknown = sorted(set(self.options) - {"runtime"})
        if unknown:
            raise UsageError(f"reading has no option {', '.join(unknown)}; it has: runtime")
        return computing_for(self.options.get("runtime"), self.precision, placement.threads)


class WordsWorker:
    """A detector that reads on the way: the rows of text areas hold its words, too."""

    def __init__(self, identity: str, worker: TextAreaWorker) -> None:
        self.id = identity
        self._worker = worker

    def annotate(self, part: Part) -> Iterator[Row]:
        yield from self._worker.annotate(part)


class RegionReader:
    """Reads the regions that a score table holds; images without any are not decoded."""

    def __init__(self, options: Words, identity: str, reader: Reader) -> None:
        self.id = identity
        self._max_pixels = options.max_pixels
        self._reader = reader

    def annotate(self, part: Part) -> Iterator[Row]:
        areas = part.inputs[TEXT_AREA]
        wanted = [area["status"] == "ok" and bool(area["regions"]) for area in areas]
        samples = part.samples(max_pixels=self._max_pixels, decoded=wanted)
        for sample, area in zip(samples, areas, strict=True):
            row = sample.row
            inherit_failure(row, TEXT_AREA, area)
            if row["status"] == "ok":
                row.update(width=area["width"], height=area["height"])
                with part.clock.stage("read"):
                    self._read(sample, area["regions"] or ())
            yield row

    def _read(self, sample: OpenSample, regions: Sequence[Sequence[float]]) -> None:
        polygons = [np.array(flat, dtype=np.float32).reshape(-1, 2) for flat in regions]
        try:
            words = [] if sample.image is None else self._reader.read(sample.image.pixels, polygons)
            sample.row.update(words_columns(words))
        except Exception as error:  # the one-sample boundary: recorded in the row
            fail(sample.row, "annotator_error", repr(error))
