"""Text area: which share of each image is text, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from lesstext.annotators.base import Annotator, Part, Placement, Worker, WorkerBrokenError
from lesstext.dataclass_options import Flag
from lesstext.errors import UsageError
from lesstext.images import DEFAULT_MAX_PIXELS
from lesstext.shards.samples import Row
from lesstext.text_detection.helpers import (
    HelperLostError,
    Helpers,
    InlineHelpers,
    helpers_for,
)
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


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TextArea(Annotator):
    """Find the text in each image: its share of the image's area, and its regions."""

    name: ClassVar[str] = "text_area"

    detector: Annotated[str, Flag("confirmed, craft, small, checked, cascade, rapidocr …")] = (
        DEFAULT_DETECTOR
    )
    size_px: Annotated[
        int | None,
        Flag("Longer side in px at which text is sought. [384; checked: 640]", ("size",)),
    ] = None
    precision: Annotated[
        str | None, Flag("float32, bfloat16 or float16. [bfloat16 where hardware has it]")
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
        self._tallies: Mapping[str, int] = getattr(detector, "tallies", {})
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
        before = dict(self._tallies)
        with _broken_where_lost():
            yield from pipeline.rows()
        for name, n in self._tallies.items():
            part.clock.tallies[name] += n - before[name]

    def aside(self, work: Callable[[], T]) -> T:
        """Let a helper do it, and wait."""
        with _broken_where_lost():
            return self._helpers.do(work)


@contextmanager
def _broken_where_lost() -> Iterator[None]:
    """A worker that lost a helper must be replaced."""
    try:
        yield
    except HelperLostError as error:
        raise WorkerBrokenError(str(error)) from error
