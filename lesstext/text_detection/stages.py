"""Detection in three stages, so that a network never waits for a JPEG.

The stages before and after the network are plain data (`Stages`) that travels to helper processes,
which import numpy and OpenCV only; the middle one runs where the device is. A detector that has
nothing but `detect` is run as one middle stage (`Whole`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lesstext.images import DecodedImage, InputShape, Pixels
from lesstext.text_detection.protocol import Detector, TextRegions


@dataclass(frozen=True, slots=True)
class Layout:
    """How an image of `width` x `height` px, at full size, lies on its canvas."""

    shape: InputShape
    width: int
    height: int

    @property
    def canvas_shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of the canvas in pixels."""
        return self.shape.padded_height_px, self.shape.padded_width_px, 3


class Stages(Protocol):
    """The stages before and after the network; picklable, and free of torch."""

    def layout(self, image: DecodedImage) -> Layout:
        """Where the image will lie; the canvas's shape depends on this image alone."""
        ...

    def draw(self, image: DecodedImage, layout: Layout, canvas: Pixels) -> None:
        """Fill a uint8 canvas of `layout.canvas_shape` with the image."""
        ...

    def regions(self, output: Any, layout: Layout) -> TextRegions:
        """The network's output for one image as text regions in the full image's frame."""
        ...


class Batch(Protocol):
    """A batch on its way through the network."""

    def result(self) -> list[Any]:
        """Wait for it; one output per image, as `Stages.regions` takes it."""
        ...


@runtime_checkable
class StagedDetector(Protocol):
    """A detector that offers its stages apart; `detect` remains for everything else."""

    @property
    def id(self) -> str: ...

    @property
    def input_px(self) -> int | None: ...

    @property
    def stages(self) -> Stages: ...

    @property
    def max_canvas_bytes(self) -> int | None:
        """The most that a canvas takes, or None when it has no bound: then no helpers are used."""
        ...

    @property
    def batch_size(self) -> int:
        """How many canvases of one shape make a full batch."""
        ...

    def submit(self, canvases: Sequence[Pixels]) -> Batch:
        """Start a batch of 1 to `batch_size` canvases of one shape; they are copied first."""
        ...


def staged(detector: Detector) -> StagedDetector:
    """The detector's own stages, or the detector as a whole between two idle ones."""
    return detector if isinstance(detector, StagedDetector) else Whole(detector)


def detect_in_stages(detector: StagedDetector, images: Sequence[Pixels]) -> list[TextRegions]:
    """All stages of a detector at once, in this process: what its `detect` does.

    One result per RGB uint8 (H, W, 3) image, in order, in that image's own frame.
    """
    decoded = [DecodedImage(pixels=p, width=p.shape[1], height=p.shape[0]) for p in images]
    layouts = [detector.stages.layout(image) for image in decoded]
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, layout in enumerate(layouts):
        by_shape[layout.canvas_shape].append(index)
    found: dict[int, TextRegions] = {}
    for members in by_shape.values():
        for start in range(0, len(members), detector.batch_size):
            chunk = members[start : start + detector.batch_size]
            canvases = [np.empty(layouts[i].canvas_shape, dtype=np.uint8) for i in chunk]
            for i, canvas in zip(chunk, canvases, strict=True):
                detector.stages.draw(decoded[i], layouts[i], canvas)
            for i, output in zip(chunk, detector.submit(canvases).result(), strict=True):
                found[i] = detector.stages.regions(output, layouts[i])
    return [found[i] for i in range(len(images))]


class Whole:
    """A detector without stages: the canvas is the image, and the output is the regions."""

    batch_size = 1
    max_canvas_bytes: int | None = None

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.id = detector.id
        self.input_px = detector.input_px
        self.stages: Stages = _IdleStages()

    def submit(self, canvases: Sequence[Pixels]) -> _Done:
        return _Done(self._detector.detect(canvases))


@dataclass(frozen=True, slots=True)
class _Done:
    regions: list[TextRegions]

    def result(self) -> list[Any]:
        return self.regions


class _IdleStages:
    def layout(self, image: DecodedImage) -> Layout:
        height, width = image.pixels.shape[:2]
        shape = InputShape(
            height_px=height, width_px=width, padded_height_px=height, padded_width_px=width
        )
        return Layout(shape, image.width, image.height)

    def draw(self, image: DecodedImage, layout: Layout, canvas: Pixels) -> None:
        np.copyto(canvas, image.pixels)

    def regions(self, output: TextRegions, layout: Layout) -> TextRegions:
        shape = layout.shape
        return output.scaled(layout.width / shape.width_px, layout.height / shape.height_px)
