"""A detector: every run of rows that alternate strongly is one region of text."""

from collections.abc import Sequence

import numpy as np

from lesstext.images import Pixels
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, refuse_unknown_options


class RowContrast:
    input_px = None  # wants images at full size; 384 would let larger ones arrive reduced

    def __init__(self, settings: DetectorSettings) -> None:
        self.id = identify(settings)
        self._contrast = float(settings.options.get("contrast", "60"))

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Pixels) -> TextRegions:
        busy = image.mean(axis=2).std(axis=1) > self._contrast
        edges = np.flatnonzero(np.diff(np.concatenate([[False], busy, [False]])))
        w = image.shape[1]
        boxes = [[[0, y], [w, y], [w, z], [0, z]] for y, z in edges.reshape(-1, 2).tolist()]
        polygons = tuple(np.array(box, dtype=np.float32) for box in boxes)
        return TextRegions(polygons, np.ones(len(polygons), dtype=np.float32))


def identify(settings: DetectorSettings) -> str:
    refuse_unknown_options(settings, ("contrast",))
    return f"row-contrast contrast={float(settings.options.get('contrast', '60')):g}"


def load(settings: DetectorSettings) -> RowContrast:
    return RowContrast(settings)
