"""A staged detector for tests: three canvas shapes, magenta is text, failures on demand."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lesstext.images import DecodedImage, Pixels, input_shape, letterbox
from lesstext.text_detection.detectors import fake
from lesstext.text_detection.protocol import DetectorSettings, TextRegions
from lesstext.text_detection.stages import Layout

SIZE_PX = 64


@dataclass(frozen=True)
class FakeStages:
    deadly: str | None = None  # a path: the first process to draw makes this file and is killed

    def layout(self, image: DecodedImage) -> Layout:
        shape = input_shape(image.width, image.height, longer_px=SIZE_PX)
        return Layout(shape, image.width, image.height)

    def draw(self, image: DecodedImage, layout: Layout, canvas: Pixels) -> None:
        if self.deadly is not None and not Path(self.deadly).exists():
            Path(self.deadly).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        letterbox(image.pixels, layout.shape, canvas, fill=(0, 0, 0))

    def regions(self, output: Any, layout: Layout) -> TextRegions:
        if isinstance(output, str):
            raise RuntimeError(output)
        found: TextRegions = output
        return found.scaled(
            layout.width / layout.shape.width_px, layout.height / layout.shape.height_px
        )


@dataclass
class FakeBatch:
    outputs: list[Any]

    def result(self) -> list[Any]:
        return self.outputs


class StagedFake:
    """Counts its batches; chokes on canvases whose first pixel is pure green."""

    id, input_px, batch_size = "staged fake", SIZE_PX, 4
    max_canvas_bytes: int | None = SIZE_PX * SIZE_PX * 3

    def __init__(self, deadly: str | None = None) -> None:
        self.stages = FakeStages(deadly)
        self.batches: list[int] = []
        self._detector = fake.load(DetectorSettings(name="fake"))

    def submit(self, canvases: Sequence[Pixels]) -> FakeBatch:
        if any(tuple(canvas[0, 0]) == (0, 255, 0) for canvas in canvases):
            raise RuntimeError("green is too much")
        assert len({canvas.shape for canvas in canvases}) == 1
        self.batches.append(len(canvases))
        return FakeBatch(list(self._detector.detect([np.array(c) for c in canvases])))

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        raise AssertionError("a staged detector is scored by its stages")


def identify(settings: DetectorSettings) -> str:
    """With `load`, makes this module a detector plug-in for worker processes."""
    return StagedFake.id


def load(settings: DetectorSettings) -> StagedFake:
    return StagedFake(settings.options.get("deadly"))
