"""Text area: which share of each image is text, and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from lesstext.annotators.base import Annotator, Part, Placement, Worker, WorkerBrokenError
from lesstext.dataclass_options import Flag
from lesstext.errors import UsageError
from lesstext.images import DEFAULT_MAX_PIXELS
from lesstext.shards.samples import Row
from lesstext.text_detection.helpers import Helpers, InlineHelpers, helpers_for
from lesstext.text_detection.pipeline import Pipeline
from lesstext.text_detection.protocol import (
    DEFAULT_DETECTOR,
    Detector,
    DetectorSettings,
    identify_detector,
    load_detector,
)
from lesstext.text_detection.stages import staged

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class TextArea(Annotator):
    """Find the text in each image: its share of the image's area, and its regions."""

    name: ClassVar[str] = "text_area"

    detector: Annotated[str, Flag("craft, easyocr, rapidocr or an installed plug-in.")] = (
        DEFAULT_DETECTOR
    )
    size_px: Annotated[
        int | None, Flag("Longer side in px at which text is sought. [craft: 384]", ("size",))
    ] = None
    precision: Annotated[
        str | None, Flag("float32, bfloat16 or float16. [bfloat16 where the hardware has it]")
    ] = None
    weights: Annotated[str | None, Flag("Weights file, instead of searching.")] = None
    options: Annotated[
        dict[str, str], Flag("NAME=VALUE for the detector, e.g. text=0.6.", ("detector_option",))
    ] = field(default_factory=dict)
    max_pixels: Annotated[int, Flag("Images with more pixels become `too_large`.")] = (
        DEFAULT_MAX_PIXELS
    )
    regions: Annotated[bool, Flag("Store the polygons in the table.")] = True

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels must be at least 1, got {self.max_pixels}")
        self.detector_settings(Placement())  # checks the rest

    @property
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        import pyarrow as pa

        columns: list[tuple[str, pa.DataType]] = [
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("text_area_ratio", pa.float32()),
            ("text_area_sum_ratio", pa.float32()),
            ("n_regions", pa.int16()),
            ("max_region_ratio", pa.float32()),
            ("max_score", pa.float32()),
            ("regions", pa.list_(pa.list_(pa.float32()))),
            ("image_offset", pa.int64()),
            ("image_size", pa.int64()),
            ("caption_length", pa.int32()),
        ]
        return [column for column in columns if self.regions or column[0] != "regions"]

    @property
    def settings(self) -> dict[str, Any]:
        """Those that the detector's id does not name."""
        return {"max_pixels": self.max_pixels, "regions": self.regions}

    def detector_settings(self, placement: Placement) -> DetectorSettings:
        """What the detector is loaded with at that place."""
        return DetectorSettings(
            name=self.detector,
            device=placement.device,
            threads=placement.threads,
            helpers=placement.helpers,
            size_px=self.size_px,
            precision=self.precision,
            weights=self.weights,
            options=self.options,
        )

    def identify(self, placement: Placement) -> str:
        return identify_detector(self.detector_settings(placement))

    @contextmanager
    def load(self, placement: Placement) -> Iterator[Worker]:
        detector = load_detector(self.detector_settings(placement))
        with helpers_for(staged(detector), placement.helpers) as helpers:
            yield TextAreaWorker(self, detector, helpers)


class TextAreaWorker:
    """A loaded detector, and the helpers that decode and measure for it (inline by default)."""

    def __init__(
        self, options: TextArea, detector: Detector, helpers: Helpers | None = None
    ) -> None:
        self.id = detector.id
        self._options = options
        self._detector = staged(detector)
        self._helpers = helpers or InlineHelpers(self._detector.batch_size)

    def annotate(self, part: Part) -> Iterator[Row]:
        pipeline = Pipeline(
            shard=part.shard,
            path=part.path,
            entries=part.entries,
            detector=self._detector,
            helpers=self._helpers,
            clock=part.clock,
            max_pixels=self._options.max_pixels,
            keep_regions=self._options.regions,
        )
        try:
            yield from pipeline.rows()
        except BrokenProcessPool as error:
            raise WorkerBrokenError(f"a helper process was killed: {error}") from error
